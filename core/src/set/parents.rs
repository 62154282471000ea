//! Forking: the sandboxes of one set are the parents of another's.
//!
//! A parent is held by its own set while it is forked, like by any holder, and so is unpaused; when its last fork is
//! over it is put. Its children count it: what ends a parent ends it only after they are gone.

#[cfg(test)]
mod model;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::shared::{Effect, Shared};
use super::entry::Entry;
use super::inner::{Inner, closed};
use super::sandbox_ref::SandboxRef;
use super::slots::Lease;
use crate::sandbox::Killer;
use crate::{
    Acquire, Backend, BackendSandbox, CancelToken, Config, CreateRequest, Error, ErrorCode, EventKind,
    GetOptions, Phase, Result, Reuse, SandboxSet, threads,
};

/// Those of a set's sandboxes that are being forked.
#[derive(Debug)]
pub(super) struct Parents {
    shared: Mutex<Shared<Arc<SandboxRef>, Waiter>>,
}

type Waiter = SyncSender<Result<Turn>>;
type Effects = Vec<Effect<Arc<SandboxRef>, Waiter>>;

/// A new sandbox and, if it was forked, its claim on its parent; it is dropped in this order.
pub(super) struct Made {
    pub(super) sandbox: Box<dyn BackendSandbox>,
    pub(super) claim: Option<Claim>,
    /// To be dropped when the child was handed out, which is more urgent.
    pub(super) rest: Option<Rest>,
}

/// A parent that nobody forks now. Dropping this has it put by a worker when it has settled, unless it is forked again
/// before that.
pub(super) struct Rest {
    set: Arc<Inner>,
    key: u64,
}

/// The right to fork one parent, once and now. Its end lets the next one in.
struct Turn {
    set: Arc<Inner>,
    /// `None` when it is over.
    key: Option<u64>,
    parent: Arc<SandboxRef>,
}

/// What a child has of its parent until it is gone itself.
#[derive(Debug)]
pub(super) struct Claim {
    parent: Arc<Entry>,
}

/// How many children of a sandbox there are; and its teardown, if that waits for them.
#[derive(Debug, Default)]
pub(super) struct Children {
    state: Mutex<(usize, Option<Lease>)>,
    /// Whether the teardown waited, and waits no more.
    gone: AtomicBool,
}

/// Whether sandboxes of a backend can be forked from those of a set.
pub(super) fn check_parent(parent: &SandboxSet, backend: &dyn Backend) -> Result<()> {
    let set = parent.inner();
    if set.backend.identity() != backend.identity() {
        let message = format_args!("its sandboxes are made by another {} backend", set.backend.name());
        return Err(Error::invalid("parent", message));
    }
    if !set.backend.capabilities().fork {
        let message = format!("parent: the {} backend cannot fork sandboxes here", set.backend.name());
        return Err(Error::new(ErrorCode::Unsupported, Phase::Configure, message));
    }
    if set.config.reuse != Reuse::Keep {
        return Err(Error::invalid(
            "parent",
            "its sandboxes would not outlive a fork, unless its reuse is keep",
        ));
    }
    set.backend.validate_parent(&set.spec)?;
    set.check_open().map_err(|error| Error::invalid("parent", error.message()))
}

impl Parents {
    pub(super) fn new(config: &Config) -> Self {
        Parents { shared: Mutex::new(Shared::new(config.max_forks, config.max_size)) }
    }
}

impl Inner {
    /// Makes a child by forking a sandbox of this set; once more with another parent if that is to blame. The first
    /// fork gets half of the time, so that one that hangs leaves time for the second.
    pub(super) fn fork(self: &Arc<Self>, request: &CreateRequest, cancel: &CancelToken) -> Result<Made> {
        let turn = self.turn(request.deadline, cancel)?;
        let now = Instant::now();
        let deadline = now + request.deadline.saturating_duration_since(now) / 2;
        match turn.fork(&CreateRequest { deadline, ..request.clone() }) {
            Err(error) if makes_suspect(&error) => {
                tracing::warn!(child = %request.id, %error, "could not be forked, and is tried once more");
            }
            result => return result,
        }
        self.turn(request.deadline, cancel)?.fork(request).map_err(fork_failed)
    }

