//! What a get binds late: there for its holder, gone for the next, and never half.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Backend, Bind, Capabilities, Command, CommandPolicy, Config, ErrorCode, EventKind, GetOptions,
    LateBinding, LateFile, LateLimits, Limits, Phase, Result, Reuse, SandboxRef, SandboxSet, SandboxSpec,
    Secret,
};
use support::{HANG, get, set, until};

const HUSH: &str = "hush-hush";

fn secret() -> LateBinding {
    LateBinding {
        secrets: vec![("token".into(), Secret::new(HUSH.as_bytes().to_vec()))],
        ..LateBinding::default()
    }
}

fn everything() -> LateBinding {
    LateBinding {
        env: vec![("WHO".into(), "late".into())],
        files: vec![LateFile { path: "in/put".into(), bytes: b"data".to_vec(), mode: 0o600 }],
        binds: vec![Bind { source: "/usr".into(), target: "/mnt/usr".into(), writable: false }],
        ..secret()
    }
}

fn tighter() -> LateBinding {
    LateBinding { limits: LateLimits { pids: Some(8), ..LateLimits::default() }, ..LateBinding::default() }
}

fn late(set: &SandboxSet, binding: LateBinding) -> Result<SandboxRef> {
    let options = GetOptions { timeout: Some(HANG), binding: Some(binding), ..GetOptions::default() };
    set.get_or_create_unpaused(&options)
}

fn config(reuse: Reuse) -> Config {
    Config { max_size: 1, reuse, ..Config::default() }
}

/// Answers each command with its variables.
fn show_env(mock: &MockBackend) {
    mock.on_exec(|_, command| {
        let text: Vec<String> =
            command.env.iter().map(|(key, value)| format!("{}={}", key.display(), value.display())).collect();
        Ok(MockBackend::output(0, text.join(" ")))
    });
}

fn env(sandbox: &SandboxRef, command: &Command) -> String {
    sandbox.exec(command).unwrap().stdout.text()
}

#[test]
fn the_holder_finds_it_and_after_a_reset_the_next_does_not() {
    let (set, mock) = set(config(Reuse::Reset));
    show_env(&mock);
    let first = late(&set, everything()).unwrap();
    assert_eq!(first.read_file("/run/secrets/token".as_ref(), 100).unwrap(), HUSH.as_bytes());
    assert_eq!(first.read_file("in/put".as_ref(), 100).unwrap(), b"data");
    assert!(first.list_dir("/mnt/usr".as_ref(), 10).is_ok());
    assert_eq!(env(&first, &Command::new(["env"])), "WHO=late");
    first.put().unwrap();
    let second = get(&set);
    assert_eq!(second.id(), first.id());
    for path in ["/run/secrets/token", "in/put"] {
        assert!(second.read_file(path.as_ref(), 100).is_err(), "{path}");
    }
    assert!(second.list_dir("/mnt/usr".as_ref(), 10).is_err());
    assert_eq!(env(&second, &Command::new(["env"])), "");
    assert_eq!((mock.calls(MockOperation::Bind), mock.calls(MockOperation::Unbind)), (1, 1));
    assert_eq!(set.stats().resets, 1);
}

#[test]
fn a_set_that_keeps_destroys_what_code_may_have_copied() {
    for contents in [
        secret(),
        LateBinding { files: everything().files, ..LateBinding::default() },
        LateBinding { binds: everything().binds, ..LateBinding::default() },
    ] {
        let (set, mock) = set(config(Reuse::Keep));
        let first = late(&set, contents).unwrap();
        first.put().unwrap();
        let second = get(&set);
        assert_ne!(second.id(), first.id());
        until(&set, "destroyed", |stats| stats.destroyed == 1);
        let reasons = set.stats().destroyed_by;
        assert_eq!(reasons[0].0, "what was bound late can be taken back only by a reset");
        assert_eq!(mock.calls(MockOperation::Unbind), 0);
    }
}

#[test]
fn a_set_that_keeps_takes_limits_and_variables_back() {
    let (set, mock) = set(config(Reuse::Keep));
    show_env(&mock);
    let first = late(&set, LateBinding { env: everything().env, ..tighter() }).unwrap();
    assert_eq!(env(&first, &Command::new(["env"])), "WHO=late");
    first.put().unwrap();
    let second = get(&set);
    assert_eq!((second.id(), env(&second, &Command::new(["env"]))), (first.id(), String::new()));
    second.put().unwrap();
    assert_eq!((mock.calls(MockOperation::Bind), mock.calls(MockOperation::Unbind)), (1, 1));
    // Variables alone are no business of the backend's.
    drop(late(&set, LateBinding { env: everything().env, ..LateBinding::default() }).unwrap());
    assert_eq!((mock.calls(MockOperation::Bind), mock.calls(MockOperation::Unbind)), (1, 1));
}

