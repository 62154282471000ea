//! Scripting a mock backend.

use std::ffi::c_char;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{Error, Result};

use crate::backend::sandboxset_backend;
use crate::boundary::Caller;
use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::options::{self, Plain};
use crate::text::{check_reserved, unknown};

/// An operation of a mock: making a sandbox.
pub const SANDBOXSET_MOCK_CREATE: u32 = 0;
/// An operation of a mock: pausing a sandbox.
pub const SANDBOXSET_MOCK_PAUSE: u32 = 1;
/// An operation of a mock: unpausing a sandbox.
pub const SANDBOXSET_MOCK_UNPAUSE: u32 = 2;
/// An operation of a mock: destroying a sandbox.
pub const SANDBOXSET_MOCK_DESTROY: u32 = 3;
/// An operation of a mock: running a command.
pub const SANDBOXSET_MOCK_EXEC: u32 = 4;
/// An operation of a mock: asking whether a sandbox died.
pub const SANDBOXSET_MOCK_DEATH: u32 = 5;
/// An operation of a mock: resetting a sandbox.
pub const SANDBOXSET_MOCK_RESET: u32 = 6;
/// An operation of a mock: forking a parent.
pub const SANDBOXSET_MOCK_FORK: u32 = 7;
/// An operation of a mock: binding late what a get asked for.
pub const SANDBOXSET_MOCK_BIND: u32 = 8;
/// An operation of a mock: taking that back.
pub const SANDBOXSET_MOCK_UNBIND: u32 = 9;
/// An operation of a mock: connecting to the runtime.
pub const SANDBOXSET_MOCK_CONNECT: u32 = 10;
/// An operation of a mock: reading, writing, listing or removing a file.
pub const SANDBOXSET_MOCK_FILES: u32 = 11;

/// A fault of a mock: the call fails, with `message` as its cause.
pub const SANDBOXSET_MOCK_FAIL: u32 = 0;
/// A fault of a mock: the call blocks until sandboxset_mock_release_hangs.
pub const SANDBOXSET_MOCK_HANG: u32 = 1;
/// A fault of a mock: the sandbox dies, then the call fails.
pub const SANDBOXSET_MOCK_DIE: u32 = 2;
/// A fault of a mock: the call takes `delay_ms`, on the real clock.
pub const SANDBOXSET_MOCK_DELAY: u32 = 3;

/// What happens at a scripted call of a mock. Initialise it with sandboxset_mock_fault_init.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_mock_fault {
    /// sizeof(sandboxset_mock_fault).
    pub struct_size: usize,
    /// SANDBOXSET_MOCK_FAIL (the default), _HANG, _DIE or _DELAY.
    pub kind: u32,
    /// Must be 0.
    pub reserved: u32,
    /// UTF-8: the cause of SANDBOXSET_MOCK_FAIL; NULL, the default, for a text of ours. Copied.
    pub message: *const c_char,
    /// Milliseconds: the length of SANDBOXSET_MOCK_DELAY; default 0.
    pub delay_ms: u64,
}

// SAFETY: repr(C), size first, integers and a raw pointer, padding spelled out.
unsafe impl Plain for sandboxset_mock_fault {
    const FIRST_SIZE: usize = 32;

    fn defaults() -> Self {
        sandboxset_mock_fault {
            struct_size: size_of::<Self>(),
            kind: SANDBOXSET_MOCK_FAIL,
            reserved: 0,
            message: std::ptr::null(),
            delay_ms: 0,
        }
    }
}

/// Fills the fault with its defaults. `struct_size` is sizeof(sandboxset_mock_fault).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_fault_init(fault: *mut sandboxset_mock_fault, struct_size: usize) {
    // SAFETY: by the header's calling convention.
    unsafe { options::init(fault, struct_size) };
}

/// Scripts a fault for the `nth` call of an operation (SANDBOXSET_MOCK_CREATE and so on), counted from 1 over all
/// sandboxes of this backend. `backend` must be a mock. `fault` may be NULL for a plain failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_fault_at(
    backend: *const sandboxset_backend,
    operation: u32,
    nth: u64,
    fault: *const sandboxset_mock_fault,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        let operation = to_operation(operation)?;
        if nth == 0 {
            return Err(Error::invalid("nth", "calls are counted from 1"));
        }
        mock.fault_at(operation, nth, to_fault(caller, fault)?);
        Ok(())
    })
}

