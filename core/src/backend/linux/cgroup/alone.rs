//! Whether a sandbox's init is the only process in its cgroups.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FileType, OFlags};
use rustix::io::Errno;

use super::control::{Event, SandboxCgroups, await_event, open_at};

/// How long to wait between two looks at first; twice as long each time.
const FIRST_SLEEP: Duration = Duration::from_micros(20);

impl SandboxCgroups {
    /// Waits until a process is alone in every cgroup of the sandbox, lanes included: what was reaped may be listed
    /// a moment longer. Answers how many cgroups were looked at, or `None` if it is not alone by the deadline.
    pub(in super::super) fn await_alone(&self, pid: u32, deadline: Instant) -> Result<Option<usize>, Errno> {
        let mut count = 0;
        for dir in self.unified.iter().map(|unified| &unified.dir).chain(self.v1.iter().map(|(_, dir)| dir)) {
            if !await_members(dir, &format!("{pid}\n"), deadline)? {
                return Ok(None);
            }
            count += 1;
        }
        let Some(unified) = &self.unified else { return Ok(Some(count)) };
        let listing = open_at(&unified.dir, ".", OFlags::RDONLY | OFlags::DIRECTORY)?;
        for entry in Dir::read_from(&listing)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { return Err(Errno::ILSEQ) };
            if name == "." || name == ".." || entry.file_type() != FileType::Directory {
                continue;
            }
            let events = open_at(&unified.dir, &format!("{name}/cgroup.events"), OFlags::RDONLY)?;
            if !await_event(&events, Event::Empty, deadline)? {
                return Ok(None);
            }
            count += 1;
        }
        Ok(Some(count))
    }
}

/// Waits until the members of one cgroup, without those below it, are exactly these.
fn await_members(dir: &OwnedFd, expected: &str, deadline: Instant) -> Result<bool, Errno> {
    let mut sleep = FIRST_SLEEP;
    loop {
        let file = open_at(dir, "cgroup.procs", OFlags::RDONLY)?;
        let mut buffer = [0u8; 64];
        let length = rustix::io::read(&file, &mut buffer)?;
        if &buffer[..length] == expected.as_bytes() {
            return Ok(true);
        }
        if Instant::now() + sleep >= deadline {
            return Ok(false);
        }
        std::thread::sleep(sleep);
        sleep *= 2;
    }
}
