//! What every exported function goes through: the panic guard, the fork check, and the checks of its arguments.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sandboxset::{Error, ErrorCode, Phase, Result};

use crate::code::{SANDBOXSET_OK, sandboxset_code};
use crate::completion::{Callback, Completion};
use crate::error::{self, sandboxset_error};
use crate::handle::{self, Handle, Shared};
use crate::options::{self, Plain};

/// Runs the body of an exported function: `boundary!(out_error, |caller| { ...; Ok(()) })`.
///
/// A macro only around the body keeps the signature visible to the header generator.
macro_rules! boundary {
    ($out_error:expr, |$caller:ident| $body:block) => {{
        let body = |$caller: &$crate::boundary::Caller| -> ::sandboxset::Result<()> { $body };
        // SAFETY: `out_error`, and all that the body hands to `caller`, are arguments of the exported function,
        // for which the C caller follows the header's calling convention.
        unsafe { $crate::boundary::run($out_error, body) }
    }};
}

/// The C caller of the running call, whose arguments it checks.
///
/// Its methods take raw pointers and yet are safe: a `Caller` exists only inside a [`boundary!`] body, and such a
/// body hands it nothing but the arguments of its own function and what these point to. What the checks cannot
/// see (a dangling pointer, a string without end) is excluded by the calling convention. All that is borrowed
/// ends with the call.
pub(crate) struct Caller(());

/// Where a result goes. Written once, on success.
pub(crate) struct Out<T>(*mut T);

/// Runs `body`; every way in which it can end becomes a code.
///
/// # Safety
/// `out_error` is NULL or may be written; the body keeps the rule stated at [`Caller`].
pub(crate) unsafe fn run(
    out_error: *mut *mut sandboxset_error,
    body: impl FnOnce(&Caller) -> Result<()>,
) -> sandboxset_code {
    let outcome = if sandboxset::in_forked_child() {
        Err(forked())
    } else {
        catch_unwind(AssertUnwindSafe(|| body(&Caller(()))))
            .unwrap_or_else(|payload| Err(panicked(&*payload)))
    };
    match outcome {
        Ok(()) => SANDBOXSET_OK,
        Err(error) => {
            let code = error.code() as sandboxset_code;
            if !out_error.is_null() {
                // SAFETY: not NULL, so the caller gave us a place to write to.
                unsafe { out_error.write_unaligned(error::into_raw(error)) };
            }
            code
        }
    }
}

impl Caller {
    /// The object behind a handle.
    pub(crate) fn borrow<H: Handle>(&self, handle: *const H, parameter: &'static str) -> Result<&H::Inner> {
        // SAFETY: an argument of this call, see `Caller`.
        unsafe { handle::borrow(handle, parameter) }
    }

    /// The object behind a handle that may be NULL.
    pub(crate) fn borrow_optional<H: Handle>(
        &self,
        handle: *const H,
        parameter: &'static str,
    ) -> Result<Option<&H::Inner>> {
        if handle.is_null() { Ok(None) } else { self.borrow(handle, parameter).map(Some) }
    }

    /// The object behind a handle, for a call that goes on after this one.
    pub(crate) fn share<H: Handle>(&self, handle: *const H, parameter: &'static str) -> Result<Shared<H>> {
        // SAFETY: an argument of this call, see `Caller`.
        unsafe { handle::share(handle, parameter) }
    }

    /// Whom to call with the result of a call that goes on after this one.
    pub(crate) fn completion<C: Callback>(
        &self,
        callback: Option<C>,
        user_data: *mut c_void,
    ) -> Result<Completion<C>> {
        callback.map(|callback| Completion::new(callback, user_data)).ok_or_else(|| is_null("callback"))
    }

    /// A place for a result.
    pub(crate) fn out<T>(&self, pointer: *mut T, parameter: &'static str) -> Result<Out<T>> {
        if pointer.is_null() { Err(is_null(parameter)) } else { Ok(Out(pointer)) }
    }

    /// A copy of an option struct, by the size rules; NULL is all defaults.
    pub(crate) fn options<T: Plain>(&self, pointer: *const T, parameter: &'static str) -> Result<T> {
        if pointer.is_null() { Ok(T::defaults()) } else { self.required_options(pointer, parameter) }
    }

    /// A copy of an option struct that must be given, by the size rules.
    pub(crate) fn required_options<T: Plain>(&self, pointer: *const T, parameter: &'static str) -> Result<T> {
        if pointer.is_null() {
            return Err(is_null(parameter));
        }
        // SAFETY: an argument of this call, see `Caller`.
        unsafe { options::read(pointer, parameter) }
    }

    /// Fills a result struct, by the size rules.
    pub(crate) fn fill<T: Plain>(&self, pointer: *mut T, value: T, parameter: &'static str) -> Result<()> {
        if pointer.is_null() {
            return Err(is_null(parameter));
        }
        // SAFETY: an argument of this call, see `Caller`.
        unsafe { options::fill(pointer, value, parameter) }
    }

