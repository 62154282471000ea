//! One contract around every sandbox of every backend.
//!
//! The guard is a small atomic state machine and holds no lock across a backend call. Whatever a backend does,
//! it keeps these promises: pause and unpause exclude each other and succeed silently when redundant; a failed or
//! panicking one makes the sandbox dead before the error is seen; calls after death answer with the first cause;
//! `destroy_if_paused` and unpause exclude each other; events come in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::set::{Ended, Hub};
use crate::{BackendSandbox, Error, ErrorCode, EventKind, LateBinding, Phase, Result, SandboxId};

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

    /// Gives the sandbox what its next holder asked for. On any error it is dead before the error is returned.
    pub(crate) fn bind(&self, binding: &LateBinding, deadline: Instant) -> Result<()> {
        self.check(Phase::Bind)?;
        self.bound.store(true, Ordering::Release);
        self.guarded(Phase::Bind, "bind", |sandbox| sandbox.bind(binding, deadline))?;
        self.check_alive(Phase::Bind)
    }

    /// Takes back what was bound late, if anything was. On any error the sandbox is dead before the error is returned.
    pub(crate) fn unbind(&self, deadline: Instant) -> Result<()> {
        self.check(Phase::Bind)?;
        if !self.bound.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.guarded(Phase::Bind, "unbind", |sandbox| sandbox.unbind(deadline))
    }

    /// Removes what its last holder left, what was bound late included, and has the backend verify that. On any error
    /// the sandbox is dead before the error is returned.
    pub(crate) fn reset(&self, deadline: Instant) -> Result<()> {
        self.unbind(deadline)?;
        self.check(Phase::Use)?;
        let error = match catch_unwind(AssertUnwindSafe(|| self.sandbox.reset(deadline))) {
            Ok(Ok(report)) => {
                self.check(Phase::Use)?;
                self.publish(|| EventKind::Reset(report));
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(panic) => panic_error(Phase::Use, "the backend", &*panic),
        };
        if !self.is_dead() {
            self.fail_reset(error.message());
        }
        Err(error.with_sandbox(self.id))
    }

    /// Nobody knows what is left in the sandbox.
    #[cold]
    pub(crate) fn fail_reset(&self, text: &str) {
        tracing::warn!(sandbox = %self.id, text, "could not be reset");
        self.publish(|| EventKind::Fault(format!("reset: {text}")));
        self.doom(Killer::Fault, || format!("reset: {text}"));
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

    /// Runs an operation of the holder. An error that is not the caller's own mistake is published as a fault, and
    /// becomes `SANDBOX_DEAD` if the sandbox turns out to have died of it or before it.
    pub(crate) fn operate<T>(
        &self,
        phase: Phase,
        name: &str,
        operation: impl FnOnce(&dyn BackendSandbox) -> Result<T>,
    ) -> Result<T> {
        self.check(phase)?;
        let error = match catch_unwind(AssertUnwindSafe(|| operation(&*self.sandbox))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.with_sandbox(self.id),
            Err(panic) => return Err(self.panicked(phase, name, &*panic)),
        };
        if is_callers_mistake(&error) {
            return Err(error);
        }
        // A destroy meanwhile is a better answer than whatever the call that it broke off came back with.
        self.check(phase)?;
        self.publish(|| EventKind::Fault(format!("{name}: {}", error.message())));
        match self.check_alive(phase) {
            Ok(()) if error.code() == ErrorCode::SandboxDead => {
                self.doom(Killer::Itself, || error.message().to_owned());
                Err(self.dead(phase))
            }
            Ok(()) => Err(error),
            Err(dead) => Err(dead),
        }
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

    /// Calls the backend's pause, unpause, bind or unbind. On failure the sandbox is dead before the error is returned.
    fn guarded<T>(
        &self,
        phase: Phase,
        name: &str,
        call: impl FnOnce(&dyn BackendSandbox) -> Result<T>,
    ) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(|| call(&*self.sandbox))) {
            Ok(Ok(value)) => Ok(value),
            // What breaks off because of a destroy is no fault of its own.
            Ok(Err(_)) if self.is_dead() => Err(self.dead(phase)),
            Ok(Err(error)) => {
                self.fault(name, error.message());
                Err(error.with_sandbox(self.id))
            }
            Err(panic) => Err(self.panicked(phase, name, &*panic)),
        }
    }

    #[cold]
    fn panicked(&self, phase: Phase, name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
        let error = panic_error(phase, name, panic);
        self.fault(name, error.message());
        error.with_sandbox(self.id)
    }

    #[cold]
    fn fault(&self, name: &str, text: &str) {
        tracing::warn!(sandbox = %self.id, operation = name, text, "fault");
        self.publish(|| EventKind::Fault(format!("{name}: {text}")));
        self.doom(Killer::Fault, || format!("{name} failed: {text}"));
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

/// Whether an error says that the caller asked for something wrong, rather than that something went wrong with the
/// sandbox. What a handler makes of a request is between it and its caller: the runtime says itself that it lives on.
pub(crate) fn is_callers_mistake(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::InvalidArgument
            | ErrorCode::InvalidState
            | ErrorCode::Unsupported
            | ErrorCode::PermissionDenied
            | ErrorCode::TooBig
            | ErrorCode::HandlerFailed
    )
}

/// What a panic of a backend or a hook is reported as.
pub(crate) fn panic_error(phase: Phase, name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorCode::Internal, phase, format!("{name} panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::mock::{MockBackend, MockFault, MockOperation};
    use crate::{Backend, CreateRequest, ScratchDirs};

    fn guard(mock: &MockBackend) -> (Arc<Guard>, crate::EventStream) {
        let hub = Arc::new(Hub::default());
        let events = hub.subscribe(100).unwrap();
        let id = SandboxId::next();
        let request =
            CreateRequest { id, spec: Arc::default(), scratch: ScratchDirs::Tmpfs, deadline: Instant::now() };
        let guard = Guard::new(id, mock.create(&request).unwrap(), true, hub);
        guard.announce();
        (Arc::new(guard), events)
    }

    fn names(events: &crate::EventStream) -> Vec<&'static str> {
        std::iter::from_fn(|| events.next(std::time::Duration::ZERO)).map(|event| event.kind.name()).collect()
    }

    #[test]
    fn redundant_pauses_succeed_silently() {
        let mock = MockBackend::new();
        let (guard, events) = guard(&mock);
        guard.unpause().unwrap();
        guard.pause().unwrap();
        guard.pause().unwrap();
        guard.unpause().unwrap();
        guard.unpause().unwrap();
        assert_eq!((mock.calls(MockOperation::Pause), mock.calls(MockOperation::Unpause)), (1, 1));
        assert_eq!(names(&events), ["create", "pause", "unpause"]);
    }

    #[test]
    fn a_failed_or_panicking_pause_leaves_a_dead_sandbox_with_the_first_cause() {
        for fault in [MockFault::Fail("stuck".into()), MockFault::Panic] {
            let mock = MockBackend::new();
            let (guard, events) = guard(&mock);
            mock.fault_at(MockOperation::Pause, 1, fault);
            assert_eq!(guard.pause().unwrap_err().code(), ErrorCode::Internal);
            assert!(!guard.doom(Killer::Holder, || "later".into()));
            for result in [guard.pause(), guard.unpause(), guard.check_alive(Phase::Use)] {
                let error = result.unwrap_err();
                assert_eq!(error.code(), ErrorCode::SandboxDead);
                assert!(error.message().contains("destroyed after a fault: pause failed"), "{error}");
            }
            assert!(guard.tear_down().unwrap());
            assert!(!guard.tear_down().unwrap());
            assert_eq!((mock.calls(MockOperation::Destroy), mock.live()), (1, 0));
            assert_eq!(names(&events), ["create", "fault", "destroy"]);
        }
    }

    #[test]
    fn a_failed_destroy_can_be_tried_again() {
        let mock = MockBackend::new();
        let (guard, events) = guard(&mock);
        mock.fault_at(MockOperation::Destroy, 1, MockFault::Panic);
        mock.fault_at(MockOperation::Destroy, 2, MockFault::Fail("busy".into()));
        assert!(!guard.tear_down().unwrap(), "nobody doomed it");
        assert!(guard.doom(Killer::Holder, || "done".into()));
        assert_eq!(guard.tear_down().unwrap_err().code(), ErrorCode::Internal);
        assert_eq!(guard.tear_down().unwrap_err().sandbox_id(), Some(guard.id()));
        assert!(guard.tear_down().unwrap());
        assert_eq!(names(&events), ["create", "fault", "fault", "destroy"]);
    }

    #[test]
    fn a_destroy_during_a_pause_wins() {
        let mock = MockBackend::new();
        let (guard, events) = guard(&mock);
        mock.fault_at(MockOperation::Pause, 1, MockFault::Hang);
        std::thread::scope(|scope| {
            let pause = scope.spawn(|| guard.pause());
            assert!(mock.wait_for_hangs(MockOperation::Pause, 1, std::time::Duration::from_secs(60)));
            assert!(guard.doom(Killer::Set, || "too slow".into()));
            assert!(guard.tear_down().unwrap());
            assert!(pause.join().unwrap().is_err());
        });
        assert_eq!(names(&events), ["create", "destroy"]);
    }

    #[test]
    fn destroy_if_paused_and_unpause_exclude_each_other() {
        let mock = MockBackend::new();
        let mut wins = [0, 0];
        for _ in 0..500 {
            let (guard, _events) = guard(&mock);
            assert!(!guard.destroy_if_paused(Killer::Set, || "evicted".into()), "it runs");
            guard.pause().unwrap();
            let barrier = std::sync::Barrier::new(2);
            let (evicted, unpaused) = std::thread::scope(|scope| {
                let evictor = scope.spawn(|| {
                    barrier.wait();
                    guard.destroy_if_paused(Killer::Set, || "evicted".into())
                });
                barrier.wait();
                let unpaused = guard.unpause().is_ok();
                (evictor.join().unwrap(), unpaused)
            });
            assert_ne!(evicted, unpaused);
            wins[usize::from(evicted)] += 1;
        }
        println!("unpaused {}, evicted {}", wins[0], wins[1]);
    }

    #[test]
    fn pauses_and_unpauses_of_many_threads_exclude_each_other() {
        let mock = MockBackend::new();
        let (guard, events) = guard(&mock);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let guard = &guard;
                scope.spawn(move || {
                    for _ in 0..500 {
                        if thread % 2 == 0 { guard.pause() } else { guard.unpause() }.unwrap();
                    }
                });
            }
        });
        drop(events);
        let (pauses, unpauses) = (mock.calls(MockOperation::Pause), mock.calls(MockOperation::Unpause));
        // They alternate, so their numbers differ by what the last one was.
        assert_eq!(pauses - unpauses, mock.paused() as u64);
    }
}
