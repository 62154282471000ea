//! Unpacking layers into a directory that is only ours.
//!
//! Every entry is made below a descriptor of its parent directory, which is opened beneath the root and through no
//! link. Nothing is opened by a path that the archive could bend, and no entry is written through another.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use sandboxset_keeper::remove_tree;
use tar::{Archive, Entry, EntryType};

use super::entry::{self, EntryPath, Name};
use super::layout::{self, Descriptor, Refused, Verifier};

/// What an image may cost at most, all its layers together.
#[derive(Clone, Debug)]
pub(super) struct Caps {
    pub(super) entries: u64,
    /// Unpacked, in bytes.
    pub(super) bytes: u64,
    /// How many times larger a layer may become, beyond what is [`Caps::FREE_BYTES`] anyway.
    pub(super) ratio: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Caps { entries: 1_000_000, bytes: 16 << 30, ratio: 200 }
    }
}

impl Caps {
    /// A small layer may be of zeros only.
    const FREE_BYTES: u64 = 64 << 20;
    /// What may precede one entry: its header, a long name, a long link and extended attributes.
    const HEADER_BYTES: u64 = 1 << 20;
}

/// Ownership is flattened to whoever unpacks, so all that is left of a mode is whether a file can be executed.
const DIR_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

const SUPPORTED: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
];

/// Unpacks all layers into `root`, which is empty, until `deadline`.
pub(super) fn unpack(
    dir: &Path,
    layers: &[Descriptor],
    root: BorrowedFd<'_>,
    caps: &Caps,
    deadline: Option<Instant>,
) -> Result<(), Refused> {
    let mut tree = Tree { root, caps, deadline, entries: 0, bytes: 0, made: HashSet::new() };
    for (index, layer) in layers.iter().enumerate() {
        tree.made.clear();
        let named = |refused| format!("layer {} ({}): {refused}", index + 1, layer.digest);
        tree.layer(dir, layer).map_err(named)?;
    }
    Ok(())
}

struct Tree<'a> {
    root: BorrowedFd<'a>,
    caps: &'a Caps,
    deadline: Option<Instant>,
    entries: u64,
    bytes: u64,
    /// What the current layer made: its whiteouts do not touch it.
    made: HashSet<Vec<u8>>,
}

/// What a layer may still yield before the next entry. Shared with the reader, because the archive reader takes in
/// headers of any length by itself.
#[derive(Default)]
struct Budget {
    left: Cell<u64>,
    total: Cell<u64>,
}

/// The unpacked bytes of a layer.
struct Metered<R> {
    from: R,
    budget: Rc<Budget>,
    limit: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)? as u64;
        let total = self.budget.total.get() + count;
        self.budget.total.set(total);
        if total > self.limit {
            return Err(io::Error::other(format!("the layer unpacks to more than {} bytes", self.limit)));
        }
        let Some(left) = self.budget.left.get().checked_sub(count) else {
            return Err(io::Error::other(format!("more than {} bytes of headers", Caps::HEADER_BYTES)));
        };
        self.budget.left.set(left);
        Ok(count as usize)
    }
}

