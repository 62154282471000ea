//! How a command ended and what it wrote.

use std::time::Duration;

/// The result of a command that ran, however it ended. How a command ended is an outcome, not an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to its standard output.
    pub stdout: StreamOutput,
    /// What it wrote to its standard error.
    pub stderr: StreamOutput,
    /// What it used.
    pub usage: Usage,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It exited by itself with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
    /// It ran longer than its timeout and was killed.
    TimedOut,
    /// The kernel killed it because the sandbox's memory limit was reached, or it failed after the kernel had killed
    /// a process that it started. One that copes with the loss and exits with 0 has exited.
    OutOfMemory,
    /// It wrote more than its limit and was told to die of that.
    OutputLimit,
}

/// One bounded output stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOutput {
    /// What was kept: all of it, or the head followed by the tail.
    pub bytes: Vec<u8>,
    /// How many bytes of `bytes` belong to the head, if something was dropped between head and tail.
    pub head: usize,
    /// How many bytes were dropped.
    pub dropped: u64,
}

/// What a command, or a whole sandbox, used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// From start to end.
    pub wall: Duration,
    /// CPU time, user and system together. For a command: of the processes that it waited for.
    pub cpu: Duration,
    /// Peak memory in bytes. For a command: the largest resident size of one process.
    pub peak_memory_bytes: u64,
    /// Memory in bytes now; zero for a command, which is over. What a sandbox is charged for: each page once, to the
    /// sandbox that used it first. So what a fork shares with its parent is the parent's, until the fork writes to it.
    pub memory_bytes: u64,
    /// Memory in bytes now as the processes of a sandbox see it (the kernel's PSS): a page that several share, with
    /// their parent or with other sandboxes, counts for each of them in part, so that all of them together count it
    /// once. Zero for a command, and where the kernel or the processes do not let us look.
    pub proportional_memory_bytes: u64,
    /// Processes and threads now; zero for a command.
    pub pids: u32,
}

impl Outcome {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Exited(_) => "exited",
            Outcome::Signaled(_) => "signaled",
            Outcome::TimedOut => "timed_out",
            Outcome::OutOfMemory => "out_of_memory",
            Outcome::OutputLimit => "output_limit",
        }
    }
}

impl Output {
    /// The exit code, if the command exited by itself.
    pub fn exit_code(&self) -> Option<i32> {
        match self.outcome {
            Outcome::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// Whether the command exited with code 0.
    pub fn success(&self) -> bool {
        self.outcome == Outcome::Exited(0)
    }
}

impl StreamOutput {
    /// The kept bytes as text, with invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Whether something was dropped.
    pub fn truncated(&self) -> bool {
        self.dropped > 0
    }
}
