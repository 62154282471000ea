//! A stream to a runtime's socket.

use std::io::{Read, Write};
use std::sync::Arc;

use napi::Env;
use napi::bindgen_prelude::{Buffer, Uint8Array};
use napi_derive::napi;
use parking_lot::Mutex;
use sandboxset::{Error, ErrorCode, Phase, Result, Task};

use crate::bridge::{Done, start};

/// The two directions of a connection, each used by one worker at a time; the facade's stream sees to that.
#[napi]
pub struct Connection {
    reader: Arc<Mutex<sandboxset::Connection>>,
    writer: Arc<Mutex<sandboxset::Connection>>,
    interrupt: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Connection {
    pub(crate) fn new(core: sandboxset::Connection) -> Result<Self> {
        let interrupt = core.interrupter();
        let writer = core.try_clone().map_err(lost)?;
        Ok(Connection { reader: Arc::new(Mutex::new(core)), writer: Arc::new(Mutex::new(writer)), interrupt })
    }
}

#[napi]
impl Connection {
    /// The next piece; empty when the runtime has closed the stream.
    #[napi(catch_unwind)]
    pub fn read(&self, env: Env, max_bytes: f64, done: Done<'_>) -> napi::Result<()> {
        let reader = Arc::clone(&self.reader);
        let call = move |_: &_| {
            let mut buffer = vec![0; max_bytes as usize];
            let mut connection = reader.lock();
            connection.set_timeout(None).map_err(lost)?;
            let length = connection.read(&mut buffer).map_err(lost)?;
            buffer.truncate(length);
            Ok(buffer)
        };
        start(&env, &done, Task::run(Phase::Connect, None, call), |_, bytes| Ok(Buffer::from(bytes)))
    }

    /// Writes all bytes.
    #[napi(catch_unwind)]
    pub fn write(&self, env: Env, data: Uint8Array, done: Done<'_>) -> napi::Result<()> {
        let (writer, data) = (Arc::clone(&self.writer), data.to_vec());
        let call = move |_: &_| {
            let mut connection = writer.lock();
            connection.set_timeout(None).map_err(lost)?;
            connection.write_all(&data).and_then(|()| connection.flush()).map_err(lost)
        };
        start(&env, &done, Task::run(Phase::Connect, None, call), |_, ()| Ok(()))
    }

    /// Ends the stream, and every read and write that is under way.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        if let Some(interrupt) = &self.interrupt {
            interrupt();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// What the stream says is an error of the core, or one of the system.
fn lost(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => {
            Error::new(ErrorCode::SandboxDead, Phase::Connect, "the connection to the runtime broke")
                .with_source(error)
        }
    }
}
