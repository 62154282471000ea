//! Files and the runtime's socket, opened from inside, so that every path means what it means in the sandbox.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sandboxset_keeper::{Failure, FromInit, RUNTIME_SOCKET, remove_tree};

use super::failure;
use crate::sys::{self, Forked};

/// `PROC_SUPER_MAGIC`: what lies in `/proc` is about this init, not about the sandbox's files.
const PROC_MAGIC: u64 = 0x9fa0;

/// Connects to the runtime. The stream blocks for whoever gets it.
pub(super) fn connect() -> Result<OwnedFd, Failure> {
    let step = |errno| failure("connect to the runtime", errno);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(step)?;
    let address = SocketAddrUnix::new(RUNTIME_SOCKET).map_err(step)?;
    rustix::net::connect(&socket, &address).map_err(step)?;
    rustix::io::ioctl_fionbio(&socket, false).map_err(step)?;
    Ok(socket)
}

/// Opens a file for reading or a directory for listing, without ever waiting for somebody at the other end.
pub(super) fn open(path: &[u8], directory: bool) -> Result<OwnedFd, Failure> {
    let step = |errno| failure("open the file", errno);
    let kind = if directory { OFlags::DIRECTORY } else { OFlags::empty() };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | kind;
    let path = absolute(path).map_err(step)?;
    let fd =
        retry_on_intr(|| rustix::fs::openat2(CWD, &*path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS))
            .map_err(step)?;
    let stat = rustix::fs::fstatfs(&fd).map_err(step)?;
    if stat.f_type as u64 == PROC_MAGIC {
        return Err(step(Errno::ACCESS));
    }
    Ok(fd)
}

/// Opens our own mount namespace, which is closed to everybody else without privileges: we are undumpable.
pub(super) fn open_mounts() -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::open(c"/proc/self/ns/mnt", flags, Mode::empty()))
        .map_err(|errno| failure("open the mount namespace", errno))
}

/// Creates or replaces a file: written under another name first, so that it is there whole or not at all.
pub(super) fn write(path: &[u8], mode: u32, parents: bool, contents: &OwnedFd) -> Result<(), Failure> {
    if parents {
        make_parents(path).map_err(|errno| failure("make the directory", errno))?;
    }
    let (dir, name) = parent(path).map_err(|errno| failure("open the directory", errno))?;
    let partial = CString::new(
        [b".sandboxset-partial-".as_slice(), rustix::process::getpid().to_string().as_bytes()].concat(),
    )
    .map_err(|_| failure("name the file", Errno::INVAL))?;
    let written = write_new(&dir, &partial, mode, contents).and_then(|()| {
        rustix::fs::renameat(&dir, &partial, &dir, &name)
            .map_err(|errno| failure("put the file in its place", errno))
    });
    if written.is_err() {
        let _ = rustix::fs::unlinkat(&dir, &partial, AtFlags::empty());
    }
    written
}

fn write_new(dir: &OwnedFd, name: &CString, mode: u32, contents: &OwnedFd) -> Result<(), Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = retry_on_intr(|| rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)))
        .map_err(|errno| failure("create the file", errno))?;
    let step = |errno| failure("write the file", errno);
    let mut left = rustix::fs::fstat(contents).map_err(step)?.st_size as usize;
    while left > 0 {
        match rustix::fs::sendfile(&file, contents, None, left) {
            Ok(0) => return Err(step(Errno::IO)),
            Ok(count) => left -= count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(step(errno)),
        }
    }
    // Permission bits only: nothing a sandbox holds should be setuid.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777)).map_err(step)
}

/// Removes a file, a link itself, or a directory with all it holds.
pub(super) fn remove(path: &[u8]) -> Result<(), Failure> {
    let step = |errno| failure("remove the file", errno);
    let (dir, name) = parent(path).map_err(step)?;
    let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(step)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return remove_tree(dir.as_fd(), &name).map_err(step);
    }
    rustix::fs::unlinkat(&dir, &name, AtFlags::empty()).map_err(step)
}

/// Does work that may take long in a process of its own, which answers on the reply socket.
pub(super) fn in_child(reply: OwnedFd, work: impl FnOnce() -> Result<(), Failure>) {
    match sys::clone3(0, None) {
        Ok(Forked::Parent(..)) => {}
        Ok(Forked::Child) => {
            let message = match work() {
                Ok(()) => FromInit::Done,
                Err(failure) => FromInit::Failed(failure),
            };
            let _ = sandboxset_keeper::send(&reply, &message, &[]);
            sys::exit(0)
        }
        Err(errno) => {
            let _ =
                sandboxset_keeper::send(&reply, &FromInit::Failed(failure("start a process", errno)), &[]);
        }
    }
}

/// Makes the directories above a path. Links on the way lead nowhere but inside, with no more rights than any command.
fn make_parents(path: &[u8]) -> Result<(), Errno> {
    let path = absolute(path)?;
    let Some(parent) = Path::new(OsStr::from_bytes(path.to_bytes())).parent() else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The directory that a path is in, and its last name.
fn parent(path: &[u8]) -> Result<(OwnedFd, CString), Errno> {
    let path = absolute(path)?;
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::INVAL) };
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = retry_on_intr(|| {
        rustix::fs::openat2(CWD, parent, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
    })?;
    Ok((dir, name))
}

/// Relative paths begin at the scratch dir.
fn absolute(path: &[u8]) -> Result<CString, Errno> {
    let bytes = if path.starts_with(b"/") { path.to_vec() } else { [b"/scratch/".as_slice(), path].concat() };
    CString::new(bytes).map_err(|_| Errno::INVAL)
}
