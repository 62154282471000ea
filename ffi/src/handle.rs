//! Opaque handles: a tag that names the type, then the object.
//!
//! The tag makes a handle of another type an error instead of undefined behaviour. It cannot catch a handle that
//! was freed, because its memory is gone; only that is the C caller's own responsibility.
//!
//! What is behind a handle outlives it while a call goes on elsewhere, so that a handle may be freed at any time.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sandboxset::{Error, Result};

use crate::boundary::is_null;

/// A type that C knows by name only.
pub(crate) trait Handle {
    /// What is behind it. Shared between threads, because C callers do so.
    type Inner: Send + Sync;
    /// The first eight bytes of the allocation; different for every type.
    const TAG: u64;
    /// Its name in C.
    const NAME: &'static str;
}

/// Ties an opaque C type to the object behind it.
macro_rules! handle {
    ($name:ident, $inner:ty, $tag:literal) => {
        impl $crate::handle::Handle for $name {
            type Inner = $inner;
            const TAG: u64 = u64::from_ne_bytes(*$tag);
            const NAME: &'static str = stringify!($name);
        }
    };
}
pub(crate) use handle;

#[repr(C)]
struct Tagged<T> {
    /// Atomic only because the object may be shared with other threads when its handle is freed.
    tag: AtomicU64,
    inner: T,
}

/// The object behind a handle, for a call that goes on when the handle may be gone.
pub(crate) struct Shared<H: Handle>(Arc<Tagged<H::Inner>>);

impl<H: Handle> Deref for Shared<H> {
    type Target = H::Inner;

    fn deref(&self) -> &H::Inner {
        &self.0.inner
    }
}

const FREED: u64 = u64::from_ne_bytes(*b"freed!!!");

/// Moves an object behind a new handle.
pub(crate) fn into_raw<H: Handle>(inner: H::Inner) -> *mut H {
    Arc::into_raw(Arc::new(Tagged { tag: AtomicU64::new(H::TAG), inner })).cast_mut().cast()
}

/// The object behind a handle, after its checks.
///
/// # Safety
/// `handle` is NULL or points to a live handle of any of our types, which lives for `'a`.
pub(crate) unsafe fn borrow<'a, H: Handle>(
    handle: *const H,
    parameter: &'static str,
) -> Result<&'a H::Inner> {
    if handle.is_null() {
        return Err(is_null(parameter));
    }
    // SAFETY: not NULL, so a live handle by the contract of this function.
    if !unsafe { is_ours(handle) } {
        return Err(Error::invalid(parameter, format_args!("is not a {}", H::NAME)));
    }
    // SAFETY: the tag says that `into_raw` made this allocation for this type; shared access only.
    Ok(unsafe { &(*handle.cast::<Tagged<H::Inner>>()).inner })
}

/// As [`borrow`], for as long as is needed.
///
/// # Safety
/// As for [`borrow`].
pub(crate) unsafe fn share<H: Handle>(handle: *const H, parameter: &'static str) -> Result<Shared<H>> {
    // SAFETY: by the contract of this function.
    unsafe { borrow(handle, parameter) }?;
    let tagged = handle.cast::<Tagged<H::Inner>>();
    // SAFETY: the check has passed, so `into_raw` made it of an `Arc` of this type, whose handle is not freed.
    unsafe { Arc::increment_strong_count(tagged) };
    // SAFETY: as above, and the count was just taken.
    Ok(Shared(unsafe { Arc::from_raw(tagged) }))
}

/// Ends a handle. NULL, a handle of another type, and every handle in a forked child are left alone.
///
/// # Safety
/// `handle` is NULL or points to a live handle of any of our types that no other thread uses. Those with whom the
/// object is shared do not use the handle.
pub(crate) unsafe fn free<H: Handle>(handle: *mut H, before_drop: impl FnOnce(&H::Inner)) {
    if handle.is_null() || sandboxset::in_forked_child() {
        return;
    }
    // SAFETY: not NULL, so a live handle by the contract of this function.
    unsafe { release(handle, before_drop) };
}

/// As [`free`], also in a forked child: for objects that are nothing but memory.
///
/// # Safety
/// As for [`free`].
pub(crate) unsafe fn free_memory<H: Handle>(handle: *mut H) {
    if !handle.is_null() {
        // SAFETY: not NULL, so a live handle by the contract of this function.
        unsafe { release(handle, |_| {}) };
    }
}

/// # Safety
/// `handle` is a live handle of any of our types that no other call uses.
unsafe fn release<H: Handle>(handle: *mut H, before_drop: impl FnOnce(&H::Inner)) {
    // SAFETY: a live handle by the contract of this function.
    if !unsafe { is_ours(handle) } {
        return;
    }
    let tagged = handle.cast::<Tagged<H::Inner>>();
    // SAFETY: the tag says that `into_raw` made it. Volatile, so that the write outlives the object where
    // the allocator leaves the memory as it is, and a second free is then noticed.
    unsafe { (*tagged).tag.as_ptr().write_volatile(FREED) };
    // SAFETY: `into_raw` made it from an `Arc` of this type, and the caller gives up the only handle.
    let owned = unsafe { Arc::from_raw(tagged) };
    // A panic in a destructor has nowhere to be reported to; it must not unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        before_drop(&owned.inner);
        drop(owned);
    }));
}

/// # Safety
/// `handle` is not NULL and points to a live handle of any of our types.
unsafe fn is_ours<H: Handle>(handle: *const H) -> bool {
    let tagged = handle.cast::<Tagged<H::Inner>>();
    // SAFETY: every handle begins with a tag, and the address was found to be aligned.
    tagged.is_aligned() && unsafe { (&raw const (*tagged).tag).cast::<u64>().read() } == H::TAG
}
