//! Results by callback: on a thread of the library, exactly once, whatever comes first.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use sandboxset::backend::mock::{MockFault, MockOperation};
use sandboxset::{CancelToken, Config, ErrorCode, GetOptions, Phase, Result, SandboxRef, SandboxSet, Worker};
use support::{HANG, check, get, set, until, within};

fn one() -> Config {
    Config { max_size: 1, ..Config::default() }
}

/// Starts a get and answers where its result comes.
fn start(set: &SandboxSet, options: GetOptions) -> mpsc::Receiver<Result<SandboxRef>> {
    let (sender, receiver) = mpsc::channel();
    let caller = thread::current().id();
    set.get_or_create_unpaused_then(options, move |result| {
        assert_ne!(thread::current().id(), caller);
        sender.send(result).unwrap();
    })
    .unwrap();
    receiver
}

fn result(receiver: &mpsc::Receiver<Result<SandboxRef>>) -> Result<SandboxRef> {
    let result = receiver.recv_timeout(HANG).unwrap();
    // The sender is gone with the only call.
    assert!(receiver.recv_timeout(HANG).is_err());
    result
}

#[test]
fn gets_are_queued_in_the_order_of_their_starts_and_beside_threads() {
    let (set, _mock) = set(one());
    let held = get(&set);
    let (served, order) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..20 {
            let served = served.clone();
            if number % 3 == 0 {
                let set = &set;
                scope.spawn(move || {
                    let sandbox = get(set);
                    served.send(number).unwrap();
                    sandbox.put().unwrap();
                });
                until(set, "queued", |stats| stats.waiting == number + 1);
            } else {
                set.get_or_create_unpaused_then(within(HANG), move |sandbox| {
                    served.send(number).unwrap();
                    sandbox.unwrap().put().unwrap();
                })
                .unwrap();
                assert_eq!(set.stats().waiting, number + 1);
            }
        }
        held.put().unwrap();
    });
    drop(served);
    assert_eq!(order.iter().collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_start_does_not_wait_for_an_unpause_and_its_hang_delays_nobody() {
    let (set, mock) = set(Config { max_size: 2, ..Config::default() });
    drop(get(&set));
    mock.fault_at(MockOperation::Unpause, mock.calls(MockOperation::Unpause) + 1, MockFault::Hang);
    let hanging = start(&set, within(HANG));
    assert!(mock.wait_for_hangs(MockOperation::Unpause, 1, HANG));
    let beside = result(&start(&set, within(HANG))).unwrap();
    let waiting = start(&set, within(HANG));
    drop(beside);
    drop(result(&waiting).unwrap());
    mock.release_hangs();
    drop(result(&hanging).unwrap());
    until(&set, "idle", |stats| stats.idle == 2);
}

#[test]
fn what_was_idle_and_useless_is_replaced() {
    let (set, mock) = set(Config { max_size: 2, ..Config::default() });
    let (first, second) = (get(&set), get(&set));
    drop((first, second));
    mock.fault_always(MockOperation::Unpause, Some(MockFault::Die));
    let sandbox = result(&start(&set, within(HANG))).unwrap();
    assert!(!sandbox.reused());
    assert_eq!((set.stats().created, set.stats().held), (3, 1));
}

#[test]
fn a_cancel_that_races_the_hand_over_loses_nothing() {
    let (set, _mock) = set(one());
    for _ in 0..1000 {
        let held = get(&set);
        let cancel = CancelToken::new();
        let options = GetOptions { cancel: Some(cancel.clone()), ..within(HANG) };
        let waiting = start(&set, options);
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    cancel.cancel();
                });
            }
            barrier.wait();
            held.put().unwrap();
        });
        match result(&waiting) {
            Ok(sandbox) => sandbox.put().unwrap(),
            Err(error) => assert_eq!(error.code(), ErrorCode::Cancelled),
        }
        until(&set, "idle", |stats| stats.idle == 1);
    }
    assert_eq!(set.stats().created, 1);
}

#[test]
fn the_last_clone_that_goes_closes_the_set_for_those_who_wait() {
    let (set, _mock) = set(one());
    let held = get(&set);
    let waiting = start(&set, within(HANG));
    drop(set);
    assert_eq!(result(&waiting).err().unwrap().code(), ErrorCode::Closed);
    drop(held);
}

#[test]
fn a_callback_that_panics_harms_no_other() {
    let (set, _mock) = set(one());
    let held = get(&set);
    for _ in 0..3 {
        set.get_or_create_unpaused_then(within(HANG), |_| panic!("scripted")).unwrap();
    }
    let waiting = start(&set, within(HANG));
    held.put().unwrap();
    drop(result(&waiting).unwrap());
    // Also on the thread that polls, where errors are told.
    let held = get(&set);
    let cancel = CancelToken::new();
    let options = GetOptions { cancel: Some(cancel.clone()), ..within(HANG) };
    set.get_or_create_unpaused_then(options, |_| panic!("scripted")).unwrap();
    let waiting = start(&set, within(HANG));
    cancel.cancel();
    held.put().unwrap();
    drop(result(&waiting).unwrap());
    check(&set.stats());
}

#[test]
fn a_put_is_over_for_its_holder_before_its_pause() {
    let (set, mock) = set(one());
    let sandbox = get(&set);
    mock.fault_at(MockOperation::Pause, mock.calls(MockOperation::Pause) + 1, MockFault::Hang);
    let (sender, done) = mpsc::channel();
    sandbox.put_then(move |result| sender.send(result).unwrap()).unwrap();
    assert_eq!(sandbox.put().err().unwrap().code(), ErrorCode::StaleRef);
    assert!(mock.wait_for_hangs(MockOperation::Pause, 1, HANG));
    assert!(done.try_recv().is_err());
    let (sender, again) = mpsc::channel();
    sandbox.put_then(move |result| sender.send(result).unwrap()).unwrap();
    assert_eq!(again.recv_timeout(HANG).unwrap().err().unwrap().code(), ErrorCode::StaleRef);
    mock.release_hangs();
    done.recv_timeout(HANG).unwrap().unwrap();
    assert_eq!((set.stats().idle, set.stats().puts), (1, 1));
}

#[test]
fn a_call_that_panics_is_answered_once() {
    let calls = Arc::new(AtomicUsize::new(0));
    let (sender, done) = mpsc::channel();
    let counted = Arc::clone(&calls);
    let call = || -> Result<u8> { panic!("scripted") };
    Worker::claim(Phase::Use).unwrap().run(call, move |result| {
        counted.fetch_add(1, Ordering::SeqCst);
        sender.send(result).unwrap();
    });
    assert_eq!(done.recv_timeout(HANG).unwrap().unwrap_err().code(), ErrorCode::Internal);
    assert!(done.recv_timeout(HANG).is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
