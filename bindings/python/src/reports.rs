//! What a set, a close, a listing and a host tell about themselves.

use std::collections::HashMap;
use std::ffi::OsString;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A consistent snapshot of a set's counters.
#[pyclass(frozen, get_all, module = "sandboxset")]
pub(crate) struct Stats {
    /// Sandboxes that wait for a holder.
    idle: usize,
    /// Sandboxes with a holder.
    held: usize,
    /// Creates in flight.
    creating: usize,
    /// Sandboxes being unpaused.
    resuming: usize,
    /// Sandboxes being paused after a put.
    returning: usize,
    /// Sandboxes being destroyed, and parents that are destroyed when their last child is gone.
    destroying: usize,
    /// Sandboxes whose destroy failed; retried with back-off.
    quarantined: usize,
    /// Callers waiting now.
    waiting: usize,
    /// Gets that were served.
    gets: u64,
    /// Gets served by a sandbox that was idle.
    hits: u64,
    /// Gets that found no idle sandbox, by reason.
    misses: HashMap<String, u64>,
    /// Gets that had to wait.
    waits: u64,
    /// Gets that timed out.
    timeouts: u64,
    /// Sandboxes created.
    created: u64,
    /// Creates that failed.
    create_failures: u64,
    /// Sandboxes put back.
    puts: u64,
    /// Sandboxes that were reset after a put.
    resets: u64,
    /// Resets that failed or were not verified; the sandbox was destroyed.
    reset_failures: u64,
    /// Sandboxes of other sets that were forked from sandboxes of this one.
    forks: u64,
    /// Forks of sandboxes of this set that failed.
    fork_failures: u64,
    /// Sandboxes destroyed.
    destroyed: u64,
    /// Sandboxes destroyed, by reason.
    destroyed_by: HashMap<String, u64>,
}

/// What a close left behind.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct CloseReport {
    core: sandboxset::CloseReport,
}

/// One entry of a directory in a sandbox.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct DirEntry {
    core: sandboxset::DirEntry,
}

/// The layers of isolation of a backend and what was reached of each.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct IsolationReport {
    core: sandboxset::IsolationReport,
}

/// One layer of isolation.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Layer {
    core: sandboxset::Layer,
}

impl Stats {
    pub(crate) fn new(core: sandboxset::Stats) -> Self {
        Stats {
            idle: core.idle,
            held: core.held,
            creating: core.creating,
            resuming: core.resuming,
            returning: core.returning,
            destroying: core.destroying,
            quarantined: core.quarantined,
            waiting: core.waiting,
            gets: core.gets,
            hits: core.hits,
            misses: core.misses.into_iter().map(|(reason, count)| (reason.name().into(), count)).collect(),
            waits: core.waits,
            timeouts: core.timeouts,
            created: core.created,
            create_failures: core.create_failures,
            puts: core.puts,
            resets: core.resets,
            reset_failures: core.reset_failures,
            forks: core.forks,
            fork_failures: core.fork_failures,
            destroyed: core.destroyed,
            destroyed_by: core.destroyed_by.into_iter().collect(),
        }
    }
}

impl CloseReport {
    pub(crate) fn new(core: sandboxset::CloseReport) -> Self {
        CloseReport { core }
    }
}

impl DirEntry {
    pub(crate) fn new(core: sandboxset::DirEntry) -> Self {
        DirEntry { core }
    }
}

impl IsolationReport {
    pub(crate) fn new(core: sandboxset::IsolationReport) -> Self {
        IsolationReport { core }
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "Stats(idle={}, held={}, creating={}, waiting={}, gets={}, hits={}, created={}, destroyed={})",
            self.idle,
            self.held,
            self.creating,
            self.waiting,
            self.gets,
            self.hits,
            self.created,
            self.destroyed
        )
    }
}

#[pymethods]
impl CloseReport {
    /// How many sandboxes were destroyed during the close.
    #[getter]
    fn destroyed(&self) -> usize {
        self.core.destroyed
    }

    /// The sandboxes that could not be destroyed in time, each with its state and the reason.
    #[getter]
    fn survivors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.core.survivors)
    }

    fn __repr__(&self) -> String {
        format!("CloseReport(destroyed={}, survivors={:?})", self.core.destroyed, self.core.survivors)
    }
}

#[pymethods]
impl DirEntry {
    /// The name, which the sandbox chose; as `os.fsdecode` gives it.
    #[getter]
    fn name(&self) -> OsString {
        self.core.name.clone()
    }

    /// `file`, `directory`, `symlink` or `other`.
    #[getter]
    fn kind(&self) -> &'static str {
        self.core.kind.name()
    }

    fn __repr__(&self) -> String {
        format!("DirEntry(name={:?}, kind='{}')", self.core.name.to_string_lossy(), self.core.kind.name())
    }
}

#[pymethods]
impl IsolationReport {
    /// One per layer, in a fixed order.
    #[getter]
    fn layers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.core.layers.iter().map(|layer| Layer { core: layer.clone() }))
    }

    /// The layer of this name, if there is one.
    fn layer(&self, name: &str) -> Option<Layer> {
        self.core.layer(name).map(|layer| Layer { core: layer.clone() })
    }

    fn __str__(&self) -> String {
        let width = self.core.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
        let lines = self
            .core
            .layers
            .iter()
            .map(|layer| format!("{:width$}  {:8}  {}", layer.name, layer.status.name(), layer.detail));
        lines.collect::<Vec<_>>().join("\n")
    }

    fn __repr__(&self) -> String {
        format!("<IsolationReport of {} layers>", self.core.layers.len())
    }
}

#[pymethods]
impl Layer {
    /// Its short name, for example `seccomp`.
    #[getter]
    fn name(&self) -> &str {
        &self.core.name
    }

    /// `active`, `degraded` or `missing`.
    #[getter]
    fn status(&self) -> &'static str {
        self.core.status.name()
    }

    /// By what means, or why not.
    #[getter]
    fn detail(&self) -> &str {
        &self.core.detail
    }

    fn __repr__(&self) -> String {
        format!("Layer(name={:?}, status='{}', detail={:?})", self.core.name, self.status(), self.core.detail)
    }
}
