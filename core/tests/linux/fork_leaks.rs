//! Nothing of a fork server that has all that a process can have about it is in its forks.

use std::path::Path;

use sandboxset::ScratchDirs;
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};

use crate::fork_support::{Server, ask, child_spec, fork, server_spec, signal_server};
use crate::support::{TestSandbox, eventually, sandbox_from, sh};

/// A server with locks, timers, handlers, and blocked and pending signals; and where its program is.
fn leaky() -> Option<(TestSandbox, Server)> {
    let server = Server::new()?;
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let parent =
        sandbox_from(backend, server_spec(Some(&server), &["/code/leaky_zygote"]), ScratchDirs::Tmpfs)?;
    Some((parent, server))
}

/// A server with forks that wait and one that did: what waits must keep nothing of the parent either.
fn leaky_and_fork() -> Option<(TestSandbox, TestSandbox, Server)> {
    let (parent, server) = leaky()?;
    let await_ready = || eventually("some are prepared", || parent.backend.shells().unwrap().ready == 2);
    drop(fork(&parent, child_spec()));
    await_ready();
    let child = fork(&parent, child_spec());
    await_ready();
    Some((parent, child, server))
}

/// A set of signals as `/proc` shows it.
fn signals(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

const SIGNALS: [&str; 5] = ["SigPnd:", "ShdPnd:", "SigBlk:", "SigIgn:", "SigCgt:"];

#[test]
fn no_signal_is_pending_blocked_ignored_or_handled() {
    let Some((parent, child, _server)) = leaky_and_fork() else { return };
    let own = sh(&parent, "cat /proc/2/status").stdout.text();
    let theirs = ask(&*child.sandbox, "read /proc/self/status");
    for name in SIGNALS {
        assert_eq!(signals(&theirs, name), 0, "{name}");
    }
    // The control: the server has them all, pending ones in one of two sets.
    for name in &SIGNALS[2..] {
        assert_ne!(signals(&own, name), 0, "{name}");
    }
    assert_ne!(signals(&own, "SigPnd:") | signals(&own, "ShdPnd:"), 0);
}

#[test]
fn no_timer_goes_on() {
    let Some((parent, child, _server)) = leaky_and_fork() else { return };
    let ticks = || parent.read_file(Path::new("ticks"), 1 << 20).unwrap().len();
    let used = || {
        let stat = ask(&*child.sandbox, "read /proc/self/stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (before, idle) = (ticks(), used());
    // Its timers count real time and time that is used; ten rounds of each.
    eventually("the child used time", || {
        assert_eq!(ask(&*child.sandbox, "use 32"), "1");
        used() >= idle + 20
    });
    eventually("the timers of the server go on", || ticks() >= before + 10);
    assert_eq!(ask(&*child.sandbox, "still there"), "still there");
    let timers = ask(&*child.sandbox, "read /proc/self/timers");
    assert!(timers.is_empty(), "{timers}");
    // The control: a single tick would have ended it.
    let pid = ask(&*child.sandbox, "read /proc/self/stat");
    let pid = pid.split_whitespace().next().unwrap().to_owned();
    let _ = child.exec(&crate::support::shell(&format!("kill -ALRM {pid}")));
    eventually("a tick ends it", || child.death().is_some());
}

#[test]
fn no_lock_is_kept() {
    let Some((parent, child, _server)) = leaky_and_fork() else { return };
    let locked = || sh(&parent, "/code/leaky_zygote locked").stdout.text();
    assert_eq!(locked(), "/scratch/flock\n/scratch/fcntl\n/scratch/ofd\n");
    // A fork that had a copy of one of the files, as have those that wait, would keep its lock.
    signal_server(&parent, "USR1");
    eventually("the locks are free", || locked().is_empty());
    assert_eq!(ask(&*child.sandbox, "still there"), "still there");
}

#[test]
fn no_descriptor_directory_variable_or_mask_of_files_is_kept() {
    let Some((parent, child, _server)) = leaky_and_fork() else { return };
    assert_eq!(ask(&*child.sandbox, "cwd"), "/scratch");
    let status = ask(&*child.sandbox, "read /proc/self/status");
    assert!(status.contains("\nUmask:\t0022\n"), "{status}");
    assert!(sh(&parent, "cat /proc/2/status").stdout.text().contains("\nUmask:\t0000\n"));
    let env = ask(&*child.sandbox, "env");
    assert!(env.contains("OF_THE_CHILD") && !env.contains("OF_THE_SERVER"), "{env}");
    let fds = ask(&*child.sandbox, "fds");
    for kind in ["timerfd", "flock", "fcntl", "ofd"] {
        assert!(!fds.contains(kind), "{fds}");
    }
    // Files of the parent's scratch dir are not even there.
    for name in ["flock", "ticks"] {
        assert!(child.read_file(Path::new(name), 10).is_err());
        assert!(parent.read_file(Path::new(name), 1 << 20).is_ok());
    }
}

#[test]
fn a_child_sees_no_process_of_its_parent_and_cannot_signal_any() {
    let Some((parent, child, _server)) = leaky_and_fork() else { return };
    let script = "for pid in /proc/[0-9]*; do cat $pid/comm; done 2>/dev/null | sort -u";
    let seen = sh(&child, script).stdout.text();
    assert!(!seen.contains("dd") && seen.lines().count() <= 5, "{seen}");
    // Every number there is, but its own processes: nobody else is hit.
    let before = parent.read_file(Path::new("ticks"), 1 << 20).unwrap().len();
    sh(&child, "for pid in $(seq 2 300); do [ -d /proc/$pid ] || kill -KILL $pid 2>/dev/null; done");
    eventually("the parent goes on", || {
        parent.read_file(Path::new("ticks"), 1 << 20).unwrap().len() > before + 2
    });
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");
}
