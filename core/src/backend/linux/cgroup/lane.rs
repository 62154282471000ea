//! Lanes: a cgroup below the sandbox's own for each command that runs at the same time as others.
//!
//! A lane lets every process of one command be killed, daemons included, without touching the rest of the sandbox.
//! Lanes are made when first needed and reused, because making one costs more than an exec should.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::control::{Event, await_event, event_holds, open_at, write};

/// How long killed processes may take to be gone.
const EMPTY: Duration = Duration::from_secs(5);

/// The cgroup of one command.
pub(in super::super) struct Lane {
    dir: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
    /// Whether something may still run in it.
    dirty: bool,
}

/// The lanes of a sandbox that no command uses.
#[derive(Default)]
pub(super) struct LanePool {
    free: Vec<Lane>,
    made: u32,
}

impl LanePool {
    /// An empty lane: a free one, or a new one.
    pub(super) fn take(pool: &Mutex<LanePool>, sandbox: &OwnedFd) -> Result<Lane, Errno> {
        let (candidates, number) = {
            let mut pool = pool.lock();
            if let Some(clean) = pool.free.pop_if(|lane| !lane.dirty) {
                return Ok(clean);
            }
            pool.made += 1;
            (std::mem::take(&mut pool.free), pool.made)
        };
        // A lane whose command was dropped while it ran is usually empty by now.
        let mut empty = None;
        for mut lane in candidates {
            if lane.dirty {
                lane.dirty = !event_holds(&lane.events, Event::Empty)?;
            }
            match empty {
                None if !lane.dirty => empty = Some(lane),
                _ => LanePool::put(pool, lane),
            }
        }
        match empty {
            Some(lane) => Ok(lane),
            None => Lane::new(sandbox, number),
        }
    }

    pub(super) fn put(pool: &Mutex<LanePool>, lane: Lane) {
        let mut pool = pool.lock();
        // Clean ones at the end, where they are taken from.
        match lane.dirty {
            true => pool.free.insert(0, lane),
            false => pool.free.push(lane),
        }
    }
}

impl Lane {
    fn new(sandbox: &OwnedFd, number: u32) -> Result<Self, Errno> {
        let name = format!("exec-{number}");
        rustix::fs::mkdirat(sandbox, &name, Mode::from_raw_mode(0o755))?;
        let dir = open_at(sandbox, &name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        // The init clones commands into the lane, for which it needs the right to write its list. The keeper gave
        // it that right on the sandbox's own.
        let owner = rustix::fs::statat(sandbox, "cgroup.procs", AtFlags::empty())?;
        if owner.st_uid != rustix::process::geteuid().as_raw() {
            let (uid, gid) =
                (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
            rustix::fs::chownat(&dir, "cgroup.procs", Some(uid), Some(gid), AtFlags::empty())?;
        }
        let kill = open_at(&dir, "cgroup.kill", OFlags::WRONLY)?;
        let events = open_at(&dir, "cgroup.events", OFlags::RDONLY)?;
        Ok(Lane { dir, kill, events, dirty: false })
    }

    /// Kills every process in it. Does not wait for them to be gone.
    pub(in super::super) fn kill(&mut self) {
        self.dirty = true;
        // Fails only when the cgroup is gone, with every process.
        let _ = write(&self.kill, "1");
    }

    /// Makes sure that nothing is left in it. Returns whether nothing is.
    pub(in super::super) fn clear(&mut self) -> bool {
        if matches!(event_holds(&self.events, Event::Empty), Ok(true) | Err(Errno::NODEV)) {
            self.dirty = false;
            return true;
        }
        self.kill();
        let empty = await_event(&self.events, Event::Empty, Instant::now() + EMPTY);
        self.dirty = !matches!(empty, Ok(true) | Err(Errno::NODEV));
        !self.dirty
    }
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
