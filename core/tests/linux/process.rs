//! Commands that outlive the call that started them.

use std::time::{Duration, Instant};

use sandboxset::{CancelToken, Command, ErrorCode, Outcome, OutputStream, Stdin};

use crate::support::{HANG, eventually, sandbox, shell};

#[test]
fn a_conversation_over_the_streams() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = shell("while read line; do echo \"got $line\"; done; echo end >&2; exit 4");
    command.stdin = Stdin::Stream;
    let process = sandbox.spawn(&command).unwrap();
    let mut buffer = [0; 100];
    for word in ["one", "two"] {
        process.write_stdin(format!("{word}\n").as_bytes(), HANG).unwrap();
        let length = process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap();
        assert_eq!(&buffer[..length], format!("got {word}\n").as_bytes());
    }
    let error = process.read(OutputStream::Stdout, &mut buffer, Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    let error = process.wait(Duration::from_millis(20), None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    process.close_stdin().unwrap();
    process.close_stdin().unwrap();
    assert_eq!(process.write_stdin(b"x", HANG).unwrap_err().code(), ErrorCode::InvalidState);
    let output = process.wait(HANG, None).unwrap();
    assert_eq!(
        (output.outcome, output.stdout.text(), output.stderr.text()),
        (Outcome::Exited(4), "".into(), "end\n".into())
    );
    assert_eq!(process.wait(HANG, None).unwrap(), output, "every wait answers the same");
    assert_eq!(process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap(), 0);
    process.kill().unwrap();
    process.signal(15).unwrap();
}

#[test]
fn reading_to_the_end_needs_no_wait() {
    let Some(sandbox) = sandbox() else { return };
    let process = sandbox.spawn(&shell("setsid sleep 1000 & seq 100000")).unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    if !sandbox.backend_has_cgroups() {
        return;
    }
    loop {
        match process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap() {
            0 => break,
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 100_001);
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Exited(0));
}

#[test]
fn several_threads_wait_for_one_end() {
    let Some(sandbox) = sandbox() else { return };
    let process = sandbox.spawn(&shell("sleep 0.2; seq 1000")).unwrap();
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..4).map(|_| scope.spawn(|| process.wait(HANG, None).unwrap())).collect();
        let outputs: Vec<_> = waits.into_iter().map(|wait| wait.join().unwrap()).collect();
        assert!(outputs.iter().all(|output| *output == outputs[0] && output.success()));
        assert_eq!(outputs[0].stdout.text().lines().count(), 1000);
    });
}

#[test]
fn signals_reach_the_command() {
    let Some(sandbox) = sandbox() else { return };
    let process = sandbox
        .spawn(&shell("trap 'echo caught; exit 9' USR1; echo ready; while :; do sleep 0.01; done"))
        .unwrap();
    let mut buffer = [0; 100];
    assert_eq!(process.read(OutputStream::Stdout, &mut buffer, HANG).unwrap(), 6);
    process.signal(10).unwrap();
    let output = process.wait(HANG, None).unwrap();
    assert_eq!((output.outcome, output.stdout.text().as_str()), (Outcome::Exited(9), "caught\n"));
}

#[test]
fn the_timeout_holds_though_nobody_waits() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = shell("trap '' TERM; setsid sleep 1000 & sleep 1000");
    command.timeout = Duration::from_millis(100);
    let process = sandbox.spawn(&command).unwrap();
    if sandbox.backend_has_cgroups() {
        eventually("nothing of it is left", || sandbox.usage().unwrap().pids == 1);
    }
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::TimedOut);
    // Nothing that ended in time is called late.
    let mut command = Command::new(["true"]);
    command.timeout = Duration::from_millis(300);
    let process = sandbox.spawn(&command).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Exited(0));
}

#[test]
fn a_dropped_or_cancelled_process_is_killed() {
    let Some(sandbox) = sandbox() else { return };
    if !sandbox.backend_has_cgroups() {
        return;
    }
    let alone = || sandbox.usage().unwrap().pids == 1;
    let mut command = shell("setsid sleep 1000 & sleep 1000");
    command.timeout = HANG * 10;
    drop(sandbox.spawn(&command).unwrap());
    eventually("the dropped one is gone", alone);
    let token = CancelToken::new();
    command.cancel = Some(token.clone());
    let process = sandbox.spawn(&command).unwrap();
    let other = CancelToken::new();
    other.cancel();
    assert_eq!(process.wait(HANG, Some(&other)).unwrap_err().code(), ErrorCode::Cancelled);
    assert!(!alone(), "cancelling a wait is not cancelling the command");
    token.cancel();
    eventually("the cancelled one is gone", alone);
    assert_eq!(process.wait(HANG, None).unwrap().outcome, Outcome::Signaled(9));
}

#[test]
fn a_command_that_reads_nothing_blocks_no_writer_for_ever() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = Command::new(["sleep", "1000"]);
    command.stdin = Stdin::Stream;
    command.timeout = HANG * 10;
    let process = sandbox.spawn(&command).unwrap();
    let start = Instant::now();
    let error = process.write_stdin(&vec![0; 4 << 20], Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Timeout);
    assert!(start.elapsed() < HANG);
    process.kill().unwrap();
    process.wait(HANG, None).unwrap();
    assert_eq!(process.write_stdin(b"x", HANG).unwrap_err().code(), ErrorCode::InvalidState);
}
