//! Sharing files of the host without sharing anything that can be written to or watched.
//!
//! Whoever binds a directory has the same inodes as everybody else who does, and with them locks, watches and FIFOs:
//! ways to talk to each other. Here every sandbox gets a read-only overlay of its own, whose inodes nobody else has,
//! while the contents stay in the one page cache. Where that cannot be had, a bind stands in and is reported.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sandboxset_keeper::{Failure, LayerReport, LayerStatus};

use super::mounts::{READ_ONLY, beneath, copy_tree, mount_fs, park, tmpfs};
use super::root::{Contents, Piece, Target};
use super::{failure, layer};

/// The name of this layer.
pub(super) const LAYER: &str = "root.overlay";

/// A directory of the host, and what of it sandboxes see.
pub(super) struct Tree {
    /// For one overlay of all; `None` if each part is to have its own.
    pub(super) dir: Option<OwnedFd>,
    pub(super) parts: Vec<Part>,
}

/// A file or directory that sandboxes see.
pub(super) struct Part {
    pub(super) target: Target,
    pub(super) file: OwnedFd,
    pub(super) kind: FileType,
    /// Its name in the directory of the tree, unless it was found behind a link.
    pub(super) name: Option<CString>,
}

/// The largest file that is copied where it cannot be had from an overlay of its directory.
const COPY_LIMIT: u64 = 256 << 10;
/// How many parts a report names.
const NAMED: usize = 3;

/// Pieces with everything in these trees. Must run as a user who may see them.
pub(super) fn share(trees: &[Tree], off: bool) -> Result<(Vec<Piece>, LayerReport), Failure> {
    let empty = if off { Err(Errno::OPNOTSUPP) } else { empty_dir() };
    let (mut pieces, mut bound) = (Vec::new(), Vec::new());
    for Tree { dir, parts } in trees {
        let view = match (dir, &empty) {
            (Some(dir), Ok(empty)) => overlay(dir, empty).and_then(|view| park(&view).map(|()| view)).ok(),
            _ => None,
        };
        for part in parts {
            let own = empty
                .as_ref()
                .map_err(|errno| *errno)
                .and_then(|empty| own_contents(part, view.as_ref(), empty));
            let contents = match own {
                Ok(contents) => contents,
                Err(errno) => {
                    bound.push(format!("{} ({errno})", part.target));
                    let mount = copy_tree(part.file.as_fd(), c"", READ_ONLY)
                        .map_err(|errno| failure(&format!("bind {}", part.target), errno))?;
                    Contents::Mount(mount)
                }
            };
            let is_dir = part.kind == FileType::Directory;
            pieces.push(Piece { target: part.target.clone(), contents, is_dir });
        }
    }
    let report = match (off, bound.len()) {
        (true, _) => layer(LAYER, LayerStatus::Missing, "switched off"),
        (_, 0) => layer(LAYER, LayerStatus::Active, "read-only, with inodes of the sandbox's own"),
        (_, count) => {
            let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
            bound.truncate(NAMED);
            let detail =
                format!("others feel locks and watches on what is a bind: {}{more}", bound.join(", "));
            layer(LAYER, LayerStatus::Degraded, &detail)
        }
    };
    Ok((pieces, report))
}

/// The contents of a part with inodes that nobody else has.
fn own_contents(part: &Part, view: Option<&OwnedFd>, empty: &OwnedFd) -> Result<Contents, Errno> {
    match (view, &part.name) {
        (Some(view), Some(name)) => {
            let file = beneath(view.as_fd(), name, OFlags::empty())?;
            // Whoever exchanges entries of the root meanwhile gets what was opened first.
            if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != part.kind {
                return Err(Errno::STALE);
            }
            copy_tree(file.as_fd(), c"", READ_ONLY).map(Contents::Mount)
        }
        _ if part.kind == FileType::Directory => overlay(&part.file, empty).map(Contents::Mount),
        _ => copy(&part.file),
    }
}

/// A read-only overlay of a directory, not attached anywhere yet. Without a directory to write to, the kernel wants
/// two to read from.
///
/// It is made without `userxattr`: then no attribute of a file means anything, because nobody in a user namespace may
/// read those of the other kind.
fn overlay(dir: &OwnedFd, empty: &OwnedFd) -> Result<OwnedFd, Errno> {
    // By number, so that no character of a name can be taken for syntax.
    let layers = format!("/proc/self/fd/{}:/proc/self/fd/{}", dir.as_raw_fd(), empty.as_raw_fd());
    let options = [
        ("lowerdir", &*layers),
        ("redirect_dir", "nofollow"),
        ("metacopy", "off"),
        ("index", "off"),
        // With it the kernel would log a line for every mount.
        ("xino", "off"),
    ];
    mount_fs("overlay", &options, READ_ONLY)
}

/// A directory that stays empty.
fn empty_dir() -> Result<OwnedFd, Errno> {
    let dir = tmpfs(&[("size", "4k"), ("nr_inodes", "1"), ("mode", "0555")], READ_ONLY)?;
    // Before Linux 6.15 only what is attached can be a layer.
    park(&dir)?;
    Ok(dir)
}

fn copy(file: &OwnedFd) -> Result<Contents, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if stat.st_size as u64 > COPY_LIMIT {
        return Err(Errno::FBIG);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(opened)
        .take(COPY_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(Contents::Copy { bytes, mode: stat.st_mode & 0o777 })
}
