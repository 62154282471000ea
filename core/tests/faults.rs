//! What goes wrong in a backend stays in one place, and its cause reaches those who need it.

mod support;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    Clock, Command, CommandPolicy, Config, Error, ErrorCode, ManualClock, MissReason, Outcome, Phase,
    SandboxSet, SandboxSpec, SandboxState,
};
use support::{HANG, check, get, now, set, until, within};

fn fail(cause: &str) -> MockFault {
    MockFault::Fail(cause.to_owned())
}

fn misses(set: &SandboxSet, reason: MissReason) -> u64 {
    set.stats().misses.iter().find(|(other, _)| *other == reason).map_or(0, |(_, count)| *count)
}

#[test]
fn a_failed_unpause_tries_the_next_idle_one() {
    let (set, mock) = set(Config::default());
    set.prewarm(3, HANG).unwrap();
    mock.fault_at(MockOperation::Unpause, 1, fail("stuck"));
    mock.fault_at(MockOperation::Death, 1, fail("killed from outside"));
    let sandbox = get(&set);
    assert_eq!(sandbox.uses(), 1);
    assert_eq!(mock.calls(MockOperation::Create), 3);
    until(&set, "destroyed", |stats| stats.destroyed == 2);
    let mut reasons = set.stats().destroyed_by;
    reasons.sort();
    assert_eq!(reasons, [("killed from outside".to_owned(), 1), ("unpause failed: stuck".to_owned(), 1)]);
    assert_eq!((set.stats().gets, set.stats().hits), (1, 1));
}

#[test]
fn if_no_idle_one_is_usable_a_new_one_is_made() {
    let (set, mock) = set(Config { max_size: 2, ..Config::default() });
    set.prewarm(2, HANG).unwrap();
    for nth in 1..=2 {
        mock.fault_at(MockOperation::Unpause, nth, fail("stuck"));
    }
    let sandbox = get(&set);
    assert!(!sandbox.reused());
    assert_eq!((mock.calls(MockOperation::Create), misses(&set, MissReason::Unhealthy)), (3, 1));
    assert_eq!((set.stats().gets, set.stats().hits), (1, 0));
}

#[test]
fn a_put_that_cannot_pause_destroys_without_an_error() {
    for fault in [fail("stuck"), MockFault::Die, MockFault::Panic] {
        let (set, mock) = set(Config::default());
        let sandbox = get(&set);
        mock.fault_at(MockOperation::Pause, 1, fault);
        sandbox.put().unwrap();
        until(&set, "destroyed", |stats| stats.destroyed == 1);
        assert_eq!((set.stats().idle, mock.live()), (0, 0));
    }
}

#[test]
fn a_failed_create_is_told_to_its_caller_only() {
    let (set, mock) = set(Config::default());
    mock.fault_at(MockOperation::Create, 1, fail("no image"));
    let error = set.get_or_create_unpaused(&within(HANG)).unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::CreateFailed, "no image"));
    assert!(set.get_or_create_unpaused(&within(HANG)).is_ok());
    assert_eq!(set.stats().create_failures, 1);
}

#[test]
fn a_panicking_create_is_an_internal_error() {
    let (set, mock) = set(Config::default());
    mock.fault_at(MockOperation::Create, 1, MockFault::Panic);
    let error = set.get_or_create_unpaused(&within(HANG)).unwrap_err();
    assert_eq!((error.code(), error.phase()), (ErrorCode::Internal, Phase::Create));
    assert!(error.message().contains("scripted panic"));
}

