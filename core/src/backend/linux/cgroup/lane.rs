//! Lanes: a cgroup below the sandbox's own for each command that runs at the same time as others.
//!
//! A lane lets every process of one command be killed, daemons included, without touching the rest of the sandbox.
//! Lanes are made when first needed and reused, because making one costs more than an exec should.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::control::{Event, await_event, event_holds, open_at, write};

/// How long killed processes may take to be gone.
const EMPTY: Duration = Duration::from_secs(5);

/// The cgroup of one command.
pub(in super::super) struct Lane {
    number: u32,
    dir: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
    /// Whether it was ever killed. Some kernels compare a new member with the wrong cgroup's count of kills, and
    /// then kill everything that is born into a cgroup which was killed before. So such a lane is not used again.
    killed: bool,
}

/// The lanes of a sandbox that no command uses.
#[derive(Default)]
pub(super) struct LanePool {
    free: Vec<Lane>,
    /// Killed lanes that still held a process when they were to be removed.
    retired: Vec<u32>,
    made: u32,
}

impl LanePool {
    /// An empty lane: a free one, or a new one.
    pub(super) fn take(pool: &Mutex<LanePool>, sandbox: &OwnedFd) -> Result<Lane, Errno> {
        let (number, retired) = {
            let mut pool = pool.lock();
            if let Some(lane) = pool.free.pop() {
                return Ok(lane);
            }
            pool.made += 1;
            (pool.made, std::mem::take(&mut pool.retired))
        };
        for number in retired {
            LanePool::retire(pool, sandbox, number);
        }
        Lane::new(sandbox, number)
    }

    /// Takes a lane back whose command is over.
    pub(super) fn put(pool: &Mutex<LanePool>, sandbox: &OwnedFd, lane: Lane) {
        match lane.killed {
            true => LanePool::retire(pool, sandbox, lane.number),
            false => pool.lock().free.push(lane),
        }
    }

    fn retire(pool: &Mutex<LanePool>, sandbox: &OwnedFd, number: u32) {
        if rustix::fs::unlinkat(sandbox, name(number), AtFlags::REMOVEDIR) == Err(Errno::BUSY) {
            pool.lock().retired.push(number);
        }
    }
}

impl Lane {
    fn new(sandbox: &OwnedFd, number: u32) -> Result<Self, Errno> {
        let name = name(number);
        rustix::fs::mkdirat(sandbox, &name, Mode::from_raw_mode(0o755))?;
        let dir = open_at(sandbox, &name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        // The init clones commands into the lane, for which it needs the right to write its list. The keeper gave
        // it that right on the sandbox's own.
        let owner = rustix::fs::statat(sandbox, "cgroup.procs", AtFlags::empty())?;
        if owner.st_uid != rustix::process::geteuid().as_raw() {
            let (uid, gid) = (Uid::from_raw(owner.st_uid), Gid::from_raw(owner.st_gid));
            rustix::fs::chownat(&dir, "cgroup.procs", Some(uid), Some(gid), AtFlags::empty())?;
        }
        let kill = open_at(&dir, "cgroup.kill", OFlags::WRONLY)?;
        let events = open_at(&dir, "cgroup.events", OFlags::RDONLY)?;
        Ok(Lane { number, dir, kill, events, killed: false })
    }

    /// Kills every process in it. Does not wait for them to be gone.
    pub(in super::super) fn kill(&mut self) {
        self.killed = true;
        // Fails only when the cgroup is gone, with every process.
        let _ = write(&self.kill, "1");
    }

    /// Makes sure, as far as it can be done, that nothing is left in it.
    pub(in super::super) fn clear(&mut self) {
        if !self.killed && matches!(event_holds(&self.events, Event::Empty), Ok(true)) {
            return;
        }
        self.kill();
        // What does not die in time is waited for again when the lane is removed.
        let _ = await_event(&self.events, Event::Empty, Instant::now() + EMPTY);
    }
}

fn name(number: u32) -> String {
    format!("exec-{number}")
}

impl AsFd for Lane {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
