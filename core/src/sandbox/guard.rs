//! One contract around every sandbox of every backend.
//!
//! The guard is a small atomic state machine and holds no lock across a backend call. Whatever a backend does,
//! it keeps these promises: pause and unpause exclude each other and succeed silently when redundant; a failed or
//! panicking one makes the sandbox dead before the error is seen; calls after death answer with the first cause;
//! `destroy_if_paused` and unpause exclude each other; events come in order.

mod operate;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

pub(crate) use self::operate::{is_callers_mistake, panic_error};
use crate::set::{Ended, Hub};
use crate::{BackendSandbox, Error, ErrorCode, EventKind, Phase, Result, SandboxId};

/// Wraps a backend's sandbox. Thread-safe.
pub(crate) struct Guard {
    id: SandboxId,
    sandbox: Box<dyn BackendSandbox>,
    can_pause: bool,
    state: AtomicU8,
    death: OnceLock<Death>,
    /// Whether it has something that was bound late.
    bound: AtomicBool,
    hub: Arc<Hub>,
    ended: Ended,
    /// Only for those who wait for somebody else's pause or unpause to end.
    transition: (Mutex<()>, Condvar),
}

/// Why a sandbox is dead. The first cause is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Death {
    /// Who ended it.
    pub(crate) by: Killer,
    /// The reason, or what happened.
    pub(crate) reason: String,
}

/// Who ended a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killer {
    /// The holder of its ref.
    Holder,
    /// The set, by one of its rules.
    Set,
    /// An operation that failed.
    Fault,
    /// Nobody: it died.
    Itself,
}

/// Why a sandbox cannot be handed out.
enum Resume {
    Failed(Error),
    Dead(String),
}

const RUNNING: u8 = 0;
const PAUSING: u8 = 1;
const PAUSED: u8 = 2;
const UNPAUSING: u8 = 3;
/// Dead for everybody, but not torn down yet, or not successfully.
const DOOMED: u8 = 4;
/// The backend's destroy is running.
const DESTROYING: u8 = 5;
const DESTROYED: u8 = 6;
const FIRST_DEAD: u8 = DOOMED;
/// Set beside `PAUSING` or `UNPAUSING` by those who wait for the end of it.
const AWAITED: u8 = 0x80;

impl Guard {
    /// Takes charge of a sandbox that runs. Its `Create` event is published by [`Guard::announce`].
    pub(crate) fn new(
        id: SandboxId,
        sandbox: Box<dyn BackendSandbox>,
        can_pause: bool,
        hub: Arc<Hub>,
    ) -> Self {
        Guard {
            id,
            sandbox,
            can_pause,
            state: AtomicU8::new(RUNNING),
            death: OnceLock::new(),
            bound: AtomicBool::new(false),
            hub,
            ended: Ended::default(),
            transition: (Mutex::new(()), Condvar::new()),
        }
    }

    pub(crate) fn id(&self) -> SandboxId {
        self.id
    }

    /// Publishes that the sandbox exists and is usable.
    pub(crate) fn announce(&self) {
        self.publish(|| EventKind::Create);
    }

    /// Stops the sandbox's processes. Does nothing if they are stopped, or if the backend cannot.
    pub(crate) fn pause(&self) -> Result<()> {
        if !self.can_pause {
            return self.check(Phase::Pause);
        }
        if !self.begin(RUNNING, PAUSING, PAUSED, Phase::Pause)? {
            return Ok(());
        }
        self.go_on_pausing()
    }

    /// As `pause`, for a thread that must not wait. `false` if the processes do not stop at once: then it is pausing,
    /// and [`Guard::go_on_pausing`] has to be called.
    pub(crate) fn pause_at_once(&self) -> Result<bool> {
        if !self.can_pause {
            return self.check(Phase::Pause).map(|()| true);
        }
        if !self.begin(RUNNING, PAUSING, PAUSED, Phase::Pause)? {
            return Ok(true);
        }
        if !self.guarded(Phase::Pause, "pause", |sandbox| sandbox.pause_at_once())? {
            return Ok(false);
        }
        self.end_pause().map(|()| true)
    }

