//! Sets that are closed while others depend on them, and trees of sets.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{Clock, Config, ErrorCode, EventKind, ManualClock, Phase, SandboxState};

use crate::support::{HANG, get, until};
use crate::{at_rest, close_all, fails, family, make, sizes, works};

#[test]
fn a_parent_that_its_holder_destroys_is_torn_down_after_its_last_child() {
    let (mock, parents, children) = family(sizes(1), sizes(9));
    let held: Vec<_> = (0..2).map(|_| get(&children)).collect();
    at_rest(&parents);
    get(&parents).destroy("by hand").unwrap();
    until(&parents, "lingering", |stats| stats.destroying == 1);
    held.iter().for_each(works);
    // Its place is free for another.
    works(&get(&children));
    held[0].destroy("done").unwrap();
    until(&children, "one gone", |stats| stats.destroyed == 1);
    assert_eq!((parents.stats().destroying, mock.calls(MockOperation::Destroy)), (1, 1));
    held[1].destroy("done").unwrap();
    until(&parents, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!(parents.stats().destroyed_by, [("by hand".to_owned(), 1)]);
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_closed_or_draining_parent_set_refuses_and_its_children_live_on() {
    for close in [true, false] {
        let (mock, parents, children) = family(sizes(2), sizes(9));
        let child = get(&children);
        at_rest(&parents);
        if close {
            let report = parents.close(Duration::ZERO).unwrap();
            assert_eq!((report.destroyed, report.survivors.len()), (0, 1), "{report:?}");
            assert!(report.survivors[0].contains("waiting for its last child"), "{report:?}");
        } else {
            parents.drain(HANG).unwrap();
        }
        works(&child);
        let error = fails(&children);
        assert_eq!((error.code(), error.phase()), (ErrorCode::ForkFailed, Phase::Fork));
        assert!(error.cause().contains("CLOSED"), "{error}");
        child.put().unwrap();
        works(&get(&children));
        close_all(&mock, &[&children, &parents]);
    }
}

#[test]
fn a_close_of_the_parents_refuses_those_who_wait_and_waits_for_the_children() {
    let (mock, parents, children) = family(Config { max_forks: 1, ..sizes(1) }, sizes(9));
    mock.fault_at(MockOperation::Fork, 1, MockFault::Hang);
    thread::scope(|scope| {
        let first = scope.spawn(|| get(&children));
        assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
        let second = scope.spawn(|| fails(&children));
        until(&children, "creating", |stats| stats.creating == 2);
        let closer = scope.spawn(|| parents.close(HANG).unwrap());
        assert!(second.join().unwrap().cause().contains("CLOSED"));
        mock.release_hangs();
        first.join().unwrap().destroy("done").unwrap();
        let report = closer.join().unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (1, 0), "{report:?}");
    });
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_close_of_the_parents_ends_forks_that_hang_at_its_deadline() {
    let (mock, parents, children) = family(sizes(2), sizes(9));
    mock.fault_always(MockOperation::Fork, Some(MockFault::Hang));
    thread::scope(|scope| {
        let get = scope.spawn(|| fails(&children));
        assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
        let report = parents.close(Duration::ZERO).unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (1, 0), "{report:?}");
        let error = get.join().unwrap();
        assert_eq!(error.code(), ErrorCode::ForkFailed);
        assert!(error.cause().contains("CLOSED"), "{error}");
    });
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_close_of_the_children_ends_their_wait_for_a_parent() {
    let (mock, parents, children) = family(sizes(1), sizes(9));
    let taken = get(&parents);
    thread::scope(|scope| {
        let get = scope.spawn(|| fails(&children));
        until(&parents, "wanted", |stats| stats.waiting == 1);
        let report = children.close(HANG).unwrap();
        assert!(report.survivors.is_empty(), "{report:?}");
        assert_eq!(get.join().unwrap().code(), ErrorCode::Closed);
    });
    until(&parents, "no longer wanted", |stats| stats.waiting == 0);
    taken.put().unwrap();
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_close_waits_for_a_parent_whose_last_child_is_gone() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    let manual = |config| Config { clock: Clock::Manual(Arc::clone(&clock)), ..config };
    let parents = make(&mock, manual(sizes(1))).unwrap();
    let children = make(&mock, manual(Config { parent: Some(parents.clone()), ..sizes(1) })).unwrap();
    let child = get(&children);
    at_rest(&parents);
    get(&parents).destroy("by hand").unwrap();
    // The child's is the first.
    mock.fault_at(MockOperation::Destroy, 2, MockFault::Hang);
    child.destroy("done").unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Destroy, 1, HANG));
    let began = clock.now();
    thread::scope(|scope| {
        let closer = scope.spawn(|| parents.close(Duration::ZERO).unwrap());
        while !closer.is_finished() {
            clock.advance(Duration::from_millis(500));
            thread::yield_now();
        }
        let report = closer.join().unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (0, 1), "{report:?}");
        assert!(report.survivors[0].contains("destroying (by hand)"), "{report:?}");
    });
    assert!(clock.now() - began >= Duration::from_secs(5), "it did not wait");
    mock.release_hangs();
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn parents_can_be_closed_at_once_when_the_close_of_their_children_is_over() {
    for _ in 0..200 {
        let (mock, parents, children) = family(sizes(1), sizes(3));
        let held: Vec<_> = (0..3).map(|_| get(&children)).collect();
        at_rest(&parents);
        drop(held);
        assert!(children.close(HANG).unwrap().survivors.is_empty());
        let report = parents.close(Duration::ZERO).unwrap();
        assert_eq!((report.destroyed, report.survivors.len()), (1, 0), "{report:?}");
        assert_eq!(mock.live(), 0);
    }
}

