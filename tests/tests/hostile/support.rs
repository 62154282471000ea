//! What the attacks share: sandboxes with a census around them.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, EventKind, EventStream, GetOptions, Output, SandboxRef, SandboxSet,
    SandboxSpec, ScratchDirs,
};
use sandboxset_tests::census::{Census, Scope};

pub(crate) const HANG: Duration = Duration::from_secs(60);

/// The census counts the whole process's descriptors, and bombs need the machine to themselves.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A set of real sandboxes. When it goes, so has everything of it, or the test fails.
pub(crate) struct Guarded {
    set: Option<SandboxSet>,
    events: EventStream,
    scope: Scope,
    before: Census,
    _alone: MutexGuard<'static, ()>,
}

impl Guarded {
    pub(crate) fn new(spec: SandboxSpec) -> Self {
        Self::with_scratch(spec, ScratchDirs::Tmpfs)
    }

    pub(crate) fn with_scratch(spec: SandboxSpec, scratch_dirs: ScratchDirs) -> Self {
        Self::with_options(LinuxOptions::default(), spec, scratch_dirs)
    }

    pub(crate) fn with_options(options: LinuxOptions, spec: SandboxSpec, scratch_dirs: ScratchDirs) -> Self {
        let alone = alone();
        let scope = Scope::own();
        let before = scope.take();
        let backend: Arc<dyn Backend> = Arc::new(LinuxBackend::new(options).unwrap());
        let config = Config { scratch_dirs, ..Config::default() };
        let set = SandboxSet::new(backend, spec, config).unwrap();
        let events = set.events(10_000).unwrap();
        Guarded { set: Some(set), events, scope, before, _alone: alone }
    }

    pub(crate) fn get(&self) -> SandboxRef {
        self.get_or_create_unpaused(&GetOptions::default()).unwrap()
    }

    /// Whether a limit is enforced by a cgroup here; the weaker means count per process.
    pub(crate) fn has_cgroup(&self, controller: &str) -> bool {
        let report = self.isolation_report();
        report.layer(controller).is_some_and(|layer| layer.status == sandboxset::LayerStatus::Active)
    }
}

impl Deref for Guarded {
    type Target = SandboxSet;

    fn deref(&self) -> &SandboxSet {
        self.set.as_ref().unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let set = self.set.take();
        if std::thread::panicking() {
            return;
        }
        let report = set.unwrap().close(HANG).unwrap();
        let faults = std::iter::from_fn(|| self.events.next(Duration::ZERO))
            .filter(|event| matches!(event.kind, EventKind::Fault(_)));
        assert!(report.survivors.is_empty(), "{report:?} {:?}", faults.collect::<Vec<_>>());
        self.scope.assert_settles(&self.before);
    }
}

/// Runs a command that takes long only if it hangs.
pub(crate) fn run(sandbox: &SandboxRef, args: &[&str]) -> Output {
    let mut command = Command::new(args);
    command.timeout = HANG;
    sandbox.exec(&command).unwrap()
}

/// Runs Python code given as text.
pub(crate) fn python(sandbox: &SandboxRef, code: &str) -> Output {
    run(sandbox, &["/usr/bin/python3", "-c", code])
}
