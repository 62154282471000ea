//! A root directory that is made to mislead whoever mounts in it: where something of ours belongs it has links, FIFOs,
//! sockets, devices and files, and it changes while sandboxes are made of it.
//!
//! Whatever it has there, a mount is at its place in the sandbox or refused by the name of the field, and nothing
//! outside the root is made or mounted over.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as HostCommand;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Bind, CreateRequest, Error, ErrorCode, LateBinding, Result, RootFs, Runtime, SandboxId,
    SandboxSpec, ScratchDirs,
};

use crate::support::{HANG, TestSandbox, sandbox, sh, skip};
use crate::trees::{Dir, state};

/// What every sandbox has of its own.
const OWN: [&str; 7] = ["proc", "dev", "sys", "tmp", "scratch", "code", "run"];
/// What is in two of these.
const NESTED: [&str; 14] = [
    "dev/null",
    "dev/zero",
    "dev/full",
    "dev/random",
    "dev/urandom",
    "dev/fd",
    "dev/ptmx",
    "dev/pts",
    "dev/shm",
    "dev/mqueue",
    "proc/sys",
    "proc/kcore",
    "proc/bus",
    "proc/self",
];
/// The mounts that must be there, and of which kind, as far as that is always the same.
const MOUNTS: [(&str, &str); 13] = [
    ("/proc", "proc"),
    ("/proc/sys", "proc"),
    ("/dev", "tmpfs"),
    ("/dev/null", ""),
    ("/dev/zero", ""),
    ("/dev/full", ""),
    ("/dev/random", ""),
    ("/dev/urandom", ""),
    ("/dev/pts", "devpts"),
    ("/dev/shm", "tmpfs"),
    ("/dev/mqueue", "mqueue"),
    ("/tmp", "tmpfs"),
    ("/scratch", "tmpfs"),
];

/// What a root has where something of ours belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    Directory,
    File,
    /// To a directory outside, by its path, or by as many steps up as it takes.
    LinkOut,
    LinkUpAndOut,
    LinkTo(&'static str),
    Special(FileType),
}

const PLANTED: [Planted; 12] = [
    Planted::Nothing,
    Planted::Directory,
    Planted::File,
    Planted::LinkOut,
    Planted::LinkUpAndOut,
    Planted::LinkTo("/"),
    Planted::LinkTo(".."),
    Planted::LinkTo("loop"),
    Planted::LinkTo("/proc/sys/kernel"),
    Planted::Special(FileType::Fifo),
    Planted::Special(FileType::Socket),
    Planted::Special(FileType::CharacterDevice),
];

impl Planted {
    fn is_link(self) -> bool {
        matches!(self, Planted::LinkOut | Planted::LinkUpAndOut | Planted::LinkTo(_))
    }

    /// Puts it at a path, instead of whatever is there. False if this user cannot make it.
    fn plant(self, path: &Path, outside: &Path) -> bool {
        clear(path);
        let up = || Path::new("../../../../../../../../../../../..").join(outside.strip_prefix("/").unwrap());
        match self {
            Planted::Nothing => {}
            Planted::Directory => fs::create_dir(path).unwrap(),
            Planted::File => fs::write(path, "planted").unwrap(),
            Planted::LinkOut => symlink(outside, path).unwrap(),
            Planted::LinkUpAndOut => symlink(up(), path).unwrap(),
            // To itself.
            Planted::LinkTo("loop") => symlink(path.file_name().unwrap(), path).unwrap(),
            Planted::LinkTo(target) => symlink(target, path).unwrap(),
            Planted::Special(kind) => {
                // That of /dev/zero, if it is a device.
                return mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), makedev(1, 5)).is_ok();
            }
        }
        true
    }
}

/// Where a root misleads whoever goes to `/top/mid/point`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Target,
    Parent,
    Top,
}

/// A root directory, something to bind, and an outside that looks like the root where links lead to it.
struct Trap {
    dir: Dir,
    outside: String,
    backend: LinuxBackend,
}

