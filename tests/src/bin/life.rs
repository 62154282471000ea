//! A host program that leads one short life of a set while something fails, and says what became of each step.
//!
//! `life [KEEPER]`: waits for a line on its standard input, leads lives until one succeeds wholly, at most
//! a few, closes everything, and waits for the end of its input. So whoever looks can take a census before, and
//! after while the host still lives.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandboxset::backend::linux::{LinuxBackend, LinuxOptions};
use sandboxset::{
    Backend, Command, Config, Error, ErrorCode, GetOptions, Outcome, Phase, Result, SandboxSet, SandboxSpec,
    Stdin,
};
use sandboxset_keeper::Owner;

/// Bounds every call, so that what hangs shows as a timeout, and a timeout that does not end as a hang.
const BOUND: Duration = Duration::from_secs(3);
/// How often it is tried.
const LIVES: usize = 4;
/// What is said to whoever looks on must arrive though a call of it fails.
const RETRIES: usize = 3;

fn main() {
    let mut args = std::env::args_os().skip(1);
    let keeper = args.next().map(Into::into);
    say(&format!("owner {}", Owner::current().unwrap()));
    await_line();

    match LinuxBackend::new(LinuxOptions { keeper, ..LinuxOptions::default() }) {
        Ok(backend) => live(Arc::new(backend)),
        Err(error) => said("backend", Err(error)),
    }
    say("finished");
    await_line();
}

fn live(backend: Arc<dyn Backend>) {
    let config = Config { max_size: 2, get_timeout: BOUND, create_timeout: BOUND, ..Config::default() };
    let set = match SandboxSet::new(backend, SandboxSpec::default(), config) {
        Ok(set) => set,
        Err(error) => return said("set", Err(error)),
    };
    for _ in 0..LIVES {
        match one(&set) {
            Ok(()) => {
                say("life ok");
                break;
            }
            // What a caller would do who is told that it was not his mistake.
            Err(error) if error.retryable() => {}
            Err(_) => {}
        }
    }
    match set.close(4 * BOUND) {
        Ok(report) => {
            for survivor in &report.survivors {
                say(&format!("survivor {survivor}"));
            }
        }
        Err(error) => said("close", Err(error)),
    }
}

/// Everything that a holder does with one sandbox, once.
fn one(set: &SandboxSet) -> Result<()> {
    let sandbox = step("get", || set.get_or_create_unpaused(&GetOptions::default()))?;
    let mut command = Command::new(["sh", "-c", "echo out; read line; echo $line >&2"]);
    command.stdin = Stdin::Bytes(b"in\n".to_vec());
    command.timeout = BOUND;
    step("exec", || {
        let output = sandbox.exec(&command)?;
        // Its process may be the one that was hit, or was late.
        if output.outcome != Outcome::Exited(0) {
            let text = format!("the command ended with {:?}", output.outcome);
            return Err(Error::new(ErrorCode::Cancelled, Phase::Exec, text));
        }
        assert_eq!((output.stdout.text(), output.stderr.text()), ("out\n".into(), "in\n".into()));
        Ok(())
    })?;
    let file = Path::new("file");
    step("write", || sandbox.write_file(file, b"contents", 0o600))?;
    step("pause", || sandbox.put())?;
    let sandbox = step("unpause", || set.get_or_create_unpaused(&GetOptions::default()))?;
    if sandbox.reused() {
        step("read", || sandbox.read_file(file, 100).map(|bytes| assert_eq!(bytes, b"contents")))?;
    }
    let mut sleep = Command::new(["sleep", "60"]);
    sleep.timeout = Duration::from_millis(20);
    step("timeout", || sandbox.exec(&sleep).map(drop))?;
    step("destroy", || sandbox.destroy("done"))
}

fn step<T>(name: &str, action: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = action();
    match &result {
        Ok(_) => say(&format!("{name} ok")),
        Err(error) => say(&format!("{name} error {:?} {:?} {error}", error.code(), error.phase())),
    }
    result
}

fn said(name: &str, result: Result<()>) {
    let _ = step(name, || result);
}

/// One write per line, again if it was the one that was to fail.
fn say(line: &str) {
    let line = format!("{line}\n");
    for _ in 0..RETRIES {
        if rustix::io::write(std::io::stdout(), line.as_bytes()).is_ok() {
            return;
        }
    }
}

fn await_line() {
    let mut buffer = [0; 64];
    for _ in 0..RETRIES {
        if rustix::io::read(std::io::stdin(), &mut buffer[..]).is_ok() {
            return;
        }
    }
}
