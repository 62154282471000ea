//! The embedded default: real sandboxes of Linux namespaces and cgroups, without a daemon and without root.

mod cgroup;
mod connect;
mod doctor;
mod env;
mod exec;
mod fault;
mod files;
mod init;
mod keeper;
mod late;
#[cfg(feature = "oci")]
mod oci;
mod process;
mod program;
mod report;
mod reset;
mod running;
mod sandbox;
mod streams;
mod sys;
mod wait;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sandboxset_keeper::{Bytes, Create, LayerReport, Limits, Root, Runtime};

pub use self::doctor::{Check, CheckStatus, Diagnosis, doctor};
use self::env::Environment;
use self::keeper::Keeper;
use self::sandbox::LinuxSandbox;
use crate::sandbox::check_host_path;
use crate::{
    Backend, BackendSandbox, Capabilities, CreateRequest, Error, ErrorCode, IsolationReport, LateBinding,
    LayerPolicy, Phase, Result, RootFs, SandboxId, SandboxSpec, ScratchDirs,
};

/// Makes sandboxes of Linux namespaces and cgroups. Thread-safe.
///
/// All backends of a process share one keeper process, which is started by the first create and ends with the last
/// backend and sandbox.
#[derive(Clone)]
pub struct LinuxBackend(Arc<Shared>);

/// How a [`LinuxBackend`] works.
#[derive(Clone, Debug, Default)]
pub struct LinuxOptions {
    /// The keeper to run instead of the embedded one; also set by the variable `SANDBOXSET_KEEPER`.
    pub keeper: Option<PathBuf>,
    /// An absolute path: the directory in which OCI images are unpacked, made if it is missing. It must be this
    /// user's own, and writable by nobody else. Default: `$XDG_CACHE_HOME/sandboxset/oci`, or
    /// `$HOME/.cache/sandboxset/oci`.
    ///
    /// An image stays there for the next process; it may be removed while no set uses it.
    pub image_cache: Option<PathBuf>,
    /// Sandboxes to keep prepared for each spec once the first create of it has succeeded, at most
    /// [`LinuxOptions::MAX_SHELLS`]: a create that finds one takes a tenth of the time. One holds some 250 KiB and a
    /// process.
    ///
    /// Default: as many as were lately asked for at once, from 2 to 128 while the spec is in use and none after some
    /// minutes without it, so that the second burst is served as fast as one sandbox and unused specs cost nothing.
    /// With 0 every create starts from nothing. Sandboxes with a disk scratch dir find one without its root only.
    ///
    /// Forks are prepared as well, for each spec and parent, but never more than 16, nor than a quarter of the
    /// processes that the parent may have. One that waits holds what a new fork holds, up to a MiB and a process more,
    /// and is a copy of what its parent was when it was made. It is dropped when a holder has used the parent since; with
    /// 0 every fork is made when it is asked for.
    pub shells: Option<usize>,
}

/// The prepared sandboxes that wait for creates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShellCounts {
    /// Complete, for specs of this backend.
    pub ready: usize,
    /// Without a root yet, for whatever backend of this process needs one first.
    pub bare: usize,
}

struct Shared {
    /// Tells this backend's creates from those of others.
    number: u64,
    shells: Option<u32>,
    program: Option<PathBuf>,
    #[cfg_attr(not(feature = "oci"), expect(dead_code, reason = "only images need it"))]
    image_cache: Option<PathBuf>,
    keeper: Mutex<Option<Arc<Keeper>>>,
    reached: Mutex<Vec<LayerReport>>,
}

/// How much earlier the keeper must give up than the caller does, so that its reason arrives in time.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

impl LinuxOptions {
    /// The most shells that can be asked for, and that all specs of a process have together.
    pub const MAX_SHELLS: usize = sandboxset_keeper::MAX_SHELLS;
}

