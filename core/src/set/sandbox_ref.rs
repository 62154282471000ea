//! The handle of one holder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{CancelToken, Command, Connection, DirEntry, Output, Process, Result, SandboxId, Usage};

/// One caller's hold on one sandbox, from a get until `put` or `destroy`, exactly once. Thread-safe.
///
/// Dropping a ref puts the sandbox if nothing went wrong. It destroys the sandbox when the thread is panicking or
/// the ref is tainted: an operation on it failed, timed out or was abandoned half-way. Dropping never blocks.
#[derive(Debug)]
pub struct SandboxRef {}

/// The state of a held sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SandboxState {
    /// Running, in the hands of this holder.
    Held,
    /// Dead.
    Dead,
    /// This ref was put or destroyed.
    Stale,
}

impl SandboxState {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            SandboxState::Held => "held",
            SandboxState::Dead => "dead",
            SandboxState::Stale => "stale",
        }
    }
}

impl SandboxRef {
    /// Gives the sandbox back: paused and idle, or straight to the oldest waiter. One that cannot be reused is
    /// destroyed instead, without an error. A second put, or a put after destroy, is `STALE_REF`.
    pub fn put(&self) -> Result<()> {
        todo!()
    }

    /// Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown.
    pub fn destroy(&self, reason: &str) -> Result<()> {
        let _ = reason;
        todo!()
    }

    /// Marks the sandbox as not reusable: its put will destroy it.
    pub fn taint(&self, reason: &str) {
        let _ = reason;
        todo!()
    }

    /// Runs a command to its end.
    pub fn exec(&self, command: &Command) -> Result<Output> {
        let _ = command;
        todo!()
    }

    /// Starts a command.
    pub fn spawn(&self, command: &Command) -> Result<Process> {
        let _ = command;
        todo!()
    }

    /// Opens a stream to the runtime's socket.
    pub fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        let _ = (timeout, cancel);
        todo!()
    }

    /// Sends one request to the runtime and returns its answer, each framed by a 4-byte little-endian length.
    /// An answer above `MAX_CALL_BYTES` is `TOO_BIG`.
    pub fn call(&self, request: &[u8], timeout: Duration, cancel: Option<&CancelToken>) -> Result<Vec<u8>> {
        let _ = (request, timeout, cancel);
        todo!()
    }

    /// Reads a regular file of at most `max_bytes`; a larger one is `TOO_BIG`. The path is absolute in the sandbox,
    /// or relative to its scratch dir. The host never follows a link that the sandbox planted.
    pub fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let _ = (path, max_bytes);
        todo!()
    }

    /// Creates or replaces a regular file, whole or not at all, with these permission bits.
    pub fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let _ = (path, bytes, mode);
        todo!()
    }

    /// The entries of a directory, sorted by name; more than `max_entries` is `TOO_BIG`.
    pub fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        let _ = (path, max_entries);
        todo!()
    }

    /// Removes a file or, with all it holds, a directory.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let _ = path;
        todo!()
    }

    /// The id of the sandbox; valid after put and destroy.
    pub fn id(&self) -> SandboxId {
        todo!()
    }

    /// The scratch dir as the sandbox's own processes see it.
    pub fn scratch_dir(&self) -> &Path {
        todo!()
    }

    /// The scratch dir on the host, if it is a directory of the host.
    pub fn host_scratch_dir(&self) -> Option<PathBuf> {
        todo!()
    }

    /// What state the sandbox is in for this holder.
    pub fn state(&self) -> SandboxState {
        todo!()
    }

    /// Whether an earlier holder used this sandbox.
    pub fn reused(&self) -> bool {
        todo!()
    }

    /// How often the sandbox was handed out, this time included.
    pub fn uses(&self) -> u64 {
        todo!()
    }

    /// The time since it became ready.
    pub fn age(&self) -> Duration {
        todo!()
    }

    /// What the sandbox uses now.
    pub fn usage(&self) -> Result<Usage> {
        todo!()
    }

    /// What the runtime wrote to its standard output and error, the last `max_bytes` of it.
    pub fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        let _ = max_bytes;
        todo!()
    }
}

/// The largest request or answer of [`SandboxRef::call`].
pub const MAX_CALL_BYTES: usize = 64 << 20;
