//! Starting commands, and running them to their end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Weak};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use sandboxset_keeper::{Exec, ToInit};

use super::fault;
use super::process::LinuxProcess;
use super::running::{Rules, Running, Stop};
use super::sandbox::Inner;
use super::wait::CancelFd;
use crate::{Command, Error, ErrorCode, Output, Phase, Result, Stdin};

/// Runs a command to its end in the calling thread.
pub(super) fn exec(sandbox: &Arc<Inner>, command: &Command) -> Result<Output> {
    if command.stdin == Stdin::Stream {
        return Err(Error::invalid("stdin", "a stream is only for spawn").with_phase(Phase::Exec));
    }
    let cancel = match &command.cancel {
        Some(token) => {
            token.check(Phase::Exec)?;
            Some(
                CancelFd::new(token)
                    .map_err(|errno| fault::os(Phase::Exec, "no descriptor for the cancel token", errno))?,
            )
        }
        None => None,
    };
    let (running, _) = start(sandbox, command)?;
    match running.take_result(cancel.as_ref()) {
        Err(error) if error.code() == ErrorCode::Cancelled => {
            running.stop(Stop::Wish);
            // The call is over when nothing of the command is left, not before.
            running.take_result(None)?;
            Err(error)
        }
        other => other,
    }
}

/// Starts a command that outlives the call.
pub(super) fn spawn(sandbox: &Arc<Inner>, command: &Command) -> Result<LinuxProcess> {
    let cancel = match &command.cancel {
        Some(token) => {
            token.check(Phase::Exec)?;
            Some(
                CancelFd::new(token)
                    .map_err(|errno| fault::os(Phase::Exec, "no descriptor for the cancel token", errno))?,
            )
        }
        None => None,
    };
    let (running, stdin) = start(sandbox, command)?;
    running.await_start(cancel.as_ref())?;
    drop(cancel);
    let timeout_at = Instant::now().checked_add(command.timeout);
    let weak = Arc::downgrade(&running);
    let on_cancel = command.cancel.as_ref().map(|token| token.on_cancel(move || stop(&weak)));
    Ok(LinuxProcess::new(running, stdin, timeout_at, on_cancel))
}

fn stop(running: &Weak<Running>) {
    if let Some(running) = running.upgrade() {
        running.stop(Stop::Wish);
    }
}

/// Hands the command to the init. Also returns the host's end of a streamed standard input.
fn start(sandbox: &Arc<Inner>, command: &Command) -> Result<(Arc<Running>, Option<OwnedFd>)> {
    let os = |errno: Errno| fault::os(Phase::Exec, "no descriptors for the command's streams", errno);
    let (stdout, stdout_end) = output_pipe().map_err(os)?;
    let (stderr, stderr_end) = output_pipe().map_err(os)?;
    let (stdin, stdin_end) = match &command.stdin {
        Stdin::Null => (None, None),
        Stdin::Bytes(bytes) => {
            let memfd = sandboxset_keeper::sealed_memfd(bytes).map_err(|error| {
                Error::new(ErrorCode::NoCapacity, Phase::Exec, "standard input does not fit in memory")
                    .with_source(error)
            })?;
            (None, Some(memfd))
        }
        Stdin::Stream => {
            let (ours, theirs) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                    .map_err(os)?;
            (Some(ours), Some(theirs))
        }
    };
    let lane = sandbox
        .cgroups
        .take_lane()
        .map_err(|errno| sandbox.refusal(Phase::Exec, "no cgroup for the command", errno))?;
    let request = ToInit::Exec(Box::new(Exec {
        args: command.args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: sandbox.env.with(&command.env),
        cwd: command
            .cwd
            .as_ref()
            .map_or_else(|| b"/scratch".to_vec(), |cwd| cwd.as_os_str().as_bytes().to_vec()),
        stdin: stdin_end.is_some(),
        cgroup: lane.is_some(),
        memory_bytes: command.memory_bytes,
        cpu_seconds: command.cpu_seconds,
    }));
    let fds: Vec<BorrowedFd<'_>> = stdin_end
        .iter()
        .map(AsFd::as_fd)
        .chain([stdout_end.as_fd(), stderr_end.as_fd()])
        .chain(lane.iter().map(AsFd::as_fd))
        .collect();
    let oom_kills = sandbox.cgroups.oom_kills();
    let started = Instant::now();
    let rules = Rules {
        program: command.args.first().cloned().unwrap_or_default(),
        started,
        timeout_at: started.checked_add(command.timeout),
        grace: command.grace,
        output_bytes: command.output_bytes,
        on_overflow: command.on_overflow,
        oom_kills,
    };
    match sandbox.init.start(Phase::Exec, &request, &fds) {
        Ok(reply) => Ok((Running::new(Arc::clone(sandbox), reply, [stdout, stderr], lane, rules), stdin)),
        Err(error) => {
            if let Some(lane) = lane {
                sandbox.cgroups.return_lane(lane);
            }
            Err(error)
        }
    }
}

/// A pipe whose read end does not block; the write end does, as a program expects of its output.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}
