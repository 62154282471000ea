//! Waiting and creating: who gets a create, and what its end means to whom.

use std::borrow::Cow;

use super::{Admission, Delivery, Effect, Effects, Lease, Loan, Occupant, Slot, Slots, State, Ticket};
use crate::{Acquire, Error};

/// Why a caller may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::set) enum Refusal {
    Draining,
    Closed,
    /// Too many wait already.
    Overloaded,
    /// It did not want to wait for another holder, or waits for what cannot come.
    Exhausted,
}

impl<S: Occupant, W> Slots<S, W> {
    /// Puts a caller that found nothing idle into the queue and starts a create for it, if there is a place.
    /// A caller that was served in vain comes back with its old ticket, and so to its old place.
    pub(in crate::set) fn enqueue(
        &mut self,
        again: Option<Ticket>,
        acquire: Acquire,
        no_wait: bool,
        waiter: W,
        effects: &mut Effects<S, W>,
    ) -> Result<Ticket, Refusal> {
        match self.admission {
            Admission::Open => {}
            Admission::Draining if again.is_some() => {}
            Admission::Draining => return Err(Refusal::Draining),
            Admission::Closed => return Err(Refusal::Closed),
        }
        let useless = acquire == Acquire::ReuseOnly && !self.anything_to_come();
        if useless || (no_wait && !self.can_create_for_newcomer(acquire)) {
            return Err(Refusal::Exhausted);
        }
        if again.is_none() && self.queue.len() >= self.sizes.max_waiters {
            return Err(Refusal::Overloaded);
        }
        let ticket = again.unwrap_or_else(|| self.queue.ticket());
        self.queue.insert(ticket, waiter, acquire);
        self.plan(effects);
        if again.is_none() && (acquire == Acquire::ReuseOnly || self.queue.is_uncovered(ticket)) {
            self.counters.waits += 1;
        }
        Ok(ticket)
    }

    /// Takes a caller that gives up out of the queue. `None` if it was served already, so that it has to see to
    /// what it got; else the reason it waited. The create that was started for it goes on.
    pub(in crate::set) fn abandon(
        &mut self,
        ticket: Ticket,
        effects: &mut Effects<S, W>,
    ) -> Option<(String, Option<Error>)> {
        let ahead = self.queue.ahead_of(ticket);
        let waiting = self.queue.remove(ticket)?;
        let reason = self.explain(ahead);
        if let Some(create) = waiting.create {
            self.disown(create);
        }
        self.plan(effects);
        Some((reason, self.last_create_error.clone()))
    }

    /// A create has succeeded.
    pub(in crate::set) fn created(&mut self, slot: u32, occupant: S, effects: &mut Effects<S, W>) {
        let owner = self.end_create(slot);
        self.counters.created += 1;
        self.refill_failures = 0;
        self.refill_blocked = false;
        self.last_create_error = None;
        self.slot(slot).occupant = Some(occupant.clone());
        if self.admission == Admission::Closed {
            return self.destroy(slot, Cow::Borrowed(super::CLOSED), effects);
        }
        // The product goes to the oldest waiter, who need not be the one it was made for.
        if let Some(owner) = owner {
            self.queue.uncover(owner);
        }
        if let Some(ticket) = self.queue.next(true) {
            self.deliver(ticket, slot, effects);
        } else {
            self.settling += 1;
            let row = self.slot(slot);
            row.state = State::Settling;
            let lease = Lease { slot, generation: row.generation };
            effects.push(Effect::Settle(Loan { lease, occupant }));
        }
        self.plan(effects);
    }

    /// A create has failed: its waiter learns it, and the place is free.
    pub(in crate::set) fn create_failed(&mut self, slot: u32, error: Error, effects: &mut Effects<S, W>) {
        let owner = self.end_create(slot);
        self.vacate(slot, true);
        self.counters.create_failures += 1;
        self.last_create_error = Some(error.clone());
        match owner.and_then(|ticket| self.queue.remove(ticket)) {
            Some(waiting) => {
                effects.push(Effect::Deliver { waiter: waiting.waiter, delivery: Delivery::Failed(error) });
            }
            None if !self.refill_blocked && self.admission == Admission::Open => {
                self.refill_failures = self.refill_failures.saturating_add(1);
                self.refill_blocked = true;
                effects.push(Effect::BackOff { failures: self.refill_failures });
            }
            None => {}
        }
        self.plan(effects);
    }

    /// The back-off after a failed refill is over.
    pub(in crate::set) fn allow_refill(&mut self, effects: &mut Effects<S, W>) {
        self.refill_blocked = false;
        self.plan(effects);
    }

    /// Starts creates until `count` are idle or on their way there, or the set is full.
    pub(in crate::set) fn prewarm(&mut self, count: usize, effects: &mut Effects<S, W>) {
        while self.stock() < count && self.occupied < self.sizes.max_size {
            self.reserve(None, effects);
        }
    }

