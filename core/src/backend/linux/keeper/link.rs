//! What is heard from a keeper, and who waits for it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use sandboxset_keeper::{CgroupFd, CgroupPlan, Failure, FrameError, FromKeeper, LayerReport};

use super::{Created, END, Obituary};
use crate::backend::linux::ShellCounts;
use crate::backend::linux::wait::{poll_until, readable};

/// What the thread that listens to the keeper shares with the handles.
pub(super) struct Link {
    pub(super) socket: OwnedFd,
    pub(super) pidfd: OwnedFd,
    /// Part of the name of everything that this keeper makes.
    pub(super) tag: String,
    pub(super) plan: CgroupPlan,
    pub(super) faults: OnceLock<Vec<String>>,
    pub(super) dead: AtomicBool,
    /// Whether it owes an answer for longer than it may take. Who needs a keeper then gets another one; this one
    /// goes with its last sandbox.
    pub(super) hangs: AtomicBool,
    /// Whether the end of the keeper is our own wish.
    pub(super) ending: AtomicBool,
    pub(super) fruitful: AtomicBool,
    pub(super) expected: Mutex<Expected>,
}

/// Who waits for what from the keeper, by the id of the sandbox.
#[derive(Default)]
pub(super) struct Expected {
    pub(super) creates: HashMap<u64, Sender<Result<Created, Refusal>>>,
    pub(super) removes: HashMap<u64, Sender<Option<String>>>,
    pub(super) obituaries: HashMap<u64, Obituary>,
    pub(super) settles: HashMap<u64, Vec<Sender<()>>>,
    /// In the order in which they asked.
    pub(super) counts: VecDeque<Sender<ShellCounts>>,
}

/// Why there is no sandbox.
pub(super) enum Refusal {
    Sandbox(Failure),
    /// Its parent is to blame.
    Parent(Failure),
}

impl Link {
    pub(super) fn new(socket: OwnedFd, pidfd: OwnedFd, tag: String, plan: CgroupPlan) -> Self {
        Link {
            socket,
            pidfd,
            tag,
            plan,
            faults: OnceLock::new(),
            dead: AtomicBool::new(false),
            hangs: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            fruitful: AtomicBool::new(false),
            expected: Mutex::default(),
        }
    }

    /// Hands the keeper's messages to who expects them, until the keeper ends.
    pub(super) fn listen(&self) {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.pidfd, PollFlags::IN)];
            if poll_until(&mut fds, None).is_err() {
                break;
            }
            // What a keeper said before it ended is still heard.
            if !fds[0].revents().is_empty() {
                match sandboxset_keeper::receive(&self.socket) {
                    Ok((message, fds)) => self.dispatch(message, fds),
                    Err(FrameError::WouldBlock) => {}
                    Err(_) => break,
                }
            } else if !fds[1].revents().is_empty() {
                break;
            }
        }
        self.end();
    }

    fn dispatch(&self, message: FromKeeper, fds: Vec<OwnedFd>) {
        self.hangs.store(false, Ordering::Relaxed);
        match message {
            FromKeeper::Created { id, name, cgroups, report } => {
                self.created(id, name, &cgroups, report, fds);
            }
            FromKeeper::CreateFailed { id, failure } => {
                let sender = self.expected.lock().creates.remove(&id);
                let _ = sender.map(|sender| sender.send(Err(Refusal::Sandbox(failure))));
            }
            FromKeeper::ForkFailed { id, failure } => {
                let sender = self.expected.lock().creates.remove(&id);
                let _ = sender.map(|sender| sender.send(Err(Refusal::Parent(failure))));
            }
            FromKeeper::Removed { id, leftovers } => {
                let sender = self.expected.lock().removes.remove(&id);
                let _ = sender.map(|sender| sender.send(leftovers));
            }
            FromKeeper::Died { id, cause } => {
                let obituary = self.expected.lock().obituaries.get(&id).cloned();
                let _ = obituary.map(|obituary| obituary.set(cause));
            }
            FromKeeper::Settled { id } => {
                let senders = self.expected.lock().settles.remove(&id);
                for sender in senders.into_iter().flatten() {
                    let _ = sender.try_send(());
                }
            }
            FromKeeper::Shells { ready, bare } => {
                let sender = self.expected.lock().counts.pop_front();
                let counts = ShellCounts { ready: ready as usize, bare: bare as usize };
                let _ = sender.map(|sender| sender.send(counts));
            }
            FromKeeper::Hello { .. } => {}
        }
    }

    fn created(
        &self,
        id: u64,
        name: String,
        kinds: &[CgroupFd],
        report: Vec<LayerReport>,
        fds: Vec<OwnedFd>,
    ) {
        let (sender, obituary) = {
            let mut expected = self.expected.lock();
            (expected.creates.remove(&id), expected.obituaries.get(&id).cloned())
        };
        // Whoever gave up has asked for its removal already.
        let (Some(sender), Some(obituary)) = (sender, obituary) else { return };
        let complete = fds.len() == kinds.len() + 2;
        let mut fds = fds.into_iter();
        let answer = match (fds.next(), fds.next()) {
            (Some(pidfd), Some(socket)) if complete => Ok(Created {
                pidfd,
                socket,
                name,
                cgroups: kinds.iter().copied().zip(fds).collect(),
                report,
                obituary,
            }),
            // The kernel drops descriptors when the receiving process may have no more.
            _ => Err(Refusal::Sandbox(Failure {
                step: "receive the descriptors of the sandbox".into(),
                errno: Errno::MFILE.raw_os_error(),
            })),
        };
        let _ = sender.send(answer);
    }

    fn end(&self) {
        self.dead.store(true, Ordering::Release);
        let expected = std::mem::take(&mut *self.expected.lock());
        for obituary in expected.obituaries.values() {
            let _ = obituary.set("its keeper died".into());
        }
        if !self.ending.load(Ordering::Acquire) {
            tracing::warn!("the keeper died; its sandboxes are gone with it");
            let _ = readable(&self.pidfd, Some(Instant::now() + END));
            self.reap();
        }
    }

    /// The keeper is nobody's child but the system's; as the first process of a container this process stands for
    /// the system, and would have a zombie for every keeper. Elsewhere this does nothing.
    pub(super) fn reap(&self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
    }

    pub(super) fn forget(&self, id: u64) {
        let mut expected = self.expected.lock();
        expected.creates.remove(&id);
        expected.obituaries.remove(&id);
    }
}
