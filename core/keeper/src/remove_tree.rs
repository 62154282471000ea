//! Removing a directory tree that somebody hostile may have filled.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// Removes the directory `name` below `parent` with everything in it, and never anything outside it.
///
/// No link is followed and no path is longer than one name. A directory that is not empty has the directories in it
/// moved up to the top under numbers, and the highest number is next; so neither depth nor width of the tree cost
/// stack, memory or descriptors, and the time is that of the number of entries. A directory that is not there is a success.
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
    loop {
        let (mut found, mut progress) = (false, false);
        let mut entries = Dir::read_from(top)?;
        while let Some(name) = next_name(&mut entries)? {
            found = true;
            progress |= remove_entry(top, &name)? || remove_full_dir(top, &name)?;
        }
        if !found {
            return Ok(());
        }
        if !progress {
            // There is no room at the top, or somebody is putting back what we remove.
            return Err(Errno::NOTEMPTY);
        }
    }
}

/// Removes a directory in `top` that is not empty, as far as there is room to move up what is in it. Answers whether
/// anything was removed or moved.
fn remove_full_dir(top: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let mut highest = 0;
    let mut progress = take_apart(top, name, &mut highest)?;
    while highest > 0 {
        let number = highest;
        progress |= take_apart(top, &numbered(number)?, &mut highest)?;
        if highest == number {
            highest -= 1;
        }
    }
    Ok(progress)
}

/// Removes the files of a directory in `top`, moves its directories up, and removes it if nothing is left in it.
fn take_apart(top: BorrowedFd<'_>, name: &CStr, highest: &mut u64) -> Result<bool, Errno> {
    let mut progress = false;
    let mut entries = match open_dir(top, name) {
        Ok(dir) => Dir::new(dir)?,
        // It is gone, or somebody put something else in its place, which the next pass removes.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    while let Some(name) = next_name(&mut entries)? {
        let dir = entries.fd()?;
        progress |= remove_entry(dir, &name)? || move_up(dir, &name, top, highest)?;
    }
    drop(entries);
    Ok(remove_entry(top, name)? || progress)
}

/// Moves a directory to `top` under the next number.
fn move_up(dir: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, highest: &mut u64) -> Result<bool, Errno> {
    // That rewrites its `..`, which needs write permission on it.
    match open_dir(dir, name) {
        Ok(_) => {}
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    loop {
        let number = *highest + 1;
        let target = numbered(number)?;
        match rustix::fs::renameat(dir, name, top, &target) {
            Ok(()) => {
                *highest = number;
                return Ok(true);
            }
            // What has this number already is a directory, which is removed when it is its turn, ...
            Err(Errno::NOTEMPTY | Errno::EXIST) => *highest = number,
            // ... or it is not.
            Err(Errno::NOTDIR) => rustix::fs::unlinkat(top, &target, AtFlags::empty())?,
            // What is in the way of a full disk or a full directory goes first.
            Err(Errno::NOENT | Errno::NOSPC | Errno::DQUOT | Errno::MLINK) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
}

/// Removes a file or an empty directory; false if it is a directory that is not empty.
fn remove_entry(dir: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
    let refusal = match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => errno,
        Err(errno) => return Err(errno),
    };
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => Ok(false),
        // A file that may not be removed; or a directory that somebody just exchanged, which the next pass finds.
        Err(Errno::NOTDIR) if refusal == Errno::PERM => Err(refusal),
        Err(Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The next name in a directory that is not `.` or `..`.
fn next_name(entries: &mut Dir) -> Result<Option<CString>, Errno> {
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            return Ok(Some(entry.file_name().to_owned()));
        }
    }
    Ok(None)
}

fn numbered(number: u64) -> Result<CString, Errno> {
    CString::new(format!(".sandboxset-removing-{number}")).map_err(|_| Errno::INVAL)
}

/// Opens a directory below `parent`, not following a link; gives its owner access first if need be.
fn open_dir(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let full = Mode::from_raw_mode(0o700);
    match rustix::fs::openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // chmod follows links; the directory is pinned by O_PATH|O_NOFOLLOW and changed through that.
            let pinned = rustix::fs::openat(
                parent,
                name,
                flags.difference(OFlags::RDONLY) | OFlags::PATH,
                Mode::empty(),
            )?;
            let link = format!("/proc/self/fd/{}", pinned.as_raw_fd());
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
