//! The places of a set and who may have them: a pure state machine.
//!
//! It never blocks, never reads a clock, never logs and calls no backend. It is told what happened and answers what
//! to do, as [`Effect`]s that its owner carries out after the lock is released. Everything on the path of a get that
//! finds an idle sandbox, and of its put, takes constant time, however many sandboxes are held. It is inlined by force,
//! because a loan that travels through memory instead of registers was measured to cost a seventh of a get and put.
//!
//! States of a place: vacant → creating → settling (new and nobody waits: being paused) → idle → out → idle; any →
//! destroying → vacant; a failed destroy → quarantined; a parent that its children outlive is lingering between
//! destroying and vacant. *Out* is three states in one: resuming, held and returning.
//! They are told apart by the occupant itself, so that a get and a put need the lock only once each.

mod counters;
mod create;
#[cfg(test)]
mod model;
mod queue;
mod retire;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use counters::Counters;
pub(super) use create::Refusal;
use queue::Queue;
pub(super) use queue::Ticket;

use crate::{Acquire, Error};

/// What occupies a place: a handle on a sandbox.
pub(super) trait Occupant: Clone {
    /// Begins a new lease: the occupant is resuming from now on.
    fn lend(&self, generation: u64, source: Source);

    /// How far the current lease is. Only asked while the place is out.
    fn phase(&self) -> LeasePhase;

    /// Whether its last child is gone, so that it is being torn down now. Only asked while it is lingering.
    fn is_childless(&self) -> bool;
}

/// Where a holder's sandbox came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was idle.
    Idle,
    /// It was handed over by its last holder or by its maker.
    Handed,
}

/// How far a lease is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeasePhase {
    Resuming(Source),
    Held,
    Returning,
}

/// One use of one place. A lease whose generation is over can do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    pub(super) slot: u32,
    pub(super) generation: u64,
}

/// A lease and what is leased.
#[derive(Debug)]
pub(super) struct Loan<S> {
    pub(super) lease: Lease,
    pub(super) occupant: S,
}

/// What a waiter gets.
#[derive(Debug)]
pub(super) enum Delivery<S> {
    /// A sandbox, perhaps paused; it is the waiter's from now on.
    Loan(Loan<S>),
    /// The create that was started for this waiter failed.
    Failed(Error),
    /// The set was closed.
    Closed,
}

/// What is to be done after the lock is released.
#[derive(Debug)]
pub(super) enum Effect<S, W> {
    /// Make a sandbox; report `created` or `create_failed`.
    Create { slot: u32 },
    /// Pause a new sandbox that nobody waits for; report `settled` or `condemn`.
    Settle(Loan<S>),
    /// Complete a waiter.
    Deliver { waiter: W, delivery: Delivery<S> },
    /// End a sandbox; report `destroyed` or `destroy_failed`, and if that takes too long, `release_place`.
    Destroy { lease: Lease, occupant: S, reason: Cow<'static, str> },
    /// Destroying failed this many times: ask `retry` later.
    Quarantine { lease: Lease, failures: u32 },
    /// Destroy now what is in quarantine; report as for `Destroy`.
    Retry { lease: Lease, occupant: S },
    /// Creating for the stock failed this many times in a row: call `allow_refill` later.
    BackOff { failures: u32 },
}

/// What became of a sandbox that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Released {
    /// It is idle, has a new holder, or is being destroyed for lack of use.
    Done,
    /// The lease was over; nothing was changed.
    Stale,
}

/// Whether a set still serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Open,
    Draining,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Creating,
    Settling,
    Idle,
    Out,
    Destroying,
    Lingering { holds_place: bool },
    Quarantined { holds_place: bool },
}

#[derive(Debug)]
struct Slot<S> {
    generation: u64,
    state: State,
    occupant: Option<S>,
    /// Nobody held it yet.
    fresh: bool,
    /// Its holder to be gave up before it had it.
    declined: bool,
    /// Orders idle sandboxes of both stacks by when they became idle.
    idle_since: u64,
    /// The waiter a create is for.
    owner: Option<Ticket>,
    failures: u32,
}

