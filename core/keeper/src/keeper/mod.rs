//! The keeper's event loop.
//!
//! It never blocks on the host or on a sandbox: it sends without waiting, and every hand-shake with an init has a
//! deadline. When the host is gone it removes everything and returns.

mod below;
mod births;
mod cgroup;
mod clone;
mod creating;
mod demand;
mod ending;
mod fork;
mod host_ids;
mod late;
mod network;
mod order;
mod remover;
mod sandbox;
mod sources;
mod stock;
mod sweep;
mod tending;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use self::births::Births;
use self::cgroup::Cgroups;
use self::ending::Endings;
use self::host_ids::HostIds;
use self::remover::Remover;
use self::sandbox::{Sandbox, Stage};
use self::sources::MountTable;
use self::stock::Stock;
use self::tending::{QUIET, UNDER_WAY};
use self::watch::{Source, Watch};
use crate::mounter::Request;
use crate::seccomp::Filters;
use sandboxset_keeper::{Create, Failure, FrameError, FromKeeper, Hello, ToKeeper, VERSION};

/// The most we try to remove what is left after the host is gone. A task that cannot be killed would hold us for
/// ever; the next keeper of this user sweeps what remains.
const FAREWELL: Duration = Duration::from_secs(5);

struct Keeper {
    host: OwnedFd,
    watch: Watch,
    /// Answers that the host has not had room for yet.
    outbox: VecDeque<(FromKeeper, Vec<OwnedFd>)>,
    /// Whether we are told when there is.
    awaits_room: bool,
    cgroups: Cgroups,
    filters: Filters,
    ids: HostIds,
    mounts: MountTable,
    /// Those that the host asked for, by its ids.
    sandboxes: HashMap<u64, Sandbox>,
    /// The ids of the sandboxes by their own numbers.
    claims: HashMap<u64, u64>,
    /// The ids of those that are not ready yet.
    starting: Vec<u64>,
    births: Births<Arc<Create>>,
    endings: Endings<Sandbox>,
    stock: Stock,
    /// The ids of the parents that are to be paused as soon as what is to wait below them does.
    settling: Vec<u64>,
    last_serial: u64,
    /// When requests leave time for the stock.
    quiet_at: Instant,
    /// When the last work for the stock leaves time for more.
    rested_at: Instant,
    /// A shell could not be prepared, or ended. Not tried again before a create has succeeded.
    is_blocked: bool,
    remover: Remover,
}

/// Serves one host until it is gone.
pub(crate) fn run(host: OwnedFd) -> Result<(), FrameError> {
    let (hello, mut fds) = sandboxset_keeper::receive::<ToKeeper>(&host)?;
    let ToKeeper::Hello(hello) = hello else { return Err(FrameError::Malformed("hello expected")) };
    let host_pidfd = fds.pop().ok_or(FrameError::Malformed("pidfd expected"))?;
    rustix::io::ioctl_fionbio(&host, true)?;
    let (mut keeper, cgroup_faults) = Keeper::new(host, &hello)?;
    let result = keeper.greet(&hello, cgroup_faults).and_then(|()| keeper.serve(host_pidfd.as_fd()));
    keeper.farewell();
    match result {
        // The host went while we had something to tell it.
        Err(FrameError::Closed) => Ok(()),
        other => other,
    }
}

impl Keeper {
    fn new(host: OwnedFd, hello: &Hello) -> Result<(Self, Vec<String>), FrameError> {
        let (cgroups, cgroup_faults) = Cgroups::open(&hello.cgroups, &hello.owner);
        let keeper = Keeper {
            host,
            watch: Watch::new()?,
            outbox: VecDeque::new(),
            awaits_room: false,
            cgroups,
            filters: Filters::compile(),
            ids: HostIds::new(),
            mounts: MountTable::open(),
            sandboxes: HashMap::new(),
            claims: HashMap::new(),
            starting: Vec::new(),
            births: Births::new(),
            endings: Endings::new(),
            stock: Stock::new(),
            settling: Vec::new(),
            last_serial: 0,
            quiet_at: Instant::now(),
            rested_at: Instant::now(),
            is_blocked: false,
            remover: Remover::default(),
        };
        Ok((keeper, cgroup_faults))
    }

