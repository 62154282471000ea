//! Late binding onto real sandboxes: what the holder finds, what it cannot do with it, and what is left of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, Command, Config, ErrorCode, GetOptions, LateBinding, LateFile, LateLimits, LayerStatus,
    Phase, Result, Reuse, SandboxRef, SandboxSet, SandboxSpec, Secret,
};

use crate::support::{HANG, cgroups, eventually, sandbox, shell, skip};

/// Prints everything that one holder could leave for the next, as far as late binding goes.
const CENSUS: &str = r#"
cut -d' ' -f5- /proc/self/mountinfo | sed -E 's/,[ug]id=[0-9]+//g'
find / -xdev | sort; find /run /mnt /srv 2>&1; find /scratch /tmp /dev/shm | sort; env | sort
for comm in /proc/[0-9]*/comm; do read name < $comm && echo "$name"; done
"#;

/// A directory of the host with something to bind, removed with the test.
struct Source(PathBuf);

impl Source {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("linux-late-{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/file"), "of the host\n").unwrap();
        Source(dir)
    }

    fn bind(&self, path: &str, target: &str) -> Bind {
        Bind { source: self.0.join(path), target: target.into(), writable: false }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn set(reuse: Reuse) -> SandboxSet {
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let config = Config { max_size: 1, reuse, ..Config::default() };
    SandboxSet::new(Arc::new(backend), SandboxSpec::default(), config).unwrap()
}

fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

fn late(set: &SandboxSet, binding: LateBinding) -> Result<SandboxRef> {
    let options = GetOptions { timeout: Some(HANG), binding: Some(binding), ..GetOptions::default() };
    set.get_or_create_unpaused(&options)
}

fn secrets(bytes: &[u8]) -> LateBinding {
    LateBinding { secrets: vec![("token".into(), Secret::from(bytes))], ..LateBinding::default() }
}

fn run(sandbox: &SandboxRef, script: &str) -> String {
    let output = sandbox.exec(&shell(script)).unwrap();
    assert!(output.success(), "{script}: {output:?}");
    output.stdout.text()
}

/// Tries every way to change what was bound; prints what succeeded.
const ATTACK: &str = r#"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, deed):
    try:
        deed()
        print("changed by", name)
    except OSError:
        pass
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
for mount, file in [(a, b) for a, b in zip(sys.argv[1::2], sys.argv[2::2])]:
    path = os.path.join(mount, file) if file else mount
    attempt("writing " + path, lambda: open(path, "r+").write("x"))
    attempt("chmod " + path, lambda: os.chmod(path, 0o666))
    attempt("unlinking " + path, lambda: os.unlink(path))
    attempt("creating in " + mount, lambda: open(os.path.join(mount, "new"), "w"))
    attempt("renaming " + mount, lambda: os.rename(mount, mount + "-away"))
    attempt("umount2 " + mount, lambda: call(166, mount.encode(), 2))
    remount = 0x20 | 0x1000
    attempt("remounting " + mount, lambda: call(165, None, mount.encode(), None, remount, None))
    attempt("mount_setattr " + mount, lambda: call(442, -100, mount.encode(), 0, (ctypes.c_uint64 * 4)(0, 1, 0, 0), 32))
print("done")
"#;

fn attack(sandbox: &SandboxRef, mounts: &[&str]) -> String {
    let output = sandbox.exec(&Command::new([&["/usr/bin/python3", "-c", ATTACK], mounts].concat())).unwrap();
    assert!(output.success() && output.stdout.text().ends_with("done\n"), "{output:?}");
    output.stdout.text().trim_end_matches("done\n").to_owned()
}

#[test]
fn the_holder_finds_everything_and_can_change_none_of_it() {
    if sandbox().is_none() {
        return;
    }
    let source = Source::new("found");
    let set = set(Reuse::Reset);
    let fresh = run(&get(&set), CENSUS);
    eventually("reset", || set.stats().idle == 1);
    let binding = LateBinding {
        env: vec![("WHO".into(), "late".into())],
        files: vec![LateFile { path: "in/put".into(), bytes: b"data".to_vec(), mode: 0o640 }],
        binds: vec![source.bind("", "/mnt/deep/dir"), source.bind("sub/file", "/srv/file")],
        ..secrets(b"hush")
    };
    let sandbox = late(&set, binding).unwrap();
    assert!(sandbox.reused(), "it was warm already");
    assert_eq!(run(&sandbox, "echo $WHO; cat in/put; stat -c ' %a' in/put"), "late\ndata 640\n");
    assert_eq!(run(&sandbox, "cat /mnt/deep/dir/sub/file /srv/file"), "of the host\nof the host\n");
    let secret = run(&sandbox, "cd /run/secrets; ls -A; cat token; stat -c ' %a %u' token; env");
    assert!(secret.starts_with("token\nhush 400 1000\n"), "{secret}");
    assert!(!secret.replacen("hush", "", 1).contains("hush"), "{secret}");
    assert_eq!(sandbox.read_file("/run/secrets/token".as_ref(), 100).unwrap(), b"hush");
    let mounts = run(&sandbox, "grep -E ' /(run|mnt|srv)' /proc/self/mountinfo | cut -d' ' -f5,6,8-9; id");
    for expected in
        ["/mnt/deep/dir ro,nosuid,nodev", "/srv/file ro,nosuid,nodev", "/run/secrets ro,nosuid,nodev,noexec"]
    {
        assert!(mounts.contains(expected), "{mounts}");
    }
    assert!(mounts.contains(" ramfs "), "nothing of a ramfs is ever swapped out: {mounts}");

    let bound = ["/mnt/deep/dir", "sub/file", "/srv/file", "", "/run/secrets", "token"];
    assert_eq!(attack(&sandbox, &bound), "");
    run(&sandbox, "mkdir -p own/dir; touch own/dir/file");
    let changed = attack(&sandbox, &["/scratch/own/dir", "file"]);
    assert!(changed.lines().count() >= 4, "the attack works where it may: {changed}");
    assert_eq!(std::fs::read_to_string(source.0.join("sub/file")).unwrap(), "of the host\n");

    let first = sandbox.id();
    sandbox.put().unwrap();
    let sandbox = get(&set);
    assert_eq!(sandbox.id(), first, "{:?}", set.stats());
    assert_eq!(run(&sandbox, CENSUS), fresh);
}

/// Keeps hold of what was bound in every way that there is, and copies it wherever it can be written.
const HOSTILE: &str = r#"
import os, shutil, signal, socket, subprocess, sys, time
for number in range(1, 32):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
kept = open("/run/secrets/token", "rb")
directory = os.open("/run/secrets", os.O_RDONLY)
for copy in ["/scratch/stolen", "/tmp/stolen", "/dev/shm/stolen"]:
    shutil.copy("/run/secrets/token", copy)
    shutil.copytree("/mnt/dir", copy + "-dir")
if os.fork():
    time.sleep(1)
    print("hostile", flush=True)
    os._exit(0)
os.setsid()
left, right = socket.socketpair()
socket.send_fds(left, [b"x"], [kept.fileno(), directory])
if os.fork() == 0:
    os.chdir("/mnt/dir/sub")
    null = os.open("/dev/null", os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    while True:
        time.sleep(1000)
null = os.open("/dev/null", os.O_RDWR)
for stream in range(3):
    os.dup2(null, stream)
while True:
    kept.seek(0)
    kept.read()
    time.sleep(0.01)
"#;

fn python(sandbox: &SandboxRef, program: &str) -> String {
    let mut command = Command::new(["/usr/bin/python3", "-c", program]);
    command.timeout = HANG;
    let output = sandbox.exec(&command).unwrap();
    assert!(output.success(), "{output:?}");
    output.stdout.text()
}

#[test]
fn hostile_processes_keep_nothing_beyond_the_put() {
    if sandbox().is_none() {
        return;
    }
    let source = Source::new("hostile");
    for reuse in [Reuse::Reset, Reuse::Keep] {
        let set = set(reuse);
        let fresh = run(&get(&set), CENSUS);
        eventually("idle", || set.stats().idle == 1);
        for _ in 0..2 {
            let binding = LateBinding { binds: vec![source.bind("", "/mnt/dir")], ..secrets(b"hush") };
            let sandbox = late(&set, binding).unwrap();
            let first = sandbox.id();
            // Not by exec, which would end whoever is left of the command.
            let command = Command::new(["/usr/bin/python3", "-c", HOSTILE]);
            let process = sandbox.spawn(&command).unwrap();
            eventually("the copies are there", || sandbox.read_file("/dev/shm/stolen".as_ref(), 100).is_ok());
            assert_eq!(process.wait(HANG, None).unwrap().stdout.text(), "hostile\n");
            sandbox.put().unwrap();
            let sandbox = get(&set);
            assert_eq!(sandbox.id() == first, reuse == Reuse::Reset, "{:?}", set.stats());
            assert_eq!(run(&sandbox, CENSUS), fresh);
            drop(sandbox);
            eventually("idle", || set.stats().idle == 1);
        }
        let stats = set.stats();
        let destroyed = if reuse == Reuse::Reset { 0 } else { 2 };
        eventually("destroyed", || set.stats().destroyed == destroyed);
        assert_eq!(stats.reset_failures, 0, "{:?}", stats.destroyed_by);
        // A lease without it leaves such processes alone where the set keeps: they do survive if nobody ends them.
        if reuse == Reuse::Keep {
            let sandbox = get(&set);
            python(&sandbox, "open('/scratch/stolen', 'w').write('x')");
            sandbox.put().unwrap();
            assert!(get(&set).read_file("stolen".as_ref(), 100).is_ok());
        }
        assert!(set.close(HANG).unwrap().survivors.is_empty());
    }
}

#[test]
fn a_large_secret_arrives_whole() {
    if sandbox().is_none() {
        return;
    }
    let set = set(Reuse::Keep);
    let bytes: Vec<u8> = (0..(1u32 << 20) - 3).map(|number| (number % 251) as u8).collect();
    let three = vec![
        ("large".into(), Secret::from(&bytes[..])),
        ("empty".into(), Secret::from(&b""[..])),
        ("three".into(), Secret::from(&b"\0\n\xff"[..])),
    ];
    let sandbox = late(&set, LateBinding { secrets: three, ..LateBinding::default() }).unwrap();
    let read = |name: &str| sandbox.read_file(format!("/run/secrets/{name}").as_ref(), 2 << 20).unwrap();
    assert_eq!((read("large"), read("empty"), read("three")), (bytes, Vec::new(), b"\0\n\xff".to_vec()));
}

#[test]
fn what_is_put_at_once_is_taken_back_all_the_same() {
    if sandbox().is_none() {
        return;
    }
    let set = set(Reuse::Reset);
    for _ in 0..300 {
        late(&set, secrets(b"hush")).unwrap().put().unwrap();
    }
    eventually("the last reset is over", || set.stats().returning == 0);
    let stats = set.stats();
    assert_eq!((stats.resets, stats.reset_failures, stats.created), (300, 0, 1), "{:?}", stats.destroyed_by);
}

/// Whether a cgroup of this process's sandboxes has this limit. Other tests run at the same time, with other limits.
fn is_limited(files: [&str; 2], value: &str) -> bool {
    let has = |path: PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let sandboxes = |owner: PathBuf| std::fs::read_dir(owner).into_iter().flatten().flatten();
    cgroups().into_iter().flat_map(sandboxes).any(|dir| files.iter().any(|file| has(dir.path().join(file))))
}

#[test]
fn limits_are_tighter_for_one_holder() {
    let Some(probe) = sandbox() else { return };
    let report = probe.backend.isolation_report();
    drop(probe);
    let none = LateLimits::default();
    let set = set(Reuse::Keep);
    let get_limited = |limits| late(&set, LateBinding { limits, ..LateBinding::default() });
    let hog = || Command::new(["/usr/bin/python3", "-c", "x = b'x' * (64 << 20)"]);
    let forks = || shell("for i in 1 2 3 4 5 6; do sleep 100 >/dev/null 2>&1 & done");
    let spin = || shell("exit 0");
    let memory = (37u64 << 20).to_string();
    for (layer, limits, files, values, beyond) in [
        (
            "memory",
            LateLimits { memory_bytes: Some(37 << 20), ..none },
            ["memory.max", "memory.limit_in_bytes"],
            [&*memory, &*memory],
            Some(hog()),
        ),
        ("pids", LateLimits { pids: Some(5), ..none }, ["pids.max"; 2], ["5"; 2], Some(forks())),
        (
            "cpu",
            LateLimits { cpus: Some(0.37), ..none },
            ["cpu.max", "cpu.cfs_quota_us"],
            ["37000 100000", "37000"],
            None,
        ),
    ] {
        if report.layer(layer).is_none_or(|layer| layer.status != LayerStatus::Active) {
            let error = get_limited(limits).unwrap_err();
            assert_eq!((error.code(), error.phase()), (ErrorCode::Unsupported, Phase::Bind), "{error}");
            skip(&format!(
                "no {layer} cgroup: a tighter limit is refused, which was tested, but not enforced"
            ));
            continue;
        }
        let tight = || values.iter().any(|value| is_limited(files, value));
        let sandbox = get_limited(limits).unwrap();
        assert!(tight(), "{layer}");
        sandbox.put().unwrap();
        assert!(!tight(), "{layer}");
        let next = get(&set);
        assert_eq!(next.id(), sandbox.id());
        let command = beyond.unwrap_or_else(spin);
        assert!(next.exec(&command).unwrap().success(), "{layer}");
        next.put().unwrap();
        if layer != "cpu" {
            let output = get_limited(limits).unwrap().exec(&command).unwrap();
            assert!(!output.success(), "{layer}: {output:?}");
        }
    }
}

#[test]
fn a_limit_below_what_is_held_is_refused() {
    let Some(probe) = sandbox() else { return };
    let report = probe.backend.isolation_report();
    drop(probe);
    if report.layer("memory").is_none_or(|layer| layer.status != LayerStatus::Active) {
        return skip("no memory cgroup");
    }
    let set = set(Reuse::Keep);
    let sandbox = get(&set);
    run(&sandbox, "head -c 40000000 /dev/zero > held");
    sandbox.put().unwrap();
    let limits = LateLimits { memory_bytes: Some(16 << 20), ..LateLimits::default() };
    let error = late(&set, LateBinding { limits, ..LateBinding::default() }).unwrap_err();
    assert_eq!((error.code(), error.phase()), (ErrorCode::NoCapacity, Phase::Bind), "{error}");
    assert!(error.message().contains("binding.limits.memory_bytes"), "{error}");
    assert_ne!(get(&set).id(), sandbox.id());
}

#[test]
fn what_cannot_be_mounted_is_an_error_and_costs_one_sandbox() {
    let Some(probe) = sandbox() else { return };
    drop(probe);
    let source = Source::new("refused");
    let set = set(Reuse::Reset);
    for (target, what) in [
        // Not ours: nothing is ever made there.
        ("/usr/no-such-point", "mount at /usr/no-such-point"),
        // A directory of the root's own, but what is there is a file.
        ("/etc/passwd/below", "mount at /etc/passwd/below"),
        // A link of the root.
        ("/bin/below", "mount at /bin/below"),
        ("/etc/passwd", "mount at /etc/passwd"),
    ] {
        if target == "/bin/below" && !std::path::Path::new("/bin").is_symlink() {
            continue;
        }
        get(&set).put().unwrap();
        eventually("idle", || set.stats().idle == 1);
        let destroyed = set.stats().destroyed;
        let binds = vec![source.bind("", target)];
        let error = late(&set, LateBinding { binds, ..secrets(b"hush") }).unwrap_err();
        assert_eq!(error.phase(), Phase::Bind, "{error}");
        assert_eq!(error.field(), Some("binding.binds.target"), "{error}");
        assert!(error.message().contains(what) && !error.to_string().contains("hush"), "{error}");
        eventually("destroyed", || set.stats().destroyed == destroyed + 1);
        assert_eq!((set.stats().held, set.stats().resuming), (0, 0));
    }
    assert!(!run(&get(&set), "ls -A /run; cat /proc/self/mountinfo").contains("secrets"));
}

/// Its cgroups are gone as well, which is no reason of its own.
#[test]
fn what_cannot_be_bound_because_the_sandbox_is_dead_says_so() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.destroy().unwrap();
    let limits = LateLimits { pids: Some(5), ..LateLimits::default() };
    for binding in [LateBinding { limits, ..LateBinding::default() }, secrets(b"hush")] {
        let error = sandbox.bind(&binding, Instant::now() + HANG).unwrap_err();
        assert_eq!((error.code(), error.phase()), (ErrorCode::SandboxDead, Phase::Bind), "{error}");
    }
}
