//! The cgroups of the sandboxes: made before a sandbox starts, removed after it is gone.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sandboxset_keeper::{CgroupFd, CgroupPlan, Controller, Failure, LayerReport, LayerStatus, Limits, Owner};

use super::sandbox::failure;

/// Where this keeper makes cgroups: one directory of the owner per tree, with one per sandbox below it.
pub(super) struct Cgroups {
    unified: Option<PathBuf>,
    unified_controllers: Vec<Controller>,
    v1: Vec<(Controller, PathBuf)>,
}

/// The cgroups of one sandbox.
pub(super) struct SandboxCgroups {
    unified: Option<PathBuf>,
    unified_controllers: Vec<Controller>,
    v1: Vec<(Controller, PathBuf)>,
}

const CONTROLLERS: [Controller; 3] = [Controller::Memory, Controller::Pids, Controller::Cpu];

/// The v1 file by which a thread enters. One that moves only itself need not wait for the kernel's grace period, since
/// Linux 6.0 (commit 9a3284fad42f); by `cgroup.procs` it would, for about 10 ms.
const V1_ENTRANCE: &str = "tasks";

/// The v1 freezer's file.
const FREEZER_STATE: &str = "freezer.state";

/// The period that a CPU quota refers to; the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

impl Cgroups {
    /// Makes the owner's directories; answers what cannot be used and why.
    pub(super) fn open(plan: &CgroupPlan, owner: &str) -> (Self, Vec<String>) {
        let mut faults = Vec::new();
        let mut make = |base: &[u8], what: &str| {
            let dir = PathBuf::from(std::ffi::OsString::from_vec(base.to_vec())).join(owner);
            match fs::create_dir(&dir) {
                Ok(()) => Some(dir),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Some(dir),
                Err(error) => {
                    faults.push(format!("{what}: cannot make {}: {error}", dir.display()));
                    None
                }
            }
        };
        let unified = plan.unified.as_deref().and_then(|base| make(base, "cgroup v2"));
        let v1 = plan
            .v1
            .iter()
            .filter_map(|(controller, base)| Some((*controller, make(base, controller.name())?)))
            .collect();
        let mut unified_controllers = Vec::new();
        if let Some(dir) = &unified {
            for &controller in &plan.unified_controllers {
                // In the base first, then in ours, so that the directories of the sandboxes have the files.
                let enable = format!("+{}", controller.name());
                let base = dir.parent().map(|base| base.join("cgroup.subtree_control"));
                let _ = base.map(|file| write(&file, &enable));
                match write(&dir.join("cgroup.subtree_control"), &enable) {
                    Ok(()) => unified_controllers.push(controller),
                    Err(errno) => faults.push(format!("{}: cannot be enabled: {errno}", controller.name())),
                }
            }
        }
        (Cgroups { unified, unified_controllers, v1 }, faults)
    }

    /// Makes the one cgroup of a sandbox that its init is born into.
    pub(super) fn make(&self, name: &str) -> Result<SandboxCgroups, Failure> {
        let unified = self.unified.as_ref().map(|base| base.join(name));
        unified.as_deref().map_or(Ok(()), mkdir)?;
        let v1 = self.v1.iter().map(|(controller, base)| (*controller, base.join(name))).collect();
        Ok(SandboxCgroups { unified, unified_controllers: self.unified_controllers.clone(), v1 })
    }

    /// Says how each limit is enforced.
    pub(super) fn report(&self) -> Vec<LayerReport> {
        let by_signal = (LayerStatus::Degraded, "no writable cgroup v2 tree: init stops and kills by signal");
        let (freeze, kill) = match &self.unified {
            Some(_) => ((LayerStatus::Active, "cgroup v2"), (LayerStatus::Active, "cgroup v2")),
            None if self.has_v1(Controller::Freezer) => ((LayerStatus::Active, "cgroup v1"), by_signal),
            None => (by_signal, by_signal),
        };
        let mut report =
            vec![layer("cgroup.freeze", freeze.0, freeze.1), layer("cgroup.kill", kill.0, kill.1)];
        for controller in CONTROLLERS {
            let by_v2 = self.unified_controllers.contains(&controller);
            let (status, detail) = match (by_v2, self.has_v1(controller), controller) {
                (true, ..) => (LayerStatus::Active, "cgroup v2"),
                (_, true, _) => (LayerStatus::Active, "cgroup v1"),
                (_, _, Controller::Memory) => {
                    (LayerStatus::Degraded, "no writable memory cgroup: address space of each process only")
                }
                (_, _, Controller::Pids) => (
                    LayerStatus::Degraded,
                    "no writable pids cgroup: RLIMIT_NPROC in the sandbox's user namespace",
                ),
                _ => (LayerStatus::Missing, "no writable cpu cgroup"),
            };
            report.push(layer(controller.name(), status, detail));
        }
        report
    }

