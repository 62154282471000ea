//! What a sandbox is to be.

use serde::{Deserialize, Serialize};

use super::Bytes;

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
