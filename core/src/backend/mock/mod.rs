//! A deterministic, in-process backend for tests: ours and our users'.

mod files;
mod process;
mod runtime;
mod sandbox;
mod script;

use std::sync::Arc;
use std::time::Duration;

pub use script::{MockFault, MockOperation};

use crate::{
    Backend, BackendSandbox, Capabilities, Command, CreateRequest, Error, IsolationReport, Output, Result,
    SandboxId, SandboxSpec,
};
use sandbox::MockSandbox;
use script::Shared;

/// Makes sandboxes that exist only in memory, and fails, hangs or dies exactly when told to.
///
/// A command answers its arguments, joined by spaces and followed by a newline, and exits with 0; a call to the
/// runtime answers the request; files live in memory. [`MockBackend::on_exec`] and [`MockBackend::on_call`] replace
/// the first two. Secrets that are bound late are files too, and binds empty directories. Every sandbox can be forked,
/// unless it has a runtime that is no fork server. Clones share one script and one set of counters. Thread-safe.
#[derive(Clone, Debug, Default)]
pub struct MockBackend {
    shared: Arc<Shared>,
}

impl MockBackend {
    /// A backend without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scripts a fault for the `nth` call of an operation, counted from 1 over all sandboxes of this backend and
    /// from its beginning.
    pub fn fault_at(&self, operation: MockOperation, nth: u64, fault: MockFault) {
        self.shared.script_at(operation, nth, fault);
    }

    /// Scripts a fault for every call of an operation from now on; `None` ends it. A fault for one particular call
    /// comes before this one.
    pub fn fault_always(&self, operation: MockOperation, fault: Option<MockFault>) {
        self.shared.script_always(operation, fault);
    }

    /// Lets every hanging call go on, now and later.
    pub fn release_hangs(&self) {
        self.shared.release_hangs();
    }

    /// Waits until at least `count` calls of an operation hang at once; `false` if they do not in time.
    pub fn wait_for_hangs(&self, operation: MockOperation, count: usize, timeout: Duration) -> bool {
        self.shared.wait_for_hangs(operation, count, timeout)
    }

    /// How often an operation was called.
    pub fn calls(&self, operation: MockOperation) -> u64 {
        self.shared.calls(operation)
    }

    /// How many of its sandboxes exist: created and not destroyed yet, dead ones included.
    pub fn live(&self) -> usize {
        self.shared.live()
    }

    /// The most of its sandboxes that ever existed at once.
    pub fn most_live(&self) -> usize {
        self.shared.most_live()
    }

    /// How many of its sandboxes exist and are paused.
    pub fn paused(&self) -> usize {
        self.shared.paused()
    }

    /// Lets a sandbox die, as if its init had been killed. `false` if there is none of this id.
    pub fn kill(&self, id: SandboxId, cause: &str) -> bool {
        self.shared.kill(id, cause)
    }

    /// Answers every command from now on. Called on the thread that runs the command, without any lock held.
    /// What it answers is cut to the command's `output_bytes`.
    pub fn on_exec(&self, handler: impl Fn(SandboxId, &Command) -> Result<Output> + Send + Sync + 'static) {
        self.shared.set_exec_handler(Arc::new(handler));
    }

    /// Answers every request to the runtime from now on. Without a handler the answer is the request.
    pub fn on_call(&self, handler: impl Fn(SandboxId, &[u8]) -> Vec<u8> + Send + Sync + 'static) {
        self.shared.set_call_handler(Arc::new(handler));
    }

    /// An output for exec handlers: a command that wrote this to its standard output and exited with this code.
    pub fn output(exit_code: i32, stdout: impl Into<Vec<u8>>) -> Output {
        process::output(exit_code, stdout.into())
    }

    /// What its sandboxes claim they can do from the next set on; everything, unless told otherwise.
    pub fn set_capabilities(&self, capabilities: Capabilities) {
        self.shared.set_capabilities(capabilities);
    }
}

impl Backend for MockBackend {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities()
    }

    fn identity(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    fn isolation_report(&self) -> IsolationReport {
        IsolationReport::default()
    }

    fn validate_parent(&self, spec: &SandboxSpec) -> Result<()> {
        if sandbox::is_leaf(spec) {
            return Err(Error::invalid("parent", "its sandboxes have a runtime that cannot be forked"));
        }
        Ok(())
    }

    fn create(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        MockSandbox::create(&self.shared, request)
    }
}
