//! The messages. Appending fields or variants needs a new [`VERSION`]; both ends always come from one build.

mod init;
mod keeper;
mod recipe;

use serde::{Deserialize, Serialize};

pub use self::init::*;
pub use self::keeper::*;
pub use self::recipe::*;

/// The version of all messages. Host and keeper refuse to talk when theirs differ.
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
