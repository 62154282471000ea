//! The keeper is killed: whoever holds a sandbox is told, the next one gets a sandbox of a new keeper, and nothing
//! of the old one is left.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, ErrorCode, GetOptions, SandboxSet, SandboxSpec, SandboxState, ScratchDirs,
};
use sandboxset_tests::census::{Census, Scope, lines, temporary_dir};
use sandboxset_tests::chaos::{PHASES, Victim, VictimOptions, jitter, kill};
use sandboxset_tests::machine::{Random, percentiles, seed, setting};

const HANG: Duration = Duration::from_secs(30);

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn new_set(scratch_dirs: ScratchDirs) -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { max_size: 4, scratch_dirs, ..Config::default() };
    SandboxSet::new(backend, SandboxSpec::default(), config).unwrap()
}

fn kill_the_keeper(scope: &Scope) {
    let keepers = scope.keepers();
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    assert!(kill(keepers[0]));
}

/// Runs commands in new sandboxes until one answers; the set may hand out what died a moment ago.
fn recovers(set: &SandboxSet) -> u64 {
    let until = Instant::now() + HANG;
    let mut refused = 0;
    loop {
        let outcome = set
            .get_or_create_unpaused(&GetOptions::default())
            .and_then(|sandbox| sandbox.exec(&Command::new(["echo", "alive"])));
        match outcome {
            Ok(output) => {
                assert_eq!(output.stdout.text(), "alive\n");
                return refused;
            }
            Err(error) => {
                assert!(error.retryable(), "{error:?}");
                assert!(Instant::now() < until, "{error:?}");
                refused += 1;
            }
        }
    }
}

#[test]
fn holders_are_told_and_the_set_recovers() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_KEEPER_DEATHS", 100);
    let mut random = Random::new(seed());
    let base = temporary_dir("keeper-death");
    let scope = Scope::own().with_scratch_base(base.path());
    let before = scope.take();
    let (mut told, mut refused) = (Vec::new(), 0);
    for round in 0..rounds {
        let on_disk = round % 3 == 0;
        let scratch = if on_disk { ScratchDirs::Disk(base.path().into()) } else { ScratchDirs::Tmpfs };
        let set = new_set(scratch);
        let held: Vec<_> =
            (0..3).map(|_| set.get_or_create_unpaused(&GetOptions::default()).unwrap()).collect();
        // One of them is idle and paused when it happens.
        held[0].put().unwrap();
        let busy = std::thread::scope(|threads| {
            let busy = threads.spawn(|| held[1].exec(&Command::new(["sleep", "60"])));
            jitter(&mut random, Duration::from_millis(5));
            kill_the_keeper(&scope);
            let when = Instant::now();
            let busy = busy.join().unwrap();
            told.push(when.elapsed());
            busy
        });
        let error = busy.unwrap_err();
        assert_eq!(error.code(), ErrorCode::SandboxDead, "round {round}: {error:?}");
        let error = held[2].exec(&Command::new(["true"])).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SandboxDead, "round {round}: {error:?}");
        assert_eq!(held[2].state(), SandboxState::Dead, "round {round}");
        let error = held[2].write_file(Path::new("file"), b"", 0o600).unwrap_err();
        assert_eq!(error.code(), ErrorCode::SandboxDead, "round {round}: {error:?}");
        refused += recovers(&set);
        drop(held);
        let report = set.close(HANG).unwrap();
        assert!(report.survivors.is_empty(), "round {round}: {report:?}");
        drop(set);
        if let Err(leaks) = scope.settle(&before, Duration::from_secs(20)) {
            panic!("round {round}, disk {on_disk}:\n{}", lines(&leaks));
        }
    }
    println!("keeper killed: {} until the holder was told", percentiles(&mut told));
    println!("gets that had to be repeated: {refused}; residue 0");
}

