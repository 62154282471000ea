//! How a command ended and what it wrote.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sandboxset::Outcome;

/// How a command ended, what it wrote and what it used.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Output {
    outcome: Outcome,
    stdout: Stream,
    stderr: Stream,
    usage: sandboxset::Usage,
}

/// What a command, or a whole sandbox, used.
#[pyclass(frozen, module = "sandboxset")]
pub(crate) struct Usage {
    core: sandboxset::Usage,
}

struct Stream {
    bytes: Py<PyBytes>,
    head: usize,
    dropped: u64,
}

impl Output {
    pub(crate) fn new(py: Python<'_>, core: sandboxset::Output) -> Self {
        Output {
            outcome: core.outcome,
            stdout: Stream::new(py, &core.stdout),
            stderr: Stream::new(py, &core.stderr),
            usage: core.usage,
        }
    }

    fn code(&self) -> Option<i32> {
        match self.outcome {
            Outcome::Exited(code) => Some(code),
            _ => None,
        }
    }
}

impl Usage {
    pub(crate) fn new(core: sandboxset::Usage) -> Self {
        Usage { core }
    }
}

impl Stream {
    fn new(py: Python<'_>, core: &sandboxset::StreamOutput) -> Self {
        Stream { bytes: PyBytes::new(py, &core.bytes).unbind(), head: core.head, dropped: core.dropped }
    }

    fn text(&self, py: Python<'_>) -> String {
        String::from_utf8_lossy(self.bytes.bind(py).as_bytes()).into_owned()
    }
}

#[pymethods]
impl Output {
    /// How it ended: `exited`, `signaled`, `timed_out`, `out_of_memory` or `output_limit`.
    #[getter]
    fn outcome(&self) -> &'static str {
        self.outcome.name()
    }

    /// The exit code, if the command exited by itself.
    #[getter]
    fn exit_code(&self) -> Option<i32> {
        self.code()
    }

    /// The signal that ended the command, if one did.
    #[getter]
    fn signal(&self) -> Option<i32> {
        match self.outcome {
            Outcome::Signaled(signal) => Some(signal),
            _ => None,
        }
    }

    /// Whether the command exited with code 0.
    #[getter]
    fn success(&self) -> bool {
        self.outcome == Outcome::Exited(0)
    }

    /// Standard output as text, with invalid UTF-8 replaced.
    #[getter]
    fn stdout(&self, py: Python<'_>) -> String {
        self.stdout.text(py)
    }

    /// Standard error as text, with invalid UTF-8 replaced.
    #[getter]
    fn stderr(&self, py: Python<'_>) -> String {
        self.stderr.text(py)
    }

    /// Standard output as it was kept: all of it, or its head followed by its tail.
    #[getter]
    fn stdout_bytes(&self, py: Python<'_>) -> Py<PyBytes> {
        self.stdout.bytes.clone_ref(py)
    }

    /// Standard error as it was kept: all of it, or its head followed by its tail.
    #[getter]
    fn stderr_bytes(&self, py: Python<'_>) -> Py<PyBytes> {
        self.stderr.bytes.clone_ref(py)
    }

    /// How many bytes were dropped between the head and the tail of standard output.
    #[getter]
    fn stdout_dropped(&self) -> u64 {
        self.stdout.dropped
    }

    /// How many bytes were dropped between the head and the tail of standard error.
    #[getter]
    fn stderr_dropped(&self) -> u64 {
        self.stderr.dropped
    }

    /// Where the tail begins in `stdout_bytes`, if something was dropped.
    #[getter]
    fn stdout_head(&self) -> usize {
        self.stdout.head
    }

    /// Where the tail begins in `stderr_bytes`, if something was dropped.
    #[getter]
    fn stderr_head(&self) -> usize {
        self.stderr.head
    }

    /// Whether anything of either stream was dropped.
    #[getter]
    fn truncated(&self) -> bool {
        self.stdout.dropped > 0 || self.stderr.dropped > 0
    }

    /// What the command used.
    #[getter]
    fn usage(&self) -> Usage {
        Usage::new(self.usage)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let end = match self.outcome {
            Outcome::Exited(code) => format!("exit_code={code}"),
            Outcome::Signaled(signal) => format!("signal={signal}"),
            other => format!("outcome='{}'", other.name()),
        };
        let lengths =
            (self.stdout.bytes.bind(py).as_bytes().len(), self.stderr.bytes.bind(py).as_bytes().len());
        format!("Output({end}, {} bytes of stdout, {} bytes of stderr)", lengths.0, lengths.1)
    }
}

#[pymethods]
impl Usage {
    /// Seconds from start to end.
    #[getter]
    fn wall(&self) -> f64 {
        self.core.wall.as_secs_f64()
    }

    /// CPU seconds, user and system together.
    #[getter]
    fn cpu(&self) -> f64 {
        self.core.cpu.as_secs_f64()
    }

    /// Peak memory in bytes. For a command: the largest resident size of one process.
    #[getter]
    fn peak_memory_bytes(&self) -> u64 {
        self.core.peak_memory_bytes
    }

    /// Memory in bytes now; zero for a command, which is over. What a sandbox is charged for: each page once, to the
    /// sandbox that used it first, so that what a fork shares with its parent is the parent's.
    #[getter]
    fn memory_bytes(&self) -> u64 {
        self.core.memory_bytes
    }

    /// Memory in bytes now as the processes of a sandbox see it (the kernel's PSS): a page that several share counts
    /// for each of them in part. Zero for a command, and where the kernel or the processes do not let us look.
    #[getter]
    fn proportional_memory_bytes(&self) -> u64 {
        self.core.proportional_memory_bytes
    }

    /// Processes and threads now; zero for a command.
    #[getter]
    fn pids(&self) -> u32 {
        self.core.pids
    }

    fn __repr__(&self) -> String {
        format!(
            "Usage(wall={}, cpu={}, peak_memory_bytes={}, memory_bytes={}, proportional_memory_bytes={}, pids={})",
            self.wall(),
            self.cpu(),
            self.core.peak_memory_bytes,
            self.core.memory_bytes,
            self.core.proportional_memory_bytes,
            self.core.pids
        )
    }
}
