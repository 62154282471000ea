//! The handle of one holder.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyResourceWarning;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyType};
use pyo3::{PyTraverseError, PyVisit};
use sandboxset::{ErrorCode, Phase};

use crate::arguments::{Optional, bytes, not_picklable, sandbox_path, text};
use crate::command::Arguments;
use crate::connection::Connection;
use crate::errors::raise;
use crate::holder::{Listing, Patience, Reading, Writing, log_bytes};
use crate::output::{Output, Usage};
use crate::process::Process;
use crate::reports::DirEntry;
use crate::wait::{detached, interruptible};

/// One caller's hold on one sandbox; thread-safe.
#[pyclass(frozen, weakref, module = "sandboxset")]
pub(crate) struct SandboxRef {
    core: Arc<sandboxset::SandboxRef>,
    policy: Option<Py<PyAny>>,
    /// Whether `put` or `destroy` was called, so that a collected ref knows whether it was forgotten.
    released: AtomicBool,
}

impl SandboxRef {
    pub(crate) fn new(core: sandboxset::SandboxRef, policy: Option<Py<PyAny>>) -> Self {
        SandboxRef { core: Arc::new(core), policy, released: AtomicBool::new(false) }
    }

    pub(crate) fn core(&self) -> &Arc<sandboxset::SandboxRef> {
        &self.core
    }

    pub(crate) fn policy(&self) -> Option<&Py<PyAny>> {
        self.policy.as_ref()
    }

    /// Ends the ref by `end`.
    pub(crate) fn end<T: Send>(
        &self,
        py: Python<'_>,
        phase: Phase,
        end: impl FnOnce(&sandboxset::SandboxRef) -> sandboxset::Result<T> + Send,
    ) -> PyResult<T> {
        self.released.store(true, Ordering::Release);
        detached(py, phase, || end(&self.core))
    }

    /// Puts the sandbox by `put`, or destroys it if an exception leaves the block. One that was put or destroyed inside
    /// the block is left alone.
    pub(crate) fn leave(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        put: impl FnOnce(&sandboxset::SandboxRef) -> sandboxset::Result<()> + Send,
    ) -> PyResult<()> {
        if self.released.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let result = match exc_type.cast::<PyType>() {
            Err(_) => py.detach(|| put(&self.core)),
            Ok(class) => {
                let name = class.name().map_or_else(|_| "an exception".into(), |name| name.to_string());
                py.detach(|| self.core.destroy(&format!("its holder was left by {name}")))
            }
        };
        match result {
            // Another thread, or the close of the set, ended it meanwhile: nothing is left to do here.
            Err(error) if error.code() != ErrorCode::StaleRef => Err(raise(py, error)),
            _ => Ok(()),
        }
    }
}

