//! One sandbox as the keeper sees it: a shell that is prepared ahead, then a sandbox, until its removal.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{CLONE_STEP, CgroupFd, Create, Failure, INNER_ID, LayerReport};
use serde::Serialize;

use super::below::{self, Cloning, Parent};
use super::cgroup::{Cgroups, SandboxCgroups};
use super::host_ids::HostIds;
use super::message_pair;
use super::order::{Heard, Told, Way};
use super::stock::most_ahead;
use crate::init::{self, Birth, News};
use crate::seccomp::Filters;
use crate::sys::{self, Forked};

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A bare shell: its init waits to be told what to become.
    Bare,
    /// Its init builds the root and gives up its rights.
    Furnishing,
    /// A shell that lacks nothing but its runtime, if it is to have one.
    Furnished,
    /// Its runtime is starting.
    Starting,
    /// Its runtime has been forked, and waits to be told what to be.
    Forked,
    /// It was handed to the host.
    Ready,
    /// Its init ended and was reaped.
    Dead,
}

/// A sandbox with everything that must be removed with it.
pub(super) struct Sandbox {
    /// Its number among those of this keeper, which is also the name of its cgroups.
    pub(super) serial: u64,
    pub(super) stage: Stage,
    /// Of its init; or, while that is being cloned, of the process that has it done.
    pub(super) pidfd: OwnedFd,
    cloning: Option<Cloning>,
    pub(super) host_id: Option<u32>,
    /// Its scratch dir on disk, which the [`Remover`](super::Remover) removes when all else is.
    pub(super) disk_scratch: Option<Vec<u8>>,
    /// Whose runtime is forked to make this one's.
    pub(super) fork_of: Option<u64>,
    /// What it takes to make sandboxes below this one, if it can be forked.
    pub(super) parent: Option<Parent>,
    /// The host ids of it and of those above it.
    pub(super) lineage: Vec<u32>,
    /// What it was told to become.
    recipe: Option<Arc<Create>>,
    deadline: Option<Instant>,
    setup: Option<OwnedFd>,
    host_end: Option<OwnedFd>,
    report: Vec<LayerReport>,
    /// The last that its init said.
    heard: Heard,
    /// Whether its init was told that the runtime may run, if that was forked.
    released: bool,
    /// Whether it was forked before somebody wanted it.
    waited: bool,
    /// The inode of its mount namespace, by which a mounter knows it. It is not held open, because whoever closed it
    /// last would have to wait for the kernel to take it apart.
    pub(super) mounts: Option<u64>,
    /// Mounters that were not reaped yet: one at work, and perhaps one that has answered and is about to end.
    pub(super) mounters: Vec<OwnedFd>,
    /// Its user namespace, until somebody makes the network namespace in it.
    pub(super) user: Option<OwnedFd>,
    /// Who makes that, until reaped.
    pub(super) network: Option<OwnedFd>,
    /// Whether it was frozen while it waits.
    rests: bool,
    made: Made,
}

/// What was made outside the sandbox's own namespaces. Dropping it removes what is still there, as far as it goes.
struct Made {
    cgroups: Option<SandboxCgroups>,
}

/// What a shell is to become, as far as that must be known when it is made.
#[derive(Clone, Copy, Default)]
pub(super) struct Place<'a> {
    /// The sandbox below which it is made: whose runtime will be forked.
    pub(super) below: Option<&'a Sandbox>,
    /// Whether sandboxes will be made below it.
    pub(super) forks: bool,
    /// What it is to become at once, if somebody waits for it.
    pub(super) recipe: Option<&'a Arc<Create>>,
}

/// The users and groups of a user namespace.
pub(super) struct IdMaps {
    users: String,
    groups: String,
}

/// What the init of a sandbox that is being set up said.
pub(super) enum Step {
    /// Nothing that concerns anybody else.
    None,
    /// The parent's server is to join through these.
    Door(Vec<OwnedFd>),
    /// It has, and is to fork.
    Joined,
    Ready(Handover),
}

/// Why a sandbox could not be made.
pub(super) enum Refusal {
    Sandbox(Failure),
    /// The one that it was to be forked from is to blame.
    Parent(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal::Sandbox(failure)
    }
}

