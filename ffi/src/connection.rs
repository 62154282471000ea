//! `sandboxset_connection`.

use std::ffi::c_void;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sandboxset::{Connection, Error, ErrorCode, Phase, Result};

use crate::bytes::{Room, sandboxset_bytes_fn};
use crate::code::sandboxset_code;
use crate::completion::sandboxset_done_fn;
use crate::error::sandboxset_error;
use crate::get_options::SANDBOXSET_FOREVER_MS;
use crate::handle::{self, Shared, handle};

/// A stream to a runtime's socket. One call at a time: while one is under way, on another thread or asynchronously, a
/// second one is SANDBOXSET_INVALID_STATE.
pub struct sandboxset_connection {
    _opaque: (),
}

/// A connection, which is taken out by whoever uses it.
pub(crate) struct Line {
    connection: Mutex<Option<Connection>>,
    interrupt: Option<Box<dyn Fn() + Send + Sync>>,
}

handle!(sandboxset_connection, Line, b"ss_conne");

/// Called once with a connection, NULL on an error. It is freed with sandboxset_connection_free.
pub type sandboxset_connection_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        connection: *mut sandboxset_connection,
        error: *mut sandboxset_error,
    ),
>;

/// Makes the object that C gets.
pub(crate) fn into_raw(connection: Connection) -> *mut sandboxset_connection {
    let interrupt = connection.interrupter();
    handle::into_raw(Line { connection: Mutex::new(Some(connection)), interrupt })
}

/// Reads up to `capacity` bytes and answers how many; 0 is the end. Blocks until there is something, at most as
/// long as sandboxset_connection_set_timeout says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_read(
    connection: *const sandboxset_connection,
    buffer: *mut u8,
    capacity: usize,
    out_length: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mut turn = Turn::take(caller.share(connection, "connection")?)?;
        let buffer = caller.buffer(buffer, capacity, "buffer")?;
        let out = caller.out(out_length, "out_length")?;
        out.write(buffer.fill(|bytes| turn.read(bytes))?);
        Ok(())
    })
}

/// As sandboxset_connection_read, without waiting: up to `max_bytes` bytes, and none at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_read_async(
    connection: *const sandboxset_connection,
    max_bytes: u64,
    callback: sandboxset_bytes_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mut turn = Turn::take(caller.share(connection, "connection")?)?;
        let room = Room::new(max_bytes)?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Connect, move || room.fill(|bytes| turn.read(bytes)))
    })
}

/// Writes all bytes. Blocks, each time nothing can be written, at most as long as
/// sandboxset_connection_set_timeout says.
/// Errors: how many bytes went out before an error is unknown, so the connection should be freed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_write(
    connection: *const sandboxset_connection,
    data: *const u8,
    length: usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mut turn = Turn::take(caller.share(connection, "connection")?)?;
        turn.write(caller.bytes(data, length, "data")?)
    })
}

/// As sandboxset_connection_write, without waiting. The bytes are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_write_async(
    connection: *const sandboxset_connection,
    data: *const u8,
    length: usize,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mut turn = Turn::take(caller.share(connection, "connection")?)?;
        let bytes = caller.bytes(data, length, "data")?.to_vec();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Connect, move || turn.write(&bytes))
    })
}

/// Bounds every later read and write, in milliseconds; SANDBOXSET_FOREVER_MS, at first, is unbounded. 0 is
/// SANDBOXSET_INVALID_ARGUMENT, because nothing could ever be done in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_set_timeout(
    connection: *const sandboxset_connection,
    timeout_ms: u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mut turn = Turn::take(caller.share(connection, "connection")?)?;
        if timeout_ms == 0 {
            return Err(Error::invalid("timeout_ms", "0 leaves no time to read or write"));
        }
        let timeout = (timeout_ms < SANDBOXSET_FOREVER_MS).then(|| Duration::from_millis(timeout_ms));
        turn.connection()?.set_timeout(timeout).map_err(to_error)
    })
}

/// Closes and frees the connection. A call that is under way ends with an error. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_free(connection: *mut sandboxset_connection) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(connection, Line::end) };
}

impl Line {
    /// Ends what an asynchronous call still does.
    fn end(&self) {
        let is_idle = self.connection.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if let Some(interrupt) = self.interrupt.as_ref().filter(|_| !is_idle) {
            interrupt();
        }
    }
}

/// The one call that uses the connection now.
struct Turn {
    line: Shared<sandboxset_connection>,
    connection: Option<Connection>,
}

impl Turn {
    fn take(line: Shared<sandboxset_connection>) -> Result<Self> {
        let connection = line.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        if connection.is_none() {
            return Err(in_use());
        }
        Ok(Turn { line, connection })
    }

    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(in_use)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let connection = self.connection()?;
        loop {
            match connection.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map_err(to_error),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let connection = self.connection()?;
        connection.write_all(bytes).and_then(|()| connection.flush()).map_err(to_error)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.line.connection.lock().unwrap_or_else(PoisonError::into_inner) = self.connection.take();
    }
}

fn in_use() -> Error {
    Error::new(ErrorCode::InvalidState, Phase::Connect, "another call uses this connection")
}

/// An input or output error as one of ours. A backend may have put one of ours inside already.
fn to_error(error: io::Error) -> Error {
    if let Some(ours) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        return ours.clone();
    }
    let (code, message) = match error.kind() {
        // A socket with a timeout answers "would block" when it passes.
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            (ErrorCode::Timeout, "the connection's timeout passed")
        }
        ErrorKind::InvalidInput => (ErrorCode::InvalidArgument, "the connection refused an argument"),
        _ => (ErrorCode::SandboxDead, "the connection broke"),
    };
    Error::new(code, Phase::Connect, message).with_source(error)
}
