//! The mounter: a short-lived copy of the keeper that mounts, in a sandbox which is warm already, what is bound late.
//!
//! The init of a sandbox gave up every right to mount. But the keeper owns the sandbox's user namespace, so that a copy
//! of it may enter that and then has every right over the sandbox's mounts, without any privilege on the host. It does
//! not enter the sandbox's pid namespace: nobody inside can see it, signal it or look into it. What it enters by the
//! init opens, which is closed even to its own user; the keeper knows by the inode that it is what it should be.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::pipe::{PipeFlags, SpliceFlags};
use rustix::process::Signal;
use rustix::thread::LinkNameSpaceType;
use sandboxset_keeper::{
    BindLate, Bytes, Failure, MOUNT_STEP, MounterResult, SECRETS_DIR, SecretFile, UnbindLate,
};

use crate::init::mounts::{
    READ_ONLY, WRITABLE, beneath, copy_tree, make_dir, make_read_only, mount_fs, names, write_file,
};
use crate::init::{become_inner_user, failure, keep_only};
use crate::sys;

/// The life of a mounter. Called in the fresh clone; never returns. Answers on the reply socket.
pub(crate) fn main(fds: [OwnedFd; 3], request: &Request) -> ! {
    let code = match keep_only(fds) {
        Ok([reply, namespace, secrets]) => {
            let result: MounterResult = match request {
                Request::Bind(request) => bind(request, &namespace, &secrets),
                Request::Unbind(request) => unbind(request, &namespace).map(|()| Vec::new()),
            };
            i32::from(sandboxset_keeper::send(&reply, &result, &[]).is_err())
        }
        Err(_) => 1,
    };
    sys::exit(code)
}

/// What a mounter is to do.
pub(crate) enum Request {
    Bind(BindLate),
    Unbind(UnbindLate),
}

/// A copy of a part of the host's tree, not attached anywhere yet.
struct Source<'a> {
    target: &'a [u8],
    mount: OwnedFd,
    is_dir: bool,
}

/// Mounts everything, or fails; then the sandbox is of no more use. Answers which mount points were made.
fn bind(request: &BindLate, namespace: &OwnedFd, secrets: &OwnedFd) -> MounterResult {
    let step = |step: &'static str| move |errno| failure(step, errno);
    enter_user(namespace).map_err(step("enter the user namespace"))?;
    let sources = match request.binds.is_empty() {
        true => Vec::new(),
        false => copy_sources(request)?,
    };
    enter_mounts(namespace)?;
    let mut points = Points::open().map_err(step("open the root"))?;
    for Source { target, mount, is_dir } in &sources {
        let what = |errno| failure(&format!("{MOUNT_STEP}{}", String::from_utf8_lossy(target)), errno);
        points.attach(mount, target, *is_dir).map_err(what)?;
    }
    if !request.secrets.is_empty() {
        let mount = hold_secrets(&request.secrets, secrets).map_err(step("write the secrets"))?;
        points.attach(&mount, SECRETS_DIR.as_bytes(), true).map_err(step("mount the secrets"))?;
    }
    Ok(points.made)
}

/// Unmounts everything and removes the mount points that were made for it.
fn unbind(request: &UnbindLate, namespace: &OwnedFd) -> Result<(), Failure> {
    enter_user(namespace).map_err(|errno| failure("enter the user namespace", errno))?;
    enter_mounts(namespace)?;
    let what = |verb: &str, path: &[u8]| format!("{verb} {}", String::from_utf8_lossy(path));
    for target in request.targets.iter().rev() {
        // At once also if something inside uses it; whoever that is will be killed.
        rustix::mount::unmount(&**target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            .map_err(|errno| failure(&what("unmount", target), errno))?;
    }
    let points = Points::open().map_err(|errno| failure("open the root", errno))?;
    for path in request.made.iter().rev() {
        points.remove(path).map_err(|errno| failure(&what("remove", path), errno))?;
    }
    Ok(())
}

/// Enters the user namespace that a mount namespace belongs to, and so gets every right over either.
fn enter_user(namespace: &OwnedFd) -> Result<(), Errno> {
    let user = sys::owning_user_namespace(namespace)?;
    rustix::thread::move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))
}

/// Enters the sandbox's mounts as the sandbox's own user.
fn enter_mounts(namespace: &OwnedFd) -> Result<(), Failure> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        .map_err(|errno| failure("enter the mount namespace", errno))?;
    become_inner_user()?;
    // Changing the user cleared it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| failure("tie the mounter to the keeper", errno))
}

