//! What the guard makes of a backend that fails, hangs or panics.

use std::time::{Duration, Instant};

use super::*;
use crate::backend::mock::{MockBackend, MockFault, MockOperation};
use crate::{Backend, CreateRequest, ScratchDirs};

fn guard(mock: &MockBackend) -> (Arc<Guard>, crate::EventStream) {
    let hub = Arc::new(Hub::default());
    let events = hub.subscribe(100).unwrap();
    let id = SandboxId::next();
    let request =
        CreateRequest { id, spec: Arc::default(), scratch: ScratchDirs::Tmpfs, deadline: Instant::now() };
    let guard = Guard::new(id, mock.create(&request).unwrap(), true, hub);
    guard.announce();
    (Arc::new(guard), events)
}

fn names(events: &crate::EventStream) -> Vec<&'static str> {
    std::iter::from_fn(|| events.next(Duration::ZERO)).map(|event| event.kind.name()).collect()
}

#[test]
fn redundant_pauses_succeed_silently() {
    let mock = MockBackend::new();
    let (guard, events) = guard(&mock);
    guard.unpause().unwrap();
    guard.pause().unwrap();
    guard.pause().unwrap();
    guard.unpause().unwrap();
    guard.unpause().unwrap();
    assert_eq!((mock.calls(MockOperation::Pause), mock.calls(MockOperation::Unpause)), (1, 1));
    assert_eq!(names(&events), ["create", "pause", "unpause"]);
}

#[test]
fn a_failed_or_panicking_pause_leaves_a_dead_sandbox_with_the_first_cause() {
    for fault in [MockFault::Fail("stuck".into()), MockFault::Panic] {
        let mock = MockBackend::new();
        let (guard, events) = guard(&mock);
        mock.fault_at(MockOperation::Pause, 1, fault);
        assert_eq!(guard.pause().unwrap_err().code(), ErrorCode::Internal);
        assert!(!guard.doom(Killer::Holder, || "later".into()));
        for result in [guard.pause(), guard.unpause(), guard.check_alive(Phase::Use)] {
            let error = result.unwrap_err();
            assert_eq!(error.code(), ErrorCode::SandboxDead);
            assert!(error.message().contains("destroyed after a fault: pause failed"), "{error}");
        }
        assert!(guard.tear_down().unwrap());
        assert!(!guard.tear_down().unwrap());
        assert_eq!((mock.calls(MockOperation::Destroy), mock.live()), (1, 0));
        assert_eq!(names(&events), ["create", "fault", "destroy"]);
    }
}

#[test]
fn a_failed_destroy_can_be_tried_again() {
    let mock = MockBackend::new();
    let (guard, events) = guard(&mock);
    mock.fault_at(MockOperation::Destroy, 1, MockFault::Panic);
    mock.fault_at(MockOperation::Destroy, 2, MockFault::Fail("busy".into()));
    assert!(!guard.tear_down().unwrap(), "nobody doomed it");
    assert!(guard.doom(Killer::Holder, || "done".into()));
    assert_eq!(guard.tear_down().unwrap_err().code(), ErrorCode::Internal);
    assert_eq!(guard.tear_down().unwrap_err().sandbox_id(), Some(guard.id()));
    assert!(guard.tear_down().unwrap());
    assert_eq!(names(&events), ["create", "fault", "fault", "destroy"]);
}

#[test]
fn a_destroy_during_a_pause_wins() {
    let mock = MockBackend::new();
    let (guard, events) = guard(&mock);
    mock.fault_at(MockOperation::Pause, 1, MockFault::Hang);
    std::thread::scope(|scope| {
        let pause = scope.spawn(|| guard.pause());
        assert!(mock.wait_for_hangs(MockOperation::Pause, 1, Duration::from_secs(60)));
        assert!(guard.doom(Killer::Set, || "too slow".into()));
        assert!(guard.tear_down().unwrap());
        assert!(pause.join().unwrap().is_err());
    });
    assert_eq!(names(&events), ["create", "destroy"]);
}

#[test]
fn destroy_if_paused_and_unpause_exclude_each_other() {
    let mock = MockBackend::new();
    let mut wins = [0, 0];
    for _ in 0..500 {
        let (guard, _events) = guard(&mock);
        assert!(!guard.destroy_if_paused(Killer::Set, || "evicted".into()), "it runs");
        guard.pause().unwrap();
        let barrier = std::sync::Barrier::new(2);
        let (evicted, unpaused) = std::thread::scope(|scope| {
            let evictor = scope.spawn(|| {
                barrier.wait();
                guard.destroy_if_paused(Killer::Set, || "evicted".into())
            });
            barrier.wait();
            let unpaused = guard.unpause().is_ok();
            (evictor.join().unwrap(), unpaused)
        });
        assert_ne!(evicted, unpaused);
        wins[usize::from(evicted)] += 1;
    }
    println!("unpaused {}, evicted {}", wins[0], wins[1]);
}

#[test]
fn pauses_and_unpauses_of_many_threads_exclude_each_other() {
    let mock = MockBackend::new();
    let (guard, events) = guard(&mock);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let guard = &guard;
            scope.spawn(move || {
                for _ in 0..500 {
                    if thread % 2 == 0 { guard.pause() } else { guard.unpause() }.unwrap();
                }
            });
        }
    });
    drop(events);
    let (pauses, unpauses) = (mock.calls(MockOperation::Pause), mock.calls(MockOperation::Unpause));
    // They alternate, so their numbers differ by what the last one was.
    assert_eq!(pauses - unpauses, mock.paused() as u64);
}
