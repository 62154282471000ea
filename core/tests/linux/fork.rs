//! Forking sandboxes: a parent whose runtime is the example fork server in C, and what its children are.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, ErrorCode, GetOptions, LateBinding, Limits, Phase, Reuse, Runtime,
    SandboxSet, SandboxSpec, ScratchDirs, Secret,
};

use crate::fork_support::{
    SOON, Server, ask, child_spec, fork, odd_parent, parent, parent_of, refused, request, server_spec,
    signal_server,
};
use crate::support::{HANG, TestSandbox, eventually, sandbox_from, skip};

#[test]
fn a_fork_has_what_was_prepared_and_is_a_whole_sandbox() {
    let Some(parent) = parent() else { return };
    let first = fork(&parent, child_spec());
    let second = fork(&parent, child_spec());
    assert_eq!(ask(&*first.sandbox, "state"), "p 1");
    assert_eq!(ask(&*first.sandbox, "state"), "p 2");
    assert_eq!(ask(&*second.sandbox, "state"), "p 1");
    assert_eq!(ask(&*first.sandbox, "args"), "first\nsecond argument\n");
    assert_eq!(first.log(100).unwrap(), b"forked\n");

    let out = first.exec(&Command::new(["/bin/sh", "-c", "id -u; hostname; cat /proc/1/comm"])).unwrap();
    assert!(out.success(), "{out:?}");
    first.write_file(Path::new("mine"), b"1", 0o644).unwrap();
    assert!(second.read_file(Path::new("mine"), 10).is_err());
    first.pause().unwrap();
    first.unpause().unwrap();
    assert_eq!(ask(&*first.sandbox, "still there"), "still there");
    assert!(first.usage().is_ok());

    first.destroy().unwrap();
    assert_eq!(ask(&*second.sandbox, "state"), "p 2");
    let third = fork(&parent, child_spec());
    assert_eq!(ask(&*third.sandbox, "state"), "p 1");
}

#[test]
fn nothing_of_the_parent_is_in_a_fork() {
    let Some(parent) = parent() else { return };
    let child = fork(&parent, child_spec());
    let env = ask(&*child.sandbox, "env");
    assert!(env.contains("OF_THE_CHILD=child only\n") && !env.contains("PARENT"), "{env}");
    let shown = ask(&*child.sandbox, "read /proc/self/environ");
    assert!(shown.bytes().all(|byte| byte == 0), "{shown:?}");
    assert_eq!(ask(&*child.sandbox, "cwd"), "/scratch");
    let fds = ask(&*child.sandbox, "fds");
    let kinds: Vec<&str> = fds.lines().map(|line| line.split([':', '[']).next().unwrap()).collect();
    // Its streams, where it said that it is ready, where it listens, and the connection of this request.
    let expected =
        ["0 /dev/null", "1 /scratch/.runtime.log", "2 /scratch/.runtime.log", "3 socket", "4 socket"];
    assert_eq!(kinds[..5], expected, "{fds}");
    assert_eq!(kinds.len(), 6, "{fds}");
    // Its first process is the child of its own init, leads a session, and no other process is there.
    let stat = ask(&*child.sandbox, "read /proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let pid = stat.split_whitespace().next().unwrap();
    assert_eq!((fields[1], fields[2], fields[3]), ("1", pid, pid), "{stat}");
    let list = child.exec(&Command::new(["/bin/sh", "-c", "echo /proc/[0-9]*"])).unwrap();
    let others = String::from_utf8_lossy(&list.stdout.bytes).split_whitespace().count();
    assert_eq!(others, 3, "init, the runtime and the shell: {list:?}");
}

#[test]
fn a_fork_is_confined_as_what_is_created_is() {
    let Some(parent) = parent() else { return };
    let child = fork(&parent, child_spec());
    let forked = parent.backend.isolation_report();
    let Some(created) = sandbox_from(parent.backend.clone(), SandboxSpec::default(), ScratchDirs::Tmpfs)
    else {
        return;
    };
    let report = created.backend.isolation_report();
    let reached = |report: &sandboxset::IsolationReport| -> Vec<_> {
        report.layers.iter().map(|layer| (layer.name.clone(), layer.status)).collect()
    };
    assert_eq!(reached(&forked), reached(&report));

    // What the kernel says of the runtime's process and of a command in a created sandbox.
    let interesting = |status: &str| -> Vec<String> {
        let names =
            ["Uid", "Gid", "Groups", "Cap", "NoNewPrivs", "Seccomp:", "Umask", "SigBlk", "SigIgn", "SigCgt"];
        let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
        status.lines().filter(wanted).map(str::to_owned).collect()
    };
    let own = created.exec(&Command::new(["/bin/cat", "/proc/self/status"])).unwrap();
    let own = String::from_utf8_lossy(&own.stdout.bytes).into_owned();
    let status = ask(&*child.sandbox, "read /proc/self/status");
    assert_eq!(interesting(&status), interesting(&own));
    let limits = created.exec(&Command::new(["/bin/cat", "/proc/self/limits"])).unwrap();
    assert_eq!(ask(&*child.sandbox, "read /proc/self/limits"), String::from_utf8_lossy(&limits.stdout.bytes));
    let adjusted = created.exec(&Command::new(["/bin/cat", "/proc/self/oom_score_adj"])).unwrap();
    let inits = child.exec(&Command::new(["/bin/cat", "/proc/1/oom_score_adj"])).unwrap();
    assert_eq!(adjusted.stdout.bytes, inits.stdout.bytes);
    assert_eq!(ask(&*child.sandbox, "read /proc/self/oom_score_adj").as_bytes(), adjusted.stdout.bytes);
    // Mounts, but for their numbers and the directory that the parent's program is in.
    let mounts = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().skip(3).collect::<Vec<_>>().join(" ")).collect()
    };
    let theirs = created.exec(&Command::new(["/bin/cat", "/proc/self/mountinfo"])).unwrap();
    assert_eq!(
        mounts(&ask(&*child.sandbox, "read /proc/self/mountinfo")).len(),
        mounts(&String::from_utf8_lossy(&theirs.stdout.bytes)).len()
    );
    // No two of them are the same user of the host, where we may choose.
    if rustix::process::geteuid().is_root() {
        let map = |text: String| text.split_whitespace().nth(1).map(str::to_owned);
        let second = fork(&parent, child_spec());
        let maps: std::collections::HashSet<_> =
            [&child, &second].map(|child| map(ask(&*child.sandbox, "read /proc/self/uid_map"))).into();
        assert_eq!(maps.len(), 2, "{maps:?}");
    }
}