/// Scripts a fault for every call of an operation from now on; a NULL `fault` ends that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_fault_always(
    backend: *const sandboxset_backend,
    operation: u32,
    fault: *const sandboxset_mock_fault,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        let operation = to_operation(operation)?;
        let fault = if fault.is_null() { None } else { Some(to_fault(caller, fault)?) };
        mock.fault_always(operation, fault);
        Ok(())
    })
}

/// Lets every hanging call of a mock go on, now and later.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_release_hangs(
    backend: *const sandboxset_backend,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        mock(caller, backend)?.release_hangs();
        Ok(())
    })
}

/// Waits until at least `count` calls of an operation hang at once, at most `timeout_ms` milliseconds, and answers
/// whether they do: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_wait_for_hangs(
    backend: *const sandboxset_backend,
    operation: u32,
    count: u64,
    timeout_ms: u64,
    out_hanging: *mut u32,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        let operation = to_operation(operation)?;
        let hanging = caller.out(out_hanging, "out_hanging")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        hanging.write(mock.wait_for_hangs(operation, count, Duration::from_millis(timeout_ms)).into());
        Ok(())
    })
}

/// Answers how often an operation of a mock was called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_calls(
    backend: *const sandboxset_backend,
    operation: u32,
    out_calls: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        let operation = to_operation(operation)?;
        caller.out(out_calls, "out_calls")?.write(mock.calls(operation));
        Ok(())
    })
}

/// Answers how many sandboxes of a mock are alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_live(
    backend: *const sandboxset_backend,
    out_live: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        caller.out(out_live, "out_live")?.write(mock.live() as u64);
        Ok(())
    })
}

/// Answers the most sandboxes of a mock that were ever alive at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_most_live(
    backend: *const sandboxset_backend,
    out_most_live: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        caller.out(out_most_live, "out_most_live")?.write(mock.most_live() as u64);
        Ok(())
    })
}

/// Answers how many sandboxes of a mock are alive and paused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_mock_paused(
    backend: *const sandboxset_backend,
    out_paused: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let mock = mock(caller, backend)?;
        caller.out(out_paused, "out_paused")?.write(mock.paused() as u64);
        Ok(())
    })
}

fn mock(caller: &Caller, backend: *const sandboxset_backend) -> Result<&MockBackend> {
    let backend = caller.borrow(backend, "backend")?;
    backend.mock.as_ref().ok_or_else(|| Error::invalid("backend", "is not a mock"))
}

fn to_operation(operation: u32) -> Result<MockOperation> {
    match operation {
        SANDBOXSET_MOCK_CREATE => Ok(MockOperation::Create),
        SANDBOXSET_MOCK_PAUSE => Ok(MockOperation::Pause),
        SANDBOXSET_MOCK_UNPAUSE => Ok(MockOperation::Unpause),
        SANDBOXSET_MOCK_DESTROY => Ok(MockOperation::Destroy),
        SANDBOXSET_MOCK_EXEC => Ok(MockOperation::Exec),
        SANDBOXSET_MOCK_DEATH => Ok(MockOperation::Death),
        SANDBOXSET_MOCK_RESET => Ok(MockOperation::Reset),
        SANDBOXSET_MOCK_FORK => Ok(MockOperation::Fork),
        SANDBOXSET_MOCK_BIND => Ok(MockOperation::Bind),
        SANDBOXSET_MOCK_UNBIND => Ok(MockOperation::Unbind),
        SANDBOXSET_MOCK_CONNECT => Ok(MockOperation::Connect),
        SANDBOXSET_MOCK_FILES => Ok(MockOperation::Files),
        other => Err(unknown(other, "operation", "SANDBOXSET_MOCK_")),
    }
}

fn to_fault(caller: &Caller, fault: *const sandboxset_mock_fault) -> Result<MockFault> {
    let fault = caller.options(fault, "fault")?;
    check_reserved(fault.reserved, "fault.reserved")?;
    match fault.kind {
        SANDBOXSET_MOCK_FAIL if fault.message.is_null() => Ok(MockFault::Fail("scripted failure".to_owned())),
        SANDBOXSET_MOCK_FAIL => Ok(MockFault::Fail(caller.text(fault.message, "fault.message")?.to_owned())),
        SANDBOXSET_MOCK_HANG => Ok(MockFault::Hang),
        SANDBOXSET_MOCK_DIE => Ok(MockFault::Die),
        SANDBOXSET_MOCK_DELAY => Ok(MockFault::Delay(Duration::from_millis(fault.delay_ms))),
        other => Err(unknown(other, "fault.kind", "SANDBOXSET_MOCK_")),
    }
}
