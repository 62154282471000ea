//! What sandboxes share of the host's files: the contents, and nothing that could be felt or changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as HostCommand;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    BackendProcess, Bind, Command, Layer, LayerPolicy, LayerStatus, OutputStream, RootFs, SandboxSpec,
    ScratchDirs, Stdin,
};

use crate::support::{HANG, TestSandbox, sandbox_from, sandbox_of, sh, skip};
use crate::trees::{Dir, state};

const LAYER: &str = "root.overlay";
/// Where a child of a test finds the root that it is to use.
const ROOT: &str = "SANDBOXSET_TEST_ROOT";

fn layer(sandbox: &TestSandbox) -> Layer {
    sandboxset::Backend::isolation_report(&sandbox.backend).layer(LAYER).unwrap().clone()
}

/// Whether this host can share by overlay at all; says so loudly if not.
fn has_overlay(sandbox: &TestSandbox) -> bool {
    let layer = layer(sandbox);
    if layer.status != LayerStatus::Active {
        skip(&format!("no overlay here: {}", layer.detail));
    }
    layer.status == LayerStatus::Active
}

/// Locks every file, whatever others did, and opens them all again at each line of its input.
const NEIGHBOUR: &str = r#"
import fcntl, os, sys
files = [os.open(path, os.O_RDONLY) for path in sys.argv[1:]]
for file in files:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
print("ready", flush=True)
for line in sys.stdin:
    for path in sys.argv[1:]:
        os.close(os.open(path, os.O_RDONLY))
    print("done", flush=True)
"#;

/// Watches every file, and at a line of its input says of each whether a lock or an access of others is felt.
const LISTENER: &str = r#"
import ctypes, fcntl, os, sys
libc = ctypes.CDLL(None, use_errno=True)
IN_OPEN = 0x20
files = sys.argv[1:]
queues = [libc.inotify_init1(os.O_NONBLOCK) for path in files]
assert all(libc.inotify_add_watch(queue, path.encode(), IN_OPEN) >= 0 for queue, path in zip(queues, files))
print("ready", flush=True)
sys.stdin.readline()
felt = []
for queue, path in zip(queues, files):
    try:
        watch = bool(os.read(queue, 4096))
    except BlockingIOError:
        watch = False
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock = False
    except BlockingIOError:
        lock = True
    felt.append(f"{path} {lock} {watch}")
print("\n".join(felt))
"#;

fn python(sandbox: &TestSandbox, script: &str, paths: &[&str]) -> Box<dyn BackendProcess> {
    let args = ["/usr/bin/python3", "-c", script].into_iter().chain(paths.iter().copied());
    let mut command = Command::new(args);
    command.stdin = Stdin::Stream;
    sandbox.spawn(&command).unwrap()
}

fn expect(process: &dyn BackendProcess, line: &str) {
    let mut buffer = [0; 100];
    let length = process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..length]), line);
}

/// What one sandbox feels of the other's locks and accesses: a line for each path.
fn felt(spec: &SandboxSpec, paths: &[&str]) -> Option<Vec<String>> {
    let sandbox = || sandbox_of(spec.clone(), ScratchDirs::Tmpfs);
    let (one, other) = (sandbox()?, sandbox()?);
    if spec.layers.is_empty() && !has_overlay(&one) {
        return None;
    }
    let (neighbour, listener) = (python(&one, NEIGHBOUR, paths), python(&other, LISTENER, paths));
    expect(&*neighbour, "ready\n");
    expect(&*listener, "ready\n");
    neighbour.write_stdin(b"go\n", HANG).unwrap();
    expect(&*neighbour, "done\n");
    listener.write_stdin(b"go\n", HANG).unwrap();
    let output = listener.wait(HANG, None).unwrap();
    assert!(output.success(), "{output:?}");
    neighbour.close_stdin().unwrap();
    assert!(neighbour.wait(HANG, None).unwrap().success());
    Some(output.stdout.text().lines().map(str::to_owned).collect())
}