#[pymethods]
impl SandboxRef {
    /// Gives the sandbox back, paused and idle, or straight to the oldest waiter.
    fn put(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py, Phase::Pause, sandboxset::SandboxRef::put)
    }

    /// Ends the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown.
    #[pyo3(signature = (reason=None))]
    fn destroy(&self, py: Python<'_>, reason: Optional<'_>) -> PyResult<()> {
        let reason = reason.map(|reason| text("reason", &reason)).transpose()?;
        let reason = reason.as_deref().unwrap_or("destroyed by its holder");
        self.end(py, Phase::Destroy, |core| core.destroy(reason))
    }

    /// Marks the sandbox as not reusable: its put will destroy it.
    fn taint(&self, py: Python<'_>, reason: &Bound<'_, PyAny>) -> PyResult<()> {
        let reason = text("reason", reason)?;
        py.detach(|| self.core.taint(&reason));
        Ok(())
    }

    /// Runs a command to its end.
    #[pyo3(signature = (
        args, *, env=None, cwd=None, stdin=None, timeout=None, grace=None, output_bytes=None, on_overflow=None,
        memory_bytes=None, cpu_seconds=None, cancel=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
    fn exec(
        &self,
        py: Python<'_>,
        args: Bound<'_, PyAny>,
        env: Optional<'_>,
        cwd: Optional<'_>,
        stdin: Optional<'_>,
        timeout: Optional<'_>,
        grace: Optional<'_>,
        output_bytes: Optional<'_>,
        on_overflow: Optional<'_>,
        memory_bytes: Optional<'_>,
        cpu_seconds: Optional<'_>,
        cancel: Optional<'_>,
    ) -> PyResult<Output> {
        let mut command = Arguments {
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
        }
        .read(self.policy.as_ref(), false)?;
        let core = Arc::clone(&self.core);
        let cancel = command.cancel.take();
        let call = move |cancel| {
            command.cancel = cancel;
            core.exec(&command)
        };
        Ok(Output::new(py, interruptible(py, Phase::Exec, cancel, call, drop)?))
    }

    /// Starts a command.
    #[pyo3(signature = (
        args, *, env=None, cwd=None, stdin=None, timeout=None, grace=None, output_bytes=None, on_overflow=None,
        memory_bytes=None, cpu_seconds=None, cancel=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
    fn spawn(
        &self,
        py: Python<'_>,
        args: Bound<'_, PyAny>,
        env: Optional<'_>,
        cwd: Optional<'_>,
        stdin: Optional<'_>,
        timeout: Optional<'_>,
        grace: Optional<'_>,
        output_bytes: Optional<'_>,
        on_overflow: Optional<'_>,
        memory_bytes: Optional<'_>,
        cpu_seconds: Optional<'_>,
        cancel: Optional<'_>,
    ) -> PyResult<Process> {
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
        }
        .read(self.policy.as_ref(), true)?;
        let core = detached(py, Phase::Exec, || self.core.spawn(&command))?;
        Ok(Process::new(core))
    }

    /// Opens a stream to the runtime's socket.
    #[pyo3(signature = (*, timeout=None, cancel=None))]
    fn connect(&self, py: Python<'_>, timeout: Optional<'_>, cancel: Optional<'_>) -> PyResult<Connection> {
        let Patience { timeout, cancel } = Patience::read(&timeout, &cancel)?;
        let core = Arc::clone(&self.core);
        let call = move |cancel: Option<sandboxset::CancelToken>| core.connect(timeout, cancel.as_ref());
        Ok(Connection::new(interruptible(py, Phase::Connect, cancel, call, drop)?))
    }

    /// Sends one request to the runtime and returns its answer.
    #[pyo3(signature = (request, *, timeout=None, cancel=None))]
    fn call<'py>(
        &self,
        py: Python<'py>,
        request: &Bound<'py, PyAny>,
        timeout: Optional<'py>,
        cancel: Optional<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let request = bytes("request", request)?;
        let Patience { timeout, cancel } = Patience::read(&timeout, &cancel)?;
        let core = Arc::clone(&self.core);
        let call =
            move |cancel: Option<sandboxset::CancelToken>| core.call(&request, timeout, cancel.as_ref());
        let answer = interruptible(py, Phase::Connect, cancel, call, drop)?;
        Ok(PyBytes::new(py, &answer))
    }

    /// Sends a value as JSON and returns the answer as one.
    #[pyo3(signature = (value, *, timeout=None, cancel=None))]
    fn call_json<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        timeout: Optional<'py>,
        cancel: Optional<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let json = py.import("json")?;
        let request = json.call_method1("dumps", (value,))?.call_method0("encode")?;
        let answer = self.call(py, &request, timeout, cancel)?;
        json.call_method1("loads", (answer,))
    }

    /// Reads a regular file of at most `max_bytes`.
    #[pyo3(signature = (path, *, max_bytes=None))]
    fn read_file<'py>(
        &self,
        py: Python<'py>,
        path: &Bound<'py, PyAny>,
        max_bytes: Optional<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let Reading { path, max_bytes } = Reading::read(path, &max_bytes)?;
        let content = detached(py, Phase::Files, || self.core.read_file(&path, max_bytes))?;
        Ok(PyBytes::new(py, &content))
    }

    /// Creates or replaces a regular file, whole or not at all.
    #[pyo3(signature = (path, data, *, mode=None))]
    fn write_file(
        &self,
        py: Python<'_>,
        path: &Bound<'_, PyAny>,
        data: &Bound<'_, PyAny>,
        mode: Optional<'_>,
    ) -> PyResult<()> {
        let Writing { path, data, mode } = Writing::read(path, data, &mode)?;
        detached(py, Phase::Files, || self.core.write_file(&path, &data, mode))
    }

    /// The entries of a directory, sorted by name.
    #[pyo3(signature = (path=None, *, max_entries=None))]
    fn list_dir(
        &self,
        py: Python<'_>,
        path: Optional<'_>,
        max_entries: Optional<'_>,
    ) -> PyResult<Vec<DirEntry>> {
        let Listing { path, max_entries } = Listing::read(&path, &max_entries)?;
        let entries = detached(py, Phase::Files, || self.core.list_dir(&path, max_entries))?;
        Ok(entries.into_iter().map(DirEntry::new).collect())
    }

    /// Removes a file or, with all it holds, a directory.
    fn remove(&self, py: Python<'_>, path: &Bound<'_, PyAny>) -> PyResult<()> {
        let path = sandbox_path("path", path)?;
        detached(py, Phase::Files, || self.core.remove(&path))
    }

    /// The id of the sandbox; valid after put and destroy.
    #[getter]
    fn id(&self) -> u64 {
        self.core.id().get()
    }

    /// The scratch dir as the sandbox's own processes see it.
    #[getter]
    fn scratch_dir(&self) -> std::ffi::OsString {
        self.core.scratch_dir().as_os_str().to_owned()
    }

    /// The scratch dir on the host, if it is a directory of the host.
    #[getter]
    fn host_scratch_dir(&self) -> Option<std::ffi::OsString> {
        self.core.host_scratch_dir().map(std::path::PathBuf::into_os_string)
    }

    /// What state the sandbox is in for this holder: `held`, `dead` or `stale`.
    #[getter]
    fn state(&self, py: Python<'_>) -> &'static str {
        py.detach(|| self.core.state()).name()
    }

    /// Whether an earlier holder used this sandbox.
    #[getter]
    fn reused(&self) -> bool {
        self.core.reused()
    }

    /// How often the sandbox was handed out, this time included.
    #[getter]
    fn uses(&self) -> u64 {
        self.core.uses()
    }

    /// The seconds since it became ready.
    #[getter]
    fn age(&self) -> f64 {
        self.core.age().as_secs_f64()
    }

    /// What the sandbox uses now.
    fn usage(&self, py: Python<'_>) -> PyResult<Usage> {
        Ok(Usage::new(detached(py, Phase::Use, || self.core.usage())?))
    }

    /// What the runtime wrote to its standard output and error, the last `max_bytes` of it.
    #[pyo3(signature = (*, max_bytes=None))]
    fn log<'py>(&self, py: Python<'py>, max_bytes: Optional<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let max_bytes = log_bytes(&max_bytes)?;
        let log = detached(py, Phase::Use, || self.core.log(max_bytes))?;
        Ok(PyBytes::new(py, &log))
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.leave(py, exc_type, sandboxset::SandboxRef::put)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        format!("<SandboxRef id={} state={}>", self.core.id().get(), self.state(py))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("SandboxRef"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.policy)
    }
}

impl Drop for SandboxRef {
    /// A forgotten ref: its sandbox is destroyed, because nobody can say in what state it was left, and the
    /// owner is told, because until now a place of the set was lost.
    fn drop(&mut self) {
        if self.released.load(Ordering::Acquire) || sandboxset::in_forked_child() {
            return;
        }
        // Destroying does not wait for the teardown, so that the collector is not held up.
        if self.core.destroy("collected without put or destroy").is_err() {
            return;
        }
        let message = format!("sandbox {} was neither put nor destroyed", self.core.id().get());
        Python::try_attach(|py| warn(py, &message));
    }
}

/// Emits a `ResourceWarning` from a destructor, where an exception may be on its way that must not be lost.
fn warn(py: Python<'_>, message: &str) {
    let pending = PyErr::take(py);
    let category = py.get_type::<PyResourceWarning>();
    if let Ok(message) = std::ffi::CString::new(message)
        && let Err(error) = PyErr::warn(py, &category, &message, 1)
    {
        error.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}