impl Tree<'_> {
    fn layer(&mut self, dir: &Path, layer: &Descriptor) -> Result<(), Refused> {
        if !SUPPORTED.contains(&&*layer.media_type) {
            return Err(format!("its type {:?} is not supported; tar and tar+gzip are", layer.media_type));
        }
        let mut blob = layout::open_blob(dir, layer)?;
        let unpacked = self.archive(&mut blob, layer);
        // A corrupted layer fails in some strange way first; what is wrong with it is its digest.
        blob.finish()?;
        unpacked
    }

    fn archive(&mut self, blob: &mut Verifier, layer: &Descriptor) -> Result<(), Refused> {
        let by_ratio = Caps::FREE_BYTES.saturating_add(layer.size.saturating_mul(self.caps.ratio));
        // Twice, because headers and padding are not the content that is counted for each file.
        let limit = by_ratio.min(self.caps.bytes.saturating_mul(2).saturating_add(Caps::FREE_BYTES));
        let budget = Rc::new(Budget::default());
        let from: Box<dyn Read + '_> = if layer.media_type.ends_with("gzip") {
            Box::new(MultiGzDecoder::new(blob))
        } else {
            Box::new(io::BufReader::new(blob))
        };
        let mut archive = Archive::new(Metered { from, budget: Rc::clone(&budget), limit });
        let mut entries = archive.entries().map_err(|error| error.to_string())?;
        let mut last = String::from("the first entry");
        loop {
            budget.left.set(Caps::HEADER_BYTES);
            let Some(next) = entries.next() else { return Ok(()) };
            let mut entry = next.map_err(|error| format!("after {last}: {error}"))?;
            budget.left.set(u64::MAX);
            last = format!("entry \"{}\"", entry.path_bytes().escape_ascii());
            self.entry(&mut entry).map_err(|refused| format!("{last}: {refused}"))?;
            // What was not read of it must not count as a header of the next.
            io::copy(&mut entry, &mut io::sink()).map_err(|error| format!("{last}: {error}"))?;
        }
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), Refused> {
        self.check_deadline()?;
        self.entries += 1;
        if self.entries > self.caps.entries {
            return Err(format!("the image has more than {} entries", self.caps.entries));
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        check_extensions(entry)?;
        match entry::read_name(&entry.path_bytes())? {
            Name::Ignored => Ok(()),
            Name::Root if kind == EntryType::Directory => Ok(()),
            Name::Root => Err("the root of the image is not a directory".into()),
            Name::Path(path) => self.make(&path, entry),
            Name::Whiteout(path) => self.whiteout(&path),
            Name::Opaque(path) => self.opaque(path.as_ref()),
        }
    }

    fn make<R: Read>(&mut self, path: &EntryPath, entry: &mut Entry<'_, R>) -> Result<(), Refused> {
        let parent = self.parent(path)?;
        let name = c_string(path.split().1)?;
        let at = parent.as_fd();
        match entry.header().entry_type() {
            EntryType::Directory => self.directory(at, &name)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(at, &name, entry)?
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or("the link has no target")?;
                entry::check_link_target(&target)?;
                let target = c_string(&target)?;
                clear(at, &name)?;
                rustix::fs::symlinkat(&target, at, &name).map_err(describe)?;
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().ok_or("the hard link has no target")?;
                self.hard_link(at, &name, path, &target)?;
            }
            // No sandbox can open a device of its root, and nobody listens on a socket or pipe of an image.
            EntryType::Char | EntryType::Block | EntryType::Fifo => clear(at, &name)?,
            other => {
                return Err(format!(
                    "an entry of the type {:?} is not supported",
                    char::from(other.as_byte())
                ));
            }
        }
        self.remember(path.bytes());
        Ok(())
    }

    /// An entry also keeps the directories that it is in.
    fn remember(&mut self, path: &[u8]) {
        let mut end = path.len();
        while self.made.insert(path[..end].to_vec()) {
            let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') else { return };
            end = slash;
        }
    }

    fn directory(&self, at: BorrowedFd<'_>, name: &CString) -> Result<(), Refused> {
        match kind_of(at, name)? {
            Some(FileType::Directory) => return Ok(()),
            Some(_) => clear(at, name)?,
            None => {}
        }
        make_dir(at, name).map_err(describe)
    }

    fn file<R: Read>(
        &mut self,
        at: BorrowedFd<'_>,
        name: &CString,
        entry: &mut Entry<'_, R>,
    ) -> Result<(), Refused> {
        let size = entry.size();
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.caps.bytes {
            return Err(format!("the image unpacks to more than {} bytes", self.caps.bytes));
        }
        let mode = entry.header().mode().map_err(|error| error.to_string())?;
        let modified = entry.header().mtime().unwrap_or(0);
        clear(at, name)?;
        // Never an existing file: what is written here cannot arrive anywhere else.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o600)).map_err(describe)?;
        let mut file = std::fs::File::from(file);
        if self.copy(entry, &mut file)? != size {
            return Err(format!("the archive ends before the {size} bytes of the entry"));
        }
        let mode = if mode & 0o111 != 0 { PROGRAM_MODE } else { FILE_MODE };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(describe)?;
        // Interpreters compare it with what their compiled files remember.
        let time = Timespec { tv_sec: modified.try_into().unwrap_or(0), tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&file, &times).map_err(describe)
    }

    fn copy(&self, from: &mut impl Read, to: &mut impl io::Write) -> Result<u64, Refused> {
        let mut buffer = vec![0u8; 64 << 10];
        let mut total = 0;
        loop {
            let count = from.read(&mut buffer).map_err(|error| error.to_string())?;
            if count == 0 {
                return Ok(total);
            }
            self.check_deadline()?;
            to.write_all(&buffer[..count]).map_err(|error| error.to_string())?;
            total += count as u64;
        }
    }

    /// Only to a regular file that is there already, and through no link.
    fn hard_link(
        &mut self,
        at: BorrowedFd<'_>,
        name: &CString,
        path: &EntryPath,
        target: &[u8],
    ) -> Result<(), Refused> {
        let refused = |reason| format!("the target \"{}\" of the hard link: {reason}", target.escape_ascii());
        let Name::Path(source) = entry::read_name(target).map_err(refused)? else {
            return Err(refused("it is no file"));
        };
        if source == *path {
            return Err(refused("it is the entry itself"));
        }
        let (dir, source_name) = source.split();
        let source_name = c_string(source_name)?;
        let source_dir = match open_beneath(self.root, dir) {
            Ok(source_dir) => source_dir,
            Err(Errno::NOENT) => return Err(refused("there is no such entry before it")),
            Err(Errno::LOOP) => return Err(refused("it goes through a symbolic link")),
            Err(errno) => return Err(describe(errno)),
        };
        match kind_of(source_dir.as_fd(), &source_name)? {
            Some(FileType::RegularFile) => {}
            Some(_) => return Err(refused("it is not a regular file")),
            None => return Err(refused("there is no such entry before it")),
        }
        clear(at, name)?;
        rustix::fs::linkat(&source_dir, &source_name, at, name, AtFlags::empty()).map_err(describe)
    }

    /// Removes what the layers below have under this path.
    fn whiteout(&mut self, path: &EntryPath) -> Result<(), Refused> {
        let (dir, name) = path.split();
        let parent = match open_beneath(self.root, dir) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(Errno::LOOP) => return Err("it goes through a symbolic link".into()),
            Err(errno) => return Err(describe(errno)),
        };
        let name = c_string(name)?;
        if !self.made.contains(path.bytes()) {
            return clear(parent.as_fd(), &name);
        }
        match kind_of(parent.as_fd(), &name)? {
            Some(FileType::Directory) => self.opaque(Some(path)),
            _ => Ok(()),
        }
    }

    /// Removes what the layers below have in this directory.
    fn opaque(&mut self, path: Option<&EntryPath>) -> Result<(), Refused> {
        let base = path.map_or(&b""[..], EntryPath::bytes);
        let mut dirs = vec![base.to_vec()];
        while let Some(path) = dirs.pop() {
            let dir = match open_beneath(self.root, &path) {
                Ok(dir) => dir,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(Errno::LOOP) => return Err("it goes through a symbolic link".into()),
                Err(errno) => return Err(describe(errno)),
            };
            let listed = rustix::fs::openat(
                &dir,
                c".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            for listed in Dir::read_from(listed.map_err(describe)?).map_err(describe)? {
                let name = listed.map_err(describe)?.file_name().to_owned();
                if name.as_c_str() == c"." || name.as_c_str() == c".." {
                    continue;
                }
                let mut child = path.clone();
                if !child.is_empty() {
                    child.push(b'/');
                }
                child.extend_from_slice(name.to_bytes());
                if !self.made.contains(&child) {
                    clear(dir.as_fd(), &name)?;
                } else if kind_of(dir.as_fd(), &name)? == Some(FileType::Directory) {
                    dirs.push(child);
                }
            }
        }
        Ok(())
    }

    /// The directory of an entry, made if it is missing: some tools leave directories out.
    fn parent(&self, path: &EntryPath) -> Result<OwnedFd, Refused> {
        let dir = path.split().0;
        match open_beneath(self.root, dir) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(describe_parent),
        }
        let mut at = open_beneath(self.root, b"").map_err(describe_parent)?;
        for part in dir.split(|byte| *byte == b'/') {
            match make_dir(at.as_fd(), &c_string(part)?) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(describe(errno)),
            }
            at = open_beneath(at.as_fd(), part).map_err(describe_parent)?;
        }
        Ok(at)
    }

    fn check_deadline(&self) -> Result<(), Refused> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err("the time was over".into()),
            _ => Ok(()),
        }
    }
}

