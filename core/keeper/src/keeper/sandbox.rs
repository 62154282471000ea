//! One sandbox as the keeper sees it: a shell that is prepared ahead, then a sandbox, until its removal.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{CgroupFd, Create, Failure, INNER_ID, LayerReport};
use serde::Serialize;

use super::cgroup::{Cgroups, SandboxCgroups};
use super::host_ids::HostIds;
use super::message_pair;
use crate::init::{self, SetupResult};
use crate::seccomp::Filter;
use crate::sys::{self, Forked};

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// A shell: its init waits to be told what to become.
    Prepared,
    /// Its init is setting up.
    Starting,
    /// It was handed to the host.
    Ready,
    /// Its init ended and was reaped.
    Dead,
}

/// A sandbox with everything that must be removed with it.
pub(super) struct Sandbox {
    /// The name of its cgroups.
    pub(super) name: String,
    pub(super) stage: Stage,
    pub(super) pidfd: OwnedFd,
    pub(super) host_id: Option<u32>,
    /// Its scratch dir on disk, which the [`Remover`](super::Remover) removes when all else is.
    pub(super) disk_scratch: Option<Vec<u8>>,
    deadline: Option<Instant>,
    setup: Option<OwnedFd>,
    host_end: Option<OwnedFd>,
    report: Vec<LayerReport>,
    made: Made,
}

/// What was made outside the sandbox's own namespaces. Dropping it removes what is still there, as far as it goes.
struct Made {
    cgroups: Option<SandboxCgroups>,
}

/// What the host is told and given of a sandbox that is ready.
pub(super) struct Handover {
    pub(super) name: String,
    pub(super) cgroups: Vec<CgroupFd>,
    pub(super) report: Vec<LayerReport>,
    pub(super) fds: Vec<OwnedFd>,
}

/// How long a killed init may take to be gone before the caller is told that it is not.
const DEATH: Duration = Duration::from_secs(2);

impl Sandbox {
    /// Makes cgroups and namespaces with an init that waits for [`Sandbox::start`] to tell it what to become.
    pub(super) fn prepare(
        name: &str,
        cgroups: &Cgroups,
        filter: &Filter,
        ids: &mut HostIds,
    ) -> Result<Self, Failure> {
        let host_id = ids.take()?;
        let result = Self::prepare_as(name, cgroups, filter, host_id);
        if result.is_err() {
            ids.release(host_id);
        }
        result
    }

    fn prepare_as(
        name: &str,
        cgroups: &Cgroups,
        filter: &Filter,
        host_id: Option<u32>,
    ) -> Result<Self, Failure> {
        let (setup, init_setup) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        let (host_end, init_end) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        let made = Made { cgroups: Some(cgroups.make(name, host_id)?) };
        let own = made.cgroups.as_ref();
        let unified = own.map(SandboxCgroups::unified_fd).transpose()?.flatten();
        // The files in /proc of an undumpable process are root's, and we must write the init's id maps. The init is
        // born as we are now and makes itself undumpable once it is set up.
        set_dumpable(true)?;
        let cloned = sys::clone3(init::NAMESPACES, unified.as_ref().map(AsFd::as_fd));
        if !matches!(cloned, Ok(Forked::Child)) {
            set_dumpable(false)?;
        }
        let (pid, pidfd) = match cloned.map_err(|errno| failure("clone the init", errno))? {
            Forked::Parent(pid, pidfd) => (pid, pidfd),
            Forked::Child => {
                let adopt = || own.map_or(Ok(()), SandboxCgroups::adopt_self);
                init::main(init_setup, init_end, adopt, filter, cgroups.limits_memory())
            }
        };
        let mut sandbox = Sandbox {
            name: name.to_owned(),
            stage: Stage::Prepared,
            pidfd,
            host_id,
            disk_scratch: None,
            deadline: None,
            setup: Some(setup),
            host_end: Some(host_end),
            report: cgroups.report(),
            made,
        };
        let released = write_id_maps(pid.as_raw_nonzero().get(), host_id).and_then(|()| sandbox.tell(&()));
        if let Err(failure) = released {
            let _ = sandbox.discard();
            return Err(failure);
        }
        Ok(sandbox)
    }

