//! Forking: the talk with the fork servers of the sandboxes that are parents.
//!
//! What a fork server says is heard only while a fork of it is under way, and can fail only its own forks. It is never
//! waited for: a fork that it does not answer ends with its deadline. Forks are known to it by the keeper's own numbers,
//! because those that are prepared ahead of demand have no other yet.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use sandboxset_keeper::{Create, Failure, FrameError, FromKeeper};

use super::Keeper;
use super::births::Waiting;
use super::sandbox::{Place, Refusal, Sandbox, Stage, Step};
use super::sources::Sources;
use super::watch::Source;
use crate::zygote::{self, Message};

impl Keeper {
    /// A shell below the parent that waits for its runtime to be forked into it, or in which that waits already.
    pub(super) fn take_below(
        &mut self,
        recipe: &Arc<Create>,
        parent_id: u64,
    ) -> Result<Option<Sandbox>, Refusal> {
        let most = self.forkable(parent_id)?.parent.as_ref().map_or(0, |parent| parent.most_ahead);
        let Some(mut shell) = self.stock.take_below(recipe, most, &mut self.mounts) else { return Ok(None) };
        // What it is told waits for it before it wakes, so that it need not wake twice.
        let woken = match shell.stage {
            Stage::Forked => shell.release().and_then(|()| shell.wake()),
            _ => Ok(()),
        };
        if woken.is_err() {
            self.drop_shell(shell);
            return Ok(None);
        }
        Ok(Some(shell))
    }

    /// Begins with creates that waited for their turn to be cloned.
    pub(super) fn begin_births(&mut self) -> Result<(), FrameError> {
        while let Some(Waiting { id, recipe, deadline }) = self.births.next() {
            let Some(parent_id) = recipe.parent else { continue };
            let shell = self.prepare_below(&recipe, parent_id);
            self.start(id, shell, &recipe, deadline)?;
        }
        Ok(())
    }

    /// Prepares a fork that nobody has asked for yet, up to where its runtime would be told what to be.
    pub(super) fn fork_ahead(&mut self, recipe: &Arc<Create>) {
        let Some(parent_id) = recipe.parent else { return };
        let sources = Sources::of(recipe, &mut self.mounts);
        if let Ok(mut shell) = self.prepare_below(recipe, parent_id) {
            match shell.furnish(recipe) {
                Ok(()) => return self.stock.add_below(recipe, shell, sources),
                Err(_) => self.drop_shell(shell),
            }
        }
        self.stock.block(recipe);
    }

