//! Errors of the core as Python exceptions. The classes live in `sandboxset.errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use sandboxset::{Error, ErrorCode};

/// The exception for an error of the core, from the one table in `sandboxset.errors`.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    exception(py, &error).map_or_else(|failure| failure, PyErr::from_value)
}

/// Every code of this build: number, name, retryable. For the test that compares the tables.
#[pyfunction]
pub(crate) fn error_table() -> Vec<(i32, &'static str, bool)> {
    ErrorCode::ALL.iter().map(|code| (*code as i32, code.name(), code.retryable())).collect()
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE
        .get_or_try_init(py, || py.import("sandboxset.errors")?.getattr("_from_native").map(Bound::unbind))?;
    let cause = error.cause();
    make.bind(py).call1((
        error.code() as i32,
        error.code().name(),
        error.message(),
        error.phase().name(),
        error.retryable(),
        error.sandbox_id().map(|id| id.get()),
        if cause.is_empty() { None } else { Some(cause) },
        error.field(),
    ))
}
