//! `sandboxset`, the set.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use ::sandboxset::{Error, ErrorCode, Phase, Result, SandboxSet};

use crate::backend::sandboxset_backend;
use crate::code::sandboxset_code;
use crate::completion::{Callback, sandboxset_done_fn};
use crate::config::{self, sandboxset_config};
use crate::error::sandboxset_error;
use crate::event::sandboxset_event_stream;
use crate::get_options::{self, sandboxset_get_options};
use crate::handle::{self, handle};
use crate::report::{self, sandboxset_report};
use crate::sandbox_ref::{self, sandboxset_ref, sandboxset_ref_fn};
use crate::spec::{self, sandboxset_spec};
use crate::stats::{self, sandboxset_stats};
use crate::tally::{self, sandboxset_tally};
use crate::text::to_usize;

/// A set: all sandboxes of one function. Thread-safe.
pub struct sandboxset {
    _opaque: (),
}

handle!(sandboxset, SandboxSet, b"ss_set\0\0");

/// Called once with a set, NULL on an error. It is freed with sandboxset_free. See ASYNCHRONOUS CALLS.
pub type sandboxset_set_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        set: *mut sandboxset,
        error: *mut sandboxset_error,
    ),
>;

/// Called once with the number of idle sandboxes, 0 on an error.
pub type sandboxset_prewarm_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        idle: u64,
        error: *mut sandboxset_error,
    ),
>;

/// Called once with how many sandboxes were destroyed, and with a tally of the survivors, NULL on an error, which is
/// freed with sandboxset_tally_free.
pub type sandboxset_close_report_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        destroyed: u64,
        survivors: *mut sandboxset_tally,
        error: *mut sandboxset_error,
    ),
>;

/// Makes a set of sandboxes that `backend` makes from `spec`. It makes none yet, unless min_idle asks for it.
/// `spec` and `config` may be NULL for the defaults. Free it with sandboxset_free, preferably after
/// sandboxset_close.
///
/// With a parent in the config, one parent is shared by many children; the parent set grows when forks queue, within
/// its max_size, and counts a time of forking as a get and a put. A fork that the parent is to blame for is tried
/// once more on another, and the parent is destroyed. Where no parent can be had, a create fails with
/// SANDBOXSET_FORK_FAILED and the cause. A parent that is destroyed, by whatever rule, is torn down when its last
/// child is gone; up to max_size of them may exist besides the others. Once the parent set drains or is closed, no
/// more is forked; its close waits for the children until its deadline, and then names the parents as survivors. A
/// parent that dies takes its children with it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_new(
    backend: *const sandboxset_backend,
    spec: *const sandboxset_spec,
    config: *const sandboxset_config,
    out_set: *mut *mut sandboxset,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let backend = caller.borrow(backend, "backend")?;
        let out = caller.out(out_set, "out_set")?;
        let spec = spec::read(caller, spec)?;
        let config = config::read(caller, config)?;
        let set = SandboxSet::new(Arc::clone(&backend.backend), spec, config)?;
        out.write(handle::into_raw(set));
        Ok(())
    })
}

/// As sandboxset_new, without waiting for an image to be unpacked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_new_async(
    backend: *const sandboxset_backend,
    spec: *const sandboxset_spec,
    config: *const sandboxset_config,
    callback: sandboxset_set_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let backend = Arc::clone(&caller.borrow(backend, "backend")?.backend);
        let spec = spec::read(caller, spec)?;
        let config = config::read(caller, config)?;
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Configure, move || SandboxSet::new(backend, spec, config).map(handle::into_raw))
    })
}

/// Answers a running sandbox: the most recently used idle one, else a new one, else the first that comes free.
/// Blocks, at most as long as the options say; NULL options are all defaults. The ref is the caller's to end with
/// sandboxset_ref_put or sandboxset_ref_destroy, and then to free with sandboxset_ref_free.
/// Errors: SANDBOXSET_TIMEOUT (its message says what was waited for), _CANCELLED, _CLOSED, _EXHAUSTED,
/// _OVERLOADED, _CREATE_FAILED and others of the backend's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_get_or_create_unpaused(
    set: *const sandboxset,
    options: *const sandboxset_get_options,
    out_ref: *mut *mut sandboxset_ref,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let out = caller.out(out_ref, "out_ref")?;
        let sandbox = get_options::with(caller, options, |options| set.get_or_create_unpaused(options))?;
        out.write(sandbox_ref::into_raw(sandbox));
        Ok(())
    })
}

