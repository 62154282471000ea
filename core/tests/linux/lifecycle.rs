//! Pausing, dying, and leaving nothing behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, CreateRequest, ErrorCode, LayerStatus, Limits, Outcome, SandboxId, SandboxSpec,
    ScratchDirs,
};

use crate::support::{
    HANG, TestSandbox, cgroups, eventually, keeper_of, sandbox, sandbox_from, sandbox_of, sh, shell, skip,
};

#[test]
fn a_paused_sandbox_makes_no_progress_and_then_goes_on() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = shell(
        "i=0; while :; do i=$((i+1)); echo $i > /scratch/count.new; mv /scratch/count.new /scratch/count; done",
    );
    command.timeout = HANG;
    let process = sandbox.spawn(&command).unwrap();
    // Not read through the init, which would be paused too: the tmpfs is the sandbox's, the count is not wanted
    // while paused, so CPU time tells.
    let cpu = || sandbox.usage().unwrap().cpu;
    if !sandbox.backend_has_cgroups() {
        skip("no cgroup v2 tree: CPU time of a paused sandbox cannot be seen from outside");
        return;
    }
    eventually("it makes progress", || cpu() > Duration::from_millis(20));
    for _ in 0..20 {
        sandbox.pause().unwrap();
        // The last time slices are accounted a moment after the freeze; on a busy machine more than one is.
        let mut paused_at = cpu();
        eventually("the last slices are accounted", || std::mem::replace(&mut paused_at, cpu()) == paused_at);
        std::thread::sleep(Duration::from_millis(20));
        assert!(cpu() - paused_at < Duration::from_millis(1), "CPU time was used while paused");
        sandbox.unpause().unwrap();
        eventually("it makes progress again", || cpu() > paused_at + Duration::from_millis(1));
    }
    sandbox.pause().unwrap();
    sandbox.pause().unwrap();
    sandbox.unpause().unwrap();
    sandbox.unpause().unwrap();
    assert!(sandbox.read_file("count".as_ref(), 100).is_ok());
    process.kill().unwrap();
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(9));
}

#[test]
fn destroy_ends_everything_also_what_is_paused_and_calls_that_wait() {
    let Some(sandbox) = sandbox() else { return };
    assert_eq!(sandbox.death(), None);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let mut command = Command::new(["sleep", "1000"]);
            command.timeout = HANG * 10;
            sandbox.exec(&command)
        });
        eventually("the command runs", || {
            sandbox.usage().unwrap().pids != 1 || !sandbox.backend_has_cgroups()
        });
        sandbox.pause().unwrap();
        sandbox.destroy().unwrap();
        assert_eq!(call.join().unwrap().unwrap_err().code(), ErrorCode::SandboxDead);
    });
    assert!(sandbox.death().is_some());
    sandbox.destroy().unwrap();
    assert_eq!(sandbox.exec(&Command::new(["true"])).unwrap_err().code(), ErrorCode::SandboxDead);
    assert_eq!(sandbox.usage().unwrap_err().code(), ErrorCode::SandboxDead);
    let left: Vec<_> =
        cgroups().into_iter().filter(|dir| dir.ends_with(sandbox.id.get().to_string())).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_dead_keeper_means_dead_sandboxes_and_the_next_create_starts_a_new_one() {
    let disk = std::env::temp_dir().join(format!("linux-keeper-{}", std::process::id()));
    std::fs::create_dir(&disk).unwrap();
    // A copy of the program makes a keeper of our own, so that the other tests keep theirs.
    let copy = disk.join(format!("keeper-{}", std::process::id()));
    std::fs::copy(crate::support::embedded_keeper(), &copy).unwrap();
    let backend =
        LinuxBackend::new(LinuxOptions { keeper: Some(copy.clone()), ..LinuxOptions::default() }).unwrap();
    for _ in 0..5 {
        let scratch = ScratchDirs::Disk(disk.clone());
        let Some(sandbox) = sandbox_from(backend.clone(), SandboxSpec::default(), scratch) else { break };
        let host_dir = sandbox.host_scratch_dir().unwrap();
        assert!(sh(&sandbox, "mkdir -p /scratch/a/b; touch /scratch/a/b/c").success());
        assert!(host_dir.join("a/b/c").exists());
        let mut command = Command::new(["sleep", "1000"]);
        command.timeout = HANG * 10;
        let Some(keeper) = keeper_of(&copy) else {
            // Kernels before 6.14 name a process executed by its descriptor after that.
            skip("this kernel does not tell which process is the keeper");
            break;
        };
        std::thread::scope(|scope| {
            let call = scope.spawn(|| sandbox.exec(&command));
            rustix::process::kill_process(keeper, rustix::process::Signal::KILL).unwrap();
            let error = call.join().unwrap().unwrap_err();
            assert_eq!(error.code(), ErrorCode::SandboxDead, "{error}");
        });
        eventually("the death is known", || sandbox.death().is_some());
        assert_eq!(sandbox.exec(&command).unwrap_err().code(), ErrorCode::SandboxDead);
        sandbox.destroy().unwrap();
        assert!(!host_dir.exists());
    }
    drop(backend);
    std::fs::remove_file(&copy).unwrap();
    std::fs::remove_dir(&disk).unwrap();
}

