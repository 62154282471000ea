//! The root file system of a sandbox, built on descriptors with the new mount calls: no path of a directory that
//! somebody else may change is ever resolved twice.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use sandboxset_keeper::{BRING_STEP, Create, Failure, LayerReport, LayerStatus, MOUNT_STEP, Root};

use super::dev::Device;
use super::mounts::{
    READ_ONLY, WRITABLE, beneath, copy_tree, make_dir, make_read_only, move_to, names, new_dir, park, tmpfs,
    write_bytes, write_file,
};
use super::share::{self, Part, Tree};
use super::{confine, dev, failure, layer, proc};

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

/// A part of the sandbox's tree that is not in place yet.
pub(super) struct Piece {
    pub(super) target: Target,
    pub(super) contents: Contents,
    pub(super) is_dir: bool,
}

/// What a root is made of.
pub(super) struct Material {
    links: Vec<(CString, CString)>,
    /// What every sandbox of this recipe sees, and how it is shared.
    shared: Vec<Piece>,
    sharing: LayerReport,
    brought: Vec<Piece>,
    binds: Vec<Piece>,
    devices: Vec<Device>,
}

pub(super) enum Contents {
    /// Not attached anywhere yet.
    Mount(OwnedFd),
    Copy {
        bytes: Vec<u8>,
        mode: u32,
    },
}

#[derive(Clone)]
pub(super) enum Target {
    /// An entry of the root directory.
    Top(CString),
    /// An absolute path.
    Path(Vec<u8>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Top(name) => write!(f, "/{}", name.to_string_lossy()),
            Target::Path(path) => f.write_str(&String::from_utf8_lossy(path)),
        }
    }
}

/// The paths of the host that [`collect`] makes a sandbox of: those of the root itself, of which some are listed or
/// copied, and those that are only mounted.
pub(crate) fn sources(create: &Create) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let root = match &create.root {
        Root::Host => {
            let dirs = HOST_DIRS.iter().map(|name| Path::new("/").join(name));
            dirs.chain(HOST_ETC.iter().map(|name| Path::new("/etc").join(name))).collect()
        }
        Root::Directory(root) => vec![path(root)],
    };
    let binds = create.binds.iter().map(|bind| path(&bind.source));
    let brings = brings(create).map(|bytes| path(bytes));
    (root, create.code_dir.as_deref().map(path).into_iter().chain(brings).chain(binds).collect())
}

/// What is brought in from the host and is not there anyway.
fn brings(create: &Create) -> impl Iterator<Item = &Vec<u8>> {
    let is_there = |path: &[u8]| {
        let dir = Path::new(OsStr::from_bytes(path)).components().nth(1);
        create.root == Root::Host
            && dir.is_some_and(|dir| HOST_DIRS.iter().any(|name| dir.as_os_str() == *name))
    };
    create.brings.iter().filter(move |path| !is_there(path))
}

/// Opens and copies what a root is made of, none of it attached where anybody sees it. As the keeper's user, who may be
/// the only one to see it, and before anything covers it.
pub(super) fn collect(create: &Create) -> Result<Material, Failure> {
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(|errno| failure("make mounts private", errno))?;
    let (tree, links) = root_tree(create)?;
    let mut trees = vec![tree];
    if create.root == Root::Host {
        trees.push(etc_tree()?);
    }
    if let Some(source) = &create.code_dir {
        trees.push(Tree { dir: None, parts: vec![part(source, Target::Path(b"/code".to_vec()))?] });
    }
    let brought = brings(create).map(|path| part(path, Target::Path(path.clone())));
    trees.push(Tree { dir: None, parts: brought.collect::<Result<_, _>>()? });
    let binds = collect_binds(create)?;
    let devices = dev::collect()?;
    let off = create.off.iter().any(|off| off == share::LAYER);
    let (mut shared, sharing) = share::share(&trees, off)?;
    // These may lie in what is mounted after the root itself.
    let brought = shared.split_off(shared.len() - trees.last().map_or(0, |brought| brought.parts.len()));
    Ok(Material { links, shared, sharing, brought, binds, devices })
}

