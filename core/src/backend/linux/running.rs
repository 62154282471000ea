//! A command that runs in a sandbox: what `exec` and `spawn` have in common.
//!
//! Whoever waits for it, reads from it or kills it does so from its own thread; nothing here starts one. Locks are
//! held for single system calls that do not block.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use sandboxset_keeper::{FrameError, FromInit, ToCommand};

use super::cgroup::Lane;
use super::fault;
use super::sandbox::Inner;
use super::streams::Capture;
use super::wait::{CancelFd, poll_until, readable_now};
use crate::{Error, ErrorCode, OnOverflow, Outcome, Output, OutputStream, Phase, Result, Usage};

const TERM: i32 = 15;
const KILL: i32 = 9;
/// How long the end of a killed command may take.
const END: Duration = Duration::from_secs(5);
/// How long output is still read after the end, when something outside the command holds its streams open.
const DRAIN: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 << 10;
/// The last reads of each stream: more than a pipe holds, and few enough for one that never runs dry.
const LAST_READS: usize = 32;

/// One command.
pub(super) struct Running {
    pub(super) sandbox: Arc<Inner>,
    reply: OwnedFd,
    streams: [Mutex<StreamState>; 2],
    /// Killed and given back when the command's own process ended.
    lane: Mutex<Option<Lane>>,
    state: Mutex<State>,
    rules: Rules,
}

/// What the command was told about its end.
pub(super) struct Rules {
    /// What it is called in errors.
    pub(super) program: std::ffi::OsString,
    pub(super) started: Instant,
    pub(super) timeout_at: Option<Instant>,
    pub(super) grace: Duration,
    pub(super) output_bytes: usize,
    pub(super) on_overflow: OnOverflow,
    /// The sandbox's count before it started.
    pub(super) oom_kills: u64,
}

struct StreamState {
    /// The read end, until the stream's end. Shared with those who wait for it without the lock.
    pipe: Option<Arc<OwnedFd>>,
    capture: Capture,
    /// Why it could not be read to its end.
    failed: Option<Errno>,
}

#[derive(Default)]
struct State {
    executed: bool,
    stop: Option<Stop>,
    /// When TERM is followed by KILL.
    force_at: Option<Instant>,
    killed_at: Option<Instant>,
    ended: Option<Ended>,
    /// Until when output is read after the end; set when nothing of the command is left.
    drain_until: Option<Instant>,
    result: Option<Result<Output>>,
}

/// Why we ended a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    TimedOut,
    OutputLimit,
    Wish,
}

#[derive(Clone, Copy)]
struct Ended {
    at: Instant,
    exit_code: Option<i32>,
    signal: Option<i32>,
    cpu_us: u64,
    peak_memory_bytes: u64,
}

/// What a waiter waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Executed,
    Result,
}

impl Running {
    pub(super) fn new(
        sandbox: Arc<Inner>,
        reply: OwnedFd,
        pipes: [OwnedFd; 2],
        lane: Option<Lane>,
        rules: Rules,
    ) -> Arc<Self> {
        let streams = pipes.map(|pipe| {
            let capture = Capture::new(rules.output_bytes);
            Mutex::new(StreamState { pipe: Some(Arc::new(pipe)), capture, failed: None })
        });
        Arc::new(Running { sandbox, reply, streams, lane: Mutex::new(lane), state: Mutex::default(), rules })
    }

    /// Waits until the program was executed, or could not be.
    pub(super) fn await_start(&self, cancel: Option<&CancelFd>) -> Result<()> {
        let deadline = Instant::now() + super::init::ANSWER;
        self.wait_for(Goal::Executed, Some(deadline), cancel)
    }

    /// Waits for the end and the last of the output.
    pub(super) fn await_result(
        &self,
        deadline: Option<Instant>,
        cancel: Option<&CancelFd>,
    ) -> Result<Output> {
        self.wait_for(Goal::Result, deadline, cancel)?;
        let result = self.state.lock().result.clone();
        result.unwrap_or_else(|| Err(self.error(ErrorCode::Internal, "the command has no result")))
    }

    /// The same for a command that nobody else waits for.
    pub(super) fn take_result(&self, cancel: Option<&CancelFd>) -> Result<Output> {
        self.wait_for(Goal::Result, None, cancel)?;
        let result = self.state.lock().result.take();
        result.unwrap_or_else(|| Err(self.error(ErrorCode::Internal, "the command has no result")))
    }

