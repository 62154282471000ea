//! The cgroups of one sandbox, as the host holds them: freezing, killing, and waiting for either.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::Signal;
use sandboxset_keeper::{CgroupFd, Controller};

use super::freezer;
use super::lane::{Lane, LanePool};
use crate::backend::linux::wait::poll_until;

/// How long a freeze may take before it is taken back: a process in an uninterruptible wait cannot be frozen.
pub(super) const FREEZE: Duration = Duration::from_secs(5);
/// How long to read in a spin. A freeze takes about 10 µs, but its notification is rate-limited by the kernel to one
/// in 10 ms.
const SPIN: Duration = Duration::from_micros(20);
/// How long to go on reading while giving way: a process has to run to be frozen, perhaps on this very processor.
const YIELD: Duration = Duration::from_micros(100);
/// The first sleep between reads after that; each is twice the one before, up to the last.
const FIRST_SLEEP: Duration = Duration::from_micros(50);
const LAST_SLEEP: Duration = Duration::from_millis(10);

/// The open cgroup directories of a sandbox; which of them there are depends on the host.
pub(in super::super) struct SandboxCgroups {
    pub(super) unified: Option<Unified>,
    pub(super) v1: Vec<(Controller, OwnedFd)>,
    /// The state of the v1 freezer, where there is no v2 directory.
    freezer: Option<OwnedFd>,
    pub(super) lanes: Mutex<LanePool>,
}

/// A v2 directory with the files that are needed when there is no time, or no descriptor, to open them.
pub(super) struct Unified {
    pub(super) dir: OwnedFd,
    freeze: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
}

/// The two states that `cgroup.events` tells of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Frozen,
    Empty,
}

impl SandboxCgroups {
    /// Takes the directories that came with a `Created`.
    pub(in super::super) fn new(
        kinds: &[CgroupFd],
        fds: impl Iterator<Item = OwnedFd>,
    ) -> Result<Self, Errno> {
        let mut cgroups =
            SandboxCgroups { unified: None, v1: Vec::new(), freezer: None, lanes: Mutex::default() };
        for (kind, fd) in kinds.iter().zip(fds) {
            match kind {
                CgroupFd::Unified => cgroups.unified = Some(Unified::new(fd)?),
                CgroupFd::V1(controller) => {
                    if *controller == Controller::Freezer {
                        cgroups.freezer = Some(open_at(&fd, freezer::STATE, OFlags::RDWR)?);
                    }
                    cgroups.v1.push((*controller, fd));
                }
            }
        }
        Ok(cgroups)
    }

    /// Whether it can be frozen as a whole.
    pub(in super::super) fn can_freeze(&self) -> bool {
        self.unified.is_some() || self.freezer.is_some()
    }

    /// Stops every process. On an error none is stopped.
    pub(in super::super) fn freeze(&self) -> Result<(), Errno> {
        if let Some(state) = &self.freezer {
            return freezer::freeze(state, Instant::now() + FREEZE);
        }
        let Some(unified) = &self.unified else { return Err(Errno::OPNOTSUPP) };
        write(&unified.freeze, "1")?;
        let frozen = await_event(&unified.events, Event::Frozen, Instant::now() + FREEZE);
        if !matches!(frozen, Ok(true)) {
            // A freeze that was given up would still complete later.
            write(&unified.freeze, "0")?;
        }
        if frozen? { Ok(()) } else { Err(Errno::TIMEDOUT) }
    }

    /// As `freeze`, without waiting: `false` if some process did not stop at once. Then it may still stop later.
    pub(in super::super) fn freeze_at_once(&self) -> Result<bool, Errno> {
        let Some(unified) = &self.unified else { return Ok(false) };
        write(&unified.freeze, "1")?;
        await_event(&unified.events, Event::Frozen, Instant::now() + YIELD)
    }

    /// Lets every process run again.
    pub(in super::super) fn thaw(&self) -> Result<(), Errno> {
        if let Some(state) = &self.freezer {
            return freezer::thaw(state);
        }
        let Some(unified) = &self.unified else { return Err(Errno::OPNOTSUPP) };
        write(&unified.freeze, "0")
    }

    /// Kills every process, frozen or not, with the help of the one whose end is the end of all.
    pub(in super::super) fn kill(&self, init: &OwnedFd) {
        // Each fails only if what it is to kill is gone.
        if let Some(unified) = &self.unified {
            let _ = write(&unified.kill, "1");
        }
        let _ = rustix::process::pidfd_send_signal(init, Signal::KILL);
        // Unlike in v2, what is frozen does not even die. The init does nothing else when it runs again.
        if let Some(state) = &self.freezer {
            let _ = freezer::thaw(state);
        }
    }

    /// Waits until no process is left. Returns whether none is.
    pub(in super::super) fn await_empty(&self, deadline: Instant) -> Result<bool, Errno> {
        let Some(unified) = &self.unified else { return Ok(true) };
        match await_event(&unified.events, Event::Empty, deadline) {
            // The cgroup itself is gone.
            Err(Errno::NODEV) => Ok(true),
            other => other,
        }
    }

    /// A cgroup for one command, if there can be one.
    pub(in super::super) fn take_lane(&self) -> Result<Option<Lane>, Errno> {
        let Some(unified) = &self.unified else { return Ok(None) };
        LanePool::take(&self.lanes, &unified.dir).map(Some)
    }

    /// Gives a lane back for the next command.
    pub(in super::super) fn return_lane(&self, lane: Lane) {
        if let Some(unified) = &self.unified {
            LanePool::put(&self.lanes, &unified.dir, lane);
        }
    }
}

impl Unified {
    fn new(dir: OwnedFd) -> Result<Self, Errno> {
        let freeze = open_at(&dir, "cgroup.freeze", OFlags::WRONLY)?;
        let kill = open_at(&dir, "cgroup.kill", OFlags::WRONLY)?;
        let events = open_at(&dir, "cgroup.events", OFlags::RDONLY)?;
        Ok(Unified { dir, freeze, kill, events })
    }
}

pub(super) fn open_at(dir: impl AsFd, name: &str, access: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(&dir, name, access | OFlags::CLOEXEC, Mode::empty()))
}

/// One write call: the kernel takes each as a whole value.
pub(super) fn write(file: &OwnedFd, value: &str) -> Result<(), Errno> {
    rustix::io::write(file, value.as_bytes()).map(drop)
}

/// Whether the state holds now.
pub(super) fn event_holds(events: &OwnedFd, event: Event) -> Result<bool, Errno> {
    let mut buffer = [0u8; 256];
    let length = rustix::io::pread(events, &mut buffer[..], 0)?;
    let line: &[u8] = match event {
        Event::Frozen => b"frozen 1",
        Event::Empty => b"populated 0",
    };
    Ok(buffer[..length].split(|byte| *byte == b'\n').any(|found| found == line))
}

/// Waits until the state holds, by reading in a short spin, then at growing intervals or when the kernel notifies.
/// Returns whether it holds.
pub(super) fn await_event(events: &OwnedFd, event: Event, deadline: Instant) -> Result<bool, Errno> {
    let start = Instant::now();
    let mut sleep = FIRST_SLEEP;
    loop {
        if event_holds(events, event)? {
            return Ok(true);
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(false);
        }
        if now < start + SPIN {
            std::hint::spin_loop();
        } else if now < start + YIELD {
            std::thread::yield_now();
        } else {
            // A notification may have come and gone between two reads, so a bounded wait, then another read.
            poll_until(&mut [PollFd::new(events, PollFlags::PRI)], Some(deadline.min(now + sleep)))?;
            sleep = LAST_SLEEP.min(sleep * 2);
        }
    }
}
