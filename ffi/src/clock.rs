//! `sandboxset_clock`.

use std::sync::Arc;
use std::time::Duration;

use sandboxset::ManualClock;

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};

/// A clock for tests, which stands still until it is advanced. A set takes its time from it if its
/// sandboxset_config says so, and keeps what it needs of it, so it may be freed before the set. Thread-safe.
pub struct sandboxset_clock {
    _opaque: (),
}

handle!(sandboxset_clock, Arc<ManualClock>, b"ss_clock");

/// Makes a clock at zero. Free it with sandboxset_clock_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_clock_new(
    out_clock: *mut *mut sandboxset_clock,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let out = caller.out(out_clock, "out_clock")?;
        out.write(handle::into_raw(ManualClock::new()));
        Ok(())
    })
}

/// Moves the clock forward by milliseconds and runs everything whose deadline has come.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_clock_advance(
    clock: *const sandboxset_clock,
    by_ms: u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        caller.borrow(clock, "clock")?.advance(Duration::from_millis(by_ms));
        Ok(())
    })
}

/// Frees the handle. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_clock_free(clock: *mut sandboxset_clock) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(clock, |_| {}) };
}
