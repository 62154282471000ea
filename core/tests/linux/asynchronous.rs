//! Asynchronous calls into real sandboxes.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Command, Config, GetOptions, SandboxSet, SandboxSpec};

use crate::support::{HANG, sandbox};

#[test]
fn a_dropped_exec_kills_its_command_and_its_sandbox_is_not_used_again() {
    let Some(possible) = sandbox() else { return };
    drop(possible);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let set = SandboxSet::new(
        Arc::new(backend),
        SandboxSpec::default(),
        Config { max_size: 1, ..Config::default() },
    )
    .unwrap();
    let sandbox = runtime.block_on(set.get_or_create_unpaused_async(GetOptions::default())).unwrap();
    let output = runtime.block_on(sandbox.exec_async(Command::new(["echo", "here"]))).unwrap();
    assert_eq!(output.stdout.text(), "here\n");

    let mut command = Command::new(["sh", "-c", "echo > started; sleep 1000"]);
    command.timeout = 10 * HANG;
    let start = Instant::now();
    {
        let mut exec = pin!(sandbox.exec_async(command));
        assert!(exec.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // Looking for it must not fail, or it would taint the ref as well.
        while sandbox.list_dir(Path::new("."), 10).unwrap().is_empty() {
            assert!(start.elapsed() < HANG, "the command never starts");
            std::thread::yield_now();
        }
        assert!(exec.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    let names = || sandbox.exec(&Command::new(["sh", "-c", "cat /proc/[0-9]*/comm"])).unwrap().stdout.text();
    while names().lines().any(|name| name == "sleep") {
        assert!(start.elapsed() < 2 * HANG, "the command was not killed");
    }
    let id = sandbox.id();
    sandbox.put().unwrap();
    let next = runtime.block_on(set.get_or_create_unpaused_async(GetOptions::default())).unwrap();
    assert_ne!(next.id(), id);
    drop(next);
    let report = runtime.block_on(set.close_async(HANG)).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
}
