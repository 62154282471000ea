//! `sandboxset_ref`: its life and what it knows. What is done in its sandbox is in `ref_calls.rs` and `ref_files.rs`.

use std::ffi::{CString, c_char, c_void};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::OnceLock;

use sandboxset::{SandboxRef, SandboxState};

use crate::code::sandboxset_code;
use crate::completion::sandboxset_done_fn;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::text::to_c_string;
use crate::usage::{self, sandboxset_usage, to_ns};

/// The state of a ref's sandbox: running, in the hands of this holder.
pub const SANDBOXSET_STATE_HELD: u32 = 0;
/// The state of a ref's sandbox: dead.
pub const SANDBOXSET_STATE_DEAD: u32 = 1;
/// The state of a ref's sandbox: this ref was put or destroyed.
pub const SANDBOXSET_STATE_STALE: u32 = 2;
/// The state of a ref's sandbox: one that this version of the library has no number for.
pub const SANDBOXSET_STATE_OTHER: u32 = 255;

/// One caller's hold on one sandbox, from a get until put or destroy, exactly once. Thread-safe. A second put or
/// destroy, and any use after the first, changes nothing and is SANDBOXSET_STALE_REF. It may outlive its set.
pub struct sandboxset_ref {
    _opaque: (),
}

/// A ref, and the paths that C borrowed from it. Boxed, because they are rare and refs are to be small.
pub(crate) struct Held {
    pub(crate) sandbox: SandboxRef,
    paths: OnceLock<Box<Paths>>,
}

struct Paths {
    scratch_dir: CString,
    host_scratch_dir: Option<CString>,
}

handle!(sandboxset_ref, Held, b"ss_ref\0\0");

/// Called once with a sandbox, NULL on an error. It is ended by put or destroy, and freed with sandboxset_ref_free.
pub type sandboxset_ref_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        sandbox: *mut sandboxset_ref,
        error: *mut sandboxset_error,
    ),
>;

/// Makes the object that C gets.
pub(crate) fn into_raw(sandbox: SandboxRef) -> *mut sandboxset_ref {
    handle::into_raw(Held { sandbox, paths: OnceLock::new() })
}

/// Gives the sandbox back: paused and idle, or straight to the oldest waiter. One that cannot be reused is
/// destroyed instead, without an error. The handle stays valid, but stale, until sandboxset_ref_free.
/// Errors: SANDBOXSET_STALE_REF for a second put, or a put after destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_put(
    sandbox: *const sandboxset_ref,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { caller.borrow(sandbox, "sandbox")?.sandbox.put() })
}

/// As sandboxset_ref_put, without waiting for the pause. The ref is stale when this returns SANDBOXSET_OK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_put_async(
    sandbox: *const sandboxset_ref,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let completion = caller.completion(callback, user_data)?;
        held.sandbox.put_then(move |result| completion.end(result))
    })
}

/// Ends the sandbox. The reason, UTF-8, is kept and shown by later errors. Does not wait for the teardown. The
/// handle stays valid, but stale, until sandboxset_ref_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_destroy(
    sandbox: *const sandboxset_ref,
    reason: *const c_char,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        held.sandbox.destroy(caller.text(reason, "reason")?)
    })
}

/// Marks the sandbox as not reusable: its put will destroy it, for this reason, UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_taint(
    sandbox: *const sandboxset_ref,
    reason: *const c_char,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        held.sandbox.taint(caller.text(reason, "reason")?);
        Ok(())
    })
}

/// Answers the id of the sandbox, never 0 and never reused in this process. Works after put and destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_id(
    sandbox: *const sandboxset_ref,
    out_id: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        caller.out(out_id, "out_id")?.write(held.sandbox.id().get());
        Ok(())
    })
}

/// Answers the scratch dir as the sandbox's own processes see it. Borrowed from the ref.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_scratch_dir(
    sandbox: *const sandboxset_ref,
    out_path: *mut *const c_char,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_path, "out_path")?;
        out.write(held.paths().scratch_dir.as_ptr());
        Ok(())
    })
}

/// Answers the scratch dir on the host, or NULL if it is no directory of the host. Borrowed from the ref.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_host_scratch_dir(
    sandbox: *const sandboxset_ref,
    out_path: *mut *const c_char,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let out = caller.out(out_path, "out_path")?;
        let path = held.paths().host_scratch_dir.as_ref();
        out.write(path.map_or(std::ptr::null(), |path| path.as_ptr()));
        Ok(())
    })
}

/// Answers the state of the sandbox for this holder: SANDBOXSET_STATE_*. New states may be added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_state(
    sandbox: *const sandboxset_ref,
    out_state: *mut u32,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        let state = match held.sandbox.state() {
            SandboxState::Held => SANDBOXSET_STATE_HELD,
            SandboxState::Dead => SANDBOXSET_STATE_DEAD,
            SandboxState::Stale => SANDBOXSET_STATE_STALE,
            _ => SANDBOXSET_STATE_OTHER,
        };
        caller.out(out_state, "out_state")?.write(state);
        Ok(())
    })
}

/// Answers how often the sandbox was handed out, this time included: 1 means that nobody held it before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_uses(
    sandbox: *const sandboxset_ref,
    out_uses: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        caller.out(out_uses, "out_uses")?.write(held.sandbox.uses());
        Ok(())
    })
}

/// Answers the nanoseconds since the sandbox became ready.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_age(
    sandbox: *const sandboxset_ref,
    out_age_ns: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        caller.out(out_age_ns, "out_age_ns")?.write(to_ns(held.sandbox.age()));
        Ok(())
    })
}

/// Fills `usage` with what the sandbox uses now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_get_usage(
    sandbox: *const sandboxset_ref,
    usage: *mut sandboxset_usage,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let held = caller.borrow(sandbox, "sandbox")?;
        usage::fill(caller, usage, &held.sandbox.usage()?)
    })
}

/// Frees the handle and all that was borrowed from it. A sandbox that was neither put nor destroyed is destroyed,
/// because nobody said that it is fit for reuse. Does not wait. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_ref_free(sandbox: *mut sandboxset_ref) {
    let destroy = |held: &Held| {
        // Asked first, because a stale ref is the normal case and an error costs more than a whole put.
        if held.sandbox.state() != SandboxState::Stale {
            // Only another thread's put or destroy can make this fail, and then the sandbox is in good hands.
            let _ = held.sandbox.destroy("freed without put");
        }
    };
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(sandbox, destroy) };
}

impl Held {
    fn paths(&self) -> &Paths {
        self.paths.get_or_init(|| {
            let on_host = self.sandbox.host_scratch_dir();
            Box::new(Paths {
                scratch_dir: to_c_string(self.sandbox.scratch_dir().as_os_str().as_bytes()),
                host_scratch_dir: on_host.map(|path| to_c_string(path.into_os_string().into_vec())),
            })
        })
    }
}
