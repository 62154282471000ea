//! The keeper as the host sees it: started once, shared by all backends and sandboxes, ended with the last.

mod link;
mod start;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::net::Shutdown;
use rustix::process::Signal;
use sandboxset_keeper::{CgroupFd, Create, FrameError, LayerReport, ToKeeper};

use self::link::{Expected, Link, Refusal};
use super::wait::readable;
use super::{ShellCounts, cgroup, fault};
use crate::{CancelToken, Error, ErrorCode, Phase, Result, SandboxId};

/// How long the end of the last handle waits for the keeper to be gone, and then for a killed one.
const END: Duration = Duration::from_secs(2);
/// How long cgroups are waited for, in the background, whose processes outlived a killed keeper. They have been
/// killed and end as soon as the kernel lets them; what lasts longer is removed by a later host's keeper.
const LATE_END: Duration = Duration::from_secs(60);
/// How long the keeper may take to count.
const COUNT: Duration = Duration::from_secs(10);
/// How long a parent may be kept running for what is prepared for its next forks. A busy keeper puts that off.
const SETTLE: Duration = Duration::from_secs(3);

/// A running keeper. Dropping the last handle ends it.
pub(super) struct Keeper(Arc<Link>);

/// Where the cause of a sandbox's death is written, once it is known.
pub(super) type Obituary = Arc<OnceLock<String>>;

/// A sandbox as the keeper hands it over.
pub(super) struct Created {
    pub(super) pidfd: OwnedFd,
    pub(super) socket: OwnedFd,
    /// The name of its cgroup directories.
    pub(super) name: String,
    pub(super) cgroups: Vec<(CgroupFd, OwnedFd)>,
    pub(super) report: Vec<LayerReport>,
    pub(super) obituary: Obituary,
}

