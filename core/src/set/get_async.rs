//! The asynchronous form of a get: the same queue, and no thread while it waits.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::entry::Entry;
use super::get::{Get, Look, accept, cancelled};
use super::inner::Inner;
use super::slots::{Delivery, Loan, Ticket};
use super::waiters::{Alarm, GaveUp, Waiter};
use crate::executor::{self, Course};
use crate::task::{Done, no_thread, polled_again};
use crate::{GetOptions, LateBinding, Phase, Result, SandboxRef, SandboxSet, Task, forked};

/// A get that is under way, in one queue with those that block. Needs no particular runtime.
///
/// Its time begins when it is first polled. Dropping it leaves the queue at once; a create that was started for it goes
/// on, and a sandbox that was on its way serves the next. While it lives, the set is not closed by the drop of its last
/// other clone.
#[must_use = "a get begins when it is awaited"]
pub struct GetFuture {
    set: Arc<Inner>,
    /// Keeps the set from being closed.
    _open: Option<SandboxSet>,
    options: GetOptions,
    state: State,
}

/// What the first look of a get gave, see [`SandboxSet::begin_get`].
#[derive(Debug)]
#[must_use = "a get goes on only when it is awaited"]
pub enum FirstLook {
    /// A sandbox that was idle; the get is over.
    Found(SandboxRef),
    /// The rest of the get. Its time has begun, but it stands in the queue only once it is polled.
    NotYet(Box<GetFuture>),
}

enum State {
    Begin,
    Looking(Get),
    Waiting(Get, Wait),
    Claimed(Get, Claim),
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

/// A sandbox that is still to be unpaused. Dropping it gives the sandbox to the next.
struct Claim {
    set: Arc<Inner>,
    loan: Option<Loan<Arc<Entry>>>,
    /// It came when the caller had given up.
    gave_up: Option<GaveUp>,
}

impl SandboxSet {
    /// The first look of a get, which neither waits nor creates. Most gets find something idle, and cost no more than
    /// [`SandboxSet::get_or_create_unpaused`] does then. Dropping the rest of one that did not changes and counts nothing.
    ///
    /// Unpauses on the calling thread. Errors: `CANCELLED`, `INVALID_ARGUMENT` in the binding, `FORKED_PROCESS`.
    pub fn begin_get(&self, options: GetOptions) -> Result<FirstLook> {
        forked::refuse_in_child(Phase::Wait)?;
        Ok(match self.inner().begin(&options)? {
            Ok(sandbox) => FirstLook::Found(sandbox),
            Err(get) => FirstLook::NotYet(GetFuture::rest(self.clone(), options, get)),
        })
    }

    /// As [`SandboxSet::get_or_create_unpaused`], without a thread while it waits: `done` is called with the result,
    /// exactly once, on a thread of this library and perhaps before this returns.
    ///
    /// The get begins here: it has its place in the queue when this returns. It neither unpauses nor binds on the
    /// calling thread. When the last clone of the set is dropped meanwhile it is `CLOSED`. No lock is held while `done`
    /// runs, but it should not block, because other gets may wait for it.
    ///
    /// Errors: `NO_CAPACITY` if no thread can be started, `FORKED_PROCESS`. `done` is not called then.
    pub fn get_or_create_unpaused_then(
        &self,
        options: GetOptions,
        done: impl FnOnce(Result<SandboxRef>) + Send + 'static,
    ) -> Result<()> {
        forked::refuse_in_child(Phase::Wait)?;
        let place = executor::enter().ok_or_else(|| no_thread(Phase::Wait))?;
        let done = Done::new(Phase::Wait, done);
        let mut get = GetFuture { set: Arc::clone(self.inner()), _open: None, options, state: State::Begin };
        let begun = get.begin();
        let claimed = matches!(get.state, State::Claimed(..));
        place.spawn(claimed, |course| async move {
            let result = match begun {
                Ok(()) => get.end(&course).await,
                Err(error) => Err(error),
            };
            done.call(result);
        });
        Ok(())
    }
}

impl GetFuture {
    pub(super) fn new(set: SandboxSet, options: GetOptions) -> Self {
        GetFuture { set: Arc::clone(set.inner()), _open: Some(set), options, state: State::Begin }
    }

    /// A get whose first look gave nothing.
    #[cold]
    fn rest(set: SandboxSet, options: GetOptions, get: Get) -> Box<Self> {
        let mut rest = Box::new(GetFuture::new(set, options));
        rest.state = State::Looking(get);
        rest
    }