    /// Ends what [`Guard::pause_at_once`] began.
    pub(crate) fn go_on_pausing(&self) -> Result<()> {
        self.guarded(Phase::Pause, "pause", |sandbox| sandbox.pause())?;
        self.end_pause()
    }

    #[inline]
    fn end_pause(&self) -> Result<()> {
        self.finish(PAUSING, PAUSED, Phase::Pause)?;
        self.publish(|| EventKind::Pause);
        Ok(())
    }

    /// Lets the sandbox's processes run. Does nothing if they do.
    #[allow(dead_code, reason = "part of the contract; the set resumes, which also asks whether it lives")]
    pub(crate) fn unpause(&self) -> Result<()> {
        if !self.can_pause {
            return self.check(Phase::Unpause);
        }
        if !self.begin(PAUSED, UNPAUSING, RUNNING, Phase::Unpause)? {
            return Ok(());
        }
        self.publish(|| EventKind::Unpause);
        self.guarded(Phase::Unpause, "unpause", |sandbox| sandbox.unpause())?;
        self.finish(UNPAUSING, RUNNING, Phase::Unpause)
    }

    /// Unpauses and asks whether the sandbox lives, for a hand-out: one call instead of two, because this is the
    /// hot path of a set.
    #[inline]
    pub(crate) fn resume(&self) -> Result<()> {
        if !self.can_pause || !self.begin(PAUSED, UNPAUSING, RUNNING, Phase::Unpause)? {
            return self.check_alive(Phase::Unpause);
        }
        self.publish(|| EventKind::Unpause);
        let resumed = catch_unwind(AssertUnwindSafe(|| match self.sandbox.unpause() {
            Ok(()) => self.sandbox.death().map_or(Ok(()), |cause| Err(Resume::Dead(cause))),
            Err(error) => Err(Resume::Failed(error)),
        }));
        match resumed {
            Ok(Ok(())) => self.finish(UNPAUSING, RUNNING, Phase::Unpause),
            Ok(Err(Resume::Failed(_))) if self.is_dead() => Err(self.dead(Phase::Unpause)),
            Ok(Err(Resume::Failed(error))) => {
                self.fault("unpause", error.message());
                Err(error.with_sandbox(self.id))
            }
            Ok(Err(Resume::Dead(cause))) => {
                self.doom(Killer::Itself, || cause);
                Err(self.dead(Phase::Unpause))
            }
            Err(panic) => Err(self.panicked(Phase::Unpause, "unpause", &*panic)),
        }
    }

    /// Asks the backend whether the sandbox still lives; if not, it is dead from here on.
    pub(crate) fn check_alive(&self, phase: Phase) -> Result<()> {
        self.check(phase)?;
        match catch_unwind(AssertUnwindSafe(|| self.sandbox.death())) {
            Ok(None) => Ok(()),
            Ok(Some(cause)) => {
                self.doom(Killer::Itself, || cause);
                Err(self.dead(phase))
            }
            Err(panic) => Err(self.panicked(phase, "death", &*panic)),
        }
    }

