//! The work behind the callers' backs: creating, resetting, tearing down, and trying again after failures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entry::Entry;
use super::inner::Inner;
use super::parents::Made;
use super::slots::{Admission, Lease};
use crate::sandbox::{Guard, panic_error};
use crate::threads;
use crate::{CreateRequest, Error, ErrorCode, Phase, Result, Reuse, SandboxId};

/// The first wait after a failure. It doubles with every further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// How long a sandbox that cannot be destroyed keeps its place.
const PLACE_KEPT: Duration = Duration::from_secs(5);
/// How long a reset may take.
const RESET: Duration = Duration::from_secs(5);
/// How much earlier the backend must give up, so that its reason is the one that is kept.
const RESET_MARGIN: Duration = Duration::from_millis(500);

impl Inner {
    /// Makes a sandbox on a worker, so that its caller can give up and a hanging backend delays only this place.
    pub(super) fn start_create(self: &Arc<Self>, slot: u32) {
        let set = Arc::clone(self);
        if threads::run(Box::new(move || set.create(slot))).is_err() {
            let error = Error::new(ErrorCode::NoCapacity, Phase::Create, "no thread could be started");
            self.decide(|slots, effects| slots.create_failed(slot, error, effects));
        }
    }

    fn create(self: &Arc<Self>, slot: u32) {
        let id = SandboxId::next();
        let request = CreateRequest {
            id,
            spec: Arc::clone(&self.spec),
            scratch: self.config.scratch_dirs.clone(),
            deadline: Instant::now() + self.config.create_timeout,
        };
        let made = catch_unwind(AssertUnwindSafe(|| self.make(&request)))
            .unwrap_or_else(|panic| Err(panic_error(Phase::Create, "create", &*panic)));
        match made {
            Ok(Made { sandbox, claim, rest }) => {
                tracing::debug!(sandbox = %id, backend = self.backend.name(), "created");
                let guard = Guard::new(id, sandbox, self.can_pause, Arc::clone(&self.hub));
                guard.announce();
                let entry = Arc::new(Entry::new(guard, Arc::clone(self), self.config.clock.now(), claim));
                self.decide(|slots, effects| slots.created(slot, entry, effects));
                drop(rest);
            }
            Err(error) => {
                tracing::warn!(backend = self.backend.name(), %error, "could not be created");
                self.decide(|slots, effects| slots.create_failed(slot, error, effects));
            }
        }
        self.end_events_if_over();
    }

    fn make(&self, request: &CreateRequest) -> Result<Made> {
        let made = match &self.config.parent {
            None => Made { sandbox: self.backend.create(request)?, claim: None, rest: None },
            Some(parent) => parent.inner().fork(request, &self.closing)?,
        };
        if self.config.reuse == Reuse::Reset
            && let Err(error) = made.sandbox.prepare_reset()
        {
            // What cannot be destroyed now its own drop gives up.
            let _ = made.sandbox.destroy();
            return Err(error.with_sandbox(request.id));
        }
        Ok(made)
    }

    /// Resets a sandbox on a worker, so that the put does not wait for it. Until then it is returning.
    pub(super) fn start_reset(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease) {
        let (set, worker_entry) = (Arc::clone(self), Arc::clone(entry));
        if threads::run(Box::new(move || set.reset(lease, &worker_entry))).is_err() {
            self.reset_failed(lease, entry, "no thread could be started");
        }
    }

    fn reset(self: &Arc<Self>, lease: Lease, entry: &Arc<Entry>) {
        // The backend has a deadline of its own. This is for one that hangs: the destroy makes its call return.
        let (set, late_entry) = (Arc::clone(self), Arc::clone(entry));
        let late = move || {
            let job = move || set.reset_failed(lease, &late_entry, &format!("not done within {RESET:?}"));
            // Not on the timer thread, which must not block; without a worker the backend's deadline remains.
            let _ = threads::run(Box::new(job));
        };
        let at = self.config.clock.now().saturating_add(RESET);
        let timer = self.config.clock.schedule(at, Box::new(late));
        let reset = entry.guard.reset(Instant::now() + (RESET - RESET_MARGIN));
        drop(timer);
        match reset {
            Ok(()) => {
                self.decide(|slots, _| slots.count_reset(true));
                self.take_back(entry, lease);
            }
            Err(error) => self.reset_failed(lease, entry, error.message()),
        }
    }

