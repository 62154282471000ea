//! Calls that answer by callback.

use std::ffi::c_void;

use sandboxset::{Phase, Result, Worker};

use crate::code::{SANDBOXSET_OK, sandboxset_code};
use crate::error::{self, sandboxset_error};
use crate::handle::Handle;

/// Called once when an asynchronous call has ended that answers nothing but how. See ASYNCHRONOUS CALLS.
pub type sandboxset_done_fn =
    Option<unsafe extern "C" fn(user_data: *mut c_void, code: sandboxset_code, error: *mut sandboxset_error)>;

/// A function of C's. Safe to call with any `user_data` that came with it, once, and with results that are then its own.
pub(crate) trait Callback: Copy + Send + 'static {
    /// What it is given besides the code and the error.
    type Value: 'static;

    /// # Safety
    /// `user_data` is what the C caller gave together with this function, and this is the only call for it.
    unsafe fn call(
        self,
        user_data: *mut c_void,
        code: sandboxset_code,
        value: Option<Self::Value>,
        error: *mut sandboxset_error,
    );
}

/// A callback with its `user_data`, for one call.
pub(crate) struct Completion<C> {
    callback: C,
    user_data: *mut c_void,
}

// SAFETY: the pointer is only handed back to the C caller's own function, which by the header is called from any thread.
unsafe impl<C: Send> Send for Completion<C> {}

impl<C: Callback> Completion<C> {
    pub(crate) fn new(callback: C, user_data: *mut c_void) -> Self {
        Completion { callback, user_data }
    }

    /// Runs `call` on a thread of the library and calls back with its result there. On an error it does neither.
    pub(crate) fn run(
        self,
        phase: Phase,
        call: impl FnOnce() -> Result<C::Value> + Send + 'static,
    ) -> Result<()> {
        Worker::claim(phase)?.run(call, move |result| self.end(result));
        Ok(())
    }

    /// Calls back. Nothing of ours may be locked.
    pub(crate) fn end(self, result: Result<C::Value>) {
        let (code, value, error) = match result {
            Ok(value) => (SANDBOXSET_OK, Some(value), std::ptr::null_mut()),
            Err(error) => (error.code() as sandboxset_code, None, error::into_raw(error)),
        };
        // SAFETY: both came together from the C caller, and this consumes them.
        unsafe { self.callback.call(self.user_data, code, value, error) };
    }
}

impl Callback for unsafe extern "C" fn(*mut c_void, sandboxset_code, *mut sandboxset_error) {
    type Value = ();

    unsafe fn call(
        self,
        user_data: *mut c_void,
        code: sandboxset_code,
        _: Option<()>,
        error: *mut sandboxset_error,
    ) {
        // SAFETY: by the contract of this function.
        unsafe { self(user_data, code, error) };
    }
}

/// All that answer a handle, which is NULL on an error.
impl<H: Handle + 'static> Callback
    for unsafe extern "C" fn(*mut c_void, sandboxset_code, *mut H, *mut sandboxset_error)
{
    type Value = *mut H;

    unsafe fn call(
        self,
        user_data: *mut c_void,
        code: sandboxset_code,
        value: Option<*mut H>,
        error: *mut sandboxset_error,
    ) {
        // SAFETY: by the contract of this function.
        unsafe { self(user_data, code, value.unwrap_or(std::ptr::null_mut()), error) };
    }
}
