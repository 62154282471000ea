//! Forks that wait, and what can become of them, of their parent and of others meanwhile.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandboxset::{CancelToken, ErrorCode, ScratchDirs};

use crate::fork_support::{SOON, Server, ask, child_spec, fork, parent_of, refused, request, server_spec};
use crate::shells::{OwnKeeper, end};
use crate::support::{HANG, TestSandbox, eventually, sandbox_from, skip};

/// The processes of a fork server that are so many process id namespaces below ours: it in the first, in the second
/// those of its forks. Found from outside, so that nobody uses the parent.
fn processes(keeper: &OwnKeeper, program: &str, depth: usize) -> Vec<Pid> {
    let own = keeper.0.file_name().unwrap().to_str().unwrap();
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let status = |pid: &str| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let process = status(&pid.to_string());
        let init = field(&process, "PPid:").first().map(|pid| status(pid)).unwrap_or_default();
        field(&process, "Name:") == [program]
            && field(&init, "Name:") == [own]
            && field(&process, "NSpid:").len() == depth + 1
    })
    .filter_map(Pid::from_raw)
    .collect()
}

fn await_ready(parent: &TestSandbox, count: usize) {
    let is_enough = |ready| if count == 0 { ready == 0 } else { ready >= count };
    eventually("they wait", || is_enough(parent.backend.shells().unwrap().ready));
}

/// A parent below which two forks wait.
fn with_two_waiting(keeper: &OwnKeeper) -> Option<TestSandbox> {
    let parent = parent_of(keeper.options(), "/code/zygote")?;
    drop(fork(&parent, child_spec()));
    await_ready(&parent, 2);
    Some(parent)
}

fn assert_works(child: &TestSandbox) {
    assert_eq!(ask(&*child.sandbox, "state"), "p 1");
}

#[test]
fn what_waits_needs_no_parent_that_runs() {
    let keeper = OwnKeeper::new("wait-stop");
    let Some(parent) = with_two_waiting(&keeper) else { return };
    let [server] = processes(&keeper, "zygote", 1)[..] else { panic!("one server") };
    assert_eq!(processes(&keeper, "zygote", 2).len(), 2, "each has its process");
    kill_process(server, Signal::STOP).unwrap();
    let children = [(); 2].map(|()| fork(&parent, child_spec()));
    children.iter().for_each(assert_works);
    // The next would have to be forked.
    assert_eq!(refused(&parent, SOON).code(), ErrorCode::Timeout);
    kill_process(server, Signal::CONT).unwrap();
    assert_works(&fork(&parent, child_spec()));
}

#[test]
fn who_dies_while_it_waits_is_replaced() {
    let keeper = OwnKeeper::new("wait-die");
    let Some(parent) = with_two_waiting(&keeper) else { return };
    let waiting = processes(&keeper, "zygote", 2);
    waiting.into_iter().for_each(end);
    await_ready(&parent, 0);
    assert_works(&fork(&parent, child_spec()));
    await_ready(&parent, 2);
    assert_works(&fork(&parent, child_spec()));

    // At rest its init cannot see it; who is given one is given another.
    parent.settle(&CancelToken::new());
    let waiting = processes(&keeper, "zygote", 2);
    assert!(waiting.len() >= 2, "{waiting:?}");
    waiting.into_iter().for_each(end);
    assert_works(&fork(&parent, child_spec()));
    assert!(parent.death().is_none());
}

#[test]
fn who_waited_is_charged_for_what_it_uses_and_its_parent_is_not() {
    let keeper = OwnKeeper::new("wait-charge");
    let Some(parent) = with_two_waiting(&keeper) else { return };
    if !parent.backend_has_cgroups() {
        return skip("no cgroups");
    }
    let child = fork(&parent, child_spec());
    let own = child.usage().unwrap();
    assert!(own.pids == 2 && own.memory_bytes > 0, "{own:?}");
    // What it uses from here on is not its parent's.
    let before = parent.usage().unwrap().memory_bytes;
    assert_eq!(ask(&*child.sandbox, "use 16"), "1");
    assert!(child.usage().unwrap().peak_memory_bytes >= 16 << 20);
    assert!(parent.usage().unwrap().memory_bytes < before + (8 << 20));
}

/// How long is waited for something that must not happen.
const A_WHILE: Duration = Duration::from_millis(200);

#[test]
fn a_server_whose_forks_do_not_wait_harms_its_own_only() {
    for mode in ["leave", "leave-at-once", "speak", "speak-at-once", "deny"] {
        let keeper = OwnKeeper::new("wait-not");
        let Some(neighbour) = with_two_waiting(&keeper) else { return };
        let Some(server) = Server::new() else { return };
        let spec = server_spec(Some(&server), &["/code/restless_zygote", mode]);
        let hostile = sandbox_from(neighbour.backend.clone(), spec, ScratchDirs::Tmpfs).unwrap();
        for _ in 0..3 {
            match hostile.fork(&request(child_spec(), HANG)) {
                // What is waited for is not asked to wait.
                Ok(child) => assert_eq!(ask(&*child, "state"), "p 1", "{mode}"),
                Err(error) => assert_eq!(error.code(), ErrorCode::ForkFailed, "{mode}: {error}"),
            }
            // Nobody else's are dropped for it.
            std::thread::sleep(A_WHILE);
            assert!(neighbour.backend.shells().unwrap().ready >= 2, "{mode}");
        }
        eventually("none of its forks waits", || {
            processes(&keeper, "restless_zygote", 2).is_empty()
                && neighbour.backend.shells().unwrap().ready == 2
        });
        assert!(hostile.death().is_none(), "{mode}");
        assert_works(&fork(&neighbour, child_spec()));
    }
}
