//! Trees that somebody hostile filled are removed with bounded means, and nothing outside them is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test says what it measured")]

use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, File, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, mkdirat, openat, renameat_with};
use sandboxset_keeper::remove_tree;
use sandboxset_tests::census::{TemporaryDir, temporary_dir, temporary_dir_in};
use sandboxset_tests::machine::{User, is_root, ordinary_user, setting};

/// What the remover may have besides its stack of 64 KiB: its standard streams, the tree, a directory in it, and
/// a few for those that are open only for a moment.
const DESCRIPTORS: &str = "9";
/// What its memory may grow by.
const GROWTH_KIB: u64 = 1024;

/// Runs the helper that has next to nothing.
fn remover(how: &str, descriptors: &str, tree: &Path, user: Option<User>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remover"));
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command.args([how, descriptors]).arg(tree).output().unwrap()
}

/// Removes a tree with bounded means and says what that took.
fn remove_bounded(what: &str, entries: u64, tree: &Path, user: Option<User>) {
    let start = Instant::now();
    let output = remover("ours", DESCRIPTORS, tree, user);
    let elapsed = start.elapsed();
    assert!(output.status.success(), "{what}: {output:?}");
    assert!(!tree.exists(), "{what}");
    let grown: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(grown <= GROWTH_KIB, "{what}: the memory grew by {grown} KiB");
    let each = elapsed / u32::try_from(entries).unwrap();
    println!("{what}: {entries} entries in {elapsed:.2?}, {each:.1?} each, memory +{grown} KiB");
}

fn remove(tree: &Path) -> Result<(), rustix::io::Errno> {
    let parent = File::open(tree.parent().unwrap()).unwrap();
    remove_tree(parent.as_fd(), &CString::new(tree.file_name().unwrap().as_bytes()).unwrap())
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> OwnedFd {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn dig(tree: &Path, depth: u64) {
    fs::create_dir(tree).unwrap();
    let mut dir = open_dir(CWD, tree);
    for _ in 0..depth {
        mkdirat(&dir, c"d", Mode::from_raw_mode(0o700)).unwrap();
        dir = open_dir(&dir, c"d");
    }
}

/// A directory in memory, where there is one, and one on disk, with how much of a setting each gets: a busy disk
/// takes minutes for what memory does in a second.
fn places(name: &str, setting_name: &str, full: u64) -> Vec<(&'static str, TemporaryDir, u64)> {
    let memory = setting(setting_name, full);
    let mut places =
        vec![("disk", temporary_dir(name), setting(&format!("{setting_name}_ON_DISK"), full / 10))];
    match temporary_dir_in(Path::new("/dev/shm"), name) {
        Ok(dir) => places.push(("memory", dir, memory)),
        Err(error) => println!("SKIPPED: no trees in memory, /dev/shm: {error}"),
    }
    places
}

#[test]
fn thirty_thousand_levels() {
    for (place, dir, depth) in places("removal-deep", "SANDBOXSET_REMOVE_DEPTH", 30_000) {
        let tree = dir.path().join("tree");
        dig(&tree, depth);
        // The controls: who holds a descriptor for each level runs out of them, and who recurses out of stack.
        let output = remover("std", DESCRIPTORS, &tree, None);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let output = remover("std", "1000", &tree, None);
        assert!(output.status.signal().is_some(), "{output:?}");
        remove_bounded(&format!("deep, {place}"), depth, &tree, None);
    }
}

#[test]
fn very_many_entries() {
    for (place, dir, entries) in places("removal-wide", "SANDBOXSET_REMOVE_ENTRIES", 50_000) {
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        // Half of them in one directory, the others in directories of directories with one file each.
        let many = open_dir(CWD, &tree);
        for number in 0..entries / 2 {
            touch(&many, &format!("file {number}"));
        }
        for number in 0..entries / 6 {
            let dir = open_chain(&many, &[&format!("dir {number}"), "inner"]);
            touch(&dir, "file");
        }
        remove_bounded(&format!("wide, {place}"), entries, &tree, None);
    }
}

fn touch(dir: &OwnedFd, name: &str) {
    openat(dir, name, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)).unwrap();
}

fn open_chain(dir: &OwnedFd, names: &[&str]) -> OwnedFd {
    names.iter().fold(open_dir(dir, c"."), |dir, name| {
        mkdirat(&dir, *name, Mode::from_raw_mode(0o700)).unwrap();
        open_dir(&dir, *name)
    })
}

/// Names of every kind, directories closed to their owner, and the names that the remover itself gives.
fn plant_odd_things(tree: &Path) {
    fs::create_dir(tree).unwrap();
    let long = "x".repeat(255);
    let odd: [&[u8]; 8] =
        [long.as_bytes(), b"a\nb", b"\xff\xfe", b"-rf", b" ", b"*", b"\x1b]0;x\x07", b"..."];
    for (depth, name) in odd.iter().enumerate() {
        let name = OsStr::from_bytes(name);
        fs::write(tree.join(name), b"x").unwrap();
        let dir = tree.join(format!("directory {depth}")).join(name);
        fs::create_dir_all(dir.join(name)).unwrap();
        fs::write(dir.join("file"), b"x").unwrap();
    }
    for number in 1..=20 {
        fs::write(tree.join(format!(".sandboxset-removing-{number}")), b"x").unwrap();
    }
    for number in 21..=40 {
        let dir = tree.join(format!(".sandboxset-removing-{number}/.sandboxset-removing-1"));
        fs::create_dir_all(dir.join("inner")).unwrap();
    }
    fs::create_dir_all(tree.join("closed/closed/closed")).unwrap();
    fs::write(tree.join("closed/closed/closed/file"), b"x").unwrap();
    for closed in ["closed/closed/closed", "closed/closed", "closed", ""] {
        fs::set_permissions(tree.join(closed), Permissions::from_mode(0o000)).unwrap();
    }
}

#[test]
fn odd_names_and_closed_directories() {
    let dir = temporary_dir("removal-odd");
    let tree = dir.path().join("tree");
    plant_odd_things(&tree);
    remove(&tree).unwrap();
    assert!(!tree.exists());
}

/// Root may do anything; that a directory is closed stops only its owner.
#[test]
fn an_ordinary_user_removes_what_is_closed_to_itself() {
    let dir = temporary_dir("removal-ordinary");
    let Some(user) = ordinary_user() else {
        println!("SKIPPED: not root: the other test was this one");
        return;
    };
    let tree = dir.path().join("tree");
    plant_odd_things(&tree);
    std::os::unix::fs::chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    give_away(&tree, user.uid);
    // The control.
    let output = remover("std", "1000", &tree, Some(user));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = remover("ours", DESCRIPTORS, &tree, Some(user));
    assert!(output.status.success() && !tree.exists(), "{output:?}");
}

#[test]
fn what_belongs_to_the_user_of_a_sandbox() {
    if !is_root() {
        println!("SKIPPED: not root: nobody else's directories can be made");
        return;
    }
    let dir = temporary_dir("removal-foreign");
    let tree = dir.path().join("tree");
    plant_odd_things(&tree);
    give_away(&tree, sandboxset_keeper::FIRST_HOST_ID);
    remove_bounded("of another user", 1, &tree, None);
}

fn give_away(path: &Path, user: u32) {
    if path.symlink_metadata().unwrap().is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), user);
        }
    }
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
}