/// Copies the sources as the keeper's user, who may be the only one to see them. For that the mounter needs the host's
/// mounts in a namespace of its own, which belongs to the sandbox's user namespace.
fn copy_sources(request: &BindLate) -> Result<Vec<Source<'_>>, Failure> {
    sys::unshare_mount_namespace().map_err(|errno| failure("copy the host's mounts", errno))?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|errno| failure("make mounts private", errno))?;
    let copy = |source: &[u8]| {
        let opened = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        // What the host looked at may have been replaced since.
        if !matches!(kind, FileType::Directory | FileType::RegularFile) {
            return Err(Errno::INVAL);
        }
        Ok((copy_tree(opened.as_fd(), c"", READ_ONLY)?, kind == FileType::Directory))
    };
    let copied = request.binds.iter().map(|(source, target)| {
        let what = |errno| failure(&format!("bind {}", String::from_utf8_lossy(source)), errno);
        copy(source).map_err(what).map(|(mount, is_dir)| Source { target, mount, is_dir })
    });
    copied.collect()
}

/// A file system that is never swapped out, with a file for each secret, that nobody can write to. It is a ramfs,
/// because a tmpfs without swap is refused in a user namespace.
fn hold_secrets(secrets: &[SecretFile], bytes: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mount = mount_fs("ramfs", &[("mode", "0755")], WRITABLE | libc::MOUNT_ATTR_NOEXEC)?;
    let (from, into) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    for secret in secrets {
        let name = CString::new(&*secret.name).map_err(|_| Errno::INVAL)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&mount, &*name, flags, Mode::from_raw_mode(0o400))?;
        let mut left = usize::try_from(secret.length).map_err(|_| Errno::FBIG)?;
        // Through a pipe, so that they never are in the memory of this process.
        while left > 0 {
            let mut moved = rustix::pipe::splice(bytes, None, &into, None, left, SpliceFlags::empty())?;
            if moved == 0 {
                return Err(Errno::PIPE);
            }
            left -= moved;
            while moved > 0 {
                moved -= rustix::pipe::splice(&from, None, &file, None, moved, SpliceFlags::empty())?;
            }
        }
    }
    make_read_only(&mount)?;
    Ok(mount)
}

/// Mount points: those that are there, and those that have to be made.
struct Points {
    root: OwnedFd,
    /// The file system of the root alone, writable and attached nowhere. In the sandbox it is read-only.
    own: OwnedFd,
    /// What was made, from above to below.
    made: Vec<Bytes>,
}

impl Points {
    fn open() -> Result<Self, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let own = rustix::mount::open_tree(CWD, c"/", flags)?;
        sys::clear_mount_attributes(&own, libc::MOUNT_ATTR_RDONLY)?;
        let root = rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Points { root, own, made: Vec::new() })
    }

    /// Mounts at an absolute path, never through a link. What is missing on the way is made in the root's own file
    /// system, and nowhere else.
    fn attach(&mut self, mount: &OwnedFd, target: &[u8], is_dir: bool) -> Result<(), Errno> {
        let names = names(target)?;
        let mut point = beneath(self.root.as_fd(), c".", OFlags::DIRECTORY)?;
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let kind = if is_last { OFlags::empty() } else { OFlags::DIRECTORY };
            point = match beneath(point.as_fd(), name, kind) {
                Err(Errno::NOENT) => {
                    self.make(&names[..=index], is_dir || !is_last)?;
                    beneath(point.as_fd(), name, kind)?
                }
                other => other?,
            };
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(mount, c"", &point, c"", flags)
    }

    fn make(&mut self, names: &[CString], is_dir: bool) -> Result<(), Errno> {
        let (name, above) = names.split_last().ok_or(Errno::INVAL)?;
        let dir = self.dir_of(above)?;
        match is_dir {
            true => make_dir(dir.as_fd(), name).map(drop)?,
            false => write_file(dir.as_fd(), name, "")?,
        }
        let path = names.iter().flat_map(|name| [b"/", name.to_bytes()]).flatten().copied();
        self.made.push(path.collect());
        Ok(())
    }

    fn remove(&self, path: &[u8]) -> Result<(), Errno> {
        let names = names(path)?;
        let (name, above) = names.split_last().ok_or(Errno::INVAL)?;
        let dir = self.dir_of(above)?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&dir, name, flags)
    }

    /// A directory of the root's own file system. One on which something is mounted is not one, though it has the name.
    fn dir_of(&self, names: &[CString]) -> Result<OwnedFd, Errno> {
        let mut own = beneath(self.own.as_fd(), c".", OFlags::DIRECTORY)?;
        let mut seen = beneath(self.root.as_fd(), c".", OFlags::DIRECTORY)?;
        for name in names {
            own = beneath(own.as_fd(), name, OFlags::DIRECTORY)?;
            seen = beneath(seen.as_fd(), name, OFlags::DIRECTORY)?;
        }
        let identity = |dir: &OwnedFd| rustix::fs::fstat(dir).map(|stat| (stat.st_dev, stat.st_ino));
        if identity(&own)? != identity(&seen)? {
            return Err(Errno::ROFS);
        }
        Ok(own)
    }
}
