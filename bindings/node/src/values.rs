//! Values as the facade passes them, which has checked them: sizes are whole numbers from 0 on, times milliseconds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use napi::bindgen_prelude::{Either, Uint8Array};

/// What the operating system takes as a name: text, or bytes where it is none.
pub(crate) type Name = Either<String, Uint8Array>;

pub(crate) fn os_string(name: Name) -> OsString {
    match name {
        Either::A(text) => text.into(),
        Either::B(bytes) => OsString::from_vec(bytes.to_vec()),
    }
}

pub(crate) fn path(name: Name) -> PathBuf {
    os_string(name).into()
}

pub(crate) fn os_strings(names: Vec<Name>) -> Vec<OsString> {
    names.into_iter().map(os_string).collect()
}

pub(crate) fn paths(names: Option<Vec<Name>>) -> Vec<PathBuf> {
    names.unwrap_or_default().into_iter().map(path).collect()
}

/// Variables, which come as names and values in turn.
pub(crate) fn environment(names: Option<Vec<Name>>) -> Vec<(OsString, OsString)> {
    let mut names = names.unwrap_or_default().into_iter().map(os_string);
    let mut variables = Vec::new();
    while let (Some(name), Some(value)) = (names.next(), names.next()) {
        variables.push((name, value));
    }
    variables
}

pub(crate) fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or(Duration::MAX)
}

pub(crate) fn millis_or(value: Option<f64>, default: Duration) -> Duration {
    value.map_or(default, millis)
}

pub(crate) fn as_millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
