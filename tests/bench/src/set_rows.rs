//! The rows of the set itself, on the mock backend.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockOperation};
use sandboxset::{Config, GetOptions, SandboxRef, SandboxSet, SandboxSpec};

use crate::measure::{Contender, Failure, Rounds, Samples, Worker, interleaved};
use crate::peers::{Bb8, Deadpool};
use crate::report::{Row, Unit};

/// One way to get and put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// The name of its row.
    pub(crate) name: &'static str,
    threads: usize,
    held: usize,
    spaced: bool,
}

/// All cases: 1 and 2 threads; none, a thousand and ten thousand sandboxes held by others; now and then.
pub(crate) const CASES: [Case; 6] = [
    Case { name: "set.get_put", threads: 1, held: 0, spaced: false },
    Case { name: "set.get_put.held1000", threads: 1, held: 1_000, spaced: false },
    Case { name: "set.get_put.held10000", threads: 1, held: 10_000, spaced: false },
    Case { name: "set.get_put.t2", threads: 2, held: 0, spaced: false },
    Case { name: "set.get_put.t2.held10000", threads: 2, held: 10_000, spaced: false },
    Case { name: "set.get_put.spaced", threads: 1, held: 0, spaced: true },
];

/// Operations between two looks at the clock: a look costs about 25 ns, so a quarter of a nanosecond per operation.
pub(crate) const OPS: u32 = 100;

/// Our set on the mock.
struct Ours {
    backend: MockBackend,
    set: SandboxSet,
    held: Vec<SandboxRef>,
    puts: AtomicU64,
}

impl Ours {
    fn new(threads: usize, held: usize) -> Result<Self, Failure> {
        let config = Config { max_size: held + threads, ..Config::default() };
        let backend = MockBackend::new();
        let set = SandboxSet::new(Arc::new(backend.clone()), SandboxSpec::default(), config)
            .map_err(|error| error.to_string())?;
        set.prewarm(held + threads, Duration::from_secs(60)).map_err(|error| error.to_string())?;
        let held = (0..held)
            .map(|_| set.get_or_create_unpaused(&GetOptions::default()).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        Ok(Ours { backend, set, held, puts: AtomicU64::new(0) })
    }

    /// Closes the set, after a check that puts really paused: a set that skips it would look too good. All but a few
    /// must, because there is a place for every thread, so that no put can hand its sandbox to a waiter.
    fn close(self) -> Result<(), Failure> {
        let (puts, pauses) = (self.puts.into_inner(), self.backend.calls(MockOperation::Pause));
        if pauses < puts - puts / 1000 {
            return Err(format!("{puts} puts made only {pauses} pauses"));
        }
        for sandbox in &self.held {
            sandbox.put().map_err(|error| error.to_string())?;
        }
        let report = self.set.close(Duration::from_secs(60)).map_err(|error| error.to_string())?;
        if !report.survivors.is_empty() {
            return Err(format!("{} sandboxes survived the close", report.survivors.len()));
        }
        Ok(())
    }
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "sandboxset"
    }

    fn worker(&self) -> Result<Worker<'_>, Failure> {
        let options = GetOptions::default();
        Ok(Box::new(move |ops| {
            for _ in 0..ops {
                let sandbox = self.set.get_or_create_unpaused(&options).map_err(|error| error.to_string())?;
                black_box(&sandbox).put().map_err(|error| error.to_string())?;
            }
            self.puts.fetch_add(u64::from(ops), Ordering::Relaxed);
            Ok(())
        }))
    }
}

/// Measures one case, with the peers in the same state.
pub(crate) fn measure(case: Case, quick: bool) -> Result<Row, Failure> {
    let rounds = if case.spaced {
        Rounds {
            rounds: if quick { 20 } else { 200 },
            batches: 5,
            ops: 1,
            pause: Some(Duration::from_millis(1)),
        }
    } else {
        Rounds { rounds: if quick { 5 } else { 50 }, batches: 200, ops: OPS, pause: None }
    };
    let ours = Ours::new(case.threads, case.held)?;
    let deadpool = Deadpool::new(case.threads, case.held)?;
    let bb8 = Bb8::new(case.threads, case.held)?;
    let contenders: [&dyn Contender; 3] = [&ours, &deadpool, &bb8];
    let samples = interleaved(&contenders, case.threads, rounds)?;
    let mut samples = samples.into_iter();
    let mut row = Row::new(case.name, Unit::Nanoseconds, samples.next().unwrap_or_else(Samples::new));
    for (contender, samples) in contenders.iter().skip(1).zip(samples) {
        row.add_peer(contender.name(), &samples);
    }
    drop((deadpool, bb8));
    ours.close()?;
    Ok(row)
}
