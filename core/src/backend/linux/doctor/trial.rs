//! A real sandbox: made, used and destroyed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{LinuxBackend, LinuxOptions, cgroup, report};
use super::Check;
use crate::{
    Backend, BackendSandbox, Command, CreateRequest, Error, ErrorCode, IsolationReport, Outcome, SandboxId,
    SandboxSpec, ScratchDirs,
};

const NAME: &str = "sandbox";
/// Long enough that only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What became of the sandbox, and the layers that it reached.
pub(super) struct Trial {
    pub(super) check: Check,
    pub(super) report: IsolationReport,
}

pub(super) fn run() -> Trial {
    let backend = match LinuxBackend::new(LinuxOptions::default()) {
        Ok(backend) => backend,
        Err(error) => {
            let fix = "unset the variable SANDBOXSET_KEEPER, or let it name the program";
            return Trial {
                check: Check::missing(NAME, error.to_string(), fix),
                report: report::expected(&cgroup::detect()),
            };
        }
    };
    let check = match try_sandbox(&backend) {
        Ok(check) => check,
        Err(error) => Check::missing(NAME, error.to_string(), fix_of(&error)),
    };
    Trial { check, report: backend.isolation_report() }
}

fn try_sandbox(backend: &LinuxBackend) -> Result<Check, Error> {
    let started = Instant::now();
    let request = CreateRequest {
        id: SandboxId::next(),
        spec: Arc::new(SandboxSpec::default()),
        scratch: ScratchDirs::Tmpfs,
        deadline: started + PATIENCE,
    };
    let sandbox = backend.create(&request)?;
    let created = Instant::now();
    let used = use_sandbox(&*sandbox);
    let used_until = Instant::now();
    sandbox.destroy()?;
    let times = format!(
        "created in {}, used in {}, destroyed in {}",
        milliseconds(created - started),
        milliseconds(used_until - created),
        milliseconds(used_until.elapsed()),
    );
    Ok(match used? {
        true => Check::works(NAME, times),
        false => Check::degraded(
            NAME,
            format!("{times}; no command was run, because this host's root has no program `true`"),
            "give sandboxes a root of their own, or install coreutils",
        ),
    })
}

/// Runs a command, pauses and unpauses; false if there is no command to run.
fn use_sandbox(sandbox: &dyn BackendSandbox) -> Result<bool, Error> {
    let mut command = Command::new(["true"]);
    command.timeout = PATIENCE;
    let ran = match sandbox.exec(&command) {
        Ok(output) if output.outcome == Outcome::Exited(0) => true,
        Ok(output) => {
            let message = format!("the command `true` did not succeed: {:?}", output.outcome);
            return Err(Error::new(ErrorCode::Internal, crate::Phase::Exec, message));
        }
        Err(error) if error.code() == ErrorCode::InvalidArgument => false,
        Err(error) => return Err(error),
    };
    sandbox.pause()?;
    sandbox.unpause()?;
    Ok(ran)
}

fn fix_of(error: &Error) -> &'static str {
    match error.code() {
        ErrorCode::ForkedProcess => "ask in the process that was forked from, or start this one anew",
        ErrorCode::NoCapacity => "free memory, processes or file descriptors, or raise their limits",
        _ => "see the lines above that do not work; if all do, this is a defect of ours",
    }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