#[test]
fn a_chain_of_eight_is_torn_down_in_order_whichever_is_closed_first() {
    for root_first in [true, false] {
        let mock = MockBackend::new();
        let mut sets = vec![make(&mock, sizes(2)).unwrap()];
        for _ in 0..8 {
            let parent = sets.last().cloned();
            sets.push(make(&mock, Config { parent, ..sizes(2) }).unwrap());
        }
        let leaf = get(sets.last().unwrap());
        works(&leaf);
        sets.iter().take(8).for_each(at_rest);
        assert_eq!((mock.calls(MockOperation::Create), mock.calls(MockOperation::Fork)), (1, 8));
        if root_first {
            for set in &sets[..8] {
                assert_eq!(set.close(Duration::ZERO).unwrap().survivors.len(), 1);
            }
            works(&leaf);
            assert_eq!((mock.live(), mock.calls(MockOperation::Destroy)), (9, 0));
        }
        let events: Vec<_> = sets.iter().map(|set| set.events(10).unwrap()).collect();
        leaf.put().unwrap();
        let reversed: Vec<_> = sets.iter().rev().collect();
        close_all(&mock, &reversed);
        for events in &events {
            let last = std::iter::from_fn(|| events.next(Duration::ZERO)).last().unwrap();
            assert!(matches!(last.kind, EventKind::Destroy(_)), "{last:?}");
        }
    }
}

#[test]
fn the_death_of_the_root_ends_the_whole_tree() {
    let mock = MockBackend::new();
    let root = make(&mock, sizes(2)).unwrap();
    let middle = make(&mock, Config { parent: Some(root.clone()), ..sizes(2) }).unwrap();
    let leaves = make(&mock, Config { parent: Some(middle.clone()), ..sizes(4) }).unwrap();
    let held: Vec<_> = (0..3).map(|_| get(&leaves)).collect();
    at_rest(&root);
    at_rest(&middle);
    let top = get(&root);
    mock.kill(top.id(), "oom");
    assert!(held.iter().chain([&top]).all(|sandbox| sandbox.state() == SandboxState::Dead));
    drop((held, top));
    until(&root, "destroyed", |stats| stats.destroyed == 1);
    works(&get(&leaves));
    assert_eq!((root.stats().created, middle.stats().created), (2, 2));
    close_all(&mock, &[&leaves, &middle, &root]);
}

#[test]
fn children_keep_their_parents_set_open() {
    let (mock, parents, children) = family(sizes(2), sizes(9));
    drop(parents);
    let child = get(&children);
    works(&child);
    let events = children.events(100).unwrap();
    drop(children);
    works(&child);
    drop(child);
    while events.next(HANG).is_some() {}
    // The parents are destroyed in the background, after their last child.
    let start = std::time::Instant::now();
    while mock.live() > 0 {
        assert!(start.elapsed() < HANG, "{mock:?}");
        thread::yield_now();
    }
}
