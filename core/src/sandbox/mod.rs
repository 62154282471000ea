//! What every backend shares: the recipe, the trait, the guard, and what a holder can do with a sandbox.

mod backend;
mod binding;
mod command;
mod files;
mod guard;
mod output;
mod process;
mod report;
mod runtime;
mod scratch;
mod spec;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub use backend::{Backend, BackendSandbox, Capabilities, CreateRequest};
pub use binding::{LateBinding, LateFile, LateLimits, SECRETS_DIR, Secret};
pub use command::{Command, CommandPolicy, OnOverflow, Stdin};
pub use files::{DirEntry, FileKind};
pub(crate) use guard::{Guard, Killer, is_callers_mistake, panic_error};
pub use output::{Outcome, Output, StreamOutput, Usage};
pub use process::{BackendProcess, Connection, OutputStream, Process, Stream};
pub use report::{IsolationReport, Layer, LayerStatus, ResetCheck, ResetReport};
pub use runtime::Runtime;
pub use scratch::ScratchDirs;
#[cfg(feature = "linux")]
pub(crate) use spec::check_host_path;
pub(crate) use spec::check_sandbox_path;
pub use spec::{Bind, LayerPolicy, Limits, RootFs, SandboxSpec};

/// Names one sandbox for the life of the host process. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxId(u64);

impl SandboxId {
    /// A new id, unique in this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SandboxId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number behind the id.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sandbox-{}", self.0)
    }
}
