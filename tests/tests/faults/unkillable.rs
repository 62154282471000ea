//! A process in a sandbox waits in the kernel where no signal reaches it. Nobody but its own place pays for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, EventKind, EventStream, GetOptions, SandboxRef, SandboxSet, SandboxSpec,
    Stats,
};
use sandboxset_tests::census::Scope;
use sandboxset_tests::frozen::FileSystem;

use crate::{HANG, alone, skip};

/// What is promised of a place: after this it is free, though the sandbox is not gone.
const PLACE_KEPT: Duration = Duration::from_secs(5);
/// What a loaded machine may add to a promised time.
const SLACK: Duration = Duration::from_secs(20);

fn file_system() -> Option<FileSystem> {
    FileSystem::mount().map_err(|reason| skip(&reason)).ok()
}

fn set_on(system: &FileSystem, max_size: usize) -> SandboxSet {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let bind = Bind { source: system.path(), target: "/frozen".into(), writable: true };
    let spec = SandboxSpec { binds: vec![bind], ..SandboxSpec::default() };
    SandboxSet::new(backend, spec, Config { max_size, ..Config::default() }).unwrap()
}

fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

/// Starts a command that writes to the file system, and waits until it cannot be interrupted.
fn block(sandbox: &SandboxRef, scope: &Scope) -> sandboxset::Process {
    let script = "exec touch /frozen/file";
    let process = sandbox.spawn(&Command::new(["sh", "-c", script])).unwrap();
    let until = Instant::now() + HANG;
    loop {
        let census = scope.take();
        let waits = census.processes.keys().any(|process| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
            stat.rsplit_once(')')
                .is_some_and(|(head, state)| head.ends_with("touch") && state.starts_with(" D"))
        });
        if waits {
            return process;
        }
        assert!(Instant::now() < until, "nothing waits: {census:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until(set: &SandboxSet, what: &str, wanted: impl Fn(&Stats) -> bool) {
    let start = Instant::now();
    while !wanted(&set.stats()) {
        assert!(start.elapsed() < HANG, "never {what}: {:?}", set.stats());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn faults(events: &EventStream) -> Vec<String> {
    std::iter::from_fn(|| events.next(Duration::ZERO))
        .filter_map(|event| match event.kind {
            EventKind::Fault(text) => Some(text),
            _ => None,
        })
        .collect()
}

#[test]
fn an_unkillable_sandbox_costs_its_place_for_five_seconds_and_goes_when_it_can() {
    let _alone = alone();
    let Some(mut system) = file_system() else { return };
    let scope = Scope::own();
    let before = scope.take();
    let set = set_on(&system, 2);
    let events = set.events(1000).unwrap();
    let (stuck, free) = (get(&set), get(&set));
    system.freeze();
    let process = block(&stuck, &scope);

    let began = Instant::now();
    stuck.destroy("stuck").unwrap();
    let destroyed = began.elapsed();
    drop(process);
    // Nobody else feels it: neither a holder nor somebody who needs a new sandbox.
    assert!(free.exec(&Command::new(["true"])).unwrap().success());
    free.destroy("to need a new one").unwrap();
    let other = get(&set);
    let undisturbed = began.elapsed();
    // The place comes free for the next one, though the sandbox is not gone.
    let third = get(&set);
    let place_kept = began.elapsed();
    assert!(third.exec(&Command::new(["true"])).unwrap().success());
    let stats = set.stats();
    assert_eq!((stats.quarantined, stats.destroying, stats.held), (1, 0, 2), "{stats:?}");
    assert!(destroyed < SLACK && undisturbed < SLACK, "{destroyed:?}, {undisturbed:?}");
    assert!(place_kept >= PLACE_KEPT && place_kept < PLACE_KEPT + SLACK, "{place_kept:?}");
    third.put().unwrap();
    other.put().unwrap();

    // Reported as an event, and by a close, which takes no longer than it was allowed.
    let told = Instant::now() + HANG;
    let mut said = faults(&events);
    while !said.iter().any(|text| text.contains("uninterruptible")) {
        assert!(Instant::now() < told, "{said:?}");
        std::thread::sleep(Duration::from_millis(5));
        said.extend(faults(&events));
    }
    let closing = Instant::now();
    let report = set.close(Duration::from_secs(1)).unwrap();
    let closed = closing.elapsed();
    assert_eq!((report.destroyed, report.survivors.len()), (2, 1), "{report:?}");
    assert!(report.survivors[0].contains("quarantined (stuck)"), "{report:?}");
    assert!(closed >= Duration::from_secs(1) && closed < SLACK, "{closed:?}");
    // It really is there, or this would show nothing.
    assert!(!scope.take().leaks_since(&before).is_empty());

    system.thaw();
    let thawed = Instant::now();
    until(&set, "gone", |stats| stats.quarantined == 0);
    let gone = thawed.elapsed();
    assert_eq!(set.stats().destroyed, set.stats().created);
    drop((stuck, free, other, third, set));
    scope.assert_settles(&before);
    println!(
        "unkillable: destroy returned in {destroyed:.1?}, others served in {undisturbed:.1?}, place free after \
         {place_kept:.1?}, close of 1 s took {closed:.1?}, gone {gone:.1?} after it could be"
    );
}

#[test]
fn a_close_waits_for_what_dies_before_its_deadline() {
    let _alone = alone();
    let Some(mut system) = file_system() else { return };
    let scope = Scope::own();
    let before = scope.take();
    let set = set_on(&system, 1);
    let stuck = get(&set);
    system.freeze();
    let process = block(&stuck, &scope);
    stuck.destroy("stuck").unwrap();
    drop(process);
    until(&set, "quarantined", |stats| stats.quarantined == 1);
    std::thread::scope(|threads| {
        let closing = threads.spawn(|| set.close(HANG).unwrap());
        system.thaw();
        let report = closing.join().unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (1, 0), "{report:?}");
    });
    drop((stuck, set));
    scope.assert_settles(&before);
}

/// A command that cannot be killed gives up, and a put of a sandbox in which one runs destroys it.
#[test]
fn calls_into_an_unkillable_sandbox_end() {
    let _alone = alone();
    let Some(mut system) = file_system() else { return };
    let scope = Scope::own();
    let before = scope.take();
    let set = set_on(&system, 2);
    let (stuck, late) = (get(&set), get(&set));
    system.freeze();

    let mut command = Command::new(["touch", "/frozen/other"]);
    command.timeout = Duration::from_millis(100);
    let began = Instant::now();
    let result = late.exec(&command);
    let timed_out = began.elapsed();
    let process = block(&stuck, &scope);
    let began = Instant::now();
    stuck.put().unwrap();
    let put = began.elapsed();
    drop(process);
    assert!(timed_out < SLACK && put < SLACK, "{timed_out:?}, {put:?}: {result:?}");
    println!("a command that cannot be killed returned in {timed_out:.1?}, a put in {put:.1?}");
    late.destroy("done").unwrap();
    until(&set, "quarantined", |stats| stats.quarantined == 2);
    system.thaw();
    let report = set.close(HANG).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    drop((stuck, late, set));
    scope.assert_settles(&before);
}
