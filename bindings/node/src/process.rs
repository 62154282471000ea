//! A running command.

use std::sync::Arc;
use std::time::Duration;

use napi::Env;
use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi_derive::napi;
use sandboxset::OutputStream;

use crate::bridge::{Done, start};
use crate::cancel::CancelToken;
use crate::elsewhere::DropElsewhere;
use crate::errors::raise;
use crate::output::Output;
use crate::values::millis_or;

/// How long waits that have no timeout of their own may take: the command's own timeout ends them long before.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

#[napi]
pub struct Process {
    core: DropElsewhere<Arc<sandboxset::Process>>,
}

impl Process {
    pub(crate) fn new(core: sandboxset::Process) -> Self {
        Process { core: DropElsewhere::new(Arc::new(core)) }
    }
}

#[napi]
impl Process {
    #[napi(catch_unwind)]
    pub fn write_stdin(
        &self,
        env: Env,
        data: Uint8Array,
        timeout: Option<f64>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let task = self.core.write_stdin_async(data.to_vec(), millis_or(timeout, FOREVER));
        start(&env, &done, task, |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn close_stdin(&self, env: Env) -> napi::Result<()> {
        self.core.close_stdin().map_err(|error| raise(&env, &error))
    }

    /// The next piece; empty at the end.
    #[napi(catch_unwind)]
    pub fn read(
        &self,
        env: Env,
        stderr: bool,
        max_bytes: f64,
        timeout: Option<f64>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let stream = if stderr { OutputStream::Stderr } else { OutputStream::Stdout };
        let task = self.core.read_async(stream, max_bytes as usize, millis_or(timeout, FOREVER));
        start(&env, &done, task, |_, bytes| Ok(Buffer::from(bytes)))
    }

    #[napi(catch_unwind)]
    pub fn signal(&self, env: Env, signal: i32) -> napi::Result<()> {
        self.core.signal(signal).map_err(|error| raise(&env, &error))
    }

    #[napi(catch_unwind)]
    pub fn kill(&self, env: Env) -> napi::Result<()> {
        self.core.kill().map_err(|error| raise(&env, &error))
    }

    #[napi(catch_unwind)]
    pub fn wait(
        &self,
        env: Env,
        timeout: Option<f64>,
        cancel: Option<&CancelToken>,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let cancel = cancel.map(|token| &token.core);
        let task = self.core.wait_async(millis_or(timeout, FOREVER), cancel);
        start(&env, &done, task, |_, output| Ok(Output::from(output)))
    }
}
