//! The asynchronous form of a get: the same queue, and no thread while it waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::entry::Entry;
use super::get::{Get, Look, accept};
use super::inner::Inner;
use super::slots::{Delivery, Loan, Ticket};
use super::waiters::{Alarm, GaveUp, Waiter};
use crate::task::polled_again;
use crate::{GetOptions, Phase, Result, SandboxRef, SandboxSet, Task, forked};

/// A get that is under way, in one queue with those that block. Needs no particular runtime.
///
/// Its time begins when it is first polled. Dropping it leaves the queue at once; a create that was started for it goes
/// on, and a sandbox that was on its way serves the next. While it lives, the set is not closed by the drop of its last
/// other clone.
#[must_use = "a get begins when it is awaited"]
pub struct GetFuture {
    set: SandboxSet,
    options: GetOptions,
    state: State,
}

enum State {
    Begin,
    Looking(Get),
    Waiting(Get, Wait),
    /// Late binding may take a while, so a worker does it.
    Binding(Get, Task<Option<SandboxRef>>),
    Done,
}

/// A place in the queue.
struct Wait {
    waiter: Arc<Waiter>,
    ticket: Ticket,
    /// Too late: the delivery was decided before, and is on its way.
    gave_up: Option<GaveUp>,
    _alarm: Alarm,
}

impl GetFuture {
    pub(super) fn new(set: SandboxSet, options: GetOptions) -> Self {
        GetFuture { set, options, state: State::Begin }
    }

    /// The next state, or the end.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<SandboxRef>>> {
        let inner = self.set.inner();
        let (mut get, loan) = match std::mem::replace(&mut self.state, State::Done) {
            State::Begin => match inner.begin(&self.options)? {
                Ok(sandbox) => return Poll::Ready(Ok(Some(sandbox))),
                Err(get) => {
                    self.state = State::Looking(get);
                    return Poll::Ready(Ok(None));
                }
            },
            State::Looking(mut get) => match inner.look(&self.options, &mut get)? {
                Look::Loan(loan) => (get, loan),
                Look::Wait(waiter, ticket) => {
                    let cancel = self.options.cancel.as_ref();
                    let alarm = waiter.alarm(&inner.config.clock, get.deadline, cancel);
                    self.state = State::Waiting(get, Wait { waiter, ticket, gave_up: None, _alarm: alarm });
                    return Poll::Ready(Ok(None));
                }
            },
            State::Waiting(get, mut wait) => {
                match (wait.waiter.poll(context.waker(), wait.gave_up.is_some()), wait.gave_up) {
                    (Poll::Pending, _) => {
                        self.state = State::Waiting(get, wait);
                        return Poll::Pending;
                    }
                    (Poll::Ready(Ok(delivery)), None) => (get, accept(delivery)?),
                    (Poll::Ready(Ok(delivery)), Some(gave_up)) => {
                        (get, inner.accept_late(delivery, gave_up)?)
                    }
                    (Poll::Ready(Err(gave_up)), _) => {
                        inner.give_up(wait.ticket, gave_up, &get)?;
                        wait.gave_up = Some(gave_up);
                        self.state = State::Waiting(get, wait);
                        return Poll::Ready(Ok(None));
                    }
                }
            }
            State::Binding(mut get, mut task) => match Pin::new(&mut task).poll(context) {
                Poll::Pending => {
                    self.state = State::Binding(get, task);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(None)) => {
                    get.unhealthy = true;
                    self.state = State::Looking(get);
                    return Poll::Ready(Ok(None));
                }
                Poll::Ready(sandbox) => return Poll::Ready(sandbox),
            },
            State::Done => return Poll::Ready(Err(polled_again(Phase::Wait))),
        };
        if self.options.binding.is_some() {
            self.state = State::Binding(get, bind(inner, loan, &self.options));
            return Poll::Ready(Ok(None));
        }
        let sandbox = inner.resume_with(loan, None)?;
        if sandbox.is_none() {
            get.unhealthy = true;
            self.state = State::Looking(get);
        }
        Poll::Ready(Ok(sandbox))
    }
}

/// Binds on a worker. Dropping the task does not stop it; then the sandbox is put when it is done.
fn bind(inner: &Arc<Inner>, loan: Loan<Arc<Entry>>, options: &GetOptions) -> Task<Option<SandboxRef>> {
    let (set, binding) = (Arc::clone(inner), options.binding.clone());
    let loan = Unbound { set, loan: Some(loan) };
    Task::run(Phase::Bind, None, move |_| loan.resume_with(binding.as_ref()))
}

/// A sandbox on its way to a worker, which may never get it.
struct Unbound {
    set: Arc<Inner>,
    loan: Option<Loan<Arc<Entry>>>,
}

impl Unbound {
    fn resume_with(mut self, binding: Option<&crate::LateBinding>) -> Result<Option<SandboxRef>> {
        self.loan.take().map_or(Ok(None), |loan| self.set.resume_with(loan, binding))
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        if let Some(loan) = self.loan.take().filter(|_| !forked::in_forked_child()) {
            self.set.decline(&loan);
        }
    }
}

impl Future for GetFuture {
    type Output = Result<SandboxRef>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<SandboxRef>> {
        let get = self.get_mut();
        forked::refuse_in_child(Phase::Wait)?;
        loop {
            if let Some(sandbox) = ready!(get.step(context))? {
                return Poll::Ready(Ok(sandbox));
            }
        }
    }
}

impl Drop for GetFuture {
    fn drop(&mut self) {
        if forked::in_forked_child() {
            return;
        }
        let State::Waiting(_, wait) = &self.state else { return };
        let inner = self.set.inner();
        if wait.gave_up.is_none() && inner.leave(wait.ticket) {
            return;
        }
        if let Some(Delivery::Loan(loan)) = wait.waiter.desert() {
            inner.decline(&loan);
        }
    }
}

impl fmt::Debug for GetFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Begin => "not begun",
            State::Looking(_) => "looking",
            State::Waiting(..) => "waiting",
            State::Binding(..) => "binding",
            State::Done => "done",
        };
        f.debug_struct("GetFuture").field("state", &state).finish_non_exhaustive()
    }
}
