//! The root file system of a sandbox, built on descriptors with the new mount calls: no path of a directory that
//! somebody else may change is ever resolved twice.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};
use sandboxset_keeper::{Create, Failure, LayerReport, LayerStatus, Root};

use super::dev::Device;
use super::mounts::{READ_ONLY, WRITABLE, copy_tree, make_dir, make_read_only, move_to, tmpfs, write_file};
use super::{confine, dev, failure, layer, proc};
use crate::sys;

/// What of the host's root is visible in a sandbox with the host's root file system.
const HOST_DIRS: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What of the host's `/etc` is visible there: what programs need to find libraries and alternatives.
const HOST_ETC: &[&str] =
    &["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "ssl/certs"];
/// What every sandbox has of its own, whatever the root directory holds under these names.
const OWN_DIRS: &[&str] = &["proc", "dev", "sys", "tmp", "scratch", "code", "run"];

const PASSWD: &str = "root:x:0:0:root:/root:/usr/sbin/nologin\nsandbox:x:1000:1000:sandbox:/scratch:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nsandbox:x:1000:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost sandbox\n::1 localhost\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\n";

/// A copy of a part of the host's tree, not attached anywhere yet, and where it belongs.
struct Piece {
    target: Target,
    mount: OwnedFd,
    is_dir: bool,
}

enum Target {
    /// An entry of the root directory.
    Top(CString),
    /// An absolute path.
    Path(Vec<u8>),
}

/// Builds the root and moves into it. Afterwards this process is the sandbox's own user.
pub(super) fn build(create: &Create, report: &mut Vec<LayerReport>) -> Result<(), Failure> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|errno| failure("make mounts private", errno))?;
    // As the keeper's user, who may be the only one to see them, and before anything covers them.
    let mut pieces = Vec::new();
    let links = collect_root(create, &mut pieces)?;
    let extra = collect_extra(create)?;
    let devices = dev::collect()?;
    confine::become_inner_user()?;

    let root = new_root()?;
    for (name, target) in links {
        rustix::fs::symlinkat(&target, &root, &name)
            .map_err(|errno| failure("make a link in the root", errno))?;
    }
    for piece in &pieces {
        attach(&root, piece)?;
    }
    if create.root == Root::Host {
        make_etc(&root)?;
    }
    mount_own(&root, create, devices, report)?;
    for piece in &extra {
        attach(&root, piece)?;
    }
    enter(&root)?;
    report.push(layer("root", LayerStatus::Active, "pivot_root, read-only"));
    rustix::system::sethostname(b"sandbox").map_err(|errno| failure("set the host name", errno))?;
    sys::set_interface_up(c"lo").map_err(|errno| failure("switch the loopback interface on", errno))
}

/// Copies every entry of the root directory; answers its links, which are made anew.
fn collect_root(create: &Create, pieces: &mut Vec<Piece>) -> Result<Vec<(CString, CString)>, Failure> {
    let base = match &create.root {
        Root::Host => Path::new("/"),
        Root::Directory(path) => Path::new(OsStr::from_bytes(path)),
    };
    let dir =
        open_path(base).map_err(|errno| failure(&format!("open the root {}", base.display()), errno))?;
    let names: Vec<CString> = match &create.root {
        Root::Host => HOST_DIRS.iter().filter_map(|name| CString::new(*name).ok()).collect(),
        Root::Directory(_) => entries(base)?,
    };
    let mut links = Vec::new();
    for name in names {
        let stat = match rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failure(&format!("look at {name:?} in the root"), errno)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&dir, &name, Vec::new())
                    .map_err(|errno| failure(&format!("read the link {name:?} in the root"), errno))?;
                links.push((name, target));
            }
            kind @ (FileType::Directory | FileType::RegularFile) => {
                let mount = copy_tree(dir.as_fd(), &name, READ_ONLY)
                    .map_err(|errno| failure(&format!("copy {name:?} of the root"), errno))?;
                pieces.push(Piece { target: Target::Top(name), mount, is_dir: kind == FileType::Directory });
            }
            // A device or socket in a root directory is nothing that a sandbox should reach.
            _ => {}
        }
    }
    Ok(links)
}

fn entries(base: &Path) -> Result<Vec<CString>, Failure> {
    let unreadable = |error: std::io::Error| Failure {
        step: format!("list the root {}", base.display()),
        errno: error.raw_os_error().unwrap_or(0),
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(base).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        if OWN_DIRS.iter().any(|own| name == *own) {
            continue;
        }
        names.extend(CString::new(name.into_vec()).ok());
    }
    Ok(names)
}

/// Copies what the spec adds: parts of `/etc`, the code dir, a disk scratch dir, binds.
fn collect_extra(create: &Create) -> Result<Vec<Piece>, Failure> {
    let mut pieces = Vec::new();
    let mut add = |source: &[u8], target: &[u8], attributes: u64| {
        let path = Path::new(OsStr::from_bytes(source));
        let step = |errno| failure(&format!("bind {}", path.display()), errno);
        let opened = open_path(path).map_err(step)?;
        let stat = rustix::fs::fstat(&opened).map_err(step)?;
        let mount = copy_tree(opened.as_fd(), c"", attributes).map_err(step)?;
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        pieces.push(Piece { target: Target::Path(target.to_vec()), mount, is_dir });
        Ok(())
    };
    if create.root == Root::Host {
        for name in HOST_ETC {
            let path = format!("/etc/{name}");
            if Path::new(&path).exists() {
                add(path.as_bytes(), path.as_bytes(), READ_ONLY)?;
            }
        }
    }
    if let Some(source) = &create.code_dir {
        add(source, b"/code", READ_ONLY)?;
    }
    if let Some(source) = &create.disk_scratch {
        add(source, b"/scratch", WRITABLE)?;
    }
    for bind in &create.binds {
        add(&bind.source, &bind.target, if bind.writable { WRITABLE } else { READ_ONLY })?;
    }
    Ok(pieces)
}