    /// Refuses those who wait for a parent of this set, and takes back what this set wants of its own parent.
    pub(super) fn end_forks(self: &Arc<Self>) {
        self.closing.cancel();
        self.share(|shared, effects| shared.close(closed(), effects));
    }

    /// Waits until there is a parent to be forked.
    fn turn(self: &Arc<Self>, deadline: Instant, cancel: &CancelToken) -> Result<Turn> {
        self.check_open().map_err(no_parent)?;
        // Room for the turn and for a cancellation, so that nobody who sends ever blocks.
        let (sender, receiver) = mpsc::sync_channel(2);
        let interrupt = sender.clone();
        let _registration = cancel.on_cancel(move || drop(interrupt.try_send(Err(closed()))));
        let ticket = self.share(|shared, effects| shared.request(sender, effects));
        // A turn that comes too late is given up by being dropped with the receiver.
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(error)) => {
                self.share(|shared, effects| shared.abandon(ticket, effects));
                Err(no_parent(error))
            }
            Err(_) => {
                let what = self.share(|shared, effects| {
                    let what = shared.explain();
                    shared.abandon(ticket, effects);
                    what
                });
                let message = format!("no parent came free in time: {what}");
                Err(Error::new(ErrorCode::ForkFailed, Phase::Fork, message))
            }
        }
    }

    fn share<T>(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut Shared<Arc<SandboxRef>, Waiter>, &mut Effects) -> T,
    ) -> T {
        let mut effects = Effects::new();
        let answer = tell(&mut self.parents.shared.lock(), &mut effects);
        for effect in effects {
            self.carry_out_fork(effect);
        }
        answer
    }

    fn carry_out_fork(self: &Arc<Self>, effect: Effect<Arc<SandboxRef>, Waiter>) {
        match effect {
            Effect::Acquire { attempt, cancel } => self.acquire_parent(attempt, cancel),
            Effect::Cancel(cancel) => cancel.cancel(),
            Effect::Deliver { waiter, key, parent } => {
                // Who gave up meanwhile drops the turn, which passes it on.
                let _ = waiter.try_send(Ok(Turn { set: Arc::clone(self), key: Some(key), parent }));
            }
            Effect::Refuse { waiter, error } => drop(waiter.try_send(Err(error))),
            Effect::Rest { key } => drop(Rest { set: Arc::clone(self), key }),
            Effect::Discard { parent, reason } => {
                parent.taint(&reason);
                drop(parent.put());
            }
        }
    }

    /// Gets a parent: an idle one here and now, else a new one or the next that is put, on a worker.
    fn acquire_parent(self: &Arc<Self>, attempt: u64, cancel: CancelToken) {
        if let Some(parent) = self.get_idle(Acquire::Any) {
            return self.share(|shared, effects| shared.acquired(attempt, Arc::new(parent), effects));
        }
        let set = Arc::clone(self);
        let options =
            GetOptions { timeout: Some(Duration::MAX), cancel: Some(cancel), ..GetOptions::default() };
        let get = move || {
            let parent = set.get(&options);
            set.share(|shared, effects| match parent {
                Ok(parent) => shared.acquired(attempt, Arc::new(parent), effects),
                Err(error) => shared.not_acquired(attempt, &error, effects),
            });
        };
        if threads::run(Box::new(get)).is_err() {
            let error = Error::new(ErrorCode::NoCapacity, Phase::Fork, "no thread could be started");
            self.share(|shared, effects| shared.not_acquired(attempt, &error, effects));
        }
    }

    fn return_parent(self: &Arc<Self>, key: u64) {
        let Some(parent) = self.parents.shared.lock().begin_return(key) else { return };
        drop(parent.put());
        self.share(|shared, effects| shared.returned(key, effects));
    }
}