    /// Bytes of the caller's; NULL only with length 0.
    pub(crate) fn bytes(&self, data: *const u8, length: usize, parameter: &'static str) -> Result<&[u8]> {
        if length == 0 {
            return Ok(&[]);
        }
        check_extent(data, length, parameter)?;
        // SAFETY: an argument of this call, see `Caller`; not NULL and of a possible length.
        Ok(unsafe { std::slice::from_raw_parts(data, length) })
    }

    /// An array of pointers of the caller's; NULL only with length 0.
    pub(crate) fn pointers<T>(
        &self,
        array: *const *const T,
        length: usize,
        parameter: &'static str,
    ) -> Result<Vec<*const T>> {
        /// More of anything than the core accepts; a larger count surely is garbage.
        const MAX_POINTERS: usize = 1 << 16;
        if length == 0 {
            return Ok(Vec::new());
        }
        if array.is_null() {
            return Err(is_null(parameter));
        }
        if length > MAX_POINTERS {
            let field = format!("{parameter}_length");
            return Err(Error::invalid(field, format_args!("{length} is too large")));
        }
        // SAFETY: an argument of this call, see `Caller`; each is below the length that the caller gave.
        Ok((0..length).map(|index| unsafe { array.add(index).read_unaligned() }).collect())
    }

    /// A buffer of the caller's to read into. The caller's memory may be uninitialised, so it is zeroed first.
    pub(crate) fn buffer(&self, data: *mut u8, length: usize, parameter: &'static str) -> Result<Buffer<'_>> {
        if length == 0 {
            return Err(Error::invalid(parameter, "has no room"));
        }
        check_extent(data, length, parameter)?;
        Ok(Buffer { data, length, caller: self })
    }
}

/// A buffer of the C caller's, to be filled. Its memory may be uninitialised, so it is only written to.
pub(crate) struct Buffer<'c> {
    data: *mut u8,
    length: usize,
    #[allow(dead_code, reason = "ends the buffer with the call")]
    caller: &'c Caller,
}

impl Buffer<'_> {
    /// The most that one read returns, so that a huge buffer does not cost a huge allocation.
    const MAX_READ: usize = 1 << 20;

    /// Fills the buffer by `read`, which answers how many bytes it read.
    pub(crate) fn fill(self, read: impl FnOnce(&mut [u8]) -> Result<usize>) -> Result<usize> {
        let mut bytes = vec![0; self.length.min(Self::MAX_READ)];
        let count = read(&mut bytes)?;
        let bytes = &bytes[..count];
        // SAFETY: `count` is at most the length of the caller's buffer, which our own allocation cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data, count) };
        Ok(count)
    }
}

impl<T> Out<T> {
    /// Hands out the result.
    pub(crate) fn write(self, value: T) {
        // SAFETY: not NULL by construction, and an argument of the call, see `Caller`.
        unsafe { self.0.write_unaligned(value) };
    }
}

/// The error for a pointer that may not be NULL.
pub(crate) fn is_null(parameter: &str) -> Error {
    Error::invalid(parameter, "is NULL")
}

fn check_extent(data: *const u8, length: usize, parameter: &'static str) -> Result<()> {
    if data.is_null() {
        return Err(is_null(parameter));
    }
    if isize::try_from(length).is_err() {
        return Err(Error::invalid(parameter, format_args!("{length} bytes are more than memory can hold")));
    }
    Ok(())
}

fn forked() -> Error {
    Error::new(
        ErrorCode::ForkedProcess,
        Phase::Use,
        "this process was forked from the one that owns the sandbox set; start processes with posix_spawn instead",
    )
}

fn panicked(payload: &(dyn std::any::Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a text".to_owned());
    Error::new(ErrorCode::Internal, Phase::Use, format!("the library panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::code::{SANDBOXSET_INTERNAL, SANDBOXSET_INVALID_ARGUMENT};
    use crate::error::{sandboxset_error_code, sandboxset_error_free, sandboxset_error_message};

    #[test]
    fn a_panic_is_an_internal_error_with_its_text() {
        let mut error = std::ptr::null_mut();
        let code = boundary!(&raw mut error, |_caller| { panic!("the sky fell on {}", "us") });
        assert_eq!(code, SANDBOXSET_INTERNAL);
        // SAFETY: the call failed, so it made an error, which is ours.
        unsafe {
            assert_eq!(sandboxset_error_code(error), SANDBOXSET_INTERNAL);
            let message = CStr::from_ptr(sandboxset_error_message(error)).to_str().unwrap();
            assert!(message.contains("the sky fell on us"), "{message}");
            sandboxset_error_free(error);
        }
    }

    #[test]
    fn a_panic_of_any_payload_is_caught_and_an_error_needs_no_place() {
        let nowhere = std::ptr::null_mut();
        let code = boundary!(nowhere, |_caller| { std::panic::panic_any(7) });
        assert_eq!(code, SANDBOXSET_INTERNAL);
        let code = boundary!(nowhere, |_caller| { Err(is_null("anything")) });
        assert_eq!(code, SANDBOXSET_INVALID_ARGUMENT);
    }
}