#[test]
fn a_commands_own_variables_come_before_and_its_policy_sees_only_them() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let policy = CommandPolicy::new(move |command: &mut Command| {
        log.lock().push(command.env.clone());
        Ok(())
    });
    for command_policy in [None, Some(policy)] {
        let (set, mock) = set(Config { command_policy, ..config(Reuse::Keep) });
        show_env(&mock);
        let both = vec![("WHO".into(), "late".into()), ("ALSO".into(), "late".into())];
        let sandbox = late(&set, LateBinding { env: both, ..LateBinding::default() }).unwrap();
        let mut command = Command::new(["env"]);
        command.env = vec![("WHO".into(), "command".into())];
        assert_eq!(env(&sandbox, &command), "WHO=command ALSO=late");
        let started = sandbox.spawn(&command).unwrap().wait(HANG, None).unwrap();
        assert_eq!(started.stdout.text(), "WHO=command ALSO=late");
    }
    assert_eq!(*seen.lock(), vec![vec![("WHO".into(), "command".into())]; 2]);
}

#[test]
fn a_sandbox_to_which_it_cannot_be_bound_is_destroyed_and_its_place_is_not_lost() {
    for (fault, code) in [
        (MockFault::Fail("no room".into()), ErrorCode::Internal),
        (MockFault::Die, ErrorCode::Internal),
        (MockFault::Panic, ErrorCode::Internal),
    ] {
        let (set, mock) = set(config(Reuse::Reset));
        set.prewarm(1, HANG).unwrap();
        let events = set.events(100).unwrap();
        mock.fault_at(MockOperation::Bind, 1, fault.clone());
        let error = late(&set, everything()).unwrap_err();
        assert_eq!((error.code(), error.phase()), (code, Phase::Bind), "{fault:?}: {error}");
        assert!(error.sandbox_id().is_some());
        until(&set, "destroyed", |stats| stats.destroyed == 1);
        let stats = set.stats();
        assert_eq!((stats.gets, stats.held, stats.idle, mock.live()), (0, 0, 0, 0), "{stats:?}");
        // The place serves the next, and so does the binding.
        let sandbox = late(&set, everything()).unwrap();
        assert_eq!(set.stats().gets, 1);
        sandbox.put().unwrap();
        until(&set, "reset", |stats| stats.idle == 1);
        let faults: Vec<String> = std::iter::from_fn(|| events.next(Duration::ZERO))
            .filter_map(|event| if let EventKind::Fault(text) = event.kind { Some(text) } else { None })
            .collect();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("bind: ") && !faults[0].contains(HUSH), "{faults:?}");
    }
}

#[test]
fn a_waiter_gets_it_bound_too_and_a_failed_one_leaves_the_queue() {
    let (set, mock) = set(config(Reuse::Keep));
    for fails in [true, false] {
        let held = get(&set);
        if fails {
            mock.fault_at(MockOperation::Bind, 1, MockFault::Fail("no".into()));
        }
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| late(&set, tighter()).map(drop));
            until(&set, "somebody waits", |stats| stats.waiting == 1);
            held.put().unwrap();
            assert_eq!(waiter.join().unwrap().is_err(), fails);
        });
        until(&set, "settled", |stats| stats.destroying + stats.waiting + stats.resuming == 0);
    }
    assert_eq!((set.stats().destroyed, set.stats().idle), (1, 1));
}

#[test]
fn what_cannot_be_taken_back_ends_the_sandbox() {
    for reuse in [Reuse::Keep, Reuse::Reset] {
        for fault in [MockFault::Fail("stuck".into()), MockFault::Die, MockFault::Panic] {
            let (set, mock) = set(config(reuse));
            mock.fault_at(MockOperation::Unbind, 1, fault.clone());
            let first = late(&set, tighter()).unwrap();
            first.put().unwrap();
            let second = get(&set);
            assert_ne!(second.id(), first.id(), "{reuse:?} {fault:?}");
            until(&set, "destroyed", |stats| stats.destroyed == 1);
            let reasons = set.stats().destroyed_by;
            assert!(reasons[0].0.starts_with("unbind failed: "), "{reasons:?}");
            assert_eq!((mock.live(), mock.calls(MockOperation::Reset)), (1, 0));
        }
    }
}

#[test]
fn a_close_ends_a_bind_that_hangs() {
    let (set, mock) = set(config(Reuse::Keep));
    mock.fault_at(MockOperation::Bind, 1, MockFault::Hang);
    std::thread::scope(|scope| {
        let getter = scope.spawn(|| late(&set, tighter()).map(drop));
        assert!(mock.wait_for_hangs(MockOperation::Bind, 1, HANG));
        let report = set.close(Duration::ZERO).unwrap();
        assert!(report.survivors.is_empty(), "{report:?}");
        let error = getter.join().unwrap().unwrap_err();
        assert_eq!((error.code(), error.phase()), (ErrorCode::SandboxDead, Phase::Bind), "{error}");
    });
    assert_eq!(mock.live(), 0);
}

