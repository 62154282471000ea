//! The event stream: what is told, and in which order.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{Config, Event, EventKind, EventStream, SandboxId, SandboxSet, SandboxSpec};
use support::{HANG, get, set};

fn all(events: &EventStream) -> Vec<Event> {
    std::iter::from_fn(|| events.next(HANG)).collect()
}

fn names(events: &[Event], id: SandboxId) -> Vec<&'static str> {
    events.iter().filter(|event| event.sandbox_id == id).map(|event| event.kind.name()).collect()
}

#[test]
fn events_come_in_order_and_without_gaps() {
    let (set, mock) = set(Config::default());
    let events = set.events(1000).unwrap();
    let first = get(&set);
    first.put().unwrap();
    let again = get(&set);
    again.destroy("enough").unwrap();
    let second = get(&set);
    mock.fault_at(MockOperation::Pause, 2, MockFault::Fail("stuck".into()));
    second.put().unwrap();
    set.close(HANG).unwrap();
    let told = all(&events);
    assert_eq!(names(&told, first.id()), ["create", "put", "pause", "unpause", "destroy"]);
    assert_eq!(names(&told, second.id()), ["create", "put", "fault", "destroy"]);
    assert_eq!(told.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
    let reasons: Vec<_> =
        told.iter().filter(|event| matches!(event.kind, EventKind::Destroy(_))).map(|e| &e.kind).collect();
    assert!(reasons.contains(&&EventKind::Destroy("enough".into())));
    assert!(reasons.contains(&&EventKind::Destroy("pause failed: stuck".into())));
}

#[test]
fn under_load_every_sandbox_begins_with_create_and_ends_with_destroy() {
    let (set, _mock) = set(Config { max_size: 3, ..Config::default() });
    let events = set.events(100_000).unwrap();
    thread::scope(|scope| {
        for thread in 0..6 {
            let set = &set;
            scope.spawn(move || {
                for round in 0..200 {
                    let sandbox = get(set);
                    if (thread + round) % 7 == 0 { sandbox.destroy("x") } else { sandbox.put() }.unwrap();
                }
            });
        }
    });
    set.close(HANG).unwrap();
    let told = all(&events);
    assert!(told.iter().zip(1..).all(|(event, number)| event.sequence == number));
    let ids: std::collections::BTreeSet<_> = told.iter().map(|event| event.sandbox_id).collect();
    assert_eq!(ids.len() as u64, set.stats().created);
    for id in ids {
        let names = names(&told, id);
        assert_eq!((names.first(), names.last()), (Some(&"create"), Some(&"destroy")));
        assert_eq!(names.iter().filter(|name| **name == "destroy").count(), 1);
        // A pause is always followed by an unpause before anything else that a holder does.
        for pair in names.windows(2) {
            assert!(pair[0] != "pause" || matches!(pair[1], "unpause" | "destroy"), "{names:?}");
        }
    }
}

#[test]
fn a_slow_reader_sees_its_loss() {
    let (set, _mock) = set(Config::default());
    let events = set.events(2).unwrap();
    get(&set).put().unwrap();
    get(&set).put().unwrap();
    // Create, put, pause, unpause, put, pause: the last two are kept.
    let lost = events.next(HANG).unwrap();
    assert_eq!((lost.sequence, lost.kind), (4, EventKind::Lost(4)));
    assert_eq!(events.next(HANG).unwrap().sequence, 5);
    assert_eq!(events.next(HANG).unwrap().sequence, 6);
    assert_eq!(events.next(Duration::from_millis(1)), None);
}

#[test]
fn a_subscription_ends_with_its_stream() {
    let mock = MockBackend::new();
    let set = SandboxSet::new(Arc::new(mock), SandboxSpec::default(), Config::default()).unwrap();
    let events = set.events(10).unwrap();
    drop(set.events(10).unwrap());
    assert_eq!(set.events(0).unwrap_err().field(), Some("capacity"));
    drop(get(&set));
    drop(set);
    assert_eq!(all(&events).last().unwrap().kind, EventKind::Destroy("the set was closed".into()));
    assert_eq!(events.next(HANG), None);
}