    /// `SANDBOX_DEAD` with the first cause, if the sandbox is known to be dead.
    #[inline]
    pub(crate) fn check(&self, phase: Phase) -> Result<()> {
        if self.is_dead() { Err(self.dead(phase)) } else { Ok(()) }
    }

    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.state.load(Ordering::Acquire) & !AWAITED >= FIRST_DEAD
    }

    /// The first cause of death.
    pub(crate) fn death(&self) -> Option<&Death> {
        self.death.get()
    }

    /// The backend's sandbox, for questions that cannot fail and change nothing.
    pub(crate) fn sandbox(&self) -> &dyn BackendSandbox {
        &*self.sandbox
    }

    /// Makes the sandbox dead for everybody; only the first cause is kept. Whoever gets `true` has to see to it
    /// that [`Guard::tear_down`] is called.
    pub(crate) fn doom(&self, by: Killer, reason: impl FnOnce() -> String) -> bool {
        if self.is_dead() {
            return false;
        }
        // The cause comes first, so that whoever sees the state also sees the cause.
        self.death.get_or_init(|| Death { by, reason: reason() });
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & !AWAITED >= FIRST_DEAD {
                return false;
            }
            match self.state.compare_exchange_weak(state, DOOMED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        if state & AWAITED != 0 {
            self.wake();
        }
        true
    }

    /// Dooms the sandbox only if it is paused now; never together with an unpause.
    #[allow(dead_code, reason = "part of the contract; whoever evicts needs it")]
    pub(crate) fn destroy_if_paused(&self, by: Killer, reason: impl FnOnce() -> String) -> bool {
        if self.state.compare_exchange(PAUSED, DOOMED, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return false;
        }
        self.death.get_or_init(|| Death { by, reason: reason() });
        true
    }

    /// Ends a doomed sandbox through its backend and publishes its last event. A failed one may be tried again;
    /// `Ok(false)` means that it is done already, or being done by another thread.
    pub(crate) fn tear_down(&self) -> Result<bool> {
        if self.state.compare_exchange(DOOMED, DESTROYING, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Ok(false);
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.sandbox.destroy()))
            .unwrap_or_else(|panic| Err(panic_error(Phase::Destroy, "destroy", &*panic)));
        match result {
            Ok(()) => {
                self.state.store(DESTROYED, Ordering::Release);
                let reason = self.death.get().map_or("", |death| &death.reason);
                tracing::debug!(sandbox = %self.id, reason, "destroyed");
                self.publish(|| EventKind::Destroy(reason.to_owned()));
                Ok(true)
            }
            Err(error) => {
                self.state.store(DOOMED, Ordering::Release);
                tracing::warn!(sandbox = %self.id, %error, "could not be destroyed");
                self.publish(|| EventKind::Fault(format!("destroy: {}", error.message())));
                Err(error.with_sandbox(self.id))
            }
        }
    }

    pub(crate) fn publish(&self, kind: impl FnOnce() -> EventKind) {
        self.hub.publish(self.id, &self.ended, kind);
    }

    /// Enters a transition. `false` if its end is reached already.
    #[inline]
    fn begin(&self, from: u8, through: u8, to: u8, phase: Phase) -> Result<bool> {
        match self.state.compare_exchange(from, through, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(true),
            Err(now) => self.begin_slowly(now, from, through, to, phase),
        }
    }

    #[cold]
    fn begin_slowly(&self, mut now: u8, from: u8, through: u8, to: u8, phase: Phase) -> Result<bool> {
        loop {
            if now == to {
                return Ok(false);
            }
            if now & !AWAITED >= FIRST_DEAD {
                return Err(self.dead(phase));
            }
            if now != from {
                self.await_transition();
            }
            match self.state.compare_exchange(from, through, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(true),
                Err(other) => now = other,
            }
        }
    }

    /// Leaves a transition, unless the sandbox died during it.
    #[inline]
    fn finish(&self, through: u8, to: u8, phase: Phase) -> Result<()> {
        if self.state.compare_exchange(through, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Ok(());
        }
        if self.state.compare_exchange(through | AWAITED, to, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.wake();
            return Ok(());
        }
        Err(self.dead(phase))
    }

    fn await_transition(&self) {
        let mut lock = self.transition.0.lock();
        loop {
            let now = self.state.load(Ordering::Acquire);
            if now & !AWAITED != PAUSING && now & !AWAITED != UNPAUSING {
                return;
            }
            let marked = self.state.compare_exchange(now, now | AWAITED, Ordering::AcqRel, Ordering::Acquire);
            if marked.is_ok() {
                self.transition.1.wait(&mut lock);
            }
        }
    }

    fn wake(&self) {
        let _lock = self.transition.0.lock();
        self.transition.1.notify_all();
    }

    #[cold]
    fn dead(&self, phase: Phase) -> Error {
        let text = match self.death.get() {
            Some(Death { by: Killer::Holder, reason }) => format!("destroyed by its holder: {reason}"),
            Some(Death { by: Killer::Set, reason }) => format!("destroyed by its set: {reason}"),
            Some(Death { by: Killer::Fault, reason }) => format!("destroyed after a fault: {reason}"),
            Some(Death { by: Killer::Itself, reason }) => format!("died: {reason}"),
            None => "destroyed".to_owned(),
        };
        Error::new(ErrorCode::SandboxDead, phase, format!("{} {text}", self.id)).with_sandbox(self.id)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("id", &self.id).field("death", &self.death.get()).finish()
    }
}