#[test]
fn killed_while_many_threads_work() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_KEEPER_DEATHS", 100) / 2;
    let mut random = Random::new(seed());
    let scope = Scope::own();
    let before = scope.take();
    let set = new_set(ScratchDirs::Tmpfs);
    let (stop, done, dead) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let outcome = set.get_or_create_unpaused(&GetOptions::default()).and_then(|sandbox| {
                        sandbox.exec(&Command::new(["true"]))?;
                        sandbox.put()
                    });
                    match outcome {
                        Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                        Err(error) => {
                            assert!(error.retryable(), "{error:?}");
                            dead.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let killing = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds {
                let until = Instant::now() + HANG;
                // Every keeper does some work before it dies.
                let enough = done.load(Ordering::Relaxed) + 5;
                while done.load(Ordering::Relaxed) < enough {
                    assert!(
                        Instant::now() < until,
                        "round {round}: no get succeeds any more: {:?}",
                        set.stats()
                    );
                    std::thread::yield_now();
                }
                jitter(&mut random, Duration::from_millis(5));
                for keeper in scope.keepers() {
                    kill(keeper);
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        killing.unwrap();
    });
    recovers(&set);
    let stats = set.stats();
    assert_eq!(stats.held + stats.waiting, 0, "{stats:?}");
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop(set);
    scope.assert_settles(&before);
    println!(
        "{rounds} keepers killed under 8 threads: {} uses done, {} told of a death; residue 0",
        done.load(Ordering::Relaxed),
        dead.load(Ordering::Relaxed)
    );
}

/// Shells that nobody has asked for are processes, cgroups and mounts like any sandbox.
#[test]
fn shells_go_with_the_keeper_and_with_the_last_backend() {
    const SHELLS: usize = 5;
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    for keeper_dies in [true, false] {
        let options = LinuxOptions { shells: Some(SHELLS), ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).unwrap();
        let set =
            SandboxSet::new(Arc::new(backend.clone()), SandboxSpec::default(), Config::default()).unwrap();
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        let until = Instant::now() + HANG;
        while backend.shells().unwrap().ready < SHELLS {
            assert!(Instant::now() < until, "never {SHELLS} shells: {:?}", backend.shells());
            std::thread::sleep(Duration::from_millis(5));
        }
        // The control: the census sees them.
        let shells = scope.take();
        assert!(shells.processes.len() > 1 + SHELLS, "{shells:?}");
        if keeper_dies {
            kill_the_keeper(&scope);
        }
        drop(sandbox);
        assert!(set.close(HANG).unwrap().survivors.is_empty());
        drop((set, backend));
        scope.assert_settles(&before);
    }
    println!("{SHELLS} shells went with their keeper and with their last backend; residue 0");
}

/// Host and keeper at once: processes go with the keeper; what has no life of its own, the next start removes.
#[test]
fn host_and_keeper_at_once() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_DOUBLE_DEATHS", 30);
    let mut random = Random::new(seed());
    let base = temporary_dir("double-death");
    let mut swept = 0;
    for round in 0..rounds {
        let options = VictimOptions {
            program: Path::new(env!("CARGO_BIN_EXE_victim")),
            scratch_base: Some(base.path()),
            user: None,
            seed: random.number(),
        };
        let phase = PHASES[round as usize % PHASES.len()];
        let mut victim = Victim::start(&options);
        victim.await_phase(phase, 2 + random.below(4));
        jitter(&mut random, Duration::from_millis(5));
        let (scope, _) = victim.kill(true);

        // Without any help the processes end.
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let census = scope.take();
            if census.processes.is_empty() && census.mounts.is_empty() {
                break;
            }
            assert!(Instant::now() < until, "round {round}, {phase}: {census:?}");
        }
        let left = scope.take();
        swept += left.cgroups.len() + left.dirs.len();

        let set = new_set(ScratchDirs::Disk(base.path().into()));
        set.get_or_create_unpaused(&GetOptions::default()).unwrap().put().unwrap();
        assert!(set.close(HANG).unwrap().survivors.is_empty());
        drop(set);
        if let Err(leaks) = scope.settle(&Census::default(), Duration::from_secs(20)) {
            panic!("round {round}, {phase}, seed {}: not swept\n{}", options.seed, lines(&leaks));
        }
    }
    assert!(swept > 0 || rounds == 0, "nothing was ever left, so this shows nothing");
    println!("host and keeper killed at once in {rounds} rounds: {swept} cgroups and dirs swept; residue 0");
}
