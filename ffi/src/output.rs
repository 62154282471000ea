//! `sandboxset_output`.

use std::ffi::c_void;

use sandboxset::{Outcome, Output, Result, StreamOutput};

use crate::boundary::Caller;
use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::text::unknown;
use crate::usage::{self, sandboxset_usage};

/// The command exited by itself; the status is its exit code.
pub const SANDBOXSET_OUTCOME_EXITED: u32 = 0;
/// A signal ended the command; the status is its number.
pub const SANDBOXSET_OUTCOME_SIGNALED: u32 = 1;
/// The command ran longer than its timeout and was killed; the status is 0.
pub const SANDBOXSET_OUTCOME_TIMED_OUT: u32 = 2;
/// The kernel killed it, or a process it started, because of the sandbox's memory limit; the status is 0.
pub const SANDBOXSET_OUTCOME_OUT_OF_MEMORY: u32 = 3;
/// The command wrote more than it might and was killed; the status is 0.
pub const SANDBOXSET_OUTCOME_OUTPUT_LIMIT: u32 = 4;
/// An outcome that this version of the library has no number for; the status is 0.
pub const SANDBOXSET_OUTCOME_OTHER: u32 = 255;

/// The standard output of a command.
pub const SANDBOXSET_STREAM_STDOUT: u32 = 1;
/// The standard error of a command.
pub const SANDBOXSET_STREAM_STDERR: u32 = 2;

/// How a command ended and what it wrote. Immutable, so any number of threads may read it.
pub struct sandboxset_output {
    _opaque: (),
}

handle!(sandboxset_output, Output, b"ss_outpt");

/// Called once with the output of a command, NULL on an error. It is freed with sandboxset_output_free.
pub type sandboxset_output_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        output: *mut sandboxset_output,
        error: *mut sandboxset_error,
    ),
>;

/// Answers how the command ended: SANDBOXSET_OUTCOME_* and, if it exited or was signaled, the exit code or the
/// signal's number. `out_status` may be NULL. New outcomes may be added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_output_outcome(
    output: *const sandboxset_output,
    out_outcome: *mut u32,
    out_status: *mut i32,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let output = caller.borrow(output, "output")?;
        let out = caller.out(out_outcome, "out_outcome")?;
        let (outcome, status) = match output.outcome {
            Outcome::Exited(code) => (SANDBOXSET_OUTCOME_EXITED, code),
            Outcome::Signaled(signal) => (SANDBOXSET_OUTCOME_SIGNALED, signal),
            Outcome::TimedOut => (SANDBOXSET_OUTCOME_TIMED_OUT, 0),
            Outcome::OutOfMemory => (SANDBOXSET_OUTCOME_OUT_OF_MEMORY, 0),
            Outcome::OutputLimit => (SANDBOXSET_OUTCOME_OUTPUT_LIMIT, 0),
            _ => (SANDBOXSET_OUTCOME_OTHER, 0),
        };
        out.write(outcome);
        if let Ok(out) = caller.out(out_status, "out_status") {
            out.write(status);
        }
        Ok(())
    })
}

/// Answers what was kept of a stream (SANDBOXSET_STREAM_STDOUT or _STDERR): bytes that the command chose, not
/// NUL-terminated, borrowed from the output. They are never NULL, but may be 0 in number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_output_bytes(
    output: *const sandboxset_output,
    stream: u32,
    out_bytes: *mut *const u8,
    out_length: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let stream = stream_of(caller, output, stream)?;
        let out_bytes = caller.out(out_bytes, "out_bytes")?;
        caller.out(out_length, "out_length")?.write(stream.bytes.len());
        out_bytes.write(stream.bytes.as_ptr());
        Ok(())
    })
}

/// Answers how many bytes of a stream were dropped because there were more than output_bytes, and how many of the
/// kept ones come from before the gap. `out_head` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_output_dropped(
    output: *const sandboxset_output,
    stream: u32,
    out_dropped: *mut u64,
    out_head: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let stream = stream_of(caller, output, stream)?;
        caller.out(out_dropped, "out_dropped")?.write(stream.dropped);
        if let Ok(out) = caller.out(out_head, "out_head") {
            out.write(stream.head);
        }
        Ok(())
    })
}

/// Fills `usage` with what the command used.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_output_get_usage(
    output: *const sandboxset_output,
    usage: *mut sandboxset_usage,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let output = caller.borrow(output, "output")?;
        usage::fill(caller, usage, &output.usage)
    })
}

/// Frees an output and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_output_free(output: *mut sandboxset_output) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(output, |_| {}) };
}

fn stream_of(caller: &Caller, output: *const sandboxset_output, stream: u32) -> Result<&StreamOutput> {
    let output = caller.borrow(output, "output")?;
    match stream {
        SANDBOXSET_STREAM_STDOUT => Ok(&output.stdout),
        SANDBOXSET_STREAM_STDERR => Ok(&output.stderr),
        other => Err(unknown(other, "stream", "SANDBOXSET_STREAM_")),
    }
}