    fn greet(&mut self, hello: &Hello, cgroup_faults: Vec<String>) -> Result<(), FrameError> {
        self.watch.add(&self.host, Source::Host)?;
        self.answer(FromKeeper::Hello { version: VERSION, cgroup_faults }, Vec::new())?;
        if hello.version != VERSION {
            return Err(FrameError::Malformed("version"));
        }
        self.cgroups.sweep();
        Ok(())
    }

    fn serve(&mut self, host_pidfd: BorrowedFd<'_>) -> Result<(), FrameError> {
        self.watch.add(host_pidfd, Source::HostProcess)?;
        loop {
            if let Some(process) = self.remover.process() {
                // Refused if it is there already.
                let _ = self.watch.add(process, Source::Remover);
            }
            self.watch_servers();
            let happened = self.watch.wait(self.next_deadline())?;
            if happened.contains(&Source::HostProcess) {
                return Ok(());
            }
            self.flush()?;
            for &source in &happened {
                match source {
                    Source::Init(serial) => self.init_spoke(serial)?,
                    Source::InitProcess(serial) | Source::Network(serial) | Source::Mounter(serial)
                        if self.endings.contains(serial) =>
                    {
                        self.go_on_ending(serial)?;
                    }
                    Source::InitProcess(serial) => self.init_ended(serial)?,
                    Source::Server(serial) => self.server_spoke(serial)?,
                    Source::Network(serial) => self.network_ended(serial)?,
                    Source::Mounter(serial) => {
                        let _ = self.find(serial).map(Sandbox::reap_mounters);
                    }
                    Source::Host | Source::HostProcess | Source::Remover => {}
                }
            }
            if happened.contains(&Source::Remover) {
                self.remover.go_on();
            }
            self.expire()?;
            self.begin_births()?;
            if happened.contains(&Source::Host) && !self.host_spoke()? {
                return Ok(());
            }
            if happened.is_empty() {
                self.tend_stock();
            }
            self.report_settled()?;
        }
    }

    /// When something has to be done although nothing happens; never, if nobody waits and the stock is as it should be.
    fn next_deadline(&self) -> Option<Instant> {
        let creates = self.starting.iter().filter_map(|id| self.sandboxes.get(id)?.deadline());
        let work = self.stock_task().map(|_| self.stock_at());
        creates
            .chain(self.births.next_deadline())
            .chain(self.endings.next_deadline())
            .chain(work)
            .chain(self.stock.review_at())
            .chain(self.stock.expires_at())
            .min()
    }

