//! Host processes that are killed, with what they have at that moment.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset_keeper::Owner;
use sandboxset_tests::census::{Census, Scope};
use sandboxset_tests::chaos;

use crate::PROGRAM;
use crate::checks::{HANG, Host, bomb, create, limits};

/// Has a paused sandbox, one that runs a bomb, a paused one with a bomb, and an idle one; says so, and waits.
pub(crate) fn victim() {
    println!("{}", Owner::current().unwrap());
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let sandboxes: Vec<_> = (0..4).map(|_| create(&backend, limits())).collect();
    let _bombs = (bomb(&*sandboxes[1]), bomb(&*sandboxes[2]));
    sandboxes[0].pause().unwrap();
    sandboxes[2].pause().unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// The next host process of the same user, whose keeper removes what earlier ones left.
pub(crate) fn successor() {
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    create(&backend, limits()).destroy().unwrap();
}

/// A victim that is ready to be killed.
fn start() -> (Child, BufReader<ChildStdout>, Scope) {
    let mut child = Command::new(PROGRAM).arg0("victim").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    };
    let scope = Scope::of(&line());
    assert_eq!(line(), "ready");
    (child, output, scope)
}

/// The control: while it lives, the same census sees what there is to leave. It also remembers it.
fn expect_much(host: &Host, scope: &Scope) {
    let there = scope.take();
    assert!(there.processes.len() > 16, "{there:?}");
    assert_eq!(there.cgroups.is_empty(), !host.actor.has_cgroups(), "{:?}", there.cgroups);
}

/// Without its keeper a sandbox is dead, and says so, also when it is paused; the next one has a new keeper.
pub(crate) fn keeper_killed(host: &mut Host) {
    let sandboxes = [create(&host.backend, limits()), create(&host.backend, limits())];
    sandboxes[0].pause().unwrap();
    assert!(sandboxes.iter().all(|sandbox| sandbox.death().is_none()));
    let keepers = host.scope.keepers();
    assert_eq!(keepers.len(), 1);
    assert!(chaos::kill(keepers[0]));
    let deadline = Instant::now() + HANG;
    while sandboxes.iter().any(|sandbox| sandbox.death().is_none()) {
        assert!(Instant::now() < deadline, "a sandbox outlives its keeper");
        std::thread::sleep(Duration::from_millis(10));
    }
    sandboxes.iter().for_each(|sandbox| sandbox.destroy().unwrap());
    create(&host.backend, limits()).destroy().unwrap();
}

pub(crate) fn host_killed(host: &mut Host) {
    let (mut child, _output, scope) = start();
    expect_much(host, &scope);
    child.kill().unwrap();
    child.wait().unwrap();
    scope.assert_settles(&Census::default());
}

/// With nobody left to clean up, the processes end by themselves, and the next keeper removes their cgroups.
pub(crate) fn host_and_keeper_killed(host: &mut Host) {
    let (mut child, _output, scope) = start();
    expect_much(host, &scope);
    let keepers = scope.keepers();
    assert_eq!(keepers.len(), 1);
    // A keeper that sees its host die cleans up and ends; it must not come to that.
    assert!(chaos::stop(keepers[0]));
    child.kill().unwrap();
    assert!(chaos::kill(keepers[0]));
    child.wait().unwrap();
    let left = scope.take();
    assert_eq!(left.cgroups.is_empty(), !host.actor.has_cgroups(), "{:?}", left.cgroups);
    let status = Command::new(PROGRAM).arg0("successor").status().unwrap();
    assert!(status.success());
    scope.assert_settles(&Census::default());
}
