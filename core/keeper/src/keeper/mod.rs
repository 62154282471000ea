//! The keeper's event loop.
//!
//! It never blocks on the host or on a sandbox: it sends without waiting, and every hand-shake with an init has a
//! deadline. When the host is gone it removes everything and returns.

mod below;
mod cgroup;
mod fork;
mod host_ids;
mod late;
mod remover;
mod sandbox;
mod sweep;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use self::cgroup::Cgroups;
use self::host_ids::HostIds;
use self::remover::Remover;
use self::sandbox::{Handover, Place, Refusal, Sandbox, Stage, Step};
use crate::mounter::Request;
use crate::seccomp::Filters;
use sandboxset_keeper::{Create, Failure, FrameError, FromKeeper, Hello, ToKeeper, VERSION};

/// The most we try to remove what is left after the host is gone. A task that cannot be killed would hold us for
/// ever; the next keeper of this user sweeps what remains.
const FAREWELL: Duration = Duration::from_secs(5);

/// How many shells wait for a create. One covers a get that finds nothing idle; the other one that comes while the
/// first is replaced.
const SHELLS: usize = 2;

struct Keeper {
    host: OwnedFd,
    /// Answers that the host has not had room for yet.
    outbox: VecDeque<(FromKeeper, Vec<OwnedFd>)>,
    cgroups: Cgroups,
    filters: Filters,
    ids: HostIds,
    sandboxes: HashMap<u64, Sandbox>,
    /// Prepared ahead of demand, the oldest first.
    shells: VecDeque<Sandbox>,
    shells_made: u64,
    /// Whether shells are to be prepared: not before the first create, and not after one could not be.
    refilling: bool,
    remover: Remover,
}

/// Serves one host until it is gone.
pub(crate) fn run(host: OwnedFd) -> Result<(), FrameError> {
    let (hello, mut fds) = sandboxset_keeper::receive::<ToKeeper>(&host)?;
    let ToKeeper::Hello(hello) = hello else { return Err(FrameError::Malformed("hello expected")) };
    let host_pidfd = fds.pop().ok_or(FrameError::Malformed("pidfd expected"))?;
    rustix::io::ioctl_fionbio(&host, true)?;
    let (mut keeper, cgroup_faults) = Keeper::new(host, &hello);
    let result = keeper.greet(&hello, cgroup_faults).and_then(|()| keeper.serve(host_pidfd.as_fd()));
    keeper.farewell();
    match result {
        // The host went while we had something to tell it.
        Err(FrameError::Closed) => Ok(()),
        other => other,
    }
}

impl Keeper {
    fn new(host: OwnedFd, hello: &Hello) -> (Self, Vec<String>) {
        let (cgroups, cgroup_faults) = Cgroups::open(&hello.cgroups, &hello.owner);
        let keeper = Keeper {
            host,
            outbox: VecDeque::new(),
            cgroups,
            filters: Filters::compile(),
            ids: HostIds::new(),
            sandboxes: HashMap::new(),
            shells: VecDeque::new(),
            shells_made: 0,
            refilling: false,
            remover: Remover::default(),
        };
        (keeper, cgroup_faults)
    }

    fn greet(&mut self, hello: &Hello, cgroup_faults: Vec<String>) -> Result<(), FrameError> {
        self.answer(FromKeeper::Hello { version: VERSION, cgroup_faults }, Vec::new())?;
        if hello.version != VERSION {
            return Err(FrameError::Malformed("version"));
        }
        self.cgroups.sweep();
        Ok(())
    }

    fn serve(&mut self, host_pidfd: BorrowedFd<'_>) -> Result<(), FrameError> {
        loop {
            let ready = self.wait(host_pidfd)?;
            if ready.host_gone {
                return Ok(());
            }
            self.flush()?;
            for &id in &ready.inits {
                self.init_spoke(id)?;
            }
            for id in &ready.mounted {
                let _ = self.sandboxes.get_mut(id).map(Sandbox::reap_mounter);
            }
            for &id in &ready.ended {
                self.init_ended(id)?;
            }
            for &id in &ready.servers {
                self.server_spoke(id)?;
            }
            if ready.removed {
                self.remover.go_on();
            }
            self.expire()?;
            if ready.host_spoke && !self.host_spoke()? {
                return Ok(());
            }
            if ready.is_idle() {
                self.refill();
            }
        }
    }

