//! Those who wait: a one-shot completion, filled by whoever has something for them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::entry::Entry;
use super::slots::Delivery;
use crate::CancelToken;
use crate::clock::{self, Clock};

/// One caller's wait. Completed at most once, by a delivery; a thread that waits for it may give up earlier.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    state: Mutex<WaitState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitState {
    delivery: Option<Delivery<Arc<Entry>>>,
    gave_up: Option<GaveUp>,
}

/// Why a caller stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GaveUp {
    TimedOut,
    Cancelled,
}

impl Waiter {
    pub(super) fn complete(&self, delivery: Delivery<Arc<Entry>>) {
        self.state.lock().delivery = Some(delivery);
        self.changed.notify_one();
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
        self.state.lock().gave_up.get_or_insert(reason);
        self.changed.notify_one();
    }
}
