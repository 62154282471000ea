//! The ways out: destroying, quarantine, drain and close.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Admission, Delivery, Effect, Effects, Lease, LeasePhase, Occupant, Slot, Slots, Source, State};

/// Counts destroyed sandboxes by reason. Reasons come from callers, so that the number of different ones is bounded.
#[derive(Debug, Default)]
pub(super) struct Retired {
    total: u64,
    by_reason: BTreeMap<String, u64>,
}

impl Retired {
    const MAX_REASONS: usize = 64;
    const OTHER: &str = "other";

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn by_reason(&self) -> Vec<(String, u64)> {
        self.by_reason.iter().map(|(reason, count)| (reason.clone(), *count)).collect()
    }

    fn count(&mut self, reason: &str) {
        self.total += 1;
        if let Some(count) = self.by_reason.get_mut(reason) {
            *count += 1;
            return;
        }
        let reason = if self.by_reason.len() < Self::MAX_REASONS { reason } else { Self::OTHER };
        *self.by_reason.entry(reason.to_owned()).or_default() += 1;
    }
}

impl<S: Occupant, W> Slots<S, W> {
    /// Ends a sandbox that is out, instead of taking it back: its holder destroyed it, or it cannot be used again.
    /// `false` if the lease was over.
    pub(in crate::set) fn condemn(
        &mut self,
        lease: Lease,
        reason: Cow<'static, str>,
        effects: &mut Effects<S, W>,
    ) -> bool {
        match self.table[lease.slot as usize].state {
            _ if self.table[lease.slot as usize].generation != lease.generation => return false,
            State::Out => self.out -= 1,
            State::Settling => self.settling -= 1,
            _ => return false,
        }
        self.destroy(lease.slot, reason, effects);
        true
    }

    /// As `condemn`, for a sandbox that turned out useless before its holder saw it.
    pub(in crate::set) fn reject(
        &mut self,
        lease: Lease,
        reason: Cow<'static, str>,
        effects: &mut Effects<S, W>,
    ) {
        self.count_in_vain(lease);
        self.condemn(lease, reason, effects);
    }

    /// A sandbox was given to somebody who does not want it any more; its way back follows.
    pub(in crate::set) fn decline(&mut self, lease: Lease) {
        self.count_in_vain(lease);
        if self.is(lease, State::Out) {
            self.slot(lease.slot).declined = true;
        }
    }

    fn count_in_vain(&mut self, lease: Lease) {
        let row = &self.table[lease.slot as usize];
        if row.generation != lease.generation || row.state != State::Out {
            return;
        }
        match row.occupant.as_ref().map(Occupant::phase) {
            Some(LeasePhase::Resuming(Source::Idle)) => self.counters.taken_in_vain += 1,
            Some(LeasePhase::Resuming(Source::Handed)) => self.counters.handed_in_vain += 1,
            _ => {}
        }
    }

    /// A sandbox is gone.
    pub(in crate::set) fn destroyed(&mut self, lease: Lease, reason: &str, effects: &mut Effects<S, W>) {
        let Some(row) = self.table.get(lease.slot as usize) else { return };
        if row.generation != lease.generation {
            return;
        }
        let held_place = match row.state {
            State::Destroying => {
                self.destroying -= 1;
                true
            }
            State::Lingering { holds_place } => {
                self.lingering -= 1;
                self.displaced -= usize::from(!holds_place);
                holds_place
            }
            State::Quarantined { holds_place } => {
                self.quarantined -= 1;
                self.displaced -= usize::from(!holds_place);
                holds_place
            }
            _ => return,
        };
        self.counters.destroyed.count(reason);
        self.vacate(lease.slot, held_place);
        if self.lingering > 0 {
            self.displace_lingering();
        }
        self.plan(effects);
    }

