//! The share that a sandbox has of memory which several processes use together, such as that of forks.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, OFlags};
use rustix::process::Pid;
use sandboxset_keeper::Controller;

use super::control::{SandboxCgroups, open_at};
use crate::backend::linux::sys::shares_memory;

/// The members of a cgroup.
const MEMBERS: &str = "cgroup.procs";

impl SandboxCgroups {
    /// The proportional share of all its processes, in bytes: a page that several processes share, inside or outside,
    /// counts for each of them in part. Of a process that this user may not look at, as the init, nothing is known.
    pub(super) fn proportional_memory(&self) -> u64 {
        let members = self.processes();
        let mut counted: Vec<Pid> = Vec::new();
        let mut sum = 0;
        for pid in members.lines().filter_map(|pid| Pid::from_raw(pid.trim().parse().ok()?)) {
            if !counted.iter().any(|&other| shares_memory(pid, other))
                && let Some(share) = proportional_memory_of(pid)
            {
                counted.push(pid);
                sum += share;
            }
        }
        sum
    }

    /// The numbers of all processes, one in each line. v1 cgroups have none below them.
    fn processes(&self) -> String {
        let mut members = String::new();
        match (self.v1(Controller::Pids).or(self.v1(Controller::Memory)), &self.unified) {
            (Some(dir), _) => add_members(dir, MEMBERS, &mut members),
            (None, Some(unified)) => {
                add_members(&unified.dir, MEMBERS, &mut members);
                for lane in directories(&unified.dir) {
                    add_members(&unified.dir, &format!("{lane}/{MEMBERS}"), &mut members);
                }
            }
            (None, None) => {}
        }
        members
    }
}

/// A cgroup that is gone has no members.
fn add_members(dir: &OwnedFd, file: &str, members: &mut String) {
    if let Ok(file) = open_at(dir, file, OFlags::RDONLY) {
        let _ = File::from(file).read_to_string(members);
    }
}

fn directories(dir: &OwnedFd) -> Vec<String> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_type() == FileType::Directory);
    let names = dirs.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| !name.starts_with('.')).collect()
}

fn proportional_memory_of(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes << 10)
}
