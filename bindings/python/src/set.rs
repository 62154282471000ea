//! The set.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};
use sandboxset::{Acquire, FirstLook, GetOptions, Phase};

use crate::arguments::{
    Optional, boolean, choice, integer, integer_or, not_picklable, seconds, seconds_or, wrong_type,
};
use crate::binding;
use crate::cancel::token;
use crate::errors::raise;
use crate::events::EventStream;
use crate::reports::{CloseReport, IsolationReport, Stats};
use crate::sandbox_ref::SandboxRef;
use crate::spec::Arguments;
use crate::wait::{DropDetached, all_within, block_on, detached, interruptible, on_main_thread};

/// The default of every deadline of the set, in seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long a prewarm may take by default.
pub(crate) const PREWARM: Duration = Duration::from_secs(60);
/// How many unread events a stream keeps by default.
const EVENTS: usize = 1024;

/// How long a holder may still put its sandbox when the interpreter exits.
const LAST_PUT: Duration = Duration::from_millis(200);

/// Closes sets side by side, for the exit of the interpreter. Never takes longer than `timeout`, whatever hangs.
#[pyfunction]
pub(crate) fn close_all(
    py: Python<'_>,
    sets: Vec<Bound<'_, SandboxSet>>,
    timeout: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let timeout = seconds("timeout", timeout)?;
    let closes = sets.iter().map(|set| {
        let core = sandboxset::SandboxSet::clone(&set.get().core);
        move || core.close(LAST_PUT)
    });
    all_within(py, Phase::Close, timeout, closes);
    Ok(())
}

/// All sandboxes of one function; thread-safe.
#[pyclass(frozen, subclass, weakref, module = "sandboxset._native")]
pub(crate) struct SandboxSet {
    core: DropDetached<sandboxset::SandboxSet>,
    policy: Option<Py<PyAny>>,
}

impl SandboxSet {
    pub(crate) fn core(&self) -> &sandboxset::SandboxSet {
        &self.core
    }

    pub(crate) fn hand_out(&self, py: Python<'_>, core: sandboxset::SandboxRef) -> SandboxRef {
        SandboxRef::new(core, self.policy.as_ref().map(|policy| policy.clone_ref(py)))
    }
}