/// Builds the root and moves into it. Afterwards this process is the sandbox's own user.
pub(super) fn build(
    create: &Create,
    material: Material,
    report: &mut Vec<LayerReport>,
) -> Result<(), Failure> {
    let Material { links, shared, sharing, brought, binds, devices } = material;
    report.push(sharing);
    confine::become_inner_user()?;
    let root = new_root()?;
    for (name, target) in links {
        rustix::fs::symlinkat(&target, &root, &name)
            .map_err(|errno| failure("make a link in the root", errno))?;
    }
    if create.root == Root::Host {
        make_etc(&root)?;
    }
    for piece in &shared {
        attach(&root, piece)?;
    }
    mount_own(&root, create, devices, report)?;
    for (path, bytes) in &create.files {
        let contents = Contents::Copy { bytes: bytes.clone(), mode: 0o444 };
        attach(&root, &Piece { target: Target::Path(path.clone()), contents, is_dir: false })?;
    }
    // Where these go was the caller's choice.
    for (pieces, step) in [(&brought, BRING_STEP), (&binds, MOUNT_STEP)] {
        for piece in pieces {
            attach(&root, piece)
                .map_err(|failure| Failure { step: format!("{step}{}", piece.target), ..failure })?;
        }
    }
    enter(&root)?;
    report.push(layer("root", LayerStatus::Active, "pivot_root, read-only"));
    rustix::system::sethostname(b"sandbox").map_err(|errno| failure("set the host name", errno))
}

/// Opens every entry of the root directory; answers its links, which are made anew.
fn root_tree(create: &Create) -> Result<(Tree, Vec<(CString, CString)>), Failure> {
    let base = match &create.root {
        Root::Host => Path::new("/"),
        Root::Directory(path) => Path::new(OsStr::from_bytes(path)),
    };
    let dir =
        open_path(base).map_err(|errno| failure(&format!("open the root {}", base.display()), errno))?;
    let names: Vec<CString> = match &create.root {
        Root::Host => HOST_DIRS.iter().filter_map(|name| CString::new(*name).ok()).collect(),
        Root::Directory(_) => {
            entries(&dir).map_err(|errno| failure(&format!("list the root {}", base.display()), errno))?
        }
    };
    let (mut parts, mut links) = (Vec::new(), Vec::new());
    for name in names {
        let step = |errno| failure(&format!("look at {name:?} in the root"), errno);
        let file = match beneath(dir.as_fd(), &name, OFlags::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(step(errno)),
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&file).map_err(step)?.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&file, c"", Vec::new())
                    .map_err(|errno| failure(&format!("read the link {name:?} in the root"), errno))?;
                links.push((name, target));
            }
            kind @ (FileType::Directory | FileType::RegularFile) => {
                parts.push(Part { target: Target::Top(name.clone()), file, kind, name: Some(name) });
            }
            // A device or socket in a root directory is nothing that a sandbox should reach.
            _ => {}
        }
    }
    // The host's own root always has other file systems mounted in it, which no overlay can span.
    let dir = (create.root != Root::Host).then_some(dir);
    Ok((Tree { dir, parts }, links))
}

/// The names in the root directory but for those that every sandbox has of its own. Read through the descriptor that
/// everything else of the root is opened from: by now the path may lead elsewhere.
fn entries(dir: &OwnedFd) -> Result<Vec<CString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(dir, c".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = entry?.file_name().to_owned();
        let is_own = OWN_DIRS.iter().any(|own| name.as_bytes() == own.as_bytes());
        if !is_own && name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens what of the host's `/etc` is visible.
fn etc_tree() -> Result<Tree, Failure> {
    let dir = open_path(Path::new("/etc")).ok();
    let mut parts = Vec::new();
    for name in HOST_ETC {
        let path = format!("/etc/{name}");
        if !Path::new(&path).exists() {
            continue;
        }
        let mut part = part(path.as_bytes(), Target::Path(path.clone().into_bytes()))?;
        part.name = CString::new(*name).ok().filter(|name| dir.as_ref().is_some_and(|dir| is_in(dir, name)));
        parts.push(part);
    }
    Ok(Tree { dir, parts })
}

/// Whether something is there without following a link, and is none itself.
fn is_in(dir: &OwnedFd, path: &CStr) -> bool {
    let stat = beneath(dir.as_fd(), path, OFlags::empty()).and_then(rustix::fs::fstat);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Symlink)
}

