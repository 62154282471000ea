//! Reading Python arguments. A wrong type is a `TypeError`, a wrong value an `InvalidArgumentError`; both name
//! the argument. Nothing is converted silently: a bool is no number, and text is no bytes.

use std::ffi::OsString;
use std::fmt::Display;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};

use crate::errors::raise;

/// An argument that the caller may have left out.
pub(crate) type Optional<'py> = Option<Bound<'py, PyAny>>;

/// The longest time that is accepted, in seconds: far beyond any use, and safe to add to any clock.
const MAX_SECONDS: f64 = 1e9;

/// A `TypeError` that names the argument, what it should be, and what it is.
pub(crate) fn wrong_type(field: &str, expected: &str, value: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{field}: expected {expected}, got {}", type_name(value)))
}

/// An `InvalidArgumentError` that names the argument.
pub(crate) fn invalid(py: Python<'_>, field: &str, message: impl Display) -> PyErr {
    raise(py, sandboxset::Error::invalid(field, message))
}

/// An integer that fits `T`. Accepts what has `__index__`, but no bool.
pub(crate) fn integer<'py, T>(field: &str, value: &Bound<'py, PyAny>) -> PyResult<T>
where
    T: TryFrom<u64> + Bounds,
{
    let number = match value.cast::<PyInt>() {
        Ok(_) if value.is_instance_of::<PyBool>() => return Err(wrong_type(field, "an int", value)),
        Ok(number) => number.clone().into_any(),
        Err(_) if value.hasattr("__index__")? => value.call_method0("__index__")?,
        Err(_) => return Err(wrong_type(field, "an int", value)),
    };
    number
        .extract::<u64>()
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| invalid(value.py(), field, format_args!("is not between 0 and {}", T::LARGEST)))
}

/// The largest value of an integer type, for messages.
pub(crate) trait Bounds {
    const LARGEST: u64;
}

impl Bounds for u32 {
    const LARGEST: u64 = u32::MAX as u64;
}

impl Bounds for u64 {
    const LARGEST: u64 = u64::MAX;
}

impl Bounds for usize {
    const LARGEST: u64 = usize::MAX as u64;
}

/// A finite number; int or float, but no bool.
pub(crate) fn number(field: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    const EXPECTED: &str = "a number";
    if let Ok(float) = value.cast::<PyFloat>() {
        return Ok(float.value());
    }
    if value.is_instance_of::<PyBool>() || !(value.is_instance_of::<PyInt>() || value.hasattr("__index__")?) {
        return Err(wrong_type(field, EXPECTED, value));
    }
    value.extract::<f64>().map_err(|_| invalid(value.py(), field, "is too large"))
}