#[test]
fn a_sandbox_that_cannot_be_made_leaves_nothing_and_says_why() {
    let Some(sandbox) = sandbox() else { return };
    let create = |spec: SandboxSpec, deadline| {
        let id = SandboxId::next();
        let request = CreateRequest { id, spec: Arc::new(spec), scratch: ScratchDirs::Tmpfs, deadline };
        let error = sandbox.backend.create(&request).err().expect("a failed create");
        eventually("its cgroups are gone", || {
            !cgroups().iter().any(|dir| dir.ends_with(id.get().to_string()))
        });
        error
    };
    let mut spec =
        SandboxSpec { runtime: Some(sandboxset::Runtime::new(["/nonexistent"])), ..SandboxSpec::default() };
    let error = create(spec.clone(), Instant::now() + HANG);
    assert_eq!(error.code(), ErrorCode::CreateFailed, "{error}");
    spec.runtime = Some(sandboxset::Runtime::new(["sleep", "1000"]));
    let error = create(spec.clone(), Instant::now() + Duration::from_millis(300));
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    spec.runtime.as_mut().unwrap().ready_timeout = Duration::from_millis(200);
    let error = create(spec, Instant::now() + HANG);
    assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
    let gone = Bind { source: "/nonexistent".into(), target: "/mnt/gone".into(), writable: false };
    let error = create(SandboxSpec { binds: vec![gone], ..SandboxSpec::default() }, Instant::now() + HANG);
    assert_eq!(error.code(), ErrorCode::CreateFailed, "{error}");
    assert!(error.message().contains("No such file"), "{error}");
    assert_eq!(create(SandboxSpec::default(), Instant::now()).code(), ErrorCode::Timeout);
}

#[test]
fn the_memory_limit_ends_what_reaches_it_and_nothing_else() {
    let limits = Limits { memory_bytes: 32 << 20, ..Limits::default() };
    let Some(sandbox) = sandbox_of(SandboxSpec { limits, ..SandboxSpec::default() }, ScratchDirs::Tmpfs)
    else {
        return;
    };
    if is_active(&sandbox, "memory") {
        let output = sh(&sandbox, "exec dd if=/dev/zero of=/dev/null bs=200M count=1");
        assert_eq!(output.outcome, Outcome::OutOfMemory, "{output:?}");
        // A shell that outlives its killed child and reports it.
        assert_eq!(
            sh(&sandbox, "dd if=/dev/zero of=/dev/null bs=200M count=1; exit 5").outcome,
            Outcome::OutOfMemory
        );
    } else {
        skip("no memory cgroup");
    }
    assert_eq!(sh(&sandbox, "exit 5").outcome, Outcome::Exited(5));
    let usage = sandbox.usage().unwrap();
    assert!(usage.wall > Duration::ZERO);
    assert!(usage.peak_memory_bytes > 0 || !is_active(&sandbox, "memory"));
}