#[test]
fn a_caller_that_timed_out_learns_of_the_last_failed_create() {
    let (set, mock) = set(Config { max_size: 1, ..Config::default() });
    mock.fault_at(MockOperation::Create, 1, fail("disk full"));
    assert!(set.get_or_create_unpaused(&within(HANG)).is_err());
    mock.fault_at(MockOperation::Create, 2, MockFault::Hang);
    let error = set.get_or_create_unpaused(&now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(error.message().contains("1 creating") && error.cause().contains("disk full"), "{error}");
    mock.release_hangs();
}

#[test]
fn a_dead_sandbox_answers_with_the_first_cause_and_is_not_reused() {
    let (set, mock) = set(Config::default());
    let sandbox = get(&set);
    assert_eq!(sandbox.state(), SandboxState::Held);
    assert!(mock.kill(sandbox.id(), "init was killed"));
    mock.kill(sandbox.id(), "another cause");
    for _ in 0..2 {
        let error = sandbox.exec(&Command::new(["true"])).unwrap_err();
        assert_eq!((error.code(), error.sandbox_id()), (ErrorCode::SandboxDead, Some(sandbox.id())));
        assert!(error.message().contains("init was killed"), "{error}");
    }
    assert_eq!(sandbox.state(), SandboxState::Dead);
    sandbox.put().unwrap();
    assert_ne!(get(&set).id(), sandbox.id());
}

#[test]
fn an_idle_sandbox_that_died_is_not_handed_out() {
    let (set, mock) = set(Config::default());
    let sandbox = get(&set);
    sandbox.put().unwrap();
    mock.kill(sandbox.id(), "out of memory");
    assert_ne!(get(&set).id(), sandbox.id());
}

#[test]
fn outcomes_and_failures_taint_but_mistakes_do_not() {
    for outcome in [Outcome::TimedOut, Outcome::OutOfMemory, Outcome::OutputLimit] {
        let (set, mock) = set(Config::default());
        mock.on_exec(move |_, _| {
            let mut output = MockBackend::output(0, "");
            output.outcome = outcome;
            Ok(output)
        });
        let sandbox = get(&set);
        assert_eq!(sandbox.exec(&Command::new(["x"])).unwrap().outcome, outcome);
        drop(sandbox);
        until(&set, "destroyed", |stats| stats.destroyed == 1);
    }
    let (set, mock) = set(Config::default());
    let sandbox = get(&set);
    mock.fault_at(MockOperation::Exec, 1, fail("connection lost"));
    assert!(sandbox.exec(&Command::new(["x"])).is_err());
    sandbox.put().unwrap();
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert!(set.stats().destroyed_by[0].0.contains("connection lost"));

    let sandbox = get(&set);
    assert_eq!(sandbox.exec(&Command::new([""])).unwrap_err().field(), Some("args"));
    assert_eq!(sandbox.write_file("x".as_ref(), b"", 0o4755).unwrap_err().field(), Some("mode"));
    assert_eq!(sandbox.read_file("../x".as_ref(), 1).unwrap_err().field(), Some("path"));
    assert_eq!(sandbox.read_file("".as_ref(), 1).unwrap_err().field(), Some("path"));
    mock.on_exec(|_, _| Ok(MockBackend::output(1, "an exit code is not a fault")));
    assert_eq!(sandbox.exec(&Command::new(["x"])).unwrap().exit_code(), Some(1));
    sandbox.put().unwrap();
    assert_eq!(get(&set).id(), sandbox.id());
}

#[test]
fn a_panicking_backend_call_destroys_its_sandbox_only() {
    let (set, mock) = set(Config::default());
    let (sandbox, other) = (get(&set), get(&set));
    mock.fault_at(MockOperation::Exec, 1, MockFault::Panic);
    let error = sandbox.exec(&Command::new(["x"])).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Internal);
    assert_eq!(sandbox.exec(&Command::new(["x"])).unwrap_err().code(), ErrorCode::SandboxDead);
    assert!(other.exec(&Command::new(["x"])).is_ok());
}

#[test]
fn the_command_policy_sees_every_command_first() {
    let policy = CommandPolicy::new(|command| match command.args.first() {
        Some(program) if program == "rm" => {
            Err(Error::new(ErrorCode::PermissionDenied, Phase::Exec, "rm is not allowed"))
        }
        Some(program) if program == "panic" => panic!("a broken policy"),
        _ => {
            command.args.push("rewritten".into());
            Ok(())
        }
    });
    let (set, mock) = set(Config { command_policy: Some(policy), ..Config::default() });
    let sandbox = get(&set);
    assert_eq!(sandbox.exec(&Command::new(["a"])).unwrap().stdout.text(), "a rewritten\n");
    let refused =
        [sandbox.exec(&Command::new(["rm"])), sandbox.spawn(&Command::new(["rm"])).map(|_| panic!())];
    assert!(refused.into_iter().all(|result| result.unwrap_err().code() == ErrorCode::PermissionDenied));
    assert_eq!(sandbox.exec(&Command::new(["panic"])).unwrap_err().code(), ErrorCode::Internal);
    assert_eq!(mock.calls(MockOperation::Exec), 1);
    sandbox.put().unwrap();
    assert_eq!(set.stats().idle, 1);
}