impl LinuxBackend {
    /// A backend. Starts nothing yet.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` if the given keeper is not a file, or for too many shells; `FORKED_PROCESS` in a forked
    /// child.
    pub fn new(options: LinuxOptions) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        crate::forked::watch();
        crate::forked::refuse_in_child(Phase::Configure)?;
        let variable =
            || std::env::var_os("SANDBOXSET_KEEPER").filter(|path| !path.is_empty()).map(PathBuf::from);
        let program = options.keeper.or_else(variable);
        if let Some(path) = &program
            && !path.is_file()
        {
            return Err(Error::invalid("keeper", format_args!("{} is not a file", path.display())));
        }
        if let Some(path) = &options.image_cache {
            check_host_path("image_cache", path)?;
        }
        if let Some(shells) = options.shells.filter(|shells| *shells > LinuxOptions::MAX_SHELLS) {
            let most = LinuxOptions::MAX_SHELLS;
            return Err(Error::invalid("shells", format_args!("{shells} exceeds {most}")));
        }
        Ok(LinuxBackend(Arc::new(Shared {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            shells: options.shells.map(|shells| shells as u32),
            program,
            image_cache: options.image_cache,
            keeper: Mutex::default(),
            reached: Mutex::default(),
        })))
    }

    /// How many prepared sandboxes wait now; none before the first create.
    ///
    /// # Errors
    ///
    /// `BACKEND_UNAVAILABLE` if the keeper died, `TIMEOUT` if it does not answer.
    pub fn shells(&self) -> Result<ShellCounts> {
        crate::forked::refuse_in_child(Phase::Use)?;
        let keeper = self.0.keeper.lock().clone();
        keeper.map_or(Ok(ShellCounts::default()), |keeper| keeper.count_shells(self.0.number))
    }

    /// The root directory of an image, unpacked if it is not there yet.
    #[cfg(feature = "oci")]
    fn unpack(&self, dir: &Path, tag: Option<&str>, deadline: Option<Instant>) -> Result<PathBuf> {
        let cache = oci::Cache::new(self.0.image_cache.as_deref())?;
        Ok(cache.resolve(dir, tag, deadline)?.path)
    }

    #[cfg(not(feature = "oci"))]
    fn unpack(&self, _dir: &Path, _tag: Option<&str>, _deadline: Option<Instant>) -> Result<PathBuf> {
        Err(Error::new(ErrorCode::Unsupported, Phase::Configure, "root: built without the feature oci"))
    }

    /// The keeper, started if there is none.
    fn keeper(&self, deadline: Instant) -> Result<Arc<Keeper>> {
        if let Some(keeper) = self.0.keeper.lock().as_ref().filter(|keeper| keeper.serves()) {
            return Ok(Arc::clone(keeper));
        }
        let keeper = Keeper::get(self.0.program.as_ref(), deadline)?;
        let old = self.0.keeper.lock().replace(Arc::clone(&keeper));
        // Not under the lock: the last handle of a dead keeper cleans up after it.
        drop(old);
        Ok(keeper)
    }
}

impl Backend for LinuxBackend {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            pause: true,
            exec: true,
            connect: true,
            files: true,
            reset: true,
            fork: true,
            bind: true,
        }
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn isolation_report(&self) -> IsolationReport {
        let reached = self.0.reached.lock().clone();
        if reached.is_empty() {
            return report::expected(&cgroup::detect());
        }
        let keeper = self.0.keeper.lock().clone();
        report::reached(&reached, keeper.as_ref().map_or(&[], |keeper| keeper.faults()))
    }

    fn validate(&self, spec: &SandboxSpec) -> Result<()> {
        report::validate(spec)
    }

    fn validate_binding(&self, binding: &LateBinding) -> Result<()> {
        if binding.limits.is_empty() {
            return Ok(());
        }
        late::check_limits(&binding.limits, &self.isolation_report())
    }

    fn validate_parent(&self, spec: &SandboxSpec) -> Result<()> {
        if spec.runtime.as_ref().is_some_and(|runtime| runtime.forks) {
            return Ok(());
        }
        if let Some(why) = spec.runtime.as_ref().and_then(|runtime| runtime.unforkable) {
            return Err(Error::new(ErrorCode::Unsupported, Phase::Configure, format!("parent: {why}")));
        }
        Err(Error::invalid(
            "parent",
            "its sandboxes have no runtime that can be forked: see `Runtime::forks`",
        ))
    }

    fn prepare(&self, mut spec: SandboxSpec) -> Result<SandboxSpec> {
        if let RootFs::OciLayout { dir, tag } = &spec.root {
            spec.root = RootFs::Directory(self.unpack(dir, tag.as_deref(), None)?);
        }
        Ok(spec)
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        crate::forked::refuse_in_child(Phase::Create)?;
        self.make(self.keeper(request.deadline)?, request, None)
    }
}

/// What is forked to make a sandbox.
#[derive(Clone, Copy)]
struct Forked {
    id: SandboxId,
    /// Whether somebody used it since it was forked last.
    changed: bool,
}

