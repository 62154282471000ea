//! `sandboxset_bytes`.

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};

/// Bytes that the library allocated: a file's content, an answer, a log. Immutable.
pub struct sandboxset_bytes {
    _opaque: (),
}

handle!(sandboxset_bytes, Vec<u8>, b"ss_bytes");

/// Answers where the bytes are and how many: borrowed from `bytes`, not NUL-terminated, never NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_bytes_data(
    bytes: *const sandboxset_bytes,
    out_data: *mut *const u8,
    out_length: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let bytes = caller.borrow(bytes, "bytes")?;
        let out_data = caller.out(out_data, "out_data")?;
        caller.out(out_length, "out_length")?.write(bytes.len());
        out_data.write(bytes.as_ptr());
        Ok(())
    })
}

/// Frees the bytes. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_bytes_free(bytes: *mut sandboxset_bytes) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(bytes, |_| {}) };
}
