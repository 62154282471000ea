//! Starting commands, and ending every process of one.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::PipeFlags;
use sandboxset_keeper::{Exec, Failure, FromInit, RUNTIME_LOG, Runtime, ToCommand};

use super::failure;
use super::processes::{Process, is_below, members, processes};
use super::program::Program;
use crate::seccomp::{Filter, Filters};
use crate::sys::{self, ChildStack, Ended};

/// The commands that run now, and the runtime.
pub(super) struct Commands<'a> {
    /// Installed by every command; `None` only in a sandbox that was deliberately weakened.
    filters: Option<&'a Filters>,
    running: Vec<Command>,
    runtime: Option<i32>,
    /// Whether sandboxes were forked from the runtime: their processes are in our sight, and not ours to stop.
    is_parent: bool,
    stack: ChildStack,
}

struct Command {
    /// Its own process, which is also its session and its process group.
    pid: i32,
    reply: OwnedFd,
    /// Whether the host can kill all of it by its cgroup.
    has_cgroup: bool,
}

/// How often processes that multiply while they are killed are killed again. Each pass stops what it finds
/// first, so that a pass leaves only what was born during it.
const KILL_PASSES: usize = 100;

impl<'a> Commands<'a> {
    pub(super) fn new(filters: Option<&'a Filters>) -> Self {
        Commands { filters, running: Vec::new(), runtime: None, is_parent: false, stack: ChildStack::new() }
    }

