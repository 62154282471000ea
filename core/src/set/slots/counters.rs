//! What is counted, and the snapshot that is told of it.

use super::retire::Retired;
use super::{LeasePhase, Occupant, Slots, Source, State};
use crate::{Acquire, MissReason, Stats};

/// How often what has happened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) taken: u64,
    pub(super) taken_in_vain: u64,
    pub(super) handed: u64,
    pub(super) handed_in_vain: u64,
    pub(super) misses: [u64; 4],
    pub(super) waits: u64,
    pub(super) timeouts: u64,
    pub(super) created: u64,
    pub(super) create_failures: u64,
    pub(super) puts: u64,
    pub(super) resets: u64,
    pub(super) reset_failures: u64,
    pub(super) forks: u64,
    pub(super) fork_failures: u64,
    pub(super) destroyed: Retired,
}

impl<S: Occupant, W> Slots<S, W> {
    /// Counts a get that found nothing idle, once.
    pub(in crate::set) fn count_miss(&mut self, reason: MissReason) {
        self.counters.misses[reason as usize] += 1;
    }

    /// Why a get that asks now would find nothing idle.
    pub(in crate::set) fn miss_reason(&self, acquire: Acquire) -> MissReason {
        if acquire == Acquire::FreshOnly {
            MissReason::FreshOnly
        } else if self.occupied == 0 {
            MissReason::Empty
        } else {
            MissReason::AllBusy
        }
    }

    /// Counts a reset that was tried.
    pub(in crate::set) fn count_reset(&mut self, succeeded: bool) {
        let counter = match succeeded {
            true => &mut self.counters.resets,
            false => &mut self.counters.reset_failures,
        };
        *counter += 1;
    }

    /// Counts a fork that was tried.
    pub(in crate::set) fn count_fork(&mut self, succeeded: bool) {
        let counter = match succeeded {
            true => &mut self.counters.forks,
            false => &mut self.counters.fork_failures,
        };
        *counter += 1;
    }

    /// Counts a get that gave up because of its deadline.
    pub(in crate::set) fn count_timeout(&mut self) {
        self.counters.timeouts += 1;
    }

    /// Takes time proportional to the number of sandboxes, because it asks each one that is out for its phase.
    pub(in crate::set) fn stats(&self) -> Stats {
        let (mut from_idle, mut handed, mut held, mut returning) = (0, 0, 0, 0);
        for row in self.table.iter().filter(|row| row.state == State::Out) {
            match row.occupant.as_ref().map(Occupant::phase) {
                Some(LeasePhase::Resuming(Source::Idle)) => from_idle += 1,
                Some(LeasePhase::Resuming(Source::Handed)) => handed += 1,
                Some(LeasePhase::Returning) => returning += 1,
                Some(LeasePhase::Held) | None => held += 1,
            }
        }
        let counters = &self.counters;
        let hits = counters.taken - counters.taken_in_vain - from_idle;
        let misses = [MissReason::Empty, MissReason::AllBusy, MissReason::FreshOnly, MissReason::Unhealthy];
        Stats {
            idle: self.idle(),
            held,
            creating: self.creating,
            resuming: (from_idle + handed) as usize,
            returning: returning + self.settling,
            destroying: self.destroying + self.lingering,
            quarantined: self.quarantined,
            waiting: self.waiting(),
            gets: hits + counters.handed - counters.handed_in_vain - handed,
            hits,
            misses: misses.map(|reason| (reason, counters.misses[reason as usize])).to_vec(),
            waits: counters.waits,
            timeouts: counters.timeouts,
            created: counters.created,
            create_failures: counters.create_failures,
            puts: counters.puts,
            resets: counters.resets,
            reset_failures: counters.reset_failures,
            forks: counters.forks,
            fork_failures: counters.fork_failures,
            destroyed: counters.destroyed.total(),
            destroyed_by: counters.destroyed.by_reason(),
        }
    }
}
