//! One sandbox as the keeper sees it: from the clone of its init to its removal.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{CgroupFd, Create, Failure, INNER_ID, LayerReport};

use super::cgroup::{Cgroups, SandboxCgroups};
use super::{message_pair, sweep};
use crate::init::{self, SetupResult};
use crate::seccomp::Filter;
use crate::sys::{self, Forked};

/// Where a sandbox is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its init is setting up.
    Starting,
    /// It was handed to the host.
    Ready,
    /// Its init ended and was reaped.
    Dead,
}

/// A sandbox with everything that must be removed with it.
pub(super) struct Sandbox {
    pub(super) stage: Stage,
    pub(super) pidfd: OwnedFd,
    pub(super) host_id: Option<u32>,
    deadline: Instant,
    setup: Option<OwnedFd>,
    host_end: Option<OwnedFd>,
    report: Vec<LayerReport>,
    made: Made,
}

/// What was made outside the sandbox's own namespaces. Dropping it removes what is still there, as far as it goes.
struct Made {
    cgroups: Option<SandboxCgroups>,
    disk_scratch: Option<Vec<u8>>,
}

/// What the host is told and given of a sandbox that is ready.
pub(super) struct Handover {
    pub(super) cgroups: Vec<CgroupFd>,
    pub(super) report: Vec<LayerReport>,
    pub(super) fds: Vec<OwnedFd>,
}

/// Gives every live sandbox a host user id of its own, where we may.
pub(super) struct HostIds {
    base: Option<u32>,
    in_use: Vec<bool>,
}

/// The host ids begin here, plus a random multiple of [`ID_BLOCK`]: far above those of people, services and the
/// sub-ids that container tools hand out.
const FIRST_ID: u32 = 2_000_000_000;
/// How many sandboxes one keeper can tell apart by user id.
const ID_BLOCK: u32 = 8192;
/// How many blocks there are; two keepers seldom share one.
const ID_BLOCKS: u32 = 16384;

/// How long a killed init may take to be gone before the caller is told that it is not.
const DEATH: Duration = Duration::from_secs(2);

impl Sandbox {
    /// Makes cgroups, clones the init into them and lets it begin its set-up.
    pub(super) fn start(
        create: Create,
        cgroups: &Cgroups,
        filter: &Filter,
        ids: &mut HostIds,
    ) -> Result<Self, Failure> {
        let host_id = ids.take()?;
        let result = Self::start_as(create, cgroups, filter, host_id);
        if result.is_err() {
            ids.release(host_id);
        }
        result
    }

    fn start_as(
        create: Create,
        cgroups: &Cgroups,
        filter: &Filter,
        host_id: Option<u32>,
    ) -> Result<Self, Failure> {
        let deadline = Instant::now() + Duration::from_millis(create.deadline_ms);
        let (setup, init_setup) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        let (host_end, init_end) = message_pair().map_err(|errno| failure("make a socket", errno))?;
        make_scratch(create.disk_scratch.as_deref(), host_id)?;
        let mut made = Made { cgroups: None, disk_scratch: create.disk_scratch.clone() };
        let own = made.cgroups.insert(cgroups.make(create.id, &create.limits, host_id)?);
        let unified = own.unified_fd()?;
        // The files in /proc of an undumpable process are root's, and we must write the init's id maps. The init is
        // born as we are now and makes itself undumpable once it is set up.
        set_dumpable(true)?;
        let cloned = sys::clone3(init::NAMESPACES, unified.as_ref().map(AsFd::as_fd));
        if !matches!(cloned, Ok(Forked::Child)) {
            set_dumpable(false)?;
        }
        let (pid, pidfd) = match cloned.map_err(|errno| failure("clone the init", errno))? {
            Forked::Parent(pid, pidfd) => (pid, pidfd),
            Forked::Child => init::main(init_setup, init_end, &create, filter, cgroups.limits_memory()),
        };
        let mut sandbox = Sandbox {
            stage: Stage::Starting,
            pidfd,
            host_id,
            deadline,
            setup: Some(setup),
            host_end: Some(host_end),
            report: cgroups.report(),
            made,
        };
        if let Err(failure) = sandbox.release(pid.as_raw_nonzero().get()) {
            let _ = sandbox.discard();
            return Err(failure);
        }
        Ok(sandbox)
    }

    /// Lets the init go on; it waits for this before it does anything that it could not undo.
    fn release(&self, pid: i32) -> Result<(), Failure> {
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.adopt(pid)?;
        }
        write_id_maps(pid, self.host_id)?;
        let Some(setup) = &self.setup else { return Ok(()) };
        sandboxset_keeper::send(setup, &(), &[])
            .map_err(|error| Failure { step: format!("release the init: {error}"), errno: 0 })
    }

    /// The socket on which the init reports, while it sets up.
    pub(super) fn setup_socket(&self) -> Option<&OwnedFd> {
        self.setup.as_ref()
    }

    /// When the set-up must be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.stage == Stage::Starting).then_some(self.deadline)
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
        Ok(Handover { cgroups: kinds, report, fds })
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

    /// Kills what is left and removes everything. An error says what could not be removed; calling again tries
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
            match rustix::event::poll(&mut fds, Some(&super::timespec(left))) {
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
        if let Some(scratch) = &self.disk_scratch {
            sweep::remove_scratch(scratch)?;
            self.disk_scratch = None;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

impl HostIds {
    pub(super) fn new() -> Self {
        if !rustix::process::geteuid().is_root() {
            return HostIds { base: None, in_use: Vec::new() };
        }
        // The supplementary groups of a privileged user are nobody's business inside.
        let _ = rustix::thread::set_thread_groups(&[]);
        let mut random = [0u8; 4];
        let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
        let block = u32::from_ne_bytes(random) % ID_BLOCKS;
        HostIds { base: Some(FIRST_ID + block * ID_BLOCK), in_use: Vec::new() }
    }

    fn take(&mut self) -> Result<Option<u32>, Failure> {
        let Some(base) = self.base else { return Ok(None) };
        let index = self.in_use.iter().position(|used| !used).unwrap_or(self.in_use.len());
        if index as u32 >= ID_BLOCK {
            return Err(Failure {
                step: format!("find a free user id: {ID_BLOCK} sandboxes live"),
                errno: 0,
            });
        }
        if index == self.in_use.len() {
            self.in_use.push(false);
        }
        self.in_use[index] = true;
        Ok(Some(base + index as u32))
    }

    pub(super) fn release(&mut self, id: Option<u32>) {
        if let (Some(base), Some(id)) = (self.base, id)
            && let Some(used) = self.in_use.get_mut((id - base) as usize)
        {
            *used = false;
        }
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

fn make_scratch(path: Option<&[u8]>, host_id: Option<u32>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
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
