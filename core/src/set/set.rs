//! The set itself.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    Backend, Config, EventStream, GetOptions, IsolationReport, Result, SandboxRef, SandboxSpec, Stats,
};

/// All sandboxes of one function. Thread-safe; clones share one set, which is closed when the last one is dropped.
#[derive(Clone, Debug)]
pub struct SandboxSet {}

/// What a close left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Sandboxes that were destroyed during the close.
    pub destroyed: usize,
    /// Sandboxes that could not be destroyed in time, each with its state and the reason.
    pub survivors: Vec<String>,
}

impl SandboxSet {
    /// A set of sandboxes made by `backend` from `spec`. Makes no sandbox yet, unless `min_idle` asks for it.
    pub fn new(backend: Arc<dyn Backend>, spec: SandboxSpec, config: Config) -> Result<Self> {
        let _ = (backend, spec, config);
        todo!()
    }

    /// A running sandbox: the most recently used idle one, else a new one, else the first that comes free.
    pub fn get_or_create_unpaused(&self, options: &GetOptions) -> Result<SandboxRef> {
        let _ = options;
        todo!()
    }

    /// Makes idle sandboxes until there are `count`, or until the set is full. Waits for them, at most `timeout`,
    /// and answers how many are idle then.
    pub fn prewarm(&self, count: usize, timeout: Duration) -> Result<usize> {
        let _ = (count, timeout);
        todo!()
    }

    /// Destroys idle sandboxes, least recently used first, until `keep` are left. Answers how many it destroyed.
    pub fn shrink(&self, keep: usize) -> Result<usize> {
        let _ = keep;
        todo!()
    }

    /// Stops admission and waits for holders. `TIMEOUT` if some are left; the set stays draining. Idempotent.
    pub fn drain(&self, deadline: Duration) -> Result<()> {
        let _ = deadline;
        todo!()
    }

    /// Fails waiters with `CLOSED`, destroys idle sandboxes at once and held ones at their put or at the deadline,
    /// waits for all of it and reports what survived. Idempotent.
    pub fn close(&self, deadline: Duration) -> Result<CloseReport> {
        let _ = deadline;
        todo!()
    }

    /// A consistent snapshot of the counters. Works after close.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// Subscribes to what happens from now on. At most `capacity` unread events are kept.
    pub fn events(&self, capacity: usize) -> Result<EventStream> {
        let _ = capacity;
        todo!()
    }

    /// What isolation the sandboxes of this set reach on this host.
    pub fn isolation_report(&self) -> IsolationReport {
        todo!()
    }
}
