//! The calls of a set, for tasks.

use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use sandboxset::{FirstLook, Phase, Task};

use super::operation::Operation;
use crate::arguments::{Optional, integer, seconds_or};
use crate::reports::{CloseReport, IsolationReport};
use crate::set::{DEADLINE, PREWARM, SandboxSet, get_options};
use crate::wait::detached;

/// A `SandboxRef` if one is idle, else the operation that gives one.
#[pyfunction]
#[pyo3(signature = (set, timeout, no_wait, acquire, cancel, binding))]
pub(crate) fn begin_get<'py>(
    py: Python<'py>,
    set: &Bound<'py, SandboxSet>,
    timeout: Optional<'py>,
    no_wait: Optional<'py>,
    acquire: Optional<'py>,
    cancel: Optional<'py>,
    binding: Optional<'py>,
) -> PyResult<Py<PyAny>> {
    let options = get_options(timeout, no_wait, &acquire, &cancel, &binding)?;
    // Most gets find something idle. A waker is needed by those who wait, and is told when they are polled.
    let this = set.get();
    let rest = match detached(py, Phase::Wait, || this.core().begin_get(options))? {
        FirstLook::Found(core) => return this.hand_out(py, core).into_py_any(py),
        FirstLook::NotYet(rest) => rest,
    };
    let set = set.clone().unbind();
    let hand_out = move |py: Python<'_>, core| Ok(set.bind(py).get().hand_out(py, core));
    Operation::new(Phase::Wait, rest, hand_out).into_py_any(py)
}

/// Makes idle sandboxes until there are `count`, or until the set is full.
#[pyfunction]
#[pyo3(signature = (set, count, timeout))]
pub(crate) fn begin_prewarm(
    set: &Bound<'_, SandboxSet>,
    count: &Bound<'_, PyAny>,
    timeout: Optional<'_>,
) -> PyResult<Operation> {
    let (count, timeout) = (integer("count", count)?, seconds_or("timeout", &timeout, PREWARM)?);
    Ok(Operation::new(Phase::Create, set.get().core().prewarm_async(count, timeout), |_, idle| Ok(idle)))
}

/// Destroys idle sandboxes until `keep` are left.
#[pyfunction]
pub(crate) fn begin_shrink(set: &Bound<'_, SandboxSet>, keep: &Bound<'_, PyAny>) -> PyResult<Operation> {
    let (keep, core) = (integer("keep", keep)?, set.get().core().clone());
    let task = Task::run(Phase::Destroy, None, move |_| core.shrink(keep));
    Ok(Operation::new(Phase::Destroy, task, |_, count| Ok(count)))
}

/// Stops admission and waits for holders.
#[pyfunction]
#[pyo3(signature = (set, deadline))]
pub(crate) fn begin_drain(set: &Bound<'_, SandboxSet>, deadline: Optional<'_>) -> PyResult<Operation> {
    let deadline: Duration = seconds_or("deadline", &deadline, DEADLINE)?;
    Ok(Operation::new(Phase::Close, set.get().core().drain_async(deadline), |_, ()| Ok(())))
}

/// Closes the set and waits for the teardown.
#[pyfunction]
#[pyo3(signature = (set, deadline))]
pub(crate) fn begin_close(set: &Bound<'_, SandboxSet>, deadline: Optional<'_>) -> PyResult<Operation> {
    let deadline: Duration = seconds_or("deadline", &deadline, DEADLINE)?;
    let task = set.get().core().close_async(deadline);
    Ok(Operation::new(Phase::Close, task, |_, report| Ok(CloseReport::new(report))))
}

/// What isolation the sandboxes of the set reach on this host.
#[pyfunction]
pub(crate) fn begin_isolation_report(set: &Bound<'_, SandboxSet>) -> Operation {
    let core = set.get().core().clone();
    let task = Task::run(Phase::Use, None, move |_| Ok(core.isolation_report()));
    Operation::new(Phase::Use, task, |_, report| Ok(IsolationReport::new(report)))
}
