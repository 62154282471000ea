//! Hosts that end in every way, or live in an unusual one.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use sandboxset_tests::census::{Census, Scope};
use sandboxset_tests::machine::is_root;

use crate::{HANG, alone, skip};

pub(crate) const ODD_HOST: &str = env!("CARGO_BIN_EXE_odd_host");

/// A host, and what it said.
pub(crate) struct Host {
    child: Child,
    pub(crate) scope: Scope,
    output: BufReader<std::process::ChildStdout>,
}

impl Host {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let owner = line.trim().strip_prefix("owner ").unwrap_or_else(|| panic!("it said {line:?}"));
        Host { child, scope: Scope::of(owner), output }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < HANG, "the host does not end");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Host {
    /// Sends a signal to it alone.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn odd(what: &str) -> Command {
    let mut command = Command::new(ODD_HOST);
    command.arg(what);
    command
}

#[test]
fn however_it_ends_nothing_is_left() {
    let _alone = alone();
    for (how, code) in [
        ("returns", Some(0)),
        ("exits", Some(0)),
        ("exits elsewhere", Some(0)),
        ("aborts", None),
        ("panics", Some(101)),
    ] {
        let mut command = odd(how);
        command.stderr(Stdio::null());
        let mut host = Host::start(command);
        assert_eq!(host.line(), "busy");
        assert_eq!(host.wait().code(), code, "{how}");
        host.scope.assert_settles(&Census::default());
    }
}

#[test]
fn a_host_that_becomes_another_program_leaves_nothing_to_it() {
    let _alone = alone();
    let mut host = Host::start(odd("becomes another program"));
    assert_eq!(host.line(), "busy");
    host.scope.assert_settles(&Census::default());
    assert!(host.child.try_wait().unwrap().is_none(), "the other program lives on");
}

#[test]
fn ends_of_commands_are_right_whatever_the_host_does_with_its_own_children() {
    let _alone = alone();
    // What is ignored stays ignored in the program that is executed.
    for signals in ["CHLD", "HUP INT QUIT PIPE ALRM TERM USR1 USR2 CHLD TSTP TTIN TTOU WINCH"] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("trap '' {signals}; exec {ODD_HOST} counts")]);
        let mut host = Host::start(shell);
        assert_eq!(host.line(), "finished", "{signals}");
        assert!(host.wait().success(), "{signals}");
        host.scope.assert_settles(&Census::default());
    }
    let mut host = Host::start(odd("reaps"));
    assert_eq!(host.line(), "finished");
    assert!(host.wait().success());
    host.scope.assert_settles(&Census::default());
}

#[test]
fn as_process_1_of_a_container_it_keeps_no_zombies() {
    let _alone = alone();
    if !is_root() {
        return skip("only root can make a pid namespace alone");
    }
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", ODD_HOST, "restarts"]);
    let mut host = Host::start(command);
    assert_eq!(host.line(), "finished as process 1");
    assert!(host.wait().success());
}