    fn wait_for(&self, goal: Goal, deadline: Option<Instant>, cancel: Option<&CancelFd>) -> Result<()> {
        loop {
            if self.reached(goal)? {
                return Ok(());
            }
            let next = self.tick(Instant::now());
            if self.reached(goal)? {
                return Ok(());
            }
            // Copies, because the streams must not be locked while this thread sleeps.
            let pipes = [self.pipe(OutputStream::Stdout), self.pipe(OutputStream::Stderr)];
            let ended = self.state.lock().ended.is_some();
            let mut fds = Vec::with_capacity(4);
            let mut sources = Vec::with_capacity(4);
            if !ended {
                sources.push(Source::Reply);
                fds.push(PollFd::new(&self.reply, PollFlags::IN));
            }
            for (stream, pipe) in [OutputStream::Stdout, OutputStream::Stderr].into_iter().zip(&pipes) {
                if let Some(pipe) = pipe {
                    sources.push(Source::Stream(stream));
                    fds.push(PollFd::new(pipe, PollFlags::IN));
                }
            }
            if let Some(cancel) = cancel {
                sources.push(Source::Cancel);
                fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
            }
            let until = [next, deadline].into_iter().flatten().min();
            poll_until(&mut fds, until)
                .map_err(|errno| fault::os(Phase::Exec, "waiting for the command failed", errno))?;
            let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            let ready: Vec<Source> =
                fds.iter().zip(&sources).filter(|(fd, _)| ready(fd)).map(|(_, source)| *source).collect();
            drop(fds);
            for source in &ready {
                match source {
                    Source::Reply => self.hear(),
                    Source::Stream(stream) => {
                        self.capture(*stream);
                    }
                    Source::Cancel => {}
                }
            }
            if self.reached(goal)? {
                return Ok(());
            }
            if ready.contains(&Source::Cancel) {
                return Err(self.error(ErrorCode::Cancelled, "the caller cancelled"));
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) && ready.is_empty() {
                return Err(self.error(ErrorCode::Timeout, "the command has not ended yet"));
            }
        }
    }

    fn reached(&self, goal: Goal) -> Result<bool> {
        {
            let state = self.state.lock();
            if let Some(result) = &state.result {
                return match (goal, result) {
                    (Goal::Executed, Err(error)) => Err(error.clone()),
                    _ => Ok(true),
                };
            }
            if goal == Goal::Executed {
                return Ok(state.executed || state.ended.is_some());
            }
            let Some(drain_until) = state.drain_until else { return Ok(false) };
            let both_closed = self.streams.iter().all(|stream| stream.lock().pipe.is_none());
            if !both_closed && Instant::now() < drain_until {
                return Ok(false);
            }
        }
        // What the command itself wrote is there by now, even if this thread did not get to run for a while.
        for stream in [OutputStream::Stdout, OutputStream::Stderr] {
            for _ in 0..LAST_READS {
                if !self.capture(stream) {
                    break;
                }
            }
        }
        let mut state = self.state.lock();
        let Some(ended) = state.ended else { return Ok(state.result.is_some()) };
        if state.result.is_none() {
            state.result = Some(self.output(&state, &ended));
        }
        Ok(true)
    }

    fn output(&self, state: &State, ended: &Ended) -> Result<Output> {
        let mut failed = None;
        let [stdout, stderr] = [0, 1].map(|index| {
            let mut stream = self.streams[index].lock();
            stream.pipe = None;
            failed = failed.or(stream.failed);
            std::mem::replace(&mut stream.capture, Capture::new(0)).finish()
        });
        if let Some(errno) = failed {
            let error = fault::os(Phase::Exec, "the output could not be read", errno);
            return Err(error.with_sandbox(self.sandbox.id));
        }
        let usage = Usage {
            wall: ended.at.saturating_duration_since(self.rules.started),
            cpu: Duration::from_micros(ended.cpu_us),
            peak_memory_bytes: ended.peak_memory_bytes,
            memory_bytes: 0,
            proportional_memory_bytes: 0,
            pids: 0,
        };
        let mut outcome = self.outcome(state, ended);
        // It may have ended before anybody saw that it wrote too much.
        if self.rules.on_overflow == OnOverflow::Kill && (stdout.truncated() || stderr.truncated()) {
            outcome = Outcome::OutputLimit;
        }
        Ok(Output { outcome, stdout, stderr, usage })
    }

