//! Limits that are tighter for a while.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;
use sandboxset_keeper::Controller;

use super::control::{SandboxCgroups, open_at, write};
use super::counters::read;
use crate::backend::linux::{cpu_quota_us, fault};
use crate::{Error, ErrorCode, LateLimits, Phase, Result};

/// What limits were before they were tightened, in the order in which they were.
#[derive(Debug, Default)]
pub(in super::super) struct Tightened(Vec<Before>);

#[derive(Debug)]
struct Before {
    controller: Controller,
    file: &'static str,
    value: String,
}

impl SandboxCgroups {
    /// Tightens limits; answers what they were. After an error some may be tighter.
    pub(in super::super) fn tighten(&self, limits: &LateLimits) -> Result<Tightened> {
        let mut before = Tightened::default();
        // A v2 cgroup would make room by killing.
        if limits.memory_bytes.is_some_and(|bytes| self.held_memory().is_some_and(|held| held > bytes)) {
            return Err(too_tight());
        }
        for (controller, file, value) in self.tighter(limits) {
            let set = || {
                let dir = self.limits_of(controller)?;
                let was = Before { controller, file, value: read(dir, file)? };
                write(&open_at(dir, file, OFlags::WRONLY)?, &value)?;
                Ok(was)
            };
            match set() {
                Ok(was) => before.0.push(was),
                // A kernel without swap accounting lacks it, and then there is nothing to limit.
                Err(Errno::NOENT) if file == MEMORY_AND_SWAP => {}
                // What v1 says when it cannot make enough room.
                Err(Errno::BUSY) => return Err(too_tight()),
                Err(errno) => {
                    return Err(fault::os(Phase::Bind, &format!("{file} cannot be set to {value}"), errno));
                }
            }
        }
        Ok(before)
    }

    /// Makes limits what they were, and looks whether they are.
    pub(in super::super) fn restore(&self, tightened: Tightened) -> Result<()> {
        for Before { controller, file, value } in tightened.0.into_iter().rev() {
            let restored = self.limits_of(controller).and_then(|dir| {
                write(&open_at(dir, file, OFlags::WRONLY)?, &value)?;
                read(dir, file)
            });
            let now = restored
                .map_err(|errno| fault::os(Phase::Bind, &format!("{file} cannot be restored"), errno))?;
            if now != value {
                let message = format!("{file} is {} instead of {}", now.trim(), value.trim());
                return Err(Error::new(ErrorCode::Internal, Phase::Bind, message));
            }
        }
        Ok(())
    }

    /// What to write where, in this order.
    fn tighter(&self, limits: &LateLimits) -> Vec<(Controller, &'static str, String)> {
        let mut files = Vec::new();
        if let Some(bytes) = limits.memory_bytes {
            match self.v1(Controller::Memory) {
                // The second may never be below the first.
                Some(_) => files.extend(
                    ["memory.limit_in_bytes", MEMORY_AND_SWAP]
                        .map(|file| (Controller::Memory, file, bytes.to_string())),
                ),
                None => files.push((Controller::Memory, "memory.max", bytes.to_string())),
            }
        }
        if let Some(pids) = limits.pids {
            files.push((Controller::Pids, "pids.max", pids.to_string()));
        }
        if let Some(cpus) = limits.cpus {
            let is_v1 = self.v1(Controller::Cpu).is_some();
            // Without a second number the period stays as it is.
            let file = if is_v1 { "cpu.cfs_quota_us" } else { "cpu.max" };
            files.push((Controller::Cpu, file, cpu_quota_us(cpus).to_string()));
        }
        files
    }

    /// The directory with the limits of a controller.
    fn limits_of(&self, controller: Controller) -> Result<&OwnedFd, Errno> {
        let unified = self.unified.as_ref().map(|unified| &unified.dir);
        self.v1(controller).or(unified).ok_or(Errno::NOENT)
    }
}

const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";

fn too_tight() -> Error {
    let message = "binding.limits.memory_bytes: the sandbox holds more than that already";
    Error::new(ErrorCode::NoCapacity, Phase::Bind, message)
}
