//! The calls of a holder, for tasks.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{Phase, Task};

use super::connection::AsyncConnection;
use super::operation::Operation;
use super::process::AsyncProcess;
use crate::arguments::{Optional, bytes, sandbox_path};
use crate::command::Arguments;
use crate::holder::{Listing, Patience, Reading, Writing, log_bytes};
use crate::output::{Output, Usage};
use crate::reports::DirEntry;
use crate::sandbox_ref::SandboxRef;

/// Gives the sandbox back. Nothing if that is all, else the operation that is the rest of it.
#[pyfunction]
pub(crate) fn begin_put(py: Python<'_>, sandbox: &Bound<'_, SandboxRef>) -> PyResult<Option<Operation>> {
    let rest = sandbox.get().end(py, Phase::Pause, sandboxset::SandboxRef::put_at_once)?;
    Ok(rest.map(rest_of_put))
}

/// Puts the sandbox, or destroys it if an exception leaves the block, unless either was done before.
#[pyfunction]
pub(crate) fn begin_leave(
    py: Python<'_>,
    sandbox: &Bound<'_, SandboxRef>,
    exc_type: &Bound<'_, PyAny>,
) -> PyResult<Option<Operation>> {
    let mut rest = None;
    let put = |core: &sandboxset::SandboxRef| core.put_at_once().map(|task| rest = task);
    sandbox.get().leave(py, exc_type, put)?;
    Ok(rest.map(rest_of_put))
}

fn rest_of_put(rest: Task<()>) -> Operation {
    Operation::new(Phase::Pause, rest, |_, ()| Ok(()))
}

/// Runs a command to its end, or only starts it if it is to `stream`.
#[pyfunction]
pub(crate) fn begin_command<'py>(
    sandbox: &Bound<'py, SandboxRef>,
    stream: bool,
    arguments: Arguments<'py>,
) -> PyResult<Operation> {
    let command = arguments.read(sandbox.get().policy(), stream)?;
    let core = sandbox.get().core();
    Ok(if stream {
        Operation::new(Phase::Exec, core.spawn_async(command), |_, process| Ok(AsyncProcess::new(process)))
    } else {
        Operation::new(Phase::Exec, core.exec_async(command), |py, output| Ok(Output::new(py, output)))
    })
}

/// Opens a stream to the runtime's socket.
#[pyfunction]
#[pyo3(signature = (sandbox, timeout, cancel))]
pub(crate) fn begin_connect(
    sandbox: &Bound<'_, SandboxRef>,
    timeout: Optional<'_>,
    cancel: Optional<'_>,
) -> PyResult<Operation> {
    let Patience { timeout, cancel } = Patience::read(&timeout, &cancel)?;
    let task = sandbox.get().core().connect_async(timeout, cancel.as_ref());
    Ok(Operation::new(Phase::Connect, task, AsyncConnection::new))
}

/// Sends one request to the runtime and gives its answer.
#[pyfunction]
#[pyo3(signature = (sandbox, request, timeout, cancel))]
pub(crate) fn begin_call(
    sandbox: &Bound<'_, SandboxRef>,
    request: &Bound<'_, PyAny>,
    timeout: Optional<'_>,
    cancel: Optional<'_>,
) -> PyResult<Operation> {
    let request = bytes("request", request)?;
    let Patience { timeout, cancel } = Patience::read(&timeout, &cancel)?;
    let task = sandbox.get().core().call_async(request, timeout, cancel.as_ref());
    Ok(Operation::new(Phase::Connect, task, python_bytes))
}

/// Reads a regular file of at most `max_bytes`.
#[pyfunction]
#[pyo3(signature = (sandbox, path, max_bytes))]
pub(crate) fn begin_read_file(
    sandbox: &Bound<'_, SandboxRef>,
    path: &Bound<'_, PyAny>,
    max_bytes: Optional<'_>,
) -> PyResult<Operation> {
    let Reading { path, max_bytes } = Reading::read(path, &max_bytes)?;
    Ok(Operation::new(Phase::Files, sandbox.get().core().read_file_async(path, max_bytes), python_bytes))
}

/// Creates or replaces a regular file, whole or not at all.
#[pyfunction]
#[pyo3(signature = (sandbox, path, data, mode))]
pub(crate) fn begin_write_file(
    sandbox: &Bound<'_, SandboxRef>,
    path: &Bound<'_, PyAny>,
    data: &Bound<'_, PyAny>,
    mode: Optional<'_>,
) -> PyResult<Operation> {
    let Writing { path, data, mode } = Writing::read(path, data, &mode)?;
    Ok(Operation::new(Phase::Files, sandbox.get().core().write_file_async(path, data, mode), |_, ()| Ok(())))
}

/// The entries of a directory, sorted by name.
#[pyfunction]
#[pyo3(signature = (sandbox, path, max_entries))]
pub(crate) fn begin_list_dir(
    sandbox: &Bound<'_, SandboxRef>,
    path: Optional<'_>,
    max_entries: Optional<'_>,
) -> PyResult<Operation> {
    let Listing { path, max_entries } = Listing::read(&path, &max_entries)?;
    let task = sandbox.get().core().list_dir_async(path, max_entries);
    Ok(Operation::new(Phase::Files, task, |_, entries| {
        Ok(entries.into_iter().map(DirEntry::new).collect::<Vec<_>>())
    }))
}

/// Removes a file or, with all it holds, a directory.
#[pyfunction]
pub(crate) fn begin_remove(sandbox: &Bound<'_, SandboxRef>, path: &Bound<'_, PyAny>) -> PyResult<Operation> {
    let path = sandbox_path("path", path)?;
    Ok(Operation::new(Phase::Files, sandbox.get().core().remove_async(path), |_, ()| Ok(())))
}

/// What the sandbox uses now.
#[pyfunction]
pub(crate) fn begin_usage(sandbox: &Bound<'_, SandboxRef>) -> Operation {
    Operation::new(Phase::Use, sandbox.get().core().usage_async(), |_, usage| Ok(Usage::new(usage)))
}

/// The last `max_bytes` of what the runtime wrote to its standard output and error.
#[pyfunction]
#[pyo3(signature = (sandbox, max_bytes))]
pub(crate) fn begin_log(sandbox: &Bound<'_, SandboxRef>, max_bytes: Optional<'_>) -> PyResult<Operation> {
    let task = sandbox.get().core().log_async(log_bytes(&max_bytes)?);
    Ok(Operation::new(Phase::Use, task, python_bytes))
}

fn python_bytes(py: Python<'_>, bytes: Vec<u8>) -> PyResult<Py<PyBytes>> {
    Ok(PyBytes::new(py, &bytes).unbind())
}
