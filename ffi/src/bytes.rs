//! `sandboxset_bytes`.

use std::ffi::c_void;

use sandboxset::{Error, Result};

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};

/// Bytes that the library allocated: a file's content, an answer, a log. Immutable.
pub struct sandboxset_bytes {
    _opaque: (),
}

handle!(sandboxset_bytes, Vec<u8>, b"ss_bytes");

/// Called once with bytes, NULL on an error. They are freed with sandboxset_bytes_free. See ASYNCHRONOUS CALLS.
pub type sandboxset_bytes_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        bytes: *mut sandboxset_bytes,
        error: *mut sandboxset_error,
    ),
>;

/// Room for what a call reads that outlives its caller's buffers.
pub(crate) struct Room(Vec<u8>);

impl Room {
    /// The most that one read returns, so that a huge number does not cost a huge allocation.
    const MAX_READ: u64 = 1 << 20;

    pub(crate) fn new(max_bytes: u64) -> Result<Self> {
        if max_bytes == 0 {
            return Err(Error::invalid("max_bytes", "0 leaves no room"));
        }
        Ok(Room(vec![0; max_bytes.min(Self::MAX_READ) as usize]))
    }

    /// Fills the room by `read`, which answers how many bytes it read.
    pub(crate) fn fill(
        mut self,
        read: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<*mut sandboxset_bytes> {
        let count = read(&mut self.0)?;
        self.0.truncate(count);
        Ok(handle::into_raw(self.0))
    }
}

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
