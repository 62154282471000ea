//! One request to a runtime and its answer, each framed by a 4-byte little-endian length. The highest bit of the
//! answer's says that the request failed.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use super::sandbox_ref::MAX_CALL_BYTES;
use crate::{CancelToken, Connection, Error, ErrorCode, Phase, Result};

/// How much is read at once: an answer's length is the sandbox's claim, so no memory is set aside for it ahead.
const CHUNK_BYTES: usize = 64 << 10;
/// Of the length of an answer: it tells what went wrong.
const FAILED: u32 = 1 << 31;

/// Sends `request` and reads the answer, until `deadline`.
pub(super) fn exchange(
    connection: &mut Connection,
    request: &[u8],
    deadline: Option<Instant>,
    cancel: Option<&CancelToken>,
) -> Result<Vec<u8>> {
    let _registration = match (cancel, connection.interrupter()) {
        (Some(token), Some(interrupt)) => Some(token.on_cancel(interrupt)),
        _ => None,
    };
    let mut call = Call { connection, deadline, cancel };
    call.write(&(request.len() as u32).to_le_bytes())?;
    call.write(request)?;
    let mut length = [0; 4];
    call.read(&mut length)?;
    let (failed, length) = split_length(u32::from_le_bytes(length));
    if length > MAX_CALL_BYTES {
        return Err(too_big("the answer", length));
    }
    let mut answer = Vec::new();
    while answer.len() < length {
        let start = answer.len();
        answer.resize(length.min(start + CHUNK_BYTES), 0);
        call.read(&mut answer[start..])?;
    }
    if failed { Err(handler_failed(&answer)) } else { Ok(answer) }
}

fn split_length(length: u32) -> (bool, usize) {
    (length & FAILED != 0, (length & !FAILED) as usize)
}

/// What a runtime said of a request that failed: a line, then perhaps a zero byte and details.
fn handler_failed(answer: &[u8]) -> Error {
    let text = String::from_utf8_lossy(answer);
    let (line, details) = text.split_once('\0').unwrap_or((&text, ""));
    let error = Error::new(ErrorCode::HandlerFailed, Phase::Connect, format!("the handler failed: {line}"));
    if details.is_empty() { error } else { error.with_source(std::io::Error::other(details)) }
}

/// `TOO_BIG` about one of the two frames.
pub(super) fn too_big(what: &str, length: usize) -> Error {
    let message = format!("{what} has {length} bytes, more than {MAX_CALL_BYTES}");
    Error::new(ErrorCode::TooBig, Phase::Connect, message)
}

struct Call<'a> {
    connection: &'a mut Connection,
    deadline: Option<Instant>,
    cancel: Option<&'a CancelToken>,
}

impl Call<'_> {
    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.arm()?;
            match self.connection.write(bytes) {
                Ok(0) => return Err(self.broken("the runtime closed the connection")),
                Ok(count) => bytes = &bytes[count..],
                Err(error) => self.again(error)?,
            }
        }
        self.connection.flush().or_else(|error| self.again(error))
    }

    fn read(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            self.arm()?;
            match self.connection.read(buffer) {
                Ok(0) => return Err(self.broken("the runtime closed the connection before it answered")),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) => self.again(error)?,
            }
        }
        Ok(())
    }

    /// Bounds the next read or write by what is left of the time.
    fn arm(&mut self) -> Result<()> {
        if let Some(cancel) = self.cancel {
            cancel.check(Phase::Connect)?;
        }
        let left = match self.deadline {
            None => None,
            Some(deadline) => match deadline.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Err(timed_out()),
                left => Some(left),
            },
        };
        self.connection.set_timeout(left).or_else(|error| self.again(error))
    }

    /// An error to report, unless the read or write may be tried again.
    fn again(&self, error: std::io::Error) -> Result<()> {
        if let Some(cancel) = self.cancel {
            cancel.check(Phase::Connect)?;
        }
        match error.kind() {
            ErrorKind::Interrupted => Ok(()),
            // Some systems round a time limit down; `arm` decides whether it is over.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => match self.deadline {
                Some(deadline) if deadline <= Instant::now() => Err(timed_out()),
                _ => Ok(()),
            },
            _ => match error.downcast::<Error>() {
                Ok(error) => Err(error),
                Err(error) => Err(self.broken("the connection broke").with_source(error)),
            },
        }
    }

    /// A runtime that breaks off a call counts as dead. The end of a connection comes before the end of the process
    /// that had it, so that waiting for what comes next would only make it chance which of them is told.
    fn broken(&self, message: &str) -> Error {
        match self.cancel.map(|cancel| cancel.check(Phase::Connect)) {
            Some(Err(cancelled)) => cancelled,
            _ => Error::new(ErrorCode::SandboxDead, Phase::Connect, message),
        }
    }
}

fn timed_out() -> Error {
    Error::new(ErrorCode::Timeout, Phase::Connect, "the runtime did not answer in time")
}
