//! The numeric results of calls.

use std::ffi::{CStr, c_char};

/// The result of a call: SANDBOXSET_OK, or what went wrong. Later versions may return codes that are not listed
/// here; numbers are never reused. How a command ended is not an error but an outcome, see SANDBOXSET_OUTCOME_*.
pub type sandboxset_code = i32;

macro_rules! names {
    ($($constant:ident => $name:literal,)*) => {
        fn name_of(code: sandboxset_code) -> &'static CStr {
            match code { $($constant => $name,)* _ => c"UNKNOWN" }
        }
    };
}

/// Success.
pub const SANDBOXSET_OK: sandboxset_code = 0;
/// An argument or option is NULL, out of range, contradictory or malformed; the error's field names it.
pub const SANDBOXSET_INVALID_ARGUMENT: sandboxset_code = 1;
/// The call does not fit the state its object is in.
pub const SANDBOXSET_INVALID_STATE: sandboxset_code = 2;
/// This backend, kernel or build cannot do what was asked.
pub const SANDBOXSET_UNSUPPORTED: sandboxset_code = 3;
/// The operating system refused.
pub const SANDBOXSET_PERMISSION_DENIED: sandboxset_code = 4;
/// The deadline passed.
pub const SANDBOXSET_TIMEOUT: sandboxset_code = 10;
/// The caller's sandboxset_cancel was cancelled.
pub const SANDBOXSET_CANCELLED: sandboxset_code = 11;
/// The set is draining or closed.
pub const SANDBOXSET_CLOSED: sandboxset_code = 12;
/// Nothing is idle and the caller asked not to wait, or to reuse only.
pub const SANDBOXSET_EXHAUSTED: sandboxset_code = 13;
/// Too many callers are waiting already.
pub const SANDBOXSET_OVERLOADED: sandboxset_code = 14;
/// The machine has no memory or count left for one more sandbox now.
pub const SANDBOXSET_NO_CAPACITY: sandboxset_code = 15;
/// The request could never fit a size limit.
pub const SANDBOXSET_TOO_BIG: sandboxset_code = 16;
/// A sandbox could not be made.
pub const SANDBOXSET_CREATE_FAILED: sandboxset_code = 20;
/// The sandbox died; the cause says of what.
pub const SANDBOXSET_SANDBOX_DEAD: sandboxset_code = 21;
/// The ref was already put or destroyed; nothing was changed.
pub const SANDBOXSET_STALE_REF: sandboxset_code = 22;
/// A parent could not be forked.
pub const SANDBOXSET_FORK_FAILED: sandboxset_code = 23;
/// The backend itself cannot be reached.
pub const SANDBOXSET_BACKEND_UNAVAILABLE: sandboxset_code = 24;
/// Creates failed repeatedly and are suspended for a while.
pub const SANDBOXSET_CIRCUIT_OPEN: sandboxset_code = 25;
/// What the runtime runs failed at a call; the runtime itself lives on.
pub const SANDBOXSET_HANDLER_FAILED: sandboxset_code = 26;
/// The calling process is a fork of the one that owns the set.
pub const SANDBOXSET_FORKED_PROCESS: sandboxset_code = 30;
/// A defect of this library.
pub const SANDBOXSET_INTERNAL: sandboxset_code = 31;

names! {
    SANDBOXSET_OK => c"OK",
    SANDBOXSET_INVALID_ARGUMENT => c"INVALID_ARGUMENT",
    SANDBOXSET_INVALID_STATE => c"INVALID_STATE",
    SANDBOXSET_UNSUPPORTED => c"UNSUPPORTED",
    SANDBOXSET_PERMISSION_DENIED => c"PERMISSION_DENIED",
    SANDBOXSET_TIMEOUT => c"TIMEOUT",
    SANDBOXSET_CANCELLED => c"CANCELLED",
    SANDBOXSET_CLOSED => c"CLOSED",
    SANDBOXSET_EXHAUSTED => c"EXHAUSTED",
    SANDBOXSET_OVERLOADED => c"OVERLOADED",
    SANDBOXSET_NO_CAPACITY => c"NO_CAPACITY",
    SANDBOXSET_TOO_BIG => c"TOO_BIG",
    SANDBOXSET_CREATE_FAILED => c"CREATE_FAILED",
    SANDBOXSET_SANDBOX_DEAD => c"SANDBOX_DEAD",
    SANDBOXSET_STALE_REF => c"STALE_REF",
    SANDBOXSET_FORK_FAILED => c"FORK_FAILED",
    SANDBOXSET_BACKEND_UNAVAILABLE => c"BACKEND_UNAVAILABLE",
    SANDBOXSET_CIRCUIT_OPEN => c"CIRCUIT_OPEN",
    SANDBOXSET_HANDLER_FAILED => c"HANDLER_FAILED",
    SANDBOXSET_FORKED_PROCESS => c"FORKED_PROCESS",
    SANDBOXSET_INTERNAL => c"INTERNAL",
}

/// The name of a code without its prefix, for example "STALE_REF"; "UNKNOWN" for a code this version does not
/// have. A static string.
#[unsafe(no_mangle)]
pub extern "C" fn sandboxset_code_name(code: sandboxset_code) -> *const c_char {
    name_of(code).as_ptr()
}

#[cfg(test)]
mod tests {
    use sandboxset::ErrorCode;

    use super::*;

    #[test]
    fn every_code_of_the_core_has_its_name_here() {
        for code in ErrorCode::ALL {
            assert_eq!(name_of(*code as i32).to_str(), Ok(code.name()));
        }
        assert_eq!(name_of(-1), c"UNKNOWN");
    }
}
