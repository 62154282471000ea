//! The trait that makers of sandboxes implement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sandbox::process::{BackendProcess, Connection};
use crate::{
    CancelToken, Command, DirEntry, Error, ErrorCode, IsolationReport, LateBinding, Output, Phase,
    ResetReport, Result, SandboxId, SandboxSpec, ScratchDirs, Usage,
};

/// Makes sandboxes. Implementations are thread-safe; creates may run on several threads at once.
pub trait Backend: Send + Sync + 'static {
    /// A short name: `linux`, `docker`, `mock`.
    fn name(&self) -> &'static str;

    /// What its sandboxes can do.
    fn capabilities(&self) -> Capabilities;

    /// What isolation its sandboxes reach on this host.
    fn isolation_report(&self) -> IsolationReport;

    /// Tells makers apart whose sandboxes cannot be forked into each other's: the same for all handles of one.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).cast::<()>().addr()
    }

    /// Checks what only this backend can check of a spec, before any sandbox is made.
    fn validate(&self, spec: &SandboxSpec) -> Result<()> {
        let _ = spec;
        Ok(())
    }

    /// Checks whether sandboxes of a spec can be forked, before any is made. An error names the field `parent`.
    fn validate_parent(&self, spec: &SandboxSpec) -> Result<()> {
        let _ = spec;
        Ok(())
    }

    /// Does what has to be done once for all sandboxes of a spec, and answers the spec that `create` is given from
    /// then on. Called once by every new set, after `validate`. May block: the Linux backend unpacks images here.
    fn prepare(&self, spec: SandboxSpec) -> Result<SandboxSpec> {
        Ok(spec)
    }

    /// Checks what only this backend can check of a late binding, before any sandbox is touched.
    fn validate_binding(&self, binding: &LateBinding) -> Result<()> {
        let _ = binding;
        Ok(())
    }

    /// Makes one sandbox, running and ready to answer. Blocks, at most until `request.deadline`.
    /// On error nothing of it is left.
    fn create(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>>;
}

/// What a sandbox is to be made of.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The id of the sandbox to be.
    pub id: SandboxId,
    /// The recipe.
    pub spec: Arc<SandboxSpec>,
    /// Where its scratch dir comes from.
    pub scratch: ScratchDirs,
    /// When to give up.
    pub deadline: Instant,
}

/// What the sandboxes of a backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// They can be paused and unpaused.
    pub pause: bool,
    /// They can run commands.
    pub exec: bool,
    /// They can have a runtime to connect to.
    pub connect: bool,
    /// Their files can be read, written, listed and removed.
    pub files: bool,
    /// They can be reset, and what the reset reached can be verified from outside.
    pub reset: bool,
    /// They can be forked, if their runtime can.
    pub fork: bool,
    /// They can be given secrets, files, binds and tighter limits when they are warm already.
    pub bind: bool,
}

/// One sandbox, as its backend sees it.
///
/// The set wraps every one in a guard that serialises pause, unpause and destroy, destroys it after a failed
/// pause or unpause, and answers calls after its death. So implementations need no bookkeeping of their own:
/// `destroy` is called once at a time, and again only if it failed. It may be called while another call is
/// blocked in the sandbox and must make that call return.
pub trait BackendSandbox: Send + Sync {
    /// Stops all its processes.
    fn pause(&self) -> Result<()>;

    /// As `pause`, for a thread that must not wait: `false` if the processes have not stopped at once, or if that
    /// cannot be known at once. Then `pause` is called next, on another thread.
    fn pause_at_once(&self) -> Result<bool> {
        Ok(false)
    }

    /// Lets them run again.
    fn unpause(&self) -> Result<()>;

    /// Ends it and removes everything that belongs to it. Idempotent, because a failed destroy is retried.
    fn destroy(&self) -> Result<()>;

    /// Gives it what the get of its next holder asked for, variables excepted, which commands bring along. Called while
    /// it runs and nobody holds it yet. After an error it is destroyed.
    fn bind(&self, binding: &LateBinding, deadline: Instant) -> Result<()> {
        let _ = (binding, deadline);
        Err(unsupported(Phase::Bind, "late binding"))
    }

