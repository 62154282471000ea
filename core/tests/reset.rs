//! A set whose sandboxes are reset when they are put.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Backend, Capabilities, Clock, Config, ErrorCode, EventKind, ManualClock, Reuse, Runtime, SandboxSet,
    SandboxSpec,
};
use support::{HANG, get, set, until};

fn config(max_size: usize) -> Config {
    Config { max_size, reuse: Reuse::Reset, ..Config::default() }
}

fn reasons(set: &SandboxSet) -> Vec<String> {
    set.stats().destroyed_by.into_iter().map(|(reason, _)| reason).collect()
}

#[test]
fn the_next_holder_does_not_find_what_the_last_one_left() {
    for (reuse, found) in [(Reuse::Reset, false), (Reuse::Keep, true)] {
        let (set, mock) = set(Config { max_size: 1, reuse, ..Config::default() });
        let first = get(&set);
        first.write_file("/tmp/note".as_ref(), b"left", 0o600).unwrap();
        first.put().unwrap();
        let second = get(&set);
        assert_eq!(second.id(), first.id());
        assert_eq!(second.read_file("/tmp/note".as_ref(), 100).is_ok(), found, "{reuse:?}");
        let resets = u64::from(reuse == Reuse::Reset);
        assert_eq!((set.stats().resets, mock.calls(MockOperation::Reset)), (resets, resets));
    }
}

#[test]
fn a_put_does_not_wait_and_the_sandbox_is_returning_meanwhile() {
    let (set, mock) = set(config(1));
    mock.fault_at(MockOperation::Reset, 1, MockFault::Hang);
    let events = set.events(100).unwrap();
    let sandbox = get(&set);
    sandbox.put().unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Reset, 1, HANG));
    let stats = set.stats();
    assert_eq!((stats.returning, stats.idle, stats.puts, stats.resets), (1, 0, 0, 0), "{stats:?}");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| get(&set).id());
        until(&set, "somebody waits", |stats| stats.waiting == 1);
        mock.release_hangs();
        assert_eq!(waiter.join().unwrap(), sandbox.id());
    });
    until(&set, "idle again", |stats| stats.idle == 1);
    assert_eq!((mock.calls(MockOperation::Reset), set.stats().resets), (2, 2));
    let names: Vec<_> =
        std::iter::from_fn(|| events.next(Duration::ZERO)).map(|event| event.kind.name()).collect();
    // Handed over without a pause, the first time.
    assert_eq!(names, ["create", "put", "reset", "put", "reset", "pause"]);
}

#[test]
fn a_put_takes_far_less_than_the_reset() {
    let (set, mock) = set(config(1));
    mock.fault_always(MockOperation::Reset, Some(MockFault::Delay(Duration::from_millis(50))));
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let sandbox = get(&set);
        let started = Instant::now();
        sandbox.put().unwrap();
        fastest = fastest.min(started.elapsed());
    }
    // Of the fastest, because any single one may be interrupted by the scheduler.
    assert!(fastest < Duration::from_millis(25), "{fastest:?}");
}

#[test]
fn a_failed_reset_ends_the_sandbox_and_another_takes_its_place() {
    for fault in [MockFault::Fail("a process is left".into()), MockFault::Panic, MockFault::Die] {
        let (set, mock) = set(config(1));
        let events = set.events(100).unwrap();
        mock.fault_at(MockOperation::Reset, 1, fault.clone());
        let first = get(&set);
        first.put().unwrap();
        let second = get(&set);
        assert_ne!(first.id(), second.id());
        until(&set, "destroyed", |stats| stats.destroyed == 1);
        assert!(reasons(&set).iter().all(|reason| reason.starts_with("reset: ")), "{:?}", reasons(&set));
        assert_eq!((set.stats().resets, set.stats().reset_failures, mock.live()), (0, 1, 1), "{fault:?}");
        let faults = std::iter::from_fn(|| events.next(Duration::ZERO))
            .filter(|event| matches!(&event.kind, EventKind::Fault(text) if text.starts_with("reset: ")))
            .count();
        assert_eq!(faults, 1, "{fault:?}");
    }
}

#[test]
fn a_reset_that_hangs_ends_the_sandbox_after_five_seconds() {
    let clock = Arc::new(ManualClock::new());
    let (set, mock) = set(Config { clock: Clock::Manual(Arc::clone(&clock)), ..config(1) });
    mock.fault_at(MockOperation::Reset, 1, MockFault::Hang);
    get(&set).put().unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Reset, 1, HANG));
    clock.advance(Duration::from_millis(4999));
    assert_eq!(set.stats().returning, 1);
    clock.advance(Duration::from_millis(1));
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!(reasons(&set), ["reset: not done within 5s"]);
    assert_eq!((set.stats().reset_failures, mock.live()), (1, 0));
}

#[test]
fn a_put_during_an_operation_ends_the_sandbox() {
    let (set, mock) = set(config(1));
    mock.fault_at(MockOperation::Exec, 1, MockFault::Hang);
    let sandbox = get(&set);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| sandbox.exec(&sandboxset::Command::new(["true"])));
        assert!(mock.wait_for_hangs(MockOperation::Exec, 1, HANG));
        sandbox.put().unwrap();
        assert!(call.join().unwrap().is_err());
    });
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!(reasons(&set), ["an operation was still under way at its put"]);
    assert_eq!(mock.calls(MockOperation::Reset), 0);
}

#[test]
fn a_close_ends_a_reset_that_hangs() {
    let (set, mock) = set(config(2));
    mock.fault_always(MockOperation::Reset, Some(MockFault::Hang));
    get(&set).put().unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Reset, 1, HANG));
    let report = set.close(Duration::ZERO).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    assert_eq!((mock.live(), set.stats().reset_failures), (0, 0));
}

#[test]
fn what_cannot_be_reset_is_refused() {
    let mock = MockBackend::new();
    let spec = SandboxSpec { runtime: Some(Runtime::new(["/run"])), ..SandboxSpec::default() };
    let error = SandboxSet::new(Arc::new(mock.clone()), spec, config(1)).unwrap_err();
    assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("reuse")));
    mock.set_capabilities(Capabilities { reset: false, ..mock.capabilities() });
    let error = SandboxSet::new(Arc::new(mock), SandboxSpec::default(), config(1)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unsupported, "{error}");
    assert!(error.message().contains("reuse"), "{error}");
}

#[test]
fn many_threads_never_see_what_another_left() {
    let (set, _mock) = set(config(3));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let sandbox = get(&set);
                    assert!(sandbox.list_dir("/scratch".as_ref(), 10).unwrap().is_empty());
                    sandbox.write_file("left".as_ref(), b"x", 0o600).unwrap();
                }
            });
        }
    });
    until(&set, "all returned", |stats| stats.returning == 0);
    let stats = set.stats();
    assert_eq!((stats.resets, stats.reset_failures, stats.puts), (800, 0, 800), "{stats:?}");
}