    /// Claims what is idle, or else queues; blocks for nothing.
    fn begin(&mut self) -> Result<()> {
        let get = self.set.begin_in_the_queue(&self.options)?;
        self.look(get)
    }

    /// What is left after `begin`. Unpausing and binding may block.
    async fn end(&mut self, course: &Course) -> Result<SandboxRef> {
        loop {
            poll_fn(|context| self.poll_claimed(context)).await?;
            course.may_block().await;
            if let Some(sandbox) = self.redeem()? {
                return Ok(sandbox);
            }
            course.must_not_block();
        }
    }

    fn poll_claimed(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !matches!(self.state, State::Claimed(..)) {
            ready!(self.step(context))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The next state, or the end.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<SandboxRef>>> {
        let inner = &self.set;
        match std::mem::replace(&mut self.state, State::Done) {
            State::Begin => match inner.begin(&self.options)? {
                Ok(sandbox) => return Poll::Ready(Ok(Some(sandbox))),
                Err(get) => self.state = State::Looking(get),
            },
            State::Looking(get) => self.look(get)?,
            State::Waiting(get, mut wait) => {
                match wait.waiter.poll(context.waker(), wait.gave_up.is_some()) {
                    Poll::Pending => {
                        self.state = State::Waiting(get, wait);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(delivery)) => {
                        let claim = Claim::new(inner, accept(delivery)?, wait.gave_up);
                        self.state = State::Claimed(get, claim);
                    }
                    Poll::Ready(Err(gave_up)) => {
                        inner.give_up(wait.ticket, gave_up, &get)?;
                        wait.gave_up = Some(gave_up);
                        self.state = State::Waiting(get, wait);
                    }
                }
            }
            State::Claimed(get, claim) if self.options.binding.is_some() => {
                let binding = self.options.binding.clone();
                // Dropping the task does not stop it; then the sandbox is put when it is done.
                let task = Task::run(Phase::Bind, None, move |_| claim.redeem(binding.as_ref()));
                self.state = State::Binding(get, task);
            }
            claimed @ State::Claimed(..) => {
                self.state = claimed;
                return Poll::Ready(self.redeem());
            }
            State::Binding(mut get, mut task) => match Pin::new(&mut task).poll(context) {
                Poll::Pending => {
                    self.state = State::Binding(get, task);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(None)) => {
                    get.unhealthy = true;
                    self.state = State::Looking(get);
                }
                Poll::Ready(sandbox) => return Poll::Ready(sandbox),
            },
            State::Done => return Poll::Ready(Err(polled_again(Phase::Wait))),
        }
        Poll::Ready(Ok(None))
    }

    fn look(&mut self, mut get: Get) -> Result<()> {
        let inner = &self.set;
        self.state = match inner.look(&self.options, &mut get)? {
            Look::Loan(loan) => State::Claimed(get, Claim::new(inner, loan, None)),
            Look::Wait(waiter, ticket) => {
                let cancel = self.options.cancel.as_ref();
                let alarm = waiter.alarm(&inner.config.clock, get.deadline, cancel);
                State::Waiting(get, Wait { waiter, ticket, gave_up: None, _alarm: alarm })
            }
        };
        Ok(())
    }

    /// Unpauses and binds what was claimed. `None` if that was useless, and another has to be looked for.
    fn redeem(&mut self) -> Result<Option<SandboxRef>> {
        let State::Claimed(mut get, claim) = std::mem::replace(&mut self.state, State::Done) else {
            return Err(polled_again(Phase::Wait));
        };
        let sandbox = claim.redeem(self.options.binding.as_ref())?;
        if sandbox.is_none() {
            get.unhealthy = true;
            self.state = State::Looking(get);
        }
        Ok(sandbox)
    }
}

impl Claim {
    fn new(set: &Arc<Inner>, loan: Loan<Arc<Entry>>, gave_up: Option<GaveUp>) -> Self {
        Claim { set: Arc::clone(set), loan: Some(loan), gave_up }
    }

    fn redeem(mut self, binding: Option<&LateBinding>) -> Result<Option<SandboxRef>> {
        // For a deadline it is good news; after a cancel nobody is there to use the sandbox.
        if self.gave_up == Some(GaveUp::Cancelled) {
            return Err(cancelled());
        }
        self.loan.take().map_or(Ok(None), |loan| self.set.resume_with(loan, binding))
    }
}

impl Drop for Claim {
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
        let inner = &self.set;
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
            State::Claimed(..) | State::Binding(..) => "binding",
            State::Done => "done",
        };
        f.debug_struct("GetFuture").field("state", &state).finish_non_exhaustive()
    }
}
