//! The handle of one holder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::bound::Bound;
use super::entry::Entry;
use super::hold::Hold;
use super::slots::Lease;
use crate::sandbox::Killer;
use crate::{
    CancelToken, Command, Connection, DirEntry, Output, Phase, Process, Result, SandboxId, Task, Usage,
    Worker, forked,
};

/// One caller's hold on one sandbox, from a get until `put` or `destroy`, exactly once. Thread-safe.
///
/// Dropping a ref puts the sandbox if nothing went wrong. It destroys the sandbox when the thread is panicking or
/// the ref is tainted: an operation on it failed, timed out or was abandoned half-way. Dropping waits for nothing
/// but the pause itself, as put does.
#[derive(Debug)]
pub struct SandboxRef {
    pub(super) hold: Hold,
    uses: u64,
}

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
    #[inline]
    pub(super) fn new(entry: Arc<Entry>, lease: Lease, uses: u64, bound: Option<Arc<Bound>>) -> Self {
        SandboxRef { hold: Hold { entry, lease, bound }, uses }
    }

    /// Gives the sandbox back: paused and idle, or straight to the oldest waiter; after a reset in the background, if
    /// that is the set's rule. One that cannot be reused, or in which a call is still under way on another thread, is
    /// destroyed instead, without an error. A second put, or a put after destroy, is `STALE_REF`.
    #[inline]
    pub fn put(&self) -> Result<()> {
        forked::refuse_in_child(Phase::Use)?;
        if !self.hold.entry.end_lease(self.hold.lease.generation) {
            return Err(self.hold.stale(Phase::Use));
        }
        self.hold.put();
        Ok(())
    }

    /// As [`SandboxRef::put`], without its wait for the pause: `done` is called with the result, exactly once, on a
    /// thread of this library and perhaps before this returns. The ref is stale when this returns.
    ///
    /// Errors: `NO_CAPACITY` if no thread can be started, `FORKED_PROCESS`. Then nothing has changed, and `done` is not
    /// called.
    pub fn put_then(&self, done: impl FnOnce(Result<()>) + Send + 'static) -> Result<()> {
        let worker = Worker::claim(Phase::Use)?;
        let ended = self.hold.entry.end_lease(self.hold.lease.generation);
        let hold = if ended { Ok(self.hold.clone()) } else { Err(self.hold.stale(Phase::Use)) };
        worker.run(move || hold.map(|hold| hold.put()), done);
        Ok(())
    }

    /// As [`SandboxRef::put`], for a thread that must not wait. `None` if that was all; else the rest, which is done on a
    /// worker, also when the task is dropped: a sandbox whose processes do not stop can hold up a put for seconds.
    pub fn put_at_once(&self) -> Result<Option<Task<()>>> {
        forked::refuse_in_child(Phase::Use)?;
        if !self.hold.entry.end_lease(self.hold.lease.generation) {
            return Err(self.hold.stale(Phase::Use));
        }
        Ok(self.hold.put_at_once().map(|rest| Task::of_job(Phase::Pause, rest)))
    }

    /// Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown.
    /// After a put or a destroy it is `STALE_REF`.
    pub fn destroy(&self, reason: &str) -> Result<()> {
        forked::refuse_in_child(Phase::Destroy)?;
        if !self.hold.entry.end_lease(self.hold.lease.generation) {
            return Err(self.hold.stale(Phase::Destroy));
        }
        self.hold.entry.guard.doom(Killer::Holder, || reason.to_owned());
        self.hold.entry.set.end(self.hold.lease, reason.to_owned());
        Ok(())
    }

    /// Marks the sandbox as not reusable: its put will destroy it. The first reason is kept.
    pub fn taint(&self, reason: &str) {
        self.hold.taint(reason);
    }

    /// Runs a command to its end.
    ///
    /// A command that timed out, ran out of memory or was killed for its output taints the ref, and so does any
    /// error but a mistake in the command.
    pub fn exec(&self, command: &Command) -> Result<Output> {
        self.hold.exec(command)
    }

    /// Starts a command. A put while it runs destroys the sandbox; afterwards the process is `STALE_REF`.
    pub fn spawn(&self, command: &Command) -> Result<Process> {
        self.hold.spawn(command)
    }

    /// Opens a stream to the runtime's socket. It is of no use after the put.
    pub fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        self.hold.connect(timeout, cancel)
    }

    /// Sends one request to the runtime and returns its answer, each framed by a 4-byte little-endian length.
    /// A request or an answer above [`MAX_CALL_BYTES`] is `TOO_BIG`. A runtime that ends, or closes the connection, before
    /// it has answered is `SANDBOX_DEAD`, and so is everything in this sandbox from then on.
    pub fn call(&self, request: &[u8], timeout: Duration, cancel: Option<&CancelToken>) -> Result<Vec<u8>> {
        self.hold.call(request, timeout, cancel)
    }

    /// Reads a regular file of at most `max_bytes`; a larger one is `TOO_BIG`. The path is absolute in the sandbox,
    /// or relative to its scratch dir. The host never follows a link that the sandbox planted.
    pub fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        self.hold.read_file(path, max_bytes)
    }

    /// Creates or replaces a regular file, whole or not at all, with these permission bits (at most 0o777).
    pub fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.hold.write_file(path, bytes, mode)
    }

    /// The entries of a directory, sorted by name; more than `max_entries` is `TOO_BIG`.
    pub fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        self.hold.list_dir(path, max_entries)
    }

    /// Removes a file or, with all it holds, a directory.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.hold.remove(path)
    }

    /// The id of the sandbox; valid after put and destroy.
    pub fn id(&self) -> SandboxId {
        self.hold.entry.guard.id()
    }

    /// The scratch dir as the sandbox's own processes see it.
    pub fn scratch_dir(&self) -> &Path {
        self.hold.entry.guard.sandbox().scratch_dir()
    }

    /// The scratch dir on the host, if it is a directory of the host.
    pub fn host_scratch_dir(&self) -> Option<PathBuf> {
        self.hold.entry.guard.sandbox().host_scratch_dir()
    }

    /// What state the sandbox is in for this holder. Asks the backend whether it still lives.
    pub fn state(&self) -> SandboxState {
        if forked::in_forked_child() || !self.hold.entry.is_held(self.hold.lease.generation) {
            SandboxState::Stale
        } else if self.hold.entry.guard.check_alive(Phase::Use).is_err() {
            SandboxState::Dead
        } else {
            SandboxState::Held
        }
    }

    /// Whether an earlier holder used this sandbox.
    pub fn reused(&self) -> bool {
        self.uses > 1
    }

    /// How often the sandbox was handed out, this time included.
    pub fn uses(&self) -> u64 {
        self.uses
    }

    /// The time since it became ready.
    pub fn age(&self) -> Duration {
        if forked::in_forked_child() {
            return Duration::ZERO;
        }
        self.hold.entry.set.config.clock.now().saturating_sub(self.hold.entry.ready_at)
    }

    /// What the sandbox uses now.
    pub fn usage(&self) -> Result<Usage> {
        self.hold.usage()
    }

    /// What the runtime wrote to its standard output and error, the last `max_bytes` of it.
    pub fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        self.hold.log(max_bytes)
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.hold.entry
    }
}

impl Drop for SandboxRef {
    #[inline]
    fn drop(&mut self) {
        if forked::in_forked_child() {
            // Nothing here may be locked or dropped: it all belongs to the parent.
            std::mem::forget(Arc::clone(&self.hold.entry));
            return;
        }
        if !self.hold.entry.is_held(self.hold.lease.generation) {
            return;
        }
        let ended = if std::thread::panicking() { self.destroy("its holder panicked") } else { self.put() };
        debug_assert!(ended.is_ok(), "a lease ends only through its ref");
    }
}

/// The largest request or answer of [`SandboxRef::call`].
pub const MAX_CALL_BYTES: usize = 64 << 20;
