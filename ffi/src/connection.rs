//! `sandboxset_connection`.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use sandboxset::{Connection, Error, ErrorCode, Phase, Result};

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::get_options::SANDBOXSET_FOREVER_MS;
use crate::handle::{self, handle};

/// A stream to a runtime's socket. One call at a time: a second one, from another thread, is
/// SANDBOXSET_INVALID_STATE.
pub struct sandboxset_connection {
    _opaque: (),
}

// The lock is only ever tried, never waited for, so holding it across a read blocks nobody.
handle!(sandboxset_connection, Mutex<Connection>, b"ss_conne");

/// Makes the object that C gets.
pub(crate) fn into_raw(connection: Connection) -> *mut sandboxset_connection {
    handle::into_raw(Mutex::new(connection))
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
        let mut connection = alone(caller.borrow(connection, "connection")?)?;
        let buffer = caller.buffer(buffer, capacity, "buffer")?;
        let out = caller.out(out_length, "out_length")?;
        out.write(buffer.fill(|bytes| read(&mut connection, bytes))?);
        Ok(())
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
        let mut connection = alone(caller.borrow(connection, "connection")?)?;
        let bytes = caller.bytes(data, length, "data")?;
        connection.write_all(bytes).and_then(|()| connection.flush()).map_err(to_error)
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
        let mut connection = alone(caller.borrow(connection, "connection")?)?;
        if timeout_ms == 0 {
            return Err(Error::invalid("timeout_ms", "0 leaves no time to read or write"));
        }
        let timeout = (timeout_ms < SANDBOXSET_FOREVER_MS).then(|| Duration::from_millis(timeout_ms));
        connection.set_timeout(timeout).map_err(to_error)
    })
}

/// Closes and frees the connection. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_connection_free(connection: *mut sandboxset_connection) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(connection, |_| {}) };
}

fn alone(connection: &Mutex<Connection>) -> Result<MutexGuard<'_, Connection>> {
    match connection.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(PoisonError::into_inner(poisoned)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorCode::InvalidState,
            Phase::Connect,
            "another thread is using this connection",
        )),
    }
}

fn read(connection: &mut Connection, bytes: &mut [u8]) -> Result<usize> {
    loop {
        match connection.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result.map_err(to_error),
        }
    }
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
