//! Waiting without the GIL, and so that Ctrl-C works.
//!
//! Python runs signal handlers on its main thread only, and only when that thread asks for them. So a call that
//! may wait is run directly on every other thread, but on a helper thread for the main one, which meanwhile asks
//! every [`SIGNAL_CHECK`]. An interrupted call is cancelled; what it still produces is undone on the helper
//! thread, so that nothing is lost. Helper threads never touch Python.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use sandboxset::{CancelToken, Error, ErrorCode, Phase, Result};

use crate::errors::raise;
use crate::helper;

/// How long a signal may go unnoticed by a waiting main thread.
pub(crate) const SIGNAL_CHECK: Duration = Duration::from_millis(50);
/// How long an interrupted call may take to end before it is left to end by itself.
const SETTLE: Duration = Duration::from_millis(250);

/// Runs a call that does not wait for anyone, without the GIL.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    phase: Phase,
    call: impl FnOnce() -> Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| guarded(phase, call)).map_err(|error| raise(py, error))
}

/// Runs a call that may wait. `call` gets the token that ends its wait: the caller's own, or one that an
/// interrupt fires as well. `undo` takes back a result that came after the interrupt.
pub(crate) fn interruptible<T: Send + 'static>(
    py: Python<'_>,
    phase: Phase,
    cancel: Option<CancelToken>,
    call: impl FnOnce(Option<CancelToken>) -> Result<T> + Send + 'static,
    undo: fn(T),
) -> PyResult<T> {
    // In a forked child there is no helper thread, and the call is refused at once.
    if !on_main_thread(py)? || sandboxset::in_forked_child() {
        return detached(py, phase, move || call(cancel));
    }
    // The caller's token may be shared with other calls, which an interrupt of this one must not end.
    let own = CancelToken::new();
    let linked = own.clone();
    let registration = cancel.map(|token| token.on_cancel(move || linked.cancel()));
    let inner = own.clone();
    let errand = Errand::start(phase, move || call(Some(inner)), undo).map_err(|error| raise(py, error))?;
    let result = loop {
        if let Some(result) = py.detach(|| errand.wait(SIGNAL_CHECK)) {
            break result;
        }
        if let Err(interrupt) = py.check_signals() {
            py.detach(|| {
                own.cancel();
                errand.abandon(undo);
            });
            return Err(interrupt);
        }
    };
    drop(registration);
    result.map_err(|error| raise(py, error))
}

/// Runs a call in slices until it answers `Some`, or until `timeout` has passed: then `None`. For calls that
/// lose nothing when they time out. Signals are checked between the slices.
pub(crate) fn sliced<T: Send>(
    py: Python<'_>,
    phase: Phase,
    timeout: Duration,
    mut call: impl FnMut(Duration) -> Result<Option<T>> + Send,
) -> PyResult<Option<T>> {
    let longest = if on_main_thread(py)? { SIGNAL_CHECK } else { timeout };
    let started = Instant::now();
    loop {
        let left = timeout.saturating_sub(started.elapsed());
        let slice = left.min(longest);
        let answer = detached(py, phase, || call(slice))?;
        if answer.is_some() || left <= slice {
            return Ok(answer);
        }
        py.check_signals()?;
    }
}

/// Runs a future to its end on this thread, which must not be one of Python's. An interrupt drops it.
pub(crate) fn block_on<T>(
    mut future: impl Future<Output = Result<T>> + Unpin,
    interrupt: Option<CancelToken>,
) -> Result<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let _registration = interrupt.as_ref().map(|token| {
        let waker = waker.clone();
        token.on_cancel(move || waker.wake())
    });
    loop {
        if let Some(interrupt) = &interrupt {
            interrupt.check(Phase::Wait)?;
        }
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Runs calls side by side and waits for all of them together. Those that take longer are left to themselves.
pub(crate) fn all_within<T: Send + 'static>(
    py: Python<'_>,
    phase: Phase,
    timeout: Duration,
    calls: impl IntoIterator<Item = impl FnOnce() -> Result<T> + Send + 'static>,
) {
    let deadline = Instant::now() + timeout;
    let errands: Vec<_> = calls.into_iter().map_while(|call| Errand::start(phase, call, drop).ok()).collect();
    py.detach(|| {
        for errand in errands {
            let _ = errand.wait(deadline.saturating_duration_since(Instant::now()));
        }
    });
}