    /// Takes back what `bind` gave: the limits are the spec's again, secrets and binds are unmounted. Files, and what
    /// was copied, are left to the `reset` that follows if there were any. After an error it is destroyed.
    fn unbind(&self, deadline: Instant) -> Result<()> {
        let _ = deadline;
        Ok(())
    }

    /// Takes stock of the fresh sandbox; later resets are verified against it. Called once, before the first holder
    /// has it, if it is to be reset at all.
    fn prepare_reset(&self) -> Result<()> {
        Err(unsupported(Phase::Create, "reset"))
    }

    /// Removes whatever its holders left in it and verifies from outside that it is as it was when stock was taken.
    /// Called while it runs and nobody holds it. Any doubt is an error, and so is not to be done by the deadline.
    fn reset(&self, deadline: Instant) -> Result<ResetReport> {
        let _ = deadline;
        Err(unsupported(Phase::Use, "reset"))
    }

    /// Makes a sandbox by forking this one, which is running: it answers the same way as [`Backend::create`].
    ///
    /// Several forks of one parent may run at once. Blocks, at most until `request.deadline`. On error nothing of the
    /// child is left, and the code says who is to blame. `INVALID_ARGUMENT`, `UNSUPPORTED`, `PERMISSION_DENIED`,
    /// `NO_CAPACITY`, `TOO_BIG` and `CREATE_FAILED` say that such a child cannot be made, by no parent. Every other
    /// code makes this parent suspect: it is not forked again, and the fork is tried once more on another.
    ///
    /// The set sees to it that a parent is destroyed only after the last of its children, unless it died.
    fn fork(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        let _ = request;
        Err(unsupported(Phase::Fork, "fork"))
    }

    /// Nobody forks it for now, and it is about to be paused: returns when what the backend prepares for further forks
    /// is done, as far as it must run for that. Called on a thread of its own; forks may come meanwhile. Returns soon
    /// whatever happens, and at once when `cancel` is cancelled.
    fn settle(&self, cancel: &CancelToken) {
        let _ = cancel;
    }

    /// Why it died, if it did. Cheap: called before every hand-out.
    fn death(&self) -> Option<String>;

    /// Its scratch dir as its own processes see it.
    fn scratch_dir(&self) -> &Path {
        Path::new("/scratch")
    }

    /// Its scratch dir on the host, if it is a directory of the host.
    fn host_scratch_dir(&self) -> Option<PathBuf> {
        None
    }

    /// Runs a command to its end. The command was validated.
    fn exec(&self, command: &Command) -> Result<Output> {
        let _ = command;
        Err(unsupported(Phase::Exec, "exec"))
    }

    /// Starts a command.
    fn spawn(&self, command: &Command) -> Result<Box<dyn BackendProcess>> {
        let _ = command;
        Err(unsupported(Phase::Exec, "spawn"))
    }

    /// Opens a stream to the runtime's socket.
    fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        let _ = (timeout, cancel);
        Err(unsupported(Phase::Connect, "connect"))
    }

    /// Reads a regular file of at most `max_bytes`. The path is absolute, or relative to the scratch dir.
    fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        let _ = (path, max_bytes);
        Err(unsupported(Phase::Files, "read_file"))
    }

    /// Creates or replaces a regular file, whole or not at all.
    fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let _ = (path, bytes, mode);
        Err(unsupported(Phase::Files, "write_file"))
    }

    /// The entries of a directory, sorted by name; more than `max_entries` is `TOO_BIG`.
    fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        let _ = (path, max_entries);
        Err(unsupported(Phase::Files, "list_dir"))
    }

    /// Removes a file or, with all it holds, a directory.
    fn remove(&self, path: &Path) -> Result<()> {
        let _ = path;
        Err(unsupported(Phase::Files, "remove"))
    }

    /// What it uses now.
    fn usage(&self) -> Result<Usage> {
        Err(unsupported(Phase::Use, "usage"))
    }

    /// What its runtime wrote to its standard output and error, the last `max_bytes` of it.
    fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        let _ = max_bytes;
        Err(unsupported(Phase::Use, "log"))
    }
}

fn unsupported(phase: Phase, what: &str) -> Error {
    Error::new(ErrorCode::Unsupported, phase, format!("this backend has no {what}"))
}
