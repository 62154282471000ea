//! `sandboxset_tally`.

use std::ffi::{CString, c_char};

use sandboxset::Error;

use crate::code::sandboxset_code;
use crate::error::sandboxset_error;
use crate::handle::{self, handle};
use crate::text::to_c_string;

/// A list of texts, each with a count. Immutable.
pub struct sandboxset_tally {
    _opaque: (),
}

handle!(sandboxset_tally, Vec<(CString, u64)>, b"ss_tally");

/// Answers how many texts there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tally_count(
    tally: *const sandboxset_tally,
    out_count: *mut usize,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let tally = caller.borrow(tally, "tally")?;
        caller.out(out_count, "out_count")?.write(tally.len());
        Ok(())
    })
}

/// Answers the text at `index`, counted from 0, borrowed from the tally, and its count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tally_at(
    tally: *const sandboxset_tally,
    index: usize,
    out_text: *mut *const c_char,
    out_times: *mut u64,
    out_error: *mut *mut sandboxset_error,
) -> sandboxset_code {
    boundary!(out_error, |caller| {
        let tally = caller.borrow(tally, "tally")?;
        let Some((text, times)) = tally.get(index) else {
            return Err(Error::invalid("index", format_args!("{index} is not below {}", tally.len())));
        };
        let out_text = caller.out(out_text, "out_text")?;
        caller.out(out_times, "out_times")?.write(*times);
        out_text.write(text.as_ptr());
        Ok(())
    })
}

/// Frees the tally and all that was borrowed from it. Accepts NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sandboxset_tally_free(tally: *mut sandboxset_tally) {
    // SAFETY: by the header's calling convention.
    unsafe { handle::free(tally, |_| {}) };
}

/// Makes the object that C gets.
pub(crate) fn into_raw(texts: impl IntoIterator<Item = (String, u64)>) -> *mut sandboxset_tally {
    handle::into_raw(texts.into_iter().map(|(text, times)| (to_c_string(text), times)).collect())
}
