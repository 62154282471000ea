//! Cloning an init into its namespaces, and the users that it knows there.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::DumpableBehavior;
use sandboxset_keeper::{CLONE_STEP, Failure, INNER_ID};

use super::host_ids::HostIds;
use super::sandbox::{Place, failure};
use crate::init;
use crate::sys::{self, Forked};

/// The users and groups of a user namespace.
pub(super) struct IdMaps {
    users: String,
    groups: String,
}

/// Clones an init straight below the keeper.
pub(super) fn clone_init(
    maps: &IdMaps,
    cgroup: Option<BorrowedFd<'_>>,
    live: impl FnOnce(),
) -> Result<OwnedFd, Failure> {
    // The files in /proc of an undumpable process are root's, and we must write the init's id maps. The init is
    // born as we are now and makes itself undumpable once it is set up.
    set_dumpable(true)?;
    let cloned = sys::clone3(init::NAMESPACES, cgroup);
    if !matches!(cloned, Ok(Forked::Child)) {
        set_dumpable(false)?;
    }
    match cloned.map_err(|errno| failure(CLONE_STEP, errno))? {
        Forked::Parent(pid, pidfd) => maps.write(pid.as_raw_nonzero().get()).map(|()| pidfd),
        Forked::Child => {
            live();
            sys::exit(0)
        }
    }
}

pub(super) fn set_dumpable(dumpable: bool) -> Result<(), Failure> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior)
        .map_err(|errno| failure("change whether we are dumpable", errno))
}

impl IdMaps {
    /// Maps the one user and group of a sandbox to its host id, or to our own where we may not choose. What can be
    /// forked also knows, under their own numbers, the ids that those below it may get, so that each gets another;
    /// nobody in it has the right to become one of them.
    pub(super) fn new(host_id: Option<u32>, ids: &HostIds, above: &[u32], place: Place<'_>) -> Self {
        let Some((host_id, (base, count))) = host_id.zip(ids.block()) else {
            let own = |id: u32| format!("{INNER_ID} {} 1", if place.below.is_some() { INNER_ID } else { id });
            let users = own(rustix::process::geteuid().as_raw());
            let groups = own(rustix::process::getegid().as_raw());
            return IdMaps { users, groups };
        };
        let mut map = format!("{INNER_ID} {host_id} 1\n");
        if place.forks {
            let mut taken: Vec<u32> = above.iter().copied().chain([host_id]).collect();
            taken.sort_unstable();
            let mut next = base;
            for end in taken.into_iter().chain([base + count]) {
                if next < end {
                    map.push_str(&format!("{next} {next} {}\n", end - next));
                }
                next = end + 1;
            }
        }
        IdMaps { users: map.clone(), groups: map }
    }

    pub(super) fn write(&self, pid: i32) -> Result<(), Failure> {
        for (file, value) in [("setgroups", "deny"), ("uid_map", &self.users), ("gid_map", &self.groups)] {
            std::fs::write(format!("/proc/{pid}/{file}"), value).map_err(|error| Failure {
                step: format!("write {file}"),
                errno: error.raw_os_error().unwrap_or(0),
            })?;
        }
        Ok(())
    }
}
