//! `sandboxset_error`.

use std::ffi::{CString, c_char};

use sandboxset::{Error, Phase};

use crate::code::{SANDBOXSET_OK, sandboxset_code};
use crate::handle::{self, Handle, handle};
use crate::text::to_c_string;

/// What went wrong in one call: handed out through `out_error`, owned by the caller, freed with
/// sandboxset_error_free. Immutable, so any number of threads may read it. Works in a forked child too.
pub struct sandboxset_error {
    _opaque: (),
}

/// An error with its texts as C wants them.
pub(crate) struct Reported {
    error: Error,
    message: CString,
    field: Option<CString>,
    cause: CString,
}

handle!(sandboxset_error, Reported, b"ss_error");

/// Makes the object that C gets.
pub(crate) fn into_raw(error: Error) -> *mut sandboxset_error {
    let message = to_c_string(error.message());
    let field = error.field().map(to_c_string);
    let cause = to_c_string(error.cause());
    handle::into_raw(Reported { error, message, field, cause })
}

/// The code, the same as the call returned. SANDBOXSET_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_code(error: *const sandboxset_error) -> sandboxset_code {
    // SAFETY: by the header's calling convention.
    unsafe { read(error) }.map_or(SANDBOXSET_OK, |reported| reported.error.code() as sandboxset_code)
}

/// The name of the code, for example "STALE_REF". A static string; "OK" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_name(error: *const sandboxset_error) -> *const c_char {
    // SAFETY: by the header's calling convention.
    crate::code::sandboxset_code_name(unsafe { sandboxset_error_code(error) })
}

/// Where the error arose: "configure", "wait", "create", "pause", "unpause", "bind", "use", "exec", "files", "connect",
/// "destroy" or "close". A static string; "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_phase(error: *const sandboxset_error) -> *const c_char {
    // SAFETY: by the header's calling convention.
    let Some(reported) = (unsafe { read(error) }) else { return c"".as_ptr() };
    let name = match reported.error.phase() {
        Phase::Configure => c"configure",
        Phase::Wait => c"wait",
        Phase::Create => c"create",
        Phase::Fork => c"fork",
        Phase::Pause => c"pause",
        Phase::Unpause => c"unpause",
        Phase::Bind => c"bind",
        Phase::Use => c"use",
        Phase::Exec => c"exec",
        Phase::Files => c"files",
        Phase::Connect => c"connect",
        Phase::Destroy => c"destroy",
        Phase::Close => c"close",
        _ => c"unknown",
    };
    name.as_ptr()
}

/// What went wrong, as a fragment of one line for people: UTF-8 with control characters escaped. Its wording is
/// no interface. Borrowed from the error; "" for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_message(error: *const sandboxset_error) -> *const c_char {
    // SAFETY: by the header's calling convention.
    unsafe { read(error) }.map_or(c"".as_ptr(), |reported| reported.message.as_ptr())
}

/// The parameter or option at fault, for example "limits.memory_bytes"; NULL unless the code is
/// SANDBOXSET_INVALID_ARGUMENT. Borrowed from the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_field(error: *const sandboxset_error) -> *const c_char {
    // SAFETY: by the header's calling convention.
    let field = unsafe { read(error) }.and_then(|reported| reported.field.as_ref());
    field.map_or(std::ptr::null(), |field| field.as_ptr())
}

/// The chain of causes as one line, outermost first; "" if there is none. Borrowed from the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_cause(error: *const sandboxset_error) -> *const c_char {
    // SAFETY: by the header's calling convention.
    unsafe { read(error) }.map_or(c"".as_ptr(), |reported| reported.cause.as_ptr())
}

/// Whether the same call may succeed later without any change by the caller; false for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_retryable(error: *const sandboxset_error) -> bool {
    // SAFETY: by the header's calling convention.
    unsafe { read(error) }.is_some_and(|reported| reported.error.retryable())
}

/// The sandbox concerned, as sandboxset_ref_id answers it; 0 if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_sandbox_id(error: *const sandboxset_error) -> u64 {
    // SAFETY: by the header's calling convention.
    let id = unsafe { read(error) }.and_then(|reported| reported.error.sandbox_id());
    id.map_or(0, |id| id.get())
}

/// Frees an error and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_error_free(error: *mut sandboxset_error) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free_memory(error) };
}

/// # Safety
/// `error` is NULL or a live handle that lives for `'a`.
unsafe fn read<'a>(error: *const sandboxset_error) -> Option<&'a <sandboxset_error as Handle>::Inner> {
    // SAFETY: by the contract of this function.
    unsafe { handle::borrow(error, "error") }.ok()
}