#[test]
fn a_fork_bomb_is_bounded_and_ends_with_its_command() {
    // With enough memory for what the kernel has not freed yet of those that ended.
    let limits = Limits { pids: 16, ..Limits::default() };
    let Some(sandbox) = sandbox_of(SandboxSpec { limits, ..SandboxSpec::default() }, ScratchDirs::Tmpfs)
    else {
        return;
    };
    let mut bomb = shell("bomb() { bomb | bomb & }; (bomb) & while :; do :; done");
    bomb.timeout = Duration::from_millis(500);
    bomb.grace = Duration::ZERO;
    assert_eq!(sandbox.exec(&bomb).unwrap().outcome, Outcome::TimedOut);
    if is_active(&sandbox, "pids") {
        eventually("only the init is left", || sandbox.usage().unwrap().pids == 1);
        assert!(
            !sh(&sandbox, "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do sleep 5 & done").success()
        );
    } else {
        skip("no pids cgroup");
    }
    assert!(sh(&sandbox, "true").success());
}

fn is_active(sandbox: &TestSandbox, layer: &str) -> bool {
    let report = sandbox.backend.isolation_report();
    report.layer(layer).is_some_and(|layer| layer.status == LayerStatus::Active)
}

#[test]
fn the_report_has_every_layer_before_and_after_the_first_create() {
    let names = [
        "namespace.user",
        "namespace.mount",
        "namespace.pid",
        "namespace.ipc",
        "namespace.uts",
        "namespace.cgroup",
        "namespace.net",
        "root",
        "root.overlay",
        "proc",
        "proc.masks",
        "nested_user_namespaces",
        "inotify",
        "capabilities",
        "no_new_privs",
        "seccomp",
        "landlock",
        "cgroup.freeze",
        "cgroup.kill",
        "memory",
        "pids",
        "cpu",
    ];
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let listed = |backend: &LinuxBackend| -> Vec<String> {
        backend.isolation_report().layers.into_iter().map(|layer| layer.name).collect()
    };
    assert_eq!(listed(&backend), names);
    let Some(sandbox) = sandbox_from(backend, SandboxSpec::default(), ScratchDirs::Tmpfs) else { return };
    assert_eq!(listed(&sandbox.backend), names);
}

#[test]
fn a_keeper_that_cannot_be_run_is_an_error_and_soon_a_fast_one() {
    let missing =
        LinuxBackend::new(LinuxOptions { keeper: Some("/nonexistent".into()), ..LinuxOptions::default() });
    assert_eq!(missing.unwrap_err().field(), Some("keeper"));
    let backend =
        LinuxBackend::new(LinuxOptions { keeper: Some("/bin/true".into()), ..LinuxOptions::default() })
            .unwrap();
    let request = || CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + HANG,
    };
    for _ in 0..10 {
        let error = backend.create(&request()).err().expect("no sandbox without a keeper");
        assert_eq!(error.code(), ErrorCode::BackendUnavailable, "{error}");
    }
}

/// Sandboxes can be dropped without being destroyed; the keeper sees to them.
#[test]
fn a_dropped_sandbox_is_removed() {
    let Some(sandbox) = sandbox() else { return };
    let id = SandboxId::next();
    let request = CreateRequest {
        id,
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + HANG,
    };
    drop(sandbox.backend.create(&request).unwrap());
    eventually("its cgroups are gone", || !cgroups().iter().any(|dir| dir.ends_with(id.get().to_string())));
    let _: &TestSandbox = &sandbox;
}

/// The mounts of the host that have no source, which are those that sandboxes are made of.
fn sourceless() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(" none ")).map(str::to_owned).collect()
}

#[test]
fn a_thousand_lives_leave_no_mount_on_the_host() {
    // Those without privileges are led by the same code.
    let lives = if rustix::process::geteuid().is_root() { 1000 } else { 100 };
    let Some(sandbox) = sandbox() else { return };
    // The control: a sandbox itself sees such mounts.
    let inside = sh(&sandbox, "cat /proc/self/mountinfo").stdout.text();
    assert!(inside.lines().filter(|line| line.contains(" none ")).count() > 10, "{inside}");
    let before = sourceless();
    for _ in 0..lives {
        let request = CreateRequest {
            id: SandboxId::next(),
            spec: Arc::new(SandboxSpec::default()),
            scratch: ScratchDirs::Tmpfs,
            deadline: Instant::now() + HANG,
        };
        sandbox.backend.create(&request).unwrap().destroy().unwrap();
    }
    assert_eq!(sourceless(), before);
}
