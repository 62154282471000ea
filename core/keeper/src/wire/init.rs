//! Between the host and the init of a sandbox.

use serde::{Deserialize, Serialize};

use super::{Bytes, Failure};

/// From the host to an init. Every message carries a reply socket as its first descriptor; the answers to it, and
/// only those, come back there. The init closes it when the request is over; the host closes it to abandon it.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    /// Start a command. Carries after the reply socket: standard input if `stdin`, standard output, standard
    /// error, and the cgroup directory to start in if `cgroup`.
    Exec(Box<Exec>),
    /// Connect to [`RUNTIME_SOCKET`](crate::RUNTIME_SOCKET). Answered by `Opened` with the connected stream.
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
