//! Sets whose sandboxes are forked from those of another set: what they share, and how the parents grow.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod closing;
mod failing;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Backend, Capabilities, Command, Config, Error, ErrorCode, EventKind, Result, Reuse, Runtime, SandboxRef,
    SandboxSet, SandboxSpec,
};
use support::{HANG, check, get, until, within};

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
