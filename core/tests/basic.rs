//! Getting, using and giving back, on the mock backend.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockOperation};
use sandboxset::{Acquire, Command, Config, ErrorCode, GetOptions, SandboxSet, SandboxSpec, SandboxState};
use support::{HANG, get, idle, now, set};

#[test]
fn a_put_sandbox_is_paused_and_reused() {
    let (set, mock) = set(Config::default());
    let first = get(&set);
    assert_eq!((first.reused(), first.uses(), mock.paused()), (false, 1, 0));
    let id = first.id();
    first.put().unwrap();
    assert_eq!(mock.paused(), 1);
    let second = get(&set);
    assert_eq!((second.id(), second.reused(), second.uses(), mock.paused()), (id, true, 2, 0));
    drop(second);
    assert_eq!((set.stats().idle, mock.live(), mock.calls(MockOperation::Create)), (1, 1, 1));
    assert_eq!((set.stats().gets, set.stats().hits, set.stats().puts), (2, 1, 2));
}

#[test]
fn the_most_recently_used_comes_first() {
    let (set, _mock) = set(Config::default());
    let refs: Vec<_> = (0..3).map(|_| get(&set)).collect();
    refs[0].put().unwrap();
    refs[2].put().unwrap();
    refs[1].put().unwrap();
    assert_eq!(get(&set).id(), refs[1].id());
}

#[test]
fn a_first_look_neither_waits_nor_creates() {
    let (set, mock) = set(Config::default());
    assert!(idle(&set, Acquire::Any).is_none());
    let missed: u64 = set.stats().misses.iter().map(|(_, count)| count).sum();
    assert_eq!((set.stats().gets, missed, mock.live()), (0, 0, 0));
    let sandbox = get(&set);
    sandbox.put().unwrap();
    let again = idle(&set, Acquire::ReuseOnly).unwrap();
    assert_eq!((again.id(), again.uses(), set.stats().hits), (sandbox.id(), 2, 1));
    drop(again);
    set.close(HANG).unwrap();
    assert!(idle(&set, Acquire::Any).is_none());
}

#[test]
fn a_ref_ends_exactly_once() {
    let (set, _mock) = set(Config::default());
    let sandbox = get(&set);
    sandbox.put().unwrap();
    let error = sandbox.put().unwrap_err();
    assert_eq!((error.code(), error.sandbox_id()), (ErrorCode::StaleRef, Some(sandbox.id())));
    assert_eq!(sandbox.destroy("late").unwrap_err().code(), ErrorCode::StaleRef);
    assert_eq!(sandbox.exec(&Command::new(["true"])).unwrap_err().code(), ErrorCode::StaleRef);
    assert_eq!(sandbox.state(), SandboxState::Stale);

    let sandbox = get(&set);
    sandbox.destroy("went bad").unwrap();
    let error = sandbox.put().unwrap_err();
    assert_eq!(error.code(), ErrorCode::StaleRef);
    assert!(error.message().contains("went bad"), "{error}");
}

#[test]
fn a_holder_runs_commands_and_uses_files_and_the_runtime() {
    let (set, _mock) = set(Config::default());
    let sandbox = get(&set);
    let output = sandbox.exec(&Command::new(["echo", "a", "b"])).unwrap();
    assert_eq!((output.stdout.text().as_str(), output.exit_code()), ("echo a b\n", Some(0)));
    sandbox.write_file(Path::new("data/x"), b"hello", 0o644).unwrap();
    assert_eq!(sandbox.read_file(Path::new("/scratch/data/x"), 5).unwrap(), b"hello");
    assert_eq!(sandbox.read_file(Path::new("data/x"), 4).unwrap_err().code(), ErrorCode::TooBig);
    assert_eq!(sandbox.list_dir(Path::new("data"), 10).unwrap().len(), 1);
    sandbox.remove(Path::new("data")).unwrap();
    assert_eq!(sandbox.read_file(Path::new("data/x"), 5).unwrap_err().field(), Some("path"));
    assert_eq!(sandbox.call(b"ping", HANG, None).unwrap(), b"ping");
    // None of the mistakes above tainted it.
    sandbox.put().unwrap();
    assert_eq!(set.stats().idle, 1);
}

#[test]
fn acquire_modes_and_no_wait() {
    let (set, mock) = set(Config { max_size: 2, ..Config::default() });
    let no_wait = GetOptions { no_wait: true, ..GetOptions::default() };
    let reuse = GetOptions { acquire: Acquire::ReuseOnly, ..now() };
    let fresh = GetOptions { acquire: Acquire::FreshOnly, ..GetOptions::default() };
    assert_eq!(set.get_or_create_unpaused(&reuse).unwrap_err().code(), ErrorCode::Exhausted);
    let first = set.get_or_create_unpaused(&no_wait).unwrap();
    let second = set.get_or_create_unpaused(&no_wait).unwrap();
    assert_eq!(set.get_or_create_unpaused(&no_wait).unwrap_err().code(), ErrorCode::Exhausted);
    let error = set.get_or_create_unpaused(&now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("all 2 held"), "{error}");
    first.put().unwrap();
    assert_eq!(set.get_or_create_unpaused(&reuse).unwrap().id(), first.id());
    // The set is full of used ones: one makes place.
    let third = set.get_or_create_unpaused(&fresh).unwrap();
    assert!(!third.reused());
    assert_ne!(third.id(), first.id());
    second.put().unwrap();
    assert_eq!((mock.calls(MockOperation::Create), mock.most_live()), (3, 2));
}

#[test]
fn a_ref_outlives_its_set() {
    let mock = MockBackend::new();
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), Config::default()).unwrap();
    let (kept, other) = (get(&set), get(&set));
    let again = set.clone();
    other.put().unwrap();
    drop(set);
    let events = again.events(100).unwrap();
    drop(again);
    assert!(kept.exec(&Command::new(["still", "works"])).is_ok());
    kept.put().unwrap();
    while events.next(HANG).is_some() {}
    assert_eq!(mock.live(), 0);
}

#[test]
fn close_destroys_everything_and_is_idempotent() {
    let (set, mock) = set(Config { max_size: 50, ..Config::default() });
    assert_eq!(set.prewarm(50, HANG).unwrap(), 50);
    let report = set.close(HANG).unwrap();
    assert_eq!((report.destroyed, report.survivors.len(), mock.live()), (50, 0, 0));
    assert_eq!(set.close(Duration::ZERO).unwrap(), sandboxset::CloseReport::default());
    assert_eq!(set.get_or_create_unpaused(&now()).unwrap_err().code(), ErrorCode::Closed);
    assert_eq!(set.stats().destroyed_by, [("the set was closed".to_owned(), 50)]);
}
