//! The census reports what is leaked. A census that finds nothing proves something only because these pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sandboxset_keeper::Owner;
use sandboxset_tests::census::{Census, Scope, temporary_dir};
use sandboxset_tests::kernel;
use sandboxset_tests::machine::ordinary_user;

/// Descriptors and children are the whole process's, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Looks until the expected leak is seen: a child shows its new arguments only some time after the fork.
fn reports(scope: &Scope, before: &Census, what: &str) {
    let bound = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let leaks = scope.take().leaks_since(before);
        if leaks.iter().any(|leak| leak.to_string().contains(what)) {
            return;
        }
        assert!(std::time::Instant::now() < bound, "no {what} in {leaks:?}");
        std::thread::yield_now();
    }
}

/// A process that looks like a keeper, with a child of its own.
fn false_keeper() -> Child {
    Command::new("sh")
        .arg0("sandboxset-keeper")
        .args(["-c", "sleep 60 & read line"])
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap()
}

/// The host holds a pidfd of its keeper; this is what tells whose it is where there are no cgroups.
fn watch(child: &Child) -> OwnedFd {
    pidfd_open(Pid::from_child(child), PidfdFlags::empty()).unwrap()
}

fn end(mut child: Child) {
    let group = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    child.wait().unwrap();
}

#[test]
fn nothing_is_reported_when_nothing_is_there() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    assert!(before.is_clean(), "{before:?}");
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_keeper_and_its_children_are_reported_until_they_are_gone() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let keeper = false_keeper();
    let pidfd = watch(&keeper);
    reports(&scope, &before, "watched by the host");
    reports(&scope, &before, "sleep (");
    assert_eq!(scope.keepers().len(), 1);
    assert!(scope.settle(&before, Duration::ZERO).is_err());
    drop(pidfd);
    reports(&scope, &before, "seen before");
    end(keeper);
    scope.assert_settles(&before);
    assert!(scope.keepers().is_empty());
}

#[test]
fn what_belongs_to_another_process_is_not_reported() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let keeper = false_keeper();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let stat = kernel::task(other.id()).unwrap();
    let owner = Owner::current().unwrap().to_string();
    let boot = owner.split('-').nth(1).unwrap();
    let other_scope = Scope::of(&format!("sandboxset-{boot}-{}-{}", stat.pid, stat.start_time));
    for scope in [&scope, &other_scope] {
        let leaks = scope.take().leaks_since(&before);
        assert!(!leaks.iter().any(|leak| leak.to_string().contains("process")), "{leaks:?}");
    }
    end(keeper);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn every_process_of_a_user_of_ones_own_is_reported() {
    let _alone = alone();
    let Some(user) = ordinary_user() else {
        println!("SKIPPED: only root can become another user");
        return;
    };
    let scope = Scope::own().with_user(user.uid);
    let before = scope.take();
    let child = Command::new("sleep").arg("60").uid(user.uid).process_group(0).spawn().unwrap();
    reports(&scope, &before, "sleep (by its user)");
    end(child);
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_scratch_dir_is_reported() {
    let _alone = alone();
    let base = temporary_dir("census");
    let scope = Scope::own().with_scratch_base(base.path());
    let before = scope.take();
    std::fs::create_dir(base.path().join("left")).unwrap();
    reports(&scope, &before, "scratch dir");
    std::fs::remove_dir(base.path().join("left")).unwrap();
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_descriptor_is_reported_by_kind() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let pipe = std::io::pipe().unwrap();
    reports(&scope, &before, "descriptor pipe");
    let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    reports(&scope, &before, "descriptor anon_inode:[pidfd]");
    drop((pipe, pidfd));
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_thread_of_the_library_is_reported_by_name() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread =
        std::thread::Builder::new().name("sandboxset-fake".into()).spawn(move || _ = ended.recv()).unwrap();
    reports(&scope, &before, "thread sandboxset-fake");
    drop(end);
    thread.join().unwrap();
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_cgroup_and_the_processes_in_it_are_reported() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let name = format!("{}-census", Owner::current().unwrap());
    let dir = kernel::cgroup_roots()
        .into_iter()
        .map(|root| root.join(&name))
        .find(|dir| std::fs::create_dir(dir).is_ok());
    let Some(dir) = dir else {
        println!("SKIPPED: no cgroup hierarchy is writable");
        return;
    };
    std::fs::create_dir(dir.join("inner")).unwrap();
    reports(&scope, &before, "cgroup");
    assert!(scope.take().cgroups.contains(&dir.join("inner")));
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    // Some controllers take no process before they are configured; the directory alone was the main point.
    let moved = std::fs::write(dir.join("cgroup.procs"), child.id().to_string()).is_ok();
    if moved {
        reports(&scope, &before, "sleep (by its cgroup)");
    }
    println!("a process in {}: {}", dir.display(), if moved { "reported" } else { "SKIPPED" });
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::remove_dir(dir.join("inner")).unwrap();
    std::fs::remove_dir(&dir).unwrap();
    scope.assert_settles(&before);
}

#[test]
fn a_leaked_mount_is_reported_from_any_mount_namespace() {
    let _alone = alone();
    let scope = Scope::own();
    let before = scope.take();
    let script =
        format!("mount -t tmpfs {}-mount /mnt && echo mounted && read line", Owner::current().unwrap());
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    if line == "mounted\n" {
        reports(&scope, &before, "mount ");
    } else {
        println!("SKIPPED: this user may not mount");
    }
    end(child);
    scope.assert_settles(&before);
}