impl Trap {
    /// `None`, said loudly, if this host cannot have sandboxes, or not with a root of their own.
    fn new(name: &str) -> Option<Self> {
        drop(sandbox()?);
        let dir = Dir::with_programs(name)?;
        let programs: Vec<PathBuf> =
            fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().path()).collect();
        fs::create_dir_all(dir.0.join("root/top/mid")).unwrap();
        for program in programs {
            fs::rename(&program, dir.0.join("root").join(program.file_name().unwrap())).unwrap();
        }
        fs::create_dir_all(dir.0.join("source/dir")).unwrap();
        for file in ["source/dir/marker", "source/leaf", "source/marker"] {
            fs::write(dir.0.join(file), "marker").unwrap();
        }
        for at in ["outside", "outside/mid"] {
            fs::create_dir_all(dir.0.join(at).join("point")).unwrap();
            fs::write(dir.0.join(at).join("leaf"), "outside").unwrap();
        }
        // Nothing is taken that was made of an earlier state of the root.
        let options = LinuxOptions { shells: Some(0), ..LinuxOptions::default() };
        let backend = LinuxBackend::new(options).unwrap();
        // Looking leaves a trace on directories, once.
        let _ = state(&dir.0.join("outside"));
        let outside = state(&dir.0.join("outside"));
        Some(Trap { dir, outside, backend })
    }

    fn root(&self) -> PathBuf {
        self.dir.0.join("root")
    }

    fn outside(&self) -> PathBuf {
        self.dir.0.join("outside")
    }

    fn bind(&self, source: &str, target: &str) -> Bind {
        Bind { source: self.dir.0.join("source").join(source), target: target.into(), writable: false }
    }

    fn create(&self, binds: Vec<Bind>) -> Result<TestSandbox> {
        self.create_with(binds, None)
    }

    fn create_with(&self, binds: Vec<Bind>, runtime: Option<Runtime>) -> Result<TestSandbox> {
        let spec = SandboxSpec {
            root: RootFs::Directory(self.root()),
            code_dir: Some(self.dir.0.join("source")),
            binds,
            runtime,
            ..SandboxSpec::default()
        };
        let id = SandboxId::next();
        let deadline = Instant::now() + HANG;
        let request = CreateRequest { id, spec: Arc::new(spec), scratch: ScratchDirs::Tmpfs, deadline };
        let sandbox = self.backend.create(&request)?;
        Ok(TestSandbox { sandbox, id, backend: self.backend.clone() })
    }

    /// Outside everything is as it was, and nobody has anything mounted on any of our directories.
    fn assert_untouched(&self, what: &str) {
        assert_eq!(state(&self.outside()), self.outside, "{what}");
        let dir = self.dir.0.to_str().unwrap();
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(table) = fs::read_to_string(process.path().join("mountinfo")) else { continue };
            assert_eq!(points(&table).find(|point| point.starts_with(dir)), None, "{what}: {process:?}");
        }
    }
}

/// The mount points of a table.
fn points(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter_map(|line| line.split(' ').nth(4))
}

fn mounts(sandbox: &TestSandbox) -> String {
    sh(sandbox, "cat /proc/self/mountinfo").stdout.text()
}