    /// Serves every waiting message; false if the host closed its end.
    fn host_spoke(&mut self) -> Result<bool, FrameError> {
        loop {
            match sandboxset_keeper::receive::<ToKeeper>(&self.host) {
                Ok((message, fds)) => self.request(message, fds)?,
                Err(FrameError::WouldBlock) => return Ok(true),
                Err(FrameError::Closed) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn request(&mut self, message: ToKeeper, fds: Vec<OwnedFd>) -> Result<(), FrameError> {
        match message {
            ToKeeper::Create(_) => self.stay_away_for(UNDER_WAY),
            ToKeeper::Remove { .. } => self.stay_away_for(QUIET),
            _ => {}
        }
        match message {
            ToKeeper::Create(create) => self.create(*create),
            ToKeeper::Remove { id } => self.remove(id),
            ToKeeper::Settle { id } => {
                if !self.settling.contains(&id) {
                    self.settling.push(id);
                }
                Ok(())
            }
            ToKeeper::CountShells { backend } => {
                let (ready, bare) = self.stock.count(backend);
                self.answer(FromKeeper::Shells { ready: ready as u64, bare: bare as u64 }, Vec::new())
            }
            ToKeeper::Forget { backend } => {
                self.stock.forget(backend);
                Ok(())
            }
            ToKeeper::Bind(bind) => {
                self.start_mounter(bind.id, &Request::Bind(bind), fds);
                Ok(())
            }
            ToKeeper::Unbind(unbind) => {
                self.start_mounter(unbind.id, &Request::Unbind(unbind), fds);
                Ok(())
            }
            ToKeeper::Hello(_) => Err(FrameError::Malformed("second hello")),
        }
    }

    /// An init told how far its set-up has come, or closed without an end of it.
    fn init_spoke(&mut self, serial: u64) -> Result<(), FrameError> {
        let id = self.claims.get(&serial).copied();
        let sandbox = find(&self.claims, &mut self.sandboxes, &mut self.stock, serial);
        // One that has nothing more to say may still be reported as closed.
        let Some(sandbox) = sandbox.filter(|sandbox| sandbox.setup_socket().is_some()) else { return Ok(()) };
        let step = sandbox.hear();
        if let Some(setup) = sandbox.setup_socket() {
            // It may have said more already.
            self.watch.arm(setup, Source::Init(serial));
        }
        match id {
            Some(id) => self.advanced(id, step),
            None => {
                self.advanced_ahead(serial, step);
                Ok(())
            }
        }
    }

    fn init_ended(&mut self, serial: u64) -> Result<(), FrameError> {
        if self.births.is_under_way(serial) {
            return self.take_init(serial);
        }
        let Some(&id) = self.claims.get(&serial) else {
            // One below a parent ends with it, or by what else is there.
            let is_below = self.stock.find(serial).is_some_and(|shell| shell.fork_of.is_some());
            if self.stock.doom(serial) && !is_below {
                // Whatever ended it may end the next one too: none before a create has succeeded.
                self.is_blocked = true;
            }
            return Ok(());
        };
        let Some(sandbox) = self.sandboxes.get_mut(&id).filter(|sandbox| sandbox.stage != Stage::Dead) else {
            return Ok(());
        };
        let starting = sandbox.stage != Stage::Ready;
        let cause = sandbox.reap();
        self.stock.doom_below(id);
        if starting {
            let failure = Failure { step: format!("set the sandbox up: its init {cause}"), errno: 0 };
            let refusal = sandbox.unfinished(failure);
            return self.abandon_or_retry(id, refusal);
        }
        self.answer(FromKeeper::Died { id, cause }, Vec::new())
    }

    /// The sandbox or shell of this number.
    fn find(&mut self, serial: u64) -> Option<&mut Sandbox> {
        find(&self.claims, &mut self.sandboxes, &mut self.stock, serial)
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
                Err(FrameError::WouldBlock) => return self.await_room(true),
                Err(error) => return Err(error),
            }
        }
        self.await_room(false)
    }

    fn await_room(&mut self, wanted: bool) -> Result<(), FrameError> {
        if self.awaits_room != wanted {
            self.watch.want_room(&self.host, Source::Host, wanted)?;
            self.awaits_room = wanted;
        }
        Ok(())
    }

    /// The host is gone. Kills first and everywhere, then removes cgroups, and at last what takes long.
    fn farewell(&mut self) {
        let deadline = Instant::now() + FAREWELL;
        for sandbox in self.sandboxes.values().chain(self.stock.shells()).chain(self.endings.all()) {
            sandbox.kill();
        }
        self.stock.clear();
        while let Some(shell) = self.stock.take_doomed() {
            self.drop_shell(shell);
        }
        let ids: Vec<u64> = self.sandboxes.keys().copied().collect();
        for id in ids {
            self.take_out(id).into_iter().for_each(|sandbox| self.drop_shell(sandbox));
        }
        self.finish_endings(deadline);
        self.cgroups.remove_owner();
        self.remover.finish();
    }
}

/// The sandbox or shell of this number. It borrows no more than it needs.
fn find<'a>(
    claims: &HashMap<u64, u64>,
    sandboxes: &'a mut HashMap<u64, Sandbox>,
    stock: &'a mut Stock,
    serial: u64,
) -> Option<&'a mut Sandbox> {
    match claims.get(&serial) {
        Some(id) => sandboxes.get_mut(id),
        None => stock.find(serial),
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
