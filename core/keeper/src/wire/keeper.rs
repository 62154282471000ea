//! Between the host and its keeper.

use serde::{Deserialize, Serialize};

use super::{Bytes, Create, Failure, LayerReport};

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
    /// Its name below [`SECRETS_DIR`](crate::SECRETS_DIR).
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
    /// The host's [`VERSION`](crate::VERSION).
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

/// From the keeper to the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromKeeper {
    /// The answer to `Hello`. Carries nothing.
    Hello {
        /// The keeper's [`VERSION`](crate::VERSION).
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
    /// A sandbox could not be made; nothing of it is left, or it was killed and is about to be gone.
    CreateFailed {
        /// The id of its `Create`.
        id: u64,
        /// What failed.
        failure: Failure,
    },
    /// A sandbox could not be forked, for a reason that lies with its parent; what is left of it is as above.
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
        /// What could not be removed. What has not ended is removed when it does; the keeper tries the rest when asked
        /// again.
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
