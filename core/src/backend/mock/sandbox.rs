//! One sandbox in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::files::Files;
use super::process::{self, MockProcess};
use super::runtime::MockStream;
use super::script::{Counters, MockOperation, Shared};
use crate::{
    BackendProcess, BackendSandbox, CancelToken, Command, Connection, CreateRequest, DirEntry, Error,
    ErrorCode, LateBinding, Output, Phase, ResetReport, Result, SECRETS_DIR, SandboxId, SandboxSpec, Usage,
};

/// One sandbox, as its guard sees it.
pub(super) struct MockSandbox {
    shared: Arc<Shared>,
    body: Arc<Body>,
    leaf: bool,
}

/// Whether sandboxes of this spec have a runtime that cannot be forked.
pub(super) fn is_leaf(spec: &SandboxSpec) -> bool {
    spec.runtime.as_ref().is_some_and(|runtime| !runtime.forks)
}

/// What a sandbox, its backend, its processes and its connections know of it.
pub(super) struct Body {
    pub(super) id: SandboxId,
    pub(super) counters: Counters,
    death: OnceLock<String>,
    ending: AtomicBool,
    paused: AtomicBool,
    files: Mutex<Files>,
    /// What was forked from it and still exists.
    children: Mutex<Vec<Weak<Body>>>,
    /// What was mounted late.
    mounted: Mutex<Vec<PathBuf>>,
    /// Signalled when something happened that a waiting call of this sandbox may wait for.
    pulse: (Mutex<()>, Condvar),
}

impl Body {
    fn new(id: SandboxId) -> Self {
        Body {
            id,
            counters: Default::default(),
            death: OnceLock::new(),
            ending: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            files: Mutex::new(Files::default()),
            children: Mutex::default(),
            mounted: Mutex::default(),
            pulse: Default::default(),
        }
    }

    /// Its children die with it, as those of a process namespace do.
    pub(super) fn die(&self, cause: &str) {
        self.death.get_or_init(|| cause.to_owned());
        self.wake();
        self.end_children();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.death.get().is_some()
    }

