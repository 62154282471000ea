//! Which parent is forked by whom: a pure state machine, like the slots.
//!
//! A parent is a sandbox that its set holds for as long as somebody forks it: an exclusive lease of the slots, which
//! this shares between at most `max_forks` forks at a time. It knows neither sandboxes nor clocks; it is told what
//! happened and answers what to do.
//!
//! States of a parent: shared → resting (nobody forks it now: about to be put) → returning (being put) → gone; a
//! resting one is shared again by the next fork. Shared → suspect (a fork of it failed) → gone after its last fork.

use std::collections::BTreeMap;

use crate::{CancelToken, Error};

/// What is to be done after the lock is released.
#[derive(Debug)]
pub(super) enum Effect<P, W> {
    /// Get one more parent of the set; report `acquired` or `not_acquired`.
    Acquire { attempt: u64, cancel: CancelToken },
    /// Nobody needs this attempt any more.
    Cancel(CancelToken),
    /// It is this one's turn to fork this parent; report `finished`.
    Deliver { waiter: W, key: u64, parent: P },
    /// There is no parent for this one.
    Refuse { waiter: W, error: Error },
    /// Nobody forks this parent: ask `begin_settle`, or `begin_return`, whether that still is so.
    Rest { key: u64 },
    /// End a parent of which a fork failed.
    Discard { parent: P, reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Shared,
    Resting,
    Returning,
    Suspect(String),
}

#[derive(Debug)]
struct Lent<P> {
    parent: P,
    state: State,
    forks: usize,
    /// Somebody sees to it that it is put.
    settles: bool,
}

/// The parents of one set that are being forked, and who waits for his turn.
#[derive(Debug)]
pub(super) struct Shared<P, W> {
    max_forks: usize,
    max_parents: usize,
    closed: Option<Error>,
    /// Numbers parents, attempts and tickets in the order of their beginning.
    last: u64,
    lent: BTreeMap<u64, Lent<P>>,
    attempts: BTreeMap<u64, CancelToken>,
    /// First come, first served.
    queue: BTreeMap<u64, W>,
}

type Effects<P, W> = Vec<Effect<P, W>>;

impl<P: Clone, W> Shared<P, W> {
    pub(super) fn new(max_forks: usize, max_parents: usize) -> Self {
        Shared {
            max_forks,
            max_parents,
            closed: None,
            last: 0,
            lent: BTreeMap::new(),
            attempts: BTreeMap::new(),
            queue: BTreeMap::new(),
        }
    }

    /// Somebody wants to fork. Answers the ticket to `abandon` it with.
    pub(super) fn request(&mut self, waiter: W, effects: &mut Effects<P, W>) -> u64 {
        let ticket = self.next();
        match &self.closed {
            Some(error) => effects.push(Effect::Refuse { waiter, error: error.clone() }),
            None => {
                self.queue.insert(ticket, waiter);
                self.plan(effects);
            }
        }
        ticket
    }

    /// Somebody gave up at the deadline, or was cancelled. Attempts that are older than the wait have taken too long
    /// to be counted on any more.
    pub(super) fn abandon(&mut self, ticket: u64, effects: &mut Effects<P, W>) {
        if self.queue.remove(&ticket).is_none() {
            return;
        }
        let newer = self.attempts.split_off(&ticket);
        let older = std::mem::replace(&mut self.attempts, newer);
        effects.extend(older.into_values().map(Effect::Cancel));
        self.plan(effects);
    }

    /// An attempt has given a parent, perhaps after it was cancelled.
    pub(super) fn acquired(&mut self, attempt: u64, parent: P, effects: &mut Effects<P, W>) {
        self.attempts.remove(&attempt);
        let key = self.next();
        self.lent.insert(key, Lent { parent, state: State::Shared, forks: 0, settles: false });
        self.plan(effects);
        self.rest_if_unused(key, effects);
    }

    /// An attempt has failed. Those who wait learn of it when nothing else is to come.
    pub(super) fn not_acquired(&mut self, attempt: u64, error: &Error, effects: &mut Effects<P, W>) {
        if self.attempts.remove(&attempt).is_none() || !self.attempts.is_empty() || self.usable() > 0 {
            return;
        }
        self.refuse_all(error, effects);
    }

