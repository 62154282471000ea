//! A stream to a runtime's socket, for tasks: one may read while another writes.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::{CancelToken, Connection, Error, ErrorCode, Phase, Result, Task};

use super::operation::Operation;
use super::pieces::Pieces;
use crate::arguments::{Optional, bytes, not_picklable, seconds_or};
use crate::connection::{STREAM_TIMEOUT, failure, lost, transient};
use crate::errors::raise;
use crate::process::read_size;

/// A stream to a runtime's socket; collecting it closes it.
#[pyclass(frozen, weakref, module = "sandboxset._native.aio")]
pub(crate) struct AsyncConnection {
    pieces: Arc<Pieces>,
    writer: Arc<Mutex<Connection>>,
    line: Arc<Line>,
}

/// What ends a connection.
struct Line {
    is_closed: AtomicBool,
    interrupt: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Line {
    fn close(&self) {
        if !self.is_closed.swap(true, Ordering::AcqRel)
            && let Some(interrupt) = &self.interrupt
        {
            interrupt();
        }
    }

    fn check(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorCode::Closed, Phase::Connect, "the connection is closed"));
        }
        Ok(())
    }
}

impl AsyncConnection {
    pub(super) fn new(py: Python<'_>, core: Connection) -> PyResult<Self> {
        let reader = core.try_clone().map_err(|error| raise(py, failure(error)))?;
        let line = Line { is_closed: AtomicBool::new(false), interrupt: core.interrupter() };
        let (line, reader) = (Arc::new(line), Arc::new(Mutex::new(reader)));
        let reader_line = Arc::clone(&line);
        let fetch = move |max_bytes| {
            let (reader, line) = (Arc::clone(&reader), Arc::clone(&reader_line));
            Task::run(Phase::Connect, None, move |_| {
                let fetched = fetch(&mut reader.lock(), max_bytes);
                line.check()?;
                fetched
            })
        };
        Ok(AsyncConnection { pieces: Pieces::new(fetch), writer: Arc::new(Mutex::new(core)), line })
    }
}

#[pymethods]
impl AsyncConnection {
    /// Reads up to `max_bytes`; empty when the runtime has closed the stream. `timeout` is only checked here.
    #[pyo3(signature = (max_bytes, timeout))]
    fn begin_read(
        &self,
        py: Python<'_>,
        max_bytes: Optional<'_>,
        timeout: Optional<'_>,
    ) -> PyResult<Operation> {
        let max_bytes = read_size(py, &max_bytes)?;
        seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        self.line.check().map_err(|error| raise(py, error))?;
        Ok(Operation::new(Phase::Connect, self.pieces.next(max_bytes), |py, piece| {
            Ok(PyBytes::new(py, &piece).unbind())
        }))
    }

    /// Writes all bytes. Cancelling it half-way closes the connection.
    #[pyo3(signature = (data, timeout))]
    fn begin_write(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        timeout: Optional<'_>,
    ) -> PyResult<Operation> {
        let data = bytes("data", data)?;
        let timeout = seconds_or("timeout", &timeout, STREAM_TIMEOUT)?;
        self.line.check().map_err(|error| raise(py, error))?;
        let (writer, line) = (Arc::clone(&self.writer), Arc::clone(&self.line));
        let write = move |cancel: &CancelToken| {
            let deadline = Instant::now() + timeout;
            let mut writer = writer.lock();
            cancel.check(Phase::Connect)?;
            let broken = Arc::clone(&line);
            let _registration = cancel.on_cancel(move || broken.close());
            write_all(&mut writer, &data, deadline).map_err(|error| line.check().err().unwrap_or(error))
        };
        Ok(Operation::new(Phase::Connect, Task::run(Phase::Connect, None, write), |_, ()| Ok(())))
    }

    /// Closes the stream. Idempotent.
    fn close(&self, py: Python<'_>) {
        if !sandboxset::in_forked_child() {
            py.detach(|| self.line.close());
        }
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("Connection"))
    }
}

impl Drop for AsyncConnection {
    fn drop(&mut self) {
        if !sandboxset::in_forked_child() {
            self.line.close();
        }
    }
}

/// Waits for a piece, for however long.
fn fetch(connection: &mut Connection, max_bytes: usize) -> Result<Vec<u8>> {
    let mut buffer = vec![0; max_bytes];
    loop {
        match connection.read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(error) if transient(error.kind()) => {}
            Err(error) => return Err(failure(error)),
        }
    }
}

fn write_all(connection: &mut Connection, mut rest: &[u8], deadline: Instant) -> Result<()> {
    while !rest.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = "the runtime was not ready in time";
            return Err(Error::new(ErrorCode::Timeout, Phase::Connect, message));
        }
        match connection.set_timeout(Some(left)).and_then(|()| connection.write(rest)) {
            Ok(0) => return Err(lost()),
            Ok(length) => rest = &rest[length..],
            Err(error) if transient(error.kind()) || error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failure(error)),
        }
    }
    connection.flush().map_err(failure)
}
