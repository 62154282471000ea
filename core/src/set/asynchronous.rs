//! The asynchronous forms of everything that waits. A get has a future of its own; the others wait on a worker thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::get_async::GetFuture;
use super::hold::Hold;
use crate::{
    CancelToken, CloseReport, Command, Connection, DirEntry, GetOptions, Output, OutputStream, Phase,
    Process, Result, SandboxRef, SandboxSet, Task, Usage,
};

impl SandboxSet {
    /// As [`SandboxSet::get_or_create_unpaused`], without a thread while it waits: any number of tasks and threads
    /// stand in one queue, first come, first served.
    pub fn get_or_create_unpaused_async(&self, options: GetOptions) -> GetFuture {
        GetFuture::new(self.clone(), options)
    }

    /// As [`SandboxSet::prewarm`]. Dropping the task stops no create.
    pub fn prewarm_async(&self, count: usize, timeout: Duration) -> Task<usize> {
        let set = self.clone();
        Task::run(Phase::Create, None, move |_| set.prewarm(count, timeout))
    }

    /// As [`SandboxSet::drain`]. Dropping the task admits nobody again.
    pub fn drain_async(&self, deadline: Duration) -> Task<()> {
        let set = self.clone();
        Task::run(Phase::Close, None, move |_| set.drain(deadline))
    }

    /// As [`SandboxSet::close`]. Dropping the task does not stop the close.
    pub fn close_async(&self, deadline: Duration) -> Task<CloseReport> {
        let set = self.clone();
        Task::run(Phase::Close, None, move |_| set.close(deadline))
    }
}

/// A call outlives its ref, but not the lease: a put while it is under way destroys the sandbox.
impl SandboxRef {
    /// As [`SandboxRef::exec`]. Dropping the task kills the command and taints the ref.
    pub fn exec_async(&self, command: Command) -> Task<Output> {
        let (sandbox, mut command) = (self.hold.clone(), command);
        let cancel = command.cancel.take();
        Task::run(Phase::Exec, cancel.as_ref(), move |cancel| {
            command.cancel = Some(cancel.clone());
            sandbox.exec(&command)
        })
    }

    /// As [`SandboxRef::spawn`]. Dropping the task kills the command.
    pub fn spawn_async(&self, command: Command) -> Task<Process> {
        self.run(Phase::Exec, move |sandbox| sandbox.spawn(&command))
    }

    /// As [`SandboxRef::connect`].
    pub fn connect_async(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Task<Connection> {
        let sandbox = self.hold.clone();
        Task::run(Phase::Connect, cancel, move |cancel| sandbox.connect(timeout, Some(cancel)))
    }

    /// As [`SandboxRef::call`]. Dropping the task abandons the call and taints the ref.
    pub fn call_async(
        &self,
        request: Vec<u8>,
        timeout: Duration,
        cancel: Option<&CancelToken>,
    ) -> Task<Vec<u8>> {
        let sandbox = self.hold.clone();
        Task::run(Phase::Connect, cancel, move |cancel| sandbox.call(&request, timeout, Some(cancel)))
    }

    /// As [`SandboxRef::read_file`].
    pub fn read_file_async(&self, path: impl Into<PathBuf>, max_bytes: u64) -> Task<Vec<u8>> {
        let path = path.into();
        self.run(Phase::Files, move |sandbox| sandbox.read_file(&path, max_bytes))
    }

    /// As [`SandboxRef::write_file`]. Dropping the task does not stop the write.
    pub fn write_file_async(&self, path: impl Into<PathBuf>, bytes: Vec<u8>, mode: u32) -> Task<()> {
        let path = path.into();
        self.run(Phase::Files, move |sandbox| sandbox.write_file(&path, &bytes, mode))
    }

    /// As [`SandboxRef::list_dir`].
    pub fn list_dir_async(&self, path: impl Into<PathBuf>, max_entries: usize) -> Task<Vec<DirEntry>> {
        let path = path.into();
        self.run(Phase::Files, move |sandbox| sandbox.list_dir(&path, max_entries))
    }

    /// As [`SandboxRef::remove`]. Dropping the task does not stop the removal.
    pub fn remove_async(&self, path: impl Into<PathBuf>) -> Task<()> {
        let path = path.into();
        self.run(Phase::Files, move |sandbox| sandbox.remove(&path))
    }

    /// As [`SandboxRef::usage`].
    pub fn usage_async(&self) -> Task<Usage> {
        self.run(Phase::Use, Hold::usage)
    }

    /// As [`SandboxRef::log`].
    pub fn log_async(&self, max_bytes: usize) -> Task<Vec<u8>> {
        self.run(Phase::Use, move |sandbox| sandbox.log(max_bytes))
    }

    fn run<T: Send + 'static>(
        &self,
        phase: Phase,
        call: impl FnOnce(&Hold) -> Result<T> + Send + 'static,
    ) -> Task<T> {
        let sandbox = self.hold.clone();
        Task::run(phase, None, move |_| call(&sandbox))
    }
}

impl Process {
    /// As [`Process::wait`]. Dropping the task leaves the command running.
    pub fn wait_async(self: &Arc<Self>, timeout: Duration, cancel: Option<&CancelToken>) -> Task<Output> {
        let process = Arc::clone(self);
        Task::run(Phase::Exec, cancel, move |cancel| process.wait(timeout, Some(cancel)))
    }

    /// As [`Process::read`], up to `max_bytes`; nothing is the end. What was read when the task is dropped is lost.
    pub fn read_async(
        self: &Arc<Self>,
        stream: OutputStream,
        max_bytes: usize,
        timeout: Duration,
    ) -> Task<Vec<u8>> {
        let process = Arc::clone(self);
        Task::run(Phase::Exec, None, move |_| {
            let mut buffer = vec![0; max_bytes];
            let count = process.read(stream, &mut buffer, timeout)?;
            buffer.truncate(count);
            Ok(buffer)
        })
    }

    /// As [`Process::write_stdin`]. Dropping the task does not stop the write.
    pub fn write_stdin_async(self: &Arc<Self>, bytes: Vec<u8>, timeout: Duration) -> Task<()> {
        let process = Arc::clone(self);
        Task::run(Phase::Exec, None, move |_| process.write_stdin(&bytes, timeout))
    }
}