impl Keeper {
    /// Whether it ended.
    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Acquire)
    }

    /// Whether new sandboxes may be asked of it.
    pub(super) fn serves(&self) -> bool {
        !self.is_dead() && !self.0.hangs.load(Ordering::Relaxed)
    }

    /// Whether it ended, or will before the deadline: its socket closes a moment before it is gone, and only then
    /// are its sandboxes nobody's.
    pub(super) fn is_dead_by(&self, deadline: Instant) -> bool {
        self.is_dead() || readable(&self.0.pidfd, Some(deadline)).unwrap_or(false)
    }

    /// Why cgroups that were planned cannot be used.
    pub(super) fn faults(&self) -> &[String] {
        self.0.faults.get().map_or(&[], Vec::as_slice)
    }

    /// What the names of everything it makes begin with.
    pub(super) fn tag(&self) -> &str {
        &self.0.tag
    }

    /// The directories in which it makes the cgroups of a sandbox.
    pub(super) fn cgroups_of(&self, name: &str) -> Vec<PathBuf> {
        cgroup::owner_dirs(&self.0.plan, &self.0.tag).into_iter().map(|dir| dir.join(name)).collect()
    }

    /// Makes a sandbox. On an error nothing of it is left, or is about to be removed.
    pub(super) fn create(&self, name: SandboxId, create: Create, deadline: Instant) -> Result<Created> {
        let id = create.id;
        let (sender, receiver) = bounded(1);
        {
            let mut expected = self.0.expected.lock();
            expected.creates.insert(id, sender);
            expected.obituaries.insert(id, Obituary::default());
        }
        let answer = self.send(&ToKeeper::Create(Box::new(create))).and_then(|()| {
            self.await_answer(&receiver, deadline, |expected| expected.creates.remove(&id).is_some())
        });
        match answer {
            Ok(Ok(created)) => {
                self.0.fruitful.store(true, Ordering::Relaxed);
                Ok(created)
            }
            Ok(Err(refusal)) => {
                self.0.forget(id);
                Err(match refusal {
                    Refusal::Sandbox(failure) => fault::create(name, &failure),
                    Refusal::Parent(failure) => fault::fork(name, &failure),
                })
            }
            Err(error) => {
                self.0.forget(id);
                // Removes it also if it was made, or is being made, after all.
                let _ = self.send(&ToKeeper::Remove { id });
                Err(error)
            }
        }
    }

    /// Has a sandbox removed; answers what could not be.
    pub(super) fn remove(&self, id: u64, deadline: Instant) -> Result<Option<String>> {
        let (sender, receiver) = bounded(1);
        self.0.expected.lock().removes.insert(id, sender);
        let answer = self.send(&ToKeeper::Remove { id }).and_then(|()| {
            self.await_answer(&receiver, deadline, |expected| expected.removes.remove(&id).is_some())
        });
        if matches!(answer, Ok(None)) {
            self.0.expected.lock().obituaries.remove(&id);
        }
        answer.map_err(|error| error.with_phase(Phase::Destroy))
    }

    /// Waits until what is prepared for the next forks of a sandbox is, but not long, and not when it is cancelled.
    pub(super) fn settle(&self, id: u64, cancel: &CancelToken) {
        let (sender, receiver) = bounded(2);
        let interrupt = sender.clone();
        let _registration = cancel.on_cancel(move || {
            let _ = interrupt.try_send(());
        });
        self.0.expected.lock().settles.entry(id).or_default().push(sender);
        if self.send(&ToKeeper::Settle { id }).is_ok() {
            let _ = receiver.recv_timeout(SETTLE);
        }
        self.0.expected.lock().settles.remove(&id);
    }

    /// How many shells wait for the creates of a backend.
    pub(super) fn count_shells(&self, backend: u64) -> Result<ShellCounts> {
        let (sender, receiver) = bounded(1);
        let asked = {
            // Locked until it is sent, because answers are told apart by their order only.
            let mut expected = self.0.expected.lock();
            expected.counts.push_back(sender);
            self.send(&ToKeeper::CountShells { backend }).inspect_err(|_| _ = expected.counts.pop_back())
        };
        let answer = asked.and_then(|()| self.await_answer(&receiver, Instant::now() + COUNT, |_| false));
        answer.map_err(|error| error.with_phase(Phase::Use))
    }

    /// No more creates of this backend will come.
    pub(super) fn forget_backend(&self, backend: u64) {
        let _ = self.send(&ToKeeper::Forget { backend });
    }

    /// Has a sandbox removed without waiting for it.
    pub(super) fn abandon(&self, id: u64) {
        self.0.forget(id);
        let _ = self.send(&ToKeeper::Remove { id });
    }

    fn send(&self, message: &ToKeeper) -> Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with descriptors.
    pub(super) fn send_with(&self, message: &ToKeeper, fds: &[BorrowedFd<'_>]) -> Result<()> {
        // Checked after the caller registered what it expects: the listening thread first says that the keeper is
        // dead and then drops what is expected, so that nobody waits for a dead keeper.
        if self.is_dead() {
            return Err(unavailable("the keeper died"));
        }
        match sandboxset_keeper::send(&self.0.socket, message, fds) {
            Err(FrameError::Closed) => {
                // The listening thread has yet to see it; this one knows.
                self.0.dead.store(true, Ordering::Release);
                Err(unavailable("the keeper died"))
            }
            other => other.map_err(|error| unavailable("the keeper does not listen").with_source(error)),
        }
    }

    fn await_answer<T>(
        &self,
        receiver: &Receiver<T>,
        deadline: Instant,
        give_up: impl FnOnce(&mut Expected) -> bool,
    ) -> Result<T> {
        match receiver.recv_deadline(deadline) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Disconnected) => Err(unavailable("the keeper died")),
            Err(RecvTimeoutError::Timeout) => {
                give_up(&mut self.0.expected.lock());
                // It has a deadline of its own for each create, before ours, and a removal is a moment's work.
                self.0.hangs.store(true, Ordering::Relaxed);
                // The answer may have come in just now.
                receiver.try_recv().map_err(|_| {
                    Error::new(ErrorCode::Timeout, Phase::Create, "the keeper did not answer in time")
                })
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // In a forked child the keeper, the thread and the sandboxes are the parent's.
        if crate::in_forked_child() {
            return;
        }
        let link = &self.0;
        link.ending.store(true, Ordering::Release);
        // Ends the keeper, also while a forked child of the host holds a copy of the socket.
        let _ = rustix::net::shutdown(&link.socket, Shutdown::Both);
        let mut deadline = Instant::now() + END;
        if !readable(&link.pidfd, Some(deadline)).unwrap_or(false) {
            // It hangs, or was stopped. Its sandboxes die with it, and we do the rest of what it should have done.
            let _ = rustix::process::pidfd_send_signal(&link.pidfd, Signal::KILL);
            deadline += END;
            let _ = readable(&link.pidfd, Some(deadline));
        }
        link.reap();
        // Nothing is left, unless it was killed.
        if cgroup::remove_owner(&link.plan, &link.tag, deadline).is_ok() {
            return;
        }
        let link = Arc::clone(link);
        let later = move || {
            if let Err(errno) = cgroup::remove_owner(&link.plan, &link.tag, Instant::now() + LATE_END) {
                tracing::warn!(tag = link.tag, %errno, "cgroups of an ended keeper cannot be removed");
            }
        };
        if crate::threads::run(Box::new(later)).is_err() {
            tracing::warn!("no thread to remove the cgroups of an ended keeper");
        }
    }
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorCode::BackendUnavailable, Phase::Create, message)
}
