//! Removing scratch dirs on disk.

use std::ffi::{CString, OsStr};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sandboxset_keeper::{Owner, remove_tree};

/// The directory that a scratch dir is in.
pub(super) fn base_of(scratch: &[u8]) -> Option<Vec<u8>> {
    Some(Path::new(OsStr::from_bytes(scratch)).parent()?.as_os_str().as_bytes().to_vec())
}

/// Removes the scratch dirs of dead owners in a directory. What cannot be removed is found again by the next keeper.
pub(super) fn remove_siblings(base: &[u8]) {
    let base = Path::new(OsStr::from_bytes(base));
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(Owner::parse).is_some_and(|owner| owner.is_dead()) {
            let _ = remove_dir(base, name.into_vec());
        }
    }
}

/// Removes one scratch dir, whatever is in it.
pub(super) fn remove_scratch(scratch: &[u8]) -> io::Result<()> {
    let path = Path::new(OsStr::from_bytes(scratch));
    let (Some(base), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    remove_dir(base, name.as_bytes().to_vec())
}

fn remove_dir(base: &Path, name: Vec<u8>) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = match rustix::fs::open(base, flags, Mode::empty()) {
        // Somebody removed it with all that was in it.
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    Ok(remove_tree(base.as_fd(), &CString::new(name)?)?)
}