/// The sizes a set works with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) max_size: usize,
    pub(super) min_idle: usize,
    pub(super) max_waiters: usize,
}

/// All places of a set. `S` is a handle on a sandbox, `W` on somebody who waits.
#[derive(Debug)]
pub(super) struct Slots<S, W> {
    sizes: Sizes,
    admission: Admission,
    table: Vec<Slot<S>>,
    free: Vec<u32>,
    /// Idle sandboxes that were held before, and those that were not; the most recently used at the back.
    used: VecDeque<u32>,
    fresh: VecDeque<u32>,
    idle_clock: u64,
    queue: Queue<W>,
    /// Creates that no waiter owns.
    unowned: BTreeSet<u32>,
    /// Places that are not free for a create.
    occupied: usize,
    creating: usize,
    settling: usize,
    out: usize,
    destroying: usize,
    /// Parents that are destroyed when their last child is gone.
    lingering: usize,
    /// Sandboxes whose destroy failed or takes too long.
    quarantined: usize,
    /// Lingering and quarantined ones that no longer hold a place.
    displaced: usize,
    refill_failures: u32,
    refill_blocked: bool,
    last_create_error: Option<Error>,
    counters: Counters,
}

type Effects<S, W> = Vec<Effect<S, W>>;

impl<S: Occupant, W> Slots<S, W> {
    pub(super) fn new(sizes: Sizes) -> Self {
        Slots {
            sizes,
            admission: Admission::Open,
            table: Vec::new(),
            free: Vec::new(),
            used: VecDeque::new(),
            fresh: VecDeque::new(),
            idle_clock: 0,
            queue: Queue::default(),
            unowned: BTreeSet::new(),
            occupied: 0,
            creating: 0,
            settling: 0,
            out: 0,
            destroying: 0,
            lingering: 0,
            quarantined: 0,
            displaced: 0,
            refill_failures: 0,
            refill_blocked: false,
            last_create_error: None,
            counters: Counters::default(),
        }
    }

    /// The most recently used idle sandbox that will do.
    #[inline(always)]
    pub(super) fn take(&mut self, acquire: Acquire, effects: &mut Effects<S, W>) -> Option<Loan<S>> {
        if self.admission != Admission::Open {
            return None;
        }
        self.take_idle(acquire, effects)
    }

    /// As `take`, for a caller that was let in before a drain began.
    #[inline(never)]
    pub(super) fn take_again(&mut self, acquire: Acquire, effects: &mut Effects<S, W>) -> Option<Loan<S>> {
        if self.admission == Admission::Closed {
            return None;
        }
        self.take_idle(acquire, effects)
    }

    #[inline(always)]
    fn take_idle(&mut self, acquire: Acquire, effects: &mut Effects<S, W>) -> Option<Loan<S>> {
        let slot = match acquire {
            Acquire::FreshOnly => self.fresh.pop_back()?,
            Acquire::Any | Acquire::ReuseOnly => self.pop_idle()?,
        };
        self.counters.taken += 1;
        let loan = self.lend(slot, Source::Idle);
        if self.idle() < self.sizes.min_idle {
            self.plan(effects);
        }
        loan
    }

    /// Takes back a sandbox that its holder paused. Also used by those who were given one in vain.
    #[inline]
    pub(super) fn release(&mut self, lease: Lease, effects: &mut Effects<S, W>) -> Released {
        if !self.is_out(lease) {
            return Released::Stale;
        }
        self.count_put(lease.slot);
        self.out -= 1;
        self.settle(lease.slot, effects);
        Released::Done
    }

    /// Takes back a running sandbox, if somebody waits who can have it at once.
    pub(super) fn hand_over(&mut self, lease: Lease, effects: &mut Effects<S, W>) -> Option<Released> {
        if !self.is_out(lease) {
            return Some(Released::Stale);
        }
        let ticket = self.queue.next(false)?;
        self.count_put(lease.slot);
        self.out -= 1;
        self.deliver(ticket, lease.slot, effects);
        self.plan(effects);
        Some(Released::Done)
    }

