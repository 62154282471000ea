//! What happened in a set, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use sandboxset::{EventKind, Phase};

use crate::arguments::{Optional, not_picklable, seconds};
use crate::wait::sliced;

/// One thing that happened to one sandbox of a set.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Event {
    core: sandboxset::Event,
}

/// The events of one set from the moment of subscription.
#[pyclass(frozen, weakref, module = "sandboxset")]
pub(crate) struct EventStream {
    core: Arc<sandboxset::EventStream>,
    /// How long an iteration waits for the next event; `None` is until the set is closed.
    timeout: Option<Duration>,
}

/// What looking for an event found.
enum Found {
    Event(sandboxset::Event),
    Closed,
}

/// How long a wait without timeout may take.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);

impl Event {
    pub(crate) fn new(core: sandboxset::Event) -> Self {
        Event { core }
    }
}

impl EventStream {
    pub(crate) fn new(core: sandboxset::EventStream, timeout: Option<Duration>) -> Self {
        EventStream { core: Arc::new(core), timeout }
    }

    pub(crate) fn core(&self) -> Arc<sandboxset::EventStream> {
        Arc::clone(&self.core)
    }

    fn wait(&self, py: Python<'_>, timeout: Duration) -> PyResult<Option<Event>> {
        let found = sliced(py, Phase::Use, timeout, |slice| {
            let started = Instant::now();
            Ok(match self.core.next(slice) {
                Some(event) => Some(Found::Event(event)),
                // Nothing, and before its time: no event will come any more.
                None if started.elapsed() < slice => Some(Found::Closed),
                None => None,
            })
        })?;
        Ok(match found {
            Some(Found::Event(core)) => Some(Event { core }),
            Some(Found::Closed) | None => None,
        })
    }
}

#[pymethods]
impl EventStream {
    /// The next event; `None` if none came in time, or if the set is closed and all were read.
    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Optional<'_>) -> PyResult<Option<Event>> {
        let timeout = match timeout {
            Some(timeout) => seconds("timeout", &timeout)?,
            None => self.timeout.unwrap_or(FOREVER),
        };
        self.wait(py, timeout)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Event>> {
        self.wait(py, self.timeout.unwrap_or(FOREVER))
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("EventStream"))
    }
}

#[pymethods]
impl Event {
    /// Counts every event of the set from 1 without gaps; a gap in what a stream delivers is a loss.
    #[getter]
    fn sequence(&self) -> u64 {
        self.core.sequence
    }

    /// The id of the sandbox.
    #[getter]
    fn sandbox_id(&self) -> u64 {
        self.core.sandbox_id.get()
    }

    /// `create`, `unpause`, `pause`, `put`, `reset`, `fork`, `destroy`, `fault` or `lost`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.core.kind.name()
    }

    /// The reason of a destroy, the text of a fault, or what a reset verified from outside.
    #[getter]
    fn reason(&self) -> Option<String> {
        match &self.core.kind {
            EventKind::Destroy(text) | EventKind::Fault(text) => Some(text.clone()),
            EventKind::Reset(report) => Some(report.to_string()),
            _ => None,
        }
    }

    /// The id of the sandbox that was forked from this one, if the kind is `fork`.
    #[getter]
    fn child_id(&self) -> Option<u64> {
        match self.core.kind {
            EventKind::Fork(child) => Some(child.get()),
            _ => None,
        }
    }

    /// How many events were dropped here, if the kind is `lost`.
    #[getter]
    fn lost(&self) -> Option<u64> {
        match self.core.kind {
            EventKind::Lost(count) => Some(count),
            _ => None,
        }
    }

    fn __repr__(&self) -> String {
        let detail = match &self.core.kind {
            EventKind::Destroy(text) | EventKind::Fault(text) => format!(", reason={text:?}"),
            EventKind::Reset(report) => format!(", reason={:?}", report.to_string()),
            EventKind::Lost(count) => format!(", lost={count}"),
            EventKind::Fork(child) => format!(", child_id={}", child.get()),
            _ => String::new(),
        };
        let (sequence, sandbox_id) = (self.sequence(), self.sandbox_id());
        format!("Event(sequence={sequence}, sandbox_id={sandbox_id}, kind='{}'{detail})", self.kind())
    }
}