    /// How many sandboxes are on their way to becoming idle.
    pub(in crate::set) fn coming(&self) -> usize {
        self.unowned.len() + self.settling
    }

    pub(in crate::set) fn create_failures(&self) -> u64 {
        self.counters.create_failures
    }

    pub(in crate::set) fn last_create_error(&self) -> Option<Error> {
        self.last_create_error.clone()
    }

    /// Starts what creates are due: one for each waiter that needs one, and what `min_idle` lacks, as far as
    /// there are places. Creates in flight never exceed waiters plus that deficit.
    pub(super) fn plan(&mut self, effects: &mut Effects<S, W>) {
        if self.admission == Admission::Closed {
            return;
        }
        while let Some(ticket) = self.queue.first_uncovered() {
            if let Some(slot) = self.unowned.pop_first() {
                self.slot(slot).owner = Some(ticket);
                self.queue.cover(ticket, slot);
            } else if self.occupied < self.sizes.max_size {
                self.reserve(Some(ticket), effects);
            } else {
                break;
            }
        }
        self.make_place_for_fresh(effects);
        if self.admission == Admission::Open && !self.refill_blocked {
            while self.stock() < self.sizes.min_idle && self.occupied < self.sizes.max_size {
                self.reserve(None, effects);
            }
        }
    }

    /// A create that a waiter no longer needs.
    pub(super) fn disown(&mut self, create: u32) {
        let row = self.slot(create);
        if row.state == State::Creating {
            row.owner = None;
            self.unowned.insert(create);
        }
    }

    /// In a full set, an idle sandbox that was held makes place for one that was not, if somebody waits for that.
    fn make_place_for_fresh(&mut self, effects: &mut Effects<S, W>) {
        if !self.queue.any_fresh() || self.used.is_empty() {
            return;
        }
        let mut missing = self.queue.uncovered_fresh().saturating_sub(self.destroying);
        while missing > 0
            && let Some(oldest) = self.used.pop_front()
        {
            self.destroy(oldest, Cow::Borrowed("it made place for a fresh one"), effects);
            missing -= 1;
        }
    }

    /// The place comes first, then the create.
    fn reserve(&mut self, owner: Option<Ticket>, effects: &mut Effects<S, W>) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.table.push(Slot::vacant());
                (self.table.len() - 1) as u32
            }
        };
        let row = self.slot(slot);
        row.generation += 1;
        row.state = State::Creating;
        row.fresh = true;
        row.owner = owner;
        row.failures = 0;
        self.occupied += 1;
        self.creating += 1;
        match owner {
            Some(ticket) => self.queue.cover(ticket, slot),
            None => {
                self.unowned.insert(slot);
            }
        }
        effects.push(Effect::Create { slot });
    }

    fn end_create(&mut self, slot: u32) -> Option<Ticket> {
        self.creating -= 1;
        self.unowned.remove(&slot);
        self.slot(slot).owner.take()
    }

    /// Sandboxes that are idle, or will be if nobody comes.
    fn stock(&self) -> usize {
        self.idle() + self.coming()
    }

    /// Whether an existing sandbox may come free at all.
    fn anything_to_come(&self) -> bool {
        self.out + self.creating + self.settling + self.idle() > 0
    }

    fn can_create_for_newcomer(&self, acquire: Acquire) -> bool {
        if acquire == Acquire::ReuseOnly || self.queue.any_uncovered() {
            return false;
        }
        let replaceable = acquire == Acquire::FreshOnly && !self.used.is_empty();
        self.occupied < self.sizes.max_size || !self.unowned.is_empty() || replaceable
    }

    pub(super) fn in_state(&self, state: State) -> usize {
        self.table.iter().filter(|row| row.state == state).count()
    }

    fn explain(&self, ahead: usize) -> String {
        let mut parts = Vec::new();
        let busy = self.out + self.settling;
        if busy == self.sizes.max_size {
            parts.push(format!("all {busy} held"));
        } else if busy > 0 {
            parts.push(format!("{busy} held"));
        }
        for (count, what) in [
            (self.creating, "creating"),
            (self.destroying, "being destroyed"),
            (self.in_state(State::Lingering { holds_place: true }), "outlived by their children"),
            (self.in_state(State::Quarantined { holds_place: true }), "quarantined"),
            (ahead, "ahead in the queue"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        if parts.is_empty() {
            parts.push("no sandbox".to_owned());
        }
        format!("{} of at most {}", parts.join(", "), self.sizes.max_size)
    }
}

impl<S> Slot<S> {
    fn vacant() -> Self {
        Slot {
            generation: 0,
            state: State::Vacant,
            occupant: None,
            fresh: true,
            declined: false,
            idle_since: 0,
            owner: None,
            failures: 0,
        }
    }
}