/// What the host is told and given of a sandbox that is ready.
pub(super) struct Handover {
    pub(super) name: String,
    pub(super) cgroups: Vec<CgroupFd>,
    pub(super) report: Vec<LayerReport>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Sandbox {
    /// Makes cgroups and namespaces with an init that waits for [`Sandbox::furnish`] to tell it what to become.
    pub(super) fn prepare(
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
            made,
        })
    }

    /// Makes what its init did not need to be born, while it has something to do without, and lets it go on; or whoever
    /// clones it does so meanwhile.
    pub(super) fn adopt(&mut self, recipe: Option<&Arc<Create>>) -> Result<(), Failure> {
        if self.is_born() {
            self.note_namespaces(recipe.is_some());
        }
        if let Some(recipe) = recipe {
            if self.user.is_none() {
                return Err(Failure { step: "open the user namespace".into(), errno: 0 });
            }
            self.describe(recipe)?;
        }
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.complete(self.host_id)?;
        }
        if self.is_born() { self.admit() } else { Ok(()) }
    }

    /// Now, because later the init will be closed to us, unless we are root.
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

    /// Tells its init what to become, but for its runtime; as soon as there is one.
    fn describe(&mut self, recipe: &Arc<Create>) -> Result<(), Failure> {
        self.stage = Stage::Furnishing;
        self.recipe = Some(Arc::clone(recipe));
        if self.is_born() { self.tell(&**recipe, &[]) } else { Ok(()) }
    }

    /// Whether there is an init yet.
    pub(super) fn is_born(&self) -> bool {
        self.cloning.is_none()
    }

    /// Takes the init that was cloned, if it was in time, and tells it what it was to be told.
    pub(super) fn be_born(&mut self) -> Result<(), Failure> {
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

    /// Sets the limits and lets the init of a bare shell become what is wanted, but for its runtime.
    pub(super) fn furnish(&mut self, recipe: &Arc<Create>) -> Result<(), Refusal> {
        self.limit(recipe)?;
        if let Some(scratch) = &recipe.disk_scratch {
            make_scratch(scratch, self.host_id)?;
            self.disk_scratch = Some(scratch.clone());
        }
        self.describe(recipe).map_err(|failure| self.unfinished(failure))
    }

    /// Sets the limits. Nobody but its init is inside before the keeper has heard of that.
    pub(super) fn limit(&self, recipe: &Create) -> Result<(), Failure> {
        self.made.cgroups.as_ref().map_or(Ok(()), |cgroups| cgroups.limit(&recipe.limits))
    }

    /// Somebody waits for it, but not longer than this.
    pub(super) fn claim(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Takes a claimed sandbox as far as it gets without its init.
    pub(super) fn advance(&mut self) -> Result<Step, Refusal> {
        match self.stage {
            Stage::Furnished if self.has_runtime() => {
                self.stage = Stage::Starting;
                self.go_on().map_err(|failure| self.unfinished(failure))?;
                self.release_if_wanted()
            }
            Stage::Furnished => Ok(self.hand_over()?),
            Stage::Starting | Stage::Forked => {
                self.stage = Stage::Starting;
                self.release_if_wanted()
            }
            _ => Ok(Step::None),
        }
    }

    /// A fork that somebody waits for need not wait itself, so its init is told at once.
    fn release_if_wanted(&mut self) -> Result<Step, Refusal> {
        if self.deadline.is_some() && self.fork_of.is_some() {
            self.release().map_err(|failure| self.unfinished(failure))?;
        }
        Ok(Step::None)
    }

    /// Lets the runtime that was forked, or will be, have its arguments and run.
    pub(super) fn release(&mut self) -> Result<(), Failure> {
        if std::mem::replace(&mut self.released, true) { Ok(()) } else { self.go_on() }
    }

    fn has_runtime(&self) -> bool {
        self.recipe.as_ref().is_some_and(|recipe| recipe.runtime.is_some())
    }

    /// What is to be made instead, and until when, if this is a fork that had waited.
    pub(super) fn retry(&self) -> Option<(Arc<Create>, Instant)> {
        self.recipe.clone().filter(|_| self.waited).zip(self.deadline)
    }

    /// Whether somebody waits for the runtime that was forked, or will be.
    pub(super) fn is_released(&self) -> bool {
        self.released
    }

    /// Stops a sandbox that waits below a parent which is about to be paused, because its processes can do what the
    /// parent's memory says.
    pub(super) fn rest(&mut self) {
        if let Some(cgroups) = self.made.cgroups.as_ref().filter(|_| !self.rests) {
            // Left awake it can do no more than a process of its own limits.
            self.rests = cgroups.freeze(true).is_ok();
        }
    }

    /// Lets one that was stopped go on.
    pub(super) fn wake(&mut self) -> Result<(), Failure> {
        match &self.made.cgroups {
            Some(cgroups) if std::mem::take(&mut self.rests) => cgroups.freeze(false),
            _ => Ok(()),
        }
    }

    /// Lets the init go on.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        self.tell(&(), &[])
    }

    /// The files by which the parent's process enters the cgroups.
    pub(super) fn entrances(&self) -> Result<Vec<OwnedFd>, Failure> {
        self.made.cgroups.as_ref().map_or(Ok(Vec::new()), SandboxCgroups::entrances)
    }

    /// Sends the init what it waits for.
    fn tell<T: Serialize>(&self, message: &T, fds: &[OwnedFd]) -> Result<(), Failure> {
        let Some(setup) = &self.setup else { return Ok(()) };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        sandboxset_keeper::send(setup, message, &fds)
            .map_err(|error| Failure { step: format!("talk to the init: {error}"), errno: 0 })
    }

    /// Whether its init ended, though nobody has reaped it yet.
    pub(super) fn has_ended(&self) -> bool {
        self.is_born() && has_ended(&self.pidfd)
    }

    /// Whether those who were to clone its init have ended.
    pub(super) fn has_helped(&self) -> bool {
        has_ended(&self.pidfd)
    }

    /// The socket on which the init reports, while it sets up.
    pub(super) fn setup_socket(&self) -> Option<&OwnedFd> {
        self.setup.as_ref()
    }

    /// When the set-up must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| matches!(self.stage, Stage::Furnishing | Stage::Starting))
    }

    /// How long somebody waits for it, if somebody does.
    pub(super) fn claimed_until(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes what the init says.
    pub(super) fn hear(&mut self) -> Result<Step, Refusal> {
        let no_answer = |step: &str| Failure { step: step.to_owned(), errno: 0 };
        let setup = self.setup.as_ref().ok_or_else(|| no_answer("set up twice"))?;
        let (news, fds) = sandboxset_keeper::receive_untrusted::<News>(setup, 3).map_err(|error| {
            self.unfinished(no_answer(&format!("set the sandbox up: its init gave no answer: {error}")))
        })?;
        let runtime = self.recipe.as_ref().and_then(|recipe| recipe.runtime.as_ref());
        let way = Way {
            runtime: runtime.is_some(),
            forks: runtime.is_some_and(|runtime| runtime.forks),
            is_fork: self.fork_of.is_some(),
        };
        let told = match (self.stage, self.released) {
            (Stage::Starting, true) => Told::Released,
            (Stage::Starting, false) => Told::Begun,
            _ => Told::Nothing,
        };
        self.heard = self.heard.then(&news, way, told).ok_or_else(|| {
            self.unfinished(no_answer("set the sandbox up: its init said what cannot come now"))
        })?;
        match news {
            News::Forkable => {
                let [user, pid, server] =
                    fds.try_into().map_err(|_| no_answer("set the sandbox up: descriptors are missing"))?;
                rustix::io::ioctl_fionbio(&server, true)
                    .map_err(|errno| failure("prepare the fork server's socket", errno))?;
                let most_ahead = self.recipe.as_ref().map_or(0, |recipe| most_ahead(recipe.limits.pids));
                self.parent = Some(Parent { user, pid, server, most_ahead });
                Ok(Step::None)
            }
            News::Door => Ok(Step::Door(fds)),
            News::Joined => Ok(Step::Joined),
            News::Forked => {
                self.waited = !self.released;
                if self.waited {
                    self.stage = Stage::Forked;
                }
                Ok(Step::None)
            }
            News::Furnished(report) => {
                self.report.splice(0..0, report);
                self.stage = Stage::Furnished;
                if !self.has_runtime() {
                    self.setup = None;
                }
                // Only what is forked goes on before somebody waits for it.
                let goes_on = self.deadline.is_some() || self.fork_of.is_some();
                if goes_on { self.advance() } else { Ok(Step::None) }
            }
            News::Ready => Ok(self.hand_over()?),
            News::Failed(failure) => Err(Refusal::Sandbox(failure)),
            News::NotForked(failure) => Err(Refusal::Parent(failure)),
        }
    }

    /// Why an init that ended did not finish. One below a parent may have ended with it.
    pub(super) fn unfinished(&self, failure: Failure) -> Refusal {
        match self.fork_of {
            Some(_) => Refusal::Parent(failure),
            None => Refusal::Sandbox(failure),
        }
    }

    /// Answers what the host is to be told and given.
    fn hand_over(&mut self) -> Result<Step, Failure> {
        let no_answer = |step: &str| Failure { step: step.to_owned(), errno: 0 };
        let host_end = self.host_end.take().ok_or_else(|| no_answer("set up twice"))?;
        let pidfd = self.pidfd.try_clone().map_err(|_| no_answer("copy a descriptor"))?;
        let (kinds, mut cgroup_fds) = match &self.made.cgroups {
            Some(cgroups) => cgroups.fds()?,
            None => Default::default(),
        };
        self.setup = None;
        self.recipe = None;
        self.stage = Stage::Ready;
        let mut fds = vec![pidfd, host_end];
        fds.append(&mut cgroup_fds);
        let report = std::mem::take(&mut self.report);
        Ok(Step::Ready(Handover { name: self.serial.to_string(), cgroups: kinds, report, fds }))
    }

    /// Kills everything in it. Works on a frozen one too.
    pub(super) fn kill(&self) {
        if self.stage == Stage::Dead || !self.is_born() {
            return;
        }
        // The end of a namespace's init ends the whole namespace; the cgroup also has what is not in it yet.
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.kill();
        }
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.let_die();
        }
    }

    /// Reaps the ended init and says how it ended.
    pub(super) fn reap(&mut self) -> String {
        self.stage = Stage::Dead;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(init::EXIT_RUNTIME_ENDED), _) => "ended because its runtime ended".to_owned(),
                (Some(code), _) => format!("exited with code {code}"),
                (_, Some(signal)) => format!("was ended by signal {signal}"),
                _ => "ended".to_owned(),
            },
            _ => "ended".to_owned(),
        }
    }

    /// Kills all of it, and lets go of what is only for a sandbox that lives.
    pub(super) fn end(&mut self) {
        self.setup = None;
        self.host_end = None;
        self.kill_mounters();
        self.kill_network();
        self.kill();
    }

    /// Whether every process of it has ended; reaps those that have.
    pub(super) fn is_gone(&mut self) -> bool {
        self.reap_mounters();
        if self.network.as_ref().is_some_and(has_ended) {
            self.reap_network();
        }
        if self.stage != Stage::Dead && self.has_ended() {
            self.reap();
        }
        self.survivors().next().is_none()
    }

    /// Waits until every process of it has ended, or until the deadline; or, if it is not born, who is to clone it.
    pub(super) fn await_end(&self, deadline: Instant) {
        for pidfd in self.survivors() {
            ends_within(pidfd, deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn survivors(&self) -> impl Iterator<Item = &OwnedFd> {
        let init = (self.stage != Stage::Dead).then_some(&self.pidfd);
        init.into_iter().chain(&self.mounters).chain(&self.network)
    }

    /// What has not ended, in words.
    pub(super) fn survivor(&self) -> &'static str {
        if self.stage == Stage::Dead { "a helper cannot be killed" } else { "the init cannot be killed" }
    }

    /// Removes what is left when all its processes have ended, but not the scratch dir on disk. An error says what could
    /// not be removed; calling again tries again.
    pub(super) fn remove_rest(&mut self) -> Result<(), String> {
        self.made.remove()
    }
}

/// Whether a process has ended.
pub(super) fn has_ended(pidfd: &OwnedFd) -> bool {
    ends_within(pidfd, Duration::ZERO)
}

/// Waits for the end of a process.
pub(super) fn ends_within(pidfd: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        // Rounding up must not turn a look into a wait.
        let timeout = if timeout.is_zero() { Timespec::default() } else { super::timespec(left) };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

impl Made {
    fn remove(&mut self) -> Result<(), String> {
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove()?;
            self.cgroups = None;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Clones an init straight below the keeper.
fn clone_init(
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

/// The number of a process's mount namespace, and its user namespace, as far as we may know them.
fn namespaces(pidfd: &OwnedFd) -> (Option<u64>, Option<OwnedFd>) {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok();
    let pid = info.as_deref().and_then(|info| info.lines().find_map(|line| line.strip_prefix("Pid:")));
    let Some(pid) = pid.map(str::trim) else { return (None, None) };
    let mounts = rustix::fs::stat(format!("/proc/{pid}/ns/mnt")).ok().map(|stat| stat.st_ino);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    (mounts, rustix::fs::open(format!("/proc/{pid}/ns/user"), flags, Mode::empty()).ok())
}

impl IdMaps {
    /// Maps the one user and group of a sandbox to its host id, or to our own where we may not choose. What can be
    /// forked also knows, under their own numbers, the ids that those below it may get, so that each gets another;
    /// nobody in it has the right to become one of them.
    fn new(host_id: Option<u32>, ids: &HostIds, above: &[u32], place: Place<'_>) -> Self {
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

fn make_scratch(path: &[u8], host_id: Option<u32>) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(path));
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o700))
        .map_err(|errno| failure(&format!("make the scratch dir {}", path.display()), errno))?;
    if host_id.is_some() {
        std::os::unix::fs::lchown(path, host_id, host_id).map_err(|error| Failure {
            step: "hand over the scratch dir".into(),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    }
    Ok(())
}

pub(super) fn failure(step: &str, errno: Errno) -> Failure {
    Failure { step: step.to_owned(), errno: errno.raw_os_error() }
}
