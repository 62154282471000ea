//! `sandboxset_cancel`.

use sandboxset::CancelToken;

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};

/// Ends, from any thread, the calls that it was given to: they return SANDBOXSET_CANCELLED. One may be given to
/// many calls; once cancelled it stays so. Calls keep what they need of it, so it may be freed while they run.
pub struct sandboxset_cancel {
    _opaque: (),
}

handle!(sandboxset_cancel, CancelToken, b"ss_cancl");

/// Makes a cancellation that has not happened. Free it with sandboxset_cancel_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_cancel_new(
    out_cancel: *mut *mut sandboxset_cancel,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let out = caller.out(out_cancel, "out_cancel")?;
        out.write(handle::into_raw(CancelToken::new()));
        Ok(())
    })
}

/// Cancels every call that holds it, now and later. Idempotent; does not wait for these calls.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_cancel_now(
    cancel: *const sandboxset_cancel,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        caller.borrow(cancel, "cancel")?.cancel();
        Ok(())
    })
}

/// Frees it without cancelling anything. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_cancel_free(cancel: *mut sandboxset_cancel) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(cancel, |_| {}) };
}
