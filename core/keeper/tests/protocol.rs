//! The keeper as its host sees it, with real sandboxes, over the bare protocol.
#![cfg(feature = "binary")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use sandboxset_keeper::*;

use crate::host::{Host, plain};

/// Runs a command to its end; answers its end, standard output and standard error.
fn run(init: &OwnedFd, args: &[&str]) -> (FromInit, String, String) {
    let (reply, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let (mut out, out_end) = std::io::pipe().unwrap();
    let (mut err, err_end) = std::io::pipe().unwrap();
    let exec = Exec {
        args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        cwd: b"/scratch".to_vec(),
        stdin: false,
        cgroup: false,
        memory_bytes: None,
        cpu_seconds: None,
    };
    send(init, &ToInit::Exec(Box::new(exec)), &[theirs.as_fd(), out_end.as_fd(), err_end.as_fd()]).unwrap();
    drop((theirs, out_end, err_end));
    let (mut stdout, mut stderr) = (String::new(), String::new());
    out.read_to_string(&mut stdout).unwrap();
    err.read_to_string(&mut stderr).unwrap();
    let mut message = receive_untrusted::<FromInit>(&reply, 0).unwrap().0;
    if message == FromInit::Started {
        message = receive_untrusted::<FromInit>(&reply, 0).unwrap().0;
    }
    (message, stdout, stderr)
}

#[test]
fn commands_run_confined_and_everything_ends_with_the_host() {
    let host = Host::start(CgroupPlan::default());
    let (pidfd, init, report) = host.create(plain(1)).unwrap_or_else(|failure| panic!("{failure:?}"));
    for name in [
        "seccomp",
        "root.overlay",
        "proc",
        "proc.masks",
        "nested_user_namespaces",
        "capabilities",
        "no_new_privs",
    ] {
        let layer = report.iter().find(|layer| layer.name == name);
        assert_eq!(layer.map(|layer| layer.status), Some(LayerStatus::Active), "{name}: {report:?}");
    }
    assert!(report.iter().any(|layer| layer.name == "landlock"), "{report:?}");

    let (end, out, err) = run(
        &init,
        &["sh", "-c", "id -u; pwd; echo $$; ls /; ls /proc | grep -c '^[0-9]'; cat /proc/self/status"],
    );
    assert!(matches!(end, FromInit::Ended { exit_code: Some(0), .. }), "{end:?} {out} {err}");
    assert!(out.starts_with("1000\n/scratch\n2\n"), "{out}");
    for line in [
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "SigIgn:\t0000000000000000",
    ] {
        assert!(out.contains(line), "{line} in {out}");
    }
    let (end, _, _) = run(&init, &["no-such-program"]);
    assert!(matches!(&end, FromInit::Failed(failure) if failure.errno == 2), "{end:?}");
    let (end, _, _) = run(&init, &["sh", "-c", "kill -9 $$"]);
    assert!(matches!(end, FromInit::Ended { signal: Some(9), .. }), "{end:?}");
    let (end, _, _) = run(&init, &["sh", "-c", "kill -9 1; kill -9 -1; exit 3"]);
    assert!(matches!(end, FromInit::Ended { .. }), "{end:?}");

    host.end();
    let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).unwrap(), 1);
}

/// What of the machine a command sees and may change, as a shell sees it: one word per question.
const QUESTIONS: &str = "\
    cat /proc/sys/user/max_user_namespaces
    (echo x > /proc/sys/kernel/hostname) 2>/dev/null && echo wrote || echo read-only
    grep -q . /proc/interrupts && echo shown || echo masked
    unshare -U true 2>/dev/null && echo nested || echo refused
    test -e /dev/ptmx && ls /dev/pts | tr '\\n' ' '; echo
    ls /dev | tr '\\n' ' '; echo";

#[test]
fn proc_is_masked_and_dev_is_our_own() {
    let host = Host::start(CgroupPlan::default());
    let (_pidfd, init, _) = host.create(plain(1)).unwrap_or_else(|failure| panic!("{failure:?}"));
    let (_, out, err) = run(&init, &["sh", "-c", QUESTIONS]);
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    assert_eq!(lines[..5], ["0", "read-only", "masked", "refused", "ptmx"], "{out}{err}");
    assert_eq!(
        lines[5], "fd full mqueue null ptmx pts random shm stderr stdin stdout urandom zero",
        "{out}{err}"
    );
    host.end();
}

#[test]
fn a_layer_that_is_off_is_reported_missing_and_is_off() {
    let host = Host::start(CgroupPlan::default());
    let off: Vec<String> = OPTIONAL_LAYERS.map(str::to_owned).into();
    let (_pidfd, init, report) =
        host.create(Create { off, ..plain(1) }).unwrap_or_else(|failure| panic!("{failure:?}"));
    for name in OPTIONAL_LAYERS {
        let layer = report.iter().find(|layer| layer.name == name);
        assert_eq!(layer.map(|layer| layer.status), Some(LayerStatus::Missing), "{name}: {report:?}");
    }
    let (_, out, err) = run(&init, &["sh", "-c", QUESTIONS]);
    let lines: Vec<&str> = out.lines().map(str::trim).collect();
    // The controls of the test above. The setting is still not writable: it is the host's root's.
    assert_ne!(lines[0], "0", "{out}{err}");
    assert_eq!(lines[2..4], ["shown", "nested"], "{out}{err}");
    let (_, out, _) = run(&init, &["grep", "Seccomp:", "/proc/self/status"]);
    assert_eq!(out, "Seccomp:\t0\n");
    host.end();
}

#[test]
fn a_failed_create_names_the_step_and_the_next_one_works() {
    let host = Host::start(CgroupPlan::default());
    let failure =
        host.create(Create { root: Root::Directory(b"/no/such/dir".to_vec()), ..plain(1) }).unwrap_err();
    assert!(failure.step.contains("/no/such/dir") && failure.errno == 2, "{failure:?}");
    let bind = Bind { source: b"/usr".to_vec(), target: b"/usr/no/such".to_vec(), writable: false };
    let failure = host.create(Create { binds: vec![bind], ..plain(2) }).unwrap_err();
    assert!(failure.step.contains("/usr/no/such"), "{failure:?}");
    let runtime = Runtime { args: vec![b"/usr/bin/false".to_vec()], env: Vec::new(), forks: false };
    let failure = host.create(Create { runtime: Some(runtime), ..plain(3) }).unwrap_err();
    assert!(failure.step.contains("runtime"), "{failure:?}");
    let hangs =
        Runtime { args: vec![b"/usr/bin/sleep".to_vec(), b"60".to_vec()], env: Vec::new(), forks: false };
    let failure = host.create(Create { runtime: Some(hangs), deadline_ms: 300, ..plain(4) }).unwrap_err();
    assert!(failure.step.contains("deadline"), "{failure:?}");
    host.create(plain(5)).unwrap_or_else(|failure| panic!("{failure:?}"));
    host.end();
}

#[test]
fn removing_answers_for_known_and_unknown_sandboxes_alike() {
    let host = Host::start(CgroupPlan::default());
    // Held, because without its socket the init would end, and the keeper say so.
    let _init = host.create(plain(1)).unwrap_or_else(|failure| panic!("{failure:?}"));
    for id in [1, 1, 99] {
        send(&host.socket, &ToKeeper::Remove { id }, &[]).unwrap();
        let (answer, _) = receive::<FromKeeper>(&host.socket).unwrap();
        assert!(
            matches!(answer, FromKeeper::Removed { id: removed, leftovers: None } if removed == id),
            "{answer:?}"
        );
    }
    host.end();
}
