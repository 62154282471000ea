//! Futures of the core on Node's own event loop: no thread and no runtime beside it.
//!
//! A future is polled on the JavaScript thread, once when it is started and again whenever it was woken. Waking only
//! writes down which one, and asks the event loop for a turn. What JavaScript waits for keeps its process alive; when
//! nothing is waited for, nothing does.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use napi::bindgen_prelude::{Function, FunctionRef, ToNapiValue, Unknown};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, JsValue, Status, sys};
use parking_lot::Mutex;
use sandboxset::{Error, ErrorCode, Phase};

use crate::errors::{MakeError, error_value};

/// Asks the event loop to call `drain`. Weak: by itself it keeps no process alive.
pub(crate) type Turn = ThreadsafeFunction<(), Unknown<'static>, (), Status, false, true>;

/// Called once with what became of a call: its value, or an error as the facade makes them.
pub(crate) type Done<'a> = Function<'a, Unknown<'static>, Unknown<'static>>;

/// What belongs to one JavaScript environment.
pub(crate) struct Bridge {
    pub(crate) make_error: MakeError,
    woken: Arc<Woken>,
    pending: RefCell<HashMap<u64, Pending>>,
    next: Cell<u64>,
}

/// A call that JavaScript waits for.
struct Pending {
    future: Pin<Box<dyn Future<Output = Finish>>>,
    done: FunctionRef<Unknown<'static>, Unknown<'static>>,
    waker: Waker,
}

/// Makes the value for JavaScript, on its thread.
type Finish = Box<dyn FnOnce(&Env) -> napi::Result<sys::napi_value>>;

/// The calls that were woken since the last turn.
struct Woken {
    calls: Mutex<VecDeque<u64>>,
    turn: Turn,
}

struct WakeCall {
    call: u64,
    woken: Arc<Woken>,
}

impl Wake for WakeCall {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut calls = self.woken.calls.lock();
        calls.push_back(self.call);
        if calls.len() == 1 {
            // Only a loop that is ending refuses, and then nobody waits any more.
            self.woken.turn.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}

impl Bridge {
    /// Makes the bridge of this environment.
    pub(crate) fn install(env: &Env, make_error: MakeError, turn: Turn) -> napi::Result<()> {
        let bridge = Rc::new(Bridge {
            make_error,
            woken: Arc::new(Woken { calls: Mutex::default(), turn }),
            pending: RefCell::default(),
            next: Cell::new(0),
        });
        env.set_instance_data(bridge, (), |_| ())
    }

    /// The bridge of this environment.
    pub(crate) fn of(env: &Env) -> napi::Result<Rc<Bridge>> {
        match env.get_instance_data::<Rc<Bridge>>()? {
            Some(bridge) => Ok(Rc::clone(bridge)),
            None => Err(napi::Error::from_reason("the native module was not connected")),
        }
    }

    /// Polls what was woken.
    pub(crate) fn drain(&self, env: &Env) -> napi::Result<()> {
        let calls = std::mem::take(&mut *self.woken.calls.lock());
        for call in calls {
            // One that is gone was woken twice.
            let pending = self.pending.borrow_mut().remove(&call);
            if let Some(pending) = pending {
                self.advance(env, call, pending)?;
            }
        }
        Ok(())
    }

    /// Polls a call. No borrow is held meanwhile, because it may call JavaScript, which may start another.
    fn advance(&self, env: &Env, call: u64, mut pending: Pending) -> napi::Result<()> {
        match pending.future.as_mut().poll(&mut Context::from_waker(&pending.waker)) {
            Poll::Pending => {
                let mut all = self.pending.borrow_mut();
                if all.is_empty() {
                    self.hold_process(env, true)?;
                }
                all.insert(call, pending);
                Ok(())
            }
            Poll::Ready(finish) => {
                if self.pending.borrow().is_empty() {
                    self.hold_process(env, false)?;
                }
                let value = finish(env)?;
                // SAFETY: the value was made just now, in this environment and in the scope of this call.
                let value = unsafe { Unknown::from_raw_unchecked(env.raw(), value) };
                pending.done.borrow_back(env)?.call(value).map(drop)
            }
        }
    }

    fn hold_process(&self, env: &Env, hold: bool) -> napi::Result<()> {
        let turn = self.woken.turn.raw();
        // SAFETY: this runs on the thread of the environment, which the function belongs to, and the function lives as
        // long as the bridge does.
        let status = unsafe {
            if hold {
                sys::napi_ref_threadsafe_function(env.raw(), turn)
            } else {
                sys::napi_unref_threadsafe_function(env.raw(), turn)
            }
        };
        if status == sys::Status::napi_ok {
            return Ok(());
        }
        Err(napi::Error::new(Status::from(status), "the event loop cannot be held"))
    }
}

/// Starts a call: polls it at once, then whenever it is woken. `finish` makes the value for JavaScript.
pub(crate) fn start<T, R>(
    env: &Env,
    done: &Done<'_>,
    future: impl Future<Output = sandboxset::Result<T>> + 'static,
    finish: impl FnOnce(&Env, T) -> napi::Result<R> + 'static,
) -> napi::Result<()>
where
    T: 'static,
    R: ToNapiValue,
{
    let bridge = Bridge::of(env)?;
    let call = bridge.next.replace(bridge.next.get() + 1);
    let mut future = Box::pin(future);
    let mut finish = Some(finish);
    let future = std::future::poll_fn(move |context| {
        // A panic must not cross the edge.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        let result = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(result)) => result,
            Err(_) => Err(Error::new(ErrorCode::Internal, Phase::Use, "the call panicked")),
        };
        let finish = finish.take();
        Poll::Ready(Box::new(move |env: &Env| match (result, finish) {
            (Ok(value), Some(finish)) => {
                let value = finish(env, value)?;
                // SAFETY: this runs on the thread of the environment, which is the current one.
                unsafe { R::to_napi_value(env.raw(), value) }
            }
            (Err(error), _) => error_value(env, &error).map(|value| value.raw()),
            (Ok(_), None) => Err(napi::Error::from_reason("a call ended twice")),
        }) as Finish)
    });
    let waker = Waker::from(Arc::new(WakeCall { call, woken: Arc::clone(&bridge.woken) }));
    let pending = Pending { future: Box::pin(future), done: done.create_ref()?, waker };
    bridge.advance(env, call, pending)
}
