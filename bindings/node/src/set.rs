//! The set.

use std::rc::Rc;
use std::sync::Arc;

use napi::Env;
use napi_derive::napi;
use sandboxset::{Backend, Clock, Phase, Task};

use crate::backend::{LinuxBackend, ManualClock, MockBackend, Pace};
use crate::bridge::{Done, start};
use crate::elsewhere::DropElsewhere;
use crate::errors::raise;
use crate::events::EventStream;
use crate::lease::Lease;
use crate::reports::{CloseReport, IsolationReport, Stats};
use crate::spec::{ConfigOptions, SpecOptions};
use crate::values::millis;

#[napi]
pub struct SandboxSet {
    core: Rc<DropElsewhere<sandboxset::SandboxSet>>,
    pace: Pace,
}

/// Makes a set, on a worker: an image may have to be unpacked, and a keeper to be found. With neither backend nor
/// parent it is the Linux one.
#[napi(catch_unwind)]
#[allow(clippy::too_many_arguments, reason = "the facade has them as one object")]
pub fn open(
    env: Env,
    linux: Option<&LinuxBackend>,
    mock: Option<&MockBackend>,
    parent: Option<&SandboxSet>,
    clock: Option<&ManualClock>,
    spec: SpecOptions,
    config: ConfigOptions,
    done: Done<'_>,
) -> napi::Result<()> {
    let spec = spec.read().map_err(|error| raise(&env, &error))?;
    let mut config = config.read();
    config.clock = clock.map_or(Clock::System, |clock| Clock::Manual(Arc::clone(&clock.core)));
    config.parent = parent.map(|parent| sandboxset::SandboxSet::clone(&parent.core));
    let (backend, pace): (Option<Arc<dyn Backend>>, Pace) = match (linux, mock, parent) {
        (Some(linux), ..) => (Some(Arc::clone(&linux.core)), Pace::linux()),
        (None, Some(mock), _) => (Some(Arc::new(mock.core.clone())), mock.pace.clone()),
        (None, None, Some(parent)) => (Some(Arc::clone(parent.core.backend())), parent.pace.clone()),
        (None, None, None) => (None, Pace::linux()),
    };
    let call = move |_: &_| {
        let backend = match backend {
            Some(backend) => backend,
            None => Arc::new(sandboxset::backend::linux::LinuxBackend::new(Default::default())?),
        };
        sandboxset::SandboxSet::new(backend, spec, config)
    };
    start(&env, &done, Task::run(Phase::Configure, None, call), move |_, core| {
        Ok(SandboxSet { core: Rc::new(DropElsewhere::new(core)), pace })
    })
}

#[napi]
impl SandboxSet {
    /// A place for a sandbox of this set, empty yet.
    #[napi(catch_unwind)]
    pub fn lease(&self) -> Lease {
        Lease::new(Rc::downgrade(&self.core), self.pace.clone())
    }

    #[napi(catch_unwind)]
    pub fn prewarm(&self, env: Env, count: f64, timeout: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.core.prewarm_async(count as usize, millis(timeout));
        start(&env, &done, task, |_, idle| Ok(idle as f64))
    }

    #[napi(catch_unwind)]
    pub fn shrink(&self, env: Env, keep: f64) -> napi::Result<f64> {
        let count = self.core.shrink(keep as usize).map_err(|error| raise(&env, &error))?;
        Ok(count as f64)
    }

    #[napi(catch_unwind)]
    pub fn drain(&self, env: Env, deadline: f64, done: Done<'_>) -> napi::Result<()> {
        start(&env, &done, self.core.drain_async(millis(deadline)), |_, ()| Ok(()))
    }

    #[napi(catch_unwind)]
    pub fn close(&self, env: Env, deadline: f64, done: Done<'_>) -> napi::Result<()> {
        let task = self.core.close_async(millis(deadline));
        start(&env, &done, task, |_, report| Ok(CloseReport::from(report)))
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> Stats {
        self.core.stats().into()
    }

    #[napi(catch_unwind)]
    pub fn events(&self, env: Env, capacity: f64) -> napi::Result<EventStream> {
        let core = self.core.events(capacity as usize).map_err(|error| raise(&env, &error))?;
        Ok(EventStream::new(core))
    }

    #[napi(catch_unwind)]
    pub fn isolation_report(&self, env: Env, done: Done<'_>) -> napi::Result<()> {
        let core = sandboxset::SandboxSet::clone(&self.core);
        let task = Task::run(Phase::Use, None, move |_| Ok(core.isolation_report()));
        start(&env, &done, task, |_, report| Ok(IsolationReport::from(report)))
    }
}