    /// Takes charge of a child, which dies at once if its parent is gone already.
    fn adopt(&self, child: &Arc<Body>) {
        let mut children = self.children.lock();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(child));
        drop(children);
        if self.is_dead() || self.is_ending() {
            self.end_children();
        }
    }

    fn end_children(&self) {
        let children = std::mem::take(&mut *self.children.lock());
        for child in children.iter().filter_map(Weak::upgrade) {
            child.die(&format!("its parent {} was gone", self.id));
        }
    }

    /// Lets every waiting call look again.
    pub(super) fn wake(&self) {
        let _pulse = self.pulse.0.lock();
        self.pulse.1.notify_all();
    }

    /// Waits until `ended` says so, the sandbox dies, or the deadline comes. Answers whether it ended.
    pub(super) fn wait_until(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        cancel: Option<&CancelToken>,
        phase: Phase,
        ended: impl Fn() -> Result<bool>,
    ) -> Result<bool> {
        let _registration = cancel.map(|token| {
            let body = Arc::clone(self);
            token.on_cancel(move || body.wake())
        });
        let mut pulse = self.pulse.0.lock();
        loop {
            if ended()? {
                return Ok(true);
            }
            self.check(phase)?;
            match deadline {
                Some(deadline) if deadline <= Instant::now() => return Ok(false),
                Some(deadline) => drop(self.pulse.1.wait_until(&mut pulse, deadline)),
                None => self.pulse.1.wait(&mut pulse),
            }
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether it is being destroyed, so that calls in it must end.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// `SANDBOX_DEAD` or, for what a paused sandbox cannot do, `INVALID_STATE`.
    pub(super) fn check(&self, phase: Phase) -> Result<()> {
        if let Some(cause) = self.death.get() {
            return Err(Error::new(ErrorCode::SandboxDead, phase, cause.as_str()));
        }
        if self.is_ending() {
            return Err(Error::new(ErrorCode::SandboxDead, phase, "it was destroyed"));
        }
        if self.is_paused() {
            return Err(Error::new(ErrorCode::InvalidState, phase, "the sandbox is paused"));
        }
        Ok(())
    }
}

impl MockSandbox {
    pub(super) fn create(shared: &Arc<Shared>, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        shared.enter_create()?;
        let body = Arc::new(Body::new(request.id));
        shared.register(&body);
        Ok(Box::new(MockSandbox { shared: Arc::clone(shared), body, leaf: is_leaf(&request.spec) }))
    }

    fn enter(&self, operation: MockOperation, phase: Phase) -> Result<()> {
        self.body.check(phase)?;
        self.shared.enter(&self.body, operation)?;
        self.body.check(phase)
    }
}

impl BackendSandbox for MockSandbox {
    fn pause(&self) -> Result<()> {
        self.shared.enter(&self.body, MockOperation::Pause)?;
        self.body.paused.store(true, Ordering::Release);
        Ok(())
    }

    fn pause_at_once(&self) -> Result<bool> {
        // What is scripted may take any time.
        if self.shared.has_script_for(MockOperation::Pause) {
            return Ok(false);
        }
        self.pause().map(|()| true)
    }

    fn unpause(&self) -> Result<()> {
        self.shared.enter(&self.body, MockOperation::Unpause)?;
        self.body.paused.store(false, Ordering::Release);
        Ok(())
    }

    fn destroy(&self) -> Result<()> {
        self.body.ending.store(true, Ordering::Release);
        self.body.wake();
        self.shared.wake();
        self.shared.enter(&self.body, MockOperation::Destroy)?;
        self.body.end_children();
        self.shared.unregister(&self.body);
        Ok(())
    }

    fn bind(&self, binding: &LateBinding, _deadline: Instant) -> Result<()> {
        self.enter(MockOperation::Bind, Phase::Bind)?;
        let mut files = self.body.files.lock();
        for file in &binding.files {
            files.write(&file.path, &file.bytes).map_err(|error| error.with_phase(Phase::Bind))?;
        }
        let mut mounted = self.body.mounted.lock();
        for (name, secret) in &binding.secrets {
            let path = Path::new(SECRETS_DIR).join(name);
            files.write(&path, secret.expose())?;
            mounted.push(path);
        }
        for bind in &binding.binds {
            files.make_dir(&bind.target);
            mounted.push(bind.target.clone());
        }
        Ok(())
    }

    fn unbind(&self, _deadline: Instant) -> Result<()> {
        self.enter(MockOperation::Unbind, Phase::Bind)?;
        let mut files = self.body.files.lock();
        self.body.mounted.lock().drain(..).try_for_each(|path| files.remove(&path))
    }

    fn prepare_reset(&self) -> Result<()> {
        Ok(())
    }

    fn reset(&self, _deadline: Instant) -> Result<ResetReport> {
        self.enter(MockOperation::Reset, Phase::Use)?;
        *self.body.files.lock() = Files::default();
        let mut report = ResetReport::default();
        report.add("files", "as when fresh");
        Ok(report)
    }

    fn fork(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        if self.leaf || !self.shared.capabilities().fork {
            let message = "the runtime of this sandbox cannot fork";
            return Err(Error::new(ErrorCode::Unsupported, Phase::Fork, message));
        }
        self.body.check(Phase::Fork)?;
        self.shared.enter_fork(&self.body, request.deadline)?;
        let child = Arc::new(Body::new(request.id));
        self.body.adopt(&child);
        self.body.check(Phase::Fork)?;
        self.shared.register(&child);
        let leaf = is_leaf(&request.spec);
        Ok(Box::new(MockSandbox { shared: Arc::clone(&self.shared), body: child, leaf }))
    }

    fn death(&self) -> Option<String> {
        if let Err(error) = self.shared.enter(&self.body, MockOperation::Death) {
            self.body.die(error.message());
        }
        self.body.death.get().cloned()
    }

    fn exec(&self, command: &Command) -> Result<Output> {
        self.enter(MockOperation::Exec, Phase::Exec)?;
        process::run(&self.shared, self.body.id, command)
    }

    fn spawn(&self, command: &Command) -> Result<Box<dyn BackendProcess>> {
        self.enter(MockOperation::Exec, Phase::Exec)?;
        let process = MockProcess::start(Arc::clone(&self.shared), Arc::clone(&self.body), command)?;
        Ok(Box::new(process))
    }

    fn connect(&self, _timeout: Duration, _cancel: Option<&CancelToken>) -> Result<Connection> {
        self.enter(MockOperation::Connect, Phase::Connect)?;
        let stream = MockStream::new(Arc::clone(&self.shared), Arc::clone(&self.body));
        Ok(Connection::new(Box::new(stream)))
    }

    fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        self.enter(MockOperation::Files, Phase::Files)?;
        self.body.files.lock().read(path, max_bytes)
    }

    fn write_file(&self, path: &Path, bytes: &[u8], _mode: u32) -> Result<()> {
        self.enter(MockOperation::Files, Phase::Files)?;
        self.body.files.lock().write(path, bytes)
    }

    fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        self.enter(MockOperation::Files, Phase::Files)?;
        self.body.files.lock().list(path, max_entries)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.enter(MockOperation::Files, Phase::Files)?;
        self.body.files.lock().remove(path)
    }

    fn usage(&self) -> Result<Usage> {
        self.body.check(Phase::Use)?;
        Ok(Usage::default())
    }

    fn log(&self, _max_bytes: usize) -> Result<Vec<u8>> {
        self.body.check(Phase::Use)?;
        Ok(Vec::new())
    }
}
