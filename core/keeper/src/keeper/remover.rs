//! Removes scratch dirs on disk, in a process of its own: a tree takes as long to remove as its maker liked, and the
//! keeper's one thread serves all sandboxes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::sweep;
use crate::sys::{self, Forked};

/// What is to be removed, and the process that is removing some of it.
#[derive(Default)]
pub(super) struct Remover {
    waiting: VecDeque<Job>,
    current: Option<(Job, OwnedFd)>,
    /// What could not be removed; tried once more at the end.
    failed: Vec<Job>,
    swept_bases: Vec<Vec<u8>>,
}

/// Paths of one kind.
enum Job {
    /// One scratch dir.
    Scratch(Vec<u8>),
    /// Those of dead owners in a directory.
    Siblings(Vec<u8>),
}

impl Remover {
    /// Removes a scratch dir: at once if it is empty or gone already, else in the background.
    pub(super) fn remove(&mut self, scratch: Vec<u8>) {
        match rustix::fs::rmdir(&*scratch) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => self.add(Job::Scratch(scratch)),
        }
    }

    /// Removes what dead owners left in the directory that `scratch` is to be made in, in the background and once in
    /// the life of this keeper.
    pub(super) fn sweep_beside(&mut self, scratch: &[u8]) {
        let Some(base) = sweep::base_of(scratch) else { return };
        if !self.swept_bases.contains(&base) {
            self.swept_bases.push(base.clone());
            self.add(Job::Siblings(base));
        }
    }

    /// Readable when [`Remover::go_on`] has something to do.
    pub(super) fn process(&self) -> Option<&OwnedFd> {
        self.current.as_ref().map(|(_, pidfd)| pidfd)
    }

    /// The process has ended: starts one for what comes next.
    pub(super) fn go_on(&mut self) {
        if let Some((job, pidfd)) = self.current.take() {
            let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            if !matches!(status, Ok(Some(status)) if status.exit_status() == Some(0)) {
                self.failed.push(job);
            }
        }
        while self.current.is_none()
            && let Some(job) = self.waiting.pop_front()
        {
            match start(&job) {
                Ok(pidfd) => self.current = Some((job, pidfd)),
                Err(_) => self.failed.push(job),
            }
        }
    }

    /// Removes everything that is left, in this process and for as long as it takes.
    pub(super) fn finish(&mut self) {
        // Its end is awaited here, and nothing is started any more.
        let waiting = std::mem::take(&mut self.waiting);
        self.go_on();
        for job in waiting.iter().chain(&self.failed) {
            job.run();
        }
    }

    fn add(&mut self, job: Job) {
        self.waiting.push_back(job);
        if self.current.is_none() {
            self.go_on();
        }
    }
}

impl Job {
    /// False if it should be tried again.
    fn run(&self) -> bool {
        match self {
            Job::Scratch(scratch) => sweep::remove_scratch(scratch).is_ok(),
            Job::Siblings(base) => {
                sweep::remove_siblings(base);
                true
            }
        }
    }
}

/// Runs a job in a new process, which ends with the keeper and has nothing of it open.
fn start(job: &Job) -> Result<OwnedFd, Errno> {
    match sys::clone3(0, None)? {
        Forked::Parent(_, pidfd) => Ok(pidfd),
        Forked::Child => {
            let done = rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .and_then(|()| sys::close_from(0))
                .is_ok_and(|()| job.run());
            sys::exit(i32::from(!done))
        }
    }
}
