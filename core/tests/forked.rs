//! In a forked child every call is refused at once and every drop harms nothing. One test only, in a process of
//! its own, because it forks while other threads work.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use sandboxset::{CancelToken, Command, Config, ErrorCode, GetOptions, SandboxSet, SandboxState};
use support::{HANG, get, now, set};

const ROUNDS: usize = 100;

#[test]
fn a_forked_child_is_refused_and_harms_nothing() {
    let (set, mock) = set(Config { max_size: 4, ..Config::default() });
    let events = set.events(1000).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    drop(get(&set));
                    drop(set.stats());
                }
            });
        }
        for round in 0..ROUNDS {
            let held = get(&set);
            let clone = set.clone();
            // SAFETY: the child calls only into this library, which refuses, and into the allocator, which
            // the C library keeps usable in a child; it leaves by `_exit` and never returns from here.
            let pid = unsafe { libc::fork() };
            assert!(pid >= 0);
            if pid == 0 {
                // SAFETY: sets a timer of the child's own, which kills it if it blocks.
                unsafe { libc::alarm(30) };
                let status = child(clone, held, &events);
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(status) };
            }
            let mut status = 0;
            // SAFETY: waits for the child made above; `status` is valid for writing.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            assert!(libc::WIFEXITED(status), "round {round}: the child was killed: {status:#x}");
            assert_eq!(libc::WEXITSTATUS(status), 0, "round {round}: the check of this number failed");
            assert_eq!(held.state(), SandboxState::Held);
            held.put().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(set.close(HANG).unwrap().survivors.len(), 0);
    assert_eq!(mock.live(), 0);
}

/// Answers the number of the first check that failed, or 0.
fn child(set: SandboxSet, held: sandboxset::SandboxRef, events: &sandboxset::EventStream) -> i32 {
    let refused =
        |result: sandboxset::Result<()>| result.is_err_and(|error| error.code() == ErrorCode::ForkedProcess);
    let cancel = CancelToken::new();
    let options = GetOptions { cancel: Some(cancel.clone()), ..GetOptions::default() };
    cancel.cancel();
    let checks = [
        refused(set.get_or_create_unpaused(&now()).map(drop)),
        refused(set.get_or_create_unpaused(&options).map(drop)),
        refused(set.prewarm(1, HANG).map(drop)),
        refused(set.shrink(0).map(drop)),
        refused(set.drain(HANG)),
        refused(set.close(HANG).map(drop)),
        refused(set.events(1).map(drop)),
        set.stats() == sandboxset::Stats::default(),
        events.next(Duration::from_secs(600)).is_none(),
        refused(held.put()),
        refused(held.destroy("child")),
        refused(held.exec(&Command::new(["x"])).map(drop)),
        refused(held.spawn(&Command::new(["x"])).map(drop)),
        refused(held.call(b"x", HANG, None).map(drop)),
        refused(held.read_file("x".as_ref(), 1).map(drop)),
        held.state() == SandboxState::Stale,
    ];
    held.taint("child");
    drop(held);
    drop(set.clone());
    drop(set);
    checks.iter().position(|passed| !passed).map_or(0, |at| at as i32 + 1)
}
