//! The Python runtime: created, forked, and what becomes of its forks when it is killed or stopped meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, CreateRequest, ErrorCode, GetOptions, PythonRuntime, SandboxId, SandboxSet,
    SandboxSpec, ScratchDirs,
};

use crate::support::{HANG, TestSandbox, eventually, sandbox_from, skip};

const HANDLERS: &str = "
import sys
def hello(request): return b'hello ' + request
def fail(request): raise ValueError('no good')
def loaded(request): return b'yes' if request.decode() in sys.modules else b'no'
";

/// How long a fork of a parent that does not answer may take.
const SOON: Duration = Duration::from_millis(500);

/// A directory with the handlers, removed with the test.
struct Code(PathBuf);

impl Code {
    /// `None`, said loudly, if there is no Python to run them.
    fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !Path::new("/usr/bin/python3").exists() {
            skip("no /usr/bin/python3");
            return None;
        }
        let name = format!("linux-python-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let code = Code(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&code.0).unwrap();
        std::fs::write(code.0.join("app.py"), HANDLERS).unwrap();
        Some(code)
    }

    fn spec(&self, python: &PythonRuntime) -> SandboxSpec {
        // Not whichever is first in PATH: a version manager's may not be reachable for everybody.
        let python = PythonRuntime { interpreter: Some("/usr/bin/python3".into()), ..python.clone() };
        SandboxSpec {
            code_dir: Some(self.0.clone()),
            runtime: Some(python.runtime().unwrap()),
            ..SandboxSpec::default()
        }
    }

    fn parent(&self) -> Option<TestSandbox> {
        let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
        sandbox_from(backend, self.spec(&PythonRuntime::preloaded(["json", "decimal"])), ScratchDirs::Tmpfs)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn new_set(spec: SandboxSpec, config: Config) -> SandboxSet {
    let backend: Arc<dyn Backend> = match &config.parent {
        Some(parent) => Arc::clone(parent.backend()),
        None => Arc::new(LinuxBackend::new(LinuxOptions::default()).unwrap()),
    };
    SandboxSet::new(backend, spec, config).unwrap()
}

fn fork(
    parent: &TestSandbox,
    code: &Code,
    time: Duration,
) -> Result<Box<dyn sandboxset::BackendSandbox>, sandboxset::Error> {
    parent.fork(&CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(code.spec(&PythonRuntime::handling("app:hello"))),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + time,
    })
}

fn signal_server(parent: &TestSandbox, signal: &str) {
    // The runtime is the first process that the init starts.
    let script = format!("kill -{signal} 2");
    assert!(parent.exec(&Command::new(["/bin/sh", "-c", &script])).unwrap().success());
}

#[test]
fn a_handler_answers_in_a_created_and_in_a_forked_sandbox() {
    let Some(code) = Code::new() else { return };
    // Whether this host can have any is not asked twice.
    if code.parent().is_none() {
        return;
    }
    let handler = PythonRuntime::handling("app:loaded");
    let plain = new_set(code.spec(&handler), Config::default());
    let parents = new_set(code.spec(&PythonRuntime::preloaded(["decimal"])), Config::default());
    let config = Config { parent: Some(parents.clone()), ..Config::default() };
    let forked = new_set(code.spec(&handler), config);
    for (set, expected) in [(&plain, "no"), (&forked, "yes")] {
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        assert_eq!(sandbox.call(b"decimal", HANG, None).unwrap(), expected.as_bytes());
        assert_eq!(sandbox.call(b"sys", HANG, None).unwrap(), b"yes");
    }
    for set in [plain, forked, parents] {
        assert!(set.close(HANG).unwrap().survivors.is_empty());
    }
}

#[test]
fn a_failed_handler_is_an_error_that_spoils_nothing() {
    let Some(code) = Code::new() else { return };
    if code.parent().is_none() {
        return;
    }
    let set = new_set(code.spec(&PythonRuntime::handling("app:fail")), Config::default());
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    for _ in 0..2 {
        let error = sandbox.call(b"", HANG, None).unwrap_err();
        assert_eq!(error.code(), ErrorCode::HandlerFailed);
        assert!(error.message().contains("ValueError: no good"), "{error}");
        assert!(error.cause().contains("app.py"), "{error}");
    }
    sandbox.put().unwrap();
    let again = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    assert!(again.reused());
    drop(again);
    assert!(set.close(HANG).unwrap().survivors.is_empty());
}

#[test]
fn a_stopped_parent_costs_a_fork_its_time_and_can_be_forked_again() {
    let Some(code) = Code::new() else { return };
    let Some(parent) = code.parent() else { return };
    signal_server(&parent, "STOP");
    assert_eq!(fork(&parent, &code, SOON).err().map(|error| error.code()), Some(ErrorCode::Timeout));
    signal_server(&parent, "CONT");
    fork(&parent, &code, HANG).unwrap().destroy().unwrap();
}

#[test]
fn a_parent_that_is_killed_meanwhile_fails_its_forks_and_takes_the_others_along() {
    let Some(code) = Code::new() else { return };
    let Some(parent) = code.parent() else { return };
    let child = fork(&parent, &code, HANG).unwrap();
    std::thread::scope(|scope| {
        let until_one_fails = || loop {
            match fork(&parent, &code, HANG) {
                Ok(child) => child.destroy().unwrap(),
                Err(error) => return error,
            }
        };
        let forking: Vec<_> = (0..2).map(|_| scope.spawn(until_one_fails)).collect();
        // The command may well end with the sandbox that it is in.
        let _ = parent.exec(&Command::new(["/bin/sh", "-c", "kill -KILL 2"]));
        for forking in forking {
            let error = forking.join().unwrap();
            // It was under way, or began when the parent was dead already.
            let codes = [ErrorCode::ForkFailed, ErrorCode::SandboxDead];
            assert!(codes.contains(&error.code()), "{error}");
        }
    });
    eventually("the parent is dead", || parent.death().is_some());
    eventually("its child is dead", || child.death().is_some());
    child.destroy().unwrap();
    parent.destroy().unwrap();
}
