//! Many callers, few places: nobody starves, nothing is lost, nothing is made in vain.

#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sandboxset::backend::mock::{MockFault, MockOperation};
use sandboxset::{CancelToken, Config, ErrorCode, GetOptions};
use support::{HANG, check, get, set, until, within};

#[test]
fn sixty_callers_of_ten_milliseconds_share_two_places_within_a_second() {
    let (set, mock) = set(Config { max_size: 2, ..Config::default() });
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let sandbox = set.get_or_create_unpaused(&within(Duration::from_secs(1))).unwrap();
                // The work of the caller, not a synchronisation.
                thread::sleep(Duration::from_millis(10));
                sandbox.put().unwrap();
            });
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(300));
    let stats = set.stats();
    assert_eq!((stats.gets, stats.puts, stats.timeouts, mock.most_live()), (60, 60, 0, 2));
    check(&stats);
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let (set, _mock) = set(Config { max_size: 1, ..Config::default() });
    let held = get(&set);
    let order = parking(&set, held, 20);
    assert_eq!(order, (0..20).collect::<Vec<_>>());
}

/// Queues callers one after the other, then lets the place go round. Answers the order they were served in.
fn parking(set: &sandboxset::SandboxSet, held: sandboxset::SandboxRef, count: usize) -> Vec<usize> {
    let (served, order) = std::sync::mpsc::channel();
    thread::scope(|scope| {
        for number in 0..count {
            let served = served.clone();
            scope.spawn(move || {
                let sandbox = get(set);
                served.send(number).unwrap();
                sandbox.put().unwrap();
            });
            until(set, "queued", |stats| stats.waiting == number + 1);
        }
        held.put().unwrap();
    });
    drop(served);
    order.iter().collect()
}

#[test]
fn racing_callers_make_no_more_than_they_need() {
    for _ in 0..20 {
        let (set, mock) = set(Config { max_size: 64, ..Config::default() });
        let barrier = Barrier::new(16);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    barrier.wait();
                    drop(get(&set));
                });
            }
        });
        until(&set, "settled", |stats| stats.creating + stats.returning == 0);
        assert!(mock.calls(MockOperation::Create) <= 16);
        assert_eq!(set.stats().idle, mock.live());
    }
}

#[test]
fn sixteen_threads_on_four_places_lose_nothing() {
    let (set, mock) = set(Config { max_size: 4, ..Config::default() });
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for thread in 0..16 {
            let (set, inside, most) = (&set, &inside, &most);
            scope.spawn(move || {
                for round in 0..1000 {
                    let sandbox = get(set);
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if (thread + round) % 97 == 0 { sandbox.destroy("now and then") } else { sandbox.put() }
                        .unwrap();
                }
            });
        }
        scope.spawn(|| (0..2000).for_each(|_| check(&set.stats())));
    });
    assert!(most.load(Ordering::SeqCst) <= 4 && mock.most_live() <= 4);
    let stats = set.stats();
    assert_eq!((stats.gets, stats.held, stats.waiting), (16_000, 0, 0));
    let report = set.close(HANG).unwrap();
    assert_eq!((report.survivors.len(), mock.live()), (0, 0));
    assert_eq!(set.stats().created, set.stats().destroyed);
}

#[test]
fn a_hanging_create_delays_only_its_own_place() {
    let (set, mock) = set(Config { max_size: 3, ..Config::default() });
    mock.fault_at(MockOperation::Create, 1, MockFault::Hang);
    thread::scope(|scope| {
        let stuck = scope.spawn(|| get(&set));
        assert!(mock.wait_for_hangs(MockOperation::Create, 1, HANG));
        // The next create serves the oldest caller; its own caller takes over the one that hangs, and so on.
        let next = scope.spawn(|| get(&set));
        let first = stuck.join().unwrap();
        first.put().unwrap();
        let second = next.join().unwrap();
        assert_eq!(second.id(), first.id());
        assert_eq!((set.stats().creating, set.stats().waiting), (1, 0));
        mock.release_hangs();
        until(&set, "idle", |stats| stats.idle == 1);
    });
}

#[test]
fn who_gives_up_leaves_at_once_and_its_sandbox_is_not_lost() {
    let (set, mock) = set(Config { max_size: 1, ..Config::default() });
    mock.fault_always(MockOperation::Create, Some(MockFault::Hang));
    let error = set.get_or_create_unpaused(&within(Duration::from_millis(5))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("1 creating"), "{error}");
    assert_eq!(set.get_or_create_unpaused(&support::now()).unwrap_err().code(), ErrorCode::Timeout);
    mock.release_hangs();
    until(&set, "idle", |stats| stats.idle == 1);
    assert!(!get(&set).reused());
    assert_eq!(mock.calls(MockOperation::Create), 1);
}

#[test]
fn a_cancel_that_races_the_hand_over_loses_nothing() {
    let (set, _mock) = set(Config { max_size: 1, ..Config::default() });
    let mut outcomes = [0, 0];
    for _ in 0..1500 {
        let held = get(&set);
        let cancel = CancelToken::new();
        let options = GetOptions { cancel: Some(cancel.clone()), ..within(HANG) };
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| set.get_or_create_unpaused(&options));
            until(&set, "queued", |stats| stats.waiting == 1);
            scope.spawn(|| {
                barrier.wait();
                cancel.cancel();
            });
            barrier.wait();
            held.put().unwrap();
            match waiter.join().unwrap() {
                Ok(sandbox) => {
                    outcomes[0] += 1;
                    sandbox.put().unwrap();
                }
                Err(error) => {
                    outcomes[1] += 1;
                    assert_eq!(error.code(), ErrorCode::Cancelled);
                }
            }
        });
        let stats = set.stats();
        assert_eq!((stats.idle, stats.held, stats.waiting, stats.resuming), (1, 0, 0, 0));
        assert_eq!(stats.gets, stats.puts);
        check(&stats);
    }
    println!("handed over {}, cancelled {}", outcomes[0], outcomes[1]);
}

#[test]
fn too_many_waiters_are_refused() {
    let (set, _mock) = set(Config { max_size: 1, max_waiters: 1, ..Config::default() });
    let held = get(&set);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| get(&set));
        until(&set, "queued", |stats| stats.waiting == 1);
        let error = set.get_or_create_unpaused(&within(HANG)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Overloaded);
        held.put().unwrap();
        waiter.join().unwrap();
    });
}
