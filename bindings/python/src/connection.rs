//! A stream to a runtime's socket.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{Error, ErrorCode, Phase, Result};

use crate::arguments::{Optional, bytes, not_picklable, seconds_or};
use crate::errors::raise;
use crate::process::read_size;
use crate::wait::{SIGNAL_CHECK, detached, sliced};

/// How long one read or write may take by default.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// The shortest time a socket can be told to wait; zero would mean for ever.
const SHORTEST: Duration = Duration::from_millis(1);

/// A stream to a runtime's socket; thread-safe. Collecting it closes it.
#[pyclass(frozen, weakref, module = "sandboxset")]
pub(crate) struct Connection {
    core: Mutex<Option<sandboxset::Connection>>,
}

impl Connection {
    pub(crate) fn new(core: sandboxset::Connection) -> Self {
        Connection { core: Mutex::new(Some(core)) }
    }

    /// One bounded step of reading or writing; `None` if nothing could be done in time. Steps are short, so
    /// that a reader, a writer and a closer on three threads take turns.
    fn step<T>(
        &self,
        slice: Duration,
        step: impl FnOnce(&mut sandboxset::Connection) -> std::io::Result<T>,
    ) -> Result<Option<T>> {
        let mut guard = self.core.lock();
        let Some(connection) = guard.as_mut() else {
            return Err(Error::new(ErrorCode::Closed, Phase::Connect, "the connection is closed"));
        };
        let result =
            connection.set_timeout(Some(slice.clamp(SHORTEST, SIGNAL_CHECK))).and_then(|()| step(connection));
        MutexGuard::unlock_fair(guard);
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if transient(error.kind()) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// Repeats a step until it did something, or until the time is over.
    fn repeat<T: Send>(
        &self,
        py: Python<'_>,
        timeout: Duration,
        mut step: impl FnMut(&mut sandboxset::Connection) -> std::io::Result<T> + Send,
    ) -> PyResult<T> {
        let answer = sliced(py, Phase::Connect, timeout, |slice| {
            let deadline = std::time::Instant::now() + slice;
            loop {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                let answer = self.step(left, &mut step)?;
                if answer.is_some() || left.is_zero() {
                    return Ok(answer);
                }
            }
        })?;
        answer.ok_or_else(|| {
            raise(py, Error::new(ErrorCode::Timeout, Phase::Connect, "the runtime was not ready in time"))
        })
    }
}

#[pymethods]
impl Connection {
    /// Reads up to `max_bytes`; empty when the runtime has closed the stream.
    #[pyo3(signature = (max_bytes=None, *, timeout=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        max_bytes: Optional<'py>,
        timeout: Optional<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut buffer = vec![0; read_size(py, &max_bytes)?];
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        let length = self.repeat(py, timeout, |connection| connection.read(&mut buffer))?;
        Ok(PyBytes::new(py, &buffer[..length]))
    }

    /// Writes all bytes. After a timeout it is unknown how many were written: close the connection.
    #[pyo3(signature = (data, *, timeout=None))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>, timeout: Optional<'_>) -> PyResult<()> {
        let data = bytes("data", data)?;
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        let deadline = std::time::Instant::now() + timeout;
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let length = self.repeat(py, left, |connection| connection.write(rest))?;
            if length == 0 {
                return Err(raise(py, lost()));
            }
            rest = &rest[length..];
        }
        detached(py, Phase::Connect, || self.step(SHORTEST, Write::flush)).map(drop)
    }

    /// Closes the stream. Idempotent.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.core.lock().take()));
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _exc_type: &Bound<'_, PyAny>,
        _exc_value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close(py);
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("Connection"))
    }
}

pub(crate) fn transient(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// What is told to those whose read or write failed.
pub(crate) fn failure(error: std::io::Error) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => lost().with_source(error),
    }
}

pub(crate) fn lost() -> Error {
    Error::new(ErrorCode::SandboxDead, Phase::Connect, "the connection to the runtime broke")
}
