//! Strings from and for C.

use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sandboxset::{Error, Result};

use crate::boundary::{Caller, is_null};

/// The most entries of an argument or environment list; a longer one surely lacks its final NULL.
const MAX_LIST: usize = 1 << 20;

impl Caller {
    /// A text of the caller's, which must be UTF-8.
    pub(crate) fn text(&self, text: *const c_char, parameter: &'static str) -> Result<&str> {
        self.c_str(text, parameter)?
            .to_str()
            .map_err(|error| Error::invalid(parameter, format_args!("is not UTF-8: {error}")))
    }

    /// A path of the caller's: any bytes.
    pub(crate) fn path(&self, path: *const c_char, parameter: &'static str) -> Result<&Path> {
        let bytes = self.c_str(path, parameter)?.to_bytes();
        if bytes.is_empty() {
            return Err(Error::invalid(parameter, "is empty"));
        }
        Ok(Path::new(OsStr::from_bytes(bytes)))
    }

    /// A path of the caller's, or NULL.
    pub(crate) fn optional_path(
        &self,
        path: *const c_char,
        parameter: &'static str,
    ) -> Result<Option<PathBuf>> {
        if path.is_null() { Ok(None) } else { self.path(path, parameter).map(|path| Some(path.to_owned())) }
    }

    /// A list of strings that ends with NULL. A NULL list is an empty one.
    pub(crate) fn list(&self, list: *const *const c_char, parameter: &'static str) -> Result<Vec<OsString>> {
        let mut strings = Vec::new();
        if list.is_null() {
            return Ok(strings);
        }
        loop {
            // SAFETY: what an argument of this call points to, see `Caller`; the final NULL was not reached yet.
            let string = unsafe { list.add(strings.len()).read_unaligned() };
            if string.is_null() {
                return Ok(strings);
            }
            if strings.len() == MAX_LIST {
                return Err(Error::invalid(parameter, format_args!("has more than {MAX_LIST} entries")));
            }
            strings.push(OsStr::from_bytes(self.c_str(string, parameter)?.to_bytes()).to_owned());
        }
    }

    /// A list of `KEY=VALUE` strings that ends with NULL.
    pub(crate) fn env(
        &self,
        list: *const *const c_char,
        parameter: &'static str,
    ) -> Result<Vec<(OsString, OsString)>> {
        let pair = |entry: OsString| {
            let bytes = entry.as_bytes();
            let Some(split) = bytes.iter().position(|byte| *byte == b'=') else {
                return Err(Error::invalid(
                    parameter,
                    format_args!("{entry:?} is not of the form KEY=VALUE"),
                ));
            };
            let part = |bytes| OsStr::from_bytes(bytes).to_owned();
            Ok((part(&bytes[..split]), part(&bytes[split + 1..])))
        };
        self.list(list, parameter)?.into_iter().map(pair).collect()
    }

    fn c_str(&self, text: *const c_char, parameter: &str) -> Result<&CStr> {
        if text.is_null() {
            return Err(is_null(parameter));
        }
        // SAFETY: an argument of this call, see `Caller`, or what one points to; the convention is a final NUL.
        Ok(unsafe { CStr::from_ptr(text) })
    }
}

/// A text of ours for C. Texts of ours hold no NUL; if one did, it ends there.
pub(crate) fn to_c_string(text: impl Into<Vec<u8>>) -> CString {
    let mut bytes = text.into();
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    CString::new(bytes).unwrap_or_default()
}

/// A size or count from C.
pub(crate) fn to_usize(value: u64, parameter: &'static str) -> Result<usize> {
    usize::try_from(value).map_err(|_| Error::invalid(parameter, format_args!("{value} is too large")))
}

/// A field that must be 0, because it has no meaning yet.
pub(crate) fn check_reserved(value: u32, parameter: &'static str) -> Result<()> {
    if value == 0 { Ok(()) } else { Err(Error::invalid(parameter, "must be 0")) }
}

/// A yes or no from C, which is an integer there so that a stray value is an error.
pub(crate) fn to_bool(value: u32, parameter: &'static str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::invalid(parameter, format_args!("{other} is neither 0 nor 1"))),
    }
}

/// The error for an enumeration's value that has no meaning.
pub(crate) fn unknown(value: u32, parameter: &'static str, prefix: &str) -> Error {
    Error::invalid(parameter, format_args!("{value} is none of {prefix}*"))
}