#[test]
fn refills_back_off_and_recover() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    mock.fault_always(MockOperation::Create, Some(fail("daemon down")));
    let config = Config { min_idle: 2, clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    let mut failures = 0;
    for delay in [100, 200, 400, 800] {
        // Both creates of a round fail; together they count once.
        failures += 2;
        until(&set, "failed", |stats| stats.create_failures == failures && stats.creating == 0);
        wait_for_timer(&clock);
        clock.advance(Duration::from_millis(delay - 1));
        assert_eq!((mock.calls(MockOperation::Create), set.stats().creating), (failures, 0));
        clock.advance(Duration::from_millis(1));
    }
    until(&set, "failed", |stats| stats.create_failures == failures + 2);
    wait_for_timer(&clock);
    mock.fault_always(MockOperation::Create, None);
    clock.advance(Duration::from_secs(30));
    until(&set, "refilled", |stats| stats.idle == 2);
    // A removal is made up for at once.
    get(&set).destroy("used").unwrap();
    until(&set, "refilled", |stats| stats.idle == 2 && stats.destroyed == 1);
}

/// The worker that saw the failure schedules the next try just after it is counted.
fn wait_for_timer(clock: &ManualClock) {
    let start = std::time::Instant::now();
    while clock.scheduled() == 0 {
        assert!(start.elapsed() < HANG, "nothing was scheduled");
        thread::yield_now();
    }
}

#[test]
fn a_sandbox_that_cannot_be_destroyed_is_retried_and_frees_its_place() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    mock.fault_always(MockOperation::Destroy, Some(fail("device busy")));
    let config = Config { max_size: 1, clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    get(&set).destroy("done").unwrap();
    until(&set, "quarantined", |stats| stats.quarantined == 1);
    wait_for_timer(&clock);
    let error = set.get_or_create_unpaused(&now()).unwrap_err();
    assert!(error.message().contains("1 quarantined"), "{error}");
    while clock.scheduled() < 2 {
        thread::yield_now();
    }
    clock.advance(Duration::from_millis(100));
    until(&set, "retried", |_| mock.calls(MockOperation::Destroy) == 2);
    while clock.scheduled() < 2 {
        thread::yield_now();
    }
    // After five seconds the place is free, though the sandbox is not gone.
    clock.advance(Duration::from_secs(5));
    let sandbox = get(&set);
    check(&set.stats());
    assert_eq!(set.stats().quarantined, 1);
    mock.fault_always(MockOperation::Destroy, None);
    let start = std::time::Instant::now();
    while set.stats().quarantined > 0 {
        assert!(start.elapsed() < HANG, "never retried");
        clock.advance(Duration::from_secs(30));
        thread::yield_now();
    }
    assert_eq!((set.stats().destroyed, set.stats().held, mock.live()), (1, 1, 1));
    sandbox.put().unwrap();
}

#[test]
fn whoever_sees_a_sandbox_quarantined_can_advance_the_clock_to_its_next_destroy() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    let config = Config { clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    for round in 0..300 {
        mock.fault_at(MockOperation::Destroy, 2 * round + 1, fail("device busy"));
        get(&set).destroy("done").unwrap();
        let start = std::time::Instant::now();
        while set.stats().quarantined == 0 {
            assert!(start.elapsed() < HANG, "never quarantined");
            std::hint::spin_loop();
        }
        clock.advance(Duration::from_millis(100));
        until(&set, "destroyed", |stats| stats.destroyed == round + 1);
    }
}

#[test]
fn a_destroy_that_hangs_frees_its_place_and_counts_when_it_ends() {
    let (mock, clock) = (MockBackend::new(), ManualClock::new());
    mock.fault_at(MockOperation::Destroy, 1, MockFault::Hang);
    let config = Config { max_size: 1, clock: Clock::Manual(Arc::clone(&clock)), ..Config::default() };
    let set = SandboxSet::new(Arc::new(mock.clone()), SandboxSpec::default(), config).unwrap();
    get(&set).destroy("done").unwrap();
    assert!(mock.wait_for_hangs(MockOperation::Destroy, 1, HANG));
    clock.advance(Duration::from_millis(4_999));
    assert_eq!((set.stats().destroying, set.stats().quarantined), (1, 0));
    assert!(set.get_or_create_unpaused(&now()).is_err());
    clock.advance(Duration::from_millis(1));
    let sandbox = get(&set);
    check(&set.stats());
    assert_eq!((set.stats().destroying, set.stats().quarantined, set.stats().held), (0, 1, 1));
    mock.release_hangs();
    until(&set, "gone", |stats| stats.quarantined == 0 && stats.destroyed == 1);
    sandbox.put().unwrap();
    assert_eq!((set.stats().idle, clock.scheduled(), mock.calls(MockOperation::Destroy)), (1, 0, 1));
}
