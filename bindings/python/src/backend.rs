//! The makers of sandboxes.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use sandboxset::backend::linux;
use sandboxset::backend::mock::{self, MockOperation};
use sandboxset::{Backend, Phase};

use crate::arguments::{
    Optional, choice, host_path, integer, invalid, not_picklable, seconds, seconds_or, text, wrong_type,
};
use crate::wait::{DropDetached, detached, interruptible};

/// How long to wait for scripted hangs by default.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes sandboxes of Linux namespaces and cgroups; needs no root and no daemon.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct LinuxBackend {
    core: DropDetached<Arc<dyn Backend>>,
}

/// Makes sandboxes that exist only in memory, and fails, hangs or dies exactly when told to. For tests.
///
/// A command answers its arguments, joined by spaces and followed by a newline, and exits with 0; a call to the
/// runtime answers the request; files live in memory.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct MockBackend {
    core: mock::MockBackend,
}

/// What happens at a scripted call of a `MockBackend`.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct MockFault {
    core: mock::MockFault,
}

/// A clock that only `advance` moves; for tests.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct ManualClock {
    core: Arc<sandboxset::ManualClock>,
}

/// The backend given as an argument; the Linux one by default.
pub(crate) fn backend(py: Python<'_>, value: &Optional<'_>) -> PyResult<Arc<dyn Backend>> {
    let Some(value) = value else {
        return linux_backend(py, linux::LinuxOptions::default());
    };
    if let Ok(linux) = value.cast::<LinuxBackend>() {
        return Ok(Arc::clone(&linux.get().core));
    }
    if let Ok(mock) = value.cast::<MockBackend>() {
        return Ok(Arc::new(mock.get().core.clone()));
    }
    Err(wrong_type("backend", "a LinuxBackend or MockBackend", value))
}

/// The clock given as an argument; the machine's by default.
pub(crate) fn clock(value: &Optional<'_>) -> PyResult<sandboxset::Clock> {
    let Some(value) = value else { return Ok(sandboxset::Clock::System) };
    match value.cast::<ManualClock>() {
        Ok(clock) => Ok(sandboxset::Clock::Manual(Arc::clone(&clock.get().core))),
        Err(_) => Err(wrong_type("clock", "a ManualClock", value)),
    }
}

fn linux_backend(py: Python<'_>, options: linux::LinuxOptions) -> PyResult<Arc<dyn Backend>> {
    let backend = detached(py, Phase::Configure, || linux::LinuxBackend::new(options))?;
    Ok(Arc::new(backend))
}

#[pymethods]
impl LinuxBackend {
    #[new]
    #[pyo3(signature = (*, keeper=None, image_cache=None, shells=None))]
    fn new(
        py: Python<'_>,
        keeper: Optional<'_>,
        image_cache: Optional<'_>,
        shells: Optional<'_>,
    ) -> PyResult<Self> {
        let keeper = keeper.map(|path| host_path("keeper", &path)).transpose()?;
        let image_cache = image_cache.map(|path| host_path("image_cache", &path)).transpose()?;
        let shells = shells.map(|shells| integer("shells", &shells)).transpose()?;
        let core = linux_backend(py, linux::LinuxOptions { keeper, image_cache, shells })?;
        Ok(LinuxBackend { core: DropDetached::new(core) })
    }

    fn __repr__(&self) -> &'static str {
        "LinuxBackend()"
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("LinuxBackend"))
    }
}

#[pymethods]
impl MockBackend {
    #[new]
    fn new() -> Self {
        MockBackend { core: mock::MockBackend::new() }
    }

    /// Scripts a fault for the `nth` call of an operation, counted from 1 over all sandboxes of this backend.
    fn fault_at(
        &self,
        operation: &Bound<'_, PyAny>,
        nth: &Bound<'_, PyAny>,
        fault: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (operation, count) = (operation_of(operation)?, integer::<u64>("nth", nth)?);
        let fault = fault_of(fault)?;
        if count == 0 {
            return Err(invalid(nth.py(), "nth", "calls are counted from 1"));
        }
        self.core.fault_at(operation, count, fault);
        Ok(())
    }

    /// Scripts a fault for every call of an operation from now on; `None` ends it.
    #[pyo3(signature = (operation, fault=None))]
    fn fault_always(&self, operation: &Bound<'_, PyAny>, fault: Optional<'_>) -> PyResult<()> {
        let operation = operation_of(operation)?;
        self.core.fault_always(operation, fault.map(|fault| fault_of(&fault)).transpose()?);
        Ok(())
    }

