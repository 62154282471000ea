//! Which call fails, and how; and how often each was made.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::sandbox::Body;
use crate::{Capabilities, Command, Error, ErrorCode, Output, Phase, Result, SandboxId};

/// An operation of a mock sandbox that a fault can be scripted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MockOperation {
    /// Making a sandbox.
    Create,
    /// Pausing one.
    Pause,
    /// Unpausing one.
    Unpause,
    /// Destroying one.
    Destroy,
    /// Running or starting a command.
    Exec,
    /// Asking whether one died.
    Death,
    /// Connecting to the runtime.
    Connect,
    /// Reading, writing, listing or removing a file.
    Files,
    /// Resetting one.
    Reset,
    /// Forking one, counted over all parents.
    Fork,
    /// Binding late what a get asked for.
    Bind,
    /// Taking that back.
    Unbind,
}

/// What happens at a scripted call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MockFault {
    /// The call fails with this cause. Asked for its death, the sandbox answers this cause.
    Fail(String),
    /// The call blocks until [`super::MockBackend::release_hangs`], then goes on as if nothing had happened; or until
    /// its sandbox is destroyed, then it fails. A fork also fails when its parent dies and at its deadline.
    Hang,
    /// The sandbox dies, then the call fails. A create fails.
    Die,
    /// The call takes this long, on the real clock.
    Delay(Duration),
    /// The backend panics, which a backend must not, but might.
    Panic,
}

pub(super) const OPERATIONS: usize = 12;

/// How often each operation was called.
pub(super) type Counters = [AtomicU64; OPERATIONS];

type ExecHandler = Arc<dyn Fn(SandboxId, &Command) -> Result<Output> + Send + Sync>;
type CallHandler = Arc<dyn Fn(SandboxId, &[u8]) -> Vec<u8> + Send + Sync>;

/// What all sandboxes of one mock backend share.
///
/// Calls are counted per sandbox, so that sandboxes used by different threads share nothing on the hot path. Once a
/// fault is scripted, every call goes through the script's lock, which gives it an exact number.
#[derive(Default)]
pub(super) struct Shared {
    scripted: AtomicBool,
    state: Mutex<State>,
    /// Signalled when a call begins to hang, when hangs are released, and when a sandbox is destroyed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    at: HashMap<(MockOperation, u64), MockFault>,
    always: HashMap<MockOperation, MockFault>,
    released: bool,
    hanging: HashMap<MockOperation, usize>,
    sandboxes: HashMap<SandboxId, Arc<Body>>,
    most_live: usize,
    /// The counts of sandboxes that are gone, and of creates.
    retired: [u64; OPERATIONS],
    capabilities: Option<Capabilities>,
    exec: Option<ExecHandler>,
    call: Option<CallHandler>,
}

