//! Running things in a `sandboxset_ref`'s sandbox, and talking to its runtime.

use std::ffi::c_void;
use std::time::Duration;

use sandboxset::Phase;

use crate::bytes::{sandboxset_bytes, sandboxset_bytes_fn};
use crate::cancel::sandboxset_cancel;
use crate::code::sandboxset_code;
use crate::command::{self, sandboxset_command};
use crate::connection::{self, sandboxset_connection, sandboxset_connection_fn};
use crate::error::sandboxset_error;
use crate::handle;
use crate::output::{sandboxset_output, sandboxset_output_fn};
use crate::process::{sandboxset_process, sandboxset_process_fn};
use crate::sandbox_ref::sandboxset_ref;
use crate::text::to_usize;

/// Runs a command to its end and answers how it ended and what it wrote. Blocks, at most for the command's
/// timeout and grace. Free the output with sandboxset_output_free.
/// Errors: a command that fails, or is killed, is no error but an outcome.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_exec(
    sandbox: *const sandboxset_ref,
    command: *const sandboxset_command,
    out_output: *mut *mut sandboxset_output,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_output, "out_output")?;
        let command = command::read(caller, command)?;
        out.write(handle::into_raw(held.sandbox.exec(&command)?));
        Ok(())
    })
}

/// As sandboxset_ref_exec, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_exec_async(
    sandbox: *const sandboxset_ref,
    command: *const sandboxset_command,
    callback: sandboxset_output_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let command = command::read(caller, command)?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Exec, move || held.sandbox.exec(&command).map(handle::into_raw))
    })
}

/// Starts a command. Free the process with sandboxset_process_free, which kills what still runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_spawn(
    sandbox: *const sandboxset_ref,
    command: *const sandboxset_command,
    out_process: *mut *mut sandboxset_process,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_process, "out_process")?;
        let command = command::read(caller, command)?;
        out.write(handle::into_raw(held.sandbox.spawn(&command)?));
        Ok(())
    })
}

/// As sandboxset_ref_spawn, without waiting for the start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_spawn_async(
    sandbox: *const sandboxset_ref,
    command: *const sandboxset_command,
    callback: sandboxset_process_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let command = command::read(caller, command)?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Exec, move || held.sandbox.spawn(&command).map(handle::into_raw))
    })
}

/// Opens a stream to the runtime's socket, within `timeout_ms` milliseconds. `cancel` may be NULL. Free the
/// connection with sandboxset_connection_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_connect(
    sandbox: *const sandboxset_ref,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    out_connection: *mut *mut sandboxset_connection,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_connection, "out_connection")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?;
        let connection = held.sandbox.connect(Duration::from_millis(timeout_ms), cancel)?;
        out.write(connection::into_raw(connection));
        Ok(())
    })
}

/// As sandboxset_ref_connect, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_connect_async(
    sandbox: *const sandboxset_ref,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    callback: sandboxset_connection_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?.cloned();
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        let connect = move || held.sandbox.connect(timeout, cancel.as_ref()).map(connection::into_raw);
        completion.run(Phase::Connect, connect)
    })
}

/// Sends one request to the runtime and answers its answer, each framed on the wire by its length as 4 bytes,
/// little-endian. Blocks, at most `timeout_ms` milliseconds. `cancel` may be NULL. Free the answer with
/// sandboxset_bytes_free.
/// Errors: SANDBOXSET_TOO_BIG for a request or answer above 64 MiB; SANDBOXSET_SANDBOX_DEAD if the runtime ends, or
/// closes the connection, before it has answered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_call(
    sandbox: *const sandboxset_ref,
    request: *const u8,
    request_length: usize,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    out_answer: *mut *mut sandboxset_bytes,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let request = caller.bytes(request, request_length, "request")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?;
        let out = caller.out(out_answer, "out_answer")?;
        let answer = held.sandbox.call(request, Duration::from_millis(timeout_ms), cancel)?;
        out.write(handle::into_raw(answer));
        Ok(())
    })
}

/// As sandboxset_ref_call, without waiting. The request is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_call_async(
    sandbox: *const sandboxset_ref,
    request: *const u8,
    request_length: usize,
    timeout_ms: u64,
    cancel: *const sandboxset_cancel,
    callback: sandboxset_bytes_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let request = caller.bytes(request, request_length, "request")?;
        let cancel = caller.borrow_optional(cancel, "cancel")?.cloned();
        let completion = caller.completion(callback, user_data)?;
        let (request, timeout) = (request.to_vec(), Duration::from_millis(timeout_ms));
        let call = move || held.sandbox.call(&request, timeout, cancel.as_ref()).map(handle::into_raw);
        completion.run(Phase::Connect, call)
    })
}

/// Answers what the runtime wrote to its standard output and error, the last `max_bytes` bytes of it. Free it with
/// sandboxset_bytes_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_log(
    sandbox: *const sandboxset_ref,
    max_bytes: u64,
    out_log: *mut *mut sandboxset_bytes,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_log, "out_log")?;
        out.write(handle::into_raw(held.sandbox.log(to_usize(max_bytes, "max_bytes")?)?));
        Ok(())
    })
}

/// As sandboxset_ref_log, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_log_async(
    sandbox: *const sandboxset_ref,
    max_bytes: u64,
    callback: sandboxset_bytes_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let max_bytes = to_usize(max_bytes, "max_bytes")?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Files, move || held.sandbox.log(max_bytes).map(handle::into_raw))
    })
}