/// Something whose end may take a moment (a backend ends its keeper, a process is killed). The collector drops it
/// without holding the GIL, so that other threads go on meanwhile.
pub(crate) struct DropDetached<T: Send>(Option<T>);

impl<T: Send> DropDetached<T> {
    pub(crate) fn new(value: T) -> Self {
        DropDetached(Some(value))
    }
}

impl<T: Send> std::ops::Deref for DropDetached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("only the drop takes it")
    }
}

impl<T: Send> Drop for DropDetached<T> {
    fn drop(&mut self) {
        let mut value = self.0.take();
        Python::try_attach(|py| py.detach(|| drop(value.take())));
    }
}

/// Whether this is the thread that Python runs signal handlers on.
pub(crate) fn on_main_thread(py: Python<'_>) -> PyResult<bool> {
    // A thread never becomes another one, except in a forked child, where every call is refused anyway.
    thread_local!(static ANSWER: Cell<Option<bool>> = const { Cell::new(None) });
    if let Some(answer) = ANSWER.get() {
        return Ok(answer);
    }
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    let answer = threading.call_method0("get_ident")?.eq(main)?;
    ANSWER.set(Some(answer));
    Ok(answer)
}

/// One call on its way on a helper thread.
struct Errand<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

enum State<T> {
    Running,
    Done(Result<T>),
    /// The result was taken, or nobody wants it any more.
    Over,
}

impl<T: Send + 'static> Errand<T> {
    fn start(phase: Phase, call: impl FnOnce() -> Result<T> + Send + 'static, undo: fn(T)) -> Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::new(State::Running), changed: Condvar::new() });
        let errand = Errand { shared: Arc::clone(&shared) };
        let run = move || {
            let result = guarded(phase, call);
            let mut state = shared.state.lock();
            if let State::Over = *state {
                drop(state);
                undo_quietly(result, undo);
                return;
            }
            *state = State::Done(result);
            shared.changed.notify_one();
        };
        helper::run(Box::new(run)).map_err(|error| {
            Error::new(ErrorCode::NoCapacity, phase, "no thread for the wait").with_source(error)
        })?;
        Ok(errand)
    }

    /// The result, if it comes in time.
    fn wait(&self, timeout: Duration) -> Option<Result<T>> {
        let mut state = self.shared.state.lock();
        self.shared.changed.wait_while_for(&mut state, |state| matches!(state, State::Running), timeout);
        match *state {
            State::Done(_) => match std::mem::replace(&mut *state, State::Over) {
                State::Done(result) => Some(result),
                State::Running | State::Over => None,
            },
            State::Running | State::Over => None,
        }
    }

    /// Leaves the call to itself; its result is undone here or there. Waits a little, so that as a rule the
    /// world is settled before the interrupt is seen.
    fn abandon(self, undo: fn(T)) {
        if let Some(result) = self.wait(SETTLE) {
            undo_quietly(result, undo);
            return;
        }
        let mut state = self.shared.state.lock();
        if let State::Done(result) = std::mem::replace(&mut *state, State::Over) {
            drop(state);
            undo_quietly(result, undo);
        }
    }
}

fn undo_quietly<T>(result: Result<T>, undo: fn(T)) {
    if let Ok(value) = result {
        undo(value);
    }
}

/// Turns a panic into `INTERNAL`: it must not unwind through the interpreter, nor leave a waiter waiting.
fn guarded<T>(phase: Phase, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(panicked(phase, &*payload)))
}

/// What a panic is reported as.
pub(crate) fn panicked(phase: Phase, payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Error::new(ErrorCode::Internal, phase, format!("panicked: {text}"))
}
