//! Forks that fail or hang, parents that die, and callers that do not wait for the end of it.

use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockFault, MockOperation};
use sandboxset::{
    Acquire, Backend, CancelToken, Capabilities, Command, Config, ErrorCode, GetOptions, Phase, SandboxState,
};

use crate::support::{HANG, check, get, idle, now, until, within};
use crate::{at_rest, close_all, fails, family, make, sizes, works};

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
    let root = idle(&parents, Acquire::Any).unwrap();
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
    let root = idle(&parents, Acquire::Any).unwrap();
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
