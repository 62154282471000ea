//! A running command.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{ErrorCode, OutputStream, Phase};

use crate::arguments::{Optional, bytes, choice, integer, integer_or, invalid, not_picklable, seconds_or};
use crate::cancel::token;
use crate::errors::raise;
use crate::output::Output;
use crate::wait::{DropDetached, detached, interruptible, sliced};

/// How long one read or write may take by default.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// How long waits that have no timeout of their own may take: the command's own timeout ends them long before.
pub(crate) const FOREVER: Duration = Duration::from_secs(1_000_000_000);
/// The bytes of one read by default; what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// The most bytes of one read.
const MAX_READ_BYTES: usize = 1 << 30;

/// A command that was started with `SandboxRef.spawn`; thread-safe. Collecting it kills the command.
#[pyclass(frozen, weakref, module = "sandboxset")]
pub(crate) struct Process {
    core: DropDetached<Arc<sandboxset::Process>>,
}

impl Process {
    pub(crate) fn new(core: sandboxset::Process) -> Self {
        Process { core: DropDetached::new(Arc::new(core)) }
    }

    /// Reads a piece; empty at the end, `None` if none came in time.
    fn piece(
        &self,
        py: Python<'_>,
        stream: OutputStream,
        max_bytes: usize,
        timeout: Duration,
    ) -> PyResult<Option<Vec<u8>>> {
        sliced(py, Phase::Exec, timeout, |slice| {
            let mut buffer = vec![0; max_bytes];
            match self.core.read(stream, &mut buffer, slice) {
                Ok(length) => {
                    buffer.truncate(length);
                    Ok(Some(buffer))
                }
                Err(error) if error.code() == ErrorCode::Timeout => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

#[pymethods]
impl Process {
    /// Writes all bytes to the command's standard input, which must be `"stream"`.
    #[pyo3(signature = (data, *, timeout=None))]
    fn write_stdin(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Optional<'_>) -> PyResult<()> {
        let data = bytes("data", data)?;
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        let core = Arc::clone(&self.core);
        interruptible(py, Phase::Exec, None, move |_| core.write_stdin(&data, timeout), drop)
    }

    /// Ends the command's standard input. Idempotent.
    fn close_stdin(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, Phase::Exec, || self.core.close_stdin())
    }

    /// Reads what the command wrote, up to `max_bytes`; empty at the end.
    #[pyo3(signature = (max_bytes=None, *, stream=None, timeout=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        max_bytes: Optional<'py>,
        stream: Optional<'py>,
        timeout: Optional<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let max_bytes = read_size(py, &max_bytes)?;
        let streams = [("stdout", OutputStream::Stdout), ("stderr", OutputStream::Stderr)];
        let stream = choice("stream", &stream, OutputStream::Stdout, &streams)?;
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        match self.piece(py, stream, max_bytes, timeout)? {
            Some(piece) => Ok(PyBytes::new(py, &piece)),
            None => Err(raise(
                py,
                sandboxset::Error::new(ErrorCode::Timeout, Phase::Exec, "the command wrote nothing in time"),
            )),
        }
    }

    /// Sends a signal, 1 to 64, to the command's own process.
    fn signal(&self, py: Python<'_>, signal: &Bound<'_, PyAny>) -> PyResult<()> {
        let signal = signal_number(signal)?;
        detached(py, Phase::Exec, || self.core.signal(signal))
    }

    /// Kills every process of the command. Idempotent.
    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, Phase::Exec, || self.core.kill())
    }

    /// Waits for the end of the command. A timeout leaves it running.
    #[pyo3(signature = (*, timeout=None, cancel=None))]
    fn wait(&self, py: Python<'_>, timeout: Optional<'_>, cancel: Optional<'_>) -> PyResult<Output> {
        let timeout = seconds_or("timeout", &timeout, FOREVER)?;
        let core = Arc::clone(&self.core);
        let call = move |cancel: Option<sandboxset::CancelToken>| core.wait(timeout, cancel.as_ref());
        Ok(Output::new(py, interruptible(py, Phase::Exec, token(&cancel)?, call, drop)?))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The next piece of standard output.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let piece = self.piece(py, OutputStream::Stdout, READ_BYTES, FOREVER)?.unwrap_or_default();
        Ok(if piece.is_empty() { None } else { Some(PyBytes::new(py, &piece)) })
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// Kills the command, if it still runs.
    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match py.detach(|| self.core.kill()) {
            Err(error) if !matches!(error.code(), ErrorCode::StaleRef | ErrorCode::SandboxDead) => {
                Err(raise(py, error))
            }
            _ => Ok(()),
        }
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("Process"))
    }
}

/// A number that may be one of a signal.
pub(crate) fn signal_number(value: &Bound<'_, PyAny>) -> PyResult<i32> {
    let signal: u32 = integer("signal", value)?;
    Ok(i32::try_from(signal).unwrap_or(i32::MAX))
}

/// How much one read may return; zero would look like the end.
pub(crate) fn read_size(py: Python<'_>, value: &Optional<'_>) -> PyResult<usize> {
    let size = integer_or("max_bytes", value, READ_BYTES)?;
    if !(1..=MAX_READ_BYTES).contains(&size) {
        return Err(invalid(py, "max_bytes", format_args!("{size} is not between 1 and {MAX_READ_BYTES}")));
    }
    Ok(size)
}
