//! The files of a `sandboxset_ref`'s sandbox.

use std::ffi::{c_char, c_void};

use sandboxset::Phase;

use crate::bytes::{sandboxset_bytes, sandboxset_bytes_fn};
use crate::code::sandboxset_code;
use crate::completion::sandboxset_done_fn;
use crate::dir::{self, sandboxset_dir, sandboxset_dir_fn};
use crate::error::sandboxset_error;
use crate::handle;
use crate::sandbox_ref::sandboxset_ref;
use crate::text::to_usize;

/// Reads a regular file of the sandbox, of at most `max_bytes` bytes. The path is absolute in the sandbox, or
/// relative to its scratch dir; the host never follows a link that the sandbox planted. Free the content with
/// sandboxset_bytes_free.
/// Errors: SANDBOXSET_TOO_BIG for a larger file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_read_file(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    max_bytes: u64,
    out_bytes: *mut *mut sandboxset_bytes,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?;
        let out = caller.out(out_bytes, "out_bytes")?;
        out.write(handle::into_raw(held.sandbox.read_file(path, max_bytes)?));
        Ok(())
    })
}

/// As sandboxset_ref_read_file, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_read_file_async(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    max_bytes: u64,
    callback: sandboxset_bytes_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?.to_owned();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Files, move || held.sandbox.read_file(&path, max_bytes).map(handle::into_raw))
    })
}

/// Creates or replaces a regular file of the sandbox, whole or not at all, with these permission bits (for
/// example 0644). `data` may be NULL if `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_write_file(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    data: *const u8,
    length: usize,
    mode: u32,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?;
        held.sandbox.write_file(path, caller.bytes(data, length, "data")?, mode)
    })
}

/// As sandboxset_ref_write_file, without waiting. The data is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_write_file_async(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    data: *const u8,
    length: usize,
    mode: u32,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?.to_owned();
        let data = caller.bytes(data, length, "data")?.to_vec();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Files, move || held.sandbox.write_file(&path, &data, mode))
    })
}

/// Lists a directory of the sandbox. Free the entries with sandboxset_dir_free.
/// Errors: SANDBOXSET_TOO_BIG for more than `max_entries`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_list_dir(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    max_entries: u64,
    out_dir: *mut *mut sandboxset_dir,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?;
        let out = caller.out(out_dir, "out_dir")?;
        out.write(dir::into_raw(held.sandbox.list_dir(path, to_usize(max_entries, "max_entries")?)?));
        Ok(())
    })
}

/// As sandboxset_ref_list_dir, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_list_dir_async(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    max_entries: u64,
    callback: sandboxset_dir_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?.to_owned();
        let max_entries = to_usize(max_entries, "max_entries")?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Files, move || held.sandbox.list_dir(&path, max_entries).map(dir::into_raw))
    })
}

/// Removes a file of the sandbox or, with all it holds, a directory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_remove(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        held.sandbox.remove(caller.path(path, "path")?)
    })
}

/// As sandboxset_ref_remove, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_remove_async(
    sandbox: *const sandboxset_ref,
    path: *const c_char,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.share(sandbox, "sandbox")?;
        let path = caller.path(path, "path")?.to_owned();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Files, move || held.sandbox.remove(&path))
    })
}
