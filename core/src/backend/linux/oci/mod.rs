//! OCI image layouts: an image is unpacked once into a cache directory and is an ordinary root directory from then on.
//!
//! The cache holds `sha256-DIGEST.1` for every unpacked image, named by its manifest, and nothing that is incomplete
//! under such a name: an image is unpacked under its owner's name and renamed when all of it is on disk. What a dead
//! owner left is removed by the next one who unpacks.

mod entry;
mod layout;
#[cfg(test)]
mod tests;
mod unpack;

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use sandboxset_keeper::{Owner, remove_tree};

use self::layout::Image;
use self::unpack::Caps;
use crate::{Error, ErrorCode, Phase, Result};

/// An image in the cache.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Its root directory.
    pub(super) path: PathBuf,
    /// Whether this call unpacked it.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests count"))]
    fresh: bool,
}

/// Where images are unpacked, and what they may cost.
pub(super) struct Cache {
    dir: PathBuf,
    caps: Caps,
}

/// The last part of an image's name in the cache: what unpacking makes of an image, so that what another version
/// of this library made differently is not taken for it.
const FORMAT: &str = "1";
/// Each is a mount in every sandbox.
const MAX_TOP_ENTRIES: usize = 256;

/// One lock for each image that is being looked for, so that it is unpacked by one thread of this process. Two
/// processes may both unpack it; one of the results is thrown away.
static IN_FLIGHT: LazyLock<Mutex<HashMap<PathBuf, Weak<Mutex<()>>>>> = LazyLock::new(Mutex::default);

impl Cache {
    /// The given directory, or `$XDG_CACHE_HOME/sandboxset/oci`, or `$HOME/.cache/sandboxset/oci`.
    pub(super) fn new(given: Option<&Path>) -> Result<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let dir = match given {
            Some(dir) => dir.to_owned(),
            None => absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
                .ok_or_else(|| {
                    Error::invalid("image_cache", "is needed, because neither XDG_CACHE_HOME nor HOME is set")
                })?
                .join("sandboxset/oci"),
        };
        Ok(Cache { dir, caps: Caps::default() })
    }

    /// The root directory of an image, unpacked if it is not there yet. Blocks, until `deadline` if there is one.
    pub(super) fn resolve(
        &self,
        dir: &Path,
        tag: Option<&str>,
        deadline: Option<Instant>,
    ) -> Result<Unpacked> {
        let image = layout::find(dir, tag).map_err(|refused| refuse(dir, refused))?;
        let cache = self.open()?;
        let name = format!("sha256-{}.{FORMAT}", image.digest.hex());
        let path = self.dir.join(&name);
        if is_there(cache.as_fd(), &name)? {
            return Ok(Unpacked { path, fresh: false });
        }
        let lock = in_flight(&path);
        let timed_out =
            || Error::new(ErrorCode::Timeout, Phase::Create, "another thread still unpacks the image");
        let _unpacking = match deadline {
            Some(deadline) => lock.try_lock_until(deadline).ok_or_else(timed_out)?,
            None => lock.lock(),
        };
        if is_there(cache.as_fd(), &name)? {
            return Ok(Unpacked { path, fresh: false });
        }
        remove_leftovers(cache.as_fd());
        let fresh = self.unpack(cache.as_fd(), &name, dir, &image, deadline)?;
        Ok(Unpacked { path, fresh })
    }

    /// Answers whether ours is the one that is used.
    fn unpack(
        &self,
        cache: BorrowedFd<'_>,
        name: &str,
        dir: &Path,
        image: &Image,
        deadline: Option<Instant>,
    ) -> Result<bool> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let owner = Owner::current().map_err(|error| self.failed("name a directory in", error))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let temporary = CString::new(format!("{owner}-{number}"))
            .map_err(|error| self.failed("write to", error.into()))?;
        let unfinished = Unfinished { cache, name: &temporary };
        let step = |errno: Errno| self.failed("write to", errno.into());
        rustix::fs::mkdirat(cache, &temporary, Mode::from_raw_mode(0o700)).map_err(step)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(cache, &temporary, flags, Mode::empty()).map_err(step)?;
        unpack::unpack(dir, &image.layers, root.as_fd(), &self.caps, deadline)
            .map_err(|refused| refuse(dir, refused))?;
        let top = Dir::read_from(&root).map_err(step)?.count().saturating_sub(2);
        if top > MAX_TOP_ENTRIES {
            return Err(refuse(dir, format!("its root has {top} entries, more than {MAX_TOP_ENTRIES}")));
        }
        rustix::fs::fchmod(&root, Mode::from_raw_mode(0o755)).map_err(step)?;
        // A name must not outlive a crash of the machine which its content did not.
        rustix::fs::syncfs(&root).map_err(step)?;
        match rustix::fs::renameat_with(cache, &temporary, cache, name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                unfinished.finished();
                Ok(true)
            }
            // Another process was faster.
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(step(errno)),
        }
    }

    /// The cache directory, made if it is missing. It must be ours alone to write: whoever can write to it can put
    /// programs into sandboxes.
    fn open(&self) -> Result<OwnedFd> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|error| self.failed("make", error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &self.dir, flags, Mode::empty())
            .map_err(|errno| self.failed("open", errno.into()))?;
        let stat = rustix::fs::fstat(&dir).map_err(|errno| self.failed("look at", errno.into()))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            let dir = self.dir.display();
            return Err(Error::invalid(
                "image_cache",
                format_args!("others than this user can write to {dir}"),
            ));
        }
        Ok(dir)
    }

    fn failed(&self, step: &str, error: io::Error) -> Error {
        Error::invalid("image_cache", format_args!("cannot {step} {}: {error}", self.dir.display()))
            .with_source(error)
    }
}

/// Removes what was begun unless it was finished.
struct Unfinished<'a> {
    cache: BorrowedFd<'a>,
    name: &'a CString,
}

impl Unfinished<'_> {
    fn finished(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Err(errno) = remove_tree(self.cache, self.name) {
            tracing::warn!(%errno, name = ?self.name, "an unfinished image stays in the cache");
        }
    }
}

fn in_flight(path: &Path) -> Arc<Mutex<()>> {
    let mut all = IN_FLIGHT.lock();
    if let Some(lock) = all.get(path).and_then(Weak::upgrade) {
        return lock;
    }
    all.retain(|_, lock| lock.strong_count() > 0);
    let lock = Arc::new(Mutex::new(()));
    all.insert(path.to_owned(), Arc::downgrade(&lock));
    lock
}

fn is_there(cache: BorrowedFd<'_>, name: &str) -> Result<bool> {
    match rustix::fs::statat(cache, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::invalid("image_cache", errno)),
    }
}

/// Removes what owners left who died while they unpacked. What cannot be removed is in nobody's way.
fn remove_leftovers(cache: BorrowedFd<'_>) {
    let Ok(entries) = Dir::read_from(cache) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = std::ffi::OsStr::from_bytes(name.to_bytes()).to_str().and_then(Owner::parse);
        if owner.is_some_and(|owner| owner.is_dead())
            && let Err(errno) = remove_tree(cache, name)
        {
            tracing::warn!(%errno, ?name, "what a dead process left in the image cache stays there");
        }
    }
}

fn refuse(dir: &Path, refused: String) -> Error {
    Error::invalid("root", format_args!("the image in {}: {refused}", dir.display()))
}
