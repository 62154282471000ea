//! The guest's first process: its file system, its cgroups, its host processes, and its end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::WaitOptions;
use rustix::system::RebootCommand;
use sandboxset_tests::lacks::LACKS;
use sandboxset_tests::worlds::{Actor, World};

use crate::{PROGRAM, hang, lacking};

/// What the sandboxes run: one program under all its names.
const INSIDE: &str = "/bin/inside";
const NAMES: &[&str] = &["true", "id", "hog", "forks", "burn", "bomb", "tick", "sleep"];

/// Tries one world, then switches the guest off.
pub(crate) fn run(world: &str) -> ! {
    // Without this a panic would leave the kernel to wait for ever.
    let result = std::panic::catch_unwind(|| {
        make_root();
        hang::watch();
        // Those that lack something else have every cgroup.
        let lacking = world == "lacking";
        let world = World::named(if lacking { "v2" } else { world });
        mount_trees(world);
        match lacking {
            true => LACKS.iter().for_each(lacking::try_one),
            false => world.actors.iter().for_each(|actor| run_actor(world, actor)),
        }
    });
    println!("RESULT {}", if result.is_ok() { "end" } else { "the first process panicked" });
    rustix::system::reboot(RebootCommand::Restart).unwrap();
    unreachable!("the guest was switched off");
}

/// The archive that the guest was started from cannot be the old root of a `pivot_root`, as every real root can. So
/// all that there is moves into one of its own.
fn make_root() {
    let mount_new = |kind: &str, target: &str| {
        fs::create_dir_all(target).unwrap();
        mount(kind, target, kind, MountFlags::empty(), None).unwrap();
    };
    mount_new("tmpfs", "/root");
    for dir in ["bin", "lib", "lib64"] {
        copy_tree(&Path::new("/").join(dir), &Path::new("/root").join(dir));
    }
    rustix::process::chdir("/root").unwrap();
    mount_move(".", "/").unwrap();
    rustix::process::chroot(".").unwrap();
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        mount_new(kind, target);
    }
    fs::set_permissions("/tmp", PermissionsExt::from_mode(0o1777)).unwrap();
    for name in NAMES {
        symlink(INSIDE, format!("/bin/{name}")).unwrap();
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn mount_trees(world: &World) {
    // A directory to mount on, whatever the kernel made there.
    if !world.trees().is_empty() {
        mount("tmpfs", "/sys/fs/cgroup", "tmpfs", MountFlags::empty(), None).unwrap();
    }
    for controller in world.v1 {
        let target = format!("/sys/fs/cgroup/{controller}");
        fs::create_dir(&target).unwrap();
        mount("cgroup", &target, "cgroup", MountFlags::empty(), Some(&*c_string(controller))).unwrap();
    }
    if let Some(target) = world.v2 {
        fs::create_dir_all(target).unwrap();
        mount("cgroup2", target, "cgroup2", MountFlags::empty(), Some(c"nsdelegate")).unwrap();
    }
}

fn c_string(text: &str) -> std::ffi::CString {
    std::ffi::CString::new(text).unwrap()
}

/// Runs a host process where the table wants it.
fn run_actor(world: &World, actor: &Actor) {
    for tree in world.trees() {
        fs::create_dir_all(Path::new(&tree).join(actor.cgroup)).unwrap();
    }
    if let Some(dir) = actor.delegated {
        let delegate_in = |tree: &String| {
            delegate(Path::new(tree), Path::new(dir), Path::new(actor.cgroup), actor.uid);
        };
        world.trees().iter().for_each(delegate_in);
    }
    let mut command = Command::new(PROGRAM);
    command.arg0("enter").args([world.name, actor.name]);
    let status = run_command(&mut command);
    println!("RESULT actor {} ended: {status:?}", actor.name);
}

/// Runs a command to its end, and reaps the orphans that come to us meanwhile, keepers first. Answers its exit code.
#[allow(clippy::zombie_processes, reason = "it is waited for with all others")]
pub(crate) fn run_command(command: &mut Command) -> Option<i32> {
    let pid = command.spawn().unwrap().id() as i32;
    loop {
        let (ended, status) = rustix::process::wait(WaitOptions::empty()).unwrap().unwrap();
        if ended.as_raw_nonzero().get() == pid {
            return status.exit_status();
        }
    }
}

/// Hands a cgroup to a user, as systemd does: every controller that the tree has to give, the directory and the files
/// that give processes and controllers away; and what is below it on the way to the user's process.
fn delegate(tree: &Path, dir: &Path, down_to: &Path, uid: u32) {
    let mut parent = tree.to_owned();
    for component in dir {
        let available = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        for name in available.split_whitespace().filter(|name| ["memory", "pids", "cpu"].contains(name)) {
            fs::write(parent.join("cgroup.subtree_control"), format!("+{name}")).unwrap();
        }
        parent.push(component);
    }
    for dir in tree.join(down_to).ancestors().take_while(|path| path.starts_with(&parent)) {
        chown(dir, Some(uid), Some(uid)).unwrap();
        let files = ["cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "tasks"];
        for file in files.map(|file| dir.join(file)).iter().filter(|file| file.exists()) {
            chown(file, Some(uid), Some(uid)).unwrap();
        }
    }
}

/// Becomes the host process: in its cgroups, as its user.
pub(crate) fn enter(world: &str, actor: &str) {
    let world = World::named(world);
    let actor = world.actor(actor);
    for tree in world.trees() {
        fs::write(Path::new(&tree).join(actor.cgroup).join("cgroup.procs"), "0").unwrap();
    }
    let mut command = Command::new(PROGRAM);
    let error = command.arg0("actor").args([world.name, actor.name]).uid(actor.uid).gid(actor.uid).exec();
    panic!("{error}");
}
