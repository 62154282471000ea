//! A warm, thread-safe **set of sandboxes for one function**, inside your own process.
//!
//! Ask a [`SandboxSet`] for a sandbox and get it running: reused if one is idle, created if not. Run untrusted
//! code in it, then put it back paused, or destroy it.

pub mod backend;
mod cancel;
mod clock;
mod error;
mod executor;
mod forked;
#[cfg(feature = "linux")]
mod runtime;
mod sandbox;
mod set;
mod task;
mod threads;
mod zygote_tree;

pub use cancel::{CancelRegistration, CancelToken};
pub use clock::{Clock, ManualClock};
pub use error::{Error, ErrorCode, Phase, Result};
pub use forked::in_forked_child;
#[cfg(feature = "linux")]
pub use runtime::{NodeRuntime, PythonRuntime};
pub use sandbox::*;
pub use set::*;
pub use task::{Task, Worker};
pub use zygote_tree::{
    FunctionImports, ImportTime, Package, TreeLimits, ZygoteNode, ZygoteTree, propose_tree,
};
