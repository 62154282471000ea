//! Mounters: started on request, reaped when they end, killed with their sandbox. The keeper does not wait for them;
//! they answer the host themselves.

use std::os::fd::{AsFd, OwnedFd};

use rustix::process::{Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{FOREIGN_MOUNTS_STEP, Failure};

use super::Keeper;
use super::sandbox::{Sandbox, failure};
use super::watch::Source;
use crate::mounter::{self, Request};
use crate::sys::{self, Forked};

impl Keeper {
    /// Starts a mounter, which answers on the first of the descriptors. If it cannot be started, that is closed.
    pub(super) fn start_mounter(&mut self, id: u64, request: &Request, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let (Some(reply), Some(namespace)) = (fds.next(), fds.next()) else { return };
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return };
        let started = sandbox.start_mounter(request, [&reply, &namespace], fds.next());
        let watched = started.and_then(|()| {
            let source = Source::Mounter(sandbox.serial);
            let added = sandbox.mounters.last().map_or(Ok(()), |mounter| self.watch.add(mounter, source));
            added.map_err(|errno| {
                sandbox.kill_mounters();
                failure("watch a mounter", errno)
            })
        });
        if let Err(failure) = watched {
            let _ = sandboxset_keeper::send(&reply, &sandboxset_keeper::MounterResult::Err(failure), &[]);
        }
    }
}

impl Sandbox {
    fn start_mounter(
        &mut self,
        request: &Request,
        [reply, namespace]: [&OwnedFd; 2],
        secrets: Option<OwnedFd>,
    ) -> Result<(), Failure> {
        let refused = |step: &str| Failure { step: step.to_owned(), errno: 0 };
        // Nobody sees that of a fork which was made without privileges. What its init opens is taken then: there is none
        // but its own, and nobody enters another without the rights over it.
        let inode = rustix::fs::fstat(namespace).map(|stat| stat.st_ino).ok();
        if inode.is_none() || self.mounts.is_some_and(|known| inode != Some(known)) {
            return Err(refused(FOREIGN_MOUNTS_STEP));
        }
        match sys::clone3(0, None).map_err(|errno| failure("start a mounter", errno))? {
            Forked::Parent(_, pidfd) => {
                self.mounters.push(pidfd);
                Ok(())
            }
            Forked::Child => {
                let copy = |fd: &OwnedFd| fd.try_clone();
                match (copy(reply), copy(namespace), copy(secrets.as_ref().unwrap_or(reply))) {
                    (Ok(reply), Ok(namespace), Ok(secrets)) => {
                        mounter::main([reply, namespace, secrets], request)
                    }
                    _ => sys::exit(1),
                }
            }
        }
    }

    /// Reaps those of its mounters that have ended.
    pub(super) fn reap_mounters(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        self.mounters.retain(|pidfd| {
            matches!(rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
        });
    }

    /// Kills mounters that are still at work.
    pub(super) fn kill_mounters(&self) {
        for pidfd in &self.mounters {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}