/// As sandboxset_get_or_create_unpaused, without waiting: it has its place in the queue, among all who wait, when this
/// returns. No thread waits for it, so that there may be as many as max_waiters.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_get_or_create_unpaused_async(
    set: *const sandboxset,
    options: *const sandboxset_get_options,
    callback: sandboxset_ref_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let options = get_options::read(caller, options)?;
        let completion = caller.completion(callback, user_data)?;
        let done = move |result: Result<_>| completion.end(result.map(sandbox_ref::into_raw));
        set.get_or_create_unpaused_then(options, done)
    })
}

/// Makes idle sandboxes until there are `count`, or until the set is full. Waits for them, at most `timeout_ms`
/// milliseconds, and answers how many are idle then. `out_idle` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_prewarm(
    set: *const sandboxset,
    count: u64,
    timeout_ms: u64,
    out_idle: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let idle = set.prewarm(to_usize(count, "count")?, Duration::from_millis(timeout_ms))?;
        if let Ok(out) = caller.out(out_idle, "out_idle") {
            out.write(idle as u64);
        }
        Ok(())
    })
}

/// As sandboxset_prewarm, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_prewarm_async(
    set: *const sandboxset,
    count: u64,
    timeout_ms: u64,
    callback: sandboxset_prewarm_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?.clone();
        let count = to_usize(count, "count")?;
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        completion.run(Phase::Create, move || Ok(set.prewarm(count, timeout)? as u64))
    })
}

/// Destroys idle sandboxes, least recently used first, until `keep` are left. Answers how many it destroyed.
/// `out_destroyed` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_shrink(
    set: *const sandboxset,
    keep: u64,
    out_destroyed: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let destroyed = set.shrink(to_usize(keep, "keep")?)?;
        if let Ok(out) = caller.out(out_destroyed, "out_destroyed") {
            out.write(destroyed as u64);
        }
        Ok(())
    })
}

/// Stops admission and waits for the holders, at most `deadline_ms` milliseconds. Idempotent.
/// Errors: SANDBOXSET_TIMEOUT if some are left; the set stays draining.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_drain(
    set: *const sandboxset,
    deadline_ms: u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { caller.borrow(set, "set")?.drain(Duration::from_millis(deadline_ms)) })
}

/// As sandboxset_drain, without waiting. It may be the worker that begins the drain, after this has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_drain_async(
    set: *const sandboxset,
    deadline_ms: u64,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?.clone();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Close, move || set.drain(Duration::from_millis(deadline_ms)))
    })
}

/// Fails waiters with SANDBOXSET_CLOSED, destroys idle sandboxes at once and held ones at their put or at the
/// deadline, in milliseconds, and waits for all of it. Idempotent. The handle stays valid until sandboxset_free.
/// Errors: SANDBOXSET_TIMEOUT if a sandbox survived; the message says which and why.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_close(
    set: *const sandboxset,
    deadline_ms: u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| { close(caller.borrow(set, "set")?, deadline_ms) })
}

/// As sandboxset_close, without waiting. It may be the worker that begins the close, after this has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_close_async(
    set: *const sandboxset,
    deadline_ms: u64,
    callback: sandboxset_done_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?.clone();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Close, move || close(&set, deadline_ms))
    })
}

/// As sandboxset_close, but survivors are an answer instead of an error: a tally of their states and reasons, to
/// be freed with sandboxset_tally_free. `out_destroyed`, how many were destroyed, may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_close_report(
    set: *const sandboxset,
    deadline_ms: u64,
    out_destroyed: *mut u64,
    out_survivors: *mut *mut sandboxset_tally,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let out = caller.out(out_survivors, "out_survivors")?;
        let (destroyed, survivors) = close_report(set, deadline_ms)?;
        if let Ok(out) = caller.out(out_destroyed, "out_destroyed") {
            out.write(destroyed);
        }
        out.write(survivors);
        Ok(())
    })
}

