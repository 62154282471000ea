//! What of the host a shell was furnished from, to tell whether one furnished now would be the same.
//!
//! Whoever deploys code by renaming a directory or turning a link wants the next sandbox to have the new one. What
//! changes inside a directory is seen through its mount anyway.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use sandboxset_keeper::Create;

use crate::init;

/// The files and directories behind the paths of a recipe, and what is mounted below them.
pub(super) struct Sources {
    paths: Vec<PathBuf>,
    /// How many of them, at the beginning, are the root's.
    of_root: usize,
    identities: Vec<Option<Identity>>,
    /// The paths without links, which is how mounts are listed.
    real: Vec<PathBuf>,
    mounts: Vec<u64>,
    generation: u64,
}

/// Which file a path leads to.
#[derive(PartialEq, Eq)]
struct Identity {
    device: (u32, u32),
    inode: u64,
    mount: u64,
    /// Of what is listed or copied: tells of new and lost entries, and of other contents.
    changed: Option<(i64, u32)>,
}

/// The mounts that the keeper sees, read again only when the kernel says that they changed.
pub(super) struct MountTable {
    /// `None` where `/proc` cannot be read; then only the paths themselves are compared.
    file: Option<File>,
    mounts: Vec<(u64, PathBuf)>,
    generation: u64,
}

impl Sources {
    pub(super) fn of(recipe: &Create, table: &mut MountTable) -> Self {
        let (mut paths, others) = init::sources(recipe);
        let of_root = paths.len();
        paths.extend(others);
        let real: Vec<PathBuf> = paths.iter().filter_map(|path| path.canonicalize().ok()).collect();
        let generation = table.refresh();
        let mounts = table.below(&real);
        Sources { identities: identities(&paths, of_root), paths, of_root, real, mounts, generation }
    }

    /// Whether the paths still lead to the same files, with the same mounts below them.
    pub(super) fn are_unchanged(&mut self, table: &mut MountTable) -> bool {
        if identities(&self.paths, self.of_root) != self.identities {
            return false;
        }
        let generation = table.refresh();
        if generation != self.generation && table.below(&self.real) != self.mounts {
            return false;
        }
        self.generation = generation;
        true
    }
}

fn identities(paths: &[PathBuf], of_root: usize) -> Vec<Option<Identity>> {
    let identity = |(index, path): (usize, &PathBuf)| {
        let mask = StatxFlags::INO | StatxFlags::CTIME | StatxFlags::MNT_ID;
        let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), mask).ok()?;
        Some(Identity {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mount: stat.stx_mnt_id,
            changed: (index < of_root).then_some((stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec)),
        })
    };
    paths.iter().enumerate().map(identity).collect()
}

impl MountTable {
    pub(super) fn open() -> Self {
        let mut table =
            MountTable { file: File::open("/proc/self/mountinfo").ok(), mounts: Vec::new(), generation: 0 };
        table.read();
        table
    }

    /// Reads the table if it changed; answers a number that is another one each time it did.
    fn refresh(&mut self) -> u64 {
        let changed = self.file.as_ref().is_some_and(|file| {
            let mut fds = [PollFd::new(file, PollFlags::PRI)];
            rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        });
        if changed {
            self.read();
        }
        self.generation
    }

    fn read(&mut self) {
        self.generation += 1;
        let Some(file) = &mut self.file else { return };
        let mut text = Vec::new();
        // A table that cannot be read is an empty one; what was furnished before then no longer counts.
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text));
        let line = |line: &[u8]| {
            let mut fields = line.split(|&byte| byte == b' ');
            let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
            Some((id, PathBuf::from(std::ffi::OsStr::from_bytes(fields.nth(3)?))))
        };
        self.mounts = text.split(|&byte| byte == b'\n').filter_map(line).collect();
    }

    /// The mounts at and below these paths. A mount point with a blank in its name is escaped in the table and found
    /// below its parent only.
    fn below(&self, paths: &[PathBuf]) -> Vec<u64> {
        let is_below = |point: &PathBuf| paths.iter().any(|path| point.starts_with(path));
        self.mounts.iter().filter(|(_, point)| is_below(point)).map(|(id, _)| *id).collect()
    }
}
