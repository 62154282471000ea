//! The freezer of v1, which has no notification and lets nobody die who is frozen.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::control::write;

/// The file that says what is wanted, and what was reached.
pub(super) const STATE: &str = "freezer.state";

/// The first sleep between two reads, and the last; each is twice the one before.
const FIRST_SLEEP: Duration = Duration::from_micros(20);
const LAST_SLEEP: Duration = Duration::from_millis(5);

/// Stops every process, and waits until all have stopped. On an error none is stopped.
pub(super) fn freeze(state: &OwnedFd, deadline: Instant) -> Result<(), Errno> {
    write(state, "FROZEN")?;
    let mut sleep = FIRST_SLEEP;
    loop {
        let mut buffer = [0u8; 16];
        // Reading makes the kernel look whether all have stopped.
        let frozen =
            rustix::io::pread(state, &mut buffer[..], 0).map(|length| buffer[..length] == *b"FROZEN\n");
        if frozen == Ok(true) {
            return Ok(());
        }
        if frozen.is_err() || Instant::now() + sleep >= deadline {
            // A freeze that was given up would still complete later.
            thaw(state)?;
            return Err(frozen.err().unwrap_or(Errno::TIMEDOUT));
        }
        std::thread::sleep(sleep);
        sleep = LAST_SLEEP.min(sleep * 2);
        if sleep == LAST_SLEEP {
            // Who was busy may have been passed over, and is to be asked again (the kernel's cgroup-v1 documents).
            write(state, "FROZEN").or_else(|errno| thaw(state).and(Err(errno)))?;
        }
    }
}

/// Lets every process run again, or die.
pub(super) fn thaw(state: &OwnedFd) -> Result<(), Errno> {
    write(state, "THAWED")
}
