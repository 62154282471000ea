//! One sandbox, as the host holds it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use sandboxset_keeper::{FromInit, ToInit, remove_tree};

use super::cgroup::{self, SandboxCgroups};
use super::env::Environment;
use super::init::{ANSWER, Init, Patience};
use super::keeper::{Created, Keeper, Obituary};
use super::wait::{readable, readable_now};
use super::{Forked, LinuxBackend, connect, exec, fault, files, late, reset};
use crate::{
    BackendProcess, BackendSandbox, CancelToken, Command, Connection, CreateRequest, DirEntry, Error,
    ErrorCode, LateBinding, Output, Phase, ResetReport, Result, SandboxId, Usage,
};

/// How long a killed sandbox may take to be gone, and then its keeper to remove what is left of it.
const END: Duration = Duration::from_secs(5);

/// A sandbox of Linux namespaces and cgroups.
pub(super) struct LinuxSandbox(Arc<Inner>);

/// What commands that outlive a call share with their sandbox.
pub(super) struct Inner {
    pub(super) id: SandboxId,
    pub(super) init: Init,
    pub(super) cgroups: SandboxCgroups,
    pub(super) env: Environment,
    pub(super) keeper: Arc<Keeper>,
    /// The name of its cgroup directories.
    cgroup_name: String,
    pub(super) pidfd: OwnedFd,
    obituary: Obituary,
    /// The scratch dir on the host, if it is not a tmpfs inside.
    pub(super) disk_scratch: Option<PathBuf>,
    pub(super) has_runtime: bool,
    /// The backend that makes its forks, if it can be forked.
    forker: Option<LinuxBackend>,
    /// Whether somebody used it since it was forked last.
    changed: AtomicBool,
    /// What it was like when nobody had used it, if it will be reset.
    pub(super) fresh: OnceLock<reset::Fresh>,
    /// What was bound late and has to be taken back.
    pub(super) late: Mutex<late::Late>,
    created_at: Instant,
    destroyed: AtomicBool,
}

impl LinuxSandbox {
    /// Takes what the keeper handed over. On an error the caller has it removed.
    pub(super) fn new(
        request: &CreateRequest,
        phase: Phase,
        backend: &LinuxBackend,
        keeper: Arc<Keeper>,
        created: Created,
        env: Environment,
        disk_scratch: Option<PathBuf>,
    ) -> Result<Self> {
        let (id, runtime) = (request.id, request.spec.runtime.as_ref());
        let Created { pidfd, socket, name, cgroups, obituary, .. } = created;
        // The keeper may be ending, and have taken the cgroups along, without anybody knowing that yet.
        let os = |errno| match (cause_of_death(&obituary, &pidfd), errno) {
            (Some(cause), _) => fault::ended(phase, id, &cause),
            (None, Errno::NOENT | Errno::NODEV) => fault::ended(phase, id, "its cgroups are gone"),
            (None, errno) => fault::os(phase, "the sandbox's descriptors cannot be used", errno),
        };
        let (kinds, fds): (Vec<_>, Vec<_>) = cgroups.into_iter().unzip();
        let cgroups = SandboxCgroups::new(&kinds, fds.into_iter()).map_err(os)?;
        let init = Init::new(id, socket).map_err(os)?;
        Ok(LinuxSandbox(Arc::new(Inner {
            id,
            init,
            cgroups,
            env,
            keeper,
            cgroup_name: name,
            pidfd,
            obituary,
            disk_scratch,
            // What was forked is one, also where it was told nothing.
            has_runtime: runtime.is_some() || phase == Phase::Fork,
            forker: runtime.is_some_and(|runtime| runtime.forks).then(|| backend.clone()),
            changed: AtomicBool::new(false),
            fresh: OnceLock::new(),
            late: Mutex::default(),
            created_at: Instant::now(),
            destroyed: AtomicBool::new(false),
        })))
    }
}