impl Turn {
    fn fork(mut self, request: &CreateRequest) -> Result<Made> {
        let parent = self.parent.entry();
        let result = parent.guard.operate(Phase::Fork, "fork", |sandbox| sandbox.fork(request));
        self.set.decide(|slots, _| slots.count_fork(result.is_ok()));
        match result {
            Ok(sandbox) => {
                // A parent that was torn down before this took the child with it, which its set finds out by itself.
                let claim = Some(Claim::new(parent));
                parent.guard.publish(|| EventKind::Fork(request.id));
                Ok(Made { sandbox, claim, rest: self.end(None) })
            }
            Err(error) => {
                let text = || format!("a fork of it failed: {}", error.message());
                drop(self.end(makes_suspect(&error).then(text)));
                Err(error)
            }
        }
    }

    /// Lets the next one in. What else is to be done has time.
    fn end(&mut self, suspect: Option<String>) -> Option<Rest> {
        let key = self.key.take()?;
        let mut effects = Effects::new();
        self.set.parents.shared.lock().finished(key, suspect, &mut effects);
        let mut rest = None;
        for effect in effects {
            match effect {
                Effect::Rest { key } => rest = Some(Rest { set: Arc::clone(&self.set), key }),
                effect => self.set.carry_out_fork(effect),
            }
        }
        rest
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.end(None));
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let Some(parent) = self.set.parents.shared.lock().begin_settle(self.key) else { return };
        let (set, key) = (Arc::clone(&self.set), self.key);
        let settle = move || {
            // Whatever comes of it, the parent is put.
            let _ = parent.entry().guard.operate(Phase::Fork, "settle", |sandbox| {
                sandbox.settle(&set.closing);
                Ok(())
            });
            drop(parent);
            set.return_parent(key);
        };
        if threads::run(Box::new(settle)).is_err() {
            // Without a thread nobody waits.
            self.set.return_parent(self.key);
        }
    }
}

impl Claim {
    fn new(parent: &Arc<Entry>) -> Self {
        parent.children.state.lock().0 += 1;
        Claim { parent: Arc::clone(parent) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(lease) = self.parent.children.leave() {
            self.parent.set.start_tear_down(lease, Arc::clone(&self.parent));
        }
    }
}

impl Children {
    /// Puts the teardown of a parent off until its last child is gone; `false` if there is none. A parent that died
    /// took its children with it.
    pub(super) fn put_off(&self, parent: &Entry, lease: Lease) -> bool {
        let died = parent.guard.death().is_some_and(|death| death.by == Killer::Itself);
        let mut state = self.state.lock();
        let (children, teardown) = &mut *state;
        if *children == 0 || died {
            return false;
        }
        *teardown = Some(lease);
        true
    }

    /// One is gone. Answers the teardown that waited for it, if it was the last.
    fn leave(&self) -> Option<Lease> {
        let mut state = self.state.lock();
        let (children, teardown) = &mut *state;
        *children -= 1;
        if *children > 0 {
            return None;
        }
        let teardown = teardown.take();
        self.gone.store(teardown.is_some(), Ordering::Release);
        teardown
    }

    /// Whether a teardown was put off, and the last child is gone.
    pub(super) fn are_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// Whether a failed fork says something about the parent, rather than about the child that was wanted.
fn makes_suspect(error: &Error) -> bool {
    !matches!(
        error.code(),
        ErrorCode::InvalidArgument
            | ErrorCode::Unsupported
            | ErrorCode::PermissionDenied
            | ErrorCode::NoCapacity
            | ErrorCode::TooBig
            | ErrorCode::CreateFailed
    )
}

/// `FORK_FAILED` for every error of a fork that the parent is to blame for.
fn fork_failed(error: Error) -> Error {
    failed(error, "two parents could not be forked")
}

/// What is told to those for whom there is no parent. What forking the parent's own parent said stays as it is.
fn no_parent(error: Error) -> Error {
    match error.phase() {
        Phase::Fork => failed(error, "there is no parent to be forked"),
        _ => Error::new(ErrorCode::ForkFailed, Phase::Fork, "there is no parent to be forked")
            .with_source(error),
    }
}

fn failed(error: Error, message: &str) -> Error {
    if error.code() == ErrorCode::ForkFailed || !makes_suspect(&error) {
        return error;
    }
    Error::new(ErrorCode::ForkFailed, Phase::Fork, message).with_source(error)
}
