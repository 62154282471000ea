//! `sandboxset_usage`.

use std::time::Duration;

use sandboxset::{Result, Usage};

use crate::boundary::Caller;
use crate::options::Plain;

/// What a command, or a whole sandbox, used. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_usage {
    /// sizeof(sandboxset_usage).
    pub struct_size: usize,
    /// Nanoseconds from start to end.
    pub wall_ns: u64,
    /// Nanoseconds of CPU time, user and system together.
    pub cpu_ns: u64,
    /// Bytes of memory at the peak.
    pub peak_memory_bytes: u64,
    /// Bytes of memory now; 0 for a command, which is over. What a sandbox is charged for: each page once, to the
    /// sandbox that used it first. So what a fork shares with its parent is the parent's, until the fork writes to it.
    pub memory_bytes: u64,
    /// Processes and threads now; 0 for a command.
    pub pids: u32,
    /// 0.
    pub reserved: u32,
    /// Bytes of memory now as the processes of a sandbox see it (the kernel's PSS): a page that several share, with
    /// their parent or with other sandboxes, counts for each of them in part, so that all of them together count it
    /// once. 0 for a command, and where the kernel or the processes do not let us look.
    pub proportional_memory_bytes: u64,
}

// SAFETY: repr(C), size first, integers, padding spelled out.
unsafe impl Plain for sandboxset_usage {
    const FIRST_SIZE: usize = 56;

    fn defaults() -> Self {
        sandboxset_usage {
            struct_size: size_of::<Self>(),
            wall_ns: 0,
            cpu_ns: 0,
            peak_memory_bytes: 0,
            memory_bytes: 0,
            pids: 0,
            reserved: 0,
            proportional_memory_bytes: 0,
        }
    }
}

/// Fills the caller's struct.
pub(crate) fn fill(caller: &Caller, usage: *mut sandboxset_usage, value: &Usage) -> Result<()> {
    let value = sandboxset_usage {
        wall_ns: to_ns(value.wall),
        cpu_ns: to_ns(value.cpu),
        peak_memory_bytes: value.peak_memory_bytes,
        memory_bytes: value.memory_bytes,
        pids: value.pids,
        proportional_memory_bytes: value.proportional_memory_bytes,
        ..Plain::defaults()
    };
    caller.fill(usage, value, "usage")
}

/// Nanoseconds; 584 years are the most that fits.
pub(crate) fn to_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