#[test]
fn a_fork_is_charged_for_what_it_uses_and_not_its_parent() {
    let Some(parent) = parent() else { return };
    if !parent.backend_has_cgroups() {
        skip("no cgroups");
        return;
    }
    let mut spec = child_spec();
    spec.limits = Limits { memory_bytes: 64 << 20, ..Limits::default() };
    let child = fork(&parent, spec);
    assert_eq!(ask(&*child.sandbox, "use 16"), "1");
    assert!(child.usage().unwrap().peak_memory_bytes >= 16 << 20, "{:?}", child.usage());
    // Beyond its limit it dies, and nobody with it.
    let mut stream = child.connect(HANG, None).unwrap();
    stream.set_timeout(Some(HANG)).unwrap();
    stream.write_all(b"\x07\0\0\0use 128").unwrap();
    assert!(stream.read_exact(&mut [0; 4]).is_err());
    eventually("its death is known", || child.death().is_some());
    assert!(parent.death().is_none());
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");
}

#[test]
fn what_a_fork_shares_is_counted_once() {
    // None waits, which would share it as well.
    let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
    let Some(parent) = parent_of(options, "/code/zygote") else { return };
    if !parent.backend_has_cgroups() {
        skip("no cgroups");
        return;
    }
    let [one, other] = [fork(&parent, child_spec()), fork(&parent, child_spec())];
    const PREPARED: u64 = 8 << 20;
    let charged = |sandbox: &TestSandbox| sandbox.usage().unwrap().memory_bytes;
    let proportional = |sandbox: &TestSandbox| sandbox.usage().unwrap().proportional_memory_bytes;
    assert!(charged(&parent) >= PREPARED, "{:?}", parent.usage());
    for child in [&one, &other] {
        assert!(charged(child) < PREPARED / 2, "{:?}", child.usage());
    }
    // Three have it, so that each has a third.
    if proportional(&one) == 0 {
        skip("this user may not look at the memory of processes");
        return;
    }
    let shares = [&parent, &one, &other].map(proportional);
    assert!(shares.iter().all(|share| (PREPARED / 4..PREPARED * 3 / 4).contains(share)), "{shares:?}");
    other.destroy().unwrap();
    assert!(proportional(&one) > shares[1], "{:?} after {shares:?}", one.usage());
}

#[test]
fn forks_of_forks_down_to_eight() {
    let Some(first) = parent() else { return };
    let mut line = vec![first];
    for _ in 0..7 {
        let next = fork(line.last().unwrap(), server_spec(None, &["one more"]));
        line.push(next);
    }
    let leaf = fork(line.last().unwrap(), child_spec());
    assert_eq!(ask(&*leaf.sandbox, "state"), "p 1");
    assert_eq!(ask(&*leaf.sandbox, "args"), "first\nsecond argument\n");
    // The end of the first is the end of all.
    line[0].destroy().unwrap();
    for sandbox in line.iter().chain([&leaf]) {
        eventually("it is dead", || sandbox.death().is_some());
    }
}

