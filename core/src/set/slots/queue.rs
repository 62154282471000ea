//! Who waits, in order of arrival.

use std::collections::{BTreeMap, BTreeSet};

use crate::Acquire;

/// The place of a waiter in the queue. A waiter that has to wait again keeps its ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::set) struct Ticket(u64);

/// First come, first served, among those who can use what there is to give.
#[derive(Debug)]
pub(super) struct Queue<W> {
    next_ticket: u64,
    waiters: BTreeMap<Ticket, Waiting<W>>,
    /// Those who take any sandbox, and those who take only a fresh one.
    common: BTreeSet<Ticket>,
    fresh: BTreeSet<Ticket>,
    /// Those who would be served by a create, but have none in flight.
    uncovered: BTreeSet<Ticket>,
}

#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) waiter: W,
    acquire: Acquire,
    /// The create that was started, or adopted, for this waiter.
    pub(super) create: Option<u32>,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Queue {
            next_ticket: 0,
            waiters: BTreeMap::new(),
            common: BTreeSet::new(),
            fresh: BTreeSet::new(),
            uncovered: BTreeSet::new(),
        }
    }
}

impl<W> Queue<W> {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub(super) fn insert(&mut self, ticket: Ticket, waiter: W, acquire: Acquire) {
        let line = if acquire == Acquire::FreshOnly { &mut self.fresh } else { &mut self.common };
        line.insert(ticket);
        if acquire != Acquire::ReuseOnly {
            self.uncovered.insert(ticket);
        }
        self.waiters.insert(ticket, Waiting { waiter, acquire, create: None });
    }

    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<Waiting<W>> {
        let waiting = self.waiters.remove(&ticket)?;
        self.common.remove(&ticket);
        self.fresh.remove(&ticket);
        self.uncovered.remove(&ticket);
        Some(waiting)
    }

    /// Everybody, in order; the queue is empty afterwards.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Waiting<W>> {
        self.common.clear();
        self.fresh.clear();
        self.uncovered.clear();
        std::mem::take(&mut self.waiters).into_values()
    }

    /// The oldest waiter that can use a sandbox, which is fresh or not.
    pub(super) fn next(&self, fresh: bool) -> Option<Ticket> {
        let common = self.common.first().copied();
        if !fresh {
            return common;
        }
        match (common, self.fresh.first().copied()) {
            (Some(common), Some(fresh)) => Some(common.min(fresh)),
            (common, fresh) => common.or(fresh),
        }
    }

    /// The oldest waiter that needs a create and has none.
    pub(super) fn first_uncovered(&self) -> Option<Ticket> {
        self.uncovered.first().copied()
    }

    pub(super) fn is_uncovered(&self, ticket: Ticket) -> bool {
        self.uncovered.contains(&ticket)
    }

    pub(super) fn any_uncovered(&self) -> bool {
        !self.uncovered.is_empty()
    }

    /// How many who take only a fresh sandbox have no create.
    pub(super) fn uncovered_fresh(&self) -> usize {
        self.fresh.intersection(&self.uncovered).count()
    }

    pub(super) fn any_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    pub(super) fn cover(&mut self, ticket: Ticket, create: u32) {
        if let Some(waiting) = self.waiters.get_mut(&ticket) {
            waiting.create = Some(create);
            self.uncovered.remove(&ticket);
        }
    }

    pub(super) fn uncover(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiters.get_mut(&ticket) {
            waiting.create = None;
            if waiting.acquire != Acquire::ReuseOnly {
                self.uncovered.insert(ticket);
            }
        }
    }

    /// How many wait before this one.
    pub(super) fn ahead_of(&self, ticket: Ticket) -> usize {
        self.waiters.range(..ticket).count()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }
}
