//! Keepers that stand still, inits that are killed, hosts that stand still or are killed with all that they started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Acquire, Backend, Command, Config, ErrorCode, GetOptions, SandboxRef, SandboxSet, SandboxSpec,
};
use sandboxset_tests::census::{Census, Identity, Scope};
use sandboxset_tests::chaos::{jitter, kill};
use sandboxset_tests::kernel;
use sandboxset_tests::machine::{Random, seed, setting};

use crate::cgroup::Cgroup;
use crate::hosts::{Host, ODD_HOST, odd};
use crate::{HANG, alone, skip};

/// Longer than any call of the library waits for a keeper that does not answer.
const SLOW: Duration = Duration::from_secs(30);

fn new_set(max_size: usize) -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { max_size, create_timeout: Duration::from_secs(5), ..Config::default() };
    SandboxSet::new(backend, SandboxSpec::default(), config).unwrap()
}

fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

fn the_keeper(scope: &Scope) -> Identity {
    let keepers = scope.keepers();
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    keepers[0]
}

/// Kills a stopped keeper when the test fails half-way; nobody else would.
struct Stopped(Identity);

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0);
    }
}

fn signal(process: Identity, signal: Signal) {
    kill_process(Pid::from_raw(process.pid as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_stopped_keeper_stops_nobody_who_needs_it_not() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let set = new_set(4);
    let sandbox = get(&set);
    let keeper = the_keeper(&scope);
    let _killed = Stopped(keeper);
    signal(keeper, Signal::STOP);
    // Commands, files, pause and unpause go on.
    assert!(sandbox.exec(&Command::new(["true"])).unwrap().success());
    sandbox.put().unwrap();
    drop(sandbox);
    let sandbox = get(&set);
    assert!(sandbox.reused() && sandbox.exec(&Command::new(["true"])).unwrap().success());
    let fresh = |timeout| {
        let options =
            GetOptions { timeout: Some(timeout), acquire: Acquire::FreshOnly, ..GetOptions::default() };
        set.get_or_create_unpaused(&options)
    };
    let began = Instant::now();
    let error = fresh(Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout, "{error:?}");
    assert!(began.elapsed() < SLOW, "{:?}", began.elapsed());
    signal(keeper, Signal::CONT);
    // The create that nobody waited for serves the next, and nothing is lost.
    fresh(HANG).unwrap().destroy("done").unwrap();

    // Stopped for good: who needs a new sandbox gets one of a new keeper, when the first create has failed.
    signal(keeper, Signal::STOP);
    let began = Instant::now();
    let error = fresh(SLOW).map(drop).unwrap_err();
    assert!(error.retryable(), "{error:?}");
    let other = fresh(SLOW).unwrap();
    let replaced = began.elapsed();
    assert!(other.exec(&Command::new(["true"])).unwrap().success());
    assert!(sandbox.exec(&Command::new(["true"])).unwrap().success());
    // What it has can be destroyed without it, and then it goes.
    sandbox.put().unwrap();
    other.put().unwrap();
    let began = Instant::now();
    let report = set.close(SLOW).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    drop((sandbox, other, set));
    scope.assert_settles(&before);
    println!(
        "a keeper stopped for good was replaced after {replaced:.1?}, and all closed in {:.1?}",
        began.elapsed()
    );
}

#[test]
fn inits_that_are_killed_at_random_moments_are_told_and_replaced() {
    let _alone = alone();
    let rounds = setting("SANDBOXSET_INIT_DEATHS", 40);
    let mut random = Random::new(seed());
    let scope = Scope::own();
    let before = scope.take();
    let set = new_set(3);
    drop(get(&set));
    let keeper = the_keeper(&scope);
    let stop = AtomicBool::new(false);
    let (mut done, mut told) = (0u64, 0u64);
    std::thread::scope(|threads| {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                threads.spawn(|| {
                    let (mut done, mut told) = (0, 0);
                    while !stop.load(Ordering::Relaxed) {
                        let result = set.get_or_create_unpaused(&GetOptions::default()).and_then(|sandbox| {
                            sandbox.exec(&Command::new(["true"]))?;
                            sandbox.put()
                        });
                        match result {
                            Ok(()) => done += 1,
                            Err(error) => {
                                assert!(error.retryable(), "{error:?}");
                                told += 1;
                            }
                        }
                    }
                    (done, told)
                })
            })
            .collect();
        for _ in 0..rounds {
            jitter(&mut random, Duration::from_millis(20));
            // Shells, sandboxes that are being made, that idle, that work: whatever there is.
            let inits: Vec<Identity> = kernel::tasks()
                .values()
                .filter(|task| task.parent == keeper.pid && !task.zombie)
                .map(kernel::Task::identity)
                .collect();
            if !inits.is_empty() {
                kill(inits[random.below(inits.len() as u64) as usize]);
            }
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let (more_done, more_told) = worker.join().unwrap();
            done += more_done;
            told += more_told;
        }
    });
    assert_eq!(the_keeper(&scope), keeper, "the keeper lives on");
    assert!(get(&set).exec(&Command::new(["true"])).unwrap().success());
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop(set);
    scope.assert_settles(&before);
    println!("{rounds} inits killed: {done} uses done, {told} told of a death; residue 0");
}

#[test]
fn a_host_that_stands_still_now_and_then_loses_nothing() {
    let _alone = alone();
    let mut host = Host::start(odd("counts"));
    for _ in 0..10 {
        host.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(50));
        host.signal(Signal::CONT);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(host.line(), "finished");
    assert!(host.wait().success());
    host.scope.assert_settles(&Census::default());
}

/// As a service manager ends what it started: everything at once.
#[test]
fn a_host_that_is_killed_with_its_cgroup_is_swept_by_the_next() {
    let _alone = alone();
    let Some(cgroup) = Cgroup::make("", "cgroup.kill") else {
        return skip("no v2 cgroup can be made here");
    };
    let mut host = Host::start(cgroup.run(&[ODD_HOST, "waits"]));
    assert_eq!(host.line(), "busy");
    assert!(host.scope.take().processes.len() > 3, "{:?}", host.scope.take());
    std::fs::write(cgroup.dir().join("cgroup.kill"), "1").unwrap();
    host.wait();
    let until = Instant::now() + HANG;
    while !host.scope.take().processes.is_empty() {
        assert!(Instant::now() < until, "{:?}", host.scope.take());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!host.scope.take().cgroups.is_empty(), "nothing is left to sweep, so this shows nothing");
    // A cgroup that was killed once may kill what is born into it, so the next host is in another one, beside which
    // the leftovers are moved by nobody: it sweeps what it finds in its own place, as this process does.
    let set = new_set(1);
    drop(get(&set));
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    drop(set);
    sweep_v2(&cgroup);
    host.scope.assert_settles(&Census::default());
}

/// What lies in the test's own cgroup is the test's to remove.
fn sweep_v2(cgroup: &Cgroup) {
    fn remove(dir: &std::path::Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
                let _ = std::fs::remove_dir(entry.path());
            }
        }
    }
    remove(cgroup.dir());
}
