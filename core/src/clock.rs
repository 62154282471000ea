//! Time, injectable.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::threads::{self, Job};

/// Where a set takes its time from. Monotonic; counts from an arbitrary start.
///
/// All timeouts, deadlines and delays of a set are measured by its clock, except what is handed to the backend:
/// commands, connections and creates take real time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's monotonic clock.
    #[default]
    System,
    /// A clock that stands still until a test advances it.
    Manual(Arc<ManualClock>),
}

/// A clock that only [`ManualClock::advance`] moves. Thread-safe.
#[derive(Default)]
pub struct ManualClock {
    state: Mutex<ManualState>,
}

#[derive(Default)]
struct ManualState {
    now: Duration,
    next_number: u64,
    scheduled: BTreeMap<(Duration, u64), Job>,
}

/// A scheduled call; dropping it takes the call back.
#[derive(Debug)]
#[must_use = "dropping the timer takes the scheduled call back"]
pub(crate) enum Timer {
    System {
        /// Held for its drop.
        _timer: threads::Timer,
    },
    Manual {
        clock: Weak<ManualClock>,
        key: (Duration, u64),
    },
}

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Moves the clock and runs everything whose deadline has come, in the order of the deadlines and on the
    /// calling thread. What runs may wake other threads; it does not wait for them.
    pub fn advance(&self, by: Duration) {
        let target = self.now().saturating_add(by);
        while let Some(job) = self.next_due(target) {
            job();
        }
    }

    /// The time since the clock was made, as far as it was advanced.
    pub fn now(&self) -> Duration {
        self.state.lock().now
    }

    /// How many timeouts and delays wait for this clock now.
    pub fn scheduled(&self) -> usize {
        self.state.lock().scheduled.len()
    }

    /// Steps to the next deadline up to `target` and takes its job, or steps to `target`.
    fn next_due(&self, target: Duration) -> Option<Job> {
        let mut state = self.state.lock();
        match state.scheduled.first_key_value() {
            Some((&(at, number), _)) if at <= target => {
                state.now = state.now.max(at);
                state.scheduled.remove(&(at, number))
            }
            _ => {
                state.now = state.now.max(target);
                None
            }
        }
    }
}

impl Clock {
    pub(crate) fn now(&self) -> Duration {
        match self {
            Clock::System => system_start().elapsed(),
            Clock::Manual(clock) => clock.now(),
        }
    }

    /// Calls `callback` once when `at` has come; at once if it is past. The callback must not block.
    pub(crate) fn schedule(&self, at: Duration, callback: Job) -> Timer {
        match self {
            Clock::System => {
                let at = instant_of(at).unwrap_or_else(far_future);
                Timer::System { _timer: threads::schedule(at, callback) }
            }
            Clock::Manual(clock) => {
                let mut state = clock.state.lock();
                let key = (at, state.next_number);
                state.next_number += 1;
                let timer = Timer::Manual { clock: Arc::downgrade(clock), key };
                if at <= state.now {
                    drop(state);
                    callback();
                } else {
                    state.scheduled.insert(key, callback);
                }
                timer
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Timer::Manual { clock, key } = self else { return };
        if crate::in_forked_child() {
            return;
        }
        let Some(clock) = clock.upgrade() else { return };
        let job = clock.state.lock().scheduled.remove(key);
        drop(job);
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ManualClock").field("now", &self.now()).finish()
    }
}

/// The real instant at which the system clock shows `at`; `None` if that is beyond what the system can express.
pub(crate) fn instant_of(at: Duration) -> Option<Instant> {
    system_start().checked_add(at)
}

fn system_start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Ten years: later than any process lives, and expressible everywhere.
fn far_future() -> Instant {
    Instant::now() + Duration::from_secs(10 * 365 * 24 * 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_runs_what_is_due_in_order() {
        let manual = ManualClock::new();
        let clock = Clock::Manual(Arc::clone(&manual));
        let ran = Arc::new(Mutex::new(Vec::new()));
        let timers: Vec<Timer> = [3u64, 1, 2, 9]
            .into_iter()
            .map(|second| {
                let (ran, manual) = (Arc::clone(&ran), Arc::clone(&manual));
                let job = move || ran.lock().push((second, manual.now().as_secs()));
                clock.schedule(Duration::from_secs(second), Box::new(job))
            })
            .collect();
        manual.advance(Duration::from_secs(5));
        assert_eq!(*ran.lock(), [(1, 1), (2, 2), (3, 3)]);
        assert_eq!(manual.now(), Duration::from_secs(5));
        assert_eq!(manual.scheduled(), 1);
        drop(timers);
        assert_eq!(manual.scheduled(), 0);
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let manual = ManualClock::new();
        manual.advance(Duration::from_secs(1));
        let ran = Arc::new(Mutex::new(false));
        let flag = Arc::clone(&ran);
        let timer =
            Clock::Manual(manual).schedule(Duration::from_millis(1), Box::new(move || *flag.lock() = true));
        assert!(*ran.lock());
        drop(timer);
    }
}