    /// The init of a shell below a parent said something, and nobody waits for it yet.
    pub(super) fn advanced_ahead(&mut self, serial: u64, step: Result<Step, Refusal>) {
        let done = match step {
            Ok(Step::Door(door)) => self.ask_to_join(serial, &door),
            Ok(Step::Joined) => self.ask_to_fork(serial),
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if done.is_err() {
            self.stock.doom(serial);
        }
    }

    /// Tells the host of parents below which everything waits that is to wait. What waits rests from here on.
    pub(super) fn report_settled(&mut self) -> Result<(), FrameError> {
        let is_settled = |id: &u64| {
            let gone = self.sandboxes.get(id).is_none_or(|parent| parent.stage == Stage::Dead);
            gone || self.stock.is_settled(*id, self.is_blocked)
        };
        let settled: Vec<u64> = self.settling.iter().copied().filter(is_settled).collect();
        for id in settled {
            self.settling.retain(|&other| other != id);
            self.stock.below(id).for_each(Sandbox::rest);
            self.answer(FromKeeper::Settled { id }, Vec::new())?;
        }
        Ok(())
    }

    /// The sandbox that is to be forked, if it can be.
    fn forkable(&self, id: u64) -> Result<&Sandbox, Refusal> {
        let gone = || Refusal::Parent(Failure { step: "find the parent: it is gone".into(), errno: 0 });
        let parent = self.sandboxes.get(&id).filter(|parent| !parent.has_ended()).ok_or_else(gone)?;
        match parent.parent {
            Some(_) => Ok(parent),
            // The host asks for forks of fork servers only; so it was given up.
            None => Err(Refusal::Parent(Failure {
                step: "fork the parent: its server no longer answers".into(),
                errno: 0,
            })),
        }
    }

    /// Makes a shell below the parent.
    pub(super) fn prepare_below(&mut self, create: &Create, parent_id: u64) -> Result<Sandbox, Refusal> {
        self.forkable(parent_id)?;
        self.last_serial += 1;
        let serial = self.last_serial;
        let forks = create.runtime.as_ref().is_some_and(|runtime| runtime.forks);
        let place = Place { below: self.sandboxes.get(&parent_id), forks, recipe: None };
        let shell = Sandbox::prepare(serial, &self.cgroups, &self.filters, &mut self.ids, place);
        let mut shell = shell.map_err(|failure| self.blame(parent_id, failure))?;
        shell.fork_of = Some(parent_id);
        let shell = self.adopted(shell, None)?;
        self.births.begin(serial);
        Ok(shell)
    }

    /// Takes the init of a sandbox below a parent: it has been cloned, or never will be.
    pub(super) fn take_init(&mut self, serial: u64) -> Result<(), FrameError> {
        self.births.end(serial);
        if self.endings.contains(serial) {
            return self.go_on_ending(serial);
        }
        let id = self.claims.get(&serial).copied();
        let sandbox = super::find(&self.claims, &mut self.sandboxes, &mut self.stock, serial);
        let Some(sandbox) = sandbox.filter(|sandbox| !sandbox.is_born()) else { return Ok(()) };
        let parent_id = sandbox.fork_of;
        // Other helpers have copies of the descriptor, which would go on telling of it.
        self.watch.remove(&sandbox.pidfd);
        let taken = sandbox.be_born().and_then(|()| {
            self.watch.add_init(sandbox).map_err(|errno| super::sandbox::failure("watch the init", errno))
        });
        let Err(failure) = taken else { return Ok(()) };
        let refusal = match parent_id {
            Some(parent_id) => self.blame(parent_id, failure),
            None => Refusal::Sandbox(failure),
        };
        match id {
            Some(id) => self.abandon(id, refusal),
            None => {
                self.stock.doom(serial);
                Ok(())
            }
        }
    }

    /// Who is to blame for a sandbox that could not be made below a parent.
    pub(super) fn blame(&mut self, parent_id: u64, failure: Failure) -> Refusal {
        if failure.errno == Errno::NOSPC.raw_os_error() {
            // No other parent of this depth can either.
            return Refusal::Sandbox(failure);
        }
        if failure.errno == Errno::TIMEDOUT.raw_os_error()
            && let Some(parent) = self.sandboxes.get_mut(&parent_id)
        {
            // Once is enough: its processes may have kept us waiting.
            parent.parent = None;
        }
        Refusal::Parent(failure)
    }

    /// Has the parent's server join a sandbox.
    pub(super) fn ask_to_join(&mut self, serial: u64, door: &[OwnedFd]) -> Result<(), Refusal> {
        let Some(sandbox) = self.find(serial) else { return Ok(()) };
        let (parent, entrances) = (sandbox.fork_of, sandbox.entrances()?);
        let fds: Vec<_> = door.iter().chain(&entrances).map(AsFd::as_fd).collect();
        self.ask(parent, &Message { kind: zygote::JOIN, id: serial, ..Message::default() }, &fds)
    }

    /// Has the parent's server fork into a sandbox that it joined.
    pub(super) fn ask_to_fork(&mut self, serial: u64) -> Result<(), Refusal> {
        let Some(sandbox) = self.find(serial) else { return Ok(()) };
        let (parent, number) = (sandbox.fork_of, u32::from(!sandbox.is_released()));
        self.ask(parent, &Message { kind: zygote::FORK, id: serial, number, ..Message::default() }, &[])
    }

    fn ask(
        &self,
        parent: Option<u64>,
        message: &Message<'_>,
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<(), Refusal> {
        let parent = parent.and_then(|id| self.sandboxes.get(&id)?.parent.as_ref());
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
        let parents = children.filter_map(|child| child.fork_of).chain(self.stock.forking());
        for parent in parents.filter_map(|id| self.sandboxes.get(&id)) {
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
                let is_its_own =
                    |child: &&mut Sandbox| child.fork_of == Some(parent_id) && child.setup_socket().is_some();
                if self.find(message.id).filter(is_its_own).is_none() {
                    return Ok(());
                }
                match self.claims.get(&message.id) {
                    Some(&id) => self.abandon(id, Refusal::Parent(message.failure())),
                    None => {
                        self.stock.doom(message.id);
                        Ok(())
                    }
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
    pub(super) fn give_up_parent(&mut self, parent_id: u64, failure: &Failure) -> Result<(), FrameError> {
        if let Some(sandbox) = self.sandboxes.get_mut(&parent_id) {
            sandbox.parent = None;
        }
        self.stock.doom_below(parent_id);
        let pending = self
            .sandboxes
            .iter()
            .filter(|(_, child)| child.fork_of == Some(parent_id) && child.setup_socket().is_some());
        let pending: Vec<u64> = pending.map(|(&id, _)| id).collect();
        pending.into_iter().try_for_each(|id| self.abandon(id, Refusal::Parent(failure.clone())))
    }
}
