//! What a holder can do in its sandbox while its lease lasts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::bound::Bound;
use super::call;
use super::entry::Entry;
use super::leased::{LeasedProcess, LeasedStream};
use super::sandbox_ref::MAX_CALL_BYTES;
use super::slots::Lease;
use crate::sandbox::{Killer, check_sandbox_path, is_callers_mistake, panic_error};
use crate::threads::Job;
use crate::{
    BackendSandbox, CancelToken, Command, Connection, DirEntry, Error, ErrorCode, EventKind, Outcome, Output,
    Phase, Process, Result, Reuse, Stdin, Usage, forked,
};

/// A lease and its sandbox. Clones share the lease, so that a call can go on elsewhere; when the lease ends, by
/// whichever of them, all of them are stale.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) entry: Arc<Entry>,
    pub(super) lease: Lease,
    /// What was bound late.
    pub(super) bound: Option<Arc<Bound>>,
}

impl Hold {
    /// Marks the sandbox as not reusable.
    pub(super) fn taint(&self, reason: &str) {
        if !forked::in_forked_child() {
            self.entry.taint(self.lease.generation, reason);
        }
    }

    pub(super) fn exec(&self, command: &Command) -> Result<Output> {
        let approved = self.approve(command, false)?;
        let output = self.operate(Phase::Exec, "exec", |sandbox| sandbox.exec(approved.get(command)))?;
        if matches!(output.outcome, Outcome::TimedOut | Outcome::OutOfMemory | Outcome::OutputLimit) {
            self.taint(&format!("a command ended as {}", output.outcome.name()));
        }
        Ok(output)
    }

    pub(super) fn spawn(&self, command: &Command) -> Result<Process> {
        let approved = self.approve(command, true)?;
        let process = self.operate(Phase::Exec, "spawn", |sandbox| sandbox.spawn(approved.get(command)))?;
        let leased = LeasedProcess::new(process, Arc::clone(&self.entry), self.lease.generation);
        Ok(Process::new(Box::new(leased)))
    }

    pub(super) fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        if let Some(cancel) = cancel {
            cancel.check(Phase::Connect)?;
        }
        let connection =
            self.operate(Phase::Connect, "connect", |sandbox| sandbox.connect(timeout, cancel))?;
        Ok(LeasedStream::connection(connection, Arc::clone(&self.entry), self.lease.generation))
    }

    pub(super) fn call(
        &self,
        request: &[u8],
        timeout: Duration,
        cancel: Option<&CancelToken>,
    ) -> Result<Vec<u8>> {
        if request.len() > MAX_CALL_BYTES {
            return Err(call::too_big("the request", request.len()));
        }
        let deadline = Instant::now().checked_add(timeout);
        let mut connection = self.connect(timeout, cancel)?;
        self.operate(Phase::Connect, "call", |_| call::exchange(&mut connection, request, deadline, cancel))
    }

    pub(super) fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        check_path(path)?;
        self.operate(Phase::Files, "read_file", |sandbox| sandbox.read_file(path, max_bytes))
    }

    pub(super) fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        check_path(path)?;
        if mode > 0o777 {
            return Err(Error::invalid("mode", format_args!("{mode:#o} is not between 0 and 0o777")));
        }
        self.operate(Phase::Files, "write_file", |sandbox| sandbox.write_file(path, bytes, mode))
    }

    pub(super) fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        check_path(path)?;
        self.operate(Phase::Files, "list_dir", |sandbox| sandbox.list_dir(path, max_entries))
    }

    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        check_path(path)?;
        self.operate(Phase::Files, "remove", |sandbox| sandbox.remove(path))
    }

    pub(super) fn usage(&self) -> Result<Usage> {
        self.operate(Phase::Use, "usage", |sandbox| sandbox.usage())
    }

    pub(super) fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        self.operate(Phase::Use, "log", |sandbox| sandbox.log(max_bytes))
    }

    /// What a put does once the lease is over.
    #[inline]
    pub(super) fn put(&self) {
        if self.begin_put() {
            self.end_put();
        }
    }

    /// As `put`, for a thread that must not wait; answers what is left to do.
    pub(super) fn put_at_once(&self) -> Option<Job> {
        if !self.begin_put() {
            return None;
        }
        if self.bound.is_none() {
            return self.entry.set.put_at_once(&self.entry, self.lease);
        }
        let hold = self.clone();
        Some(Box::new(move || hold.end_put()))
    }

    /// `false` if the sandbox is destroyed instead.
    #[inline]
    fn begin_put(&self) -> bool {
        self.entry.guard.publish(|| EventKind::Put);
        let Some(reason) = self.reason_against_reuse() else { return true };
        self.entry.guard.doom(Killer::Set, || reason.clone());
        self.entry.set.end(self.lease, reason);
        false
    }

    #[inline]
    fn end_put(&self) {
        if self.bound.is_none() || self.unbind() {
            self.entry.set.put(&self.entry, self.lease);
        }
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
        if self.entry.under_way.load(Ordering::SeqCst) > 0 {
            return Some("an operation was still under way at its put".to_owned());
        }
        let reuse = self.entry.set.config.reuse;
        match reuse {
            Reuse::Replace => Some("it is replaced after every use".to_owned()),
            _ => self.bound.as_ref()?.reason_against_reuse(reuse).map(str::to_owned),
        }
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

    /// What is told to those whose lease has ended.
    #[cold]
    pub(super) fn stale(&self, phase: Phase) -> Error {
        let message = match self.entry.guard.death() {
            // A destroyed sandbox has no later holder.
            Some(death) if death.by == Killer::Holder && self.entry.is_last(self.lease.generation) => {
                format!("the ref was destroyed: {}", death.reason)
            }
            _ => "the ref was put".to_owned(),
        };
        Error::new(ErrorCode::StaleRef, phase, message).with_sandbox(self.entry.guard.id())
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