    fn outcome(&self, state: &State, ended: &Ended) -> Outcome {
        match state.stop {
            Some(Stop::TimedOut) => return Outcome::TimedOut,
            Some(Stop::OutputLimit) => return Outcome::OutputLimit,
            Some(Stop::Wish) | None => {}
        }
        let failed = ended.exit_code != Some(0);
        let suspicious =
            failed && (ended.signal.is_none() || ended.signal == Some(KILL)) && state.stop.is_none();
        if suspicious && self.sandbox.cgroups.oom_kills() > self.rules.oom_kills {
            return Outcome::OutOfMemory;
        }
        match (ended.signal, ended.exit_code) {
            (Some(signal), _) => Outcome::Signaled(signal),
            (None, code) => Outcome::Exited(code.unwrap_or(0)),
        }
    }

    /// Does what is due by now. Returns when the next thing is, if any is.
    pub(super) fn tick(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        if state.result.is_some() {
            return None;
        }
        if state.ended.is_some() {
            // Another thread is emptying the lane while there is no time limit yet.
            return Some(state.drain_until.unwrap_or(now + DRAIN / 10));
        }
        if state.stop.is_none() && self.rules.timeout_at.is_some_and(|at| at <= now) {
            if readable_now(&self.reply) {
                // It may have ended in time; the caller will hear it now.
                return Some(now);
            }
            state.stop = Some(Stop::TimedOut);
            state.force_at = Some(now);
            // What was not executed yet has nothing to clean up, and cannot be signalled.
            if state.executed && !self.rules.grace.is_zero() {
                self.tell(&ToCommand::SignalGroup(TERM));
                state.force_at = Some(now + self.rules.grace);
            }
        }
        if state.killed_at.is_none() && state.force_at.is_some_and(|at| at <= now) {
            self.kill_all(&mut state, now);
        }
        if let Some(killed_at) = state.killed_at {
            let give_up_at = killed_at + END;
            if give_up_at <= now {
                // A command that cannot be killed, or an init that does not say that it was: end the sandbox.
                self.sandbox.kill();
                state.result =
                    Some(Err(fault::hostile(Phase::Exec, self.sandbox.id, "a killed command does not end")));
                return None;
            }
            return Some(give_up_at);
        }
        state.force_at.or(self.rules.timeout_at)
    }

    /// The same from a timer, when perhaps nobody waits and hears what the init says.
    pub(super) fn tick_unattended(&self) -> Option<Instant> {
        if self.state.lock().ended.is_some() {
            return None;
        }
        if readable_now(&self.reply) {
            // It ended by itself, which whoever waits will hear. What it left behind has outlived it long enough.
            if let Some(lane) = &mut *self.lane.lock() {
                lane.kill();
            }
            return None;
        }
        self.tick(Instant::now())
    }

    /// Kills every process of the command. Does not wait for them.
    pub(super) fn stop(&self, why: Stop) {
        let mut state = self.state.lock();
        if state.ended.is_some() || state.result.is_some() {
            return;
        }
        state.stop.get_or_insert(why);
        self.kill_all(&mut state, Instant::now());
    }

    fn kill_all(&self, state: &mut State, now: Instant) {
        state.killed_at.get_or_insert(now);
        match &mut *self.lane.lock() {
            Some(lane) => lane.kill(),
            None => self.tell(&ToCommand::KillAll),
        }
    }

    /// Sends a signal to the command's own process, if it still runs.
    pub(super) fn signal(&self, signal: i32) {
        let state = self.state.lock();
        if state.executed && state.ended.is_none() {
            self.tell(&ToCommand::Signal(signal));
        }
    }

    /// Never blocks. An init that does not listen is found out by the deadlines.
    fn tell(&self, message: &ToCommand) {
        let _ = sandboxset_keeper::send(&self.reply, message, &[]);
    }

    /// Reads what the init says.
    fn hear(&self) {
        let mut state = self.state.lock();
        while state.ended.is_none() && state.result.is_none() {
            match sandboxset_keeper::receive_untrusted(&self.reply, 0) {
                Ok((FromInit::Started, _)) if !state.executed => state.executed = true,
                Ok((FromInit::Ended { exit_code, signal, cpu_us, peak_memory_bytes }, _)) => {
                    let at = Instant::now();
                    state.ended = Some(Ended { at, exit_code, signal, cpu_us, peak_memory_bytes });
                }
                Ok((FromInit::Failed(failure), _)) => {
                    state.result =
                        Some(Err(fault::exec(&self.rules.program, &failure).with_sandbox(self.sandbox.id)));
                }
                Ok(_) => state.result = Some(Err(self.misbehaved("an unexpected answer"))),
                Err(FrameError::WouldBlock) => return,
                Err(FrameError::Closed) => {
                    let cause = self.sandbox.cause_of_death().unwrap_or_else(|| "its init ended".into());
                    state.result = Some(Err(fault::dead(Phase::Exec, self.sandbox.id, &cause)));
                }
                Err(FrameError::Os(errno)) => {
                    let error = fault::os(Phase::Exec, "the end of the command could not be heard", errno);
                    state.result = Some(Err(error.with_sandbox(self.sandbox.id)));
                }
                Err(error) => state.result = Some(Err(self.misbehaved(&error.to_string()))),
            }
        }
        drop(state);
        self.clear_lane();
        self.state.lock().drain_until.get_or_insert_with(|| Instant::now() + DRAIN);
    }

