//! Making sandboxes for tests, and taking stock of what they leave behind.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, BackendSandbox, Command, CreateRequest, LayerStatus, Output, SandboxId, SandboxSpec, ScratchDirs,
};

/// Long enough that only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// A sandbox that is destroyed with the test, also when the test fails.
pub(crate) struct TestSandbox {
    pub(crate) sandbox: Box<dyn BackendSandbox>,
    pub(crate) id: SandboxId,
    pub(crate) backend: LinuxBackend,
}

impl std::ops::Deref for TestSandbox {
    type Target = dyn BackendSandbox;

    fn deref(&self) -> &Self::Target {
        &*self.sandbox
    }
}

impl Drop for TestSandbox {
    fn drop(&mut self) {
        if let Err(error) = self.sandbox.destroy()
            && !std::thread::panicking()
        {
            panic!("destroy failed: {error}");
        }
    }
}

impl TestSandbox {
    /// Whether commands have cgroups of their own on this host.
    pub(crate) fn backend_has_cgroups(&self) -> bool {
        let report = self.backend.isolation_report();
        report.layer("cgroup.kill").is_some_and(|layer| layer.status == LayerStatus::Active)
    }
}

/// A sandbox of the default spec, or `None`, said loudly, if this host cannot have one.
pub(crate) fn sandbox() -> Option<TestSandbox> {
    sandbox_of(SandboxSpec::default(), ScratchDirs::Tmpfs)
}

pub(crate) fn sandbox_of(spec: SandboxSpec, scratch: ScratchDirs) -> Option<TestSandbox> {
    let backend = LinuxBackend::new(LinuxOptions::default()).expect("a backend");
    sandbox_from(backend, spec, scratch)
}

pub(crate) fn sandbox_from(
    backend: LinuxBackend,
    spec: SandboxSpec,
    scratch: ScratchDirs,
) -> Option<TestSandbox> {
    if let Some(reason) = unsupported() {
        skip(reason);
        return None;
    }
    let id = SandboxId::next();
    let request = CreateRequest { id, spec: Arc::new(spec), scratch, deadline: Instant::now() + HANG };
    let sandbox = backend.create(&request).expect("a sandbox");
    Some(TestSandbox { sandbox, id, backend })
}

/// Why this host cannot have sandboxes at all; everything else that fails is a failure of ours.
fn unsupported() -> Option<&'static str> {
    let zero = |path: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
    let root = rustix::process::geteuid().is_root();
    if !root && zero("/proc/sys/kernel/unprivileged_userns_clone") {
        return Some("kernel.unprivileged_userns_clone is 0");
    }
    if zero("/proc/sys/user/max_user_namespaces") {
        return Some("user.max_user_namespaces is 0");
    }
    None
}

/// Says that a test was skipped, where nobody overlooks it, and counts it.
pub(crate) fn skip(reason: &str) {
    static SKIPPED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = SKIPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    // Past the test harness, which swallows what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED ({count} so far): {name}: {reason}");
}

/// Runs a shell script in the sandbox; the shell is the workload, never part of the library.
pub(crate) fn sh(sandbox: &TestSandbox, script: &str) -> Output {
    sandbox.exec(&shell(script)).expect("exec")
}

pub(crate) fn shell(script: &str) -> Command {
    Command::new(["/bin/sh", "-c", script])
}

/// A shell and two programs of this host, with the libraries that they need: enough for a root of one's own.
pub(crate) fn programs() -> Option<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for program in ["sh", "cat", "ls"] {
        let output = std::process::Command::new("ldd").arg(format!("/bin/{program}")).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        files.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
        files.insert(PathBuf::from(format!("/bin/{program}")));
    }
    Some(files)
}

/// The names of all cgroups of this process's sandboxes, wherever cgroups are mounted.
pub(crate) fn cgroups() -> Vec<PathBuf> {
    let mine = format!("-{}-", std::process::id());
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("sandboxset-") && name.contains(&mine) {
                found.push(entry.path());
            }
            dirs.push(entry.path());
        }
    }
    found
}

/// Waits until a condition holds; panics when it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANG;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The keeper that the library under test carries.
pub(crate) const EMBEDDED_KEEPER: &str = concat!(env!("OUT_DIR"), "/sandboxset-keeper");

/// Where a test finds that keeper: it was copied when the tests run as somebody who cannot reach the build.
pub(crate) fn embedded_keeper() -> PathBuf {
    std::env::var_os("SANDBOXSET_TEST_KEEPER").map_or_else(|| EMBEDDED_KEEPER.into(), PathBuf::from)
}

/// The keeper process that runs a file of this name: the one whose parent does not. By its short name, because of
/// an undumpable process nothing else can be seen by everybody.
pub(crate) fn keeper_of(program: &Path) -> Option<rustix::process::Pid> {
    let name = program.file_name()?.to_str()?;
    let runs = |pid: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid = entry.file_name().into_string().ok()?;
        if !runs(&pid) {
            continue;
        }
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let (state, parent) = (fields.next()?, fields.next()?);
        // One that was killed may stay a zombie for seconds, until the system's init gets to it.
        if state != "Z" && !runs(parent) {
            return rustix::process::Pid::from_raw(pid.parse().ok()?);
        }
    }
    None
}