    /// A fork is over. A reason makes its parent suspect: it is not forked again.
    pub(super) fn finished(&mut self, key: u64, suspect: Option<String>, effects: &mut Effects<P, W>) {
        let Some(lent) = self.lent.get_mut(&key) else { return };
        lent.forks -= 1;
        if let Some(reason) = suspect
            && lent.state == State::Shared
        {
            lent.state = State::Suspect(reason);
        }
        if lent.forks == 0
            && matches!(lent.state, State::Suspect(_))
            && let Some(Lent { parent, state: State::Suspect(reason), .. }) = self.lent.remove(&key)
        {
            effects.push(Effect::Discard { parent, reason });
        }
        self.plan(effects);
        self.rest_if_unused(key, effects);
    }

    /// The parent that is to be put when it has settled, if nobody sees to that already; ask `begin_return` then.
    pub(super) fn begin_settle(&mut self, key: u64) -> Option<P> {
        let lent = self.lent.get_mut(&key).filter(|lent| lent.state == State::Resting && !lent.settles)?;
        lent.settles = true;
        Some(lent.parent.clone())
    }

    /// The parent to be put now, if nobody forks it again since it came to rest; report `returned`.
    pub(super) fn begin_return(&mut self, key: u64) -> Option<P> {
        let lent = self.lent.get_mut(&key)?;
        lent.settles = false;
        if lent.state != State::Resting {
            return None;
        }
        lent.state = State::Returning;
        Some(lent.parent.clone())
    }

    /// A parent was put.
    pub(super) fn returned(&mut self, key: u64, effects: &mut Effects<P, W>) {
        self.lent.remove(&key);
        self.plan(effects);
    }

    /// No parent is forked any more, for this reason. Forks that are under way go on.
    pub(super) fn close(&mut self, error: Error, effects: &mut Effects<P, W>) {
        self.refuse_all(&error, effects);
        self.closed.get_or_insert(error);
        self.plan(effects);
    }

    /// What those who wait are waiting for.
    pub(super) fn explain(&self) -> String {
        let forks: usize = self.lent.values().map(|lent| lent.forks).sum();
        format!(
            "{} parents with {forks} forks in flight, {} on their way, {} waiting",
            self.usable(),
            self.attempts.len(),
            self.queue.len()
        )
    }

    /// Serves who can be served, and sees to it that as many parents are on their way as the others need: no more,
    /// and never more than the set may have.
    fn plan(&mut self, effects: &mut Effects<P, W>) {
        while let Some(key) = self.least_forked()
            && let Some((_, waiter)) = self.queue.pop_first()
            && let Some(lent) = self.lent.get_mut(&key)
        {
            lent.forks += 1;
            lent.state = State::Shared;
            effects.push(Effect::Deliver { waiter, key, parent: lent.parent.clone() });
        }
        let returning = self.lent.values().filter(|lent| lent.state == State::Returning).count();
        let needed = self.queue.len().div_ceil(self.max_forks).saturating_sub(returning);
        let wanted = needed.min(self.max_parents.saturating_sub(self.usable()));
        while self.attempts.len() > wanted
            && let Some((_, cancel)) = self.attempts.pop_last()
        {
            effects.push(Effect::Cancel(cancel));
        }
        while self.attempts.len() < wanted {
            let (attempt, cancel) = (self.next(), CancelToken::new());
            self.attempts.insert(attempt, cancel.clone());
            effects.push(Effect::Acquire { attempt, cancel });
        }
    }

    /// The parent that the next fork is made from: forks of different parents delay each other least.
    fn least_forked(&self) -> Option<u64> {
        let open = |lent: &Lent<P>| {
            matches!(lent.state, State::Shared | State::Resting) && lent.forks < self.max_forks
        };
        let open = self.lent.iter().filter(|(_, lent)| open(lent));
        open.min_by_key(|(key, lent)| (lent.forks, **key)).map(|(key, _)| *key)
    }

    fn rest_if_unused(&mut self, key: u64, effects: &mut Effects<P, W>) {
        if let Some(lent) = self.lent.get_mut(&key)
            && lent.forks == 0
            && lent.state == State::Shared
        {
            lent.state = State::Resting;
            effects.push(Effect::Rest { key });
        }
    }

    /// Parents that may be forked again.
    fn usable(&self) -> usize {
        self.lent.values().filter(|lent| !matches!(lent.state, State::Suspect(_))).count()
    }

    fn refuse_all(&mut self, error: &Error, effects: &mut Effects<P, W>) {
        let waiters = std::mem::take(&mut self.queue).into_values();
        effects.extend(waiters.map(|waiter| Effect::Refuse { waiter, error: error.clone() }));
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}
