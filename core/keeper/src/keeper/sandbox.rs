//! One sandbox as the keeper sees it: a shell that is prepared ahead, then a sandbox, until its removal.

mod birth;
mod death;

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::Mode;
use rustix::io::Errno;
use sandboxset_keeper::{CgroupFd, Create, Failure, LayerReport};
use serde::Serialize;

pub(super) use self::death::{ends_within, has_ended};
use super::below::{Cloning, Parent};
use super::cgroup::SandboxCgroups;
use super::order::{Heard, Told, Way};
use super::stock::most_ahead;
use crate::init::News;

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
    /// Its cgroups as the host is given them, if they are open already.
    opened: Option<(Vec<CgroupFd>, Vec<OwnedFd>)>,
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
    /// Tells its init what to become, but for its runtime; as soon as there is one.
    fn describe(&mut self, recipe: &Arc<Create>) -> Result<(), Failure> {
        self.stage = Stage::Furnishing;
        self.recipe = Some(Arc::clone(recipe));
        if self.is_born() { self.tell(&**recipe, &[]) } else { Ok(()) }
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
            Stage::Furnished if !self.has_runtime() => return Ok(self.hand_over()?),
            Stage::Furnished | Stage::Starting | Stage::Forked => {
                if self.stage == Stage::Furnished {
                    self.go_on().map_err(|failure| self.unfinished(failure))?;
                }
                self.stage = Stage::Starting;
                self.release_if_wanted()?;
            }
            _ => {}
        }
        self.open_meanwhile()?;
        Ok(Step::None)
    }

    /// A fork that somebody waits for need not wait itself, so its init is told at once.
    fn release_if_wanted(&mut self) -> Result<(), Refusal> {
        if self.deadline.is_some() && self.fork_of.is_some() {
            self.release().map_err(|failure| self.unfinished(failure))?;
        }
        Ok(())
    }

    /// Opens what the host will be given, while its init is at work.
    fn open_meanwhile(&mut self) -> Result<(), Failure> {
        if self.opened.is_none() {
            self.opened = Some(self.open_cgroups()?);
        }
        Ok(())
    }

    fn open_cgroups(&self) -> Result<(Vec<CgroupFd>, Vec<OwnedFd>), Failure> {
        self.made.cgroups.as_ref().map_or(Ok(Default::default()), SandboxCgroups::fds)
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
        let (kinds, mut cgroup_fds) = match self.opened.take() {
            Some(opened) => opened,
            None => self.open_cgroups()?,
        };
        self.setup = None;
        self.recipe = None;
        self.stage = Stage::Ready;
        let mut fds = vec![pidfd, host_end];
        fds.append(&mut cgroup_fds);
        let report = std::mem::take(&mut self.report);
        Ok(Step::Ready(Handover { name: self.serial.to_string(), cgroups: kinds, report, fds }))
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