    /// A parent has to wait for its last child before it is torn down. It gives up its place, so that another can
    /// take over; but no more sandboxes than the set may have are ever left without a place.
    pub(in crate::set) fn linger(&mut self, lease: Lease, effects: &mut Effects<S, W>) {
        if !self.is(lease, State::Destroying) {
            return;
        }
        self.destroying -= 1;
        self.lingering += 1;
        self.slot(lease.slot).state = State::Lingering { holds_place: true };
        self.displace_lingering();
        self.plan(effects);
    }

    fn displace_lingering(&mut self) {
        if self.displaced >= self.sizes.max_size {
            return;
        }
        let holds_place = |row: &&mut Slot<S>| row.state == State::Lingering { holds_place: true };
        if let Some(row) = self.table.iter_mut().find(holds_place) {
            row.state = State::Lingering { holds_place: false };
            self.displaced += 1;
            self.occupied -= 1;
        }
    }

    /// A sandbox could not be destroyed.
    pub(in crate::set) fn destroy_failed(&mut self, lease: Lease, effects: &mut Effects<S, W>) {
        let row = &mut self.table[lease.slot as usize];
        if row.generation != lease.generation {
            return;
        }
        match row.state {
            State::Destroying => {
                row.state = State::Quarantined { holds_place: true };
                self.destroying -= 1;
                self.quarantined += 1;
            }
            State::Lingering { holds_place } => {
                row.state = State::Quarantined { holds_place };
                self.lingering -= 1;
                self.quarantined += 1;
            }
            _ => {}
        }
        row.failures = row.failures.saturating_add(1);
        effects.push(Effect::Quarantine { lease, failures: row.failures });
    }

    /// What is to be destroyed again, if it still is there.
    pub(in crate::set) fn retry(&self, lease: Lease) -> Option<S> {
        let row = &self.table[lease.slot as usize];
        let quarantined = matches!(row.state, State::Quarantined { .. });
        if row.generation == lease.generation && quarantined { row.occupant.clone() } else { None }
    }

    /// The end of a sandbox takes too long, whether it fails or hangs: its place may be used again while that goes
    /// on. No more sandboxes than the set may have are ever left without a place.
    pub(in crate::set) fn release_place(&mut self, lease: Lease, effects: &mut Effects<S, W>) {
        if self.is(lease, State::Destroying) {
            self.slot(lease.slot).state = State::Quarantined { holds_place: true };
            self.destroying -= 1;
            self.quarantined += 1;
        }
        if self.displaced >= self.sizes.max_size || !self.is(lease, State::Quarantined { holds_place: true })
        {
            return;
        }
        self.slot(lease.slot).state = State::Quarantined { holds_place: false };
        self.displaced += 1;
        self.occupied -= 1;
        self.plan(effects);
    }

    /// Destroys idle sandboxes, least recently used first, until `keep` are left, but never below `min_idle`.
    pub(in crate::set) fn shrink(&mut self, keep: usize, effects: &mut Effects<S, W>) -> usize {
        let keep = keep.max(self.sizes.min_idle);
        let mut count = 0;
        while self.idle() > keep
            && let Some(slot) = self.pop_oldest_idle()
        {
            self.destroy(slot, Cow::Borrowed("the set was shrunk"), effects);
            count += 1;
        }
        count
    }

    /// Stops admission. Those who wait already are still served.
    pub(in crate::set) fn drain(&mut self) {
        if self.admission == Admission::Open {
            self.admission = Admission::Draining;
        }
    }

    /// Stops everything: those who wait are told, idle sandboxes are destroyed, and what could not be destroyed is
    /// tried again at once and with the shortest delays, because somebody may wait for it now.
    pub(in crate::set) fn close(&mut self, effects: &mut Effects<S, W>) {
        self.admission = Admission::Closed;
        for waiting in self.queue.drain() {
            if let Some(create) = waiting.create {
                let row = &mut self.table[create as usize];
                row.owner = None;
                self.unowned.insert(create);
            }
            effects.push(Effect::Deliver { waiter: waiting.waiter, delivery: Delivery::Closed });
        }
        while let Some(slot) = self.pop_oldest_idle() {
            self.destroy(slot, Cow::Borrowed(super::CLOSED), effects);
        }
        for slot in 0..self.table.len() as u32 {
            let row = self.slot(slot);
            if let (State::Quarantined { .. }, Some(occupant)) = (row.state, row.occupant.clone()) {
                row.failures = 0;
                let lease = Lease { slot, generation: row.generation };
                effects.push(Effect::Retry { lease, occupant });
            }
        }
    }