    /// Blocks until something happens and says what.
    fn wait(&self, host_pidfd: BorrowedFd<'_>) -> Result<Ready, FrameError> {
        let mut host_events = PollFlags::IN;
        if !self.outbox.is_empty() {
            host_events |= PollFlags::OUT;
        }
        let mut fds =
            vec![PollFd::new(&self.host, host_events), PollFd::from_borrowed_fd(host_pidfd, PollFlags::IN)];
        let mut sources = Vec::new();
        for (&id, sandbox) in &self.sandboxes {
            if let Some(socket) = sandbox.setup_socket() {
                sources.push((id, Source::Setup));
                fds.push(PollFd::new(socket, PollFlags::IN));
            }
            if sandbox.stage != Stage::Dead {
                sources.push((id, Source::Init));
                fds.push(PollFd::new(&sandbox.pidfd, PollFlags::IN));
            }
            if let Some(mounter) = &sandbox.mounter {
                sources.push((id, Source::Mounter));
                fds.push(PollFd::new(mounter, PollFlags::IN));
            }
        }
        let first_server = fds.len();
        let parents = self.asked_parents();
        for parent in parents.iter().filter_map(|id| self.sandboxes.get(id)?.parent.as_ref()) {
            fds.push(PollFd::new(&parent.server, PollFlags::IN));
        }
        for shell in &self.shells {
            fds.push(PollFd::new(&shell.pidfd, PollFlags::IN));
        }
        let removing = self.remover.process();
        fds.extend(removing.map(|process| PollFd::new(process, PollFlags::IN)));
        let deadline = self.sandboxes.values().filter_map(Sandbox::deadline).min();
        let timeout = match deadline {
            // Only a look: with nothing else to do a shell is prepared.
            _ if self.wants_shell() => Some(Timespec::default()),
            Some(deadline) => Some(timespec(deadline.saturating_duration_since(Instant::now()))),
            None => None,
        };
        loop {
            match rustix::event::poll(&mut fds, timeout.as_ref()) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut ready = Ready {
            host_gone: !fds[1].revents().is_empty(),
            host_spoke: !fds[0].revents().is_empty(),
            removed: removing.and(fds.last()).is_some_and(|process| !process.revents().is_empty()),
            ..Ready::default()
        };
        for (id, fd) in parents.into_iter().zip(&fds[first_server..]) {
            if !fd.revents().is_empty() {
                ready.servers.push(id);
            }
        }
        for ((id, source), fd) in sources.into_iter().zip(&fds[2..]) {
            if fd.revents().is_empty() {
                continue;
            }
            match source {
                Source::Setup => ready.inits.push(id),
                Source::Init => ready.ended.push(id),
                Source::Mounter => ready.mounted.push(id),
            }
        }
        Ok(ready)
    }

    /// Serves every waiting message; false if the host closed its end.
    fn host_spoke(&mut self) -> Result<bool, FrameError> {
        loop {
            match sandboxset_keeper::receive::<ToKeeper>(&self.host) {
                Ok((ToKeeper::Create(create), _)) => self.create(*create)?,
                Ok((ToKeeper::Remove { id }, _)) => self.remove(id)?,
                Ok((ToKeeper::Bind(bind), fds)) => self.start_mounter(bind.id, &Request::Bind(bind), fds),
                Ok((ToKeeper::Unbind(unbind), fds)) => {
                    self.start_mounter(unbind.id, &Request::Unbind(unbind), fds);
                }
                Ok((ToKeeper::Hello(_), _)) => return Err(FrameError::Malformed("second hello")),
                Err(FrameError::WouldBlock) => return Ok(true),
                Err(FrameError::Closed) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn create(&mut self, create: Create) -> Result<(), FrameError> {
        let id = create.id;
        if self.sandboxes.contains_key(&id) {
            return self.fail(id, Failure { step: "use an id twice".into(), errno: 0 }.into());
        }
        if let Some(scratch) = &create.disk_scratch {
            self.remover.sweep_beside(scratch);
        }
        let shell = match create.parent {
            Some(parent) => self.prepare_fork(&create, parent),
            None if create.runtime.as_ref().is_some_and(|runtime| runtime.forks) => {
                self.prepare(Place { below: None, forks: true }).map_err(Refusal::from)
            }
            None => self.take_shell().map_err(Refusal::from),
        };
        let mut sandbox = match shell {
            Ok(shell) => shell,
            Err(refusal) => return self.fail(id, refusal),
        };
        let started = sandbox.start(&create);
        self.sandboxes.insert(id, sandbox);
        match started {
            Ok(()) => {
                self.refilling = true;
                Ok(())
            }
            Err(failure) => self.abandon(id, failure.into()),
        }
    }

    /// A shell that was prepared ahead and still lives, or a new one.
    fn take_shell(&mut self) -> Result<Sandbox, Failure> {
        while let Some(shell) = self.shells.pop_front() {
            if !shell.has_ended() {
                return Ok(shell);
            }
            self.drop_shell(shell);
        }
        self.prepare(Place::default())
    }

    fn prepare(&mut self, place: Place<'_>) -> Result<Sandbox, Failure> {
        self.shells_made += 1;
        Sandbox::prepare(&self.shells_made.to_string(), &self.cgroups, &self.filters, &mut self.ids, place)
    }

    fn wants_shell(&self) -> bool {
        self.refilling && self.shells.len() < SHELLS
    }

    /// Prepares one shell if one is wanted, and lets go of those that ended. One that cannot be prepared is not
    /// tried again before a create has succeeded.
    fn refill(&mut self) {
        let (ended, alive): (VecDeque<_>, _) =
            std::mem::take(&mut self.shells).into_iter().partition(Sandbox::has_ended);
        self.shells = alive;
        for shell in ended {
            self.refilling = false;
            self.drop_shell(shell);
        }
        if self.wants_shell() {
            match self.prepare(Place::default()) {
                Ok(shell) => self.shells.push_back(shell),
                Err(_) => self.refilling = false,
            }
        }
    }

    fn drop_shell(&mut self, mut shell: Sandbox) {
        // What cannot be removed goes with the owner's directories.
        let _ = shell.discard();
        self.ids.release(shell.host_id);
    }

    /// An init told how far its set-up has come, or closed without an end of it.
    fn init_spoke(&mut self, id: u64) -> Result<(), FrameError> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return Ok(()) };
        let advanced = match sandbox.hear() {
            Ok(Step::None) => Ok(()),
            Ok(Step::Door(door)) => self.ask_to_join(id, &door),
            Ok(Step::Joined) => self.ask_to_fork(id),
            Ok(Step::Ready(Handover { name, cgroups, report, fds })) => {
                return self.answer(FromKeeper::Created { id, name, cgroups, report }, fds);
            }
            Err(refusal) => Err(refusal),
        };
        match advanced {
            Ok(()) => Ok(()),
            Err(refusal) => self.abandon(id, refusal),
        }
    }

    fn init_ended(&mut self, id: u64) -> Result<(), FrameError> {
        let Some(sandbox) = self.sandboxes.get_mut(&id) else { return Ok(()) };
        let starting = sandbox.stage == Stage::Starting;
        let cause = sandbox.reap();
        if starting {
            let failure = Failure { step: format!("set the sandbox up: its init {cause}"), errno: 0 };
            let refusal = sandbox.unfinished(failure);
            return self.abandon(id, refusal);
        }
        self.answer(FromKeeper::Died { id, cause }, Vec::new())
    }

    /// Fails creates whose deadline passed.
    fn expire(&mut self) -> Result<(), FrameError> {
        let now = Instant::now();
        let late: Vec<u64> = self
            .sandboxes
            .iter()
            .filter(|(_, sandbox)| sandbox.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(&id, _)| id)
            .collect();
        for id in late {
            let failure =
                Failure { step: "finish before the deadline".into(), errno: Errno::TIMEDOUT.raw_os_error() };
            self.abandon(id, failure.into())?;
        }
        Ok(())
    }

    /// A create failed half-way: removes what is there, then says so. What cannot be removed stays listed, and
    /// goes with the farewell or when the host asks.
    fn abandon(&mut self, id: u64, refusal: Refusal) -> Result<(), FrameError> {
        self.discard(id);
        self.fail(id, refusal)
    }

    fn fail(&mut self, id: u64, refusal: Refusal) -> Result<(), FrameError> {
        let message = match refusal {
            Refusal::Sandbox(failure) => FromKeeper::CreateFailed { id, failure },
            Refusal::Parent(failure) => FromKeeper::ForkFailed { id, failure },
        };
        self.answer(message, Vec::new())
    }

    fn remove(&mut self, id: u64) -> Result<(), FrameError> {
        let leftovers = self.discard(id);
        self.answer(FromKeeper::Removed { id, leftovers }, Vec::new())
    }

    fn discard(&mut self, id: u64) -> Option<String> {
        let sandbox = self.sandboxes.get_mut(&id)?;
        match sandbox.discard() {
            Ok(()) => {
                if let Some(sandbox) = self.sandboxes.remove(&id) {
                    self.ids.release(sandbox.host_id);
                    if let Some(scratch) = sandbox.disk_scratch {
                        self.remover.remove(scratch);
                    }
                }
                None
            }
            Err(leftovers) => Some(leftovers),
        }
    }

    fn answer(&mut self, message: FromKeeper, fds: Vec<OwnedFd>) -> Result<(), FrameError> {
        self.outbox.push_back((message, fds));
        self.flush()
    }

    /// Sends what there is room for.
    fn flush(&mut self) -> Result<(), FrameError> {
        while let Some((message, fds)) = self.outbox.front() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match sandboxset_keeper::send(&self.host, message, &borrowed) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(FrameError::WouldBlock) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The host is gone. Kills first and everywhere, then removes cgroups, and at last what takes long.
    fn farewell(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        for sandbox in self.sandboxes.values().chain(&self.shells) {
            sandbox.kill();
        }
        while let Some(shell) = self.shells.pop_front() {
            self.drop_shell(shell);
        }
        let ids: Vec<u64> = self.sandboxes.keys().copied().collect();
        for id in ids {
            while self.discard(id).is_some() && Instant::now() < deadline {}
        }
        self.cgroups.remove_owner();
        self.remover.finish();
    }
}

#[derive(Default)]
struct Ready {
    host_gone: bool,
    host_spoke: bool,
    /// The process that removes trees has ended.
    removed: bool,
    inits: Vec<u64>,
    ended: Vec<u64>,
    servers: Vec<u64>,
    mounted: Vec<u64>,
}

/// What of a sandbox the keeper waits for.
enum Source {
    /// The report of its init.
    Setup,
    /// The end of its init.
    Init,
    /// The end of its mounter.
    Mounter,
}

impl Ready {
    fn is_idle(&self) -> bool {
        let heard = [&self.inits, &self.ended, &self.servers];
        !self.host_spoke && !self.removed && heard.iter().all(|ids| ids.is_empty())
    }
}

/// Whether something is readable before the deadline.
fn wait_readable(fd: &OwnedFd, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec(left))) {
            Ok(ready) => return ready > 0,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// A connected pair of message sockets.
pub(crate) fn message_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

fn timespec(duration: Duration) -> Timespec {
    // Rounded up to the next millisecond, so that a deadline has passed when the wait for it ends.
    let duration = duration + Duration::from_millis(1);
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) }
}