/// A time in seconds; zero is allowed here.
pub(crate) fn seconds(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds = number(field, value)?;
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        let message = format_args!("{seconds:?} seconds is not between 0 and {MAX_SECONDS:?}");
        return Err(invalid(value.py(), field, message));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A time in seconds, or the given default for an argument that was left out.
pub(crate) fn seconds_or(field: &str, value: &Optional<'_>, default: Duration) -> PyResult<Duration> {
    value.as_ref().map_or(Ok(default), |value| seconds(field, value))
}

/// An integer, or the given default for an argument that was left out.
pub(crate) fn integer_or<T>(field: &str, value: &Optional<'_>, default: T) -> PyResult<T>
where
    T: TryFrom<u64> + Bounds,
{
    value.as_ref().map_or(Ok(default), |value| integer(field, value))
}

/// A bool and nothing that merely has a truth value.
pub(crate) fn boolean(field: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(value) => Ok(value.is_true()),
        Err(_) => Err(wrong_type(field, "a bool", value)),
    }
}

/// Text that can be encoded.
pub(crate) fn text(field: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let Ok(string) = value.cast::<PyString>() else {
        return Err(wrong_type(field, "a str", value));
    };
    match string.to_str() {
        Ok(string) => Ok(string.to_owned()),
        Err(_) => Err(invalid(value.py(), field, "contains a lone surrogate")),
    }
}

/// One of the given words.
pub(crate) fn choice<T: Copy>(
    field: &str,
    value: &Optional<'_>,
    default: T,
    choices: &[(&str, T)],
) -> PyResult<T> {
    let Some(value) = value else { return Ok(default) };
    let word = text(field, value)?;
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(*choice);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    Err(invalid(value.py(), field, format_args!("{word:?} is not one of {}", names.join(", "))))
}

/// What the operating system takes as a name: str (encoded as `os.fsencode` does), bytes, or a path object.
pub(crate) fn os_string(field: &str, value: &Bound<'_, PyAny>) -> PyResult<OsString> {
    const EXPECTED: &str = "str, bytes or os.PathLike";
    if value.is_instance_of::<PyString>() {
        return value
            .extract::<OsString>()
            .map_err(|_| invalid(value.py(), field, "contains a lone surrogate"));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(OsString::from_vec(bytes.as_bytes().to_vec()));
    }
    if !value.hasattr("__fspath__")? {
        return Err(wrong_type(field, EXPECTED, value));
    }
    let path = value.call_method0("__fspath__")?;
    if path.is_instance_of::<PyString>() || path.is_instance_of::<PyBytes>() {
        return os_string(field, &path);
    }
    Err(wrong_type(field, "__fspath__ to return str or bytes", &path))
}

/// A path inside a sandbox.
pub(crate) fn sandbox_path(field: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    os_string(field, value).map(PathBuf::from)
}

/// A path of the host, made absolute: Python programs name their own files relative to their working directory.
pub(crate) fn host_path(field: &str, value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    absolute(value.py(), field, PathBuf::from(os_string(field, value)?))
}

/// A path as it is if it is absolute or empty, else below the working directory.
pub(crate) fn absolute(py: Python<'_>, field: &str, path: PathBuf) -> PyResult<PathBuf> {
    if path.as_os_str().is_empty() || path.is_absolute() {
        return Ok(path);
    }
    std::path::absolute(&path).map_err(|error| invalid(py, field, error))
}

/// A list or tuple of names. No generator, which could be used up, and no single str, whose items are letters.
pub(crate) fn os_strings(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<OsString>> {
    items(field, "a list or tuple of str", value)?
        .iter()
        .enumerate()
        .map(|(index, item)| os_string(&format!("{field}[{index}]"), item))
        .collect()
}

/// The items of a list or tuple.
pub(crate) fn items<'py>(
    field: &str,
    expected: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Ok(list.iter().collect());
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return Ok(tuple.iter().collect());
    }
    Err(wrong_type(field, expected, value))
}

/// A mapping of variables.
pub(crate) fn environment(field: &str, value: &Optional<'_>) -> PyResult<Vec<(OsString, OsString)>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let Ok(mapping) = value.cast::<PyMapping>() else {
        return Err(wrong_type(field, "a mapping of str to str", value));
    };
    let mut variables = Vec::new();
    for item in mapping.items()?.iter() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let key = os_string(field, &key)?;
        let name = format!("{field}[{:?}]", key.to_string_lossy());
        variables.push((key, os_string(&name, &value)?));
    }
    Ok(variables)
}

/// Bytes, a bytearray or another contiguous buffer of bytes; copied, so that later changes do not matter.
pub(crate) fn bytes(field: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(bytes.to_vec());
    }
    match PyBuffer::<u8>::get(value) {
        Ok(buffer) => buffer.to_vec(value.py()),
        Err(_) => Err(wrong_type(field, "bytes", value)),
    }
}

/// The refusal to pickle or copy an object that belongs to this process.
pub(crate) fn not_picklable(class: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "cannot pickle or copy {class}: it belongs to the process that made it; make one in each process"
    ))
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string())
}