/// What the archive reader does not understand must not be taken for something else.
fn check_extensions<R: Read>(entry: &mut Entry<'_, R>) -> Result<(), Refused> {
    let Some(extensions) = entry.pax_extensions().map_err(|error| error.to_string())? else { return Ok(()) };
    for extension in extensions {
        let extension = extension.map_err(|error| error.to_string())?;
        if extension.key_bytes().starts_with(b"GNU.sparse.") {
            return Err("sparse files in the PAX form are not supported".into());
        }
    }
    Ok(())
}

/// Opens a directory below `at`, through no link; the empty path is `at` itself.
fn open_beneath(at: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path: &[u8] = if path.is_empty() { b"." } else { path };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve)
}

fn make_dir(at: BorrowedFd<'_>, name: &CString) -> Result<(), Errno> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o700))?;
    // The host's umask had its say in the mode of the new directory.
    rustix::fs::chmodat(at, name, Mode::from_raw_mode(DIR_MODE), AtFlags::empty())
}

/// What is there, itself and not what it points to.
fn kind_of(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<Option<FileType>, Refused> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(describe(errno)),
    }
}

/// Removes whatever has this name, with all that is in it.
fn clear(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<(), Refused> {
    match kind_of(at, name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            // The remover reads the directory that it removes from, which O_PATH does not allow for this one.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let at = rustix::fs::openat(at, c".", flags, Mode::empty()).map_err(describe)?;
            remove_tree(at.as_fd(), name).map_err(describe)
        }
        Some(_) => rustix::fs::unlinkat(at, name, AtFlags::empty()).map_err(describe),
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, Refused> {
    CString::new(bytes).map_err(|_| "a name contains a NUL byte".into())
}

fn describe(errno: Errno) -> Refused {
    io::Error::from(errno).to_string()
}

fn describe_parent(errno: Errno) -> Refused {
    match errno {
        Errno::LOOP => "the path goes through a symbolic link".into(),
        Errno::NOTDIR => "a part of the path is not a directory".into(),
        Errno::NOSYS => "the kernel has no openat2, so no image can be unpacked safely".into(),
        other => describe(other),
    }
}
