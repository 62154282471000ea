//! Fork servers for tests, and what they are asked.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{BackendSandbox, Command, CreateRequest, Runtime, SandboxId, SandboxSpec, ScratchDirs};

use crate::support::{HANG, TestSandbox, sandbox_from, skip};

/// A directory with the compiled servers, removed with the test.
pub(crate) struct Server(pub(crate) PathBuf);

/// The example, one with much about it that is not for its forks, and one whose forks do not wait as they should.
const SERVERS: [(&str, &str); 3] = [
    ("zygote", include_str!("../../../ffi/examples/zygote.c")),
    ("leaky_zygote", include_str!("leaky_zygote.c")),
    ("restless_zygote", include_str!("restless_zygote.c")),
];

impl Server {
    pub(crate) fn new() -> Option<Self> {
        static COMPILED: OnceLock<Option<Vec<Vec<u8>>>> = OnceLock::new();
        let Some(programs) = COMPILED.get_or_init(compile) else {
            skip("no C compiler for the fork server");
            return None;
        };
        let server = Server::dir();
        for ((name, _), program) in SERVERS.iter().zip(programs) {
            let path = server.0.join(name);
            std::fs::write(&path, program).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        Some(server)
    }

    fn dir() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("linux-fork-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Server(dir)
    }
}

/// Compiles the servers; `None` if there is no compiler.
fn compile() -> Option<Vec<Vec<u8>>> {
    let dir = Server::dir();
    // Written out, because who runs the test may not be able to read the sources.
    let header = include_str!("../../../include/sandboxset_zygote.h");
    std::fs::write(dir.0.join("sandboxset_zygote.h"), header).unwrap();
    for (name, source) in SERVERS {
        std::fs::write(dir.0.join(format!("{name}.c")), source).unwrap();
    }
    let compile = |name: &str| {
        let status = std::process::Command::new("cc")
            .args(["-O2", "-Wall", "-Wextra", "-Werror", &format!("{name}.c"), "-o", name])
            .current_dir(&dir.0)
            .stdin(Stdio::null())
            .status()
            .ok()?;
        assert!(status.success(), "{name} does not compile");
        Some(std::fs::read(dir.0.join(name)).unwrap())
    };
    SERVERS.iter().map(|(name, _)| compile(name)).collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn server_spec(code: Option<&Server>, args: &[&str]) -> SandboxSpec {
    let mut runtime = Runtime::new(args.iter().copied());
    runtime.forks = true;
    runtime.env = vec![("OF_THE_PARENT".into(), "parent-only".into())];
    SandboxSpec {
        code_dir: code.map(|code| code.0.clone()),
        runtime: Some(runtime),
        ..SandboxSpec::default()
    }
}

pub(crate) fn parent() -> Option<TestSandbox> {
    parent_of(LinuxOptions::default(), "/code/zygote")
}

/// A parent whose fork server is one of the compiled programs.
pub(crate) fn parent_of(options: LinuxOptions, program: &str) -> Option<TestSandbox> {
    let server = Server::new()?;
    let backend = LinuxBackend::new(options).unwrap();
    sandbox_from(backend, server_spec(Some(&server), &[program]), ScratchDirs::Tmpfs)
}

/// A parent whose fork server is a few lines of shell.
pub(crate) fn odd_parent(script: &str) -> Option<TestSandbox> {
    let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
    let script = format!("printf 'READY\\n' >&3; {script}");
    sandbox_from(backend, server_spec(None, &["/bin/sh", "-c", &script]), ScratchDirs::Tmpfs)
}

pub(crate) fn child_spec() -> SandboxSpec {
    let mut runtime = Runtime::new(["first", "second argument"]);
    runtime.env = vec![("OF_THE_CHILD".into(), "child only".into())];
    SandboxSpec { runtime: Some(runtime), ..SandboxSpec::default() }
}

pub(crate) fn request(spec: SandboxSpec, time: Duration) -> CreateRequest {
    CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(spec),
        scratch: ScratchDirs::Tmpfs,
        deadline: Instant::now() + time,
    }
}

pub(crate) fn fork(parent: &TestSandbox, spec: SandboxSpec) -> TestSandbox {
    let request = request(spec, HANG);
    let sandbox = parent.fork(&request).expect("a fork");
    TestSandbox { sandbox, id: request.id, backend: parent.backend.clone() }
}

pub(crate) fn ask(sandbox: &dyn BackendSandbox, request: &str) -> String {
    let mut stream = sandbox.connect(HANG, None).unwrap();
    stream.set_timeout(Some(HANG)).unwrap();
    stream.write_all(&(request.len() as u32).to_le_bytes()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Long enough for a fork on a loaded machine to be asked for, short enough to wait for its end.
pub(crate) const SOON: Duration = Duration::from_secs(2);

pub(crate) fn refused(parent: &TestSandbox, time: Duration) -> sandboxset::Error {
    let start = Instant::now();
    let error = parent.fork(&request(child_spec(), time)).err().expect("no fork");
    assert!(start.elapsed() < time + HANG / 4, "{error}: after {:?}", start.elapsed());
    error
}

pub(crate) fn signal_server(parent: &TestSandbox, signal: &str) {
    // The runtime is the first process that the init starts.
    let script = format!("kill -{signal} 2");
    assert!(parent.exec(&Command::new(["/bin/sh", "-c", &script])).unwrap().success());
}