fn clear(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Whatever the root has there, every sandbox has its own.
fn check_own(trap: &Trap, what: &str) {
    let sandbox = trap.create(Vec::new()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let table = mounts(&sandbox);
    for (point, kind) in MOUNTS {
        let at = table.lines().filter(|line| line.split(' ').nth(4) == Some(point));
        let count = at.filter(|line| line.contains(&format!(" - {kind}"))).count();
        assert_eq!(count, 1, "{what}: {kind} at {point} in {table}");
    }
    let script = "
        for dir in tmp scratch dev/shm; do echo x > /$dir/new || exit 1; done
        echo x > /dev/null && cat /code/marker && ls -A /run && ! ls /sys 2>/dev/null";
    let output = sh(&sandbox, script);
    assert!(output.success() && output.stdout.text() == "marker", "{what}: {output:?}");
    trap.assert_untouched(what);
}

#[test]
fn what_every_sandbox_has_of_its_own_is_there_whatever_the_root_has_in_its_place() {
    let Some(trap) = Trap::new("own") else { return };
    for planted in PLANTED {
        let plant = |name: &str| planted.plant(&trap.root().join(name), &trap.outside());
        if !OWN.iter().all(|name| plant(name)) {
            skip(&format!("this user cannot make {planted:?}"));
            continue;
        }
        check_own(&trap, &format!("{planted:?}"));
        for name in OWN {
            Planted::Directory.plant(&trap.root().join(name), &trap.outside());
        }
        assert!(NESTED.iter().all(|name| plant(name)));
        check_own(&trap, &format!("{planted:?} in them"));
    }
}

/// Prepares the root so that `planted` is where `place` says, and all else is as it should be.
fn mislead(trap: &Trap, place: Place, planted: Planted, leaf: &str) -> bool {
    let (root, outside) = (trap.root(), trap.outside());
    clear(&root.join("top"));
    let fill = |mid: &Path| match leaf {
        "point" => fs::create_dir(mid.join(leaf)).unwrap(),
        _ => fs::write(mid.join(leaf), "").unwrap(),
    };
    let mid = root.join("top/mid");
    if place != Place::Top {
        fs::create_dir_all(if place == Place::Target { &mid } else { mid.parent().unwrap() }).unwrap();
    }
    let (at, leads_to) = match place {
        Place::Target => (mid.join(leaf), outside.join(leaf)),
        Place::Parent => (mid.clone(), outside),
        Place::Top => (root.join("top"), outside),
    };
    let done = planted.plant(&at, &leads_to);
    if planted == Planted::Directory && place != Place::Target {
        fs::create_dir_all(&mid).unwrap();
        fill(&mid);
    }
    done
}

/// Whether a bind can be had there; `None` if the kernel may say either.
fn expected(place: Place, planted: Planted, leaf: &str) -> Option<bool> {
    let is_dir = leaf == "point";
    Some(match (place, planted) {
        // Some kernels mount a file over a link, which is at its place.
        (Place::Target, link) if link.is_link() && !is_dir => return None,
        (_, link) if link.is_link() => false,
        (Place::Target, Planted::Directory) => is_dir,
        (Place::Target, Planted::File | Planted::Special(_)) => !is_dir,
        (Place::Parent | Place::Top, Planted::Directory) => true,
        // Nothing of a root but files and directories is in the sandbox, and what is missing at the top is made there.
        (Place::Top, Planted::Nothing | Planted::Special(_)) => true,
        _ => false,
    })
}

fn check_bind(trap: &Trap, late: bool, place: Place, planted: Planted, leaf: &str) {
    let what = format!("{planted:?} as {place:?} of {leaf}, late: {late}");
    let target = format!("/top/mid/{leaf}");
    let bind = trap.bind(if leaf == "point" { "dir" } else { "leaf" }, &target);
    let bound: Result<TestSandbox, Error> = if late {
        trap.create(Vec::new()).and_then(|sandbox| {
            let binding = LateBinding { binds: vec![bind], ..LateBinding::default() };
            sandbox.bind(&binding, Instant::now() + HANG).map(|()| sandbox)
        })
    } else {
        trap.create(vec![bind])
    };
    if let Some(expected) = expected(place, planted, leaf) {
        assert_eq!(bound.is_ok(), expected, "{what}: {:?}", bound.err());
    }
    match bound {
        Ok(sandbox) => {
            let table = mounts(&sandbox);
            assert_eq!(points(&table).filter(|point| *point == target).count(), 1, "{what}: {table}");
            let file = if leaf == "point" { format!("{target}/marker") } else { target };
            assert_eq!(sh(&sandbox, &format!("cat {file}")).stdout.text(), "marker", "{what}");
            trap.assert_untouched(&what);
        }
        Err(error) => {
            let field = if late { "binding.binds.target" } else { "binds.target" };
            assert_eq!(
                (error.code(), error.field()),
                (ErrorCode::InvalidArgument, Some(field)),
                "{what}: {error}"
            );
            assert!(error.message().contains(&target), "{what}: {error}");
            trap.assert_untouched(&what);
        }
    }
}

#[test]
fn what_a_runtime_brings_is_at_its_place_or_refused_by_name() {
    let Some(trap) = Trap::new("brings") else { return };
    let Some(top) = ["opt", "srv", "home"].into_iter().find(|top| Path::new("/").join(top).is_dir()) else {
        return skip("this host has no directory at its top that no sandbox has");
    };
    let brought = Path::new("/").join(top);
    let create = || {
        let mut runtime = Runtime::new(["/bin/sh", "-c", "echo READY >&3; kill -STOP $$"]);
        runtime.brings = vec![brought.clone()];
        trap.create_with(Vec::new(), Some(runtime))
    };
    let table = mounts(&create().unwrap());
    assert!(points(&table).any(|point| Path::new(point) == brought), "{table}");
    symlink(trap.outside(), trap.root().join(top)).unwrap();
    let error = create().map(drop).unwrap_err();
    assert_eq!(
        (error.code(), error.field()),
        (ErrorCode::InvalidArgument, Some("runtime.brings")),
        "{error}"
    );
    assert!(error.message().contains(top), "{error}");
    trap.assert_untouched("brings");
}

#[test]
fn a_bind_is_at_its_place_or_refused_whatever_is_on_the_way() {
    let Some(trap) = Trap::new("binds") else { return };
    let mut cells = 0;
    for planted in PLANTED {
        for place in [Place::Target, Place::Parent, Place::Top] {
            for leaf in ["point", "leaf"] {
                if !mislead(&trap, place, planted, leaf) {
                    skip(&format!("this user cannot make {planted:?}"));
                    continue;
                }
                check_bind(&trap, false, place, planted, leaf);
                check_bind(&trap, true, place, planted, leaf);
                cells += 2;
            }
        }
    }
    println!("{cells} ways to mislead a bind");

    // The control: whoever mounts by a path is led outside. In a mount namespace that ends with the control.
    mislead(&trap, Place::Parent, Planted::LinkUpAndOut, "point");
    let script = "mount -t tmpfs none top/mid/point && cat /proc/self/mountinfo";
    let output = HostCommand::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .current_dir(trap.root())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let table = String::from_utf8_lossy(&output.stdout);
            let outside = trap.outside().join("point");
            assert!(points(&table).any(|point| Path::new(point) == outside), "the control: {table}");
        }
        other => skip(&format!("no control: {other:?}")),
    }
}

