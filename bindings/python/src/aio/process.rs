//! A running command, for tasks.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{OutputStream, Phase};

use super::operation::Operation;
use super::pieces::Pieces;
use crate::arguments::{Optional, bytes, choice, not_picklable, seconds_or};
use crate::cancel::token;
use crate::output::Output;
use crate::process::{FOREVER, STREAM_TIMEOUT, read_size, signal_number};
use crate::wait::{DropDetached, detached};

/// A command that a task started; collecting it kills the command.
#[pyclass(frozen, weakref, module = "sandboxset._native.aio")]
pub(crate) struct AsyncProcess {
    core: DropDetached<Killed>,
    stdout: Arc<Pieces>,
    stderr: Arc<Pieces>,
}

/// A read that goes on keeps the process itself alive, so who drops it has to kill the command.
struct Killed(Arc<sandboxset::Process>);

impl Drop for Killed {
    fn drop(&mut self) {
        if !sandboxset::in_forked_child() {
            // It may be over, and its sandbox gone.
            let _ = self.0.kill();
        }
    }
}

impl AsyncProcess {
    pub(super) fn new(core: sandboxset::Process) -> Self {
        let core = Arc::new(core);
        let pieces = |stream| {
            let core = Arc::clone(&core);
            Pieces::new(move |max_bytes| core.read_async(stream, max_bytes, FOREVER))
        };
        let (stdout, stderr) = (pieces(OutputStream::Stdout), pieces(OutputStream::Stderr));
        AsyncProcess { core: DropDetached::new(Killed(core)), stdout, stderr }
    }
}

#[pymethods]
impl AsyncProcess {
    /// Reads up to `max_bytes`; empty at the end. `timeout` is only checked here.
    #[pyo3(signature = (max_bytes, stream, timeout))]
    fn begin_read(
        &self,
        py: Python<'_>,
        max_bytes: Optional<'_>,
        stream: Optional<'_>,
        timeout: Optional<'_>,
    ) -> PyResult<Operation> {
        let max_bytes = read_size(py, &max_bytes)?;
        let streams = [("stdout", &self.stdout), ("stderr", &self.stderr)];
        let pieces = choice("stream", &stream, &self.stdout, &streams)?;
        seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        Ok(Operation::new(Phase::Exec, pieces.next(max_bytes), |py, piece| {
            Ok(PyBytes::new(py, &piece).unbind())
        }))
    }

    /// Writes all bytes to the command's standard input.
    #[pyo3(signature = (data, timeout))]
    fn begin_write_stdin(&self, data: &Bound<'_, PyAny>, timeout: Optional<'_>) -> PyResult<Operation> {
        let data = bytes("data", data)?;
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        Ok(Operation::new(Phase::Exec, self.core.0.write_stdin_async(data, timeout), |_, ()| Ok(())))
    }

    /// Waits for the end of the command.
    #[pyo3(signature = (timeout, cancel))]
    fn begin_wait(&self, timeout: Optional<'_>, cancel: Optional<'_>) -> PyResult<Operation> {
        let timeout: Duration = seconds_or("timeout", &timeout, FOREVER)?;
        let task = self.core.0.wait_async(timeout, token(&cancel)?.as_ref());
        Ok(Operation::new(Phase::Exec, task, |py, output| Ok(Output::new(py, output))))
    }

    /// Ends the command's standard input. Idempotent.
    fn close_stdin(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, Phase::Exec, || self.core.0.close_stdin())
    }

    /// Sends a signal, 1 to 64, to the command's own process.
    fn signal(&self, py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        let signal = signal_number(signal)?;
        detached(py, Phase::Exec, || self.core.0.signal(signal))
    }

    /// Kills every process of the command. Idempotent.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, Phase::Exec, || self.core.0.kill())
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("Process"))
    }
}
