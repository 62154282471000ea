//! Many threads on few real sandboxes: no error, no lost place, no double hand-out, nobody starves.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Backend, Command, Config, GetOptions, SandboxId, SandboxSet, SandboxSpec, Stats};
use sandboxset_tests::census::Scope;
use sandboxset_tests::machine::{percentiles, setting};

const HANG: Duration = Duration::from_secs(60);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn new_set(max_size: usize) -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { max_size, ..Config::default() };
    SandboxSet::new(backend, SandboxSpec::default(), config).unwrap()
}

/// Who holds which sandbox, as the holders themselves say.
#[derive(Default)]
struct Holders(Mutex<HashMap<SandboxId, usize>>);

impl Holders {
    fn take(&self, sandbox: SandboxId, holder: usize) {
        if let Some(other) = self.0.lock().unwrap().insert(sandbox, holder) {
            panic!("{sandbox} was handed to {holder} while {other} held it");
        }
    }

    fn give_back(&self, sandbox: SandboxId, holder: usize) {
        assert_eq!(self.0.lock().unwrap().remove(&sandbox), Some(holder), "{sandbox}");
    }
}

/// `created = idle + held + resuming + returning + destroying + quarantined + destroyed`
fn assert_conserved(stats: &Stats) {
    let there = stats.idle
        + stats.held
        + stats.resuming
        + stats.returning
        + stats.destroying
        + stats.quarantined
        + stats.destroyed as usize;
    assert_eq!(stats.created as usize, there, "{stats:?}");
}

#[test]
fn sixteen_threads_share_four_sandboxes() {
    const THREADS: usize = 16;
    const PLACES: usize = 4;
    let _alone = alone();
    let uses = setting("SANDBOXSET_SOAK_USES", 1000) as usize;
    let scope = Scope::own();
    let before = scope.take();
    let set = new_set(PLACES);
    let holders = Holders::default();
    let start = Instant::now();
    let mut waits: Vec<Duration> = std::thread::scope(|threads| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (set, holders) = (&set, &holders);
                threads.spawn(move || work(set, holders, thread, uses))
            })
            .collect();
        // Somebody looks on all the time.
        while workers.iter().any(|worker| !worker.is_finished()) {
            let stats = set.stats();
            assert_conserved(&stats);
            assert!(stats.held + stats.idle + stats.creating <= PLACES, "{stats:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let elapsed = start.elapsed();
    let total = (THREADS * uses) as u64;
    let stats = set.stats();
    assert_eq!((stats.gets, stats.puts), (total, total), "{stats:?}");
    assert_eq!((stats.timeouts, stats.create_failures, stats.destroyed), (0, 0, 0), "{stats:?}");
    assert!((1..=PLACES as u64).contains(&stats.created), "{stats:?}");

    let report = set.close(HANG).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    let stats = set.stats();
    assert_conserved(&stats);
    assert_eq!(stats.destroyed, stats.created, "{stats:?}");
    drop(set);
    scope.assert_settles(&before);
    println!(
        "{total} uses by {THREADS} threads of {PLACES} sandboxes in {elapsed:.1?}: errors 0, lost 0, double 0; get {}",
        percentiles(&mut waits)
    );
}

fn work(set: &SandboxSet, holders: &Holders, thread: usize, uses: usize) -> Vec<Duration> {
    let options = GetOptions { timeout: Some(HANG), ..GetOptions::default() };
    let token = Path::new("token");
    (0..uses)
        .map(|number| {
            let asked = Instant::now();
            let sandbox = set.get_or_create_unpaused(&options).unwrap();
            let waited = asked.elapsed();
            holders.take(sandbox.id(), thread);
            // Now and then the sandbox itself bears witness that nobody else is in it.
            if number % 25 == 0 {
                let mine = format!("{thread} {number}");
                sandbox.write_file(token, mine.as_bytes(), 0o600).unwrap();
                let output = sandbox.exec(&Command::new(["cat", "/scratch/token"])).unwrap();
                assert_eq!((output.exit_code(), output.stdout.text()), (Some(0), mine.clone()));
                assert_eq!(sandbox.read_file(token, 100).unwrap(), mine.as_bytes());
            }
            holders.give_back(sandbox.id(), thread);
            sandbox.put().unwrap();
            waited
        })
        .collect()
}

/// 60 callers that need 10 ms each on 2 places take 300 ms together, so with first come, first served all of them
/// are done in time. The budget is ten times what is promised: the machine may be busy with something else.
#[test]
fn nobody_starves() {
    const CALLERS: usize = 60;
    const PROMISED: Duration = Duration::from_secs(1);
    const BUDGET: Duration = Duration::from_secs(10);
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let set = new_set(2);
    assert_eq!(set.prewarm(2, HANG).unwrap(), 2);
    let barrier = Barrier::new(CALLERS);
    let options = GetOptions { timeout: Some(BUDGET), ..GetOptions::default() };
    let mut waits: Vec<Duration> = std::thread::scope(|threads| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                threads.spawn(|| {
                    barrier.wait();
                    let asked = Instant::now();
                    let sandbox = set.get_or_create_unpaused(&options).unwrap();
                    let waited = asked.elapsed();
                    // The holder's work.
                    std::thread::sleep(Duration::from_millis(10));
                    sandbox.put().unwrap();
                    waited
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let in_time = waits.iter().filter(|wait| **wait <= PROMISED).count();
    println!(
        "{CALLERS} callers of 10 ms on 2 places: {in_time} served within {PROMISED:?}; wait {}",
        percentiles(&mut waits)
    );
    let stats = set.stats();
    assert_eq!((stats.timeouts, stats.created), (0, 2), "{stats:?}");
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop(set);
    scope.assert_settles(&before);
}
