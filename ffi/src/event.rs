//! `sandboxset_event_stream` and `sandboxset_event`.

use std::ffi::{CString, c_char, c_void};
use std::time::Duration;

use sandboxset::{Event, EventKind, EventStream, Phase};

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::options::Plain;
use crate::text::to_c_string;

/// An event: the sandbox was created and is usable.
pub const SANDBOXSET_EVENT_CREATE: u32 = 0;
/// An event: the sandbox is about to be unpaused.
pub const SANDBOXSET_EVENT_UNPAUSE: u32 = 1;
/// An event: the sandbox was paused.
pub const SANDBOXSET_EVENT_PAUSE: u32 = 2;
/// An event: the holder put the sandbox back.
pub const SANDBOXSET_EVENT_PUT: u32 = 3;
/// An event: the sandbox was destroyed; the text is the reason.
pub const SANDBOXSET_EVENT_DESTROY: u32 = 4;
/// An event: an operation on the sandbox failed; the text says how.
pub const SANDBOXSET_EVENT_FAULT: u32 = 5;
/// An event: `lost` events were dropped here, because the stream was not read in time.
pub const SANDBOXSET_EVENT_LOST: u32 = 6;
/// An event: the sandbox was reset after a put; the text says what was verified from outside.
pub const SANDBOXSET_EVENT_RESET: u32 = 7;
/// An event: the sandbox `child_id` of another set was forked from this one.
pub const SANDBOXSET_EVENT_FORK: u32 = 8;
/// An event that this version of the library has no number for.
pub const SANDBOXSET_EVENT_OTHER: u32 = 255;

/// The events of one set from the moment of subscription. Bounded: a slow reader loses the oldest and is told.
/// Thread-safe; every event goes to one reader. It may outlive the set.
pub struct sandboxset_event_stream {
    _opaque: (),
}

handle!(sandboxset_event_stream, EventStream, b"ss_evstr");

/// One thing that happened to one sandbox. Immutable.
pub struct sandboxset_event {
    _opaque: (),
}

/// An event with its text as C wants it.
pub(crate) struct EventText {
    event: Event,
    text: CString,
}

handle!(sandboxset_event, EventText, b"ss_event");

/// Called once with an event, NULL if none came in time. It is freed with sandboxset_event_free.
pub type sandboxset_event_fn = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        code: sandboxset_code,
        event: *mut sandboxset_event,
        error: *mut sandboxset_error,
    ),
>;

/// What an event says. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_event_info {
    /// sizeof(sandboxset_event_info).
    pub struct_size: usize,
    /// Counts every event of the set from 1; a gap is a loss.
    pub sequence: u64,
    /// The sandbox, as sandboxset_ref_id answers it.
    pub sandbox_id: u64,
    /// How many events were lost, for SANDBOXSET_EVENT_LOST; else 0.
    pub lost: u64,
    /// The reason of a destroy, the text of a fault or what a reset verified, else "". Borrowed from the event.
    pub text: *const c_char,
    /// SANDBOXSET_EVENT_*. New kinds may be added.
    pub kind: u32,
    /// 0.
    pub reserved: u32,
    /// The child of SANDBOXSET_EVENT_FORK; else 0.
    pub child_id: u64,
}

// SAFETY: repr(C), size first, integers and a raw pointer, padding spelled out.
unsafe impl Plain for sandboxset_event_info {
    const FIRST_SIZE: usize = 56;

    fn defaults() -> Self {
        sandboxset_event_info {
            struct_size: size_of::<Self>(),
            sequence: 0,
            sandbox_id: 0,
            lost: 0,
            text: c"".as_ptr(),
            kind: SANDBOXSET_EVENT_OTHER,
            reserved: 0,
            child_id: 0,
        }
    }
}

/// Waits at most `timeout_ms` milliseconds for the next event. Answers NULL if none came in time, or if the set is
/// closed and all were read; that is no error. Free the event with sandboxset_event_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_event_stream_next(
    stream: *const sandboxset_event_stream,
    timeout_ms: u64,
    out_event: *mut *mut sandboxset_event,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let stream = caller.borrow(stream, "stream")?;
        let out = caller.out(out_event, "out_event")?;
        out.write(into_raw(stream.next(Duration::from_millis(timeout_ms))));
        Ok(())
    })
}

/// As sandboxset_event_stream_next, without waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_event_stream_next_async(
    stream: *const sandboxset_event_stream,
    timeout_ms: u64,
    callback: sandboxset_event_fn,
    user_data: *mut c_void,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let stream = caller.share(stream, "stream")?;
        let completion = caller.completion(callback, user_data)?;
        let timeout = Duration::from_millis(timeout_ms);
        completion.run(Phase::Use, move || Ok(into_raw(stream.next(timeout))))
    })
}

/// Ends the subscription and frees the stream; events that were taken from it live on. A call that waits for an event
/// answers none. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_event_stream_free(stream: *mut sandboxset_event_stream) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(stream, EventStream::end) };
}

/// Fills `info`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_event_get_info(
    event: *const sandboxset_event,
    info: *mut sandboxset_event_info,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let EventText { event, text } = caller.borrow(event, "event")?;
        let (kind, lost) = match &event.kind {
            EventKind::Create => (SANDBOXSET_EVENT_CREATE, 0),
            EventKind::Unpause => (SANDBOXSET_EVENT_UNPAUSE, 0),
            EventKind::Pause => (SANDBOXSET_EVENT_PAUSE, 0),
            EventKind::Put => (SANDBOXSET_EVENT_PUT, 0),
            EventKind::Fork(_) => (SANDBOXSET_EVENT_FORK, 0),
            EventKind::Destroy(_) => (SANDBOXSET_EVENT_DESTROY, 0),
            EventKind::Fault(_) => (SANDBOXSET_EVENT_FAULT, 0),
            EventKind::Reset(_) => (SANDBOXSET_EVENT_RESET, 0),
            EventKind::Lost(lost) => (SANDBOXSET_EVENT_LOST, *lost),
            _ => (SANDBOXSET_EVENT_OTHER, 0),
        };
        let child_id = match event.kind {
            EventKind::Fork(child) => child.get(),
            _ => 0,
        };
        let value = sandboxset_event_info {
            sequence: event.sequence,
            sandbox_id: event.sandbox_id.get(),
            lost,
            text: text.as_ptr(),
            kind,
            child_id,
            ..Plain::defaults()
        };
        caller.fill(info, value, "info")
    })
}

/// Frees an event and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_event_free(event: *mut sandboxset_event) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(event, |_| {}) };
}

/// Makes the object that C gets, or NULL.
fn into_raw(event: Option<Event>) -> *mut sandboxset_event {
    let Some(event) = event else { return std::ptr::null_mut() };
    let text = match &event.kind {
        EventKind::Destroy(text) | EventKind::Fault(text) => to_c_string(text.as_str()),
        EventKind::Reset(report) => to_c_string(report.to_string()),
        _ => CString::default(),
    };
    handle::into_raw(EventText { event, text })
}
