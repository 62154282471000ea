//! What cannot end keeps nobody waiting but whoever asked for its end.
#![cfg(feature = "binary")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;

use sandboxset_keeper::*;

use crate::host::{Host, plain};

/// A directory with a fork server, removed with the test.
struct Server(PathBuf);

impl Server {
    /// Compiles it; `None` if there is no compiler.
    fn new(test: &str) -> Option<Self> {
        let server = Server(std::env::temp_dir().join(format!("{test}-{}", std::process::id())));
        fs::create_dir(&server.0).unwrap();
        for (name, text) in [
            ("sandboxset_zygote.h", include_str!("../../../include/sandboxset_zygote.h")),
            ("zygote.c", include_str!("host/zygote.c")),
        ] {
            fs::write(server.0.join(name), text).unwrap();
        }
        let compiled = std::process::Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "zygote.c", "-o", "zygote"])
            .current_dir(&server.0)
            .stdin(Stdio::null())
            .status();
        let Ok(status) = compiled else {
            // Past the test harness, which swallows what a passing test prints.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: no C compiler for the fork server");
            return None;
        };
        assert!(status.success());
        Some(server)
    }

    /// A parent; the forks of one that clings do not end before it does.
    fn parent(&self, id: u64, how: &str) -> Create {
        let args = vec![b"/code/zygote".to_vec(), how.into()];
        Create {
            code_dir: Some(self.0.to_str().unwrap().into()),
            runtime: Some(Runtime { args, env: Vec::new(), forks: true }),
            ..plain(id)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fork(id: u64, parent: u64) -> Create {
    let runtime = Some(Runtime { args: Vec::new(), env: Vec::new(), forks: false });
    let shells = Shells { backend: 0, ready: Some(0) };
    Create { runtime, parent: Some(parent), shells, ..plain(id) }
}

fn tell(host: &Host, message: &ToKeeper) {
    send(&host.socket, message, &[]).unwrap();
}

/// Answers what came with it, too, with which a sandbox ends.
fn hear(host: &Host) -> (FromKeeper, Vec<OwnedFd>) {
    receive(&host.socket).unwrap()
}

/// The children of a process, by its pidfd.
fn children(pidfd: &OwnedFd) -> BTreeSet<String> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(str::to_owned).collect()
}

const PARENT: u64 = 1;
const FORKS: [u64; 2] = [2, 3];

/// A parent that clings to its two forks, and what they all live by.
fn clinging(server: &Server) -> (Host, Vec<OwnedFd>) {
    let host = Host::start(CgroupPlan::default());
    let creates = [server.parent(PARENT, "clings"), fork(FORKS[0], PARENT), fork(FORKS[1], PARENT)];
    let created = creates.map(|create| host.create(create).unwrap_or_else(|failure| panic!("{failure:?}")));
    (host, created.into_iter().flat_map(|(pidfd, init, _)| [pidfd, init]).collect())
}

fn remove(host: &Host, ids: &[u64]) {
    ids.iter().for_each(|&id| tell(host, &ToKeeper::Remove { id }));
}

/// Whether it says that this one is still there.
fn survives(answer: &FromKeeper) -> bool {
    matches!(answer, FromKeeper::Removed { leftovers: Some(what), .. } if what.contains("cannot be killed"))
}

#[test]
fn others_are_served_while_what_cannot_end_is_removed() {
    const OTHER: u64 = 4;
    let Some(server) = Server::new("others") else { return };
    // A keeper that waits for the removals has always answered them before it hears of what comes behind them. One that
    // does not wait is overtaken by them if a create takes seconds, which it hardly does again and again.
    let is_served_first = || {
        let (host, fds) = clinging(&server);
        remove(&host, &FORKS);
        tell(&host, &ToKeeper::Create(Box::new(plain(OTHER))));
        let answers = [(); 3].map(|()| hear(&host));
        // The control: they really do not end.
        assert_eq!(answers.iter().filter(|(answer, _)| survives(answer)).count(), 2, "{answers:?}");
        drop(fds);
        host.end();
        matches!(answers[0].0, FromKeeper::Created { id: OTHER, .. })
    };
    assert!((0..5).any(|_| is_served_first()), "the keeper waits for what cannot end");
}

#[test]
fn what_a_parent_keeps_from_ending_ends_with_it_and_there_is_no_more_of_it() {
    let Some(server) = Server::new("clings") else { return };
    let (host, _fds) = clinging(&server);
    remove(&host, &FORKS);
    for _ in FORKS {
        let (answer, _) = hear(&host);
        assert!(survives(&answer), "{answer:?}");
    }
    tell(&host, &ToKeeper::Create(Box::new(fork(4, PARENT))));
    let (answer, _) = hear(&host);
    assert!(matches!(answer, FromKeeper::ForkFailed { id: 4, .. }), "{answer:?}");
    // Who asks again is told when it is gone, and also if it is already.
    remove(&host, &[FORKS[0], PARENT]);
    let gone = [(); 2].map(|()| hear(&host).0);
    remove(&host, &[FORKS[1]]);
    for answer in gone.into_iter().chain([hear(&host).0]) {
        assert!(matches!(answer, FromKeeper::Removed { leftovers: None, .. }), "{answer:?}");
    }
    host.end();
}

#[test]
fn what_is_removed_before_it_is_born_leaves_nothing() {
    let Some(server) = Server::new("unborn") else { return };
    let host = Host::start(CgroupPlan::default());
    let (parent, _init, _) =
        host.create(server.parent(PARENT, "")).unwrap_or_else(|failure| panic!("{failure:?}"));
    let before = children(&parent);
    for id in 2..40 {
        tell(&host, &ToKeeper::Create(Box::new(fork(id, PARENT))));
        tell(&host, &ToKeeper::Remove { id });
        let (answer, _) = hear(&host);
        assert!(
            matches!(answer, FromKeeper::Removed { id: removed, leftovers: None } if removed == id),
            "{answer:?}"
        );
    }
    assert_eq!(children(&parent), before);
    host.end();
}
