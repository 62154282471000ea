//! A command to run in a sandbox.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::sandbox::spec::{check_env, check_sandbox_path};
use crate::{CancelToken, Error, Result};

/// A program, its arguments and its surroundings. Never interpreted by a shell.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program and its arguments. A program without a slash is looked up in the command's `PATH`.
    pub args: Vec<OsString>,
    /// Variables on top of the spec's.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory in the sandbox; default `/scratch`.
    pub cwd: Option<PathBuf>,
    /// What the program reads.
    pub stdin: Stdin,
    /// How long it may run; default 30 s. Afterwards TERM, `grace`, then KILL of every process it started.
    pub timeout: Duration,
    /// The time between TERM and KILL; default 200 ms, zero is KILL at once.
    pub grace: Duration,
    /// Bytes kept of each of stdout and stderr: half from the beginning, half from the end; default 1 MiB.
    pub output_bytes: usize,
    /// What happens beyond `output_bytes`.
    pub on_overflow: OnOverflow,
    /// Bytes of address space per process, beneath the sandbox's memory limit.
    pub memory_bytes: Option<u64>,
    /// CPU seconds per process.
    pub cpu_seconds: Option<u64>,
    /// Ends the call early; the command is killed.
    pub cancel: Option<CancelToken>,
}

/// What a command reads from its standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Null,
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// What the holder writes to [`crate::Process::write_stdin`]; only for `spawn`.
    Stream,
}

/// What happens when a command writes more than is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOverflow {
    /// Head and tail are kept, the middle is counted and dropped.
    #[default]
    Truncate,
    /// The command is killed; its outcome is `OutputLimit`.
    Kill,
}

/// May refuse or rewrite every command before it runs. Called without any lock held; an error refuses.
#[derive(Clone)]
pub struct CommandPolicy(Arc<Policy>);

type Policy = dyn Fn(&mut Command) -> Result<()> + Send + Sync;

/// The largest total size of arguments and environment; the kernel's own bound is 2 MiB by default.
const MAX_ARGS_BYTES: usize = 1 << 20;
/// The kernel's bound for one argument or variable (`MAX_ARG_STRLEN`).
pub(super) const MAX_ARG_BYTES: usize = 128 << 10;
/// The most of one output stream that can be kept.
const MAX_OUTPUT_BYTES: usize = 1 << 30;
/// The longest standard input given as bytes.
const MAX_STDIN_BYTES: usize = 1 << 30;

impl Command {
    /// A command with default surroundings.
    pub fn new<S: Into<OsString>>(args: impl IntoIterator<Item = S>) -> Self {
        Command {
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            stdin: Stdin::Null,
            timeout: Duration::from_secs(30),
            grace: Duration::from_millis(200),
            output_bytes: 1 << 20,
            on_overflow: OnOverflow::Truncate,
            memory_bytes: None,
            cpu_seconds: None,
            cancel: None,
        }
    }

    /// Checks everything that can be checked from outside; errors name the field.
    pub fn validate(&self) -> Result<()> {
        check_args("args", &self.args)?;
        check_env("env", &self.env)?;
        check_total("args", &self.args, &self.env)?;
        if let Some(cwd) = &self.cwd {
            check_sandbox_path("cwd", cwd)?;
            if cwd.starts_with("/proc") {
                return Err(Error::invalid("cwd", "may not be below /proc"));
            }
        }
        if let Stdin::Bytes(bytes) = &self.stdin
            && bytes.len() > MAX_STDIN_BYTES
        {
            return Err(Error::invalid("stdin", format_args!("is longer than {MAX_STDIN_BYTES} bytes")));
        }
        if self.timeout.is_zero() {
            return Err(Error::invalid("timeout", "0 leaves no time to run"));
        }
        if self.output_bytes > MAX_OUTPUT_BYTES {
            return Err(Error::invalid("output_bytes", format_args!("exceeds {MAX_OUTPUT_BYTES}")));
        }
        if self.memory_bytes.is_some_and(|bytes| bytes < 1 << 20) {
            return Err(Error::invalid("memory_bytes", "is below 1 MiB"));
        }
        if self.cpu_seconds == Some(0) {
            return Err(Error::invalid("cpu_seconds", "0 leaves no time to run"));
        }
        Ok(())
    }
}

impl CommandPolicy {
    /// A policy made of a function.
    pub fn new(policy: impl Fn(&mut Command) -> Result<()> + Send + Sync + 'static) -> Self {
        CommandPolicy(Arc::new(policy))
    }

    pub(crate) fn apply(&self, command: &mut Command) -> Result<()> {
        (self.0)(command)
    }
}

impl fmt::Debug for CommandPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandPolicy")
    }
}

/// Not empty, no NUL, nothing that the kernel would refuse for its size.
pub(crate) fn check_args(field: &str, args: &[OsString]) -> Result<()> {
    let Some(program) = args.first() else {
        return Err(Error::invalid(field, "is empty"));
    };
    if program.is_empty() {
        return Err(Error::invalid(field, "the program's name is empty"));
    }
    for (index, arg) in args.iter().enumerate() {
        if arg.as_bytes().contains(&0) {
            return Err(Error::invalid(field, format_args!("argument {index} contains a NUL byte")));
        }
        if arg.len() >= MAX_ARG_BYTES {
            return Err(Error::invalid(
                field,
                format_args!("argument {index} is longer than {MAX_ARG_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

/// Arguments and environment together are nothing that the kernel would refuse for its size.
pub(crate) fn check_total(field: &str, args: &[OsString], env: &[(OsString, OsString)]) -> Result<()> {
    let env_bytes: usize = env.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
    let args_bytes: usize = args.iter().map(|arg| arg.len() + 1).sum();
    if env_bytes + args_bytes > MAX_ARGS_BYTES {
        return Err(Error::invalid(
            field,
            format_args!("arguments and environment exceed {MAX_ARGS_BYTES} bytes"),
        ));
    }
    Ok(())
}