    /// Whether memory is limited by a cgroup.
    pub(super) fn limits_memory(&self) -> bool {
        self.unified_controllers.contains(&Controller::Memory) || self.has_v1(Controller::Memory)
    }

    fn has_v1(&self, controller: Controller) -> bool {
        self.v1.iter().any(|(other, _)| *other == controller)
    }

    /// Removes what dead owners left beside us.
    pub(super) fn sweep(&self) {
        for dir in self.owner_dirs() {
            let (Some(base), Some(own)) = (dir.parent(), dir.file_name()) else { continue };
            let Ok(entries) = fs::read_dir(base) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                let dead = name.to_str().and_then(Owner::parse).is_some_and(|owner| owner.is_dead());
                if dead && name != own {
                    remove_group(&entry.path());
                }
            }
        }
    }

    /// Removes the owner's own directories, when all sandboxes are gone.
    pub(super) fn remove_owner(&self) {
        for dir in self.owner_dirs() {
            remove_group(dir);
        }
    }

    fn owner_dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.v1.iter().map(|(_, dir)| dir))
    }
}

impl SandboxCgroups {
    /// Makes the others, and gives the sandbox's user what its init must write to.
    pub(super) fn complete(&self, host_id: Option<u32>) -> Result<(), Failure> {
        for (index, (_, dir)) in self.v1.iter().enumerate() {
            // One hierarchy can have several controllers.
            if !self.v1[..index].iter().any(|(_, other)| other == dir) {
                mkdir(dir)?;
            }
        }
        if let (Some(dir), Some(host_id)) = (&self.unified, host_id) {
            // A process may be cloned into a cgroup below by who may write the common ancestor's list.
            std::os::unix::fs::chown(dir.join("cgroup.procs"), Some(host_id), Some(host_id))
                .map_err(|error| io_failure("hand over the cgroup", &error))?;
        }
        Ok(())
    }

    /// The v2 directory, to clone a process into.
    pub(super) fn unified_fd(&self) -> Result<Option<OwnedFd>, Failure> {
        self.unified
            .as_deref()
            .map(|dir| open_dir(dir).map_err(|errno| failure("open a cgroup", errno)))
            .transpose()
    }

    /// Sets the limits.
    pub(super) fn limit(&self, limits: &Limits) -> Result<(), Failure> {
        if let Some(dir) = &self.unified {
            self.unified_controllers
                .iter()
                .try_for_each(|controller| write_limit(dir, *controller, limits, true))?;
        }
        self.v1.iter().try_for_each(|(controller, dir)| write_limit(dir, *controller, limits, false))
    }

    /// The files by which a process with one thread enters the cgroups: when it writes `0` to one, it moves itself,
    /// with our rights.
    pub(super) fn entrances(&self) -> Result<Vec<OwnedFd>, Failure> {
        let mut entrances = self.v1_entrances()?;
        let unified = self.unified.iter().map(|dir| open_entrance(&dir.join("cgroup.procs")));
        entrances.extend(unified.collect::<Result<Vec<_>, _>>()?);
        Ok(entrances)
    }

    /// Those of the v1 cgroups only: a process can be born into a v2 cgroup, but not into a v1 one.
    pub(super) fn v1_entrances(&self) -> Result<Vec<OwnedFd>, Failure> {
        self.v1.iter().map(|(_, dir)| open_entrance(&dir.join(V1_ENTRANCE))).collect()
    }

