//! What a set is told once, and what a get is told each time.

use std::time::Duration;

use crate::{CancelToken, Clock, CommandPolicy, Error, LateBinding, Result, SandboxSet, ScratchDirs};

/// How a set behaves. Every default has its reason here; nothing is silently clamped.
#[derive(Clone, Debug)]
pub struct Config {
    /// Sandboxes at most, in whatever state; default 8, a few per core of a small machine.
    pub max_size: usize,
    /// Idle sandboxes that are kept ready; default 0, so that an unused set costs nothing.
    pub min_idle: usize,
    /// Callers that may wait at once, for a holder or for a create; default 1024. One more is `OVERLOADED`, so with
    /// 0 only sandboxes that are idle already are handed out.
    pub max_waiters: usize,
    /// How long a get waits unless told otherwise; default 30 s.
    pub get_timeout: Duration,
    /// How long one create may take before the backend must give up; default 60 s, of which a runtime's own
    /// `ready_timeout` is part.
    pub create_timeout: Duration,
    /// What a put does before the sandbox becomes idle; default `Keep`: a set belongs to one function.
    pub reuse: Reuse,
    /// The set whose sandboxes are forked to make those of this set, which then are never made otherwise; default
    /// none. It stays open as long as this set or a ref of it exists. See [`SandboxSet::new`].
    pub parent: Option<SandboxSet>,
    /// Forks of one sandbox that may be in flight at once, if this set is a parent; default 8. When more want to
    /// fork, the set grows, up to its `max_size`.
    pub max_forks: usize,
    /// Where scratch dirs come from; default a tmpfs each.
    pub scratch_dirs: ScratchDirs,
    /// May refuse or rewrite every command.
    pub command_policy: Option<CommandPolicy>,
    /// Where time comes from; a manual clock is for tests.
    pub clock: Clock,
}

/// What a put does before the sandbox becomes idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reuse {
    /// Nothing: the next holder finds what the last one left.
    #[default]
    Keep,
    /// The sandbox is emptied: every process is killed, and what was written to its scratch dir, `/tmp`,
    /// `/dev/shm` and message queues or shared by System V IPC is removed. Then it is verified from outside that it is as it was when
    /// fresh. Any doubt destroys it, and so does taking longer than 5 s.
    ///
    /// The put does not wait for it. For holders who trust each other: what a reset cannot take back is how far
    /// process ids and the counters of the loopback interface have got. What lies in writable binds is yours and
    /// stays. Needs a backend that can reset; not for sandboxes with a runtime, which it would kill.
    Reset,
    /// It is destroyed, and another takes its place: every holder gets a fresh one. With `min_idle`, those are made
    /// ahead in the background, so that a get finds one ready; with a `parent` they are forks of a warm one.
    Replace,
}

/// Options of one [`crate::SandboxSet::get_or_create_unpaused`].
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    /// How long to wait; `None` is the set's `get_timeout`, zero is one try without waiting.
    pub timeout: Option<Duration>,
    /// Fail with `EXHAUSTED` instead of waiting when nothing is idle and nothing may be created.
    /// A create for this caller still counts as its own work, not as waiting.
    pub no_wait: bool,
    /// Which sandboxes will do.
    pub acquire: Acquire,
    /// Ends the wait early with `CANCELLED`.
    pub cancel: Option<CancelToken>,
    /// What this holder gets on top of the spec. It is bound after the wait, within 5 s.
    pub binding: Option<LateBinding>,
}

/// Which sandboxes will do for a get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acquire {
    /// An idle one if there is one, else a new one.
    #[default]
    Any,
    /// Only one that exists already: waits for a put rather than create.
    ReuseOnly,
    /// Only one that nobody held before. An idle one that was held makes place for it if the set is full.
    FreshOnly,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            max_size: 8,
            min_idle: 0,
            max_waiters: 1024,
            get_timeout: Duration::from_secs(30),
            create_timeout: Duration::from_secs(60),
            reuse: Reuse::Keep,
            parent: None,
            max_forks: 8,
            scratch_dirs: ScratchDirs::Tmpfs,
            command_policy: None,
            clock: Clock::System,
        }
    }
}

impl Config {
    /// The most sandboxes one set may have; far above what one machine can hold.
    pub const MAX_SIZE: usize = 1 << 20;

    /// Checks every field; errors name it.
    pub fn validate(&self) -> Result<()> {
        if !(1..=Self::MAX_SIZE).contains(&self.max_size) {
            return Err(Error::invalid(
                "max_size",
                format_args!("{} is not between 1 and {}", self.max_size, Self::MAX_SIZE),
            ));
        }
        if self.min_idle > self.max_size {
            return Err(Error::invalid(
                "min_idle",
                format_args!("{} exceeds max_size {}", self.min_idle, self.max_size),
            ));
        }
        if self.max_forks == 0 {
            return Err(Error::invalid("max_forks", "0 lets nobody fork"));
        }
        if self.create_timeout.is_zero() {
            return Err(Error::invalid("create_timeout", "0 leaves no time to create"));
        }
        self.scratch_dirs.validate()
    }
}