    /// A new sandbox was paused.
    pub(super) fn settled(&mut self, lease: Lease, effects: &mut Effects<S, W>) {
        if !self.is(lease, State::Settling) {
            return;
        }
        self.settling -= 1;
        self.settle(lease.slot, effects);
    }

    /// Gives a sandbox, which is in no state now, to the oldest waiter that can use it, or makes it idle.
    #[inline]
    fn settle(&mut self, slot: u32, effects: &mut Effects<S, W>) {
        if !self.queue.is_empty() || self.admission == Admission::Closed {
            return self.settle_slowly(slot, effects);
        }
        self.make_idle(slot);
    }

    #[cold]
    fn settle_slowly(&mut self, slot: u32, effects: &mut Effects<S, W>) {
        if self.admission == Admission::Closed {
            return self.destroy(slot, Cow::Borrowed(CLOSED), effects);
        }
        let fresh = self.slot(slot).fresh;
        match self.queue.next(fresh) {
            Some(ticket) => self.deliver(ticket, slot, effects),
            None => self.make_idle(slot),
        }
        self.plan(effects);
    }

    #[inline]
    fn make_idle(&mut self, slot: u32) {
        self.idle_clock += 1;
        let row = &mut self.table[slot as usize];
        row.generation += 1;
        row.state = State::Idle;
        row.idle_since = self.idle_clock;
        if row.fresh {
            self.fresh.push_back(slot);
        } else {
            self.used.push_back(slot);
        }
    }

    /// What was declined never had a holder, so that its way back is no put.
    #[inline]
    fn count_put(&mut self, slot: u32) {
        let row = &mut self.table[slot as usize];
        if row.declined {
            row.declined = false;
        } else {
            self.counters.puts += 1;
        }
    }

    /// Begins a lease of a sandbox, which is in no state now.
    #[inline(always)]
    fn lend(&mut self, slot: u32, source: Source) -> Option<Loan<S>> {
        let row = &mut self.table[slot as usize];
        row.generation += 1;
        row.state = State::Out;
        row.fresh = false;
        let occupant = row.occupant.clone()?;
        let lease = Lease { slot, generation: row.generation };
        occupant.lend(lease.generation, source);
        self.out += 1;
        Some(Loan { lease, occupant })
    }

    /// Gives a sandbox, which is in no state now, to a waiter.
    fn deliver(&mut self, ticket: Ticket, slot: u32, effects: &mut Effects<S, W>) {
        let Some(waiting) = self.queue.remove(ticket) else { return };
        if let Some(create) = waiting.create {
            self.disown(create);
        }
        self.counters.handed += 1;
        if let Some(loan) = self.lend(slot, Source::Handed) {
            effects.push(Effect::Deliver { waiter: waiting.waiter, delivery: Delivery::Loan(loan) });
        }
    }

    #[inline(always)]
    fn pop_idle(&mut self) -> Option<u32> {
        match (self.used.back(), self.fresh.back()) {
            (Some(_), None) => self.used.pop_back(),
            (None, Some(_)) => self.fresh.pop_back(),
            (None, None) => None,
            (Some(&used), Some(&fresh)) => {
                let used_later = self.table[used as usize].idle_since > self.table[fresh as usize].idle_since;
                if used_later { self.used.pop_back() } else { self.fresh.pop_back() }
            }
        }
    }

    #[inline]
    fn is_out(&self, lease: Lease) -> bool {
        self.is(lease, State::Out)
    }

    #[inline]
    fn is(&self, lease: Lease, state: State) -> bool {
        let row = &self.table[lease.slot as usize];
        row.generation == lease.generation && row.state == state
    }

    fn slot(&mut self, slot: u32) -> &mut Slot<S> {
        &mut self.table[slot as usize]
    }

    #[inline]
    pub(super) fn idle(&self) -> usize {
        self.used.len() + self.fresh.len()
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn admission(&self) -> Admission {
        self.admission
    }
}

/// The reason of a destroy because of a close.
pub(super) const CLOSED: &str = "the set was closed";