    /// Kills what the command left behind, and gives the lane back.
    fn clear_lane(&self) {
        let Some(mut lane) = self.lane.lock().take() else { return };
        lane.clear();
        self.sandbox.cgroups.return_lane(lane);
    }

    /// Reads what a stream has now into its capture. Returns whether it had something.
    fn capture(&self, stream: OutputStream) -> bool {
        let mut more = false;
        let overflowed = {
            let mut state = self.stream(stream).lock();
            let Some(pipe) = state.pipe.clone() else { return false };
            let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
            match rustix::io::read(&*pipe, &mut buffer[..]) {
                Ok(([], _)) => state.pipe = None,
                Ok((bytes, _)) => {
                    state.capture.push(bytes);
                    more = true;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => {
                    state.pipe = None;
                    state.failed = Some(errno);
                }
            }
            state.capture.overflowed()
        };
        if overflowed && self.rules.on_overflow == OnOverflow::Kill {
            self.stop(Stop::OutputLimit);
        }
        more
    }

    /// Reads what a stream has, or waits for it; 0 is its end.
    pub(super) fn read(&self, stream: OutputStream, buffer: &mut [u8], deadline: Instant) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let pipe = {
                let mut state = self.stream(stream).lock();
                let kept = state.capture.take(buffer);
                if kept > 0 {
                    return Ok(kept);
                }
                let Some(pipe) = state.pipe.clone() else { return Ok(0) };
                match rustix::io::read(&*pipe, &mut *buffer) {
                    Ok(0) => {
                        state.pipe = None;
                        return Ok(0);
                    }
                    Ok(length) => return Ok(length),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(fault::os(Phase::Exec, "the output could not be read", errno)),
                }
                pipe
            };
            let next = self.tick(Instant::now());
            let (ended, drain_until) = {
                let state = self.state.lock();
                (state.ended.is_some(), state.drain_until)
            };
            if drain_until.is_some_and(|until| until <= Instant::now()) {
                self.stream(stream).lock().pipe = None;
                continue;
            }
            let mut fds = vec![PollFd::new(&pipe, PollFlags::IN)];
            if !ended {
                fds.push(PollFd::new(&self.reply, PollFlags::IN));
            }
            let until = next.map_or(deadline, |next| next.min(deadline));
            let ready = poll_until(&mut fds, Some(until))
                .map_err(|errno| fault::os(Phase::Exec, "waiting for output failed", errno))?;
            if fds.get(1).is_some_and(|reply| !reply.revents().is_empty()) {
                self.hear();
            }
            if let Some(Err(error)) = &self.state.lock().result {
                return Err(error.clone());
            }
            if ready == 0 && deadline <= Instant::now() {
                return Err(self.error(ErrorCode::Timeout, "no output in time"));
            }
        }
    }

    fn stream(&self, stream: OutputStream) -> &Mutex<StreamState> {
        match stream {
            OutputStream::Stdout => &self.streams[0],
            OutputStream::Stderr => &self.streams[1],
        }
    }

    fn pipe(&self, stream: OutputStream) -> Option<Arc<OwnedFd>> {
        self.stream(stream).lock().pipe.clone()
    }

    fn error(&self, code: ErrorCode, message: &str) -> Error {
        Error::new(code, Phase::Exec, message).with_sandbox(self.sandbox.id)
    }

    fn misbehaved(&self, what: &str) -> Error {
        fault::hostile(Phase::Exec, self.sandbox.id, what)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Reply,
    Stream(OutputStream),
    Cancel,
}

impl Drop for Running {
    fn drop(&mut self) {
        // In a forked child the command is the parent's.
        if crate::in_forked_child() {
            return;
        }
        if let Some(mut lane) = self.lane.get_mut().take() {
            lane.kill();
            self.sandbox.cgroups.return_lane(lane);
        }
        // The init kills what it can tell apart when the reply socket closes.
    }
}