/// As sandboxset_close_report, without waiting. It may be the worker that begins the close, after this has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_close_report_async(
    set: *const sandboxset,
    deadline_ms: u64,
    callback: sandboxset_close_report_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?.clone();
        let completion = caller.completion(callback, user_data)?;
        completion.run(Phase::Close, move || close_report(&set, deadline_ms))
    })
}

/// Fills `stats` with a snapshot taken under one lock. Works after close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_get_stats(
    set: *const sandboxset,
    stats: *mut sandboxset_stats,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        caller.fill(stats, stats::from_core(&set.stats()), "stats")
    })
}

/// Answers why sandboxes were destroyed: each reason with how often, in no particular order. Free it with
/// sandboxset_tally_free. Works after close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_destroy_reasons(
    set: *const sandboxset,
    out_reasons: *mut *mut sandboxset_tally,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let out = caller.out(out_reasons, "out_reasons")?;
        out.write(tally::into_raw(set.stats().destroyed_by));
        Ok(())
    })
}

/// Subscribes to what happens in the set from now on. At most `capacity` unread events are kept. Free the stream
/// with sandboxset_event_stream_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_events(
    set: *const sandboxset,
    capacity: u64,
    out_stream: *mut *mut sandboxset_event_stream,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let out = caller.out(out_stream, "out_stream")?;
        out.write(handle::into_raw(set.events(to_usize(capacity, "capacity")?)?));
        Ok(())
    })
}

/// Reports what isolation the sandboxes of this set reach on this host. Free it with sandboxset_report_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_isolation_report(
    set: *const sandboxset,
    out_report: *mut *mut sandboxset_report,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let set = caller.borrow(set, "set")?;
        let out = caller.out(out_report, "out_report")?;
        out.write(report::into_raw(&set.isolation_report()));
        Ok(())
    })
}

/// Frees the handle. A set that was not closed is closed, without waiting for it; refs that are still held stay
/// usable until they are put. Gets that wait are SANDBOXSET_CLOSED. A prewarm, drain or close that is under way goes on,
/// and the set is closed at its end. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_free(set: *mut sandboxset) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(set, |_| {}) };
}

fn close(set: &SandboxSet, deadline_ms: u64) -> Result<()> {
    let report = set.close(Duration::from_millis(deadline_ms))?;
    if report.survivors.is_empty() {
        return Ok(());
    }
    let message = format!("sandboxes survived the close: {}", report.survivors.join("; "));
    Err(Error::new(ErrorCode::Timeout, Phase::Close, message))
}

fn close_report(set: &SandboxSet, deadline_ms: u64) -> Result<(u64, *mut sandboxset_tally)> {
    let report = set.close(Duration::from_millis(deadline_ms))?;
    let survivors = report.survivors.into_iter().map(|survivor| (survivor, 1));
    Ok((report.destroyed as u64, tally::into_raw(survivors)))
}

impl Callback for unsafe extern "C" fn(*mut c_void, sandboxset_code, u64, *mut sandboxset_error) {
    type Value = u64;

    unsafe fn call(
        self,
        user_data: *mut c_void,
        code: sandboxset_code,
        value: Option<u64>,
        error: *mut sandboxset_error,
    ) {
        // SAFETY: by the contract of this function.
        unsafe { self(user_data, code, value.unwrap_or(0), error) };
    }
}

impl Callback
    for unsafe extern "C" fn(*mut c_void, sandboxset_code, u64, *mut sandboxset_tally, *mut sandboxset_error)
{
    type Value = (u64, *mut sandboxset_tally);

    unsafe fn call(
        self,
        user_data: *mut c_void,
        code: sandboxset_code,
        value: Option<Self::Value>,
        error: *mut sandboxset_error,
    ) {
        let (destroyed, survivors) = value.unwrap_or((0, std::ptr::null_mut()));
        // SAFETY: by the contract of this function.
        unsafe { self(user_data, code, destroyed, survivors, error) };
    }
}
