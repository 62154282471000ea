//! The messages. Appending fields or variants needs a new [`VERSION`]; both ends always come from one build.

use serde::{Deserialize, Serialize};

/// The version of everything in this file. Host and keeper refuse to talk when theirs differ.
pub const VERSION: u32 = 5;

/// A path, argument or variable: any bytes but NUL.
pub type Bytes = Vec<u8>;

/// The file descriptor on which a runtime says `READY\n`.
pub const READY_FD: i32 = 3;
/// What a runtime writes to [`READY_FD`].
pub const READY_LINE: &[u8] = b"READY\n";
/// How what a runtime writes there instead begins when it never will be ready; then comes why.
pub const FAILED_PREFIX: &[u8] = b"FAILED ";
/// The file descriptor on which a fork server is asked for forks.
pub const FORK_FD: i32 = 4;
/// The variable that tells a runtime of [`FORK_FD`].
pub const FORK_FD_VARIABLE: &str = "SANDBOXSET_FORK_FD";
/// The socket on which a runtime listens, as the sandbox sees it.
pub const RUNTIME_SOCKET: &str = "/scratch/runtime.sock";
/// Where the runtime's standard output and error go, as the sandbox sees it.
pub const RUNTIME_LOG: &str = "/scratch/.runtime.log";
/// Where late secrets are mounted, as the sandbox sees it.
pub const SECRETS_DIR: &str = "/run/secrets";
/// What the step of a [`Failure`] begins with if something cannot be mounted where the caller wants it.
pub const MOUNT_STEP: &str = "mount at ";
/// The same of what a runtime brings.
pub const BRING_STEP: &str = "bring in ";
/// The step of a [`Failure`] to clone an init into its namespaces.
pub const CLONE_STEP: &str = "clone the init";
/// The step of a [`Failure`] of an init to make the one namespace that it is not cloned into.
pub const NETWORK_STEP: &str = "make the network namespace";
/// The step of a [`Failure`] to mount in what an init passed off as its mounts.
pub const FOREIGN_MOUNTS_STEP: &str = "recognise its mount namespace";
/// The user and group id of every process in a sandbox, as the sandbox sees it.
pub const INNER_ID: u32 = 1000;

/// From the host to its keeper.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToKeeper {
    /// The first message. Carries a pidfd of the host process.
    Hello(Hello),
    /// Make a sandbox.
    Create(Box<Create>),
    /// Kill whatever is left of a sandbox and remove everything that belongs to it. Answered by `Removed`, also
    /// when the id is unknown.
    Remove {
        /// The id of its `Create`.
        id: u64,
    },
    /// Mount in a sandbox what is bound late. Carries a socket for the one answer, a [`MounterResult`]; the sandbox's
    /// mount namespace, as its init opened it; and a stream socket from which the bytes of the secrets are read, one
    /// after the other.
    Bind(BindLate),
    /// Unmount it. Carries the socket and the mount namespace.
    Unbind(UnbindLate),
    /// A parent is not forked any more for now: finish what is prepared for its next forks, for which it must run,
    /// and let that rest. Answered by `Settled`, also when the id is unknown.
    Settle {
        /// The id of its `Create`.
        id: u64,
    },
    /// Say how many shells wait for the creates of a backend. Answered by `Shells`.
    CountShells {
        /// The backend of the creates.
        backend: u64,
    },
    /// No more creates of this backend will come: its shells can go. Not answered.
    Forget {
        /// The backend of the creates.
        backend: u64,
    },
}

/// What is to be mounted in a sandbox that is warm already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindLate {
    /// The id of its `Create`.
    pub id: u64,
    /// The files that are to hold secrets.
    pub secrets: Vec<SecretFile>,
    /// Sources on the host and targets in the sandbox, both absolute.
    pub binds: Vec<(Bytes, Bytes)>,
}

/// A file with a secret; the secret itself is in no message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile {
    /// Its name below [`SECRETS_DIR`].
    pub name: Bytes,
    /// How many bytes.
    pub length: u64,
}

/// What is to be unmounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnbindLate {
    /// The id of its `Create`.
    pub id: u64,
    /// Where something was mounted, in the order in which it was.
    pub targets: Vec<Bytes>,
    /// The mount points that were made for it.
    pub made: Vec<Bytes>,
}

/// How a mounter ended: which mount points it made, from above to below.
pub type MounterResult = Result<Vec<Bytes>, Failure>;

/// What the keeper must know of its host.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The host's [`VERSION`].
    pub version: u32,
    /// The host's [`crate::Owner`] as its tag; part of the name of everything the keeper makes.
    pub owner: String,
    /// Where cgroups may be made.
    pub cgroups: CgroupPlan,
}

/// Where the keeper may make cgroups. All empty: there are none, and limits are rlimits only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupPlan {
    /// A directory of a v2 tree, for freezing and killing.
    pub unified: Option<Bytes>,
    /// The controllers that can be used in `unified`.
    pub unified_controllers: Vec<Controller>,
    /// Controllers of v1 hierarchies, each with a directory.
    pub v1: Vec<(Controller, Bytes)>,
}

