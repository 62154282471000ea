//! What the cgroups of a sandbox count.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;
use sandboxset_keeper::Controller;

use super::control::{SandboxCgroups, open_at};
use crate::Usage;

impl SandboxCgroups {
    /// How often the kernel killed a process for want of memory; zero where nobody counts.
    pub(in super::super) fn oom_kills(&self) -> u64 {
        let file = match self.v1(Controller::Memory) {
            Some(dir) => read(dir, "memory.oom_control"),
            None => {
                self.unified.as_ref().map_or(Err(Errno::NOENT), |unified| read(&unified.dir, "memory.events"))
            }
        };
        file.ok().and_then(|text| keyed(&text, "oom_kill")).unwrap_or(0)
    }

    /// The memory that it holds and that nobody could take from it: of processes and of files in memory. `None`
    /// where nobody counts. The kernel gathers these counts only from time to time.
    pub(in super::super) fn held_memory(&self) -> Option<u64> {
        let (text, keys) = match self.v1(Controller::Memory) {
            Some(dir) => (read(dir, "memory.stat").ok()?, ["total_rss", "total_shmem"]),
            None => (read(&self.unified.as_ref()?.dir, "memory.stat").ok()?, ["anon", "shmem"]),
        };
        // Without a limit on it a v2 cgroup has no such file; some v1 kernels do not count shared memory.
        Some(keyed(&text, keys[0])? + keyed(&text, keys[1]).unwrap_or(0))
    }

    /// What the sandbox uses now; what nobody counts is zero. The wall clock time is the caller's.
    pub(in super::super) fn usage(&self) -> Usage {
        let unified = |name| self.unified.as_ref().and_then(|unified| number(&unified.dir, name));
        let (memory, peak) = match self.v1(Controller::Memory) {
            Some(dir) => (number(dir, "memory.usage_in_bytes"), number(dir, "memory.max_usage_in_bytes")),
            None => (unified("memory.current"), unified("memory.peak")),
        };
        let pids = match self.v1(Controller::Pids) {
            Some(dir) => number(dir, "pids.current"),
            None => unified("pids.current"),
        };
        let cpu_us = self
            .unified
            .as_ref()
            .and_then(|unified| keyed(&read(&unified.dir, "cpu.stat").ok()?, "usage_usec"));
        Usage {
            wall: Duration::ZERO,
            cpu: Duration::from_micros(cpu_us.unwrap_or(0)),
            peak_memory_bytes: peak.unwrap_or(0),
            memory_bytes: memory.unwrap_or(0),
            proportional_memory_bytes: self.proportional_memory(),
            pids: pids.unwrap_or(0).try_into().unwrap_or(u32::MAX),
        }
    }

    pub(super) fn v1(&self, controller: Controller) -> Option<&OwnedFd> {
        self.v1.iter().find(|(other, _)| *other == controller).map(|(_, dir)| dir)
    }
}

/// A file that is one number.
fn number(dir: &OwnedFd, name: &str) -> Option<u64> {
    read(dir, name).ok()?.trim().parse().ok()
}

/// The number after a key, in a file with a key and a number in each line.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

pub(super) fn read(dir: &OwnedFd, name: &str) -> Result<String, Errno> {
    let file = open_at(dir, name, OFlags::RDONLY)?;
    let mut buffer = [0u8; 4096];
    let length = rustix::io::pread(&file, &mut buffer[..], 0)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_taken_for_a_longer_one() {
        let text = "oom 9\noom_kill_disable 0\noom_kill 3\noom_group_kill 5\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom_kil"), None);
        assert_eq!(keyed("oom_kill x", "oom_kill"), None);
    }
}
