//! Waiting for the host and for every init at once, at a cost that does not grow with their number.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::sandbox::Sandbox;

/// What the keeper waits for.
pub(super) struct Watch {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The host's socket.
    Host,
    /// The host's process, which ended.
    HostProcess,
    /// The process that removes trees, which ended.
    Remover,
    /// What the init of a sandbox says while it is set up.
    Init(u64),
    /// The init of a sandbox, or who was to clone it, which ended.
    InitProcess(u64),
    /// The fork server in a sandbox.
    Server(u64),
    /// The mounter of a sandbox, which ended.
    Mounter(u64),
    /// What makes the network namespace of a sandbox, which ended.
    Network(u64),
}

/// How many events are taken at once.
const EVENTS: usize = 64;
/// How many bits say what of a sandbox it is.
const KIND_BITS: u32 = 3;
/// The longest that is waited at once; longer than this the system call may not take.
const LONGEST: Duration = Duration::from_secs(3600);

impl Source {
    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Source::Host => 0,
            Source::HostProcess => 1,
            Source::Remover => 2,
            Source::Init(serial) => serial << KIND_BITS,
            Source::InitProcess(serial) => serial << KIND_BITS | 1,
            Source::Server(serial) => serial << KIND_BITS | 2,
            Source::Mounter(serial) => serial << KIND_BITS | 3,
            Source::Network(serial) => serial << KIND_BITS | 4,
        })
    }

    /// Sandboxes are counted from 1.
    fn of(event: &Event) -> Self {
        let data = event.data.u64();
        let serial = data >> KIND_BITS;
        match data & ((1 << KIND_BITS) - 1) {
            0 if serial == 0 => Source::Host,
            1 if serial == 0 => Source::HostProcess,
            2 if serial == 0 => Source::Remover,
            0 => Source::Init(serial),
            1 => Source::InitProcess(serial),
            2 => Source::Server(serial),
            3 => Source::Mounter(serial),
            _ => Source::Network(serial),
        }
    }
}

impl Watch {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Watch { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Waits for this too, until it is closed everywhere or no longer wanted. Of what we made each thing is told once, so
    /// that one which nobody takes note of cannot keep us busy; what says more than once is to be armed again.
    pub(super) fn add(&self, fd: impl AsFd, source: Source) -> Result<(), Errno> {
        let once = match source {
            Source::Host | Source::HostProcess => EventFlags::empty(),
            Source::Server(_) | Source::Init(_) => EventFlags::ONESHOT,
            Source::Remover | Source::InitProcess(_) | Source::Mounter(_) | Source::Network(_) => {
                EventFlags::ET
            }
        };
        epoll::add(&self.epoll, fd, source.data(), EventFlags::IN | once)
    }

    /// Waits for the end of an init and for what it says; or, if it is yet to come, for the end of who clones it.
    pub(super) fn add_init(&self, sandbox: &Sandbox) -> Result<(), Errno> {
        self.add(&sandbox.pidfd, Source::InitProcess(sandbox.serial))?;
        match sandbox.setup_socket().filter(|_| sandbox.is_born()) {
            Some(setup) => self.add(setup, Source::Init(sandbox.serial)),
            None => Ok(()),
        }
    }

    /// Waits for this too until it has something to say, or at once if it has.
    pub(super) fn arm(&self, fd: impl AsFd, source: Source) {
        let once = EventFlags::IN | EventFlags::ONESHOT;
        if epoll::modify(&self.epoll, &fd, source.data(), once).is_err() {
            // Without memory for it a fork that its server refuses ends with its deadline.
            let _ = self.add(&fd, source);
        }
    }

    /// Also waits for room to write, or no longer does.
    pub(super) fn want_room(&self, fd: impl AsFd, source: Source, wanted: bool) -> Result<(), Errno> {
        let room = if wanted { EventFlags::OUT } else { EventFlags::empty() };
        epoll::modify(&self.epoll, fd, source.data(), EventFlags::IN | room)
    }

    /// No longer waits for this. A descriptor of which the host has a copy must be taken out before it is closed.
    pub(super) fn remove(&self, fd: impl AsFd) {
        // It is not there if it could not be added.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits until something happens, or until the deadline. What is said of a sandbox may be outdated by the time it
    /// is dealt with.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Result<Vec<Source>, Errno> {
        let timeout = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now()).min(LONGEST);
            // Rounded up to milliseconds by the call, so that a deadline has passed when the wait for it ends.
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        loop {
            self.events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
                Ok(_) => return Ok(self.events.iter().map(Source::of).collect()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
