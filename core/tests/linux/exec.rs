//! Commands: how they end, what they read, what they write, and that nothing of them is left.

use std::time::{Duration, Instant};

use sandboxset::{CancelToken, Command, ErrorCode, OnOverflow, Outcome, Stdin};

use crate::support::{HANG, sandbox, sh, shell};

#[test]
fn output_exit_codes_and_signals_are_told_apart() {
    let Some(sandbox) = sandbox() else { return };
    let output = sh(&sandbox, "echo out; echo err >&2; exit 7");
    assert_eq!(output.outcome, Outcome::Exited(7));
    assert_eq!((output.stdout.text().as_str(), output.stderr.text().as_str()), ("out\n", "err\n"));
    assert_eq!(sandbox.exec(&Command::new(["true"])).unwrap().outcome, Outcome::Exited(0));
    assert_eq!(sh(&sandbox, "kill -9 $$").outcome, Outcome::Signaled(9));
    assert_eq!(sh(&sandbox, "kill -SEGV $$").outcome, Outcome::Signaled(11));
    assert!(output.usage.wall > Duration::ZERO && output.usage.peak_memory_bytes > 0);
}

#[test]
fn standard_input_is_what_was_given_and_then_ends() {
    let Some(sandbox) = sandbox() else { return };
    let bytes: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
    let mut command = Command::new(["cat"]);
    command.stdin = Stdin::Bytes(bytes.clone());
    assert_eq!(sandbox.exec(&command).unwrap().stdout.bytes, bytes);
    assert_eq!(sandbox.exec(&Command::new(["cat"])).unwrap().stdout.bytes, b"");
    command.stdin = Stdin::Stream;
    assert_eq!(sandbox.exec(&command).unwrap_err().field(), Some("stdin"));
}

#[test]
fn the_environment_is_what_was_given_and_nothing_of_the_host() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = Command::new(["env"]);
    command.env = vec![("A".into(), "b c=d".into()), ("HOME".into(), "/tmp".into())];
    let text = sandbox.exec(&command).unwrap().stdout.text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=b c=d", "HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin"]);
}

#[test]
fn the_working_directory_is_scratch_or_what_was_given() {
    let Some(sandbox) = sandbox() else { return };
    assert_eq!(sh(&sandbox, "pwd").stdout.text(), "/scratch\n");
    let mut command = Command::new(["pwd"]);
    command.cwd = Some("/usr".into());
    assert_eq!(sandbox.exec(&command).unwrap().stdout.text(), "/usr\n");
    command.cwd = Some("/nonexistent".into());
    let error = sandbox.exec(&command).unwrap_err();
    assert_eq!((error.code(), error.field()), (ErrorCode::InvalidArgument, Some("cwd")));
}

#[test]
fn a_program_that_is_not_there_or_not_executable_is_an_error() {
    let Some(sandbox) = sandbox() else { return };
    for program in ["no-such-program", "/no/such/program", "/"] {
        let error = sandbox.exec(&Command::new([program])).unwrap_err();
        assert!(
            matches!(error.code(), ErrorCode::InvalidArgument | ErrorCode::PermissionDenied),
            "{program}: {error}"
        );
        assert!(error.message().contains(program), "{error}");
        assert!(sandbox.spawn(&Command::new([program])).is_err());
    }
    assert!(sh(&sandbox, "true").success(), "the sandbox still works");
}

#[test]
fn a_timeout_ends_every_process_also_those_that_ignore_term_or_made_a_session() {
    let Some(sandbox) = sandbox() else { return };
    let mut command =
        shell("trap '' TERM; setsid sleep 1000 & (trap '' TERM; sleep 1000) & while :; do :; done");
    command.timeout = Duration::from_millis(300);
    let start = Instant::now();
    let output = sandbox.exec(&command).unwrap();
    assert_eq!(output.outcome, Outcome::TimedOut);
    assert!(start.elapsed() >= Duration::from_millis(500), "TERM, then grace, then KILL");
    assert!(start.elapsed() < HANG);
    assert_eq!(sleepers(&sandbox), "0\n");
}