/// Exchanges a directory and a link again and again while something else goes on.
fn while_exchanging<T>(pairs: &[[PathBuf; 2]], work: impl FnOnce(&AtomicU64) -> T) -> T {
    struct StopWhenDone<'a>(&'a AtomicBool);
    impl Drop for StopWhenDone<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (stop, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        let exchanging = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for [one, other] in pairs {
                    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
                }
                exchanges.fetch_add(1, Ordering::Release);
            }
        });
        let result = {
            let _stop = StopWhenDone(&stop);
            work(&exchanges)
        };
        exchanging.join().unwrap();
        result
    })
}

#[test]
fn a_root_that_changes_while_sandboxes_are_made_of_it_misleads_nobody() {
    const ROUNDS: u32 = 150;
    let Some(trap) = Trap::new("races") else { return };
    let (root, outside) = (trap.root(), trap.outside());
    for dir in ["top/mid/point", "deep/mid"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for file in ["top/mid/leaf", "deep/mid/leaf"] {
        fs::write(root.join(file), "").unwrap();
    }
    let pair = |name: &str| {
        let link = root.join(format!("{name}-link"));
        symlink(&outside, &link).unwrap();
        [root.join(name), link]
    };
    let pairs = [pair("top"), pair("deep/mid")];
    let (mut made, mut refused) = (0u32, 0u32);
    let until = Instant::now() + HANG;
    let exchanges = while_exchanging(&pairs, |exchanges| {
        // Not only so often, but until both have happened.
        while made + refused < ROUNDS || made == 0 || refused == 0 {
            assert!(Instant::now() < until, "{made} made, {refused} refused");
            match trap.create(vec![trap.bind("dir", "/top/mid/point"), trap.bind("leaf", "/deep/mid/leaf")]) {
                Ok(sandbox) => {
                    // What is not below the root is not listed; the names on the way may have changed since.
                    let table = mounts(&sandbox);
                    for source in ["/source/dir ", "/source/leaf "] {
                        let count = table.lines().filter(|line| line.contains(source)).count();
                        assert_eq!(count, 1, "{source}: {table}");
                    }
                    made += 1;
                }
                Err(error) => {
                    assert_eq!(error.code(), ErrorCode::InvalidArgument, "{error}");
                    assert_eq!(error.field(), Some("binds.target"), "{error}");
                    refused += 1;
                }
            }
        }
        exchanges.load(Ordering::Acquire)
    });
    trap.assert_untouched("races");
    println!("{exchanges} exchanges during {made} creates that succeeded and {refused} that were refused");

    // The control: whoever looks first and then goes by the path is led outside.
    let (naive, elsewhere) = (Dir::new("naive"), Dir::new("elsewhere"));
    let (dir, link) = (naive.0.join("dir"), naive.0.join("link"));
    fs::create_dir(&dir).unwrap();
    symlink(&elsewhere.0, &link).unwrap();
    while_exchanging(&[[dir.clone(), link]], |exchanges| {
        while !elsewhere.0.join("new").exists() {
            assert!(Instant::now() < until + HANG, "nobody was led anywhere");
            if fs::symlink_metadata(&dir).unwrap().is_dir() {
                let seen = exchanges.load(Ordering::Acquire);
                while exchanges.load(Ordering::Acquire) == seen {
                    std::thread::yield_now();
                }
                fs::write(dir.join("new"), "").unwrap();
            }
        }
    });
}