impl Inner {
    /// Something is about to be done in it that forks of it may be different after.
    fn note_change(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Kills every process in it. Does not wait for them.
    pub(super) fn kill(&self) {
        self.cgroups.kill(&self.pidfd);
    }

    /// Why it is dead, if it is.
    pub(super) fn cause_of_death(&self) -> Option<String> {
        cause_of_death(&self.obituary, &self.pidfd)
    }

    /// The kernel refused something because the sandbox is dead, or for the reason it gives.
    pub(super) fn refusal(&self, phase: Phase, what: &str, errno: Errno) -> Error {
        match self.cause_of_death() {
            Some(cause) => fault::dead(phase, self.id, &cause),
            None => fault::os(phase, what, errno).with_sandbox(self.id),
        }
    }

    /// Why something failed: because the sandbox is dead, or for this reason.
    fn dead_or(&self, phase: Phase, error: Error) -> Error {
        self.cause_of_death().map_or(error, |cause| fault::dead(phase, self.id, &cause))
    }

    /// Stops or continues everything by signals from the init.
    fn signal_all(&self, phase: Phase, request: &ToInit) -> Result<()> {
        let patience = Patience { deadline: Instant::now() + ANSWER, cancel: None };
        match self.init.ask(phase, request, &[], &patience)? {
            (FromInit::Done, _) => Ok(()),
            (FromInit::Failed(failure), _) => {
                Err(Error::new(ErrorCode::Internal, phase, fault::describe(&failure)).with_sandbox(self.id))
            }
            _ => Err(fault::hostile(phase, self.id, "an unexpected answer")),
        }
    }

    fn destroy(&self) -> Result<()> {
        if self.destroyed.load(Ordering::Acquire) {
            return Ok(());
        }
        let deadline = Instant::now() + END;
        let failed =
            |message: String| Error::new(ErrorCode::Internal, Phase::Destroy, message).with_sandbox(self.id);
        self.kill();
        let gone = readable(&self.pidfd, Some(deadline))
            .map_err(|errno| failed(format!("waiting for the end: {errno}")))?;
        if !gone {
            return Err(failed(
                "the sandbox does not die: a process of it is in an uninterruptible wait".into(),
            ));
        }
        // What is in the cgroup but not in the namespace can only be what is still ending.
        self.cgroups
            .await_empty(deadline)
            .map_err(|errno| failed(format!("waiting for its processes: {errno}")))?;
        // Here and not in the keeper, which does it in the background: the caller is told what cannot be removed. A
        // tree takes as long to remove as its maker liked.
        let scratch = self.remove_disk_scratch();
        match self.keeper.remove(self.id.get(), Instant::now() + END) {
            Ok(None) => {
                scratch.map_err(|errno| failed(format!("its scratch dir cannot be removed: {errno}")))?
            }
            Ok(Some(leftovers)) => {
                return Err(failed(format!("not everything could be removed: {leftovers}")));
            }
            Err(error) => {
                // One that hangs has nothing to lose: when it goes on it finds that all is gone.
                let hangs = error.code() == ErrorCode::Timeout;
                let unavailable = error.code() == ErrorCode::BackendUnavailable;
                let gone = hangs || (unavailable && self.keeper.is_dead_by(Instant::now() + END));
                if !gone {
                    return Err(error.with_sandbox(self.id));
                }
                self.remove_without_keeper()?;
            }
        }
        self.destroyed.store(true, Ordering::Release);
        Ok(())
    }

    /// Does what the keeper would have done.
    fn remove_without_keeper(&self) -> Result<()> {
        let os =
            |what: &'static str| move |errno| fault::os(Phase::Destroy, what, errno).with_sandbox(self.id);
        let deadline = Instant::now() + END;
        self.keeper
            .cgroups_of(&self.cgroup_name)
            .iter()
            .try_for_each(|dir| cgroup::remove_group(dir, deadline))
            .map_err(os("a cgroup cannot be removed"))?;
        self.remove_disk_scratch().map_err(os("the scratch dir cannot be removed"))
    }

    /// Removes the scratch dir on the host, if it is not a tmpfs. Nothing may run in the sandbox any more.
    fn remove_disk_scratch(&self) -> Result<(), Errno> {
        let Some(scratch) = &self.disk_scratch else { return Ok(()) };
        let (Some(base), Some(name)) = (scratch.parent(), scratch.file_name()) else { return Ok(()) };
        let removed = retry_on_intr(|| {
            rustix::fs::open(base, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        })
        .and_then(|base| {
            let name = std::ffi::CString::new(name.as_bytes()).map_err(|_| Errno::INVAL)?;
            remove_tree(base.as_fd(), &name)
        });
        match removed {
            // Somebody removed the directory that it is in.
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

fn cause_of_death(obituary: &Obituary, init: &OwnedFd) -> Option<String> {
    if let Some(cause) = obituary.get() {
        return Some(cause.clone());
    }
    // Of a namespace's init the pidfd is readable only when the whole namespace is gone.
    readable_now(init).then(|| "its init ended".to_owned())
}

impl BackendSandbox for LinuxSandbox {
    fn pause(&self) -> Result<()> {
        if !self.0.cgroups.can_freeze() {
            return self.0.signal_all(Phase::Pause, &ToInit::Stop);
        }
        self.0
            .cgroups
            .freeze()
            .map_err(|errno| self.0.refusal(Phase::Pause, "the sandbox cannot be frozen", errno))
    }

    fn pause_at_once(&self) -> Result<bool> {
        self.0
            .cgroups
            .freeze_at_once()
            .map_err(|errno| self.0.refusal(Phase::Pause, "the sandbox cannot be frozen", errno))
    }

    fn unpause(&self) -> Result<()> {
        if !self.0.cgroups.can_freeze() {
            return self.0.signal_all(Phase::Unpause, &ToInit::Continue);
        }
        self.0
            .cgroups
            .thaw()
            .map_err(|errno| self.0.refusal(Phase::Unpause, "the sandbox cannot be thawed", errno))
    }

    fn destroy(&self) -> Result<()> {
        self.0.destroy()
    }

    fn bind(&self, binding: &LateBinding, deadline: Instant) -> Result<()> {
        self.0.note_change();
        late::bind(&self.0, binding, deadline).map_err(|error| self.0.dead_or(Phase::Bind, error))
    }

    fn unbind(&self, deadline: Instant) -> Result<()> {
        late::unbind(&self.0, deadline).map_err(|error| self.0.dead_or(Phase::Bind, error))
    }

    fn prepare_reset(&self) -> Result<()> {
        reset::prepare(&self.0).map_err(|error| match self.0.cause_of_death() {
            Some(cause) => fault::ended(Phase::Create, self.0.id, &cause),
            None if error.code() == ErrorCode::SandboxDead => {
                fault::ended(Phase::Create, self.0.id, error.message())
            }
            None => error,
        })
    }

    fn reset(&self, deadline: Instant) -> Result<ResetReport> {
        self.0.note_change();
        reset::reset(&self.0, deadline)
    }

    fn fork(&self, request: &CreateRequest) -> Result<Box<dyn BackendSandbox>> {
        crate::forked::refuse_in_child(Phase::Fork)?;
        let Some(backend) = &self.0.forker else {
            let message = "this sandbox has no runtime that can be forked: see `Runtime::forks`";
            return Err(Error::new(ErrorCode::Unsupported, Phase::Fork, message).with_sandbox(self.0.id));
        };
        if let Some(cause) = self.0.cause_of_death() {
            return Err(fault::dead(Phase::Fork, self.0.id, &cause));
        }
        // Whoever used it has put it by now, so that nothing of that goes on.
        let changed = self.0.changed.load(Ordering::Acquire);
        let made =
            backend.make(Arc::clone(&self.0.keeper), request, Some(Forked { id: self.0.id, changed }))?;
        if changed {
            // Not earlier, or another fork at the same time could be given what is older.
            self.0.changed.store(false, Ordering::Release);
        }
        Ok(made)
    }

    fn settle(&self, cancel: &CancelToken) {
        if self.0.forker.is_some() {
            self.0.keeper.settle(self.0.id.get(), cancel);
        }
    }

    fn death(&self) -> Option<String> {
        self.0.cause_of_death()
    }

    fn host_scratch_dir(&self) -> Option<PathBuf> {
        self.0.disk_scratch.clone()
    }

    fn exec(&self, command: &Command) -> Result<Output> {
        self.0.note_change();
        exec::exec(&self.0, command)
    }

    fn spawn(&self, command: &Command) -> Result<Box<dyn BackendProcess>> {
        self.0.note_change();
        Ok(Box::new(exec::spawn(&self.0, command)?))
    }

    fn connect(&self, timeout: Duration, cancel: Option<&CancelToken>) -> Result<Connection> {
        self.0.note_change();
        connect::connect(&self.0, timeout, cancel)
    }

    fn read_file(&self, path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
        files::read(&self.0, path, max_bytes)
    }

    fn write_file(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.0.note_change();
        files::write(&self.0, path, bytes, mode)
    }

    fn list_dir(&self, path: &Path, max_entries: usize) -> Result<Vec<DirEntry>> {
        files::list(&self.0, path, max_entries)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.0.note_change();
        files::remove(&self.0, path)
    }

    fn usage(&self) -> Result<Usage> {
        if let Some(cause) = self.0.cause_of_death() {
            return Err(fault::dead(Phase::Use, self.0.id, &cause));
        }
        Ok(Usage { wall: self.0.created_at.elapsed(), ..self.0.cgroups.usage() })
    }

    fn log(&self, max_bytes: usize) -> Result<Vec<u8>> {
        let path = Path::new(OsStr::from_bytes(sandboxset_keeper::RUNTIME_LOG.as_bytes()));
        files::read_tail(&self.0, path, max_bytes)
    }
}

impl Drop for LinuxSandbox {
    fn drop(&mut self) {
        // In a forked child the sandbox is the parent's.
        if crate::in_forked_child() || self.0.destroyed.load(Ordering::Acquire) {
            return;
        }
        self.0.kill();
        self.0.keeper.abandon(self.0.id.get());
    }
}