    /// Ends what is still held, after a close.
    pub(in crate::set) fn condemn_held(&mut self, effects: &mut Effects<S, W>) {
        for slot in 0..self.table.len() as u32 {
            if self.table[slot as usize].state == State::Out {
                self.out -= 1;
                self.destroy(slot, Cow::Borrowed(super::CLOSED), effects);
            }
        }
    }

    /// Whether nobody holds or waits for anything.
    pub(in crate::set) fn is_drained(&self) -> bool {
        self.out == 0 && self.queue.is_empty()
    }

    /// Whether nothing exists and nothing is under way.
    pub(in crate::set) fn is_empty(&self) -> bool {
        self.occupied == 0 && self.lingering == 0 && self.quarantined == 0
    }

    /// Whether nothing exists but what could not be destroyed, and parents that their children outlive.
    pub(in crate::set) fn is_torn_down_but_for_parents(&self) -> bool {
        self.occupied + self.displaced == self.quarantined + self.lingering
            && !self.table.iter().any(Slot::is_childless_parent)
    }

    pub(in crate::set) fn destroyed_count(&self) -> u64 {
        self.counters.destroyed.total()
    }

    /// What exists, with its state, one by one.
    pub(in crate::set) fn occupants(&self) -> impl Iterator<Item = (&'static str, Option<&S>)> {
        self.table.iter().filter_map(|row| {
            let state = match row.state {
                State::Vacant => return None,
                State::Creating => "creating",
                State::Settling => "returning",
                State::Idle => "idle",
                State::Out => match row.occupant.as_ref().map(Occupant::phase) {
                    Some(LeasePhase::Resuming(_)) => "resuming",
                    Some(LeasePhase::Returning) => "returning",
                    Some(LeasePhase::Held) | None => "held",
                },
                State::Destroying => "destroying",
                State::Lingering { .. } if row.is_childless_parent() => "destroying",
                State::Lingering { .. } => "waiting for its last child",
                State::Quarantined { .. } => "quarantined",
            };
            Some((state, row.occupant.as_ref()))
        })
    }

    /// Starts the end of a sandbox, which is in no state now.
    pub(super) fn destroy(&mut self, slot: u32, reason: Cow<'static, str>, effects: &mut Effects<S, W>) {
        let row = self.slot(slot);
        row.generation += 1;
        row.state = State::Destroying;
        row.declined = false;
        let lease = Lease { slot, generation: row.generation };
        let occupant = row.occupant.clone();
        self.destroying += 1;
        if let Some(occupant) = occupant {
            effects.push(Effect::Destroy { lease, occupant, reason });
        }
    }

    pub(super) fn vacate(&mut self, slot: u32, held_place: bool) {
        let row = self.slot(slot);
        row.generation += 1;
        row.state = State::Vacant;
        row.occupant = None;
        self.free.push(slot);
        self.occupied -= usize::from(held_place);
    }

    fn pop_oldest_idle(&mut self) -> Option<u32> {
        match (self.used.front(), self.fresh.front()) {
            (Some(&used), Some(&fresh)) => {
                let used_first = self.table[used as usize].idle_since < self.table[fresh as usize].idle_since;
                if used_first { self.used.pop_front() } else { self.fresh.pop_front() }
            }
            (Some(_), None) => self.used.pop_front(),
            (None, _) => self.fresh.pop_front(),
        }
    }
}

impl<S: Occupant> Slot<S> {
    /// Whether it is a parent whose teardown waits for nothing any more.
    fn is_childless_parent(&self) -> bool {
        let lingers = matches!(self.state, State::Lingering { .. });
        lingers && self.occupant.as_ref().is_some_and(Occupant::is_childless)
    }
}
