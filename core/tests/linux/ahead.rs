//! Forks that are prepared ahead of demand: whole, but for what they are told when they are wanted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sandboxset::backend::linux::LinuxOptions;
use sandboxset::{CancelToken, ErrorCode, SandboxSpec};

use crate::fork_support::{
    SOON, ask, child_spec, fork, parent, parent_of, refused, server_spec, signal_server,
};
use crate::shells::OwnKeeper;
use crate::support::{HANG, TestSandbox, cgroups, eventually, sh, skip};

/// Waits until so many are prepared.
fn await_ready(parent: &TestSandbox, count: usize) {
    eventually("they are prepared", || parent.backend.shells().unwrap().ready == count);
}

/// When the process started, and the time now, in ticks of the kernel's clock since the machine started.
fn started(child: &TestSandbox, process: &str) -> u64 {
    let stat = ask(&*child.sandbox, &format!("read /proc/{process}/stat"));
    stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap()
}

fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    time.tv_sec as u64 * 100 + time.tv_nsec as u64 / 10_000_000
}

/// Lets the clock that processes are dated by go on.
fn let_time_pass() {
    std::thread::sleep(Duration::from_millis(30));
}

#[test]
fn the_second_fork_finds_one_that_waits() {
    let Some(parent) = parent() else { return };
    let _first = fork(&parent, child_spec());
    await_ready(&parent, 2);
    let_time_pass();
    let asked = now();
    let child = fork(&parent, child_spec());
    assert!(started(&child, "1") < asked, "its init waited");
    assert!(started(&child, "self") < asked, "its runtime waited as well");
    // The third thing that it was asked.
    assert_eq!(ask(&*child.sandbox, "state"), "p 3");
    assert_eq!(ask(&*child.sandbox, "args"), "first\nsecond argument\n");
    // It is replaced, and one of another kind is not taken for it.
    await_ready(&parent, 2);
    let_time_pass();
    let asked = now();
    let other = fork(&parent, SandboxSpec { env: vec![("OTHER".into(), "1".into())], ..child_spec() });
    assert!(started(&other, "1") >= asked);
}

#[test]
fn with_none_wanted_every_fork_starts_from_nothing() {
    let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
    let Some(parent) = parent_of(options, "/code/zygote") else { return };
    let _first = fork(&parent, child_spec());
    let asked = now();
    let child = fork(&parent, child_spec());
    assert!(started(&child, "1") >= asked);
    assert_eq!(parent.backend.shells().unwrap().ready, 0);
}

#[test]
fn no_more_wait_than_the_parent_has_processes_for() {
    let options = LinuxOptions { shells: Some(100), ..LinuxOptions::default() };
    let Some(parent) = parent_of(options, "/code/zygote") else { return };
    // A sixteenth child is one more than may wait; the parent may have 64 processes.
    let _first = fork(&parent, child_spec());
    await_ready(&parent, 16);
    let usage = parent.usage().unwrap();
    // Its init, its server, and who let the last ones in and has yet to be reaped; those that wait are not its own.
    assert!(!parent.backend_has_cgroups() || usage.pids <= 10, "{usage:?}");
    let _second = fork(&parent, child_spec());
    await_ready(&parent, 16);
}

#[test]
fn what_waits_outlasts_a_pause_of_the_parent() {
    let Some(parent) = parent() else { return };
    let _first = fork(&parent, child_spec());
    await_ready(&parent, 2);
    parent.settle(&CancelToken::new());
    parent.pause().unwrap();
    let_time_pass();
    let asked = now();
    parent.unpause().unwrap();
    let child = fork(&parent, child_spec());
    assert!(started(&child, "1") < asked);
    assert_eq!(ask(&*child.sandbox, "state"), "p 2");
    child.pause().unwrap();
    child.unpause().unwrap();
    assert_eq!(ask(&*child.sandbox, "state"), "p 3");
}

/// The v2 cgroups with an init of this keeper in them, and whether they are frozen.
fn cgroups_of(keeper: &OwnKeeper) -> BTreeMap<PathBuf, bool> {
    let name = keeper.0.file_name().unwrap().to_str().unwrap();
    let is_init = |pid: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let holds_init = |dir: &PathBuf| {
        let members = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        members.lines().any(is_init)
    };
    let state = |dir: PathBuf| {
        let frozen = std::fs::read_to_string(dir.join("cgroup.freeze")).ok()?;
        Some((dir, frozen.trim() == "1"))
    };
    let within = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sandboxes = cgroups().into_iter().flat_map(within).map(|entry| entry.path());
    sandboxes.filter(holds_init).filter_map(state).collect()
}

