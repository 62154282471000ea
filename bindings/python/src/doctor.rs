//! What this host offers to sandboxes.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sandboxset::backend::linux;

/// What `doctor` found out.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Diagnosis {
    core: linux::Diagnosis,
}

/// One feature of the host.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Check {
    core: linux::Check,
}

/// Examines this host: makes one sandbox and destroys it, and changes nothing.
#[pyfunction]
pub(crate) fn doctor(py: Python<'_>) -> Diagnosis {
    Diagnosis { core: py.detach(linux::doctor) }
}

/// Tries to break out of sandboxes on this host; the report as text, and whether nothing escaped.
#[pyfunction]
#[pyo3(signature = (*, json))]
pub(crate) fn self_test(py: Python<'_>, json: bool) -> PyResult<(String, bool)> {
    let report = py.detach(sandboxset_self_test::self_test);
    let report = report.map_err(|failure| PyRuntimeError::new_err(failure.to_string()))?;
    Ok((if json { report.to_json() } else { report.to_table() }, report.passed()))
}

#[pymethods]
impl Diagnosis {
    /// One per feature, in a fixed order.
    #[getter]
    fn checks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.core.checks.iter().map(|check| Check { core: check.clone() }))
    }

    /// Whether a sandbox was made, used and destroyed.
    #[getter]
    fn can_make_sandboxes(&self) -> bool {
        self.core.can_make_sandboxes()
    }

    /// The check of this name, if there is one.
    fn check(&self, name: &str) -> Option<Check> {
        self.core.check(name).map(|check| Check { core: check.clone() })
    }

    /// The report as one JSON object.
    fn to_json(&self) -> String {
        self.core.to_json()
    }

    fn __str__(&self) -> String {
        self.core.to_table()
    }

    fn __repr__(&self) -> String {
        format!("<Diagnosis of {} checks>", self.core.checks.len())
    }
}

#[pymethods]
impl Check {
    /// Its short name, for example `namespace.user`.
    #[getter]
    fn name(&self) -> &'static str {
        self.core.name
    }

    /// `works`, `degraded` or `missing`.
    #[getter]
    fn status(&self) -> &'static str {
        self.core.status.name()
    }

    /// By what means, or why not.
    #[getter]
    fn detail(&self) -> &str {
        &self.core.detail
    }

    /// What to do about it; empty if there is nothing to do.
    #[getter]
    fn fix(&self) -> &str {
        &self.core.fix
    }

    fn __repr__(&self) -> String {
        format!("Check(name={:?}, status='{}', detail={:?})", self.core.name, self.status(), self.core.detail)
    }
}
