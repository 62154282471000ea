//! The handle of one holder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::bound::Bound;
use super::call;
use super::entry::Entry;
use super::leased::{LeasedProcess, LeasedStream};
use super::slots::Lease;
use crate::sandbox::{Killer, check_sandbox_path, is_callers_mistake, panic_error};
use crate::{
    BackendSandbox, CancelToken, Command, Connection, DirEntry, Error, ErrorCode, EventKind, Outcome, Output,
    Phase, Process, Result, Reuse, SandboxId, Stdin, Usage, forked,
};

/// One caller's hold on one sandbox, from a get until `put` or `destroy`, exactly once. Thread-safe.
///
/// Dropping a ref puts the sandbox if nothing went wrong. It destroys the sandbox when the thread is panicking or
/// the ref is tainted: an operation on it failed, timed out or was abandoned half-way. Dropping waits for nothing
/// but the pause itself, as put does.
#[derive(Debug)]
pub struct SandboxRef {
    entry: Arc<Entry>,
    lease: Lease,
    uses: u64,
    /// What was bound late.
    bound: Option<Box<Bound>>,
    /// How the lease ended; says what a stale ref is told. The lease itself ends in the entry.
    ended: AtomicU8,
}

const HELD: u8 = 0;
const PUT: u8 = 1;
const DESTROYED: u8 = 2;

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
    pub(super) fn new(entry: Arc<Entry>, lease: Lease, uses: u64, bound: Option<Box<Bound>>) -> Self {
        SandboxRef { entry, lease, uses, bound, ended: AtomicU8::new(HELD) }
    }

    /// Gives the sandbox back: paused and idle, or straight to the oldest waiter; after a reset in the background, if
    /// that is the set's rule. One that cannot be reused is destroyed instead, without an error. A second put, or a put after destroy, is `STALE_REF`.
    #[inline]
    pub fn put(&self) -> Result<()> {
        forked::refuse_in_child(Phase::Use)?;
        if !self.entry.end_lease(self.lease.generation) {
            return Err(self.stale(Phase::Use));
        }
        self.ended.store(PUT, Ordering::Release);
        self.entry.guard.publish(|| EventKind::Put);
        if let Some(reason) = self.reason_against_reuse() {
            self.entry.guard.doom(Killer::Set, || reason.clone());
            self.entry.set.end(self.lease, reason);
            return Ok(());
        }
        if self.bound.is_some() && !self.unbind() {
            return Ok(());
        }
        self.entry.set.put(&self.entry, self.lease);
        Ok(())
    }

    /// Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown.
    /// After a put or a destroy it is `STALE_REF`.
    pub fn destroy(&self, reason: &str) -> Result<()> {
        forked::refuse_in_child(Phase::Destroy)?;
        if !self.entry.end_lease(self.lease.generation) {
            return Err(self.stale(Phase::Destroy));
        }
        self.ended.store(DESTROYED, Ordering::Release);
        self.entry.guard.doom(Killer::Holder, || reason.to_owned());
        self.entry.set.end(self.lease, reason.to_owned());
        Ok(())
    }

    /// Marks the sandbox as not reusable: its put will destroy it. The first reason is kept.
    pub fn taint(&self, reason: &str) {
        if !forked::in_forked_child() {
            self.entry.taint(self.lease.generation, reason);
        }
    }

    /// Runs a command to its end.
    ///
    /// A command that timed out, ran out of memory or was killed for its output taints the ref, and so does any
    /// error but a mistake in the command.
    pub fn exec(&self, command: &Command) -> Result<Output> {
        let approved = self.approve(command, false)?;
        let output = self.operate(Phase::Exec, "exec", |sandbox| sandbox.exec(approved.get(command)))?;
        if matches!(output.outcome, Outcome::TimedOut | Outcome::OutOfMemory | Outcome::OutputLimit) {
            self.taint(&format!("a command ended as {}", output.outcome.name()));
        }
        Ok(output)
    }

    /// Starts a command. A put while it runs destroys the sandbox; afterwards the process is `STALE_REF`.
    pub fn spawn(&self, command: &Command) -> Result<Process> {
        let approved = self.approve(command, true)?;
        let process = self.operate(Phase::Exec, "spawn", |sandbox| sandbox.spawn(approved.get(command)))?;
        let leased = LeasedProcess::new(process, Arc::clone(&self.entry), self.lease.generation);
        Ok(Process::new(Box::new(leased)))
    }

    /// Opens a stream to the runtime's socket. It is of no use after the put.
    pub fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        if let Some(cancel) = cancel {
            cancel.check(Phase::Connect)?;
        }
        let connection =
            self.operate(Phase::Connect, "connect", |sandbox| sandbox.connect(timeout, cancel))?;
        Ok(LeasedStream::connection(connection, Arc::clone(&self.entry), self.lease.generation))
    }

    /// Sends one request to the runtime and returns its answer, each framed by a 4-byte little-endian length.
    /// A request or an answer above [`MAX_CALL_BYTES`] is `TOO_BIG`.
    pub fn call(&self, request: &[u8], timeout: Duration, cancel: Option<&CancelToken>) -> Result<Vec<u8>> {
        if request.len() > MAX_CALL_BYTES {
            return Err(call::too_big("the request", request.len()));
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut connection = self.connect(timeout, cancel)?;
        self.operate(Phase::Connect, "call", |_| call::exchange(&mut connection, request, deadline, cancel))
    }

    /// Reads a regular file of at most `max_bytes`; a larger one is `TOO_BIG`. The path is absolute in the sandbox,
    /// or relative to its scratch dir. The host never follows a link that the sandbox planted.
    pub fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        check_path(path)?;
        self.operate(Phase::Files, "read_file", |sandbox| sandbox.read_file(path, max_bytes))
    }

    /// Creates or replaces a regular file, whole or not at all, with these permission bits (at most 0o777).
    pub fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        check_path(path)?;
        if mode > 0o777 {
            return Err(Error::invalid("mode", format_args!("{mode:#o} is not between 0 and 0o777")));
        }
        self.operate(Phase::Files, "write_file", |sandbox| sandbox.write_file(path, bytes, mode))
    }

    /// The entries of a directory, sorted by name; more than `max_entries` is `TOO_BIG`.
    pub fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        check_path(path)?;
        self.operate(Phase::Files, "list_dir", |sandbox| sandbox.list_dir(path, max_entries))
    }

    /// Removes a file or, with all it holds, a directory.
    pub fn remove(&self, path: &Path) -> Result<()> {
        check_path(path)?;
        self.operate(Phase::Files, "remove", |sandbox| sandbox.remove(path))
    }

    /// The id of the sandbox; valid after put and destroy.
    pub fn id(&self) -> SandboxId {
        self.entry.guard.id()
    }

    /// The scratch dir as the sandbox's own processes see it.
    pub fn scratch_dir(&self) -> &Path {
        self.entry.guard.sandbox().scratch_dir()
    }

    /// The scratch dir on the host, if it is a directory of the host.
    pub fn host_scratch_dir(&self) -> Option<PathBuf> {
        self.entry.guard.sandbox().host_scratch_dir()
    }

    /// What state the sandbox is in for this holder. Asks the backend whether it still lives.
    pub fn state(&self) -> SandboxState {
        if forked::in_forked_child() || !self.entry.is_held(self.lease.generation) {
            SandboxState::Stale
        } else if self.entry.guard.check_alive(Phase::Use).is_err() {
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
        self.entry.set.config.clock.now().saturating_sub(self.entry.ready_at)
    }

    /// What the sandbox uses now.
    pub fn usage(&self) -> Result<Usage> {
        self.operate(Phase::Use, "usage", |sandbox| sandbox.usage())
    }

    /// What the runtime wrote to its standard output and error, the last `max_bytes` of it.
    pub fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        self.operate(Phase::Use, "log", |sandbox| sandbox.log(max_bytes))
    }

    /// Runs an operation under this lease. An error that is not the caller's mistake taints the ref.
    fn operate<T>(
        &self,
        phase: Phase,
        name: &str,
        operation: impl FnOnce(&dyn BackendSandbox) -> Result<T>,
    ) -> Result<T> {
        forked::refuse_in_child(phase)?;
        // Counted before the lease is looked at again, so that a put sees either the operation or has it refused.
        let _under_way = UnderWay::begin(&self.entry);
        if !self.entry.is_held(self.lease.generation) {
            return Err(self.stale(phase));
        }
        let result = self.entry.guard.operate(phase, name, operation);
        if let Err(error) = &result
            && !is_callers_mistake(error)
        {
            self.taint(&format!("{name} failed: {}", error.message()));
        }
        result
    }

    /// Lets the policy see the command, adds what was bound late, then checks it. A copy is made only for these.
    fn approve(&self, command: &Command, stream: bool) -> Result<Approved> {
        forked::refuse_in_child(Phase::Exec)?;
        if !self.entry.is_held(self.lease.generation) {
            return Err(self.stale(Phase::Exec));
        }
        let mut approved = Approved(None);
        if let Some(policy) = &self.entry.set.config.command_policy {
            let mut rewritten = command.clone();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| policy.apply(&mut rewritten)))
                .unwrap_or_else(|panic| Err(panic_error(Phase::Exec, "the command policy", &*panic)))?;
            approved = Approved(Some(rewritten));
        }
        if let Some(bound) = &self.bound
            && let Some(with_more) = bound.on_command(approved.get(command))
        {
            approved = Approved(Some(with_more));
        }
        let checked = approved.get(command);
        checked.validate()?;
        if !stream && checked.stdin == Stdin::Stream {
            return Err(Error::invalid("stdin", "can be a stream only for spawn"));
        }
        if let Some(cancel) = &checked.cancel {
            cancel.check(Phase::Exec)?;
        }
        Ok(approved)
    }

    /// Why a put has to destroy the sandbox.
    #[inline]
    fn reason_against_reuse(&self) -> Option<String> {
        if let Some(taint) = self.entry.tainted(self.lease.generation) {
            return Some(taint);
        }
        if self.entry.guard.is_dead() {
            return Some("it was dead at its put".to_owned());
        }
        if self.entry.running.load(Ordering::Acquire) > 0 {
            return Some("a command was still running at its put".to_owned());
        }
        let reuse = self.entry.set.config.reuse;
        match reuse {
            Reuse::Reset if self.entry.under_way.load(Ordering::SeqCst) > 0 => {
                Some("reset: an operation was still under way at its put".to_owned())
            }
            Reuse::Replace => Some("it is replaced after every use".to_owned()),
            _ => self.bound.as_ref()?.reason_against_reuse(reuse).map(str::to_owned),
        }
    }

    pub(super) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Takes back what was bound late, unless a reset does that. `false` if the sandbox had to be destroyed instead.
    #[cold]
    fn unbind(&self) -> bool {
        if self.entry.set.config.reuse == Reuse::Reset {
            return true;
        }
        let Err(error) = Bound::unbind(&self.entry.guard) else { return true };
        self.entry.set.end(self.lease, format!("unbind failed: {}", error.message()));
        false
    }

    #[cold]
    fn stale(&self, phase: Phase) -> Error {
        let message = match (self.ended.load(Ordering::Acquire), self.entry.guard.death()) {
            (DESTROYED, Some(death)) => format!("the ref was destroyed: {}", death.reason),
            (DESTROYED, None) => "the ref was destroyed".to_owned(),
            _ => "the ref was put".to_owned(),
        };
        Error::new(ErrorCode::StaleRef, phase, message).with_sandbox(self.id())
    }
}

