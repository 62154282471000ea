//! `sandboxset_process`.

use std::ffi::c_void;
use std::time::Duration;

use sandboxset::{OutputStream, Phase, Process, Result};

use crate::bytes::{Room, sandboxset_bytes_fn};
use crate::cancel::sandboxset_cancel;
use crate::code::sandboxset_code;
use crate::completion::sandboxset_done_fn;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::output::{
    SANDBOXSET_STREAM_STDERR, SANDBOXSET_STREAM_STDOUT, sandboxset_output, sandboxset_output_fn,
};
use crate::text::unknown;

/// A command that was started with sandboxset_ref_spawn. Thread-safe: one thread may write while another reads.
pub struct sandboxset_process {
    _opaque: (),
}

handle!(sandboxset_process, Process, b"ss_proce");

/// Called once with a command that was started, NULL on an error. It is freed with sandboxset_process_free.
pub type sandboxset_process_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        process: *mut sandboxset_process,
        error: *mut sandboxset_error,
    ),
>;

/// Writes all bytes to the command's standard input, which must be SANDBOXSET_STDIN_STREAM. Blocks while the
/// command does not read, at most `timeout_ms` milliseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_write(
    process: *const sandboxset_process,
    data: *const u8,
    length: usize,
    timeout_ms: u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.borrow(process, "process")?;
        process.write_stdin(caller.bytes(data, length, "data")?, Duration::from_millis(timeout_ms))
    })
}

/// As sandboxset_process_write, without waiting. The bytes are copied. Writes that are under way at once may mix.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_write_async(
    process: *const sandboxset_process,
    data: *const u8,
    length: usize,
    timeout_ms: u64,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.share(process, "process")?;
        let bytes = caller.bytes(data, length, "data")?.to_vec();
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        completion.run(Phase::Exec, move || process.write_stdin(&bytes, timeout))
    })
}

/// Ends the command's standard input. Idempotent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_close_stdin(
    process: *const sandboxset_process,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { caller.borrow(process, "process")?.close_stdin() })
}

/// Reads what the command wrote to a stream (SANDBOXSET_STREAM_STDOUT or _STDERR), up to `capacity` bytes. Blocks
/// until there is something, at most `timeout_ms` milliseconds. Answers the number of bytes; 0 is the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_read(
    process: *const sandboxset_process,
    stream: u32,
    buffer: *mut u8,
    capacity: usize,
    timeout_ms: u64,
    out_length: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.borrow(process, "process")?;
        let stream = read_stream(stream)?;
        let buffer = caller.buffer(buffer, capacity, "buffer")?;
        let out = caller.out(out_length, "out_length")?;
        let timeout = Duration::from_millis(timeout_ms);
        out.write(buffer.fill(|bytes| process.read(stream, bytes, timeout))?);
        Ok(())
    })
}

/// As sandboxset_process_read, without waiting: up to `max_bytes` bytes, and none at the end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_read_async(
    process: *const sandboxset_process,
    stream: u32,
    max_bytes: u64,
    timeout_ms: u64,
    callback: sandboxset_bytes_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.share(process, "process")?;
        let stream = read_stream(stream)?;
        let room = Room::new(max_bytes)?;
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        completion.run(Phase::Exec, move || room.fill(|bytes| process.read(stream, bytes, timeout)))
    })
}

/// Sends a signal (1 to 64) to the command's own process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_signal(
    process: *const sandboxset_process,
    signal: i32,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { caller.borrow(process, "process")?.signal(signal) })
}

/// Kills every process of the command. Idempotent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_kill(
    process: *const sandboxset_process,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { caller.borrow(process, "process")?.kill() })
}

/// Waits for the end of the command, at most `timeout_ms` milliseconds. What was not read of its streams is in the
/// output, bounded. `cancel` may be NULL. Once ended, every call answers the same, each time a new object to be
/// freed with sandboxset_output_free.
/// Errors: SANDBOXSET_TIMEOUT leaves the command running.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_wait(
    process: *const sandboxset_process,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    out_output: *mut *mut sandboxset_output,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.borrow(process, "process")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?;
        let out = caller.out(out_output, "out_output")?;
        out.write(handle::into_raw(process.wait(Duration::from_millis(timeout_ms), cancel)?));
        Ok(())
    })
}

/// As sandboxset_process_wait, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_wait_async(
    process: *const sandboxset_process,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    callback: sandboxset_output_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let process = caller.share(process, "process")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?.cloned();
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        completion.run(Phase::Exec, move || process.wait(timeout, cancel.as_ref()).map(handle::into_raw))
    })
}

/// Frees the process; if it still runs, it and every process it started is killed. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_process_free(process: *mut sandboxset_process) {
    let kill = |process: &Process| {
        // An asynchronous call may keep the process longer than its handle. What cannot be killed is dead.
        let _ = process.kill();
    };
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(process, kill) };
}

fn read_stream(stream: u32) -> Result<OutputStream> {
    match stream {
        SANDBOXSET_STREAM_STDOUT => Ok(OutputStream::Stdout),
        SANDBOXSET_STREAM_STDERR => Ok(OutputStream::Stderr),
        other => Err(unknown(other, "stream", "SANDBOXSET_STREAM_")),
    }
}
