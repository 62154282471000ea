//! Commands that are answered by a function instead of being run.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::sandbox::Body;
use super::script::Shared;
use crate::{
    BackendProcess, CancelToken, Command, Error, ErrorCode, OnOverflow, Outcome, Output, OutputStream, Phase,
    Result, SandboxId, Stdin, StreamOutput, Usage,
};

/// Answers a command.
pub(super) fn run(shared: &Shared, id: SandboxId, command: &Command) -> Result<Output> {
    let mut output = match shared.exec_handler() {
        Some(handler) => handler(id, command)?,
        None => output(0, echo(command)),
    };
    let overflow = [&output.stdout, &output.stderr].iter().any(|s| s.bytes.len() > command.output_bytes);
    if overflow && command.on_overflow == OnOverflow::Kill {
        output.outcome = Outcome::OutputLimit;
    }
    bound(&mut output.stdout, command.output_bytes);
    bound(&mut output.stderr, command.output_bytes);
    Ok(output)
}

/// The output of a command that wrote this and exited.
pub(super) fn output(exit_code: i32, stdout: Vec<u8>) -> Output {
    Output {
        outcome: Outcome::Exited(exit_code),
        stdout: StreamOutput { bytes: stdout, head: 0, dropped: 0 },
        stderr: StreamOutput::default(),
        usage: Usage::default(),
    }
}

/// A command that was started. It is answered as soon as its standard input has ended.
pub(super) struct MockProcess {
    shared: Arc<Shared>,
    body: Arc<Body>,
    state: Mutex<State>,
}

struct State {
    command: Command,
    /// What was written to its standard input; `None` once that has ended.
    stdin: Option<Vec<u8>>,
    output: Option<Result<Output>>,
}

impl MockProcess {
    pub(super) fn start(shared: Arc<Shared>, body: Arc<Body>, command: &Command) -> Result<Self> {
        let stdin = (command.stdin == Stdin::Stream).then(Vec::new);
        let output = match stdin {
            Some(_) => None,
            None => Some(Ok(run(&shared, body.id, command)?)),
        };
        let state = Mutex::new(State { command: command.clone(), stdin, output });
        Ok(MockProcess { shared, body, state })
    }

    /// Waits for the output and does something with it.
    fn with_output<T>(
        &self,
        timeout: Duration,
        cancel: Option<&CancelToken>,
        then: impl FnOnce(&mut Output) -> T,
    ) -> Result<T> {
        let deadline = Instant::now().checked_add(timeout);
        let ended = || {
            if let Some(output) = &self.state.lock().output {
                return output.as_ref().map(|_| true).map_err(Error::clone);
            }
            cancel.map_or(Ok(()), |cancel| cancel.check(Phase::Exec))?;
            Ok(false)
        };
        if !self.body.wait_until(deadline, cancel, Phase::Exec, ended)? {
            return Err(Error::new(ErrorCode::Timeout, Phase::Exec, "the command still runs"));
        }
        match &mut self.state.lock().output {
            Some(Ok(output)) => Ok(then(output)),
            _ => Err(Error::new(ErrorCode::Internal, Phase::Exec, "the command lost its output")),
        }
    }

    fn finish(&self, output: Result<Output>) {
        let mut state = self.state.lock();
        state.stdin = None;
        state.output.get_or_insert(output);
        drop(state);
        self.body.wake();
    }
}

impl BackendProcess for MockProcess {
    fn write_stdin(&self, bytes: &[u8], _timeout: Duration) -> Result<()> {
        self.body.check(Phase::Exec)?;
        match &mut self.state.lock().stdin {
            Some(stdin) => stdin.extend_from_slice(bytes),
            None => {
                return Err(Error::new(ErrorCode::InvalidState, Phase::Exec, "the standard input has ended"));
            }
        }
        Ok(())
    }

    fn close_stdin(&self) -> Result<()> {
        self.body.check(Phase::Exec)?;
        let command = {
            let mut state = self.state.lock();
            let Some(stdin) = state.stdin.take() else { return Ok(()) };
            state.command.stdin = Stdin::Bytes(stdin);
            state.command.clone()
        };
        self.finish(run(&self.shared, self.body.id, &command));
        Ok(())
    }

    fn read(&self, stream: OutputStream, buffer: &mut [u8], timeout: Duration) -> Result<usize> {
        self.with_output(timeout, None, |output| {
            let bytes = match stream {
                OutputStream::Stdout => &mut output.stdout.bytes,
                OutputStream::Stderr => &mut output.stderr.bytes,
            };
            let count = bytes.len().min(buffer.len());
            buffer[..count].copy_from_slice(&bytes[..count]);
            bytes.drain(..count);
            count
        })
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.body.check(Phase::Exec)?;
        let ended = Output { outcome: Outcome::Signaled(signal), ..output(0, Vec::new()) };
        self.finish(Ok(ended));
        Ok(())
    }

    fn kill(&self) -> Result<()> {
        const SIGKILL: i32 = 9;
        self.signal(SIGKILL)
    }

    fn wait(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Output> {
        self.with_output(timeout, cancel, |output| output.clone())
    }
}

/// Keeps head and tail of what is too long, as every backend does.
fn bound(stream: &mut StreamOutput, limit: usize) {
    if stream.bytes.len() <= limit {
        return;
    }
    let (head, tail) = (limit - limit / 2, limit / 2);
    let dropped = stream.bytes.len() - limit;
    stream.bytes.drain(head..head + dropped);
    debug_assert_eq!(stream.bytes.len(), head + tail);
    stream.head = head;
    stream.dropped += dropped as u64;
}

fn echo(command: &Command) -> Vec<u8> {
    let args: Vec<&[u8]> = command.args.iter().map(|arg| arg.as_bytes()).collect();
    let mut line = args.join(&b' ');
    line.push(b'\n');
    line
}
