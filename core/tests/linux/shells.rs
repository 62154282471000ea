//! Sandboxes that are prepared ahead of demand.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{Bind, ErrorCode, RootFs, Runtime, SandboxSpec, ScratchDirs};

use crate::support::{HANG, TestSandbox, embedded_keeper, eventually, keeper_of, sandbox_from, sh};

/// A keeper that no other test has, so that its children are known.
pub(crate) struct OwnKeeper(pub(crate) PathBuf);

impl OwnKeeper {
    pub(crate) fn new(name: &str) -> Self {
        // The kernel keeps 15 bytes of a process's name.
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id() % 100_000));
        fs::copy(embedded_keeper(), &path).unwrap();
        OwnKeeper(path)
    }

    pub(crate) fn options(&self) -> LinuxOptions {
        LinuxOptions { keeper: Some(self.0.clone()), ..LinuxOptions::default() }
    }

    fn backend(&self, shells: Option<usize>) -> LinuxBackend {
        LinuxBackend::new(LinuxOptions { shells, ..self.options() }).unwrap()
    }

    /// The inits of its sandboxes and shells.
    fn inits(&self) -> Vec<Pid> {
        let keeper = keeper_of(&self.0).unwrap().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for OwnKeeper {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Kills a process and waits until it has ended.
pub(crate) fn end(pid: Pid) {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    pidfd_send_signal(&pidfd, Signal::KILL).unwrap();
    let patience = Timespec { tv_sec: HANG.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap(), 1);
}

/// A directory of the host that sandboxes are given, removed with its test.
struct Given(PathBuf);

impl Given {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Given(path)
    }

    /// Puts a file with this text there, as a new file.
    fn place(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.0.join("new"), self.0.join(name));
        fs::write(&new, text).unwrap();
        fs::rename(&new, &path).unwrap();
        path
    }

    /// Makes a directory with a file that says its name, and lets the link lead to it.
    fn deploy(&self, name: &str) -> PathBuf {
        let (new, link) = (self.0.join("new"), self.0.join("current"));
        fs::create_dir(self.0.join(name)).unwrap();
        fs::write(self.0.join(name).join("version"), name).unwrap();
        std::os::unix::fs::symlink(name, &new).unwrap();
        fs::rename(&new, &link).unwrap();
        link
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn backend(shells: Option<usize>) -> LinuxBackend {
    LinuxBackend::new(LinuxOptions { shells, ..LinuxOptions::default() }).unwrap()
}

fn make(backend: &LinuxBackend, spec: &SandboxSpec) -> Option<TestSandbox> {
    sandbox_from(backend.clone(), spec.clone(), ScratchDirs::Tmpfs)
}

fn await_ready(backend: &LinuxBackend, count: usize) {
    eventually("the shells are ready", || backend.shells().unwrap().ready == count);
}

#[test]
fn as_many_are_ready_as_were_asked_for_and_they_are_taken_and_replaced() {
    let keeper = OwnKeeper::new("taken");
    let backend = keeper.backend(Some(3));
    assert_eq!(backend.shells().unwrap().ready, 0, "nothing is prepared before the first create");
    let spec = SandboxSpec::default();
    let Some(first) = make(&backend, &spec) else { return };
    await_ready(&backend, 3);
    let prepared = keeper.inits();
    let second = make(&backend, &spec).unwrap();
    let alive = keeper.inits();
    assert!(prepared.iter().all(|init| alive.contains(init)), "one of {prepared:?} was taken: {alive:?}");
    for sandbox in [&first, &second] {
        assert_eq!(sh(sandbox, "id -u; pwd; echo x > file").stdout.text(), "1000\n/scratch\n");
        sandbox.pause().unwrap();
        sandbox.unpause().unwrap();
    }
    await_ready(&backend, 3);
}

#[test]
fn by_default_the_next_create_finds_one() {
    let backend = backend(None);
    let Some(_first) = make(&backend, &SandboxSpec::default()) else { return };
    await_ready(&backend, 2);
}

#[test]
fn a_keeper_with_its_shells_ready_sleeps() {
    let keeper = OwnKeeper::new("sleeps");
    let backend = keeper.backend(Some(2));
    let Some(_sandbox) = make(&backend, &SandboxSpec::default()) else { return };
    await_ready(&backend, 2);
    let pid = keeper_of(&keeper.0).unwrap().as_raw_nonzero();
    let wakes = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    eventually("it is not woken any more", || {
        let before = wakes();
        std::thread::sleep(Duration::from_millis(300));
        wakes() == before
    });
}

#[test]
fn with_none_wanted_there_are_none() {
    let keeper = OwnKeeper::new("none");
    let backend = keeper.backend(Some(0));
    let Some(_first) = make(&backend, &SandboxSpec::default()) else { return };
    let _second = make(&backend, &SandboxSpec::default()).unwrap();
    assert_eq!(backend.shells().unwrap(), Default::default());
    assert_eq!(keeper.inits().len(), 2);
    // The control: the same keeper prepares some for who wants them.
    let other = keeper.backend(Some(1));
    let _third = make(&other, &SandboxSpec::default()).unwrap();
    await_ready(&other, 1);
    assert_eq!(backend.shells().unwrap().ready, 0);
}

#[test]
fn those_that_died_are_not_handed_out() {
    let keeper = OwnKeeper::new("died");
    let backend = keeper.backend(Some(3));
    let Some(first) = make(&backend, &SandboxSpec::default()) else { return };
    await_ready(&backend, 3);
    first.destroy().unwrap();
    for init in keeper.inits() {
        end(init);
    }
    for _ in 0..4 {
        let sandbox = make(&backend, &SandboxSpec::default()).unwrap();
        assert!(sh(&sandbox, "true").success());
    }
    await_ready(&backend, 3);
}

#[test]
fn they_go_with_their_backend() {
    let keeper = OwnKeeper::new("with");
    let (one, other) = (keeper.backend(Some(4)), keeper.backend(Some(0)));
    let Some(kept) = make(&other, &SandboxSpec::default()) else { return };
    drop(make(&one, &SandboxSpec::default()));
    await_ready(&one, 4);
    assert!(keeper.inits().len() > 4);
    let bare = other.shells().unwrap().bare;
    drop(one);
    // What is left is the sandbox and what belongs to nobody.
    eventually("the shells are gone", || keeper.inits().len() <= 1 + bare.max(2));
    assert!(sh(&kept, "true").success());
}

#[test]
fn a_deployment_is_seen_though_shells_of_the_old_one_wait() {
    let given = Given::new("deployment");
    let link = given.deploy("old");
    let file = given.place("file", "old");
    let bind = Bind { source: file, target: "/opt/file".into(), writable: false };
    let spec = SandboxSpec { code_dir: Some(link), binds: vec![bind], ..SandboxSpec::default() };
    let backend = backend(Some(2));
    let read = |sandbox: &TestSandbox| sh(sandbox, "cat /code/version /opt/file").stdout.text();
    let Some(first) = make(&backend, &spec) else { return };
    assert_eq!(read(&first), "oldold");
    await_ready(&backend, 2);
    given.place("file", "new");
    assert_eq!(read(&make(&backend, &spec).unwrap()), "oldnew");
    await_ready(&backend, 2);
    given.deploy("new-one");
    assert_eq!(read(&make(&backend, &spec).unwrap()), "new-onenew");
    assert_eq!(read(&first), "oldold", "what is held stays as it is");
}

#[test]
fn a_new_entry_of_a_root_directory_is_seen() {
    let given = Given::new("root-entry");
    let bind = |name: &str| Bind {
        source: Path::new("/").join(name),
        target: Path::new("/").join(name),
        writable: false,
    };
    let binds = ["usr", "bin", "lib", "lib64"]
        .into_iter()
        .filter(|name| Path::new("/").join(name).is_dir())
        .map(|name| {
            fs::create_dir(given.0.join(name)).unwrap();
            bind(name)
        })
        .collect();
    let spec = SandboxSpec { root: RootFs::Directory(given.0.clone()), binds, ..SandboxSpec::default() };
    let backend = backend(Some(1));
    let Some(first) = make(&backend, &spec) else { return };
    assert!(!sh(&first, "test -e /entry").success());
    await_ready(&backend, 1);
    fs::write(given.0.join("entry"), "").unwrap();
    assert!(sh(&make(&backend, &spec).unwrap(), "test -e /entry").success());
}

#[test]
fn one_that_cannot_be_furnished_any_more_is_an_error_of_the_create_only() {
    let given = Given::new("vanished");
    let link = given.deploy("code");
    let spec = SandboxSpec { code_dir: Some(link.clone()), ..SandboxSpec::default() };
    let backend = backend(Some(2));
    let Some(_first) = make(&backend, &spec) else { return };
    await_ready(&backend, 2);
    fs::remove_file(&link).unwrap();
    let request = sandboxset::CreateRequest {
        id: sandboxset::SandboxId::next(),
        spec: std::sync::Arc::new(spec),
        scratch: ScratchDirs::Tmpfs,
        deadline: std::time::Instant::now() + HANG,
    };
    let error = sandboxset::Backend::create(&backend, &request).err().expect("no sandbox without its code");
    assert_eq!(error.code(), ErrorCode::CreateFailed, "{error}");
    assert!(error.message().contains("current"), "{error}");
    assert!(sh(&make(&backend, &SandboxSpec::default()).unwrap(), "true").success());
}

#[test]
fn a_runtime_does_not_run_before_somebody_wants_it() {
    let script = "date +%s%N > /scratch/started; echo READY >&3; exec sleep 1000";
    let runtime = Runtime::new(["/bin/sh", "-c", script]);
    let spec = SandboxSpec { runtime: Some(runtime), ..SandboxSpec::default() };
    let backend = backend(Some(1));
    let Some(_first) = make(&backend, &spec) else { return };
    await_ready(&backend, 1);
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let asked = now();
    let sandbox = make(&backend, &spec).unwrap();
    let text = sandbox.read_file("started".as_ref(), 100).unwrap();
    let started = Duration::from_nanos(String::from_utf8(text).unwrap().trim().parse().unwrap());
    assert!(asked <= started && started <= now(), "asked {asked:?}, started {started:?}");
}

#[test]
fn with_a_disk_scratch_dir_each_has_its_own() {
    let given = Given::new("disk-shells");
    fs::set_permissions(&given.0, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let backend = backend(None);
    let scratch = || ScratchDirs::Disk(given.0.clone());
    for _ in 0..4 {
        let Some(sandbox) = sandbox_from(backend.clone(), SandboxSpec::default(), scratch()) else { return };
        assert_eq!(sh(&sandbox, "ls /scratch; echo x > /scratch/file").stdout.text(), "");
        assert!(sandbox.host_scratch_dir().unwrap().join("file").exists());
    }
    assert_eq!(backend.shells().unwrap().ready, 0);
}

#[test]
fn too_many_are_refused() {
    let most = LinuxOptions::MAX_SHELLS;
    let options = |shells| LinuxOptions { shells: Some(shells), ..LinuxOptions::default() };
    LinuxBackend::new(options(most)).unwrap();
    let error = LinuxBackend::new(options(most + 1)).unwrap_err();
    assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("shells")));
}