/// A resource controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Controller {
    /// Bytes of memory.
    Memory,
    /// Number of tasks.
    Pids,
    /// CPU bandwidth.
    Cpu,
    /// Stopping and continuing everything. On v1 only: a v2 tree has it built in.
    Freezer,
}

impl Controller {
    /// The kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Cpu => "cpu",
            Controller::Freezer => "freezer",
        }
    }
}

/// A sandbox to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// Unique among the sandboxes of this host process.
    pub id: u64,
    /// The root file system.
    pub root: Root,
    /// A host directory that appears read-only at `/code`.
    pub code_dir: Option<Bytes>,
    /// Further binds, in mount order.
    pub binds: Vec<Bind>,
    /// Host files and directories that appear read-only at the same paths, shared as the root is.
    pub brings: Vec<Bytes>,
    /// Small files that are written into the root, by their absolute paths.
    pub files: Vec<(Bytes, Bytes)>,
    /// Limits.
    pub limits: Limits,
    /// A host directory, not there yet, that becomes `/scratch`; `None` is a tmpfs.
    pub disk_scratch: Option<Bytes>,
    /// The environment of the runtime: complete, `PATH` and `HOME` included.
    pub runtime: Option<Runtime>,
    /// The id of the sandbox whose runtime is forked to make this one's; `None` if it is started.
    pub parent: Option<u64>,
    /// Whether somebody used that sandbox since it was forked last: what was forked of it ahead of demand is then a
    /// copy of what it no longer is.
    pub parent_changed: bool,
    /// Layers of isolation that are not wanted, by the names of their reports.
    pub off: Vec<String>,
    /// What is to be prepared for the next create like this one.
    pub shells: Shells,
    /// Milliseconds until the keeper must give up.
    pub deadline_ms: u64,
}

/// The most shells that wait at once, whatever was asked for.
pub const MAX_SHELLS: usize = 1024;

/// Which shells a create may take, and how many are to be ready for others like it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shells {
    /// Whose creates these are. Shells with a root are not shared between backends.
    pub backend: u64,
    /// How many are kept; `None` follows the demand. With 0 the create takes none either.
    pub ready: Option<u32>,
}

impl Create {
    /// What this create has in common with others like it, for which the same shells will do.
    pub fn into_recipe(self) -> Self {
        Create { id: 0, deadline_ms: 0, parent_changed: false, ..self }
    }
}

/// The layers that [`Create::off`] may name. The others are what a sandbox is.
pub const OPTIONAL_LAYERS: [&str; 5] =
    ["seccomp", "landlock", "root.overlay", "proc.masks", "nested_user_namespaces"];

/// The root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// The host's own system directories.
    Host,
    /// An unpacked directory.
    Directory(Bytes),
}

/// A file or directory of the host, visible in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute on the host.
    pub source: Bytes,
    /// Absolute in the sandbox.
    pub target: Bytes,
    /// Whether the sandbox may write.
    pub writable: bool,
}

/// Limits of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes, swap included.
    pub memory_bytes: u64,
    /// Tasks, init included.
    pub pids: u32,
    /// Microseconds of CPU per 100 ms; `None` is unlimited.
    pub cpu_quota_us: Option<u64>,
    /// Bytes of the scratch tmpfs, and of `/tmp`.
    pub scratch_bytes: u64,
    /// Inodes of the scratch tmpfs, and of `/tmp`.
    pub scratch_inodes: u64,
    /// Open files per process.
    pub open_files: u64,
    /// The largest file in bytes.
    pub file_bytes: Option<u64>,
}

/// A long-lived process started with the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program and its arguments.
    pub args: Vec<Bytes>,
    /// `KEY=value` strings, complete.
    pub env: Vec<Bytes>,
    /// Whether it is a fork server.
    pub forks: bool,
}

/// From the keeper to the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    /// The answer to `Hello`. Carries nothing.
    Hello {
        /// The keeper's [`VERSION`].
        version: u32,
        /// Why cgroups that were planned cannot be used, one line each; their layer is then missing.
        cgroup_faults: Vec<String>,
    },
    /// A sandbox is ready. Carries, in this order: a pidfd of its init, the socket of its init, and the cgroup
    /// directories that `cgroups` names.
    Created {
        /// The id of its `Create`.
        id: u64,
        /// The name of its cgroup directories, below the owner's.
        name: String,
        /// Which cgroup directories follow.
        cgroups: Vec<CgroupFd>,
        /// What was reached, layer by layer.
        report: Vec<LayerReport>,
    },
    /// A sandbox could not be made; nothing of it is left.
    CreateFailed {
        /// The id of its `Create`.
        id: u64,
        /// What failed.
        failure: Failure,
    },
    /// A sandbox could not be forked, for a reason that lies with its parent; nothing of it is left.
    ForkFailed {
        /// The id of its `Create`.
        id: u64,
        /// What failed.
        failure: Failure,
    },
    /// Everything of a sandbox is gone, or `leftovers` says what is not. A scratch dir on disk that the host did not
    /// remove goes in the background.
    Removed {
        /// The id of its `Create`.
        id: u64,
        /// What could not be removed; the keeper goes on trying when asked again.
        leftovers: Option<String>,
    },
    /// A sandbox's init ended without being asked to.
    Died {
        /// The id of its `Create`.
        id: u64,
        /// How it ended, in words.
        cause: String,
    },
    /// The answer to `Settle`; one may answer several.
    Settled {
        /// The id of the parent's `Create`.
        id: u64,
    },
    /// The answer to `CountShells`.
    Shells {
        /// Those that lack nothing but their start, for creates of the backend that was asked about.
        ready: u64,
        /// Those that have no root yet, for whoever comes.
        bare: u64,
    },
}

