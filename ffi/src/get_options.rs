//! `sandboxset_get_options`.

use std::time::Duration;

use sandboxset::{Acquire, GetOptions, Result};

use crate::binding::{self, sandboxset_late_binding};
use crate::boundary::Caller;
use crate::cancel::sandboxset_cancel;
use crate::options::{self, Plain};
use crate::text::{to_bool, unknown};

/// For a get: an idle sandbox if there is one, else a new one.
pub const SANDBOXSET_ACQUIRE_ANY: u32 = 0;
/// For a get: only a sandbox that exists already; waits for a put rather than create.
pub const SANDBOXSET_ACQUIRE_REUSE_ONLY: u32 = 1;
/// For a get: only a sandbox that nobody held before.
pub const SANDBOXSET_ACQUIRE_FRESH_ONLY: u32 = 2;

/// A time in milliseconds that stands for the set's own default.
pub const SANDBOXSET_DEFAULT_MS: u64 = u64::MAX;
/// A time in milliseconds that never passes.
pub const SANDBOXSET_FOREVER_MS: u64 = u64::MAX - 1;

/// Options of one sandboxset_get_or_create_unpaused. Initialise it with sandboxset_get_options_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_get_options {
    /// sizeof(sandboxset_get_options).
    pub struct_size: usize,
    /// Milliseconds to wait: SANDBOXSET_DEFAULT_MS, the default, is the set's get_timeout_ms; 0 is one try without
    /// waiting.
    pub timeout_ms: u64,
    /// 1 to fail with SANDBOXSET_EXHAUSTED instead of waiting when nothing is idle and nothing may be created;
    /// default 0.
    pub no_wait: u32,
    /// Which sandboxes will do: SANDBOXSET_ACQUIRE_ANY (the default), _REUSE_ONLY or _FRESH_ONLY.
    pub acquire: u32,
    /// Ends the wait early; NULL, the default, for nothing.
    pub cancel: *const sandboxset_cancel,
    /// What this holder gets on top of the spec, bound after the wait, within 5 s; NULL, the default, for nothing.
    pub binding: *const sandboxset_late_binding,
}

// SAFETY: repr(C), size first, integers and a raw pointer, no padding.
unsafe impl Plain for sandboxset_get_options {
    const FIRST_SIZE: usize = 40;

    fn defaults() -> Self {
        sandboxset_get_options {
            struct_size: size_of::<Self>(),
            timeout_ms: SANDBOXSET_DEFAULT_MS,
            no_wait: 0,
            acquire: SANDBOXSET_ACQUIRE_ANY,
            cancel: std::ptr::null(),
            binding: std::ptr::null(),
        }
    }
}

/// Fills the options with their defaults. `struct_size` is sizeof(sandboxset_get_options).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_get_options_init(
    get_options: *mut sandboxset_get_options,
    struct_size: usize,
) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(get_options, struct_size) };
}

/// Gets with the options that C gave. Most give none, and then nothing of their size is moved about.
#[inline]
pub(crate) fn with<T>(
    caller: &Caller,
    get_options: *const sandboxset_get_options,
    get: impl Fn(&GetOptions) -> Result<T>,
) -> Result<T> {
    if get_options.is_null() { get(&GetOptions::default()) } else { get(&read(caller, get_options)?) }
}

/// The options that C gave.
pub(crate) fn read(caller: &Caller, get_options: *const sandboxset_get_options) -> Result<GetOptions> {
    if get_options.is_null() {
        return Ok(GetOptions::default());
    }
    let from = caller.required_options(get_options, "options")?;
    let mut options = GetOptions::default();
    if from.timeout_ms != SANDBOXSET_DEFAULT_MS {
        options.timeout = Some(Duration::from_millis(from.timeout_ms));
    }
    options.no_wait = to_bool(from.no_wait, "no_wait")?;
    options.acquire = match from.acquire {
        SANDBOXSET_ACQUIRE_ANY => Acquire::Any,
        SANDBOXSET_ACQUIRE_REUSE_ONLY => Acquire::ReuseOnly,
        SANDBOXSET_ACQUIRE_FRESH_ONLY => Acquire::FreshOnly,
        other => return Err(unknown(other, "acquire", "SANDBOXSET_ACQUIRE_")),
    };
    options.cancel = caller.borrow_optional(from.cancel, "cancel")?.cloned();
    if !from.binding.is_null() {
        options.binding = Some(binding::read(caller, from.binding)?);
    }
    Ok(options)
}