    /// Freezes or thaws everything in the cgroup, where there is a v2 one; does not wait for it.
    pub(super) fn freeze(&self, frozen: bool) -> Result<(), Failure> {
        let Some(dir) = &self.unified else { return Ok(()) };
        write(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            .map_err(|errno| failure("freeze or thaw a cgroup", errno))
    }

    /// Every directory, opened for the host.
    pub(super) fn fds(&self) -> Result<(Vec<CgroupFd>, Vec<OwnedFd>), Failure> {
        let unified = self.unified.iter().map(|dir| (CgroupFd::Unified, dir));
        let v1 = self.v1.iter().map(|(controller, dir)| (CgroupFd::V1(*controller), dir));
        let mut kinds = Vec::new();
        let mut fds = Vec::new();
        for (kind, dir) in unified.chain(v1) {
            kinds.push(kind);
            fds.push(open_dir(dir).map_err(|errno| failure("open a cgroup", errno))?);
        }
        Ok((kinds, fds))
    }

    /// Kills everything in the cgroup, frozen or not, where there is a v2 one.
    pub(super) fn kill(&self) {
        if let Some(dir) = &self.unified {
            // It fails only if the cgroup is gone, and with it all that was in it.
            let _ = write(&dir.join("cgroup.kill"), "1");
        }
    }

    /// Lets what was killed die: a process that is frozen in a v1 cgroup does not.
    pub(super) fn let_die(&self) {
        if let Some((_, dir)) = self.v1.iter().find(|(controller, _)| *controller == Controller::Freezer) {
            let _ = write(&dir.join(FREEZER_STATE), "THAWED");
        }
    }

    /// Removes the directories; one that still holds a process is an error.
    pub(super) fn remove(&self) -> Result<(), String> {
        let mut leftovers = Vec::new();
        for dir in self.unified.iter().chain(self.v1.iter().map(|(_, dir)| dir)) {
            if let Err(errno) = remove_empty(dir) {
                leftovers.push(format!("{}: {errno}", dir.display()));
            }
        }
        if leftovers.is_empty() { Ok(()) } else { Err(leftovers.join("; ")) }
    }
}

fn write_limit(dir: &Path, controller: Controller, limits: &Limits, v2: bool) -> Result<(), Failure> {
    let memory = limits.memory_bytes.to_string();
    let pids = limits.pids.to_string();
    let quota = limits.cpu_quota_us;
    let put = |file: &str, value: &str| {
        write(&dir.join(file), value).map_err(|errno| failure(&format!("set {file} to {value}"), errno))
    };
    // A kernel without swap accounting lacks the file, and then there is nothing to limit.
    let put_if_there =
        |file: &str, value: &str| if dir.join(file).exists() { put(file, value) } else { Ok(()) };
    match (controller, v2) {
        (Controller::Memory, true) => {
            put("memory.max", &memory)?;
            put_if_there("memory.swap.max", "0")?;
            put("memory.oom.group", "0")
        }
        (Controller::Memory, false) => {
            put("memory.limit_in_bytes", &memory)?;
            put_if_there("memory.memsw.limit_in_bytes", &memory)
        }
        (Controller::Pids, _) => put("pids.max", &pids),
        (Controller::Cpu, true) => {
            let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
            put("cpu.max", &format!("{quota} {CPU_PERIOD_US}"))
        }
        (Controller::Cpu, false) => {
            put("cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
            put("cpu.cfs_quota_us", &quota.map_or("-1".to_owned(), |quota| quota.to_string()))
        }
        (Controller::Freezer, _) => Ok(()),
    }
}

/// How long killed processes of a dead owner may take to be gone.
const PATIENCE: Duration = Duration::from_secs(1);

/// Kills and removes a cgroup with all below it, as far as that goes at once.
fn remove_group(dir: &Path) {
    let _ = write(&dir.join("cgroup.kill"), "1");
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    wait_until_empty(dir, PATIENCE);
    end_frozen(dir, PATIENCE);
    // What a v1 group still holds is ending, or cannot; the next sweep tries again.
    let _ = fs::remove_dir(dir);
}

/// Lets what was killed while a v1 freezer held it die, and waits until it has.
fn end_frozen(dir: &Path, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    if !dir.join(FREEZER_STATE).exists() {
        return;
    }
    let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = members.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    let pidfds: Vec<OwnedFd> = pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).collect();
    let _ = write(&dir.join(FREEZER_STATE), "THAWED");
    for pidfd in &pidfds {
        let left = super::timespec(deadline.saturating_duration_since(Instant::now()));
        let _ = rustix::event::poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left));
    }
}

/// Waits for a killed v2 group to be empty; the kernel notifies a change of `cgroup.events` as urgent data.
fn wait_until_empty(dir: &Path, timeout: Duration) {
    let deadline = Instant::now() + timeout;
    let Ok(mut file) = fs::File::open(dir.join("cgroup.events")) else { return };
    loop {
        let mut text = String::new();
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
        if read.is_err() || text.lines().any(|line| line == "populated 0") {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&file, PollFlags::PRI)];
        if left.is_zero() || rustix::event::poll(&mut fds, Some(&super::timespec(left))).is_err() {
            return;
        }
    }
}

/// Removes a sandbox's directory with the empty ones below it.
fn remove_empty(dir: &Path) -> Result<(), Errno> {
    if let Ok(entries) = fs::read_dir(dir) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_empty(&entry.path())?;
            }
        }
    }
    match rustix::fs::rmdir(dir) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn open_entrance(list: &Path) -> Result<OwnedFd, Failure> {
    rustix::fs::open(list, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failure("open a cgroup's list", errno))
}

fn mkdir(dir: &Path) -> Result<(), Failure> {
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o755))
        .map_err(|errno| failure(&format!("make the cgroup {}", dir.display()), errno))
}

fn open_dir(dir: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn write(file: &Path, value: &str) -> Result<(), Errno> {
    // One write call: the kernel takes each as a whole value. No create, lest a missing file look like success.
    let mut file = fs::OpenOptions::new().write(true).open(file).map_err(errno)?;
    file.write_all(value.as_bytes()).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn io_failure(step: &str, error: &std::io::Error) -> Failure {
    Failure { step: step.to_owned(), errno: error.raw_os_error().unwrap_or(0) }
}

pub(super) fn layer(name: &str, status: LayerStatus, detail: &str) -> LayerReport {
    LayerReport { name: name.to_owned(), status, detail: detail.to_owned() }
}