#[test]
fn what_waits_rests_with_its_parent() {
    let keeper = OwnKeeper::new("rests");
    let Some(parent) = parent_of(keeper.options(), "/code/zygote") else { return };
    let frozen = || cgroups_of(&keeper).into_values().filter(|frozen| *frozen).count();
    if cgroups_of(&keeper).is_empty() {
        return skip("no v2 cgroup to freeze");
    }
    drop(fork(&parent, child_spec()));
    await_ready(&parent, 2);
    assert_eq!(frozen(), 0, "nothing rests while the parent is forked");
    // It settles when all is there; then what waits is stopped until it is needed, and the parent is not.
    parent.settle(&CancelToken::new());
    assert_eq!(frozen(), 2);
    let child = fork(&parent, child_spec());
    assert_eq!(ask(&*child.sandbox, "state"), "p 1");
    assert_eq!(frozen(), 1, "one of them was woken, and the one that takes its place is not at rest");
    // Who does not want to wait need not.
    signal_server(&parent, "STOP");
    let cancelled = CancelToken::new();
    cancelled.cancel();
    parent.settle(&cancelled);
    signal_server(&parent, "CONT");
}

#[test]
fn what_waits_is_not_given_out_when_somebody_used_the_parent() {
    let Some(parent) = parent() else { return };
    let _first = fork(&parent, child_spec());
    await_ready(&parent, 2);
    // A look changes nothing.
    assert!(parent.usage().is_ok() && parent.read_file(Path::new("/etc/passwd"), 1 << 20).is_ok());
    let_time_pass();
    let asked = now();
    assert!(started(&fork(&parent, child_spec()), "self") < asked);
    await_ready(&parent, 2);
    assert!(sh(&parent, "true").success());
    let_time_pass();
    let asked = now();
    assert!(started(&fork(&parent, child_spec()), "self") >= asked, "it is a copy of what the parent is now");
    // From then on forks wait again, one more because that one found none.
    await_ready(&parent, 3);
    let_time_pass();
    let asked = now();
    assert!(started(&fork(&parent, child_spec()), "self") < asked);

    signal_server(&parent, "STOP");
    assert_eq!(refused(&parent, SOON).code(), ErrorCode::Timeout);
    signal_server(&parent, "CONT");
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");
}

#[test]
fn what_waits_goes_with_its_parent() {
    let Some(parent) = parent() else { return };
    drop(fork(&parent, child_spec()));
    await_ready(&parent, 2);
    parent.destroy().unwrap();
    assert_eq!(parent.backend.shells().unwrap().ready, 0);

    let Some(parent) = self::parent() else { return };
    drop(fork(&parent, child_spec()));
    await_ready(&parent, 2);
    // The command may well end with the sandbox that it is in.
    let _ = parent.exec(&crate::support::shell("kill -KILL 2"));
    eventually("the parent is dead", || parent.death().is_some());
    await_ready(&parent, 0);
    let code = refused(&parent, HANG).code();
    assert!(matches!(code, ErrorCode::ForkFailed | ErrorCode::SandboxDead), "{code:?}");
}

#[test]
fn a_chain_is_forked_ahead_too() {
    let Some(first) = parent() else { return };
    let _warm = fork(&first, server_spec(None, &["between"]));
    await_ready(&first, 2);
    let_time_pass();
    let asked = now();
    let between = fork(&first, server_spec(None, &["between"]));
    let child = fork(&between, child_spec());
    assert_eq!(ask(&*child.sandbox, "state"), "p 1");
    let stat = sh(&between, "cat /proc/1/stat").stdout.text();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    assert!(start < asked, "its init waited");
}

#[test]
fn a_deployment_is_seen_though_forks_of_the_old_one_wait() {
    let Some(parent) = parent() else { return };
    let dir = std::env::temp_dir().join(format!("ahead-deploy-{}", std::process::id()));
    for version in ["old", "new"] {
        std::fs::create_dir_all(dir.join(version)).unwrap();
        std::fs::write(dir.join(version).join("version"), version).unwrap();
    }
    let link = dir.join("current");
    std::os::unix::fs::symlink("old", &link).unwrap();
    let spec = SandboxSpec { code_dir: Some(link.clone()), ..child_spec() };
    let first = fork(&parent, spec.clone());
    assert_eq!(ask(&*first.sandbox, "read /code/version"), "old");
    await_ready(&parent, 2);
    std::os::unix::fs::symlink("new", dir.join("next")).unwrap();
    std::fs::rename(dir.join("next"), &link).unwrap();
    assert_eq!(ask(&*fork(&parent, spec).sandbox, "read /code/version"), "new");
    assert_eq!(ask(&*first.sandbox, "read /code/version"), "old");
    std::fs::remove_dir_all(&dir).unwrap();
}