    /// The reply sockets, in the order in which indices are given.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.running.iter().map(|command| &command.reply)
    }

    pub(super) fn is_runtime(&self, pid: i32) -> bool {
        self.runtime == Some(pid)
    }

    /// Starts a command and answers on its reply socket.
    pub(super) fn start(&mut self, exec: Exec, reply: OwnedFd, fds: impl Iterator<Item = OwnedFd>) {
        match self.spawn_command(&exec, fds) {
            Ok(pid) => {
                let _ = rustix::io::ioctl_fionbio(&reply, true);
                let _ = sandboxset_keeper::send(&reply, &FromInit::Started, &[]);
                self.running.push(Command { pid, reply, has_cgroup: exec.cgroup });
            }
            Err(failure) => {
                let _ = sandboxset_keeper::send(&reply, &FromInit::Failed(failure), &[]);
            }
        }
    }

    fn spawn_command(&mut self, exec: &Exec, mut fds: impl Iterator<Item = OwnedFd>) -> Result<i32, Failure> {
        let missing = || Failure { step: "find the command's descriptors".into(), errno: 0 };
        let stdin = if exec.stdin { fds.next().ok_or_else(missing)? } else { open_null()? };
        let stdout = fds.next().ok_or_else(missing)?;
        let stderr = fds.next().ok_or_else(missing)?;
        let cgroup = if exec.cgroup { Some(fds.next().ok_or_else(missing)?) } else { None };
        let program = Program {
            args: &exec.args,
            env: &exec.env,
            cwd: &exec.cwd,
            stdio: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            extra: Vec::new(),
            filter: self.filters.map(|filters| &filters.strict),
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            memory_bytes: exec.memory_bytes,
            cpu_seconds: exec.cpu_seconds,
        };
        program.spawn(&mut self.stack)
    }

    /// Starts the runtime; answers where it will say that it is ready. A fork server is asked for forks by `server`.
    pub(super) fn start_runtime(
        &mut self,
        runtime: &Runtime,
        server: Option<&OwnedFd>,
    ) -> Result<OwnedFd, Failure> {
        self.is_parent = server.is_some();
        let step = |errno| failure("prepare the runtime", errno);
        let (ready, ready_end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(step)?;
        let log = open_log()?;
        let stdin = open_null()?;
        let program = Program {
            args: &runtime.args,
            env: &runtime.env,
            cwd: b"/scratch",
            stdio: [stdin.as_fd(), log.as_fd(), log.as_fd()],
            extra: std::iter::once(&ready_end).chain(server).map(AsFd::as_fd).collect(),
            filter: self.filters.map(|filters| match server {
                Some(_) => &filters.fork_server,
                None => &filters.strict,
            }),
            cgroup: None,
            memory_bytes: None,
            cpu_seconds: None,
        };
        self.runtime = Some(program.spawn(&mut self.stack)?);
        Ok(ready)
    }

    /// The filter of such a runtime, unless it was inherited from the one that it is a fork of.
    pub(super) fn filter_of(&self, runtime: &Runtime) -> Option<&'a Filter> {
        self.filters.map(|filters| &filters.strict).filter(|_| !runtime.forks)
    }

    /// A runtime that was forked, not started, is there.
    pub(super) fn adopt_runtime(&mut self, pid: i32, is_parent: bool) {
        self.runtime = Some(pid);
        self.is_parent = is_parent;
    }

    /// A child ended; if it was a command, the host is told.
    pub(super) fn ended(&mut self, ended: &Ended) {
        let Some(index) = self.running.iter().position(|command| command.pid == ended.pid) else { return };
        let command = self.running.swap_remove(index);
        if !command.has_cgroup {
            self.kill_group(command.pid);
        }
        let message = FromInit::Ended {
            exit_code: ended.exit_code,
            signal: ended.signal,
            cpu_us: ended.cpu_us,
            peak_memory_bytes: ended.peak_memory_bytes,
        };
        let _ = sandboxset_keeper::send(&command.reply, &message, &[]);
    }

    /// Does what the holder asks of a running command.
    pub(super) fn control(&mut self, index: usize, message: &ToCommand) {
        let Some(command) = self.running.get(index) else { return };
        let pid = command.pid;
        // A process that is gone already is not an error: its end is on the way to the holder.
        let _ = match *message {
            ToCommand::Signal(signal) => sys::kill(pid, signal),
            ToCommand::SignalGroup(signal) => sys::kill(-pid, signal),
            ToCommand::KillAll => {
                self.kill_group(pid);
                Ok(())
            }
        };
    }

    /// The holder is gone: its command goes too.
    pub(super) fn abandon(&mut self, index: usize) {
        if index < self.running.len() {
            let command = self.running.swap_remove(index);
            self.kill_group(command.pid);
        }
    }

    /// Stops everybody but us; returns when all have stopped.
    pub(super) fn stop_all(&self) -> Result<(), Failure> {
        for _ in 0..10_000 {
            self.signal_all(libc::SIGSTOP).map_err(|errno| failure("stop the processes", errno))?;
            if self.own_processes().iter().all(|process| !process.runs()) {
                return Ok(());
            }
            std::thread::yield_now();
        }
        let _ = self.continue_all();
        Err(Failure { step: "stop the processes".into(), errno: Errno::TIMEDOUT.raw_os_error() })
    }

    pub(super) fn continue_all(&self) -> Result<(), Failure> {
        self.signal_all(libc::SIGCONT).map_err(|errno| failure("continue the processes", errno))
    }

    fn signal_all(&self, signal: i32) -> Result<(), Errno> {
        if self.is_parent {
            // Those that are born meanwhile are found by the next look.
            for process in self.own_processes().iter().filter(|process| process.pid != 1) {
                let _ = sys::kill(process.pid, signal);
            }
            return Ok(());
        }
        // One signal call reaches every process of the namespace, also those being forked just now.
        match sys::kill(-1, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// The processes of this sandbox, without those of its forks.
    fn own_processes(&self) -> Vec<Process> {
        let mut processes = processes();
        if self.is_parent {
            processes.retain(|process| !is_below(process.pid));
        }
        processes
    }

    /// Kills every process of a command without the help of a cgroup: everybody if the command is alone, else its
    /// session and the descendants that can still be traced to it.
    fn kill_group(&self, pid: i32) {
        let alone = self.runtime.is_none() && self.running.iter().all(|command| command.pid == pid);
        if alone {
            let _ = sys::kill(-1, libc::SIGKILL);
            return;
        }
        for _ in 0..KILL_PASSES {
            let doomed = members(pid, &processes());
            if doomed.is_empty() {
                return;
            }
            // Those that are gone by now are none the worse for it.
            for signal in [libc::SIGSTOP, libc::SIGKILL] {
                for &member in &doomed {
                    let _ = sys::kill(member, signal);
                }
            }
        }
    }
}

/// Where the output of the runtime goes.
pub(super) fn open_log() -> Result<OwnedFd, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    retry_on_intr(|| rustix::fs::open(RUNTIME_LOG, flags, Mode::from_raw_mode(0o600)))
        .map_err(|errno| failure("open the runtime's log", errno))
}

/// With the last line that the runtime wrote: a program that cannot start says there why.
pub(super) fn with_last_words(reason: &str) -> String {
    match last_line_of_log() {
        Some(line) => format!("{reason}; the last that it wrote is: {line}"),
        None => reason.to_owned(),
    }
}

/// The last line that the runtime wrote, if it wrote any. It is whatever the runtime, or who took its place, left there.
fn last_line_of_log() -> Option<String> {
    const MOST: u64 = 512;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut log = File::from(rustix::fs::open(RUNTIME_LOG, flags, Mode::empty()).ok()?);
    let length = log.metadata().ok().filter(Metadata::is_file)?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(MOST))).ok()?;
    let mut end = Vec::new();
    log.take(MOST).read_to_end(&mut end).ok()?;
    let text = String::from_utf8_lossy(&end);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|character| !character.is_control()).collect())
}

pub(super) fn open_null() -> Result<OwnedFd, Failure> {
    retry_on_intr(|| rustix::fs::openat(CWD, c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
        .map_err(|errno| failure("open /dev/null", errno))
}
