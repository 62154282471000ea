//! Samples of one contender, and the ways to take them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// A failure, told in words.
pub(crate) type Failure = String;

/// What runs `ops` operations and answers when all are done, made anew for each thread.
pub(crate) type Worker<'a> = Box<dyn FnMut(u32) -> Result<(), Failure> + 'a>;

/// Something that is measured beside others.
pub(crate) trait Contender: Sync {
    /// The name under which its figures are reported.
    fn name(&self) -> &'static str;

    /// What one thread runs.
    fn worker(&self) -> Result<Worker<'_>, Failure>;
}

/// The durations that were measured of one contender, and what failed.
#[derive(Debug)]
pub(crate) struct Samples {
    /// In picoseconds, because the mean of a batch is a fraction of a nanosecond exact.
    histogram: Histogram<u64>,
    /// How many operations were measured, those of a batch counted one by one.
    pub(crate) operations: u64,
    /// How many measurements failed.
    pub(crate) failures: u64,
    /// What the first failure said.
    pub(crate) first_failure: Option<Failure>,
}

/// The largest duration that is told apart from longer ones, in picoseconds: 100 s.
const LONGEST: u64 = 100_000_000_000_000;

impl Samples {
    /// No samples yet.
    pub(crate) fn new() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants that the constructor accepts")]
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid");
        Samples { histogram, operations: 0, failures: 0, first_failure: None }
    }

    /// Adds the mean of `ops` operations that took `elapsed` together.
    pub(crate) fn record(&mut self, elapsed: Duration, ops: u32) {
        let picoseconds = elapsed.as_nanos().saturating_mul(1000) / u128::from(ops.max(1));
        self.histogram.saturating_record(u64::try_from(picoseconds).unwrap_or(LONGEST));
        self.operations += u64::from(ops);
    }

    /// Counts a measurement that failed.
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.failures += 1;
        self.first_failure.get_or_insert(failure);
    }

    /// Runs one operation and records how long it took, or that it failed.
    pub(crate) fn time<T>(&mut self, operation: impl FnOnce() -> Result<T, Failure>) -> Option<T> {
        let start = Instant::now();
        let result = operation();
        let elapsed = start.elapsed();
        match result {
            Ok(value) => {
                self.record(elapsed, 1);
                Some(value)
            }
            Err(failure) => {
                self.fail(failure);
                None
            }
        }
    }

    /// Adds what another thread measured of the same contender.
    fn merge(&mut self, other: Samples) {
        // Both have the same bounds, so that adding cannot fail.
        let _ = self.histogram.add(&other.histogram);
        self.operations += other.operations;
        self.failures += other.failures;
        if let Some(failure) = other.first_failure {
            self.first_failure.get_or_insert(failure);
        }
    }

    /// How many samples there are.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The value below which this share of the samples is, in nanoseconds; `None` without samples.
    pub(crate) fn quantile_ns(&self, quantile: f64) -> Option<f64> {
        if self.histogram.is_empty() {
            return None;
        }
        Some(self.histogram.value_at_quantile(quantile) as f64 / 1000.0)
    }
}

/// How often [`interleaved`] measures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// How often each contender has its turn.
    pub(crate) rounds: usize,
    /// How many batches the first thread runs in one turn; the others run until it is done.
    pub(crate) batches: usize,
    /// How many operations are between two looks at the clock.
    pub(crate) ops: u32,
    /// How long a thread sleeps before each batch, so that caches and branch predictors are those of a guest that
    /// comes by now and then.
    pub(crate) pause: Option<Duration>,
}

/// Measures all contenders in turns, each turn on all threads at once, so that what else happens on the machine
/// hits all of them alike.
pub(crate) fn interleaved(
    contenders: &[&dyn Contender],
    threads: usize,
    rounds: Rounds,
) -> Result<Vec<Samples>, Failure> {
    let barrier = Barrier::new(threads);
    let finished_turns = AtomicUsize::new(0);
    let results: Vec<Result<Vec<Samples>, Failure>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                let (barrier, finished_turns) = (&barrier, &finished_turns);
                scope.spawn(move || one_thread(contenders, index == 0, rounds, barrier, finished_turns))
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err("a measuring thread panicked".into())))
            .collect()
    });
    let mut merged: Vec<Samples> = contenders.iter().map(|_| Samples::new()).collect();
    for result in results {
        for (total, part) in merged.iter_mut().zip(result?) {
            total.merge(part);
        }
    }
    Ok(merged)
}

