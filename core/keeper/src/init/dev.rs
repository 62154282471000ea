//! `/dev`: a fixed list, on a tmpfs of our own.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use sandboxset_keeper::Failure;

use super::failure;
use super::mounts::{WRITABLE, make_read_only, mount_fs, move_to, new_dir, tmpfs, write_file};

/// A copy of a device node of the host, not attached anywhere yet. A user namespace cannot make nodes.
pub(super) struct Device {
    name: CString,
    mount: OwnedFd,
}

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Terminals that one sandbox may have open. The kernel's pool is shared by the whole machine.
const TERMINALS: &str = "16";

/// Copies the host's nodes, as a user who may see them.
pub(super) fn collect() -> Result<Vec<Device>, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mut devices = Vec::new();
    for name in DEVICES {
        let path = format!("/dev/{name}");
        let mount = rustix::mount::open_tree(CWD, &*path, flags)
            .map_err(|errno| failure(&format!("copy {path}"), errno))?;
        devices.extend(CString::new(*name).ok().map(|name| Device { name, mount }));
    }
    Ok(devices)
}

/// Mounts `/dev` with the devices, own terminals, own message queues, and `/dev/shm` with these options.
pub(super) fn mount(root: &OwnedFd, devices: Vec<Device>, shm: &[(&str, &str)]) -> Result<(), Failure> {
    populate(root, devices, shm).map_err(|errno| failure("make /dev", errno))
}

fn populate(root: &OwnedFd, devices: Vec<Device>, shm: &[(&str, &str)]) -> Result<(), Errno> {
    let dev = tmpfs(&[("size", "64k"), ("nr_inodes", "32"), ("mode", "0755")], libc::MOUNT_ATTR_NOSUID)?;
    new_dir(root.as_fd(), c"dev")?;
    move_to(&dev, root.as_fd(), c"dev")?;
    for Device { name, mount } in devices {
        write_file(dev.as_fd(), &name, "")?;
        move_to(&mount, dev.as_fd(), &name)?;
    }
    for (name, target) in [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
        (c"ptmx", c"pts/ptmx"),
    ] {
        rustix::fs::symlinkat(target, &dev, name)?;
    }
    let terminals = [("ptmxmode", "0666"), ("mode", "0620"), ("max", TERMINALS)];
    let no_exec = WRITABLE | libc::MOUNT_ATTR_NOEXEC;
    for (name, mount) in [
        (c"shm", tmpfs(shm, WRITABLE)?),
        // Devices are what a terminal file system consists of.
        (c"pts", mount_fs("devpts", &terminals, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)?),
        (c"mqueue", mount_fs("mqueue", &[], no_exec)?),
    ] {
        new_dir(dev.as_fd(), name)?;
        move_to(&mount, dev.as_fd(), name)?;
    }
    make_read_only(&dev)
}