#[test]
fn nobody_feels_locks_and_watches_of_others_on_what_all_share() {
    let code = Dir::new("code");
    fs::set_permissions(&code.0, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(code.0.join("file"), "x").unwrap();
    let mut spec = SandboxSpec { code_dir: Some(code.0.clone()), ..SandboxSpec::default() };
    let mut paths = vec!["/usr", "/usr/bin/env", "/code", "/code/file"];
    let etc = ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/ssl/certs"];
    paths.extend(etc.into_iter().filter(|path| Path::new(path).exists()));
    let all = |answer: &str| paths.iter().map(|path| format!("{path} {answer}")).collect::<Vec<_>>();
    let Some(found) = felt(&spec, &paths) else { return };
    assert_eq!(found, all("False False"));
    spec.layers.push((LAYER.into(), LayerPolicy::Off));
    assert_eq!(felt(&spec, &paths), Some(all("True True")), "the control");
}

/// Everything that could leave a trace on a directory. Prints what was not refused.
const ATTACKS: &str = r#"
import os, sys
DIR = sys.argv[1]
FILE, NEW = DIR + "/file", DIR + "/new"
value = b"\x01\x00\x00\x02" + b"\xff" * 16
attacks = {
    "write": lambda: os.open(FILE, os.O_WRONLY),
    "append": lambda: os.open(FILE, os.O_RDWR | os.O_APPEND),
    "truncate": lambda: os.truncate(FILE, 0),
    "make": lambda: os.open(NEW, os.O_CREAT | os.O_WRONLY),
    "temporary": lambda: os.open(DIR, os.O_TMPFILE | os.O_RDWR),
    "chmod": lambda: os.chmod(FILE, 0o777),
    "chmod dir": lambda: os.chmod(DIR, 0o777),
    "chown": lambda: os.chown(FILE, 1000, 1000),
    "times": lambda: os.utime(FILE, (1, 1)),
    "rename": lambda: os.rename(FILE, NEW),
    "unlink": lambda: os.unlink(FILE),
    "link": lambda: os.link(FILE, NEW),
    "link out": lambda: os.link(FILE, "/scratch/new"),
    "symlink": lambda: os.symlink("/etc", NEW),
    "mkdir": lambda: os.mkdir(NEW),
    "rmdir": lambda: os.rmdir(DIR + "/dir/empty"),
    "whiteout": lambda: os.mknod(NEW, 0o20000, 0),
    "fifo": lambda: os.mkfifo(NEW),
}
for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.opaque",
             "user.overlay.whiteout", "user.note", "security.capability", "system.posix_acl_access"]:
    for path in [DIR, FILE]:
        attacks[f"{name} of {path}"] = lambda name=name, path=path: os.setxattr(path, name, value)
for name in ["trusted.overlay.opaque", "trusted.overlay.redirect", "security.capability"]:
    attacks[f"{name} in scratch"] = lambda name=name: os.setxattr("/scratch", name, value)
for name, attack in attacks.items():
    try:
        attack()
        print(name)
    except OSError:
        pass
open(DIR + "/dir/inner").read()
os.listdir(DIR + "/dir")
"#;

/// A directory in which everybody may do everything, with a program that is setuid.
fn victim(name: &str) -> Dir {
    let dir = Dir::new(name);
    fs::create_dir_all(dir.0.join("dir/empty")).unwrap();
    for name in ["file", "dir/inner"] {
        fs::write(dir.0.join(name), "contents").unwrap();
        fs::set_permissions(dir.0.join(name), PermissionsExt::from_mode(0o666)).unwrap();
    }
    fs::copy("/usr/bin/id", dir.0.join("id")).unwrap();
    for (name, mode) in [("id", 0o4755), ("dir/empty", 0o777), ("dir", 0o777), ("", 0o777)] {
        fs::set_permissions(dir.0.join(name), PermissionsExt::from_mode(mode)).unwrap();
    }
    // Looking leaves a trace on directories, once; on files only reading does.
    let _ = state(&dir.0);
    dir
}

#[test]
fn nothing_that_is_done_inside_leaves_a_trace_on_what_all_share() {
    let (code, bound) = (victim("code-traces"), victim("bind-traces"));
    let before = [state(&code.0), state(&bound.0)];
    let bind = Bind { source: bound.0.clone(), target: "/opt/bound".into(), writable: true };
    let spec = SandboxSpec { code_dir: Some(code.0.clone()), binds: vec![bind], ..SandboxSpec::default() };
    let Some(sandbox) = sandbox_of(spec, ScratchDirs::Tmpfs) else { return };
    let attack = |dir| {
        let output = sandbox.exec(&Command::new(["/usr/bin/python3", "-c", ATTACKS, dir])).unwrap();
        assert!(output.success(), "{output:?}");
        output.stdout.text()
    };
    assert_eq!(attack("/code"), "");
    let allowed = attack("/opt/bound");
    for name in ["write\n", "truncate\n", "make\n", "rename\n", "rmdir\n"] {
        assert!(allowed.contains(name), "the control lacks {name:?}: {allowed}");
    }
    let output = sh(&sandbox, "/code/id -u; /code/id");
    let text = output.stdout.text();
    assert!(
        text.starts_with("1000\n") && !text.contains("euid"),
        "a setuid program gained rights: {output:?}"
    );
    drop(sandbox);
    assert_eq!(state(&code.0), before[0]);
    assert_ne!(state(&bound.0), before[1], "the control");
}

