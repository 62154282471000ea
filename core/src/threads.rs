//! The only module that starts threads: workers for calls that may block, and timers with exact deadlines.
//!
//! Both are elastic. A worker that finds nothing to do for a moment exits, and the timer thread lives only while
//! something is scheduled, so that a process with idle sets has none of our threads.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// What a worker runs: it may block, and it may panic.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Runs `job` on a worker thread, at once: a job never waits behind another, because any of them may hang.
/// Gives the job back if the system has no thread left for it.
pub(crate) fn run(job: Job) -> Result<(), Job> {
    match claim() {
        Some(worker) => {
            worker.run(job);
            Ok(())
        }
        None => Err(job),
    }
}

/// A worker for one job, before what the job is to do is begun; `None` if the system has no thread left.
pub(crate) fn claim() -> Option<Claim> {
    POOL.claim()
}

/// A worker that waits for one job. Dropping it lets the worker go.
#[must_use = "dropping the claim lets the worker go"]
pub(crate) struct Claim {
    pool: &'static Pool,
}

impl Claim {
    /// Runs `job` on the worker.
    pub(crate) fn run(self, job: Job) {
        let pool = self.pool;
        std::mem::forget(self);
        pool.state.lock().queue.push_back(job);
        pool.submitted.notify_one();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if !crate::in_forked_child() {
            self.pool.state.lock().idle += 1;
        }
    }
}

/// As `run`; without a thread it runs here, because a job that is not done would lose a sandbox.
pub(crate) fn run_anyway(job: Job) {
    if let Err(job) = run(job) {
        job();
    }
}

/// A scheduled call; dropping it takes the call back.
#[derive(Debug)]
#[must_use = "dropping the timer takes the scheduled call back"]
pub(crate) struct Timer {
    key: (Instant, u64),
}

/// Calls `callback` once on the timer thread when `at` has come. The callback must not block.
pub(crate) fn schedule(at: Instant, callback: Job) -> Timer {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = (at, NEXT.fetch_add(1, Ordering::Relaxed));
    TIMERS.insert(key, callback);
    Timer { key }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that does not exist there.
        if !crate::in_forked_child() {
            TIMERS.remove(self.key);
        }
    }
}

/// How long a worker waits for its next job: long enough to serve a burst, short enough to be gone soon after it.
const KEEP_ALIVE: Duration = Duration::from_millis(200);

static POOL: Pool =
    Pool { state: Mutex::new(PoolState { idle: 0, queue: VecDeque::new() }), submitted: Condvar::new() };

struct Pool {
    state: Mutex<PoolState>,
    submitted: Condvar,
}

struct PoolState {
    /// Workers that wait and that nobody has claimed.
    idle: usize,
    /// One job for each worker that was claimed for it and has not taken it yet.
    queue: VecDeque<Job>,
}

impl Pool {
    fn claim(&'static self) -> Option<Claim> {
        {
            let mut state = self.state.lock();
            if state.idle > 0 {
                state.idle -= 1;
                return Some(Claim { pool: self });
            }
        }
        let started = thread::Builder::new().name("sandboxset-worker".into()).spawn(|| {
            block_signals();
            self.work();
        });
        // A claim is made only for a worker that there is: its drop gives one back.
        started.is_ok().then(|| Claim { pool: self })
    }

    /// Begins claimed.
    fn work(&self) {
        while let Some(job) = self.await_job() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of a sandbox set panicked");
            }
            self.state.lock().idle += 1;
        }
    }

    fn await_job(&self) -> Option<Job> {
        let mut state = self.state.lock();
        let mut until = Instant::now() + KEEP_ALIVE;
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if !self.submitted.wait_until(&mut state, until).timed_out() || !state.queue.is_empty() {
                continue;
            }
            if state.idle > 0 {
                state.idle -= 1;
                return None;
            }
            // All who wait are claimed, so this one is as well: its job is about to come.
            until = Instant::now() + KEEP_ALIVE;
        }
    }
}

static TIMERS: Timers = Timers {
    state: Mutex::new(TimerState { scheduled: BTreeMap::new(), running: false }),
    changed: Condvar::new(),
};

struct Timers {
    state: Mutex<TimerState>,
    changed: Condvar,
}

struct TimerState {
    scheduled: BTreeMap<(Instant, u64), Job>,
    running: bool,
}

