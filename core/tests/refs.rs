//! What a ref, and what came from it, may do: during its lease, and after it.

mod support;

use std::io::{Read, Write};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use sandboxset::backend::mock::{MockBackend, MockFault, MockOperation};
use sandboxset::{
    CancelToken, Command, Config, ErrorCode, OnOverflow, Outcome, OutputStream, SandboxState, Stdin,
};
use support::{HANG, get, set, until};

#[test]
fn of_eight_racing_puts_exactly_one_counts() {
    let (set, mock) = set(Config::default());
    for round in 1..=300 {
        let sandbox = get(&set);
        let barrier = Barrier::new(8);
        let puts: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let (sandbox, barrier) = (&sandbox, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        let ended = if number % 4 == 0 { sandbox.destroy("race") } else { sandbox.put() };
                        match ended {
                            Ok(()) => 1,
                            Err(error) => {
                                assert_eq!(error.code(), ErrorCode::StaleRef);
                                0
                            }
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(puts, 1);
        until(&set, "settled", |stats| stats.destroying == 0);
        assert_eq!((set.stats().gets, set.stats().held), (round, 0));
    }
    assert_eq!(set.stats().puts + set.stats().destroyed, 300);
    assert_eq!(mock.live(), set.stats().idle);
}

#[test]
fn a_stale_ref_never_touches_the_next_holder() {
    let (set, mock) = set(Config { max_size: 1, ..Config::default() });
    let first = get(&set);
    let process = first.spawn(&Command { stdin: Stdin::Stream, ..Command::new(["cat"]) }).unwrap();
    process.close_stdin().unwrap();
    process.wait(HANG, None).unwrap();
    let mut connection = first.connect(HANG, None).unwrap();
    first.put().unwrap();
    let second = get(&set);
    assert_eq!(second.id(), first.id());
    second.write_file("mine".as_ref(), b"1", 0o600).unwrap();

    let stale = |code: ErrorCode| assert_eq!(code, ErrorCode::StaleRef);
    stale(first.put().unwrap_err().code());
    stale(first.destroy("late").unwrap_err().code());
    stale(first.write_file("mine".as_ref(), b"2", 0o600).unwrap_err().code());
    stale(first.remove("mine".as_ref()).unwrap_err().code());
    stale(first.call(b"x", HANG, None).unwrap_err().code());
    stale(first.usage().unwrap_err().code());
    stale(process.kill().unwrap_err().code());
    assert!(connection.write(b"x").is_err() && connection.read(&mut [0]).is_err());
    first.taint("late");
    drop(first);
    drop(process);

    assert_eq!((second.state(), mock.paused()), (SandboxState::Held, 0));
    assert_eq!(second.read_file("mine".as_ref(), 10).unwrap(), b"1");
    second.put().unwrap();
    assert_eq!(set.stats().idle, 1);
}

#[test]
fn leaving_scope_puts_unless_something_went_wrong() {
    let (set, _mock) = set(Config::default());
    drop(get(&set));
    assert_eq!((set.stats().idle, set.stats().puts), (1, 1));
    let panicked = thread::scope(|scope| {
        scope
            .spawn(|| {
                let _sandbox = get(&set);
                panic!("scripted");
            })
            .join()
    });
    assert!(panicked.is_err());
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    let sandbox = get(&set);
    sandbox.taint("the caller knows better");
    drop(sandbox);
    until(&set, "destroyed", |stats| stats.destroyed == 2);
    let reasons = set.stats().destroyed_by;
    assert_eq!(reasons, [("its holder panicked".to_owned(), 1), ("the caller knows better".to_owned(), 1)]);
}

#[test]
fn a_put_with_a_running_command_destroys() {
    let (set, _mock) = set(Config::default());
    let sandbox = get(&set);
    let command = Command { stdin: Stdin::Stream, ..Command::new(["cat"]) };
    let process = sandbox.spawn(&command).unwrap();
    assert_eq!(process.wait(Duration::ZERO, None).unwrap_err().code(), ErrorCode::Timeout);
    sandbox.put().unwrap();
    until(&set, "destroyed", |stats| stats.destroyed == 1);
    assert!(process.wait(HANG, None).is_err());

    // One that was killed by its drop is no longer in the way.
    let sandbox = get(&set);
    drop(sandbox.spawn(&command).unwrap());
    sandbox.put().unwrap();
    assert_eq!(set.stats().idle, 1);
}

#[test]
fn a_spawned_command_is_fed_read_signalled_and_awaited() {
    let (set, mock) = set(Config::default());
    mock.on_exec(|_, command| match &command.stdin {
        Stdin::Bytes(bytes) => Ok(MockBackend::output(0, bytes.to_ascii_uppercase())),
        _ => Ok(MockBackend::output(7, "")),
    });
    let sandbox = get(&set);
    let command = Command { stdin: Stdin::Stream, ..Command::new(["upper"]) };
    assert_eq!(sandbox.exec(&command).unwrap_err().field(), Some("stdin"));
    let process = sandbox.spawn(&command).unwrap();
    process.write_stdin(b"hello", HANG).unwrap();
    process.close_stdin().unwrap();
    process.close_stdin().unwrap();
    let mut buffer = [0; 3];
    assert_eq!(process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap(), 3);
    let output = process.wait(HANG, None).unwrap();
    assert_eq!((&buffer, output.stdout.text().as_str()), (b"HEL", "LO"));

    let process = sandbox.spawn(&command).unwrap();
    assert_eq!(process.signal(0).unwrap_err().field(), Some("signal"));
    process.signal(15).unwrap();
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(15));
    assert_eq!(sandbox.spawn(&Command::new(["x"])).unwrap().wait(HANG, None).unwrap().exit_code(), Some(7));

    let process = sandbox.spawn(&command).unwrap();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait(HANG, Some(&cancel)));
        cancel.cancel();
        assert_eq!(waiter.join().unwrap().unwrap_err().code(), ErrorCode::Cancelled);
    });
}

