//! What a holder got from a sandbox and might keep for longer than the sandbox: running commands and connections.
//! Once the lease is over they can no longer reach it, so that they never touch the next holder.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::entry::Entry;
use crate::{
    BackendProcess, CancelToken, Connection, Error, ErrorCode, Output, OutputStream, Phase, Result, Stream,
    forked,
};

/// A command that was started under a lease.
pub(super) struct LeasedProcess {
    /// Taken only by the drop.
    inner: Option<Box<dyn BackendProcess>>,
    entry: Arc<Entry>,
    generation: u64,
    ended: AtomicBool,
}

/// A connection that was opened under a lease.
pub(super) struct LeasedStream {
    inner: Option<Connection>,
    entry: Arc<Entry>,
    generation: u64,
}

impl LeasedProcess {
    pub(super) fn new(inner: Box<dyn BackendProcess>, entry: Arc<Entry>, generation: u64) -> Self {
        entry.running.fetch_add(1, Ordering::AcqRel);
        LeasedProcess { inner: Some(inner), entry, generation, ended: AtomicBool::new(false) }
    }

    fn check(&self) -> Result<&dyn BackendProcess> {
        forked::refuse_in_child(Phase::Exec)?;
        match &self.inner {
            Some(inner) if self.entry.is_held(self.generation) => {
                self.entry.guard.check(Phase::Exec)?;
                Ok(&**inner)
            }
            _ => Err(stale(&self.entry, Phase::Exec)),
        }
    }

    /// The command no longer keeps its sandbox from being reused.
    fn end(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            self.entry.running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl BackendProcess for LeasedProcess {
    fn write_stdin(&self, bytes: &[u8], timeout: Duration) -> Result<()> {
        self.check()?.write_stdin(bytes, timeout)
    }

    fn close_stdin(&self) -> Result<()> {
        self.check()?.close_stdin()
    }

    fn read(&self, stream: OutputStream, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.check()?.read(stream, buffer, timeout)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.check()?.signal(signal)
    }

    fn kill(&self) -> Result<()> {
        self.check()?.kill()
    }

    fn wait(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Output> {
        let output = self.check()?.wait(timeout, cancel)?;
        self.end();
        Ok(output)
    }
}

impl Drop for LeasedProcess {
    fn drop(&mut self) {
        if forked::in_forked_child() {
            std::mem::forget(self.inner.take());
            std::mem::forget(Arc::clone(&self.entry));
            return;
        }
        // Kills the command first; only then is the sandbox free of it.
        drop(self.inner.take());
        self.end();
    }
}

impl LeasedStream {
    pub(super) fn connection(inner: Connection, entry: Arc<Entry>, generation: u64) -> Connection {
        Connection::new(Box::new(LeasedStream { inner: Some(inner), entry, generation }))
    }

    fn check(&mut self) -> std::io::Result<&mut Connection> {
        let error = if forked::in_forked_child() {
            forked::refuse_in_child(Phase::Connect).err()
        } else if self.entry.is_held(self.generation) {
            self.entry.guard.check(Phase::Connect).err()
        } else {
            Some(stale(&self.entry, Phase::Connect))
        };
        match (error, &mut self.inner) {
            (None, Some(inner)) => Ok(inner),
            (Some(error), _) => Err(std::io::Error::other(error)),
            (None, None) => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Stream for LeasedStream {
    fn try_clone(&self) -> std::io::Result<Box<dyn Stream>> {
        let Some(inner) = &self.inner else { return Err(std::io::ErrorKind::NotConnected.into()) };
        let (inner, entry) = (Some(inner.try_clone()?), Arc::clone(&self.entry));
        Ok(Box::new(LeasedStream { inner, entry, generation: self.generation }))
    }

    fn set_timeout(&mut self, timeout: Option<Duration>) -> std::io::Result<()> {
        self.check()?.set_timeout(timeout)
    }

    fn interrupter(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        self.inner.as_ref().and_then(Connection::interrupter)
    }
}

impl Read for LeasedStream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let result = self.check()?.read(buffer);
        // What came when the lease was over may be the next holder's. A death that came with it is told by the stream.
        if !forked::in_forked_child() && !self.entry.is_held(self.generation) {
            return Err(std::io::Error::other(stale(&self.entry, Phase::Connect)));
        }
        result
    }
}

impl Write for LeasedStream {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.check()?.write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.check()?.flush()
    }
}

impl Drop for LeasedStream {
    fn drop(&mut self) {
        if forked::in_forked_child() {
            std::mem::forget(self.inner.take());
            std::mem::forget(Arc::clone(&self.entry));
        }
    }
}

/// What is told to those who use what is no longer theirs.
pub(super) fn stale(entry: &Entry, phase: Phase) -> Error {
    Error::new(ErrorCode::StaleRef, phase, "the ref was put or destroyed").with_sandbox(entry.guard.id())
}
