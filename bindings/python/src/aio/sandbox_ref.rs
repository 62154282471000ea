//! The calls of a holder, for tasks.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{Phase, Result, Task};

use super::connection::AsyncConnection;
use super::operation::Operation;
use super::process::AsyncProcess;
use crate::arguments::{Optional, bytes, integer_or, sandbox_path, seconds_or};
use crate::cancel::token;
use crate::command::Arguments;
use crate::output::{Output, Usage};
use crate::reports::DirEntry;
use crate::sandbox_ref::{CALL_TIMEOUT, FILE_MODE, LIST_ENTRIES, LOG_BYTES, READ_BYTES, SandboxRef};

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
#[pyo3(signature = (
    sandbox, stream, args, *, env=None, cwd=None, stdin=None, timeout=None, grace=None, output_bytes=None,
    on_overflow=None, memory_bytes=None, cpu_seconds=None, cancel=None,
))]
#[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
pub(crate) fn begin_command<'py>(
    sandbox: &Bound<'py, SandboxRef>,
    stream: bool,
    args: Bound<'py, PyAny>,
    env: Optional<'py>,
    cwd: Optional<'py>,
    stdin: Optional<'py>,
    timeout: Optional<'py>,
    grace: Optional<'py>,
    output_bytes: Optional<'py>,
    on_overflow: Optional<'py>,
    memory_bytes: Optional<'py>,
    cpu_seconds: Optional<'py>,
    cancel: Optional<'py>,
) -> PyResult<Operation> {
    let command = Arguments {
        args,
        env,
        cwd,
        stdin,
        timeout,
        grace,
        output_bytes,
        on_overflow,
        memory_bytes,
        cpu_seconds,
        cancel,
    };
    let command = command.read(sandbox.get().policy(), stream)?;
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
    let timeout = seconds_or("timeout", &timeout, CALL_TIMEOUT)?;
    let task = sandbox.get().core().connect_async(timeout, token(&cancel)?.as_ref());
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
    let timeout = seconds_or("timeout", &timeout, CALL_TIMEOUT)?;
    let task = sandbox.get().core().call_async(request, timeout, token(&cancel)?.as_ref());
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
    let (path, max_bytes) = (sandbox_path("path", path)?, integer_or("max_bytes", &max_bytes, READ_BYTES)?);
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
    let (path, data) = (sandbox_path("path", path)?, bytes("data", data)?);
    let mode = integer_or("mode", &mode, FILE_MODE)?;
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
    let path = path.map_or(Ok(".".into()), |path| sandbox_path("path", &path))?;
    let max_entries = integer_or("max_entries", &max_entries, LIST_ENTRIES)?;
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
    Operation::new(Phase::Use, on_worker(sandbox, |core| core.usage()), |_, usage| Ok(Usage::new(usage)))
}

/// The last `max_bytes` of what the runtime wrote to its standard output and error.
#[pyfunction]
#[pyo3(signature = (sandbox, max_bytes))]
pub(crate) fn begin_log(sandbox: &Bound<'_, SandboxRef>, max_bytes: Optional<'_>) -> PyResult<Operation> {
    let max_bytes = integer_or("max_bytes", &max_bytes, LOG_BYTES)?;
    Ok(Operation::new(Phase::Use, on_worker(sandbox, move |core| core.log(max_bytes)), python_bytes))
}

fn on_worker<T: Send + 'static>(
    sandbox: &Bound<'_, SandboxRef>,
    call: impl FnOnce(&sandboxset::SandboxRef) -> Result<T> + Send + 'static,
) -> Task<T> {
    let core = Arc::clone(sandbox.get().core());
    Task::run(Phase::Use, None, move |_| call(&core))
}

fn python_bytes(py: Python<'_>, bytes: Vec<u8>) -> PyResult<Py<PyBytes>> {
    Ok(PyBytes::new(py, &bytes).unbind())
}