#[test]
fn output_is_bounded() {
    let (set, mock) = set(Config::default());
    mock.on_exec(|_, _| Ok(MockBackend::output(0, "0123456789")));
    let sandbox = get(&set);
    let mut command = Command { output_bytes: 5, ..Command::new(["x"]) };
    let output = sandbox.exec(&command).unwrap();
    assert_eq!((output.stdout.text().as_str(), output.stdout.head, output.stdout.dropped), ("01289", 3, 5));
    command.on_overflow = OnOverflow::Kill;
    assert_eq!(sandbox.exec(&command).unwrap().outcome, Outcome::OutputLimit);
}

#[test]
fn a_call_is_bounded_by_its_deadline_its_token_and_its_size() {
    let (set, mock) = set(Config::default());
    mock.on_call(|_, request| request.iter().rev().copied().collect());
    let sandbox = get(&set);
    assert_eq!(sandbox.call(b"abc", HANG, None).unwrap(), b"cba");
    assert_eq!(sandbox.call(b"", HANG, None).unwrap(), b"");
    let large = vec![1; 1 << 20];
    assert_eq!(sandbox.call(&large, HANG, None).unwrap(), large);
    let error = sandbox.call(&vec![0; sandboxset::MAX_CALL_BYTES + 1], HANG, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooBig);
    let cancelled = CancelToken::new();
    cancelled.cancel();
    assert_eq!(sandbox.call(b"x", HANG, Some(&cancelled)).unwrap_err().code(), ErrorCode::Cancelled);
    // Nothing was begun, so nothing is tainted.
    sandbox.put().unwrap();
    let sandbox = get(&set);
    assert!(sandbox.reused());
    assert_eq!(sandbox.call(b"x", Duration::ZERO, None).unwrap_err().code(), ErrorCode::Timeout);
    drop(sandbox);
    until(&set, "destroyed", |stats| stats.destroyed == 1);
}

#[test]
fn a_read_from_a_silent_runtime_ends_with_its_timeout_a_cancel_or_the_sandbox() {
    let (set, mock) = set(Config::default());
    let sandbox = get(&set);
    let mut connection = sandbox.connect(HANG, None).unwrap();
    connection.set_timeout(Some(Duration::from_millis(5))).unwrap();
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    connection.set_timeout(None).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(move || connection.read(&mut [0]).map_err(|error| error.to_string()));
        assert!(mock.kill(sandbox.id(), "killed meanwhile"));
        assert!(reader.join().unwrap().unwrap_err().contains("killed meanwhile"));
    });
}

#[test]
fn destroy_ends_a_call_that_hangs_in_the_sandbox() {
    let (set, mock) = set(Config::default());
    mock.fault_at(MockOperation::Exec, 1, MockFault::Hang);
    let sandbox = get(&set);
    thread::scope(|scope| {
        let exec = scope.spawn(|| sandbox.exec(&Command::new(["x"])));
        assert!(mock.wait_for_hangs(MockOperation::Exec, 1, HANG));
        sandbox.destroy("too slow").unwrap();
        let error = exec.join().unwrap().unwrap_err();
        assert_eq!(error.code(), ErrorCode::SandboxDead);
        assert!(error.message().contains("too slow"), "{error}");
    });
}