    /// Sets the limits and lets the init become the sandbox that is wanted.
    pub(super) fn start(&mut self, create: &Create) -> Result<(), Failure> {
        self.deadline = Some(Instant::now() + Duration::from_millis(create.deadline_ms));
        self.stage = Stage::Starting;
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.limit(&create.limits)?;
        }
        if let Some(scratch) = &create.disk_scratch {
            make_scratch(scratch, self.host_id)?;
            self.disk_scratch = Some(scratch.clone());
        }
        self.tell(create)
    }

    /// Sends the init what it waits for.
    fn tell<T: Serialize>(&self, message: &T) -> Result<(), Failure> {
        let Some(setup) = &self.setup else { return Ok(()) };
        sandboxset_keeper::send(setup, message, &[])
            .map_err(|error| Failure { step: format!("talk to the init: {error}"), errno: 0 })
    }

    /// Whether its init ended, though nobody has reaped it yet.
    pub(super) fn has_ended(&self) -> bool {
        self.wait_for_end(Duration::ZERO)
    }

    /// The socket on which the init reports, while it sets up.
    pub(super) fn setup_socket(&self) -> Option<&OwnedFd> {
        self.setup.as_ref()
    }

    /// When the set-up must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.filter(|_| self.stage == Stage::Starting)
    }

    /// Takes the init's report; answers what the host is to be told and given.
    pub(super) fn finish_setup(&mut self) -> Result<Handover, Failure> {
        let no_answer = |step: &str| Failure { step: step.to_owned(), errno: 0 };
        let setup = self.setup.take().ok_or_else(|| no_answer("set up twice"))?;
        let (result, _) = sandboxset_keeper::receive_untrusted::<SetupResult>(&setup, 0)
            .map_err(|error| no_answer(&format!("set the sandbox up: its init gave no answer: {error}")))?;
        let mut report = result?;
        let host_end = self.host_end.take().ok_or_else(|| no_answer("set up twice"))?;
        let pidfd = self.pidfd.try_clone().map_err(|_| no_answer("copy a descriptor"))?;
        let (kinds, mut cgroup_fds) = match &self.made.cgroups {
            Some(cgroups) => cgroups.fds()?,
            None => Default::default(),
        };
        report.append(&mut self.report);
        self.stage = Stage::Ready;
        let mut fds = vec![pidfd, host_end];
        fds.append(&mut cgroup_fds);
        Ok(Handover { name: self.name.clone(), cgroups: kinds, report, fds })
    }

    /// Kills everything in it. Works on a frozen one too.
    pub(super) fn kill(&self) {
        if self.stage == Stage::Dead {
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

    /// Kills what is left and removes everything but the scratch dir on disk. An error says what could not be removed; calling again tries
    /// again.
    pub(super) fn discard(&mut self) -> Result<(), String> {
        self.setup = None;
        self.host_end = None;
        if self.stage != Stage::Dead {
            self.kill();
            if !self.wait_for_end(DEATH) {
                return Err("the init cannot be killed".to_owned());
            }
            self.reap();
        }
        self.made.remove()
    }

    fn wait_for_end(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
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

fn set_dumpable(dumpable: bool) -> Result<(), Failure> {
    let behavior = if dumpable { DumpableBehavior::Dumpable } else { DumpableBehavior::NotDumpable };
    rustix::process::set_dumpable_behavior(behavior)
        .map_err(|errno| failure("change whether we are dumpable", errno))
}

/// Maps the one user and group of the sandbox to its host id, or to our own where we may not choose.
fn write_id_maps(pid: i32, host_id: Option<u32>) -> Result<(), Failure> {
    let uid = host_id.unwrap_or_else(|| rustix::process::geteuid().as_raw());
    let gid = host_id.unwrap_or_else(|| rustix::process::getegid().as_raw());
    for (file, value) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{INNER_ID} {uid} 1")),
        ("gid_map", format!("{INNER_ID} {gid} 1")),
    ] {
        std::fs::write(format!("/proc/{pid}/{file}"), value).map_err(|error| Failure {
            step: format!("write {file}"),
            errno: error.raw_os_error().unwrap_or(0),
        })?;
    }
    Ok(())
}

fn make_scratch(path: &[u8], host_id: Option<u32>) -> Result<(), Failure> {
    let path = Path::new(OsStr::from_bytes(path));
    rustix::fs::mkdir(path, rustix::fs::Mode::from_raw_mode(0o700))
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