impl Timers {
    fn insert(&'static self, key: (Instant, u64), callback: Job) {
        let mut state = self.state.lock();
        state.scheduled.insert(key, callback);
        if state.running {
            self.changed.notify_one();
            return;
        }
        let started = thread::Builder::new().name("sandboxset-timer".into()).spawn(move || {
            block_signals();
            self.work();
        });
        match started {
            Ok(_) => state.running = true,
            // What is scheduled stays scheduled; the next call tries to start the thread again.
            Err(error) => tracing::error!(%error, "no timer thread could be started"),
        }
    }

    fn remove(&self, key: (Instant, u64)) {
        let callback = {
            let mut state = self.state.lock();
            let callback = state.scheduled.remove(&key);
            if callback.is_some() {
                self.changed.notify_one();
            }
            callback
        };
        // Dropped here, not under the lock: it may hold the last handle of something whose drop schedules.
        drop(callback);
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            let Some((&(at, number), _)) = state.scheduled.first_key_value() else {
                state.running = false;
                return;
            };
            if at > Instant::now() {
                self.changed.wait_until(&mut state, at);
                continue;
            }
            let Some(callback) = state.scheduled.remove(&(at, number)) else { continue };
            drop(state);
            if catch_unwind(AssertUnwindSafe(callback)).is_err() {
                tracing::error!("a timer of a sandbox set panicked");
            }
            state = self.state.lock();
        }
    }
}

/// Leaves every signal to the threads of the host program: its handlers never run on ours.
fn block_signals() {
    if let Err(error) = nix::sys::signal::SigSet::all().thread_block() {
        tracing::warn!(%error, "signals could not be blocked in a thread");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const HANG: Duration = Duration::from_secs(30);

    #[test]
    fn a_hanging_job_delays_no_other() {
        let (release, released) = mpsc::channel::<()>();
        let (done, finished) = mpsc::channel();
        assert!(run(Box::new(move || assert!(released.recv().is_err()))).is_ok());
        for number in 0..50 {
            let done = done.clone();
            assert!(run(Box::new(move || done.send(number).unwrap())).is_ok());
        }
        let mut numbers: Vec<i32> = (0..50).map(|_| finished.recv_timeout(HANG).unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..50).collect::<Vec<_>>());
        drop(release);
    }

    #[test]
    fn a_claimed_worker_waits_for_its_job_and_an_unused_claim_lets_it_go() {
        let (done, finished) = mpsc::channel();
        drop(claim().unwrap());
        let workers: Vec<Claim> = (0..10).map(|_| claim().unwrap()).collect();
        // Longer than a worker waits that nobody has claimed.
        thread::sleep(KEEP_ALIVE * 2);
        for (number, worker) in workers.into_iter().enumerate() {
            let done = done.clone();
            worker.run(Box::new(move || done.send(number).unwrap()));
        }
        let mut numbers: Vec<usize> = (0..10).map(|_| finished.recv_timeout(HANG).unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_panicking_job_harms_no_other() {
        let (done, finished) = mpsc::channel();
        assert!(run(Box::new(|| panic!("scripted"))).is_ok());
        assert!(run(Box::new(move || done.send(()).unwrap())).is_ok());
        finished.recv_timeout(HANG).unwrap();
    }

    #[test]
    fn timers_run_in_the_order_of_their_deadlines() {
        let (done, finished) = mpsc::channel();
        let start = Instant::now();
        let timers: Vec<Timer> = [30u64, 10, 20]
            .into_iter()
            .map(|milliseconds| {
                let done = done.clone();
                schedule(
                    start + Duration::from_millis(milliseconds),
                    Box::new(move || done.send(milliseconds).unwrap()),
                )
            })
            .collect();
        let order: Vec<u64> = (0..3).map(|_| finished.recv_timeout(HANG).unwrap()).collect();
        assert_eq!(order, [10, 20, 30]);
        assert!(start.elapsed() >= Duration::from_millis(30));
        drop(timers);
    }

    #[test]
    fn a_dropped_timer_does_not_run() {
        let (done, finished) = mpsc::channel();
        let start = Instant::now();
        let taken_back = {
            let done = done.clone();
            schedule(start + Duration::from_millis(20), Box::new(move || done.send(1).unwrap()))
        };
        let kept = schedule(start + Duration::from_millis(40), Box::new(move || done.send(2).unwrap()));
        drop(taken_back);
        assert_eq!(finished.recv_timeout(HANG), Ok(2));
        drop(kept);
    }
}