/// Things outside a tree, a link that leads to them, and what exchanges that link for a directory of the tree.
struct Outside {
    dir: TemporaryDir,
}

impl Outside {
    const CANARIES: usize = 20;

    fn new() -> Self {
        // In memory, if there is such a place: there the removal is fast enough to be raced often.
        let dir = temporary_dir_in(Path::new("/dev/shm"), "removal-exchange")
            .unwrap_or_else(|_| temporary_dir("removal-exchange"));
        let outside = Outside { dir };
        fs::create_dir_all(outside.path("outside/inner")).unwrap();
        for number in 0..Self::CANARIES {
            fs::write(outside.path(&format!("outside/canary {number}")), b"x").unwrap();
        }
        outside
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn exchange(&self, one: &CStr, other: &str) -> bool {
        let here = open_dir(CWD, self.dir.path());
        renameat_with(&here, one, &here, other, RenameFlags::EXCHANGE).is_ok()
    }

    /// The canaries that are still there, and the directory beside them.
    fn left(&self) -> usize {
        fs::read_dir(self.path("outside")).unwrap().count()
    }
}

#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    const DIRS: usize = 8;
    const FILES: usize = 20;
    let rounds = setting("SANDBOXSET_REMOVE_EXCHANGES", 100);
    let outside = Outside::new();
    let exchanged = AtomicU64::new(0);
    for _ in 0..rounds {
        let tree = outside.path("tree");
        for dir in 0..DIRS {
            fs::create_dir_all(tree.join(format!("{dir}/inner"))).unwrap();
            for file in 0..FILES {
                fs::write(tree.join(format!("{dir}/inner/{file}")), b"x").unwrap();
            }
        }
        symlink(outside.path("outside"), outside.path("link")).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for dir in 0..DIRS {
                        // To and fro, so that the link is in the tree about half of the time.
                        for name in [format!("tree/{dir}"), format!("tree/{dir}/inner")] {
                            exchanged.fetch_add(outside.exchange(c"link", &name).into(), Ordering::Relaxed);
                        }
                    }
                }
            });
            // What it answers in the middle of this is of no interest, only that it ends and hurts nobody.
            let _ = remove(&tree);
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(outside.left(), Outside::CANARIES + 1);
        remove(&tree).unwrap();
        remove(&outside.path("link")).or_else(|_| rustix::fs::unlink(outside.path("link"))).unwrap();
    }
    let exchanged = exchanged.into_inner();
    println!("{exchanged} exchanges during {rounds} removals: canaries untouched");
    assert!(exchanged > 0, "nothing was ever exchanged, so this shows nothing");
}

/// The control: who asks first what something is and then goes there by its name is led astray.
#[test]
fn a_naive_remover_is_led_astray() {
    let outside = Outside::new();
    fs::create_dir_all(outside.path("tree/victim")).unwrap();
    symlink(outside.path("outside"), outside.path("link")).unwrap();
    let victim = outside.path("tree/victim");
    assert!(victim.symlink_metadata().unwrap().is_dir());
    assert!(outside.exchange(c"link", "tree/victim"));
    for entry in fs::read_dir(&victim).unwrap() {
        let _ = fs::remove_file(entry.unwrap().path());
    }
    assert_eq!(outside.left(), 1);
}
