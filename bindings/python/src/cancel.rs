//! The cancel token.

use pyo3::prelude::*;

use crate::arguments::{Optional, not_picklable, wrong_type};

/// Cancels the calls it was given to, from any thread. Once cancelled it stays cancelled.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct CancelToken {
    core: sandboxset::CancelToken,
}

#[pymethods]
impl CancelToken {
    #[new]
    fn new() -> Self {
        CancelToken { core: sandboxset::CancelToken::new() }
    }

    /// Cancels every call that holds this token. Idempotent; never waits for the calls.
    fn cancel(&self, py: Python<'_>) {
        py.detach(|| self.core.cancel());
    }

    /// Whether `cancel` was called.
    #[getter]
    fn cancelled(&self) -> bool {
        self.core.is_cancelled()
    }

    fn __repr__(&self) -> String {
        format!("CancelToken(cancelled={})", if self.core.is_cancelled() { "True" } else { "False" })
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("CancelToken"))
    }
}

/// The token given as an argument, if one was.
pub(crate) fn token(value: &Optional<'_>) -> PyResult<Option<sandboxset::CancelToken>> {
    let Some(value) = value else { return Ok(None) };
    match value.cast::<CancelToken>() {
        Ok(token) => Ok(Some(token.get().core.clone())),
        Err(_) => Err(wrong_type("cancel", "a CancelToken", value)),
    }
}
