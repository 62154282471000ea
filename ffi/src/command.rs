//! `sandboxset_command`.

use std::ffi::c_char;
use std::time::Duration;

use sandboxset::{Command, Error, OnOverflow, Result, Stdin};

use crate::boundary::Caller;
use crate::cancel::sandboxset_cancel;
use crate::options::{self, Plain};
use crate::text::{to_usize, unknown};

/// What a command reads: nothing.
pub const SANDBOXSET_STDIN_NULL: u32 = 0;
/// What a command reads: the bytes of stdin_bytes, then the end.
pub const SANDBOXSET_STDIN_BYTES: u32 = 1;
/// What a command reads: what sandboxset_process_write writes; only for sandboxset_ref_spawn.
pub const SANDBOXSET_STDIN_STREAM: u32 = 2;

/// Beyond output_bytes: head and tail are kept, the middle is counted and dropped.
pub const SANDBOXSET_OVERFLOW_TRUNCATE: u32 = 0;
/// Beyond output_bytes: the command is killed; its outcome is SANDBOXSET_OUTCOME_OUTPUT_LIMIT.
pub const SANDBOXSET_OVERFLOW_KILL: u32 = 1;

/// A program, its arguments and its surroundings. Initialise it with sandboxset_command_init. What it points to is
/// copied by the call that takes it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_command {
    /// sizeof(sandboxset_command).
    pub struct_size: usize,
    /// The program and its arguments, and a final NULL. Required. Never interpreted by a shell; a program without
    /// a slash is looked up in the command's PATH.
    pub args: *const *const c_char,
    /// "KEY=VALUE" strings on top of the spec's, and a final NULL. Default NULL: none.
    pub env: *const *const c_char,
    /// A path: the working directory in the sandbox. NULL, the default: /scratch.
    pub cwd: *const c_char,
    /// What it reads: SANDBOXSET_STDIN_NULL (the default), _BYTES or _STREAM.
    pub stdin_mode: u32,
    /// What happens beyond output_bytes: SANDBOXSET_OVERFLOW_TRUNCATE (the default) or _KILL.
    pub on_overflow: u32,
    /// What it reads, with SANDBOXSET_STDIN_BYTES. Default NULL.
    pub stdin_bytes: *const u8,
    /// The number of bytes at stdin_bytes; default 0.
    pub stdin_length: usize,
    /// Milliseconds that it may run; default 30000. Afterwards TERM, grace_ms, then KILL of every process it
    /// started; its outcome is SANDBOXSET_OUTCOME_TIMED_OUT.
    pub timeout_ms: u64,
    /// Milliseconds between TERM and KILL; default 200, 0 is KILL at once.
    pub grace_ms: u64,
    /// Bytes kept of each of stdout and stderr: half from the beginning, half from the end; default 1 MiB.
    pub output_bytes: u64,
    /// Bytes of address space per process, beneath the sandbox's memory limit; 0, the default, is unlimited.
    pub memory_bytes: u64,
    /// CPU seconds per process; 0, the default, is unlimited.
    pub cpu_seconds: u64,
    /// Ends the call early and kills the command; NULL, the default, for nothing.
    pub cancel: *const sandboxset_cancel,
}

// SAFETY: repr(C), size first, integers and raw pointers, no padding.
unsafe impl Plain for sandboxset_command {
    const FIRST_SIZE: usize = 104;

    fn defaults() -> Self {
        let command = Command::new(["x"]);
        sandboxset_command {
            struct_size: size_of::<Self>(),
            args: std::ptr::null(),
            env: std::ptr::null(),
            cwd: std::ptr::null(),
            stdin_mode: SANDBOXSET_STDIN_NULL,
            on_overflow: SANDBOXSET_OVERFLOW_TRUNCATE,
            stdin_bytes: std::ptr::null(),
            stdin_length: 0,
            timeout_ms: command.timeout.as_millis() as u64,
            grace_ms: command.grace.as_millis() as u64,
            output_bytes: command.output_bytes as u64,
            memory_bytes: 0,
            cpu_seconds: 0,
            cancel: std::ptr::null(),
        }
    }
}

/// Fills the command with its defaults. `struct_size` is sizeof(sandboxset_command).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_command_init(command: *mut sandboxset_command, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(command, struct_size) };
}

/// The command that C gave; the core checks its values.
pub(crate) fn read(caller: &Caller, command: *const sandboxset_command) -> Result<Command> {
    let from = caller.required_options(command, "command")?;
    let mut command = Command::new(caller.list(from.args, "args")?);
    command.env = caller.env(from.env, "env")?;
    command.cwd = caller.optional_path(from.cwd, "cwd")?;
    command.stdin = read_stdin(caller, &from)?;
    command.timeout = Duration::from_millis(from.timeout_ms);
    command.grace = Duration::from_millis(from.grace_ms);
    command.output_bytes = to_usize(from.output_bytes, "output_bytes")?;
    command.on_overflow = match from.on_overflow {
        SANDBOXSET_OVERFLOW_TRUNCATE => OnOverflow::Truncate,
        SANDBOXSET_OVERFLOW_KILL => OnOverflow::Kill,
        other => return Err(unknown(other, "on_overflow", "SANDBOXSET_OVERFLOW_")),
    };
    command.memory_bytes = (from.memory_bytes != 0).then_some(from.memory_bytes);
    command.cpu_seconds = (from.cpu_seconds != 0).then_some(from.cpu_seconds);
    command.cancel = caller.borrow_optional(from.cancel, "cancel")?.cloned();
    Ok(command)
}

fn read_stdin(caller: &Caller, command: &sandboxset_command) -> Result<Stdin> {
    let bytes = caller.bytes(command.stdin_bytes, command.stdin_length, "stdin_bytes")?;
    if command.stdin_mode == SANDBOXSET_STDIN_BYTES {
        return Ok(Stdin::Bytes(bytes.to_vec()));
    }
    if !bytes.is_empty() {
        return Err(Error::invalid("stdin_bytes", "is only read with SANDBOXSET_STDIN_BYTES"));
    }
    match command.stdin_mode {
        SANDBOXSET_STDIN_NULL => Ok(Stdin::Null),
        SANDBOXSET_STDIN_STREAM => Ok(Stdin::Stream),
        other => Err(unknown(other, "stdin_mode", "SANDBOXSET_STDIN_")),
    }
}
