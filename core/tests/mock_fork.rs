//! What the mock's fork promises to whoever drives it, without a set around it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Backend, BackendSandbox, Capabilities, CreateRequest, ErrorCode, Phase, Runtime, SandboxId, SandboxSpec,
    ScratchDirs,
};

/// Longer than anything that is not a hang.
const HANG: Duration = Duration::from_secs(60);

fn request(within: Duration) -> CreateRequest {
    CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::default(),
        deadline: Instant::now() + within,
    }
}

fn fork(parent: &dyn BackendSandbox) -> Box<dyn BackendSandbox> {
    parent.fork(&request(HANG)).unwrap()
}

fn refusal(parent: &dyn BackendSandbox, within: Duration) -> (ErrorCode, Phase) {
    let error = parent.fork(&request(within)).err().unwrap();
    (error.code(), error.phase())
}

#[test]
fn children_have_files_of_their_own_and_die_with_their_parent() {
    let mock = MockBackend::new();
    let root = mock.create(&request(HANG)).unwrap();
    root.write_file("note".as_ref(), b"of the parent", 0o600).unwrap();
    let child = fork(&*root);
    let grandchild = fork(&*child);
    assert!(child.list_dir("/scratch".as_ref(), 10).unwrap().is_empty());
    assert_eq!((mock.live(), mock.calls(MockOperation::Create), mock.calls(MockOperation::Fork)), (3, 1, 2));
    child.destroy().unwrap();
    assert!(grandchild.death().unwrap().contains("its parent"), "{:?}", grandchild.death());
    assert_eq!((root.death(), mock.live()), (None, 2));
}

#[test]
fn what_cannot_be_forked_says_so_at_once() {
    let mock = MockBackend::new();
    let parent = mock.create(&request(HANG)).unwrap();
    parent.pause().unwrap();
    assert_eq!(refusal(&*parent, HANG), (ErrorCode::InvalidState, Phase::Fork));
    parent.unpause().unwrap();
    mock.set_capabilities(Capabilities { fork: false, ..mock.capabilities() });
    assert_eq!(refusal(&*parent, HANG), (ErrorCode::Unsupported, Phase::Fork));
    mock.set_capabilities(Capabilities { fork: true, ..mock.capabilities() });
    parent.destroy().unwrap();
    assert_eq!(refusal(&*parent, HANG), (ErrorCode::SandboxDead, Phase::Fork));
    assert_eq!(mock.live(), 0);
    let spec = SandboxSpec { runtime: Some(Runtime::new(["/run"])), ..SandboxSpec::default() };
    let leaf = mock.create(&CreateRequest { spec: Arc::new(spec), ..request(HANG) }).unwrap();
    assert_eq!(refusal(&*leaf, HANG), (ErrorCode::Unsupported, Phase::Fork));
}

#[test]
fn a_fork_fails_hangs_and_kills_as_scripted() {
    let mock = MockBackend::new();
    let parent = mock.create(&request(HANG)).unwrap();
    let first = fork(&*parent);
    mock.fault_at(MockOperation::Fork, 2, MockFault::Fail("full".into()));
    mock.fault_at(MockOperation::Fork, 3, MockFault::Hang);
    mock.fault_at(MockOperation::Fork, 4, MockFault::Hang);
    mock.fault_at(MockOperation::Fork, 5, MockFault::Die);
    assert_eq!(refusal(&*parent, HANG), (ErrorCode::ForkFailed, Phase::Fork));
    assert_eq!(refusal(&*parent, Duration::from_millis(20)), (ErrorCode::ForkFailed, Phase::Fork));
    thread::scope(|scope| {
        let hanging = scope.spawn(|| refusal(&*parent, HANG));
        assert!(mock.wait_for_hangs(MockOperation::Fork, 1, HANG));
        assert_eq!(refusal(&*parent, HANG).0, ErrorCode::ForkFailed);
        assert_eq!(hanging.join().unwrap().0, ErrorCode::ForkFailed);
    });
    assert!(parent.death().is_some() && first.death().is_some());
    assert_eq!(mock.live(), 2);
}
