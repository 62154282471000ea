//! Resetting: what one holder leaves, the next does not find.

use std::sync::Arc;
use std::time::Instant;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Bind, Command, Config, ErrorCode, EventKind, GetOptions, Outcome, Reuse, Runtime, SandboxRef, SandboxSet,
    SandboxSpec, ScratchDirs,
};

use crate::support::{HANG, eventually, sandbox, sandbox_of, sh, shell, skip};

/// Prints everything that one holder could leave for the next. Process ids and the user on the host differ and are
/// not printed.
const CENSUS: &str = r#"
find /scratch /tmp /dev/shm /dev/mqueue -printf '%p %y %m %U %G %s\n' | sort
cat /proc/sysvipc/shm /proc/sysvipc/sem /proc/sysvipc/msg
for comm in /proc/[0-9]*/comm; do read name < $comm && echo "$name"; done
cut -d' ' -f5- /proc/self/mountinfo | sed -E 's/,[ug]id=[0-9]+//g'
stat -f -c '%n %b %f %a %c %d' /tmp /dev/shm
env | sort; pwd; umask; ulimit -a; hostname
"#;

/// Dirties everything that can be written to.
const DIRT: &str = r#"
import ctypes, os, socket, subprocess
for top in ["/scratch", "/tmp", "/dev/shm"]:
    os.chdir(top)
    for name in ["plain", "a\nb", "-rf", " ", "*", ".hidden", "\udcff\udcfe", ".sandboxset-removing-1", "x" * 255]:
        open(name, "w").write("left")
    os.symlink("/etc", "link")
    os.mkfifo("fifo")
    socket.socket(socket.AF_UNIX).bind("socket")
    os.mkdir("full")
    os.mkdir("full/.sandboxset-removing-2")
    open("full/.sandboxset-removing-2/x", "w")
    os.chmod("full/.sandboxset-removing-2", 0)
    os.chmod("full", 0)
    for _ in range(3000 if top == "/tmp" else 300):
        os.mkdir("d")
        os.chdir("d")
    try:
        os.setxattr(top, "user.note", b"left")
    except OSError:
        pass
    os.chmod(top, 0o100)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.shmget(4711, 8 << 20, 0o1600) >= 0
assert libc.shmget(0, 4096, 0o1000) >= 0
assert libc.semget(4711, 3, 0o1600) >= 0
assert libc.msgget(4711, 0o1600) >= 0
os.close(os.open("/dev/mqueue/left", os.O_CREAT | os.O_RDWR, 0o600))
libc.mq_open(b"/also", os.O_CREAT | os.O_RDWR, 0o600, None)
subprocess.Popen(
    ["sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1000; done"],
    start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
print("dirty")
"#;

fn set(reuse: Reuse, scratch_dirs: ScratchDirs) -> SandboxSet {
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let config = Config { max_size: 1, reuse, scratch_dirs, ..Config::default() };
    SandboxSet::new(Arc::new(backend), SandboxSpec::default(), config).unwrap()
}

fn get(set: &SandboxSet) -> SandboxRef {
    set.get_or_create_unpaused(&GetOptions { timeout: Some(HANG), ..GetOptions::default() }).unwrap()
}

fn census(sandbox: &SandboxRef) -> String {
    let output = sandbox.exec(&shell(CENSUS)).unwrap();
    assert!(output.success(), "{output:?}");
    output.stdout.text()
}

fn python(sandbox: &SandboxRef, program: &str) {
    let output = sandbox.exec(&Command::new(["/usr/bin/python3", "-c", program])).unwrap();
    assert!(output.success(), "{output:?}");
}

/// Whether this host can have sandboxes, and Python in them.
fn usable() -> bool {
    let Some(sandbox) = sandbox() else { return false };
    if sh(&sandbox, "/usr/bin/python3 -c pass").success() {
        return true;
    }
    skip("no /usr/bin/python3, which dirties the sandbox");
    false
}

#[test]
fn the_next_holder_finds_what_is_in_a_sandbox_that_was_never_used() {
    if !usable() {
        return;
    }
    let disk = std::env::temp_dir().join(format!("linux-reset-{}", std::process::id()));
    std::fs::create_dir(&disk).unwrap();
    for scratch_dirs in [ScratchDirs::Tmpfs, ScratchDirs::Disk(disk.clone())] {
        let never_used = census(&get(&set(Reuse::Keep, scratch_dirs.clone())));
        let set = set(Reuse::Reset, scratch_dirs);
        let events = set.events(1000).unwrap();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let sandbox = get(&set);
            ids.push(sandbox.id());
            let found = census(&sandbox);
            let differences: Vec<_> =
                found.lines().zip(never_used.lines()).filter(|(found, fresh)| found != fresh).collect();
            assert!(found == never_used, "lease {}: {differences:#?}", ids.len());
            python(&sandbox, DIRT);
            assert_ne!(census_of_dirt(&sandbox), "");
            sandbox.put().unwrap();
        }
        eventually("the last reset is over", || set.stats().returning == 0);
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?} {:?}", set.stats());
        let stats = set.stats();
        assert_eq!((stats.resets, stats.reset_failures, stats.created), (3, 0, 1), "{stats:?}");
        let report = std::iter::from_fn(|| events.next(std::time::Duration::ZERO))
            .find_map(|event| if let EventKind::Reset(report) = event.kind { Some(report) } else { None })
            .unwrap();
        let names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
        assert_eq!(names, ["processes", "mounts", "files", "descriptors", "ipc", "memory"], "{report}");
        println!("reset in {:?}: {report}", report.duration);
        set.close(HANG).unwrap();
    }
    std::fs::remove_dir(&disk).unwrap();
}