impl Shared {
    /// Counts a call of a sandbox and does what is scripted for it.
    #[inline]
    pub(super) fn enter(&self, body: &Body, operation: MockOperation) -> Result<()> {
        if !self.scripted.load(Ordering::Acquire) {
            let counter = &body.counters[operation as usize];
            if matches!(operation, MockOperation::Pause | MockOperation::Unpause) {
                // The guard lets only one of them run at a time, so that this needs no atomic addition.
                counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            } else {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(());
        }
        self.enter_scripted(Some(body), operation, None)
    }

    pub(super) fn enter_create(&self) -> Result<()> {
        self.enter_scripted(None, MockOperation::Create, None)
    }

    /// Counts a fork of a parent and does what is scripted for it, which may not outlast the deadline.
    pub(super) fn enter_fork(&self, parent: &Body, deadline: Instant) -> Result<()> {
        self.enter_scripted(Some(parent), MockOperation::Fork, Some(deadline))
    }

    #[cold]
    fn enter_scripted(
        &self,
        body: Option<&Body>,
        operation: MockOperation,
        deadline: Option<Instant>,
    ) -> Result<()> {
        let fault = {
            let mut state = self.state.lock();
            let nth = match body {
                Some(body) => {
                    body.counters[operation as usize].fetch_add(1, Ordering::Relaxed);
                    state.calls(operation)
                }
                None => {
                    state.retired[operation as usize] += 1;
                    state.retired[operation as usize]
                }
            };
            state.at.remove(&(operation, nth)).or_else(|| state.always.get(&operation).cloned())
        };
        let Some(fault) = fault else { return Ok(()) };
        match fault {
            MockFault::Fail(cause) => Err(failed(operation, cause)),
            MockFault::Die => {
                if let Some(body) = body {
                    body.die("scripted death");
                    self.wake();
                }
                Err(failed(operation, "the sandbox died".to_owned()))
            }
            MockFault::Hang => self.hang(body, operation, deadline),
            MockFault::Delay(delay) => {
                std::thread::sleep(delay);
                Ok(())
            }
            MockFault::Panic => panic!("scripted panic"),
        }
    }

    fn hang(&self, body: Option<&Body>, operation: MockOperation, deadline: Option<Instant>) -> Result<()> {
        let mut state = self.state.lock();
        *state.hanging.entry(operation).or_default() += 1;
        self.changed.notify_all();
        let ended = || {
            let why = match operation {
                // A destroy that hangs has no other destroy to end it.
                MockOperation::Destroy => return None,
                _ if body.is_some_and(Body::is_ending) => "the sandbox was destroyed",
                MockOperation::Fork if body.is_some_and(Body::is_dead) => "the parent died",
                _ if deadline.is_some_and(|deadline| deadline <= Instant::now()) => "not done in time",
                _ => return None,
            };
            Some(failed(operation, why.to_owned()))
        };
        while !state.released && ended().is_none() {
            match deadline {
                Some(deadline) => drop(self.changed.wait_until(&mut state, deadline)),
                None => self.changed.wait(&mut state),
            }
        }
        if let Some(count) = state.hanging.get_mut(&operation) {
            *count -= 1;
        }
        ended().map_or(Ok(()), Err)
    }

    /// Whether some call of this operation, now or later, does not simply succeed.
    pub(super) fn has_script_for(&self, operation: MockOperation) -> bool {
        if !self.scripted.load(Ordering::Acquire) {
            return false;
        }
        let state = self.state.lock();
        state.always.contains_key(&operation) || state.at.keys().any(|(scripted, _)| *scripted == operation)
    }

    pub(super) fn script_at(&self, operation: MockOperation, nth: u64, fault: MockFault) {
        self.state.lock().at.insert((operation, nth), fault);
        self.scripted.store(true, Ordering::Release);
    }

    pub(super) fn script_always(&self, operation: MockOperation, fault: Option<MockFault>) {
        let mut state = self.state.lock();
        match fault {
            Some(fault) => state.always.insert(operation, fault),
            None => state.always.remove(&operation),
        };
        self.scripted.store(true, Ordering::Release);
    }

    pub(super) fn release_hangs(&self) {
        self.state.lock().released = true;
        self.changed.notify_all();
    }

    pub(super) fn wait_for_hangs(&self, operation: MockOperation, count: usize, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.state.lock();
        loop {
            if state.hanging.get(&operation).copied().unwrap_or(0) >= count {
                return true;
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return state.hanging.get(&operation).copied().unwrap_or(0) >= count;
            }
        }
    }

    pub(super) fn calls(&self, operation: MockOperation) -> u64 {
        self.state.lock().calls(operation)
    }

    pub(super) fn live(&self) -> usize {
        self.state.lock().sandboxes.len()
    }

    pub(super) fn most_live(&self) -> usize {
        self.state.lock().most_live
    }

    pub(super) fn paused(&self) -> usize {
        self.state.lock().sandboxes.values().filter(|body| body.is_paused()).count()
    }

    pub(super) fn kill(&self, id: SandboxId, cause: &str) -> bool {
        let body = self.state.lock().sandboxes.get(&id).cloned();
        let known = body.map(|body| body.die(cause)).is_some();
        self.wake();
        known
    }

    pub(super) fn register(&self, body: &Arc<Body>) {
        let mut state = self.state.lock();
        state.sandboxes.insert(body.id, Arc::clone(body));
        state.most_live = state.most_live.max(state.sandboxes.len());
    }

    /// A sandbox is gone; its counts are kept.
    pub(super) fn unregister(&self, body: &Body) {
        let mut state = self.state.lock();
        if state.sandboxes.remove(&body.id).is_some() {
            for (retired, counter) in state.retired.iter_mut().zip(&body.counters) {
                // Taken, so that calls of those who still hold the dead sandbox are not counted twice.
                *retired += counter.swap(0, Ordering::Relaxed);
            }
        }
    }

    /// Ends the hangs of a sandbox that is being destroyed, or of a parent that died.
    pub(super) fn wake(&self) {
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        let everything = Capabilities {
            pause: true,
            exec: true,
            connect: true,
            files: true,
            reset: true,
            fork: true,
            bind: true,
        };
        self.state.lock().capabilities.unwrap_or(everything)
    }

    pub(super) fn set_capabilities(&self, capabilities: Capabilities) {
        self.state.lock().capabilities = Some(capabilities);
    }

    pub(super) fn set_exec_handler(&self, handler: ExecHandler) {
        self.state.lock().exec = Some(handler);
    }

    pub(super) fn exec_handler(&self) -> Option<ExecHandler> {
        self.state.lock().exec.clone()
    }

    pub(super) fn set_call_handler(&self, handler: CallHandler) {
        self.state.lock().call = Some(handler);
    }

    pub(super) fn call_handler(&self) -> Option<CallHandler> {
        self.state.lock().call.clone()
    }
}

impl State {
    fn calls(&self, operation: MockOperation) -> u64 {
        let index = operation as usize;
        let living = self.sandboxes.values().map(|body| body.counters[index].load(Ordering::Relaxed));
        self.retired[index] + living.sum::<u64>()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("live", &self.live()).finish_non_exhaustive()
    }
}

/// The error of a scripted failure, as a real backend would report it.
fn failed(operation: MockOperation, cause: String) -> Error {
    let (code, phase) = match operation {
        MockOperation::Create => (ErrorCode::CreateFailed, Phase::Create),
        MockOperation::Pause => (ErrorCode::Internal, Phase::Pause),
        MockOperation::Unpause => (ErrorCode::Internal, Phase::Unpause),
        MockOperation::Destroy => (ErrorCode::Internal, Phase::Destroy),
        MockOperation::Exec => (ErrorCode::BackendUnavailable, Phase::Exec),
        MockOperation::Death => (ErrorCode::SandboxDead, Phase::Use),
        MockOperation::Connect => (ErrorCode::BackendUnavailable, Phase::Connect),
        MockOperation::Files => (ErrorCode::BackendUnavailable, Phase::Files),
        MockOperation::Reset => (ErrorCode::Internal, Phase::Use),
        MockOperation::Fork => (ErrorCode::ForkFailed, Phase::Fork),
        MockOperation::Bind | MockOperation::Unbind => (ErrorCode::Internal, Phase::Bind),
    };
    Error::new(code, phase, cause)
}
