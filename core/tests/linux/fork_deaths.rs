//! What becomes of forks when their parent dies or stands still: while some wait, and while one is under way.

use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Command, ErrorCode, SandboxSpec, ScratchDirs};

use crate::fork_support::{SOON, Server, ask, child_spec, fork, parent, request, server_spec, signal_server};
use crate::support::{HANG, TestSandbox, eventually, sandbox_from, shell, skip};

/// What happens to a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Destroyed,
    Killed,
    /// Its server uses all the memory that it may.
    OutOfMemory,
    Paused,
    Stopped,
}

const FATES: [Fate; 5] = [Fate::Destroyed, Fate::Killed, Fate::OutOfMemory, Fate::Paused, Fate::Stopped];

impl Fate {
    fn befall(self, parent: &TestSandbox) {
        match self {
            Fate::Destroyed => parent.destroy().unwrap(),
            // The command may well end with the sandbox that it is in.
            Fate::Killed => drop(parent.exec(&shell("kill -KILL 2"))),
            Fate::OutOfMemory => signal_server(parent, "USR2"),
            Fate::Paused => parent.pause().unwrap(),
            Fate::Stopped => signal_server(parent, "STOP"),
        }
    }

    fn is_death(self) -> bool {
        !matches!(self, Fate::Paused | Fate::Stopped)
    }

    /// How long a fork may take: who stands still says nothing until the deadline.
    fn time(self) -> Duration {
        if self.is_death() { HANG } else { SOON }
    }

    fn expects(self, code: ErrorCode) -> bool {
        match self.is_death() {
            true => matches!(code, ErrorCode::ForkFailed | ErrorCode::SandboxDead),
            false => code == ErrorCode::Timeout,
        }
    }
}

/// A parent below which forks wait.
fn with_forks_waiting() -> Option<TestSandbox> {
    let server = Server::new()?;
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let spec = server_spec(Some(&server), &["/code/leaky_zygote"]);
    let parent = sandbox_from(backend, spec, ScratchDirs::Tmpfs)?;
    drop(fork(&parent, child_spec()));
    eventually("they wait", || parent.backend.shells().unwrap().ready == 2);
    Some(parent)
}

/// Everything else works, and nothing waits any more below a parent that is gone.
fn check_neighbours(parent: &TestSandbox, fate: Fate) {
    if fate.is_death() {
        eventually("it is dead", || parent.death().is_some());
        eventually("nothing waits", || parent.backend.shells().unwrap().ready == 0);
    }
    let other = sandbox_from(parent.backend.clone(), SandboxSpec::default(), ScratchDirs::Tmpfs);
    assert!(other.unwrap().exec(&Command::new(["/bin/true"])).unwrap().success());
}

#[test]
fn a_fork_of_a_parent_that_is_gone_or_stands_still_is_an_error_though_some_wait() {
    for fate in FATES {
        let Some(parent) = with_forks_waiting() else { return };
        if fate == Fate::OutOfMemory && !parent.backend_has_cgroups() {
            skip("no cgroup limits memory");
            continue;
        }
        fate.befall(&parent);
        if fate == Fate::Paused {
            // Those that wait are whole, and need nothing of a parent that nobody has used.
            let waited = [(); 2].map(|()| fork(&parent, child_spec()));
            assert!(waited.iter().all(|child| ask(&*child.sandbox, "state") == "p 1"));
        }
        let start = Instant::now();
        let error = parent.fork(&request(child_spec(), fate.time())).err().expect("no fork");
        assert!(fate.expects(error.code()), "{fate:?}: {error}");
        assert!(start.elapsed() < fate.time() + HANG / 4, "{fate:?}: {:?}", start.elapsed());
        check_neighbours(&parent, fate);
    }
}

#[test]
fn a_fork_under_way_ends_when_its_parent_does_or_its_time_is_over() {
    for fate in FATES {
        let Some(parent) = with_forks_waiting() else { return };
        if fate == Fate::OutOfMemory && !parent.backend_has_cgroups() {
            skip("no cgroup limits memory");
            continue;
        }
        // A server that stands still cannot be filled with memory; one that fills it hears nobody.
        if fate != Fate::OutOfMemory {
            signal_server(&parent, "STOP");
        }
        std::thread::scope(|scope| {
            let parent = &parent;
            let fork = || parent.fork(&request(child_spec(), fate.time())).err();
            if fate == Fate::OutOfMemory {
                fate.befall(parent);
            }
            let forking = scope.spawn(fork);
            if fate != Fate::OutOfMemory {
                eventually("it is under way", || parent.backend.shells().unwrap().ready == 0);
                fate.befall(parent);
            }
            let error = forking.join().unwrap().expect("no fork");
            assert!(fate.expects(error.code()), "{fate:?}: {error}");
        });
        check_neighbours(&parent, fate);
    }
}

#[test]
fn what_stood_still_can_be_forked_when_it_goes_on() {
    let Some(parent) = with_forks_waiting() else { return };
    for _ in 0..2 {
        parent.pause().unwrap();
        // Until nothing waits any more; more than 16 never do.
        let forks = (0..=16).map(|_| parent.fork(&request(child_spec(), SOON)));
        let error = forks.filter_map(Result::err).next().expect("no fork");
        assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
        parent.unpause().unwrap();
        assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");
    }
}

#[test]
fn a_child_outlives_what_stands_still_and_not_what_dies() {
    let Some(parent) = parent() else { return };
    let child = fork(&parent, child_spec());
    parent.pause().unwrap();
    assert_eq!(ask(&*child.sandbox, "state"), "p 1");
    parent.unpause().unwrap();
    Fate::Killed.befall(&parent);
    eventually("its child is dead", || child.death().is_some());
}
