//! Forking: the talk with the fork servers of the sandboxes that are parents.
//!
//! What a fork server says is heard only while a fork of it is under way, and can fail only its own forks. It is never
//! waited for: a fork that it does not answer ends with its deadline.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use sandboxset_keeper::{Create, Failure, FrameError};

use super::Keeper;
use super::sandbox::{Place, Refusal, Sandbox};
use super::watch::Source;
use crate::zygote::{self, Message};

impl Keeper {
    /// Makes a shell below the parent, for its runtime to be forked into.
    pub(super) fn prepare_fork(&mut self, create: &Create, parent_id: u64) -> Result<Sandbox, Refusal> {
        let gone = || Refusal::Parent(Failure { step: "find the parent: it is gone".into(), errno: 0 });
        let parent = self.sandboxes.get(&parent_id).filter(|parent| !parent.has_ended()).ok_or_else(gone)?;
        if parent.parent.is_none() {
            return Err(Refusal::Sandbox(Failure {
                step: "fork the parent: its runtime is no fork server".into(),
                errno: 0,
            }));
        }
        let forks = create.runtime.as_ref().is_some_and(|runtime| runtime.forks);
        let place = Place { below: Some(parent), forks };
        self.last_serial += 1;
        let shell = Sandbox::prepare(self.last_serial, &self.cgroups, &self.filters, &mut self.ids, place);
        let mut shell = match shell {
            Ok(shell) => shell,
            // No other parent of this depth can either.
            Err(failure) if failure.errno == Errno::NOSPC.raw_os_error() => {
                return Err(Refusal::Sandbox(failure));
            }
            Err(failure) => {
                if failure.errno == Errno::TIMEDOUT.raw_os_error()
                    && let Some(parent) = self.sandboxes.get_mut(&parent_id)
                {
                    // Once is enough: its processes may have kept us waiting.
                    parent.parent = None;
                }
                return Err(Refusal::Parent(failure));
            }
        };
        shell.fork_of = Some(parent_id);
        Ok(self.watched(shell)?)
    }

    /// Has the parent's server join a sandbox.
    pub(super) fn ask_to_join(&self, id: u64, door: &[OwnedFd]) -> Result<(), Refusal> {
        let entrances = self.sandboxes.get(&id).map_or(Ok(Vec::new()), Sandbox::entrances)?;
        let fds: Vec<_> = door.iter().chain(&entrances).map(AsFd::as_fd).collect();
        self.ask_parent(id, &Message { kind: zygote::JOIN, id, ..Message::default() }, &fds)
    }

    /// Has the parent's server fork into a sandbox that it joined.
    pub(super) fn ask_to_fork(&self, id: u64) -> Result<(), Refusal> {
        if let Some(sandbox) = self.sandboxes.get(&id) {
            sandbox.go_on()?;
        }
        self.ask_parent(id, &Message { kind: zygote::FORK, id, ..Message::default() }, &[])
    }

    fn ask_parent(
        &self,
        id: u64,
        message: &Message<'_>,
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), Refusal> {
        let parent_id = self.sandboxes.get(&id).and_then(|sandbox| sandbox.fork_of);
        let parent =
            parent_id.and_then(|id| self.sandboxes.get(&id)).and_then(|sandbox| sandbox.parent.as_ref());
        let refuse = |why: &str| {
            Err(Refusal::Parent(Failure { step: format!("ask the fork server: {why}"), errno: 0 }))
        };
        let Some(parent) = parent else { return refuse("the parent is gone") };
        match zygote::send(&parent.server, message, fds) {
            Ok(()) => Ok(()),
            Err(FrameError::WouldBlock) => refuse("it does not listen"),
            Err(error) => refuse(&error.to_string()),
        }
    }

    /// Waits for the servers of the forks that are under way, and for no others.
    pub(super) fn watch_servers(&self) {
        let children = self.starting.iter().filter_map(|id| self.sandboxes.get(id));
        for parent in children.filter_map(|child| self.sandboxes.get(&child.fork_of?)) {
            if let Some(below) = &parent.parent {
                self.watch.arm(&below.server, Source::Server(parent.serial));
            }
        }
    }

    /// Hears one message of a parent's server.
    pub(super) fn server_spoke(&mut self, serial: u64) -> Result<(), FrameError> {
        let Some(&parent_id) = self.claims.get(&serial) else { return Ok(()) };
        let Some(parent) = self.sandboxes.get(&parent_id).and_then(|sandbox| sandbox.parent.as_ref()) else {
            return Ok(());
        };
        match zygote::receive(&parent.server) {
            Ok(message) if message.kind == zygote::FAILED => {
                let child = self.sandboxes.get(&message.id);
                match child
                    .is_some_and(|child| child.fork_of == Some(parent_id) && child.setup_socket().is_some())
                {
                    true => self.abandon(message.id, Refusal::Parent(message.failure())),
                    false => Ok(()),
                }
            }
            // That it started something we know from who was started.
            Ok(_) | Err(FrameError::WouldBlock) => Ok(()),
            Err(error) => {
                let failure = Failure { step: format!("fork: the fork server: {error}"), errno: 0 };
                self.give_up_parent(parent_id, &failure)
            }
        }
    }

    /// Nothing more is heard from a fork server, nor asked of it.
    fn give_up_parent(&mut self, parent_id: u64, failure: &Failure) -> Result<(), FrameError> {
        if let Some(sandbox) = self.sandboxes.get_mut(&parent_id) {
            sandbox.parent = None;
        }
        let pending = self
            .sandboxes
            .iter()
            .filter(|(_, child)| child.fork_of == Some(parent_id) && child.setup_socket().is_some());
        let pending: Vec<u64> = pending.map(|(&id, _)| id).collect();
        pending.into_iter().try_for_each(|id| self.abandon(id, Refusal::Parent(failure.clone())))
    }
}
