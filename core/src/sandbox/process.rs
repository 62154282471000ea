//! A running command, and a connection to a runtime.

use std::io::{Read, Write};
use std::time::Duration;

use crate::{CancelToken, Output, Result};

/// A command that was started with [`crate::SandboxRef::spawn`]. Thread-safe.
///
/// Dropping it kills the command and every process it started.
pub struct Process {
    inner: Box<dyn BackendProcess>,
}

/// A running command, as its backend sees it. Thread-safe; dropping it kills the command.
pub trait BackendProcess: Send + Sync {
    /// Writes all bytes to its standard input. Blocks while the command does not read.
    fn write_stdin(&self, bytes: &[u8], timeout: Duration) -> Result<()>;

    /// Ends its standard input. Idempotent.
    fn close_stdin(&self) -> Result<()>;

    /// Reads what it wrote, up to `buffer.len()` bytes; 0 is the end. Blocks until there is something.
    fn read(&self, stream: OutputStream, buffer: &mut [u8], timeout: Duration) -> Result<usize>;

    /// Sends a signal to the command's own process.
    fn signal(&self, signal: i32) -> Result<()>;

    /// Kills every process of the command. Idempotent.
    fn kill(&self) -> Result<()>;

    /// Waits for the end. What `read` did not take is in the output, bounded. `TIMEOUT` leaves the command
    /// running; later calls answer the same output again.
    fn wait(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Output>;
}

/// One of the two output streams of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A stream to a runtime's socket, opened from inside the sandbox. Dropping it closes it.
pub struct Connection {
    inner: Box<dyn Stream>,
}

/// What a [`Connection`] is made of.
pub trait Stream: Read + Write + Send {
    /// Bounds every later read and write; `None` is unbounded.
    fn set_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()>;

    /// Another handle of the same stream, with a time limit of its own, so that one thread can read while another
    /// writes.
    fn try_clone(&self) -> std::io::Result<Box<dyn Stream>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    /// A function that makes a blocked read or write return at once, from another thread and for good. Without
    /// one, a cancel is seen only when the read or write ends.
    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        None
    }
}

impl Process {
    pub(crate) fn new(inner: Box<dyn BackendProcess>) -> Self {
        Process { inner }
    }

    /// Writes all bytes to the command's standard input, which must be [`crate::Stdin::Stream`].
    pub fn write_stdin(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.inner.write_stdin(bytes, timeout)
    }

    /// Ends the command's standard input. Idempotent.
    pub fn close_stdin(&self) -> Result<()> {
        self.inner.close_stdin()
    }

    /// Reads what the command wrote, up to `buffer.len()` bytes; 0 is the end.
    pub fn read(&self, stream: OutputStream, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.inner.read(stream, buffer, timeout)
    }

    /// Sends a signal (1 to 64) to the command's own process.
    pub fn signal(&self, signal: i32) -> Result<()> {
        if !(1..=64).contains(&signal) {
            return Err(crate::Error::invalid("signal", format_args!("{signal} is not between 1 and 64")));
        }
        self.inner.signal(signal)
    }

    /// Kills every process of the command. Idempotent.
    pub fn kill(&self) -> Result<()> {
        self.inner.kill()
    }

    /// Waits for the end of the command. `TIMEOUT` leaves it running; once ended, every call answers the same.
    pub fn wait(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Output> {
        self.inner.wait(timeout, cancel)
    }
}

impl Connection {
    /// Wraps a backend's stream.
    pub fn new(inner: Box<dyn Stream>) -> Self {
        Connection { inner }
    }

    /// Bounds every later read and write; `None` is unbounded.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.inner.set_timeout(timeout)
    }

    /// Another handle of the same connection, with a time limit of its own, so that one thread can read while another
    /// writes. The connection is closed with its last handle.
    pub fn try_clone(&self) -> std::io::Result<Connection> {
        self.inner.try_clone().map(Connection::new)
    }

    /// A function that makes a blocked read or write of any handle return at once, and every later one, from another
    /// thread; `None` if the backend has none.
    pub fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        self.inner.interrupter()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Process")
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}