#[test]
fn the_depth_of_forks_ends_with_a_clear_error() {
    let Some(first) = parent() else { return };
    let mut line = vec![first];
    let error = loop {
        assert!(line.len() < 40, "no end");
        let request = request(server_spec(None, &["one more"]), HANG);
        match line.last().unwrap().fork(&request) {
            Ok(sandbox) => {
                line.push(TestSandbox { sandbox, id: request.id, backend: line[0].backend.clone() });
            }
            Err(error) => break error,
        }
    };
    assert!(line.len() > 8, "only {}: {error}", line.len());
    assert!(error.to_string().contains("32 levels"), "{error}");
    // The others are none the worse for it; the last to come is the first to go.
    assert_eq!(ask(&*fork(&line[0], child_spec()).sandbox, "state"), "p 1");
    while line.pop().is_some() {}
}

#[test]
fn two_forks_draw_different_random_bytes() {
    let Some(parent) = parent() else { return };
    // Two that are forked when they are wanted, and two that wait until then.
    let now = [(); 2].map(|()| fork(&parent, child_spec()));
    eventually("two wait", || parent.backend.shells().unwrap().ready >= 2);
    let waited = [(); 2].map(|()| fork(&parent, child_spec()));
    let drawn: Vec<String> = now.iter().chain(&waited).map(|child| ask(&*child.sandbox, "random")).collect();
    for (index, one) in drawn.iter().enumerate() {
        // From the kernel, by rand, random and lrand48, and what the kernel gave at the start.
        assert_eq!(one.lines().count(), 5, "{one}");
        for other in &drawn[..index] {
            assert!(one.lines().zip(other.lines()).all(|(one, other)| one != other), "{one} {other}");
        }
    }
}

#[test]
fn what_cannot_be_forked_says_so_at_once() {
    let Some(parent) = parent() else { return };
    let start = Instant::now();
    let leaf = fork(&parent, child_spec());
    let error = leaf.fork(&request(child_spec(), HANG)).err().expect("an error");
    assert_eq!((error.code(), error.phase()), (ErrorCode::Unsupported, Phase::Fork), "{error}");
    // A limit of each process can only be lowered.
    let mut spec = child_spec();
    spec.limits.open_files = 1 << 20;
    let error = parent.fork(&request(spec, HANG)).err().expect("an error");
    assert_eq!(error.code(), ErrorCode::ForkFailed);
    assert!(error.to_string().contains("open_files"), "{error}");
    // A mount that is not there is no fault of the parent.
    let mut spec = child_spec();
    spec.code_dir = Some("/nowhere".into());
    let error = parent.fork(&request(spec, HANG)).err().expect("an error");
    assert_eq!(error.code(), ErrorCode::CreateFailed, "{error}");
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");

    parent.destroy().unwrap();
    let error = parent.fork(&request(child_spec(), HANG)).err().expect("an error");
    assert_eq!(error.code(), ErrorCode::SandboxDead, "{error}");
    assert!(start.elapsed() < HANG);
}

#[test]
fn a_server_that_misbehaves_fails_its_own_forks_only() {
    let hear = "dd bs=4096 count=1 <&4 >/dev/null 2>&1;";
    for (script, code) in [
        ("sleep 1000".to_owned(), ErrorCode::Timeout),
        (format!("{hear} exit 0"), ErrorCode::ForkFailed),
        ("exec 4>&-; sleep 1000".to_owned(), ErrorCode::ForkFailed),
        (format!("{hear} printf garbage >&4; sleep 1000"), ErrorCode::ForkFailed),
        (format!("{hear} head -c 100000 /dev/zero >&4; sleep 1000"), ErrorCode::ForkFailed),
    ] {
        let Some(parent) = odd_parent(&script) else { return };
        let error = refused(&parent, if code == ErrorCode::Timeout { SOON } else { HANG });
        assert_eq!(error.code(), code, "{script}: {error}");
        let Some(other) = sandbox_from(parent.backend.clone(), SandboxSpec::default(), ScratchDirs::Tmpfs)
        else {
            return;
        };
        assert!(other.exec(&Command::new(["/bin/true"])).unwrap().success());
    }
}

#[test]
fn a_stopped_parent_costs_a_fork_its_time_and_can_be_forked_again() {
    // None waits, which would need nothing of it.
    let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
    let Some(parent) = parent_of(options, "/code/zygote") else { return };
    signal_server(&parent, "STOP");
    assert_eq!(refused(&parent, SOON).code(), ErrorCode::Timeout);
    signal_server(&parent, "CONT");
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");

    parent.pause().unwrap();
    assert_eq!(refused(&parent, SOON).code(), ErrorCode::Timeout);
    parent.unpause().unwrap();
    assert_eq!(ask(&*fork(&parent, child_spec()).sandbox, "state"), "p 1");
}

