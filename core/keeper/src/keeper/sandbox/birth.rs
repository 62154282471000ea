//! The birth of a sandbox: from its cgroups and namespaces to an init that has been let into both, and waits to be told
//! what to become.
//!
//! One below a parent is cloned by helpers; until they have ended it is *unborn*, and what it is to be told waits.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use sandboxset_keeper::{Create, Failure};

use super::super::below;
use super::super::cgroup::{Cgroups, SandboxCgroups};
use super::super::clone::{IdMaps, clone_init};
use super::super::host_ids::HostIds;
use super::super::message_pair;
use super::super::order::Heard;
use super::{Made, Place, Sandbox, Stage, failure, has_ended};
use crate::init::{self, Birth};
use crate::seccomp::Filters;

impl Sandbox {
    /// Makes cgroups and namespaces with an init that waits for [`Sandbox::furnish`] to tell it what to become.
    pub(in super::super) fn prepare(
        serial: u64,
        cgroups: &Cgroups,
        filters: &Filters,
        ids: &mut HostIds,
        place: Place<'_>,
    ) -> Result<Self, Failure> {
        let host_id = ids.take()?;
        let above = place.below.map(|parent| parent.lineage.as_slice()).unwrap_or_default();
        let maps = IdMaps::new(host_id, ids, above, place);
        let result = Self::prepare_as(serial, cgroups, filters, host_id, &maps, place);
        if result.is_err() {
            ids.release(host_id);
        }
        result
    }

    fn prepare_as(
        serial: u64,
        cgroups: &Cgroups,
        filters: &Filters,
        host_id: Option<u32>,
        maps: &IdMaps,
        place: Place<'_>,
    ) -> Result<Self, Failure> {
        let (setup, init_setup) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        let (host_end, init_end) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        let made = Made { cgroups: Some(cgroups.make(&serial.to_string())?) };
        let own = made.cgroups.as_ref();
        let unified = own.map(SandboxCgroups::unified_fd).transpose()?.flatten();
        let birth = if place.recipe.is_some() { Birth::Awaited } else { Birth::Ahead };
        let live = || init::main(init_setup, init_end, filters, cgroups.limits_memory(), birth);
        let unified = unified.as_ref().map(AsFd::as_fd);
        let above = match place.below {
            Some(below) => below.parent.as_ref().map(Some).ok_or_else(|| Failure {
                step: "fork a sandbox whose runtime is no fork server".into(),
                errno: 0,
            })?,
            None => None,
        };
        let (pidfd, cloning) = match above {
            Some(parent) => {
                let (helper, cloning) = below::begin(parent, maps, unified, live)?;
                (helper, Some(cloning))
            }
            None => (clone_init(maps, unified, live)?, None),
        };
        let above = place.below.map(|parent| parent.lineage.clone()).unwrap_or_default();
        Ok(Sandbox {
            serial,
            stage: Stage::Bare,
            pidfd,
            cloning,
            host_id,
            disk_scratch: None,
            fork_of: None,
            parent: None,
            lineage: above.into_iter().chain(host_id).collect(),
            recipe: None,
            deadline: None,
            setup: Some(setup),
            host_end: Some(host_end),
            report: cgroups.report(),
            heard: Heard::default(),
            released: false,
            waited: false,
            mounts: None,
            mounters: Vec::new(),
            user: None,
            network: None,
            rests: false,
            opened: None,
            made,
        })
    }

    /// Makes what its init did not need to be born, while it has something to do without, and lets it go on; or whoever
    /// clones it does so meanwhile.
    pub(in super::super) fn adopt(&mut self, recipe: Option<&Arc<Create>>) -> Result<(), Failure> {
        if let Some(recipe) = recipe {
            self.describe(recipe)?;
        }
        if self.is_born() {
            self.note_namespaces(recipe.is_some());
        }
        if recipe.is_some() && self.user.is_none() {
            return Err(Failure { step: "open the user namespace".into(), errno: 0 });
        }
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.complete(self.host_id)?;
        }
        if self.is_born() { self.admit() } else { Ok(()) }
    }

    /// Before it is let into its cgroups, because later the init will be closed to us, unless we are root.
    fn note_namespaces(&mut self, is_awaited: bool) {
        let (mounts, user) = namespaces(&self.pidfd);
        (self.mounts, self.user) = (mounts, user.filter(|_| is_awaited));
    }

    /// Lets its init into the cgroups. Not before whoever cloned it has ended, because it dies with its parent.
    fn admit(&self) -> Result<(), Failure> {
        let entrances = self.made.cgroups.as_ref().map_or(Ok(Vec::new()), SandboxCgroups::v1_entrances)?;
        // Their number too, because descriptors can get lost on the way.
        self.tell(&entrances.len(), &entrances)
    }

    /// Whether there is an init yet.
    pub(in super::super) fn is_born(&self) -> bool {
        self.cloning.is_none()
    }

    /// Takes the init that was cloned, if it was in time, and tells it what it was to be told.
    pub(in super::super) fn be_born(&mut self) -> Result<(), Failure> {
        let Some(cloning) = self.cloning.take() else { return Ok(()) };
        match cloning.end(&self.pidfd) {
            Ok(pidfd) => self.pidfd = pidfd,
            Err(failure) => {
                self.stage = Stage::Dead;
                return Err(failure);
            }
        }
        self.note_namespaces(false);
        self.admit()?;
        self.recipe.as_ref().map_or(Ok(()), |recipe| self.tell(&**recipe, &[]))
    }

    /// Whether those who were to clone its init have ended.
    pub(in super::super) fn has_helped(&self) -> bool {
        has_ended(&self.pidfd)
    }
}

/// The number of a process's mount namespace, and its user namespace, as far as we may know them.
fn namespaces(pidfd: &OwnedFd) -> (Option<u64>, Option<OwnedFd>) {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok();
    let pid = info.as_deref().and_then(|info| info.lines().find_map(|line| line.strip_prefix("Pid:")));
    let Some(pid) = pid.map(str::trim) else { return (None, None) };
    let mounts = rustix::fs::stat(format!("/proc/{pid}/ns/mnt")).ok().map(|stat| stat.st_ino);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    (mounts, rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty()).ok())
}
