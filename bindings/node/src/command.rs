//! A command, from what the facade passes.

use napi::Env;
use napi::bindgen_prelude::{Either, Uint8Array};
use napi_derive::napi;
use sandboxset::{OnOverflow, Stdin};

use crate::cancel::CancelToken;
use crate::errors::raise;
use crate::values::{Name, environment, millis_or, os_strings, path};

#[napi(object, object_to_js = false)]
pub struct CommandOptions {
    pub args: Vec<Name>,
    pub env: Option<Vec<Name>>,
    pub cwd: Option<Name>,
    /// Bytes, or `true` for a stream.
    pub stdin: Option<Either<bool, Uint8Array>>,
    pub timeout: Option<f64>,
    pub grace: Option<f64>,
    pub output_bytes: Option<f64>,
    pub kill_on_overflow: Option<bool>,
    pub memory_bytes: Option<f64>,
    pub cpu_seconds: Option<f64>,
}

impl CommandOptions {
    /// The command, checked.
    pub(crate) fn read(self, env: &Env, cancel: Option<&CancelToken>) -> napi::Result<sandboxset::Command> {
        let mut command = sandboxset::Command::new(os_strings(self.args));
        command.env = environment(self.env);
        command.cwd = self.cwd.map(path);
        command.stdin = match self.stdin {
            None | Some(Either::A(false)) => Stdin::Null,
            Some(Either::A(true)) => Stdin::Stream,
            Some(Either::B(bytes)) => Stdin::Bytes(bytes.to_vec()),
        };
        command.timeout = millis_or(self.timeout, command.timeout);
        command.grace = millis_or(self.grace, command.grace);
        command.output_bytes = self.output_bytes.map_or(command.output_bytes, |bytes| bytes as usize);
        if self.kill_on_overflow == Some(true) {
            command.on_overflow = OnOverflow::Kill;
        }
        command.memory_bytes = self.memory_bytes.map(|bytes| bytes as u64);
        command.cpu_seconds = self.cpu_seconds.map(|seconds| seconds as u64);
        command.cancel = cancel.map(|token| token.core.clone());
        command.validate().map_err(|error| raise(env, &error))?;
        Ok(command)
    }
}
