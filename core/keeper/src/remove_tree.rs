//! Removing a directory tree that somebody hostile may have filled.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, RawMode};
use rustix::io::Errno;

/// Removes the directory `name` below `parent` with everything in it, and never anything outside it.
///
/// No link is followed and no path is longer than one name. The depth of the tree costs neither stack nor
/// descriptors: a directory found inside is first moved up to the top, so that the tree gets flat while it shrinks.
/// A directory that is not there is a success.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let top = match open_dir(parent, name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    empty_tree(top.as_fd())?;
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes everything in a directory, as [`remove_tree`] does, and keeps the directory. Its owner must have every
/// right on it.
pub fn empty_tree(top: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut moved = 0u64;
    while !remove_level(top, top, &mut moved)? {}
    Ok(())
}

/// Empties one directory: files are removed, and non-empty directories moved to `top`, unless they are there
/// already; those are emptied in place. Returns whether nothing was left at the end of the pass.
fn remove_level(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, moved: &mut u64) -> Result<bool, Errno> {
    let mut empty = true;
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        empty = false;
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
            Err(errno) => return Err(errno),
        }
        let child = open_dir(dir, name)?;
        flatten(top, child.as_fd(), moved)?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(empty)
}

/// Removes the files of `dir` and moves its directories to `top`.
fn flatten(top: BorrowedFd<'_>, dir: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
        // Renaming a directory to another parent rewrites its `..`, which needs write permission on it.
        drop(open_dir(dir, name));
        *moved += 1;
        let target = format!(".sandboxset-removing-{moved}");
        match rustix::fs::renameat(dir, name, top, &target) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Something has that name already; the next pass removes it and takes another name.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => continue,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Opens a directory below `parent`, not following a link; gives its owner access first if need be.
fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let full = Mode::from_raw_mode(0o700 as RawMode);
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // chmod follows links; the directory is pinned by O_PATH|O_NOFOLLOW and changed through that.
            let pinned = rustix::fs::openat(
                parent,
                name,
                flags.difference(OFlags::RDONLY) | OFlags::PATH,
                Mode::empty(),
            )?;
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pinned));
            rustix::fs::chmod(&*link, full)?;
            rustix::fs::openat(parent, name, flags, Mode::empty())
        }
        Ok(dir) => {
            // Entries can only be removed from a directory that its owner may write and search.
            let stat = rustix::fs::fstat(&dir)?;
            if stat.st_mode & 0o700 != 0o700 {
                rustix::fs::fchmod(&dir, full)?;
            }
            Ok(dir)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    /// A directory for one test, whose leftovers the test itself removes with the code under test.
    fn arena(name: &str) -> (PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("remove-tree-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        (path, fd.unwrap())
    }

    #[test]
    fn deep_closed_and_oddly_named_trees_go_and_links_are_not_followed() {
        let (path, fd) = arena("all");
        let victim = path.join("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("precious"), b"x").unwrap();
        let tree = path.join("tree");
        fs::create_dir(&tree).unwrap();
        symlink(&victim, tree.join("link")).unwrap();
        fs::write(tree.join("a\nb"), b"x").unwrap();
        // The names that directories are moved to, taken by files and by a directory that is not empty.
        for number in 1..=40 {
            fs::write(tree.join(format!(".sandboxset-removing-{number}")), b"x").unwrap();
        }
        fs::create_dir_all(tree.join(".sandboxset-removing-41/inner/more")).unwrap();
        fs::create_dir_all(tree.join("closed/inner/more")).unwrap();
        fs::write(tree.join("closed/inner/file"), b"x").unwrap();
        fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
        let mut deep =
            rustix::fs::openat(&fd, c"tree", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&deep, c"d", Mode::from_raw_mode(0o755)).unwrap();
            deep =
                rustix::fs::openat(&deep, c"d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        remove_tree(fd.as_fd(), c"tree").unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read(victim.join("precious")).unwrap(), b"x");
        remove_tree(fd.as_fd(), c"tree").unwrap();
        let name = CString::new(path.file_name().unwrap().to_str().unwrap()).unwrap();
        let parent =
            rustix::fs::open(std::env::temp_dir(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty());
        remove_tree(parent.unwrap().as_fd(), &name).unwrap();
        assert!(!path.exists());
    }
}
