//! A long-lived process in a sandbox that answers requests.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::command::{check_args, check_total};
use crate::sandbox::spec::{Bind, check_env};
use crate::{Error, Result};

/// A command that is started with the sandbox and lives as long as it.
///
/// The runtime listens on the stream socket that `SANDBOXSET_SOCKET` names (`/scratch/runtime.sock`), then writes
/// `READY\n` to file descriptor 3; only then is the sandbox handed out. One that never will be ready writes `FAILED `
/// and why there, at most 400 bytes in one piece, which the error of the create repeats. Its standard output and
/// error are kept as the sandbox's log; if it ends without either, the error quotes the last line of that.
///
/// One connection carries any number of requests; [`crate::SandboxRef::call`] frames them as a 4-byte little-endian
/// length followed by that many bytes, in both directions. An answer whose length has its highest bit set says that
/// the request failed: its bytes are what went wrong in one line, then perhaps a zero byte and details. A runtime that
/// closes the connection instead counts as dead, with its sandbox.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The program and its arguments; never a shell.
    pub args: Vec<OsString>,
    /// Variables on top of the spec's.
    pub env: Vec<(OsString, OsString)>,
    /// How long it may take to become ready; default 30 s, because large imports take seconds on a loaded machine.
    pub ready_timeout: Duration,
    /// Whether it is a fork server: a sandbox with it can be a parent, whose forks are the sandboxes of another set.
    /// `docs/fork-protocol.md` says what a fork server does, `include/sandboxset_zygote.h` does it for C.
    ///
    /// In a set with a parent, [`Runtime::args`] are what each fork is told, not a program that is started.
    pub forks: bool,
    /// Files and directories of the host that it needs beside the root file system, for example a virtual environment.
    /// Sandboxes see them read-only at the same absolute paths, shared as the root is; those below the host's own
    /// system directories they see anyway, if these are their root.
    pub brings: Vec<PathBuf>,
    /// Files that are in the root, read-only, when it is started. A fork has in memory what it needs of them.
    pub(crate) files: Vec<(PathBuf, Arc<[u8]>)>,
    /// Why it never can be a fork server, in plain words, if that is known.
    pub(crate) unforkable: Option<&'static str>,
}

/// The most paths that a runtime may bring: each is a mount.
const MAX_BRINGS: usize = 64;

impl Runtime {
    /// A runtime started by this command.
    pub fn new<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Self {
        Runtime {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            ready_timeout: Duration::from_secs(30),
            forks: false,
            brings: Vec::new(),
            files: Vec::new(),
            unforkable: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_args("runtime.args", &self.args)?;
        check_env("runtime.env", &self.env)?;
        check_total("runtime.args", &self.args, &self.env)?;
        if self.brings.len() > MAX_BRINGS {
            return Err(Error::invalid("runtime.brings", format_args!("more than {MAX_BRINGS}")));
        }
        for path in &self.brings {
            let bind = Bind { source: path.clone(), target: path.clone(), writable: false };
            bind.validate("runtime.brings")?;
        }
        if self.ready_timeout.is_zero() {
            return Err(Error::invalid("runtime.ready_timeout", "0 leaves no time to become ready"));
        }
        Ok(())
    }
}