#[test]
fn a_root_directory_looks_as_it_is_whatever_its_name_and_attributes() {
    let Some(dir) = Dir::with_programs("lo\":,\\wer") else { return };
    fs::create_dir(dir.0.join("opaque")).unwrap();
    for name in ["opaque/file", "top", "large"] {
        fs::write(dir.0.join(name), name).unwrap();
    }
    fs::write(dir.0.join("large"), vec![b'x'; 1 << 20]).unwrap();
    // What overlays take for deleted, for hidden, and for to be found elsewhere.
    let kinds = if rustix::process::geteuid().is_root() { &["trusted", "user"][..] } else { &["user"] };
    for kind in kinds {
        for (path, name, value) in [
            ("opaque", "opaque", "x"),
            ("opaque/file", "whiteout", "y"),
            ("top", "metacopy", ""),
            ("large", "redirect", "/top"),
        ] {
            let name = format!("{kind}.overlay.{name}");
            let flags = rustix::fs::XattrFlags::empty();
            if let Err(errno) = rustix::fs::setxattr(dir.0.join(path), &*name, value.as_bytes(), flags) {
                skip(&format!("this file system takes no attribute {name}: {errno}"));
            }
        }
    }
    let spec = SandboxSpec { root: RootFs::Directory(dir.0.clone()), ..SandboxSpec::default() };
    let Some(sandbox) = sandbox_of(spec, ScratchDirs::Tmpfs) else { return };
    if !has_overlay(&sandbox) {
        return;
    }
    let output = sh(
        &sandbox,
        "cat /opaque/file /top; ls /opaque; cat /large | while read -r -n 3 x; do echo $x; break; done",
    );
    assert!(output.stdout.text().starts_with("opaque/filetopfile\n"), "{output:?}");
    let listed = sh(&sandbox, "ls -ln /large; cat /proc/self/mountinfo").stdout.text();
    assert!(listed.contains(" 1048576 "), "{listed}");
    let overlays = listed.lines().filter(|line| line.contains(" - overlay ")).count();
    assert!(overlays > 3, "{listed}");
    for line in listed.lines().filter(|line| line.contains(" - overlay ")) {
        assert!(line.contains(" ro,nosuid,nodev") && line.contains("redirect_dir=nofollow"), "{line}");
        assert!(
            !line.contains("share-") && !line.contains("userxattr") && !line.contains("upperdir"),
            "{line}"
        );
    }
}

#[test]
#[ignore = "run by the next test, in mount namespaces that it makes"]
fn child() {
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let spec = SandboxSpec { root: RootFs::Directory(root), ..SandboxSpec::default() };
    let sandbox = sandbox_from(backend, spec, ScratchDirs::Tmpfs).unwrap();
    println!("\nshows {:?}", sh(&sandbox, "cat /top /deep/file /deep/sub/file").stdout.text());
    let layer = layer(&sandbox);
    println!("status {} {}", layer.status.name(), layer.detail);
}

#[test]
fn what_no_overlay_can_span_is_bound_and_reported_and_nothing_vanishes() {
    let Some(dir) = Dir::with_programs("span") else { return };
    let empty = Dir::new("empty");
    fs::create_dir_all(dir.0.join("deep/sub")).unwrap();
    for name in ["top", "deep/file", "deep/sub/file"] {
        fs::write(dir.0.join(name), format!("{name} ")).unwrap();
    }
    let on = |script: &str| {
        let output = HostCommand::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-e", "-c"])
            .arg(format!("{script}\nexec \"$0\" share::child --exact --ignored --nocapture"))
            .args([&std::env::current_exe().unwrap(), &empty.0])
            .env(ROOT, &dir.0)
            .env_remove("SANDBOXSET_KEEPER")
            .current_dir(&dir.0)
            .output();
        let text = output.map(|output| {
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        });
        text.unwrap_or_else(|error| error.to_string())
    };
    let plain = on("");
    if !plain.contains("status active") {
        return skip(&format!("no overlay in such a namespace: {plain}"));
    }
    let shows = "shows \"top deep/file deep/sub/file \"";
    assert!(plain.contains(shows), "{plain}");
    let mounted = on("mount -t tmpfs none deep/sub; printf 'deep/sub/file ' > deep/sub/file");
    assert!(mounted.contains(shows) && mounted.contains("status degraded"), "{mounted}");
    assert!(mounted.contains(": /deep (Invalid argument"), "{mounted}");
    // Two overlays below ours are one more than the kernel stacks.
    let stack = "for at in 1 2; do mount -t overlay -o lowerdir=.:\"$1\" none .; cd \"$PWD\"; done";
    let stacked = on(stack);
    if stacked.contains("mount:") {
        return skip(&format!("no overlays can be stacked here: {stacked}"));
    }
    assert!(stacked.contains(shows) && stacked.contains("status degraded"), "{stacked}");
    assert!(stacked.contains(" more"), "{stacked}");
}
