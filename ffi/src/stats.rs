//! `sandboxset_stats`.

use sandboxset::{MissReason, Stats};

use crate::options::Plain;

/// A consistent snapshot of a set's counters. Set struct_size before the call that fills it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct sandboxset_stats {
    /// sizeof(sandboxset_stats).
    pub struct_size: usize,
    /// Sandboxes that wait for a holder.
    pub idle: u64,
    /// Sandboxes with a holder.
    pub held: u64,
    /// Creates in flight.
    pub creating: u64,
    /// Sandboxes being unpaused.
    pub resuming: u64,
    /// Sandboxes being paused after a put.
    pub returning: u64,
    /// Sandboxes being destroyed, and parents that are destroyed when their last child is gone.
    pub destroying: u64,
    /// Sandboxes whose destroy failed; it is retried.
    pub quarantined: u64,
    /// Callers waiting now.
    pub waiting: u64,
    /// Gets that were served.
    pub gets: u64,
    /// Gets served by a sandbox that was idle.
    pub hits: u64,
    /// Gets that found no idle sandbox because the set was empty.
    pub misses_empty: u64,
    /// Gets that found no idle sandbox because all were held, being created or being destroyed.
    pub misses_all_busy: u64,
    /// Gets that asked for a fresh sandbox.
    pub misses_fresh_only: u64,
    /// Gets that found only idle sandboxes that were dead or could not be unpaused.
    pub misses_unhealthy: u64,
    /// Gets that found no idle sandbox for a reason that this version has no field for.
    pub misses_other: u64,
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
    /// Sandboxes destroyed; sandboxset_destroy_reasons says why.
    pub destroyed: u64,
    /// Sandboxes that were reset after a put.
    pub resets: u64,
    /// Resets that failed or were not verified; the sandbox was destroyed.
    pub reset_failures: u64,
    /// Sandboxes of other sets that were forked from sandboxes of this one.
    pub forks: u64,
    /// Forks of sandboxes of this set that failed.
    pub fork_failures: u64,
}

// SAFETY: repr(C), size first, integers, no padding.
unsafe impl Plain for sandboxset_stats {
    const FIRST_SIZE: usize = 208;

    fn defaults() -> Self {
        from_core(&Stats::default())
    }
}

/// The counters as C wants them.
pub(crate) fn from_core(stats: &Stats) -> sandboxset_stats {
    let mut answer = sandboxset_stats {
        struct_size: size_of::<sandboxset_stats>(),
        idle: stats.idle as u64,
        held: stats.held as u64,
        creating: stats.creating as u64,
        resuming: stats.resuming as u64,
        returning: stats.returning as u64,
        destroying: stats.destroying as u64,
        quarantined: stats.quarantined as u64,
        waiting: stats.waiting as u64,
        gets: stats.gets,
        hits: stats.hits,
        misses_empty: 0,
        misses_all_busy: 0,
        misses_fresh_only: 0,
        misses_unhealthy: 0,
        misses_other: 0,
        waits: stats.waits,
        timeouts: stats.timeouts,
        created: stats.created,
        create_failures: stats.create_failures,
        puts: stats.puts,
        destroyed: stats.destroyed,
        resets: stats.resets,
        reset_failures: stats.reset_failures,
        forks: stats.forks,
        fork_failures: stats.fork_failures,
    };
    for (reason, count) in &stats.misses {
        let field = match reason {
            MissReason::Empty => &mut answer.misses_empty,
            MissReason::AllBusy => &mut answer.misses_all_busy,
            MissReason::FreshOnly => &mut answer.misses_fresh_only,
            MissReason::Unhealthy => &mut answer.misses_unhealthy,
            _ => &mut answer.misses_other,
        };
        *field += count;
    }
    answer
}
