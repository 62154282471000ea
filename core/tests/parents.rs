//! Sets whose sandboxes are forked from those of another set.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Backend, CancelToken, Capabilities, Command, Config, Error, ErrorCode, EventKind, GetOptions, Phase,
    Result, Reuse, Runtime, SandboxRef, SandboxSet, SandboxSpec, SandboxState,
};
use support::{HANG, check, get, now, until, within};

fn make(mock: &MockBackend, config: Config) -> Result<SandboxSet> {
    SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config)
}

/// A set of parents and one of their children.
fn family(parents: Config, children: Config) -> (MockBackend, SandboxSet, SandboxSet) {
    let mock = MockBackend::new();
    let parents = make(&mock, parents).unwrap();
    let children = make(&mock, Config { parent: Some(parents.clone()), ..children }).unwrap();
    (mock, parents, children)
}

fn sizes(max_size: usize) -> Config {
    Config { max_size, ..Config::default() }
}

fn fails(set: &SandboxSet) -> Error {
    set.get_or_create_unpaused(&within(HANG)).unwrap_err()
}

fn at_rest(parents: &SandboxSet) {
    until(parents, "at rest", |stats| stats.held + stats.returning + stats.resuming + stats.creating == 0);
}

fn works(sandbox: &SandboxRef) {
    assert_eq!(sandbox.exec(&Command::new(["x"])).unwrap().exit_code(), Some(0));
}

/// Nothing is left, and nothing was counted wrongly.
fn close_all(mock: &MockBackend, sets: &[&SandboxSet]) {
    for set in sets {
        let report = set.close(HANG).unwrap();
        assert!(report.survivors.is_empty(), "{report:?}");
        check(&set.stats());
        assert_eq!(set.stats().created, set.stats().destroyed);
    }
    assert_eq!(mock.live(), 0);
}