/// A tmpfs that covers some directory of the host, in our own mount namespace only.
fn new_root() -> Result<OwnedFd, Failure> {
    let step = |errno| failure("make the root", errno);
    let root = tmpfs(&[("size", "1m"), ("nr_inodes", "512"), ("mode", "0755")], WRITABLE).map_err(step)?;
    let place = ["/tmp", "/mnt", "/usr", "/etc"]
        .into_iter()
        .find(|place| Path::new(place).is_dir())
        .unwrap_or("/proc");
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&root, c"", CWD, place, flags).map_err(step)?;
    Ok(root)
}

/// The part of `/etc` that is the same everywhere.
fn make_etc(root: &OwnedFd) -> Result<(), Failure> {
    let etc = make_dir(root.as_fd(), c"etc").map_err(|errno| failure("make /etc", errno))?;
    for (name, text) in
        [(c"passwd", PASSWD), (c"group", GROUP), (c"hosts", HOSTS), (c"nsswitch.conf", NSSWITCH)]
    {
        write_file(etc.as_fd(), name, text).map_err(|errno| failure(&format!("write {name:?}"), errno))?;
    }
    Ok(())
}

/// `/proc`, `/dev`, `/tmp` and `/scratch`.
fn mount_own(
    root: &OwnedFd,
    create: &Create,
    devices: Vec<Device>,
    report: &mut Vec<LayerReport>,
) -> Result<(), Failure> {
    let bytes = create.limits.scratch_bytes.to_string();
    let inodes = create.limits.scratch_inodes.to_string();
    let limited = |mode| [("size", &*bytes), ("nr_inodes", &*inodes), ("mode", mode)];
    let mount_tmpfs = |name: &CStr, mode| {
        let mount =
            tmpfs(&limited(mode), WRITABLE).map_err(|errno| failure(&format!("mount {name:?}"), errno))?;
        attach(root, &Piece { target: Target::Top(name.into()), mount, is_dir: true })
    };
    // Late secrets will be mounted in it.
    make_dir(root.as_fd(), c"run").map_err(|errno| failure("make /run", errno))?;
    mount_tmpfs(c"tmp", "1777")?;
    if create.disk_scratch.is_none() {
        mount_tmpfs(c"scratch", "0755")?;
    }
    dev::mount(root, devices, &limited("1777"))?;
    proc::mount(root, create, report)
}

/// Makes the new root this process's root and lets go of the old one.
fn enter(root: &OwnedFd) -> Result<(), Failure> {
    make_read_only(root).map_err(|errno| failure("make the root read-only", errno))?;
    let step = |errno| failure("enter the root", errno);
    rustix::process::fchdir(root).map_err(step)?;
    // The old root ends up mounted over the new one, where it can be taken off without a name.
    rustix::process::pivot_root(c".", c".").map_err(step)?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH).map_err(step)?;
    rustix::process::chdir(c"/").map_err(step)
}

/// Puts a piece where it belongs, making the mount point if the directory it is in is ours.
fn attach(root: &OwnedFd, piece: &Piece) -> Result<(), Failure> {
    let result = match &piece.target {
        Target::Top(name) => make_point(root.as_fd(), name, piece.is_dir)
            .and_then(|()| move_to(&piece.mount, root.as_fd(), name)),
        Target::Path(path) => attach_at(root, path, piece),
    };
    result.map_err(|errno| {
        let name = match &piece.target {
            Target::Top(name) => name.to_string_lossy().into_owned(),
            Target::Path(path) => String::from_utf8_lossy(path).into_owned(),
        };
        failure(&format!("mount {name}"), errno)
    })
}

/// Walks to the target one name at a time, never through a link, making what is missing where that is possible.
fn attach_at(root: &OwnedFd, path: &[u8], piece: &Piece) -> Result<(), Errno> {
    let mut names = Vec::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => names.push(CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?),
            Component::RootDir | Component::CurDir => {}
            _ => return Err(Errno::INVAL),
        }
    }
    let last = names.pop().ok_or(Errno::INVAL)?;
    let mut dir = root.try_clone().map_err(|_| Errno::MFILE)?;
    for name in names {
        make_point(dir.as_fd(), &name, true)?;
        dir = beneath(dir.as_fd(), &name, OFlags::DIRECTORY)?;
    }
    make_point(dir.as_fd(), &last, piece.is_dir)?;
    let point = beneath(dir.as_fd(), &last, OFlags::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(&piece.mount, c"", &point, c"", flags)
}

/// Makes a mount point unless something is there already.
fn make_point(dir: BorrowedFd<'_>, name: &CStr, is_dir: bool) -> Result<(), Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    if is_dir { make_dir(dir, name).map(drop) } else { write_file(dir, name, "") }
}

fn beneath(dir: BorrowedFd<'_>, name: &CStr, extra: OFlags) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | extra;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(dir, name, flags, Mode::empty(), resolve)
}

/// Opens a path of the host as given, links included: it is the operator's own.
fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