#[test]
fn a_destroyed_ref_needs_nothing_taken_back() {
    let (set, mock) = set(config(Reuse::Reset));
    late(&set, everything()).unwrap().destroy("done").unwrap();
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert_eq!((mock.calls(MockOperation::Unbind), mock.live()), (0, 0));
}

#[test]
fn a_backend_that_cannot_bind_refuses_before_it_is_asked() {
    let mock = MockBackend::new();
    mock.set_capabilities(Capabilities { bind: false, ..mock.capabilities() });
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), Config::default()).unwrap();
    for binding in [secret(), tighter(), everything()] {
        let error = late(&set, binding).unwrap_err();
        assert_eq!((error.code(), error.phase()), (ErrorCode::Unsupported, Phase::Bind), "{error}");
    }
    assert_eq!((mock.calls(MockOperation::Create), mock.most_live()), (0, 0));
    late(&set, LateBinding { env: everything().env, ..LateBinding::default() }).unwrap();
}

#[test]
fn only_tighter_limits_are_accepted() {
    let limits = Limits { memory_bytes: 64 << 20, pids: 16, cpus: Some(1.0), ..Limits::default() };
    let spec = SandboxSpec { limits, ..SandboxSpec::default() };
    let set = SandboxSet::new(Arc::new(MockBackend::new()), spec, Config::default()).unwrap();
    let with = |limits| late(&set, LateBinding { limits, ..LateBinding::default() }).map(drop);
    let none = LateLimits::default();
    for (field, limits) in [
        ("memory_bytes", LateLimits { memory_bytes: Some((64 << 20) + 1), ..none }),
        ("pids", LateLimits { pids: Some(17), ..none }),
        ("cpus", LateLimits { cpus: Some(1.01), ..none }),
        ("cpus", LateLimits { cpus: Some(f64::NAN), ..none }),
    ] {
        let error = with(limits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{limits:?}");
        assert_eq!(error.field(), Some(&*format!("binding.limits.{field}")), "{limits:?}");
    }
    assert_eq!(set.stats().created, 0);
    with(LateLimits { memory_bytes: Some(64 << 20), pids: Some(16), cpus: Some(1.0) }).unwrap();
    with(LateLimits { memory_bytes: Some(4 << 20), pids: Some(2), cpus: Some(0.01) }).unwrap();
}

#[test]
fn nothing_shows_a_secret() {
    let binding = everything();
    let (set, mock) = set(config(Reuse::Reset));
    let events = set.events(100).unwrap();
    mock.fault_at(MockOperation::Bind, 1, MockFault::Fail("no".into()));
    let error = late(&set, binding.clone()).unwrap_err();
    let sandbox = late(&set, binding.clone()).unwrap();
    let options = GetOptions { binding: Some(binding), ..GetOptions::default() };
    let mut shown = format!("{options:?} {sandbox:?} {error:?} {error} {set:?}");
    // A name and its secret that were swapped.
    let swapped = LateBinding {
        secrets: vec![(format!("{HUSH}/x").into(), Secret::from(&b"token"[..]))],
        ..LateBinding::default()
    };
    let error = late(&set, swapped).unwrap_err();
    assert_eq!(error.field(), Some("binding.secrets"));
    shown += &format!("{error:?} {error}");
    sandbox.put().unwrap();
    until(&set, "reset", |stats| stats.idle == 1);
    shown += &format!("{:?}", std::iter::from_fn(|| events.next(Duration::ZERO)).collect::<Vec<_>>());
    shown += &format!("{:?}", set.stats());
    assert!(!shown.contains(HUSH) && !shown.contains("104, 117, 115, 104"), "{shown}");
    assert!(format!("{:?}", HUSH.as_bytes()).contains("104, 117, 115, 104"), "the check can fail");
}

#[test]
fn many_threads_never_see_what_another_was_given() {
    let (set, _mock) = set(Config { max_size: 3, reuse: Reuse::Reset, ..Config::default() });
    std::thread::scope(|scope| {
        for thread in 0..6u32 {
            let set = &set;
            scope.spawn(move || {
                for round in 0..100u32 {
                    let name = format!("{thread}-{round}");
                    let secrets = vec![(name.clone().into(), Secret::from(name.as_bytes()))];
                    let sandbox = late(set, LateBinding { secrets, ..LateBinding::default() }).unwrap();
                    let found = sandbox.list_dir("/run/secrets".as_ref(), 10).unwrap();
                    assert_eq!(found.len(), 1, "{found:?}");
                    assert_eq!(found[0].name, *name);
                }
            });
        }
    });
    until(&set, "all returned", |stats| stats.returning == 0);
    let stats = set.stats();
    assert_eq!((stats.resets, stats.reset_failures, stats.puts), (600, 0, 600), "{stats:?}");
}