#[test]
fn many_children_share_one_parent_which_is_paused_when_nobody_forks_it() {
    let (mock, parents, children) = family(sizes(4), sizes(20));
    let events = parents.events(1000).unwrap();
    let held: Vec<_> = (0..10)
        .map(|_| {
            let child = get(&children);
            at_rest(&parents);
            child
        })
        .collect();
    held.iter().for_each(works);
    assert_eq!((mock.calls(MockOperation::Create), mock.calls(MockOperation::Fork)), (1, 10));
    assert_eq!((parents.stats().forks, parents.stats().idle, children.stats().created), (10, 1, 10));
    assert_eq!((mock.paused(), mock.live()), (1, 11));
    let kinds: Vec<_> = std::iter::from_fn(|| events.next(Duration::ZERO)).map(|event| event.kind).collect();
    let forked: Vec<_> = kinds
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Fork(child) => Some(*child),
            _ => None,
        })
        .collect();
    assert_eq!(forked, held.iter().map(SandboxRef::id).collect::<Vec<_>>());
    let names: Vec<_> = kinds.iter().map(EventKind::name).collect();
    assert_eq!(names[..4], ["create", "fork", "put", "pause"]);
    assert_eq!(names[4..8], ["unpause", "fork", "put", "pause"]);
    drop(held);
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_thousand_gets_at_once_make_no_more_parents_than_allowed() {
    let (mock, parents, children) = family(sizes(3), Config { max_waiters: 2000, ..sizes(1000) });
    mock.fault_always(MockOperation::Fork, Some(MockFault::Delay(Duration::from_millis(1))));
    let held: Vec<SandboxRef> = thread::scope(|scope| {
        let gets: Vec<_> = (0..1000).map(|_| scope.spawn(|| get(&children))).collect();
        gets.into_iter().map(|get| get.join().unwrap()).collect()
    });
    at_rest(&parents);
    let (made, stats) = (mock.calls(MockOperation::Create), parents.stats());
    assert!((1..=3).contains(&made), "{made}");
    assert_eq!((stats.forks, stats.fork_failures, children.stats().created), (1000, 0, 1000));
    check(&stats);
    drop(held);
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn the_parents_grow_when_forks_queue_and_each_has_its_share_of_forks() {
    let (mock, parents, children) = family(Config { max_forks: 2, ..sizes(3) }, sizes(20));
    mock.fault_always(MockOperation::Fork, Some(MockFault::Hang));
    thread::scope(|scope| {
        let first: Vec<_> = (0..2).map(|_| scope.spawn(|| get(&children))).collect();
        assert!(mock.wait_for_hangs(MockOperation::Fork, 2, HANG));
        assert_eq!(parents.stats().held, 1);
        let more: Vec<_> = (0..10).map(|_| scope.spawn(|| get(&children))).collect();
        assert!(mock.wait_for_hangs(MockOperation::Fork, 6, HANG));
        assert_eq!((parents.stats().held, mock.calls(MockOperation::Fork)), (3, 6));
        mock.release_hangs();
        let held: Vec<_> = first.into_iter().chain(more).map(|get| get.join().unwrap()).collect();
        assert_eq!(held.len(), 12);
    });
    at_rest(&parents);
    assert_eq!((parents.stats().created, parents.stats().forks), (3, 12));
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_fork_that_fails_is_tried_once_more_on_another_parent() {
    for fault in [MockFault::Fail("wedged".into()), MockFault::Die, MockFault::Panic] {
        let (mock, parents, children) = family(sizes(1), sizes(9));
        let elder = get(&children);
        mock.fault_at(MockOperation::Fork, 2, fault.clone());
        let child = get(&children);
        works(&child);
        at_rest(&parents);
        let stats = parents.stats();
        assert_eq!((stats.forks, stats.fork_failures, stats.created), (2, 1, 2), "{fault:?}");
        assert_eq!(children.stats().create_failures, 0);
        // The bad parent outlives its elder child, unless it died, and then so did the child.
        if fault == MockFault::Die {
            until(&parents, "destroyed", |stats| stats.destroyed == 1);
            assert_eq!(elder.exec(&Command::new(["x"])).unwrap_err().code(), ErrorCode::SandboxDead);
        } else {
            works(&elder);
            assert_eq!((stats.destroying, stats.destroyed), (1, 0));
            elder.destroy("done").unwrap();
            until(&parents, "destroyed", |stats| stats.destroyed == 1);
        }
        let reasons = parents.stats().destroyed_by;
        assert!(reasons.iter().all(|(reason, _)| reason != "the set was closed"), "{reasons:?}");
        drop((child, elder));
        close_all(&mock, &[&children, &parents]);
    }
}

#[test]
fn a_fork_that_fails_twice_is_an_error_and_both_parents_go() {
    let (mock, parents, children) = family(sizes(2), sizes(9));
    mock.fault_always(MockOperation::Fork, Some(MockFault::Fail("wedged".into())));
    let error = fails(&children);
    assert_eq!(
        (error.code(), error.phase(), error.message()),
        (ErrorCode::ForkFailed, Phase::Fork, "wedged")
    );
    assert!(error.retryable());
    until(&parents, "gone", |stats| stats.destroyed == 2);
    let reasons = parents.stats().destroyed_by;
    assert_eq!(reasons, [("a fork of it failed: wedged".to_owned(), 2)]);
    mock.fault_always(MockOperation::Fork, Some(MockFault::Die));
    let error = fails(&children);
    assert_eq!((error.code(), error.phase()), (ErrorCode::ForkFailed, Phase::Fork), "{error}");
    assert!(error.cause().contains("scripted death"), "{error}");
    mock.fault_always(MockOperation::Fork, None);
    works(&get(&children));
    assert_eq!((parents.stats().fork_failures, children.stats().create_failures), (4, 2));
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_leaf_cannot_be_forked_and_is_not_to_blame() {
    let (mock, parents, children) = family(sizes(2), sizes(9));
    mock.set_capabilities(Capabilities { fork: false, ..mock.capabilities() });
    let error = fails(&children);
    assert_eq!((error.code(), error.phase()), (ErrorCode::Unsupported, Phase::Fork));
    at_rest(&parents);
    let stats = parents.stats();
    assert_eq!((stats.idle, stats.destroyed, stats.fork_failures), (1, 0, 1));
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_fork_that_hangs_ends_at_half_its_time_and_the_second_serves() {
    let within = |create_timeout| Config { create_timeout, ..sizes(9) };
    let (mock, parents, children) = family(sizes(2), within(Duration::from_secs(4)));
    mock.fault_at(MockOperation::Fork, 1, MockFault::Hang);
    works(&get(&children));
    until(&parents, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!((parents.stats().forks, parents.stats().fork_failures), (1, 1));
    mock.fault_always(MockOperation::Fork, Some(MockFault::Hang));
    let parent = Some(parents.clone());
    let hasty = make(&mock, Config { parent, ..within(Duration::from_millis(50)) }).unwrap();
    let error = fails(&hasty);
    assert_eq!((error.code(), error.phase()), (ErrorCode::ForkFailed, Phase::Fork));
    close_all(&mock, &[&hasty, &children, &parents]);
}

#[test]
fn a_caller_that_gives_up_leaves_its_fork_to_the_next() {
    let (mock, parents, children) = family(sizes(1), sizes(1));
    mock.fault_at(MockOperation::Fork, 1, MockFault::Hang);
    let error = children.get_or_create_unpaused(&now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    let cancel = CancelToken::new();
    let options = GetOptions { cancel: Some(cancel.clone()), timeout: Some(HANG), ..GetOptions::default() };
    thread::scope(|scope| {
        let get = scope.spawn(|| children.get_or_create_unpaused(&options).unwrap_err());
        until(&children, "queued", |stats| stats.waiting == 1);
        cancel.cancel();
        assert_eq!(get.join().unwrap().code(), ErrorCode::Cancelled);
    });
    assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
    mock.release_hangs();
    until(&children, "idle", |stats| stats.idle == 1);
    works(&get(&children));
    assert_eq!(mock.calls(MockOperation::Fork), 1);
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn a_parent_that_is_killed_mid_fork_or_at_rest_is_replaced() {
    let (mock, parents, children) = family(sizes(1), sizes(9));
    mock.fault_at(MockOperation::Fork, 2, MockFault::Hang);
    let elder = get(&children);
    at_rest(&parents);
    let root = parents.get_idle(sandboxset::Acquire::Any).unwrap().unwrap();
    let id = root.id();
    root.put().unwrap();
    thread::scope(|scope| {
        let get = scope.spawn(|| get(&children));
        assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
        assert!(mock.kill(id, "oom"));
        works(&get.join().unwrap());
    });
    assert_eq!(elder.state(), SandboxState::Dead);
    until(&parents, "replaced", |stats| stats.destroyed == 1 && stats.idle == 1);
    // At rest: its death is found when it is to be forked next.
    let root = parents.get_idle(sandboxset::Acquire::Any).unwrap().unwrap();
    let id = root.id();
    root.put().unwrap();
    assert!(mock.kill(id, "oom"));
    children.shrink(0).unwrap();
    let child = get(&children);
    works(&child);
    assert_eq!(mock.calls(MockOperation::Create), 3);
    drop((elder, child));
    close_all(&mock, &[&children, &parents]);
}

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
fn parents_are_shrunk_under_load_without_harm_to_children() {
    let (mock, parents, children) = family(Config { max_forks: 1, ..sizes(2) }, sizes(64));
    let shrunk = thread::scope(|scope| {
        let gets: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let child = get(&children);
                        works(&child);
                        child.destroy("used").unwrap();
                    }
                })
            })
            .collect();
        let mut shrunk = 0;
        while gets.iter().any(|get| !get.is_finished()) {
            shrunk += parents.shrink(0).unwrap();
            check(&parents.stats());
            thread::yield_now();
        }
        shrunk
    });
    assert_eq!((parents.stats().forks, parents.stats().fork_failures), (200, 0));
    assert!(mock.most_live() <= 4 + 64, "{}", mock.most_live());
    until(&parents, "shrunk", |stats| stats.destroyed == shrunk as u64);
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
fn no_parent_in_time_is_an_error_that_says_why() {
    let timeout = Duration::from_millis(30);
    let (mock, parents, children) = family(sizes(1), Config { create_timeout: timeout, ..sizes(9) });
    let taken = get(&parents);
    let error = fails(&children);
    assert_eq!((error.code(), error.phase()), (ErrorCode::ForkFailed, Phase::Fork));
    assert!(error.message().contains("no parent came free in time"), "{error}");
    until(&parents, "no longer wanted", |stats| stats.waiting == 0);
    taken.put().unwrap();
    mock.fault_always(MockOperation::Create, Some(MockFault::Fail("no room".into())));
    parents.shrink(0).unwrap();
    until(&parents, "empty", |stats| stats.destroyed == 1);
    let patient = make(&mock, Config { parent: Some(parents.clone()), ..sizes(9) }).unwrap();
    let error = fails(&patient);
    assert_eq!(error.code(), ErrorCode::ForkFailed);
    assert!(error.cause().contains("no room (CREATE_FAILED)"), "{error}");
    close_all(&mock, &[&patient, &children, &parents]);
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

#[test]
fn replace_gives_every_holder_a_fresh_one_that_was_made_ahead() {
    let mock = MockBackend::new();
    let parents = make(&mock, sizes(2)).unwrap();
    for parent in [None, Some(parents.clone())] {
        let config = Config { reuse: Reuse::Replace, min_idle: 2, parent, ..sizes(4) };
        let set = make(&mock, config).unwrap();
        until(&set, "stocked", |stats| stats.idle == 2);
        for round in 0..5 {
            let sandbox = get(&set);
            assert!(!sandbox.reused());
            assert!(sandbox.list_dir("/scratch".as_ref(), 10).unwrap().is_empty());
            sandbox.write_file("left".as_ref(), b"x", 0o600).unwrap();
            sandbox.put().unwrap();
            until(&set, "replaced", |stats| stats.idle == 2 && stats.destroyed == round + 1);
        }
        let stats = set.stats();
        // None of the gets had to wait for a create.
        assert_eq!((stats.hits, stats.gets, stats.waits), (5, 5, 0), "{stats:?}");
        assert_eq!(stats.destroyed_by, [("it is replaced after every use".to_owned(), 5)]);
        set.close(HANG).unwrap();
    }
    at_rest(&parents);
    assert!(parents.stats().forks >= 7, "{:?}", parents.stats());
    close_all(&mock, &[&parents]);
}

#[test]
fn what_cannot_be_a_parent_is_refused_by_name() {
    let mock = MockBackend::new();
    let parents = make(&mock, sizes(2)).unwrap();
    let child = |parent: &SandboxSet| Config { parent: Some(parent.clone()), ..Config::default() };
    let refused = |config: Config| {
        let error = make(&mock, config).unwrap_err();
        (error.code(), error.field().map(str::to_owned))
    };
    let invalid = |field: &str| (ErrorCode::InvalidArgument, Some(field.to_owned()));
    let stranger = make(&MockBackend::new(), Config::default()).unwrap();
    assert_eq!(refused(child(&stranger)), invalid("parent"));
    for reuse in [Reuse::Reset, Reuse::Replace] {
        let parent = make(&mock, Config { reuse, ..Config::default() }).unwrap();
        assert_eq!(refused(child(&parent)), invalid("parent"));
    }
    let leaf = SandboxSpec { runtime: Some(Runtime::new(["/run"])), ..SandboxSpec::default() };
    let leaves = SandboxSet::new(Arc::new(mock.clone()), leaf, Config::default()).unwrap();
    assert_eq!(refused(child(&leaves)), invalid("parent"));
    let gone = make(&mock, Config::default()).unwrap();
    gone.close(HANG).unwrap();
    assert_eq!(refused(child(&gone)), invalid("parent"));
    assert_eq!(refused(Config { max_forks: 0, ..Config::default() }), invalid("max_forks"));
    mock.set_capabilities(Capabilities { fork: false, ..mock.capabilities() });
    let error = make(&mock, child(&parents)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unsupported);
    assert!(error.message().starts_with("parent: "), "{error}");
}

#[test]
fn nothing_is_lost_whatever_fails() {
    let faults = [MockFault::Fail("f".into()), MockFault::Die, MockFault::Panic];
    let operations =
        [MockOperation::Fork, MockOperation::Unpause, MockOperation::Pause, MockOperation::Create];
    let (mock, parents, children) = family(Config { max_forks: 2, ..sizes(3) }, sizes(8));
    for (index, operation) in operations.into_iter().enumerate() {
        for nth in 1..40 {
            let fault = faults[(nth as usize + index) % faults.len()].clone();
            mock.fault_at(operation, nth * 5 + index as u64, fault);
        }
    }
    thread::scope(|scope| {
        for thread in 0..6 {
            let children = &children;
            scope.spawn(move || {
                for round in 0..40 {
                    let Ok(child) = children.get_or_create_unpaused(&within(HANG)) else { continue };
                    let _ = child.exec(&Command::new(["x"]));
                    if (thread + round) % 3 == 0 {
                        drop(child.destroy("used"))
                    } else {
                        drop(child.put())
                    }
                    check(&children.stats());
                }
            });
        }
    });
    check(&parents.stats());
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn callers_that_give_up_at_any_moment_lose_nothing() {
    let (mock, parents, children) = family(Config { max_forks: 2, ..sizes(2) }, sizes(6));
    mock.fault_always(MockOperation::Fork, Some(MockFault::Delay(Duration::from_micros(300))));
    mock.fault_always(MockOperation::Create, Some(MockFault::Delay(Duration::from_micros(700))));
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let children = &children;
            scope.spawn(move || {
                for round in 0..60 {
                    let cancel = CancelToken::new();
                    let options = GetOptions {
                        timeout: Some(Duration::from_micros(thread * 150)),
                        cancel: (round % 2 == 0).then(|| cancel.clone()),
                        ..GetOptions::default()
                    };
                    thread::scope(|inner| {
                        let get = inner.spawn(|| children.get_or_create_unpaused(&options));
                        thread::sleep(Duration::from_micros(round * 20));
                        cancel.cancel();
                        match get.join().unwrap() {
                            Ok(child) => child.destroy("used").unwrap(),
                            Err(error) => assert!(
                                matches!(error.code(), ErrorCode::Timeout | ErrorCode::Cancelled),
                                "{error}"
                            ),
                        }
                    });
                }
            });
        }
    });
    check(&parents.stats());
    works(&get(&children));
    close_all(&mock, &[&children, &parents]);
}

#[test]
fn several_sets_share_their_parents_and_one_that_closes_leaves_them_to_the_others() {
    let (mock, parents, first) = family(Config { max_forks: 1, ..sizes(1) }, sizes(4));
    let second = make(&mock, Config { parent: Some(parents.clone()), ..sizes(4) }).unwrap();
    mock.fault_at(MockOperation::Fork, 1, MockFault::Hang);
    thread::scope(|scope| {
        let served = scope.spawn(|| get(&second));
        assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
        let waiting = scope.spawn(|| fails(&first));
        until(&first, "creating", |stats| stats.creating == 1);
        // What waits for its turn is taken back, whoever is before it.
        assert!(first.close(HANG).unwrap().survivors.is_empty());
        assert_eq!(waiting.join().unwrap().code(), ErrorCode::Closed);
        mock.release_hangs();
        works(&served.join().unwrap());
    });
    let held: Vec<_> = (0..4).map(|_| get(&second)).collect();
    held.iter().for_each(works);
    drop(held);
    assert_eq!(parents.stats().created, 1);
    close_all(&mock, &[&first, &second, &parents]);
}
