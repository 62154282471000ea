//! Draining, closing, and dropping the last handle.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{Clock, Command, Config, ErrorCode, ManualClock, SandboxSet, SandboxSpec};
use support::{HANG, get, now, set, until, within};

#[test]
fn drain_refuses_newcomers_and_serves_those_who_wait() {
    let (set, _mock) = set(Config { max_size: 1, ..Config::default() });
    let held = get(&set);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| get(&set).put());
        until(&set, "queued", |stats| stats.waiting == 1);
        let error = set.drain(Duration::ZERO).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        assert!(error.message().contains("1 sandboxes are still held and 1 callers wait"), "{error}");
        assert_eq!(set.get_or_create_unpaused(&now()).unwrap_err().code(), ErrorCode::Closed);
        held.put().unwrap();
        set.drain(HANG).unwrap();
        waiter.join().unwrap().unwrap();
    });
    set.drain(HANG).unwrap();
    assert_eq!(set.stats().idle, 1);
    assert_eq!(set.close(HANG).unwrap().destroyed, 1);
}

#[test]
fn close_fails_those_who_wait_and_waits_for_holders() {
    let (set, mock) = set(Config { max_size: 1, ..Config::default() });
    let held = get(&set);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| set.get_or_create_unpaused(&within(HANG)).unwrap_err());
        until(&set, "queued", |stats| stats.waiting == 1);
        let closer = scope.spawn(|| set.close(HANG).unwrap());
        assert_eq!(waiter.join().unwrap().code(), ErrorCode::Closed);
        // The holder may go on until its put.
        held.exec(&Command::new(["x"])).unwrap();
        held.put().unwrap();
        let report = closer.join().unwrap();
        assert_eq!((report.destroyed, report.survivors.len(), mock.live()), (1, 0, 0));
    });
}

#[test]
fn close_destroys_what_is_still_held_at_its_deadline() {
    let (set, mock) = set(Config::default());
    let held = get(&set);
    let report = set.close(Duration::ZERO).unwrap();
    assert_eq!((report.destroyed, report.survivors.len(), mock.live()), (1, 0, 0));
    let error = held.exec(&Command::new(["x"])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SandboxDead);
    assert!(error.message().contains("the set was closed"), "{error}");
    held.put().unwrap();
    assert_eq!(set.stats().destroyed, 1);
}

#[test]
fn close_ends_a_put_that_hangs_and_a_sandbox_that_is_being_made() {
    let (set, mock) = set(Config::default());
    let held = get(&set);
    mock.fault_at(MockOperation::Pause, 1, MockFault::Hang);
    mock.fault_at(MockOperation::Create, 2, MockFault::Delay(Duration::from_millis(20)));
    assert_eq!(set.get_or_create_unpaused(&now()).unwrap_err().code(), ErrorCode::Timeout);
    thread::scope(|scope| {
        let put = scope.spawn(|| held.put());
        assert!(mock.wait_for_hangs(MockOperation::Pause, 1, HANG));
        let report = set.close(Duration::ZERO).unwrap();
        assert_eq!((report.destroyed, report.survivors), (2, Vec::<String>::new()));
        put.join().unwrap().unwrap();
    });
    assert_eq!(mock.live(), 0);
}

#[test]
fn close_reports_what_it_could_not_destroy() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    let config = Config { clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    set.prewarm(2, HANG).unwrap();
    mock.fault_at(MockOperation::Destroy, 1, MockFault::Hang);
    thread::scope(|scope| {
        let closer = scope.spawn(|| set.close(Duration::from_secs(1)).unwrap());
        assert!(mock.wait_for_hangs(MockOperation::Destroy, 1, HANG));
        until(&set, "other destroyed", |stats| stats.destroyed == 1);
        while !closer.is_finished() {
            clock.advance(Duration::from_secs(1));
            thread::yield_now();
        }
        let report = closer.join().unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (1, 1));
        assert!(report.survivors[0].contains("quarantined (the set was closed)"), "{report:?}");
    });
    mock.release_hangs();
    until(&set, "gone", |stats| stats.destroyed == 2);
}

#[test]
fn close_tries_again_what_could_not_be_destroyed_before() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    let config = Config { clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    mock.fault_always(MockOperation::Destroy, Some(MockFault::Fail("busy".into())));
    get(&set).destroy("done").unwrap();
    until(&set, "quarantined", |stats| stats.quarantined == 1);
    // The first try of the close fails too, and the next one comes after the shortest delay.
    thread::scope(|scope| {
        let closer = scope.spawn(|| set.close(Duration::from_secs(60)).unwrap());
        let start = std::time::Instant::now();
        while mock.calls(MockOperation::Destroy) < 2 {
            assert!(start.elapsed() < HANG, "not tried again");
            thread::yield_now();
        }
        mock.fault_always(MockOperation::Destroy, None);
        while !closer.is_finished() {
            assert!(start.elapsed() < HANG, "never closed");
            // Much less than the deadline, and than the longest delay.
            if clock.now() < Duration::from_secs(1) {
                clock.advance(Duration::from_millis(100));
            }
            thread::yield_now();
        }
        let report = closer.join().unwrap();
        assert_eq!((report.destroyed, report.survivors), (1, Vec::<String>::new()));
    });
    // Given up at once where there is no time to wait.
    let (set, mock) = support::set(Config::default());
    mock.fault_always(MockOperation::Destroy, Some(MockFault::Fail("busy".into())));
    get(&set).destroy("done").unwrap();
    until(&set, "quarantined", |stats| stats.quarantined == 1);
    assert_eq!(set.close(Duration::ZERO).unwrap().survivors.len(), 1);
    mock.fault_always(MockOperation::Destroy, None);
    until(&set, "gone", |stats| stats.destroyed == 1);
}

#[test]
fn dropping_the_last_handle_closes_without_waiting() {
    let (set, mock) = set(Config { min_idle: 3, ..Config::default() });
    until(&set, "stocked", |stats| stats.idle == 3);
    mock.fault_always(MockOperation::Destroy, Some(MockFault::Hang));
    let events = set.events(100).unwrap();
    drop(set);
    assert!(mock.wait_for_hangs(MockOperation::Destroy, 3, HANG));
    mock.release_hangs();
    while events.next(HANG).is_some() {}
    assert_eq!((mock.live(), mock.calls(MockOperation::Create)), (0, 3));
}

#[test]
fn shrink_and_prewarm() {
    let (set, mock) = set(Config { max_size: 6, min_idle: 1, ..Config::default() });
    assert_eq!(set.prewarm(5, HANG).unwrap(), 5);
    assert_eq!(set.prewarm(2, HANG).unwrap(), 5);
    assert_eq!(set.prewarm(7, HANG).unwrap_err().field(), Some("count"));
    assert_eq!(set.shrink(3).unwrap(), 2);
    // min_idle wins over a smaller number.
    assert_eq!(set.shrink(0).unwrap(), 2);
    until(&set, "shrunk", |stats| stats.destroyed == 4 && stats.idle == 1);
    mock.fault_always(MockOperation::Create, Some(MockFault::Fail("full".into())));
    assert_eq!(set.prewarm(4, HANG).unwrap_err().message(), "full");
    mock.fault_always(MockOperation::Create, Some(MockFault::Hang));
    assert_eq!(set.prewarm(4, Duration::from_millis(5)).unwrap(), 1);
    mock.release_hangs();
    set.close(HANG).unwrap();
    assert_eq!(set.prewarm(1, HANG).unwrap_err().code(), ErrorCode::Closed);
}
