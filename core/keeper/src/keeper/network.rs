//! Has the network namespace of a sandbox that somebody waits for made while its init makes the rest: by a copy of the
//! keeper, which enters the sandbox's user namespace only. Nobody inside can see it, and nobody is inside yet but the
//! init, which goes on only when it has heard of that copy.

use std::os::fd::AsFd;

use rustix::process::{Signal, WaitId, WaitIdOptions};
use sandboxset_keeper::{Create, Failure, FrameError, NETWORK_STEP};

use super::Keeper;
use super::sandbox::{Sandbox, Stage, failure};
use super::watch::{Source, Watch};
use crate::init::network;
use crate::sys::{self, Forked};

impl Keeper {
    /// What made a network namespace ended. If it did not say how that went, nobody will, and the init waits in vain.
    pub(super) fn network_ended(&mut self, serial: u64) -> Result<(), FrameError> {
        let Some(&id) = self.claims.get(&serial) else { return Ok(()) };
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return Ok(()) };
        if sandbox.reap_network() || sandbox.stage != Stage::Furnishing {
            return Ok(());
        }
        let failure = Failure { step: format!("{NETWORK_STEP}: who makes it ended"), errno: 0 };
        self.abandon(id, failure.into())
    }
}

impl Sandbox {
    /// Does what is left to do for an init that was told at once what to become: has its network namespace made, and
    /// sets the limits.
    pub(super) fn assist(&mut self, recipe: &Create, watch: &Watch) -> Result<(), Failure> {
        let Some((user, setup)) = self.user.take().zip(self.setup_socket()) else { return Ok(()) };
        // All that we send the init has been sent, so that this comes last.
        let maker = match sys::clone3(0, None).map_err(|errno| failure("start a helper", errno))? {
            Forked::Parent(_, pidfd) => pidfd,
            Forked::Child => network::make_for(&user, setup),
        };
        let watched = watch.add(&maker, Source::Network(self.serial));
        self.network = Some(maker);
        watched.map_err(|errno| failure("watch a helper", errno))?;
        self.limit(recipe)
    }

    /// Whether what made the network namespace, which has ended, had said how that went.
    pub(super) fn reap_network(&mut self) -> bool {
        let Some(maker) = self.network.take() else { return true };
        let status = rustix::process::waitid(WaitId::PidFd(maker.as_fd()), WaitIdOptions::EXITED);
        status.is_ok_and(|status| status.is_some_and(|status| status.exit_status() == Some(0)))
    }

    /// Kills what makes the network namespace.
    pub(super) fn kill_network(&self) {
        if let Some(maker) = &self.network {
            let _ = rustix::process::pidfd_send_signal(maker, Signal::KILL);
        }
    }
}
