//! Callbacks when the system has no thread left: a call is refused before anything has happened, and one that is under
//! way still is answered. One test only, in a process of its own, because nothing gives it back its threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use sandboxset::{Config, ErrorCode, Phase, Worker};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use support::{HANG, get, set, until, within};

/// What a thread limit answers, to all threads of this process.
fn refuse_new_threads() {
    let rules: BTreeMap<_, _> =
        [libc::SYS_clone, libc::SYS_clone3].into_iter().map(|call| (call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::EAGAIN as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, arch).unwrap();
    seccompiler::apply_filter_all_threads(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Waits until this process has exactly that many threads.
fn until_threads(wanted: usize) {
    let start = std::time::Instant::now();
    while threads() != wanted {
        assert!(start.elapsed() < HANG, "{} threads instead of {wanted}", threads());
        thread::yield_now();
    }
}

#[test]
fn what_is_under_way_is_answered_and_what_begins_is_refused() {
    let own = threads();
    let (set, _mock) = set(Config { max_size: 1, ..Config::default() });
    let held = get(&set);
    until_threads(own);
    let (sender, answers) = mpsc::channel();
    let start = |number: i32| {
        let sender = sender.clone();
        let done = move |result| sender.send((number, thread::current().id(), result)).unwrap();
        set.get_or_create_unpaused_then(within(HANG), done)
    };
    start(1).unwrap();
    // The thread that polls, and the timer.
    until_threads(own + 2);
    refuse_new_threads();
    assert!(thread::Builder::new().spawn(|| {}).is_err(), "the filter does not work");

    // The thread for those who wait is there already.
    start(2).unwrap();
    // A put that would pause on a worker has none, and is not begun.
    let refused = held.put_then(|_| panic!("a call that was refused has called back")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::NoCapacity);
    assert_eq!(Worker::claim(Phase::Use).err().unwrap().code(), ErrorCode::NoCapacity);
    assert_eq!((set.stats().held, set.stats().waiting), (1, 2));

    held.put().unwrap();
    let (first, on_thread, sandbox) = answers.recv_timeout(HANG).unwrap();
    sandbox.unwrap().put().unwrap();
    let (second, on_same_thread, sandbox) = answers.recv_timeout(HANG).unwrap();
    assert_eq!((first, second), (1, 2));
    assert!(on_thread == on_same_thread && on_thread != thread::current().id());
    sandbox.unwrap().put().unwrap();
    until(&set, "idle", |stats| stats.idle == 1);

    // Now there is none at all, and not even a get of what is idle can call back.
    until_threads(own);
    assert_eq!(start(3).unwrap_err().code(), ErrorCode::NoCapacity);
    drop(sender);
    assert!(answers.recv().is_err());
    assert_eq!((set.stats().idle, set.stats().gets), (1, 3));
    // A thread of one's own still can.
    drop(get(&set));
}
