//! `/proc`: our own processes, the kernel's settings read-only, and nothing of what tells about the machine.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use sandboxset_keeper::{Create, Failure, LayerReport, LayerStatus};

use super::mounts::{
    READ_ONLY, WRITABLE, copy_mount, copy_tree, make_read_only, mount_fs, move_to, new_dir, tmpfs, write_file,
};
use super::{failure, layer};

/// What may be read but not written: Docker's list.
const READ_ONLY_PATHS: &[&CStr] = &[c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];
/// What is covered by something empty: Docker's list as of 2026, for what lies below `/proc`.
const MASKED_PATHS: &[&CStr] = &[
    c"acpi",
    c"asound",
    c"interrupts",
    c"kcore",
    c"keys",
    c"kpagecgroup",
    c"kpagecount",
    c"kpageflags",
    c"latency_stats",
    c"sched_debug",
    c"scsi",
    c"timer_list",
    c"timer_stats",
    c"kallsyms",
    c"kmsg",
    c"vmallocinfo",
    c"slabinfo",
    c"key-users",
];

/// Instances of inotify that a sandbox may have, and watches in all of them together. The kernel counts both also for
/// whoever made the user namespace, so that without limits of their own one sandbox could take all that its maker's
/// other sandboxes and programs may have: 128 instances where nobody raised that.
const INOTIFY: [u32; 2] = [8, 4096];
/// The same of a sandbox that is forked, together with all its forks, whose user namespaces are below its own.
const INOTIFY_OF_FAMILY: [u32; 2] = [64, 32768];

/// Mounts `/proc`.
pub(super) fn mount(root: &OwnedFd, create: &Create, report: &mut Vec<LayerReport>) -> Result<(), Failure> {
    let step = |errno| failure("mount /proc", errno);
    let attributes = WRITABLE | libc::MOUNT_ATTR_NOEXEC;
    let proc = mount_fs("proc", &[], attributes).map_err(step)?;
    new_dir(root.as_fd(), c"proc").map_err(step)?;
    let is_off = |name: &str| create.off.iter().any(|off| off == name);
    // What covers lies under it, where nobody sees it: before Linux 6.15 only what is mounted somewhere can be copied.
    let empty = if is_off("proc.masks") { None } else { Some(mount_empty(root)) };
    move_to(&proc, root.as_fd(), c"proc").map_err(step)?;
    report.push(layer("proc", LayerStatus::Active, "own processes only"));

    let forks = create.runtime.as_ref().is_some_and(|runtime| runtime.forks);
    report.push(match is_off("nested_user_namespaces") {
        _ if forks => {
            let why = "by the system call filter only: the forks of this sandbox are below it";
            layer("nested_user_namespaces", LayerStatus::Degraded, why)
        }
        true => layer("nested_user_namespaces", LayerStatus::Missing, "switched off"),
        false => match limit(&proc, c"sys/user/max_user_namespaces", 0) {
            Ok(()) => {
                layer("nested_user_namespaces", LayerStatus::Active, "none: limit 0 in the sandbox's own")
            }
            Err(errno) => {
                let why = format!("by the system call filter only; the limit cannot be set: {errno}");
                layer("nested_user_namespaces", LayerStatus::Degraded, &why)
            }
        },
    });
    report.push(limit_inotify(&proc, if forks { INOTIFY_OF_FAMILY } else { INOTIFY }));
    report.push(match empty.map(|empty| mask(&proc, &empty?)) {
        None => layer("proc.masks", LayerStatus::Missing, "switched off"),
        Some(Ok(())) => {
            layer("proc.masks", LayerStatus::Active, "settings read-only, the machine's state covered")
        }
        Some(Err(errno)) => layer("proc.masks", LayerStatus::Missing, &format!("cannot be mounted: {errno}")),
    });
    Ok(())
}

fn limit_inotify(proc: &OwnedFd, [instances, watches]: [u32; 2]) -> LayerReport {
    let limited = limit(proc, c"sys/user/max_inotify_instances", instances)
        .and_then(|()| limit(proc, c"sys/user/max_inotify_watches", watches));
    match limited {
        Ok(()) => {
            let detail = format!("at most {instances} instances with {watches} watches");
            layer("inotify", LayerStatus::Active, &detail)
        }
        Err(errno) => layer("inotify", LayerStatus::Missing, &format!("the limits cannot be set: {errno}")),
    }
}

/// Sets a limit that belongs to our user namespace, in which nobody keeps the capability to raise it.
fn limit(proc: &OwnedFd, path: &CStr, value: u32) -> Result<(), Errno> {
    let file = rustix::fs::openat(proc, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.to_string().as_bytes()).map(drop)
}

/// One empty file and one empty directory of our own, which cover everything.
fn mount_empty(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let empty =
        tmpfs(&[("size", "4k"), ("nr_inodes", "4"), ("mode", "0555")], READ_ONLY & !libc::MOUNT_ATTR_RDONLY)?;
    write_file(empty.as_fd(), c"file", "")?;
    new_dir(empty.as_fd(), c"dir")?;
    // What is copied of it has its attributes.
    make_read_only(&empty)?;
    move_to(&empty, root.as_fd(), c"proc")?;
    Ok(empty)
}

fn mask(proc: &OwnedFd, empty: &OwnedFd) -> Result<(), Errno> {
    for path in READ_ONLY_PATHS {
        match copy_tree(proc.as_fd(), path, READ_ONLY) {
            Ok(copy) => move_to(&copy, proc.as_fd(), path)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    for path in MASKED_PATHS {
        let kind = match rustix::fs::statat(proc, *path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        };
        let cover = if kind == FileType::Directory { c"dir" } else { c"file" };
        move_to(&copy_mount(empty.as_fd(), cover)?, proc.as_fd(), path)?;
    }
    Ok(())
}