    /// Lets every hanging call go on, now and later.
    fn release_hangs(&self) {
        self.core.release_hangs();
    }

    /// Waits until at least `count` calls of an operation hang at once; `False` if they do not in time.
    #[pyo3(signature = (operation, count, *, timeout=None))]
    fn wait_for_hangs(
        &self,
        py: Python<'_>,
        operation: &Bound<'_, PyAny>,
        count: &Bound<'_, PyAny>,
        timeout: Optional<'_>,
    ) -> PyResult<bool> {
        let (operation, count) = (operation_of(operation)?, integer("count", count)?);
        let timeout = seconds_or("timeout", &timeout, HANG_TIMEOUT)?;
        let core = self.core.clone();
        let call = move |_| Ok(core.wait_for_hangs(operation, count, timeout));
        interruptible(py, Phase::Use, None, call, |_| ())
    }

    /// How often an operation was called.
    fn calls(&self, operation: &Bound<'_, PyAny>) -> PyResult<u64> {
        Ok(self.core.calls(operation_of(operation)?))
    }

    /// How many of its sandboxes exist: created and not destroyed yet, dead ones included.
    fn live(&self) -> usize {
        self.core.live()
    }

    /// The most of its sandboxes that ever existed at once.
    fn most_live(&self) -> usize {
        self.core.most_live()
    }

    /// How many of its sandboxes exist and are paused.
    fn paused(&self) -> usize {
        self.core.paused()
    }

    fn __repr__(&self) -> String {
        format!("MockBackend(live={})", self.core.live())
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("MockBackend"))
    }
}

#[pymethods]
impl MockFault {
    /// The call fails with this cause.
    #[staticmethod]
    fn fail(cause: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(MockFault { core: mock::MockFault::Fail(text("cause", cause)?) })
    }

    /// The call blocks until `MockBackend.release_hangs`.
    #[staticmethod]
    fn hang() -> Self {
        MockFault { core: mock::MockFault::Hang }
    }

    /// The sandbox dies, then the call fails.
    #[staticmethod]
    fn die() -> Self {
        MockFault { core: mock::MockFault::Die }
    }

    /// The call takes this many seconds, on the real clock.
    #[staticmethod]
    #[pyo3(name = "delay")]
    fn delayed(seconds: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(MockFault { core: mock::MockFault::Delay(crate::arguments::seconds("seconds", seconds)?) })
    }

    fn __repr__(&self) -> String {
        match &self.core {
            mock::MockFault::Fail(cause) => format!("MockFault.fail({cause:?})"),
            mock::MockFault::Hang => "MockFault.hang()".into(),
            mock::MockFault::Die => "MockFault.die()".into(),
            mock::MockFault::Delay(time) => format!("MockFault.delay({})", time.as_secs_f64()),
            other => format!("MockFault({other:?})"),
        }
    }
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new() -> Self {
        ManualClock { core: sandboxset::ManualClock::new() }
    }

    /// Moves the clock by this many seconds and runs everything whose deadline has come.
    fn advance(&self, py: Python<'_>, by: &Bound<'_, PyAny>) -> PyResult<()> {
        let by = seconds("by", by)?;
        py.detach(|| self.core.advance(by));
        Ok(())
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("ManualClock"))
    }
}

fn operation_of(value: &Bound<'_, PyAny>) -> PyResult<MockOperation> {
    let choices = [
        ("create", MockOperation::Create),
        ("pause", MockOperation::Pause),
        ("unpause", MockOperation::Unpause),
        ("destroy", MockOperation::Destroy),
        ("exec", MockOperation::Exec),
        ("death", MockOperation::Death),
        ("connect", MockOperation::Connect),
        ("files", MockOperation::Files),
        ("reset", MockOperation::Reset),
        ("fork", MockOperation::Fork),
        ("bind", MockOperation::Bind),
        ("unbind", MockOperation::Unbind),
    ];
    choice("operation", &Some(value.clone()), MockOperation::Create, &choices)
}

fn fault_of(value: &Bound<'_, PyAny>) -> PyResult<mock::MockFault> {
    match value.cast::<MockFault>() {
        Ok(fault) => Ok(fault.get().core.clone()),
        Err(_) => Err(wrong_type("fault", "a MockFault", value)),
    }
}
