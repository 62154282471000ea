//! The threads of the library: they take no signals, and an idle set has none. One test only, in a process of its
//! own, because it counts threads.

#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

mod support;

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{Config, SandboxSet, SandboxSpec};
use support::{HANG, get, until};

/// The directories in /proc of all threads of ours.
fn ours() -> Vec<std::path::PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("sandboxset")))
        .collect()
}

#[test]
fn an_idle_set_has_no_threads_and_busy_ones_take_no_signals() {
    let mock = MockBackend::new();
    mock.fault_always(MockOperation::Create, Some(MockFault::Hang));
    let config = Config { max_size: 4, min_idle: 4, ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Create, 4, HANG));
    let threads = ours();
    assert_eq!(threads.len(), 4);
    for thread in threads {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        // Everything but KILL and STOP, and the two that the C library keeps for itself.
        let possible = !(1 << 8 | 1 << 18 | 1 << 31 | 1 << 32);
        assert_eq!(mask & possible, possible, "{mask:x}");
    }
    mock.release_hangs();
    until(&set, "stocked", |stats| stats.idle == 4);
    let start = Instant::now();
    while !ours().is_empty() {
        assert!(start.elapsed() < HANG, "the workers of an idle set never ended");
        thread::sleep(Duration::from_millis(10));
    }
    // Gets and puts of idle sandboxes need none.
    drop(get(&set));
    mock.fault_always(MockOperation::Create, Some(MockFault::Fail("off".into())));
    // A back-off keeps one thread for the timer, until the set is closed.
    get(&set).destroy("used").unwrap();
    until(&set, "failed", |stats| stats.create_failures == 1 && stats.destroyed == 1);
    set.close(HANG).unwrap();
    let start = Instant::now();
    while !ours().is_empty() {
        assert!(start.elapsed() < HANG, "the timer of a closed set never ended");
        thread::sleep(Duration::from_millis(10));
    }
}
