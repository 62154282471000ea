//! Counters of a set.

/// A consistent snapshot of a set's counters: all taken under one lock.
///
/// `created = idle + held + resuming + returning + destroying + quarantined + destroyed` at every instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sandboxes that wait for a holder.
    pub idle: usize,
    /// Sandboxes with a holder.
    pub held: usize,
    /// Creates in flight.
    pub creating: usize,
    /// Sandboxes being unpaused.
    pub resuming: usize,
    /// Sandboxes being reset or paused after a put.
    pub returning: usize,
    /// Sandboxes being destroyed, and parents that are destroyed when their last child is gone.
    pub destroying: usize,
    /// Sandboxes whose destroy failed; retried with back-off.
    pub quarantined: usize,
    /// Callers waiting now.
    pub waiting: usize,
    /// Gets that were served.
    pub gets: u64,
    /// Gets served by a sandbox that was idle.
    pub hits: u64,
    /// Gets that found no idle sandbox, by reason.
    pub misses: Vec<(MissReason, u64)>,
    /// Gets that had to wait.
    pub waits: u64,
    /// Gets that timed out.
    pub timeouts: u64,
    /// Sandboxes created.
    pub created: u64,
    /// Creates that failed.
    pub create_failures: u64,
    /// Sandboxes put back.
    pub puts: u64,
    /// Sandboxes that were reset after a put.
    pub resets: u64,
    /// Resets that failed or were not verified; the sandbox was destroyed.
    pub reset_failures: u64,
    /// Sandboxes of other sets that were forked from sandboxes of this one.
    pub forks: u64,
    /// Forks of sandboxes of this set that failed.
    pub fork_failures: u64,
    /// Sandboxes destroyed.
    pub destroyed: u64,
    /// Sandboxes destroyed, by reason, in no particular order.
    pub destroyed_by: Vec<(String, u64)>,
}

/// Why a get found no idle sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MissReason {
    /// The set was empty.
    Empty,
    /// All sandboxes were held, being created or being destroyed.
    AllBusy,
    /// The caller asked for a fresh one.
    FreshOnly,
    /// The idle ones could not be unpaused or were dead.
    Unhealthy,
}

impl MissReason {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            MissReason::Empty => "empty",
            MissReason::AllBusy => "all_busy",
            MissReason::FreshOnly => "fresh_only",
            MissReason::Unhealthy => "unhealthy",
        }
    }
}