/// What can still be seen of the dirt by one who opens the directories again.
fn census_of_dirt(sandbox: &SandboxRef) -> String {
    let script = "chmod 700 /scratch; ls -A /scratch; tail -n +2 /proc/sysvipc/shm; chmod 100 /scratch";
    sandbox.exec(&shell(script)).unwrap().stdout.text()
}

#[test]
fn without_a_reset_the_next_holder_finds_all_of_it() {
    if !usable() {
        return;
    }
    let set = set(Reuse::Keep, ScratchDirs::Tmpfs);
    let sandbox = get(&set);
    let fresh = census(&sandbox);
    python(&sandbox, DIRT);
    sandbox.put().unwrap();
    let sandbox = get(&set);
    let left = census_of_dirt(&sandbox);
    assert!(left.contains("plain") && left.contains("4711"), "{left}");
    assert_ne!(census_lossy(&sandbox), fresh);
}

/// The census of a sandbox whose directories are closed to `find`.
fn census_lossy(sandbox: &SandboxRef) -> String {
    sandbox.exec(&shell(CENSUS)).unwrap().stdout.text()
}

#[test]
fn what_a_reset_cannot_remove_ends_the_sandbox() {
    if !usable() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return skip("not root: cannot plant a file that the sandbox may not remove");
    }
    let disk = std::env::temp_dir().join(format!("linux-reset-planted-{}", std::process::id()));
    std::fs::create_dir(&disk).unwrap();
    let set = set(Reuse::Reset, ScratchDirs::Disk(disk.clone()));
    let sandbox = get(&set);
    let first = sandbox.id();
    let planted = sandbox.host_scratch_dir().unwrap().join("planted");
    std::fs::create_dir(&planted).unwrap();
    std::fs::write(planted.join("file"), b"x").unwrap();
    sandbox.put().unwrap();
    let next = get(&set);
    assert_ne!(next.id(), first);
    let stats = set.stats();
    assert_eq!((stats.resets, stats.reset_failures), (0, 1), "{stats:?}");
    eventually("the first is gone", || set.stats().destroyed == 1);
    let (reason, count) = set.stats().destroyed_by[0].clone();
    assert!(reason.starts_with("reset: empty /scratch: "), "{reason}");
    assert_eq!(count, 1);
    next.put().unwrap();
    assert_eq!(get(&set).id(), next.id(), "a clean one is kept");
    set.close(HANG).unwrap();
    std::fs::remove_dir(&disk).unwrap();
}

#[test]
fn running_processes_are_killed_and_their_holder_learns_it() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.prepare_reset().unwrap();
    let mut command = shell("trap '' TERM HUP INT; sleep 1000 & while :; do sleep 1000; done");
    command.timeout = HANG * 10;
    for _ in 0..20 {
        let processes: Vec<_> = (0..3).map(|_| sandbox.spawn(&command).unwrap()).collect();
        sandbox.reset(Instant::now() + HANG).unwrap();
        assert_eq!(sh(&sandbox, "cat /proc/[0-9]*/comm | grep -c sleep").stdout.text().trim(), "0");
        for process in processes {
            assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(9));
        }
    }
}

#[test]
fn memory_that_is_left_is_given_back() {
    let limits = sandboxset::Limits { scratch_bytes: 64 << 20, ..Default::default() };
    let spec = SandboxSpec { limits, ..SandboxSpec::default() };
    let Some(sandbox) = sandbox_of(spec, ScratchDirs::Tmpfs) else { return };
    sandbox.prepare_reset().unwrap();
    for _ in 0..3 {
        for dir in ["/scratch", "/tmp", "/dev/shm"] {
            assert!(sh(&sandbox, &format!("head -c 40000000 /dev/zero > {dir}/big")).success());
        }
        let report = sandbox.reset(Instant::now() + HANG).unwrap();
        println!("{report}");
    }
}

#[test]
fn what_cannot_be_reset_is_refused_when_the_set_is_made() {
    let backend = Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap());
    let config = Config { reuse: Reuse::Reset, ..Config::default() };
    let refused = |spec: SandboxSpec| {
        let error = SandboxSet::new(backend.clone(), spec, config.clone()).unwrap_err();
        assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("reuse")), "{error}");
    };
    refused(SandboxSpec { runtime: Some(Runtime::new(["/bin/true"])), ..SandboxSpec::default() });
    let bind = Bind { source: "/usr".into(), target: "/scratch/usr".into(), writable: false };
    refused(SandboxSpec { binds: vec![bind], ..SandboxSpec::default() });
}
