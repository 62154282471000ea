//! What mounts are made of: the new mount calls, on descriptors.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};

use crate::sys;

pub(crate) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
pub(crate) const WRITABLE: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// A detached copy of a tree with all mounts in it, with these attributes on every one of them.
pub(crate) fn copy_tree(dir: BorrowedFd<'_>, name: &CStr, attributes: u64) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = rustix::mount::open_tree(dir, name, flags)?;
    sys::mount_setattr(&tree, attributes)?;
    Ok(tree)
}

/// A detached copy of what is at a name, with the attributes of the mount that it is in.
pub(super) fn copy_mount(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    rustix::mount::open_tree(dir, name, flags)
}

/// A new file system, not attached anywhere yet.
pub(crate) fn mount_fs(kind: &str, options: &[(&str, &str)], attributes: u64) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        rustix::mount::fsconfig_set_string(&context, *key, *value)?;
    }
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

pub(crate) fn tmpfs(options: &[(&str, &str)], attributes: u64) -> Result<OwnedFd, Errno> {
    mount_fs("tmpfs", options, attributes)
}

/// Attaches a mount where nobody looks for anything, until the host's root goes with all that is mounted in it. Only
/// in our own mount namespace.
pub(super) fn park(mount: &OwnedFd) -> Result<(), Errno> {
    let place =
        ["/sys", "/tmp", "/mnt"].into_iter().find(|place| Path::new(place).is_dir()).unwrap_or("/proc");
    rustix::mount::move_mount(mount, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches a mount at a name in a directory. A link there is not followed.
pub(crate) fn move_to(mount: &OwnedFd, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    rustix::mount::move_mount(mount, c"", dir, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes only this mount read-only, not those on top of it.
pub(crate) fn make_read_only(mount: &OwnedFd) -> Result<(), Errno> {
    sys::mount_setattr_one(mount, libc::MOUNT_ATTR_RDONLY)
}

pub(super) fn new_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))
}

pub(crate) fn make_dir(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    new_dir(dir, name)?;
    rustix::fs::openat(
        dir,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

pub(crate) fn write_file(dir: BorrowedFd<'_>, name: &CStr, text: &str) -> Result<(), Errno> {
    write_bytes(dir, name, text.as_bytes(), 0o644)
}

pub(super) fn write_bytes(dir: BorrowedFd<'_>, name: &CStr, bytes: &[u8], mode: u32) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode))?;
    File::from(file).write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The names in an absolute path of the sandbox, at least one, with no way up among them.
pub(crate) fn names(path: &[u8]) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => names.push(CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(Errno::INVAL),
        }
    }
    if names.is_empty() { Err(Errno::INVAL) } else { Ok(names) }
}

/// Opens what is at a path, going through no link and never above the directory. A link at its end is opened itself.
pub(crate) fn beneath(dir: BorrowedFd<'_>, path: &CStr, extra: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(dir, path, flags, Mode::empty(), resolve)
}