fn part(source: &[u8], target: Target) -> Result<Part, Failure> {
    let (file, kind) = open_source(source)?;
    Ok(Part { target, file, kind, name: None })
}

/// Copies what the spec adds for this sandbox or shares on purpose: a disk scratch dir, binds.
fn collect_binds(create: &Create) -> Result<Vec<Piece>, Failure> {
    let scratch = create.disk_scratch.iter().map(|source| (source, &b"/scratch"[..], true));
    let binds = create.binds.iter().map(|bind| (&bind.source, &*bind.target, bind.writable));
    scratch
        .chain(binds)
        .map(|(source, target, writable)| {
            let (file, kind) = open_source(source)?;
            let mount = copy_tree(file.as_fd(), c"", if writable { WRITABLE } else { READ_ONLY })
                .map_err(|errno| bind_failure(source, errno))?;
            let is_dir = kind == FileType::Directory;
            Ok(Piece { target: Target::Path(target.to_vec()), contents: Contents::Mount(mount), is_dir })
        })
        .collect()
}

fn open_source(source: &[u8]) -> Result<(OwnedFd, FileType), Failure> {
    let file =
        open_path(Path::new(OsStr::from_bytes(source))).map_err(|errno| bind_failure(source, errno))?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| bind_failure(source, errno))?;
    Ok((file, FileType::from_raw_mode(stat.st_mode)))
}

fn bind_failure(source: &[u8], errno: Errno) -> Failure {
    failure(&format!("bind {}", String::from_utf8_lossy(source)), errno)
}

/// A tmpfs that covers some directory of the host, in our own mount namespace only.
fn new_root() -> Result<OwnedFd, Failure> {
    let step = |errno| failure("make the root", errno);
    let root = tmpfs(&[("size", "4m"), ("nr_inodes", "512"), ("mode", "0755")], WRITABLE).map_err(step)?;
    park(&root).map_err(step)?;
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
        let contents = Contents::Mount(mount);
        attach(root, &Piece { target: Target::Top(name.into()), contents, is_dir: true })
    };
    // Late secrets will be mounted in it.
    new_dir(root.as_fd(), c"run").map_err(|errno| failure("make /run", errno))?;
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
        Target::Top(name) => attach_at(root.as_fd(), name, piece),
        Target::Path(path) => walk(root, path).and_then(|(dir, name)| attach_at(dir.as_fd(), &name, piece)),
    };
    result.map_err(|errno| failure(&format!("mount {}", piece.target), errno))
}

/// Walks to the directory of a path one name at a time, never through a link, making what is missing where that is
/// possible. Answers the last name too.
fn walk(root: &OwnedFd, path: &[u8]) -> Result<(OwnedFd, CString), Errno> {
    let mut names = names(path)?;
    let last = names.pop().ok_or(Errno::INVAL)?;
    let mut dir = root.try_clone().map_err(|_| Errno::MFILE)?;
    for name in names {
        dir = match beneath(dir.as_fd(), &name, OFlags::DIRECTORY) {
            Err(Errno::NOENT) => {
                new_dir(dir.as_fd(), &name)?;
                beneath(dir.as_fd(), &name, OFlags::DIRECTORY)?
            }
            found => found?,
        };
    }
    Ok((dir, last))
}

fn attach_at(dir: BorrowedFd<'_>, name: &CStr, piece: &Piece) -> Result<(), Errno> {
    let mount = match &piece.contents {
        Contents::Copy { bytes, mode } => return write_bytes(dir, name, bytes, *mode),
        Contents::Mount(mount) => mount,
    };
    match if piece.is_dir { new_dir(dir, name) } else { write_file(dir, name, "") } {
        // Something to mount on is there already, whatever it is.
        Ok(()) | Err(Errno::EXIST) => move_to(mount, dir, name),
        Err(errno) => Err(errno),
    }
}

/// Opens a path of the host as given, links included: it is the operator's own.
fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}
