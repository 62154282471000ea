//! A deterministic, in-process backend for tests: ours and our users'.

use std::time::Duration;

use crate::{Backend, BackendSandbox, Capabilities, CreateRequest, IsolationReport, Result};

/// Makes sandboxes that exist only in memory, and fails, hangs or dies exactly when told to.
///
/// Clones share one script and one set of counters.
#[derive(Clone, Debug, Default)]
pub struct MockBackend {}

/// An operation of a mock sandbox that a fault can be scripted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MockOperation {
    /// Making a sandbox.
    Create,
    /// Pausing one.
    Pause,
    /// Unpausing one.
    Unpause,
    /// Destroying one.
    Destroy,
    /// Running a command.
    Exec,
    /// Asking whether one died.
    Death,
}

/// What happens at a scripted call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MockFault {
    /// The call fails with this cause.
    Fail(String),
    /// The call blocks until [`MockBackend::release_hangs`].
    Hang,
    /// The sandbox dies, then the call fails.
    Die,
    /// The call takes this long, on the real clock.
    Delay(Duration),
}

impl MockBackend {
    /// A backend without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scripts a fault for the `nth` call of an operation, counted from 1 over all sandboxes of this backend.
    pub fn fault_at(&self, operation: MockOperation, nth: u64, fault: MockFault) {
        let _ = (operation, nth, fault);
        todo!()
    }

    /// Scripts a fault for every call of an operation from now on; `None` ends it.
    pub fn fault_always(&self, operation: MockOperation, fault: Option<MockFault>) {
        let _ = (operation, fault);
        todo!()
    }

    /// Lets every hanging call go on, now and later.
    pub fn release_hangs(&self) {
        todo!()
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: MockOperation) -> u64 {
        let _ = operation;
        todo!()
    }

    /// How many of its sandboxes are alive.
    pub fn live(&self) -> usize {
        todo!()
    }
}

impl Backend for MockBackend {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { pause: true, exec: true, connect: true, files: true }
    }

    fn isolation_report(&self) -> IsolationReport {
        IsolationReport::default()
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        let _ = request;
        todo!()
    }
}