/// The part of one thread. All threads pass the barrier equally often, also when they could not make a worker.
fn one_thread(
    contenders: &[&dyn Contender],
    leads: bool,
    rounds: Rounds,
    barrier: &Barrier,
    finished_turns: &AtomicUsize,
) -> Result<Vec<Samples>, Failure> {
    let mut workers: Vec<Result<Worker<'_>, Failure>> =
        contenders.iter().map(|contender| contender.worker()).collect();
    let mut samples: Vec<Samples> = contenders.iter().map(|_| Samples::new()).collect();
    // The first round warms up and is not counted.
    for round in 0..=rounds.rounds {
        for (index, worker) in workers.iter_mut().enumerate() {
            let turn = round * contenders.len() + index;
            let mut unused = Samples::new();
            let samples = if round == 0 { &mut unused } else { &mut samples[index] };
            barrier.wait();
            if let Ok(worker) = worker {
                run_turn(worker, samples, leads, rounds, || finished_turns.load(Ordering::Relaxed) > turn);
            }
            if leads {
                finished_turns.store(turn + 1, Ordering::Relaxed);
            }
            barrier.wait();
        }
    }
    for (contender, worker) in contenders.iter().zip(&workers) {
        if let Err(failure) = worker {
            return Err(format!("{}: {failure}", contender.name()));
        }
    }
    Ok(samples)
}

/// One turn of one contender on one thread.
fn run_turn(
    worker: &mut Worker<'_>,
    samples: &mut Samples,
    leads: bool,
    rounds: Rounds,
    finished: impl Fn() -> bool,
) {
    let mut batches = 0;
    while if leads { batches < rounds.batches } else { !finished() } {
        if let Some(pause) = rounds.pause {
            thread::sleep(pause);
        }
        let start = Instant::now();
        let result = worker(rounds.ops);
        let elapsed = start.elapsed();
        match result {
            Ok(()) => samples.record(elapsed, rounds.ops),
            Err(failure) => samples.fail(failure),
        }
        batches += 1;
    }
}

/// Times between arrivals that are neither equal nor random from run to run.
#[derive(Debug)]
pub(crate) struct Arrivals {
    state: u64,
}

impl Arrivals {
    /// The same sequence in every run.
    pub(crate) fn new() -> Self {
        Arrivals { state: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Sleeps 5 to 30 ms: long enough for the kernel's grace periods to pass and for caches to cool.
    pub(crate) fn wait(&mut self) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        thread::sleep(Duration::from_micros(5_000 + self.state % 25_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(&'static str, AtomicUsize);

    impl Contender for Counting {
        fn name(&self) -> &'static str {
            self.0
        }

        fn worker(&self) -> Result<Worker<'_>, Failure> {
            Ok(Box::new(|ops| {
                self.1.fetch_add(ops as usize, Ordering::Relaxed);
                Ok(())
            }))
        }
    }

    struct Broken;

    impl Contender for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }

        fn worker(&self) -> Result<Worker<'_>, Failure> {
            Err("cannot".into())
        }
    }

    const ROUNDS: Rounds = Rounds { rounds: 3, batches: 5, ops: 7, pause: None };

    #[test]
    fn percentiles_are_of_the_mean_of_a_batch() {
        let mut samples = Samples::new();
        for _ in 0..99 {
            samples.record(Duration::from_micros(1), 100);
        }
        samples.record(Duration::from_micros(5), 100);
        let p50 = samples.quantile_ns(0.5).unwrap();
        let max = samples.quantile_ns(1.0).unwrap();
        assert!((9.9..10.1).contains(&p50), "{p50}");
        assert!((49.5..50.5).contains(&max), "{max}");
    }

    #[test]
    fn the_leader_decides_how_long_a_turn_is_and_the_warm_up_is_not_counted() {
        let (one, two) = (Counting("one", AtomicUsize::new(0)), Counting("two", AtomicUsize::new(0)));
        let samples = interleaved(&[&one, &two], 1, ROUNDS).unwrap();
        assert_eq!(samples[0].count(), 15);
        assert_eq!(samples[1].count(), 15);
        assert_eq!(one.1.load(Ordering::Relaxed), 4 * 5 * 7);
        let samples = interleaved(&[&one, &two], 2, ROUNDS).unwrap();
        assert!(samples[0].count() >= 15);
    }

    #[test]
    fn a_contender_that_cannot_start_is_named() {
        let one = Counting("one", AtomicUsize::new(0));
        let failure = interleaved(&[&one, &Broken], 2, ROUNDS).unwrap_err();
        assert_eq!(failure, "broken: cannot");
    }

    #[test]
    fn failures_are_counted_and_the_first_is_kept() {
        let mut samples = Samples::new();
        assert_eq!(samples.time(|| Err::<(), _>("first".into())), None);
        assert_eq!(samples.time(|| Err::<(), _>("second".into())), None);
        assert_eq!((samples.failures, samples.first_failure.as_deref()), (2, Some("first")));
        assert_eq!(samples.quantile_ns(0.5), None);
    }
}