/// A cgroup directory that a `Created` carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupFd {
    /// The v2 directory: freeze, kill, events; on pure v2 also the limits.
    Unified,
    /// The directory of a v1 controller.
    V1(Controller),
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step, as a lower-case fragment.
    pub step: String,
    /// The kernel's error number, or 0 if the failure is not the kernel's.
    pub errno: i32,
}

/// One layer of isolation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Its name.
    pub name: String,
    /// What was reached.
    pub status: LayerStatus,
    /// By what means, or why not.
    pub detail: String,
}

/// What was reached of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerStatus {
    /// Fully in force.
    Active,
    /// A weaker means stands in.
    Degraded,
    /// Not in force.
    Missing,
}

/// From the host to an init. Every message carries a reply socket as its first descriptor; the answers to it, and
/// only those, come back there. The init closes it when the request is over; the host closes it to abandon it.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    /// Start a command. Carries after the reply socket: standard input if `stdin`, standard output, standard
    /// error, and the cgroup directory to start in if `cgroup`.
    Exec(Box<Exec>),
    /// Connect to [`RUNTIME_SOCKET`]. Answered by `Opened` with the connected stream.
    Connect,
    /// Open a file for reading or a directory for listing. Never blocks, also not on a FIFO.
    Open {
        /// Absolute, or relative to the scratch dir.
        path: Bytes,
        /// Whether it must be a directory.
        directory: bool,
    },
    /// Create or replace a regular file with the contents of the memfd that follows the reply socket.
    Write {
        /// Absolute, or relative to the scratch dir.
        path: Bytes,
        /// Permission bits.
        mode: u32,
        /// Whether to make the directories that it is to be in.
        parents: bool,
    },
    /// Remove a file or a whole directory.
    Remove {
        /// Absolute, or relative to the scratch dir.
        path: Bytes,
    },
    /// Kill every process but init, then empty `/scratch`, `/tmp`, `/dev/shm` and `/dev/mqueue` and remove every System V IPC
    /// object. Answered when nothing but init is left; fails if something is.
    Reset {
        /// The permissions of a fresh `/scratch`, which depend on where it is.
        scratch_mode: u32,
    },
    /// Open the mount namespace, for a mounter of the keeper. Answered by `Opened`.
    OpenMounts,
    /// Stop every process but init. Only where there is no cgroup to freeze.
    Stop,
    /// Continue every process.
    Continue,
}

/// A command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub args: Vec<Bytes>,
    /// `KEY=value` strings, complete.
    pub env: Vec<Bytes>,
    /// The working directory.
    pub cwd: Bytes,
    /// Whether a descriptor for standard input is carried; else it is `/dev/null`.
    pub stdin: bool,
    /// Whether a cgroup directory is carried.
    pub cgroup: bool,
    /// Address space per process.
    pub memory_bytes: Option<u64>,
    /// CPU seconds per process.
    pub cpu_seconds: Option<u64>,
}

/// From an init to the host, on the reply socket of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromInit {
    /// The command's program was executed. From now on the host may send [`ToCommand`].
    Started,
    /// The request failed; it is over. Of a command: it never ran.
    Failed(Failure),
    /// The command's own process ended; it is over. Processes it left behind may still run until they are killed.
    Ended {
        /// The exit code, if it exited by itself.
        exit_code: Option<i32>,
        /// The signal, if one ended it.
        signal: Option<i32>,
        /// CPU time of the process and of those it waited for, in microseconds.
        cpu_us: u64,
        /// The largest resident size of one of them, in bytes.
        peak_memory_bytes: u64,
    },
    /// Carries the file, directory or stream.
    Opened,
    /// It is done.
    Done,
}

/// From the host to an init, on the reply socket of an `Exec` that was started. Closing the socket kills the
/// command as `KillAll` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCommand {
    /// Send a signal to the command's own process.
    Signal(i32),
    /// Send a signal to the command's process group.
    SignalGroup(i32),
    /// Kill every process of the command that can be told apart from others without a cgroup. With a cgroup the
    /// host kills by `cgroup.kill` instead, which misses none.
    KillAll,
}