impl LinuxBackend {
    /// Makes a sandbox, by forking one of the same keeper if a parent is given.
    fn make(
        &self,
        keeper: Arc<Keeper>,
        request: &CreateRequest,
        parent: Option<Forked>,
    ) -> Result<Box<dyn BackendSandbox>> {
        let phase = if parent.is_some() { Phase::Fork } else { Phase::Create };
        let env = Environment::new(&request.spec.env);
        let disk_scratch = match &request.scratch {
            ScratchDirs::Tmpfs => None,
            ScratchDirs::Disk(base) => Some(base.join(format!("{}-{}", keeper.tag(), request.id.get()))),
        };
        let spec = &request.spec;
        let runtime = spec.runtime.as_ref();
        let mut deadline = request.deadline;
        if let Some(ready_timeout) = spec.runtime.as_ref().map(|runtime| runtime.ready_timeout) {
            deadline = deadline.min(Instant::now().checked_add(ready_timeout).unwrap_or(deadline));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorCode::Timeout, phase, "no time was left").with_sandbox(request.id));
        }
        let create = Create {
            id: request.id.get(),
            root: match &spec.root {
                RootFs::Host => Root::Host,
                RootFs::Directory(path) => Root::Directory(path_bytes(path)),
                // Only of a spec that was not prepared.
                RootFs::OciLayout { dir, tag } => {
                    let path = self.unpack(dir, tag.as_deref(), Some(request.deadline))?;
                    Root::Directory(path_bytes(&path))
                }
            },
            code_dir: spec.code_dir.as_deref().map(path_bytes),
            binds: spec
                .binds
                .iter()
                .map(|bind| sandboxset_keeper::Bind {
                    source: path_bytes(&bind.source),
                    target: path_bytes(&bind.target),
                    writable: bind.writable,
                })
                .collect(),
            brings: runtime
                .map(|runtime| runtime.brings.iter().map(|path| path_bytes(path)).collect())
                .unwrap_or_default(),
            files: runtime
                .filter(|_| parent.is_none())
                .map(|runtime| {
                    runtime.files.iter().map(|(path, bytes)| (path_bytes(path), bytes.to_vec())).collect()
                })
                .unwrap_or_default(),
            limits: limits(&spec.limits),
            disk_scratch: disk_scratch.as_deref().map(path_bytes),
            runtime: match (&spec.runtime, parent) {
                (Some(runtime), _) => Some(Runtime {
                    args: runtime.args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
                    env: env.for_runtime(&runtime.env),
                    forks: runtime.forks,
                }),
                // A fork is a runtime also if there is nothing to tell it.
                (None, Some(_)) => {
                    Some(Runtime { args: Vec::new(), env: env.for_runtime(&[]), forks: false })
                }
                (None, None) => None,
            },
            parent: parent.map(|parent| parent.id.get()),
            parent_changed: parent.is_some_and(|parent| parent.changed),
            off: spec
                .layers
                .iter()
                .filter(|(_, policy)| *policy == LayerPolicy::Off)
                .map(|(name, _)| name.clone())
                .collect(),
            shells: sandboxset_keeper::Shells { backend: self.0.number, ready: self.0.shells },
            deadline_ms: (left - ANSWER_MARGIN.min(left / 10)).as_millis().try_into().unwrap_or(u64::MAX),
        };
        let created = keeper.create(request.id, create, deadline)?;
        self.0.reached.lock().clone_from(&created.report);
        if let Err(error) = report::satisfies(spec, &report::reached(&created.report, keeper.faults())) {
            keeper.abandon(request.id.get());
            return Err(error.with_sandbox(request.id));
        }
        match LinuxSandbox::new(request, phase, self, Arc::clone(&keeper), created, env, disk_scratch) {
            Ok(sandbox) => Ok(Box::new(sandbox)),
            Err(error) => {
                keeper.abandon(request.id.get());
                Err(error.with_sandbox(request.id))
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get_mut().as_ref().filter(|_| !crate::in_forked_child()) {
            keeper.forget_backend(self.number);
        }
    }
}

impl std::fmt::Debug for LinuxBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinuxBackend").field("keeper", &self.0.program).finish()
    }
}

/// Microseconds of CPU time in each period.
fn cpu_quota_us(cpus: f64) -> u64 {
    /// The kernel's default period, and its least quota.
    const PERIOD_US: f64 = 100_000.0;
    const LEAST_QUOTA_US: u64 = 1000;
    ((cpus * PERIOD_US) as u64).max(LEAST_QUOTA_US)
}

fn limits(limits: &crate::Limits) -> Limits {
    Limits {
        memory_bytes: limits.memory_bytes,
        pids: limits.pids,
        cpu_quota_us: limits.cpus.map(cpu_quota_us),
        scratch_bytes: limits.scratch_bytes,
        scratch_inodes: limits.scratch_inodes,
        open_files: limits.open_files,
        file_bytes: limits.file_bytes,
    }
}

fn path_bytes(path: &Path) -> Bytes {
    path.as_os_str().as_bytes().to_vec()
}
