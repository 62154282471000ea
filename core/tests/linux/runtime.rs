//! Long-lived runtimes: starting one, talking to it, and what happens when it ends.

use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    CancelToken, Config, Connection, ErrorCode, GetOptions, Phase, Runtime, SandboxSet, SandboxSpec,
    SandboxState, ScratchDirs,
};

use crate::support::{HANG, TestSandbox, eventually, sandbox, sandbox_of, skip};

/// A directory with the runtime's program, removed with the test.
struct Code(PathBuf);

impl Code {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("linux-runtime-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("runtime.py"), include_str!("fixtures/runtime.py")).unwrap();
        Code(dir)
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spec(code: &Code) -> Option<SandboxSpec> {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        skip("no /usr/bin/python3 for the runtime");
        return None;
    }
    let mut runtime = Runtime::new(["/usr/bin/python3", "-I", "/code/runtime.py"]);
    runtime.env = vec![("MODE".into(), "test".into())];
    Some(SandboxSpec { code_dir: Some(code.0.clone()), runtime: Some(runtime), ..SandboxSpec::default() })
}

fn with_runtime(code: &Code) -> Option<TestSandbox> {
    sandbox_of(spec(code)?, ScratchDirs::Tmpfs)
}

fn call(connection: &mut Connection, request: &[u8]) -> std::io::Result<Vec<u8>> {
    connection.write_all(&(request.len() as u32).to_le_bytes())?;
    connection.write_all(request)?;
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_le_bytes(length) as usize];
    connection.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn a_runtime_answers_on_several_connections_and_after_a_pause() {
    let code = Code::new("answers");
    let Some(sandbox) = with_runtime(&code) else { return };
    let mut first = sandbox.connect(HANG, None).unwrap();
    let mut second = sandbox.connect(HANG, None).unwrap();
    first.set_timeout(Some(HANG)).unwrap();
    second.set_timeout(Some(HANG)).unwrap();
    assert_eq!(call(&mut first, b"one").unwrap(), b"ONE");
    assert_eq!(call(&mut second, &vec![b'x'; 1 << 20]).unwrap(), vec![b'X'; 1 << 20]);
    sandbox.pause().unwrap();
    first.set_timeout(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(call(&mut first, b"two").unwrap_err().kind(), ErrorKind::TimedOut);
    sandbox.unpause().unwrap();
    first.set_timeout(Some(HANG)).unwrap();
    let mut late = [0; 7];
    first.read_exact(&mut late).unwrap();
    assert_eq!(&late[4..], b"TWO");
    assert_eq!(sandbox.log(1000).unwrap(), b"listening, MODE is test\n");
    assert_eq!(sandbox.log(5).unwrap(), b"test\n");
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_sandbox() {
    let code = Code::new("ends");
    let Some(sandbox) = with_runtime(&code) else { return };
    let mut connection = sandbox.connect(HANG, None).unwrap();
    connection.set_timeout(Some(HANG)).unwrap();
    assert!(call(&mut connection, b"die").is_err());
    eventually("the death is known", || sandbox.death().is_some_and(|cause| cause.contains("runtime")));
    assert_eq!(sandbox.connect(HANG, None).unwrap_err().code(), ErrorCode::SandboxDead);
}

#[test]
fn a_runtime_that_cannot_start_is_quoted() {
    if sandbox().is_none() {
        return;
    }
    let create = |script: &str| {
        let runtime = Some(Runtime::new(["/bin/sh", "-c", script]));
        let spec = SandboxSpec { runtime, ..SandboxSpec::default() };
        let backend = LinuxBackend::new(LinuxOptions::default()).unwrap();
        let set = SandboxSet::new(Arc::new(backend), spec, Config::default()).unwrap();
        let error = set.get_or_create_unpaused(&GetOptions::default()).unwrap_err();
        assert!(set.close(HANG).unwrap().survivors.is_empty());
        assert_eq!(error.code(), ErrorCode::CreateFailed);
        error.message().to_owned()
    };
    let quoted = create("echo first >&2; printf 'a \\033[31mlibrary is missing\\n\\n' >&2; exit 127");
    assert!(quoted.ends_with("; the last that it wrote is: a [31mlibrary is missing"), "{quoted}");
    // Its log is its own to make a trap of.
    for trap in ["ln -s /proc/1/environ", "mkfifo", "mkdir", "ln -s /scratch/.runtime.log"] {
        let message = create(&format!("rm /scratch/.runtime.log; {trap} /scratch/.runtime.log; exit 1"));
        assert!(!message.contains("wrote"), "{trap}: {message}");
    }
    let long = create("yes | head -c 100000 | tr -d '\\n' >&2; exit 1");
    assert!(long.len() < 700 && long.ends_with("yyyy"), "{long}");
}

/// The connection ends a moment before the sandbox does; a call tells the same, whichever its caller sees.
#[test]
fn a_call_that_its_runtime_breaks_off_finds_the_sandbox_dead() {
    let code = Code::new("breaks-off");
    let Some(spec) = spec(&code) else { return };
    // Without it no sandbox can be made.
    let Some(control) = sandbox() else { return };
    let backend = Arc::new(control.backend.clone());
    let set = SandboxSet::new(backend, spec, Config::default()).unwrap();
    // A dead one, seen by the end of its connection or by its own, and ones that live on.
    for request in [&b"die"[..], b"die", b"die", b"die", b"close"] {
        let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
        assert_eq!(sandbox.call(b"x", HANG, None).unwrap(), b"X");
        let error = sandbox.call(request, HANG, None).unwrap_err();
        assert_eq!((error.code(), error.phase()), (ErrorCode::SandboxDead, Phase::Connect), "{error}");
        assert_eq!(sandbox.state(), SandboxState::Dead);
        sandbox.put().unwrap();
    }
    let sandbox = set.get_or_create_unpaused(&GetOptions::default()).unwrap();
    assert_eq!(sandbox.call(b"deaf", HANG, None).unwrap(), b"DEAF");
    let error = sandbox.call(b"x", HANG, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::SandboxDead, "{error}");
    assert!(error.message().contains("no longer listens"), "{error}");
    sandbox.put().unwrap();
    drop(sandbox);
    let report = set.close(HANG).unwrap();
    assert!(report.survivors.is_empty(), "{report:?}");
    assert_eq!(set.stats().created, 6);
}

#[test]
fn an_interrupted_read_returns() {
    let code = Code::new("interrupted");
    let Some(sandbox) = with_runtime(&code) else { return };
    let mut connection = sandbox.connect(HANG, None).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call(&mut connection, b"sleep"));
        // Its request is under way, or not: either way the call ends.
        sandbox.destroy().unwrap();
        assert!(waiting.join().unwrap().is_err());
    });
}

#[test]
fn a_sandbox_without_a_runtime_says_so() {
    let Some(sandbox) = sandbox() else { return };
    assert_eq!(sandbox.connect(HANG, None).unwrap_err().code(), ErrorCode::InvalidState);
    assert_eq!(sandbox.log(100).unwrap(), b"");
    let token = CancelToken::new();
    token.cancel();
    assert_eq!(sandbox.connect(HANG, Some(&token)).unwrap_err().code(), ErrorCode::Cancelled);
}
