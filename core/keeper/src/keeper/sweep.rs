//! Removing scratch dirs that dead owners left on disk.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sandboxset_keeper::{Owner, remove_tree};

/// Sweeps the directory that `scratch` is to be made in, once in the life of this keeper.
pub(super) fn scratch_siblings(scratch: &[u8], swept: &mut Vec<Vec<u8>>) {
    let Some(base) = Path::new(OsStr::from_bytes(scratch)).parent() else { return };
    if swept.iter().any(|done| done == base.as_os_str().as_bytes()) {
        return;
    }
    swept.push(base.as_os_str().as_bytes().to_vec());
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().and_then(Owner::parse).is_some_and(|owner| owner.is_dead()) {
            // What cannot be removed now is found again by the next keeper.
            let _ = remove_dir(base, name.into_vec());
        }
    }
}

/// Removes one scratch dir, whatever is in it.
pub(super) fn remove_scratch(scratch: &[u8]) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(scratch));
    let (Some(base), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    remove_dir(base, name.as_bytes().to_vec()).map_err(|error| format!("{}: {error}", path.display()))
}

fn remove_dir(base: &Path, name: Vec<u8>) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let base = match rustix::fs::open(base, flags, Mode::empty()) {
        // Somebody removed it with all that was in it.
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let name = CString::new(name)?;
    Ok(remove_tree(base.as_fd(), &name)?)
}
