//! The death of a sandbox: killing all of it, seeing whether it has ended, and removing what is left.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::super::timespec;
use super::{Made, Sandbox, Stage};
use crate::init;

impl Sandbox {
    /// Whether its init ended, though nobody has reaped it yet.
    pub(in super::super) fn has_ended(&self) -> bool {
        self.is_born() && has_ended(&self.pidfd)
    }

    /// Kills everything in it. Works on a frozen one too.
    pub(in super::super) fn kill(&self) {
        if self.stage == Stage::Dead || !self.is_born() {
            return;
        }
        // The end of a namespace's init ends the whole namespace; the cgroup also has what is not in it yet.
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.kill();
        }
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        if let Some(cgroups) = &self.made.cgroups {
            cgroups.let_die();
        }
    }

    /// Reaps the ended init and says how it ended.
    pub(in super::super) fn reap(&mut self) -> String {
        self.stage = Stage::Dead;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(init::EXIT_RUNTIME_ENDED), _) => "ended because its runtime ended".to_owned(),
                (Some(code), _) => format!("exited with code {code}"),
                (_, Some(signal)) => format!("was ended by signal {signal}"),
                _ => "ended".to_owned(),
            },
            _ => "ended".to_owned(),
        }
    }

    /// Kills all of it, and lets go of what is only for a sandbox that lives.
    pub(in super::super) fn end(&mut self) {
        self.setup = None;
        self.host_end = None;
        self.kill_mounters();
        self.kill_network();
        self.kill();
    }

    /// Whether every process of it has ended; reaps those that have.
    pub(in super::super) fn is_gone(&mut self) -> bool {
        self.reap_mounters();
        if self.network.as_ref().is_some_and(has_ended) {
            self.reap_network();
        }
        if self.stage != Stage::Dead && self.has_ended() {
            self.reap();
        }
        self.survivors().next().is_none()
    }

    /// Waits until every process of it has ended, or until the deadline; or, if it is not born, who is to clone it.
    pub(in super::super) fn await_end(&self, deadline: Instant) {
        for pidfd in self.survivors() {
            ends_within(pidfd, deadline.saturating_duration_since(Instant::now()));
        }
    }

    fn survivors(&self) -> impl Iterator<Item = &OwnedFd> {
        let init = (self.stage != Stage::Dead).then_some(&self.pidfd);
        init.into_iter().chain(&self.mounters).chain(&self.network)
    }

    /// What has not ended, in words.
    pub(in super::super) fn survivor(&self) -> &'static str {
        if self.stage == Stage::Dead { "a helper cannot be killed" } else { "the init cannot be killed" }
    }

    /// Removes what is left when all its processes have ended, but not the scratch dir on disk. An error says what could
    /// not be removed; calling again tries again.
    pub(in super::super) fn remove_rest(&mut self) -> Result<(), String> {
        self.made.remove()
    }
}

/// Whether a process has ended.
pub(in super::super) fn has_ended(pidfd: &OwnedFd) -> bool {
    ends_within(pidfd, Duration::ZERO)
}

/// Waits for the end of a process.
pub(in super::super) fn ends_within(pidfd: &OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
        // Rounding up must not turn a look into a wait.
        let timeout = if timeout.is_zero() { Timespec::default() } else { timespec(left) };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

impl Made {
    fn remove(&mut self) -> Result<(), String> {
        if let Some(cgroups) = &self.cgroups {
            cgroups.remove()?;
            self.cgroups = None;
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}
