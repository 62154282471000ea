//! The makers of sandboxes, and the clock for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use napi::Env;
use napi_derive::napi;
use sandboxset::backend::linux;
use sandboxset::backend::mock::{self, MockOperation};
use sandboxset::{Backend, Error, Phase, Task};

use crate::bridge::{Done, start};
use crate::elsewhere::DropElsewhere;
use crate::errors::raise;
use crate::values::{Name, as_millis, millis, path};

/// A maker of sandboxes.
#[napi]
pub struct LinuxBackend {
    pub(crate) core: DropElsewhere<Arc<dyn Backend>>,
}

#[napi(object, object_to_js = false)]
pub struct LinuxOptions {
    pub keeper: Option<Name>,
    pub image_cache: Option<Name>,
    pub shells: Option<f64>,
}

/// The scripted one for tests.
#[napi]
pub struct MockBackend {
    pub(crate) core: mock::MockBackend,
    pub(crate) pace: Pace,
}

/// What the backend does at once, so that it may be done on the thread of JavaScript.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Whether pausing waits for nobody.
    pauses: bool,
    /// Whether a test made any of this slow. That thread alone could end a hang, so it must not be in it.
    scripted: Arc<AtomicBool>,
}

impl Pace {
    /// Of a backend whose sandboxes can keep a pause waiting, but no unpause.
    pub(crate) fn linux() -> Self {
        Pace { pauses: false, scripted: Arc::default() }
    }

    fn mock() -> Self {
        Pace { pauses: true, scripted: Arc::default() }
    }

    pub(crate) fn gets_at_once(&self) -> bool {
        !self.scripted.load(Ordering::Relaxed)
    }

    pub(crate) fn puts_at_once(&self) -> bool {
        self.pauses && self.gets_at_once()
    }
}

#[napi]
impl LinuxBackend {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, options: LinuxOptions) -> napi::Result<Self> {
        let options = linux::LinuxOptions {
            keeper: options.keeper.map(path),
            image_cache: options.image_cache.map(path),
            shells: options.shells.map(|shells| shells as usize),
        };
        let core = linux::LinuxBackend::new(options).map_err(|error| raise(&env, &error))?;
        Ok(LinuxBackend { core: DropElsewhere::new(Arc::new(core)) })
    }
}

/// What happens at a scripted call.
#[napi(object, object_to_js = false)]
pub struct Fault {
    /// `fail`, `hang`, `die` or `delay`.
    pub kind: String,
    pub cause: Option<String>,
    pub delay: Option<f64>,
}

#[napi]
impl MockBackend {
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes them")]
    pub fn new() -> Self {
        MockBackend { core: mock::MockBackend::new(), pace: Pace::mock() }
    }

    #[napi(catch_unwind)]
    pub fn fault_at(&self, env: Env, operation: String, nth: f64, fault: Fault) -> napi::Result<()> {
        let operation = operation_of(&env, &operation)?;
        self.core.fault_at(operation, nth as u64, self.read(operation, fault));
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn fault_always(&self, env: Env, operation: String, fault: Option<Fault>) -> napi::Result<()> {
        let operation = operation_of(&env, &operation)?;
        self.core.fault_always(operation, fault.map(|fault| self.read(operation, fault)));
        Ok(())
    }

    #[napi(catch_unwind)]
    pub fn release_hangs(&self) {
        self.core.release_hangs();
    }

    #[napi(catch_unwind)]
    pub fn wait_for_hangs(
        &self,
        env: Env,
        operation: String,
        count: f64,
        timeout: f64,
        done: Done<'_>,
    ) -> napi::Result<()> {
        let (operation, core) = (operation_of(&env, &operation)?, self.core.clone());
        let call = move |_: &_| Ok(core.wait_for_hangs(operation, count as usize, millis(timeout)));
        start(&env, &done, Task::run(Phase::Use, None, call), |_, hang: bool| Ok(hang))
    }

    #[napi(catch_unwind)]
    pub fn calls(&self, env: Env, operation: String) -> napi::Result<f64> {
        Ok(self.core.calls(operation_of(&env, &operation)?) as f64)
    }

    #[napi(getter, catch_unwind)]
    pub fn live(&self) -> f64 {
        self.core.live() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn most_live(&self) -> f64 {
        self.core.most_live() as f64
    }

    #[napi(getter, catch_unwind)]
    pub fn paused(&self) -> f64 {
        self.core.paused() as f64
    }

    fn read(&self, operation: MockOperation, fault: Fault) -> mock::MockFault {
        let fault = match &*fault.kind {
            "hang" => mock::MockFault::Hang,
            "delay" => mock::MockFault::Delay(millis(fault.delay.unwrap_or_default())),
            "die" => mock::MockFault::Die,
            _ => mock::MockFault::Fail(fault.cause.unwrap_or_default()),
        };
        let slow = matches!(fault, mock::MockFault::Hang | mock::MockFault::Delay(_));
        use MockOperation::{Death, Pause, Unbind, Unpause};
        if slow && matches!(operation, Pause | Unpause | Death | Unbind) {
            // For good: what was scripted may be under way.
            self.pace.scripted.store(true, Ordering::Relaxed);
        }
        fault
    }
}

/// A clock that only `advance` moves; for tests.
#[napi]
pub struct ManualClock {
    pub(crate) core: Arc<sandboxset::ManualClock>,
}

#[napi]
impl ManualClock {
    #[napi(constructor, catch_unwind)]
    #[allow(clippy::new_without_default, reason = "only JavaScript makes them")]
    pub fn new() -> Self {
        ManualClock { core: sandboxset::ManualClock::new() }
    }

    #[napi(catch_unwind)]
    pub fn advance(&self, by: f64) {
        self.core.advance(millis(by));
    }

    #[napi(getter, catch_unwind)]
    pub fn now(&self) -> f64 {
        as_millis(self.core.now())
    }

    #[napi(getter, catch_unwind)]
    pub fn scheduled(&self) -> f64 {
        self.core.scheduled() as f64
    }
}

fn operation_of(env: &Env, name: &str) -> napi::Result<MockOperation> {
    Ok(match name {
        "create" => MockOperation::Create,
        "pause" => MockOperation::Pause,
        "unpause" => MockOperation::Unpause,
        "destroy" => MockOperation::Destroy,
        "exec" => MockOperation::Exec,
        "death" => MockOperation::Death,
        "connect" => MockOperation::Connect,
        "files" => MockOperation::Files,
        "reset" => MockOperation::Reset,
        "fork" => MockOperation::Fork,
        "bind" => MockOperation::Bind,
        "unbind" => MockOperation::Unbind,
        _ => return Err(raise(env, &Error::invalid("operation", format_args!("{name:?} is none")))),
    })
}