#[pymethods]
impl SandboxSet {
    #[new]
    #[pyo3(signature = (
        backend=None, *, root=None, code_dir=None, binds=None, env=None, limits=None, runtime=None,
        layers=None, max_size=None, min_idle=None, max_waiters=None, get_timeout=None, create_timeout=None, reuse=None,
        parent=None, max_forks=None, scratch_dirs=None, command_policy=None, clock=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "they are keyword arguments")]
    fn new(
        py: Python<'_>,
        backend: Optional<'_>,
        root: Optional<'_>,
        code_dir: Optional<'_>,
        binds: Optional<'_>,
        env: Optional<'_>,
        limits: Optional<'_>,
        runtime: Optional<'_>,
        layers: Optional<'_>,
        max_size: Optional<'_>,
        min_idle: Optional<'_>,
        max_waiters: Optional<'_>,
        get_timeout: Optional<'_>,
        create_timeout: Optional<'_>,
        reuse: Optional<'_>,
        parent: Optional<'_>,
        max_forks: Optional<'_>,
        scratch_dirs: Optional<'_>,
        command_policy: Optional<'_>,
        clock: Optional<'_>,
    ) -> PyResult<Self> {
        let arguments = Arguments {
            root,
            code_dir,
            binds,
            env,
            limits,
            runtime,
            layers,
            max_size,
            min_idle,
            max_waiters,
            get_timeout,
            create_timeout,
            reuse,
            parent,
            max_forks,
            scratch_dirs,
            clock,
        };
        let (spec, config) = (arguments.spec()?, arguments.config()?);
        if let Some(policy) = command_policy.as_ref().filter(|policy| !policy.is_callable()) {
            return Err(wrong_type("command_policy", "a callable", policy));
        }
        let backend = match (&backend, &config.parent) {
            (None, Some(parent)) => Arc::clone(parent.backend()),
            _ => crate::backend::backend(py, &backend)?,
        };
        let core = detached(py, Phase::Configure, || sandboxset::SandboxSet::new(backend, spec, config))?;
        Ok(SandboxSet { core: DropDetached::new(core), policy: command_policy.map(Bound::unbind) })
    }

    /// A running sandbox: the most recently used idle one, else a new one, else the first that comes free.
    #[pyo3(signature = (*, timeout=None, no_wait=None, acquire=None, cancel=None, binding=None))]
    fn get_or_create_unpaused(
        &self,
        py: Python<'_>,
        timeout: Optional<'_>,
        no_wait: Optional<'_>,
        acquire: Optional<'_>,
        cancel: Optional<'_>,
        binding: Optional<'_>,
    ) -> PyResult<SandboxRef> {
        let options = get_options(timeout, no_wait, &acquire, &cancel, &binding)?;
        if !on_main_thread(py)? {
            let core = detached(py, Phase::Wait, || self.core.get_or_create_unpaused(&options))?;
            return Ok(self.hand_out(py, core));
        }
        // The main thread must not wait; but most gets do not have to.
        let core = match detached(py, Phase::Wait, || self.core.begin_get(options))? {
            FirstLook::Found(core) => core,
            // A sandbox that came after an interrupt goes back to the set by being dropped.
            FirstLook::NotYet(rest) => {
                interruptible(py, Phase::Wait, None, move |interrupt| block_on(rest, interrupt), drop)?
            }
        };
        Ok(self.hand_out(py, core))
    }

    /// Makes idle sandboxes until there are `count`, or until the set is full.
    #[pyo3(signature = (count, *, timeout=None))]
    fn prewarm(&self, py: Python<'_>, count: &Bound<'_, PyAny>, timeout: Optional<'_>) -> PyResult<usize> {
        let count = integer("count", count)?;
        let timeout = seconds_or("timeout", &timeout, PREWARM)?;
        let set = sandboxset::SandboxSet::clone(&self.core);
        interruptible(py, Phase::Create, None, move |_| set.prewarm(count, timeout), |_| ())
    }

    /// Destroys idle sandboxes, least recently used first, until `keep` are left.
    fn shrink(&self, py: Python<'_>, keep: &Bound<'_, PyAny>) -> PyResult<usize> {
        let keep = integer("keep", keep)?;
        let set = sandboxset::SandboxSet::clone(&self.core);
        interruptible(py, Phase::Destroy, None, move |_| set.shrink(keep), |_| ())
    }

    /// Stops admission and waits for holders.
    #[pyo3(signature = (deadline=None))]
    fn drain(&self, py: Python<'_>, deadline: Optional<'_>) -> PyResult<()> {
        let deadline = seconds_or("deadline", &deadline, DEADLINE)?;
        let set = sandboxset::SandboxSet::clone(&self.core);
        interruptible(py, Phase::Close, None, move |_| set.drain(deadline), drop)
    }

    /// Closes the set and waits for the teardown.
    #[pyo3(signature = (deadline=None))]
    fn close(&self, py: Python<'_>, deadline: Optional<'_>) -> PyResult<CloseReport> {
        let deadline = seconds_or("deadline", &deadline, DEADLINE)?;
        let set = sandboxset::SandboxSet::clone(&self.core);
        let report = interruptible(py, Phase::Close, None, move |_| set.close(deadline), drop)?;
        Ok(CloseReport::new(report))
    }

    /// A consistent snapshot of the counters.
    fn stats(&self, py: Python<'_>) -> Stats {
        Stats::new(py.detach(|| self.core.stats()))
    }

    /// Subscribes to what happens from now on.
    #[pyo3(signature = (*, capacity=None, timeout=None))]
    fn events(&self, py: Python<'_>, capacity: Optional<'_>, timeout: Optional<'_>) -> PyResult<EventStream> {
        let capacity = integer_or("capacity", &capacity, EVENTS)?;
        let timeout = timeout.map(|timeout| seconds("timeout", &timeout)).transpose()?;
        let core = self.core.events(capacity).map_err(|error| raise(py, error))?;
        Ok(EventStream::new(core, timeout))
    }

    /// What isolation the sandboxes of this set reach on this host.
    fn isolation_report(&self, py: Python<'_>) -> IsolationReport {
        IsolationReport::new(py.detach(|| self.core.isolation_report()))
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
    ) -> PyResult<()> {
        self.close(py, None).map(drop)
    }

    fn __repr__(&self) -> String {
        let stats = self.core.stats();
        format!("<SandboxSet idle={} held={} waiting={}>", stats.idle, stats.held, stats.waiting)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(not_picklable("SandboxSet"))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.policy)
    }
}

/// What a get was told.
#[inline]
pub(crate) fn get_options(
    timeout: Optional<'_>,
    no_wait: Optional<'_>,
    acquire: &Optional<'_>,
    cancel: &Optional<'_>,
    binding: &Optional<'_>,
) -> PyResult<GetOptions> {
    let choices =
        [("any", Acquire::Any), ("reuse_only", Acquire::ReuseOnly), ("fresh_only", Acquire::FreshOnly)];
    Ok(GetOptions {
        timeout: timeout.map(|timeout| seconds("timeout", &timeout)).transpose()?,
        no_wait: no_wait.map_or(Ok(false), |no_wait| boolean("no_wait", &no_wait))?,
        acquire: choice("acquire", acquire, Acquire::Any, &choices)?,
        cancel: token(cancel)?,
        binding: binding::binding(binding)?,
    })
}