#[test]
fn a_command_that_heeds_term_may_clean_up() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = shell("trap 'echo bye; exit 3' TERM; echo hi; sleep 1000 & wait");
    command.timeout = Duration::from_millis(300);
    command.grace = HANG;
    let output = sandbox.exec(&command).unwrap();
    assert_eq!((output.outcome, output.stdout.text().as_str()), (Outcome::TimedOut, "hi\nbye\n"));
}

#[test]
fn what_a_command_leaves_behind_is_killed_when_it_ends() {
    let Some(sandbox) = sandbox() else { return };
    let start = Instant::now();
    let output = sh(&sandbox, "setsid sleep 1000 & sleep 1000 & echo done");
    assert_eq!((output.outcome, output.stdout.text().as_str()), (Outcome::Exited(0), "done\n"));
    assert!(start.elapsed() < Duration::from_secs(20), "the open stdout of a daemon held the call up");
    if sandbox.backend_has_cgroups() {
        assert_eq!(sleepers(&sandbox), "0\n");
    }
}

#[test]
fn an_output_flood_costs_no_more_memory_than_allowed_and_keeps_both_ends() {
    let Some(sandbox) = sandbox() else { return };
    let mut command = shell("echo first; head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last");
    command.output_bytes = 1000;
    let output = sandbox.exec(&command).unwrap();
    assert_eq!(output.outcome, Outcome::Exited(0));
    assert_eq!((output.stdout.bytes.len(), output.stdout.head), (1000, 500));
    assert_eq!(output.stdout.dropped, 50_000_000 + 12 - 1000);
    assert!(output.stdout.bytes.starts_with(b"first\nxxx") && output.stdout.bytes.ends_with(b"xxx\nlast\n"));
    command = Command::new(["yes"]);
    command.output_bytes = 10;
    command.on_overflow = OnOverflow::Kill;
    let output = sandbox.exec(&command).unwrap();
    assert_eq!(output.outcome, Outcome::OutputLimit);
    assert_eq!(output.stdout.bytes.len(), 10);
    command.args = vec!["echo".into(), "longer than ten bytes".into()];
    assert_eq!(sandbox.exec(&command).unwrap().outcome, Outcome::OutputLimit, "also when it ended by itself");
}

#[test]
fn a_cancelled_command_is_killed() {
    let Some(sandbox) = sandbox() else { return };
    let token = CancelToken::new();
    let mut command = Command::new(["sleep", "1000"]);
    command.timeout = HANG * 10;
    command.cancel = Some(token.clone());
    let start = Instant::now();
    let result = std::thread::scope(|scope| {
        let call = scope.spawn(|| sandbox.exec(&command));
        crate::support::eventually("the command runs", || sleepers(&sandbox) == "1\n");
        token.cancel();
        call.join().unwrap()
    });
    assert_eq!(result.unwrap_err().code(), ErrorCode::Cancelled);
    assert!(start.elapsed() < HANG);
    assert_eq!(sleepers(&sandbox), "0\n");
    assert_eq!(sandbox.exec(&command).unwrap_err().code(), ErrorCode::Cancelled);
}

#[test]
fn commands_run_side_by_side_and_one_timeout_spares_the_others() {
    let Some(sandbox) = sandbox() else { return };
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| sh(&sandbox, "sleep 1; echo slow").stdout.text());
        let mut hopeless = shell("setsid sleep 1000; sleep 1000");
        hopeless.timeout = Duration::from_millis(100);
        hopeless.grace = Duration::ZERO;
        assert_eq!(sandbox.exec(&hopeless).unwrap().outcome, Outcome::TimedOut);
        for number in 0..20 {
            assert_eq!(sh(&sandbox, &format!("echo {number}")).stdout.text(), format!("{number}\n"));
        }
        assert_eq!(slow.join().unwrap(), "slow\n");
    });
}

/// How many `sleep 1000` run in the sandbox.
fn sleepers(sandbox: &crate::support::TestSandbox) -> String {
    // The pattern must not match the counting shell itself.
    sh(sandbox, "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c '^100[0]$'; :").stdout.text()
}