#[test]
fn the_end_of_a_parent_ends_forks_under_way() {
    let Some(parent) = parent() else { return };
    signal_server(&parent, "STOP");
    std::thread::scope(|scope| {
        let forking =
            scope.spawn(|| parent.fork(&request(child_spec(), HANG)).err().map(|error| error.code()));
        // It is under way, or comes too late: either way it fails, and for its parent's sake.
        std::thread::sleep(Duration::from_millis(200));
        parent.destroy().unwrap();
        let code = forking.join().unwrap();
        assert!(matches!(code, Some(ErrorCode::ForkFailed | ErrorCode::SandboxDead)), "{code:?}");
    });

    let Some(parent) = self::parent() else { return };
    let child = fork(&parent, child_spec());
    // The command may well end with the sandbox that it is in.
    let _ = parent.exec(&Command::new(["/bin/sh", "-c", "kill -KILL 2"]));
    eventually("the parent is dead", || parent.death().is_some());
    eventually("its child is dead", || child.death().is_some());
    let code = refused(&parent, HANG).code();
    assert!(matches!(code, ErrorCode::ForkFailed | ErrorCode::SandboxDead), "{code:?}");
}

#[test]
fn many_forks_at_once() {
    let Some(parent) = parent() else { return };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let child = fork(&parent, child_spec());
                    assert_eq!(ask(&*child.sandbox, "state"), "p 1");
                }
            });
        }
    });
}

/// A set of parents, and one of their children; `None` if this host can have no parent.
fn family(server: &Server, children: Config) -> Option<(SandboxSet, SandboxSet)> {
    parent()?;
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let spec = server_spec(Some(server), &["/code/zygote"]);
    let config = Config { max_size: 2, ..Config::default() };
    let parents = SandboxSet::new(Arc::clone(&backend), spec, config).unwrap();
    let config = Config { parent: Some(parents.clone()), ..children };
    Some((parents, SandboxSet::new(backend, child_spec(), config).unwrap()))
}

#[test]
fn a_set_forks_its_sandboxes_from_those_of_its_parent() {
    let Some(server) = Server::new() else { return };
    let Some((parents, set)) = family(&server, Config { max_size: 4, ..Config::default() }) else { return };
    let held: Vec<_> = (0..4).map(|_| set.get_or_create_unpaused(&GetOptions::default()).unwrap()).collect();
    for sandbox in held {
        assert_eq!(sandbox.call(b"state", HANG, None).unwrap(), b"p 1");
        sandbox.put().unwrap();
    }
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    assert!(parents.close(HANG).unwrap().survivors.is_empty());
}

#[test]
fn sandboxes_without_a_fork_server_are_refused_as_parents() {
    let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let runtime = Some(Runtime::new(["/bin/true"]));
    for spec in [SandboxSpec::default(), SandboxSpec { runtime, ..SandboxSpec::default() }] {
        let parents = SandboxSet::new(Arc::clone(&backend), spec, Config::default()).unwrap();
        let config = Config { parent: Some(parents), ..Config::default() };
        let error = SandboxSet::new(Arc::clone(&backend), child_spec(), config).unwrap_err();
        assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("parent")), "{error}");
    }
}

#[test]
fn a_fork_gets_what_is_bound_late_and_its_parent_does_not() {
    let Some(server) = Server::new() else { return };
    let config = Config { reuse: Reuse::Replace, ..Config::default() };
    let Some((parents, set)) = family(&server, config) else { return };
    let binding = LateBinding {
        secrets: vec![("token".into(), Secret::from(&b"hush"[..]))],
        binds: vec![Bind { source: server.0.clone(), target: "/mnt/dir".into(), writable: false }],
        ..LateBinding::default()
    };
    let options = GetOptions { binding: Some(binding), ..GetOptions::default() };
    let sandbox = set.get_or_create_unpaused(&options).unwrap();
    let look = Command::new(["/bin/sh", "-c", "cat /run/secrets/token; ls /mnt/dir; touch /mnt/dir/x"]);
    let found = sandbox.exec(&look).unwrap().stdout.text();
    assert!(found.starts_with("hush") && found.contains("zygote"), "{found}");
    assert!(!server.0.join("x").exists());
    let above = parents.get_or_create_unpaused(&GetOptions::default()).unwrap();
    let found = above.exec(&look).unwrap().stdout.text();
    assert_eq!(found, "");
    drop((above, sandbox));
    assert!(set.close(HANG).unwrap().survivors.is_empty());
    assert!(parents.close(HANG).unwrap().survivors.is_empty());
}