impl Drop for SandboxRef {
    #[inline]
    fn drop(&mut self) {
        if forked::in_forked_child() {
            // Nothing here may be locked or dropped: it all belongs to the parent.
            std::mem::forget(Arc::clone(&self.entry));
            return;
        }
        if *self.ended.get_mut() != HELD {
            return;
        }
        let ended = if std::thread::panicking() { self.destroy("its holder panicked") } else { self.put() };
        debug_assert!(ended.is_ok(), "a lease ends only through its ref");
    }
}

/// An operation that a holder has begun and that is not over.
struct UnderWay<'a>(&'a Entry);

impl<'a> UnderWay<'a> {
    fn begin(entry: &'a Entry) -> Self {
        entry.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(entry)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What became of a command before it runs, if anything changed it.
struct Approved(Option<Command>);

impl Approved {
    fn get<'a>(&'a self, original: &'a Command) -> &'a Command {
        self.0.as_ref().unwrap_or(original)
    }
}

/// Absolute, or relative to the scratch dir; without NUL and without `..`.
fn check_path(path: &Path) -> Result<()> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("path", "is empty").with_phase(Phase::Files));
    }
    check_sandbox_path("path", &Path::new("/").join(path)).map_err(|error| error.with_phase(Phase::Files))
}

/// The largest request or answer of [`SandboxRef::call`].
pub const MAX_CALL_BYTES: usize = 64 << 20;
