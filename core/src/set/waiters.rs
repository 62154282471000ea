//! Those who wait, blocked or asynchronously: a one-shot completion, filled by whoever has something for them.

use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::entry::Entry;
use super::slots::Delivery;
use crate::clock::{self, Clock, Timer};
use crate::{CancelRegistration, CancelToken};

/// One caller's wait. Completed at most once, by a delivery; who waits for it may give up earlier.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    state: Mutex<WaitState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitState {
    delivery: Option<Delivery<Arc<Entry>>>,
    gave_up: Option<GaveUp>,
    /// Of a task that waits; a thread that waits needs none.
    waker: Option<Waker>,
    /// Nobody waits any more, and a delivery is on its way.
    is_deserted: bool,
}

/// Ends a wait that is nobody's thread when its deadline has come or it is cancelled, until it is dropped.
#[derive(Debug)]
pub(super) struct Alarm {
    _timer: Timer,
    _registration: Option<CancelRegistration>,
}

/// Why a caller stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GaveUp {
    TimedOut,
    Cancelled,
}

impl Waiter {
    /// Gives the delivery back if nobody waits for it any more.
    #[must_use = "a delivery that nobody takes is lost"]
    pub(super) fn complete(&self, delivery: Delivery<Arc<Entry>>) -> Option<Delivery<Arc<Entry>>> {
        let mut state = self.state.lock();
        if state.is_deserted {
            return Some(delivery);
        }
        state.delivery = Some(delivery);
        self.wake(state);
        None
    }

    /// Sees to it that a task that waits is woken at the deadline on this clock, and by a cancel.
    pub(super) fn alarm(
        self: &Arc<Self>,
        clock: &Clock,
        deadline: Duration,
        cancel: Option<&CancelToken>,
    ) -> Alarm {
        let ends_by = |reason| {
            let waiter = Arc::clone(self);
            move || waiter.interrupt(reason)
        };
        Alarm {
            _timer: clock.schedule(deadline, Box::new(ends_by(GaveUp::TimedOut))),
            _registration: cancel.map(|token| token.on_cancel(ends_by(GaveUp::Cancelled))),
        }
    }

    /// As `wait`, for a task: it is woken when it should ask again. Nobody is too late for a delivery that is known to
    /// be on its way.
    pub(super) fn poll(
        &self,
        waker: &Waker,
        is_on_its_way: bool,
    ) -> Poll<Result<Delivery<Arc<Entry>>, GaveUp>> {
        let mut state = self.state.lock();
        if let Some(delivery) = state.delivery.take() {
            return Poll::Ready(Ok(delivery));
        }
        if let Some(reason) = state.gave_up.filter(|_| !is_on_its_way) {
            return Poll::Ready(Err(reason));
        }
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        Poll::Pending
    }

    /// Nobody waits any more for a delivery that is known to be on its way; answers it if it is here.
    pub(super) fn desert(&self) -> Option<Delivery<Arc<Entry>>> {
        let mut state = self.state.lock();
        state.is_deserted = true;
        state.delivery.take()
    }

    /// Blocks until the delivery, the deadline on this clock, or a cancel: whatever is seen first, and a delivery
    /// before the others.
    pub(super) fn wait(
        self: &Arc<Self>,
        clock: &Clock,
        deadline: Duration,
        cancel: Option<&CancelToken>,
    ) -> Result<Delivery<Arc<Entry>>, GaveUp> {
        let _registration = cancel.map(|token| {
            let waiter = Arc::clone(self);
            token.on_cancel(move || waiter.interrupt(GaveUp::Cancelled))
        });
        let (_timer, until) = match clock {
            Clock::System => (None, clock::instant_of(deadline)),
            Clock::Manual(_) => {
                let waiter = Arc::clone(self);
                (Some(clock.schedule(deadline, Box::new(move || waiter.interrupt(GaveUp::TimedOut)))), None)
            }
        };
        let mut state = self.state.lock();
        loop {
            if let Some(delivery) = state.delivery.take() {
                return Ok(delivery);
            }
            if let Some(reason) = state.gave_up {
                return Err(reason);
            }
            match until {
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() && state.delivery.is_none() {
                        return Err(state.gave_up.unwrap_or(GaveUp::TimedOut));
                    }
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Waits for a delivery that is known to be on its way.
    pub(super) fn wait_for_delivery(&self) -> Delivery<Arc<Entry>> {
        let mut state = self.state.lock();
        loop {
            if let Some(delivery) = state.delivery.take() {
                return delivery;
            }
            self.changed.wait(&mut state);
        }
    }

    fn interrupt(&self, reason: GaveUp) {
        let mut state = self.state.lock();
        state.gave_up.get_or_insert(reason);
        self.wake(state);
    }

    /// Wakes who waits, when the lock is released: a waker is the caller's code.
    fn wake(&self, mut state: MutexGuard<'_, WaitState>) {
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
