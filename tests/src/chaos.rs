//! A host process to be killed: starting it, following its phases, killing it and its keeper.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::census::{Identity, Scope};
use crate::kernel;
use crate::machine::User;

/// What the victim does in a loop, as it names it on its standard output just before it does it.
pub const PHASES: &[&str] = &["create", "exec", "pause", "unpause", "files", "destroy", "close"];

/// The victim, running. Dropping it kills it.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    output: BufReader<ChildStdout>,
    scope: Scope,
}

/// How the victim is started.
#[derive(Clone, Debug)]
pub struct VictimOptions<'a> {
    /// The program.
    pub program: &'a Path,
    /// Where its scratch dirs are made; `None` is in memory.
    pub scratch_base: Option<&'a Path>,
    /// Who runs it; `None` is the caller.
    pub user: Option<User>,
    /// What its random choices begin with.
    pub seed: u64,
}

impl Victim {
    /// Starts it and waits until it said who it is.
    pub fn start(options: &VictimOptions<'_>) -> Self {
        let mut command = Command::new(options.program);
        command.arg(options.seed.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        if let Some(base) = options.scratch_base {
            command.arg(base);
        }
        if let Some(user) = options.user {
            command.uid(user.uid).gid(user.gid);
        }
        command.current_dir("/");
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let tag = line.trim().strip_prefix("owner ").unwrap_or_else(|| panic!("the victim said {line:?}"));
        let mut scope = Scope::of(tag);
        if let Some(base) = options.scratch_base {
            scope = scope.with_scratch_base(base);
        }
        if let Some(user) = options.user {
            scope = scope.with_user(user.uid);
        }
        Victim { child, output, scope }
    }

    /// What belongs to it.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Waits until it has announced a phase this many times.
    pub fn await_phase(&mut self, phase: &str, times: u64) {
        let wanted = format!("phase {phase}");
        let mut seen = 0;
        while seen < times {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "the victim ended: {:?}", self.child.wait());
            assert!(line.starts_with("phase "), "the victim said {line:?}");
            seen += u64::from(line.trim() == wanted);
        }
    }

    /// Waits until it has done anything so often.
    pub fn await_lines(&mut self, count: u64) {
        for _ in 0..count {
            let mut line = String::new();
            let length = self.output.read_line(&mut line).unwrap();
            assert!(length > 0, "the victim ended: {:?}", self.child.wait());
            assert!(line.starts_with("phase "), "the victim said {line:?}");
        }
    }

    /// Kills it, and its keepers too if so asked, and answers when.
    pub fn kill(mut self, keepers_too: bool) -> (Scope, Instant) {
        // Also remembers what there is to go, where nothing but the host tells whose it is.
        let mut keepers = self.scope.keepers();
        if !keepers_too {
            keepers.clear();
        }
        let when = Instant::now();
        self.child.kill().unwrap();
        for keeper in keepers {
            kill(keeper);
        }
        self.child.wait().unwrap();
        (self.scope.clone(), when)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGKILL to exactly this process, never to another one that got its pid.
pub fn kill(process: Identity) -> bool {
    signal(process, Signal::KILL)
}

/// Sends SIGSTOP, in the same way.
pub fn stop(process: Identity) -> bool {
    signal(process, Signal::STOP)
}

fn signal(process: Identity, signal: Signal) -> bool {
    let Some(pid) = Pid::from_raw(process.pid as i32) else { return false };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // The descriptor holds the process; if it is the right one now, it is for ever.
    if kernel::task(process.pid).is_none_or(|task| task.start_time != process.start_time) {
        return false;
    }
    pidfd_send_signal(&pidfd, signal).is_ok()
}

/// Spends a random moment, so that a kill does not always hit the same instruction. Nothing waits for it.
pub fn jitter(random: &mut crate::machine::Random, bound: Duration) {
    let nanoseconds = random.below(bound.as_nanos() as u64);
    std::thread::sleep(Duration::from_nanos(nanoseconds));
}
