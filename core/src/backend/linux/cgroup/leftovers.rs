//! Removing cgroups when there is no keeper left to do it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;
use sandboxset_keeper::CgroupPlan;

use super::control::{Event, await_event, open_at, write};
use super::freezer;

/// Kills and removes what the keeper of this tag left in every hierarchy. What cannot be removed now is found by
/// the next process's keeper, because the tag begins with the identity of this process.
pub(in super::super) fn remove_owner(plan: &CgroupPlan, tag: &str, deadline: Instant) -> Result<(), Errno> {
    // What is left in one hierarchy is no reason to leave the others.
    owner_dirs(plan, tag).iter().map(|dir| remove_group(dir, deadline)).fold(Ok(()), Result::and)
}

/// Where the keeper of this tag makes cgroups, one directory per hierarchy.
pub(in super::super) fn owner_dirs(plan: &CgroupPlan, tag: &str) -> Vec<PathBuf> {
    let bases = plan.unified.iter().chain(plan.v1.iter().map(|(_, base)| base));
    bases.map(|base| Path::new(OsStr::from_bytes(base)).join(tag)).collect()
}

/// Kills and removes a cgroup with all below it. One that is not there is a success.
pub(in super::super) fn remove_group(dir: &Path, deadline: Instant) -> Result<(), Errno> {
    let opened = match rustix::fs::open(dir, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    // v1 has neither file; what is in there is in the v2 cgroup too, or ends with its init, once it is thawed.
    if let Ok(kill) = open_at(&opened, "cgroup.kill", OFlags::WRONLY) {
        let _ = write(&kill, "1");
    }
    if let Ok(events) = open_at(&opened, "cgroup.events", OFlags::RDONLY) {
        let _ = await_event(&events, Event::Empty, deadline);
    }
    if let Ok(state) = open_at(&opened, freezer::STATE, OFlags::WRONLY) {
        let _ = freezer::thaw(&state);
    }
    for entry in
        fs::read_dir(dir).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?.flatten()
    {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path(), deadline)?;
        }
    }
    loop {
        match rustix::fs::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // A v1 cgroup has no notification; its processes were killed and are ending.
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => return Err(errno),
        }
    }
}