    /// Destroys a sandbox of which nobody knows what is left in it, unless that was done already.
    fn reset_failed(self: &Arc<Self>, lease: Lease, entry: &Arc<Entry>, text: &str) {
        if !entry.guard.is_dead() {
            entry.guard.fail_reset(text);
        }
        let reason =
            entry.guard.death().map_or_else(|| format!("reset: {text}"), |death| death.reason.clone());
        self.decide(|slots, effects| {
            if slots.condemn(lease, reason.into(), effects) {
                slots.count_reset(false);
            }
        });
    }

    /// Ends a doomed sandbox; on failure it is tried again later.
    pub(super) fn tear_down(self: &Arc<Self>, lease: Lease, entry: &Arc<Entry>) {
        match entry.guard.tear_down() {
            Ok(true) => {
                // First, so that who is told that this one is gone may close the set of its parent at once.
                let claim = entry.claim.lock().take();
                drop(claim);
                let reason = entry.guard.death().map_or("", |death| &death.reason);
                self.decide(|slots, effects| slots.destroyed(lease, reason, effects));
                let timers = (entry.place_timer.lock().take(), entry.retry_timer.lock().take());
                drop(timers);
                self.end_events_if_over();
            }
            Ok(false) => {}
            Err(_) => self.decide(|slots, effects| slots.destroy_failed(lease, effects)),
        }
    }

    /// Schedules the end of the reservation of a place whose sandbox is about to be destroyed: that may fail or hang.
    pub(super) fn limit_place(self: &Arc<Self>, lease: Lease, entry: &Entry, now: Duration) {
        let set = Arc::clone(self);
        let job = move || set.decide(|slots, effects| slots.release_place(lease, effects));
        let at = now.saturating_add(PLACE_KEPT);
        let timer = self.config.clock.schedule(at, Box::new(job));
        *entry.place_timer.lock() = Some(timer);
    }

    /// Schedules another try.
    pub(super) fn quarantine(self: &Arc<Self>, lease: Lease, failures: u32, now: Duration) {
        let Some(entry) = self.ask(|slots| slots.retry(lease)) else { return };
        let set = Arc::clone(self);
        let job = move || {
            let Some(entry) = set.ask(|slots| slots.retry(lease)) else { return };
            let worker = Arc::clone(&set);
            if threads::run(Box::new(move || worker.tear_down(lease, &entry))).is_err() {
                // Not on the timer thread, which must not block: later again.
                set.decide(|slots, effects| slots.destroy_failed(lease, effects));
            }
        };
        let timer = self.config.clock.schedule(now.saturating_add(delay(failures)), Box::new(job));
        let last = entry.retry_timer.lock().replace(timer);
        drop(last);
    }

    /// Schedules the next try to refill the stock.
    pub(super) fn back_off(self: &Arc<Self>, failures: u32, now: Duration) {
        let set = Arc::downgrade(self);
        let job = move || {
            let Some(set) = set.upgrade() else { return };
            set.decide(|slots, effects| slots.allow_refill(effects));
        };
        let at = now.saturating_add(delay(failures));
        let timer = self.config.clock.schedule(at, Box::new(job));
        let last = self.refill_timer.lock().replace(timer);
        drop(last);
        if self.ask(|slots| slots.admission()) == Admission::Closed {
            self.stop_refill();
        }
    }

    /// Takes the scheduled refill back, so that a closed set leaves no timer behind.
    pub(super) fn stop_refill(&self) {
        let timer = self.refill_timer.lock().take();
        drop(timer);
    }

    /// Tells the readers of events that no more will come, once that is certain.
    pub(super) fn end_events_if_over(&self) {
        let over = self.ask(|slots| slots.admission() == Admission::Closed && slots.is_empty());
        if over {
            self.hub.close();
        }
    }
}

/// How long to wait after this many failures in a row.
fn delay(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_DELAY * 2u32.pow(doublings)).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<u128> = [1, 2, 3, 9, 10, u32::MAX].map(|n| delay(n).as_millis()).to_vec();
        assert_eq!(delays, [100, 200, 400, 25_600, 30_000, 30_000]);
    }
}
