//! Random histories of parents that are forked, against a naive model of who forks what.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::shared::{Effect, Shared};
use crate::{CancelToken, Error, ErrorCode, Phase};

/// Something that happens. Numbers pick one of what there is, modulo its count.
#[derive(Clone, Debug)]
enum Step {
    Request,
    Abandon(usize),
    Acquired(usize),
    NotAcquired(usize),
    Finished(usize),
    Failed(usize),
    BeginReturn(usize),
    Returned(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..64usize;
    prop_oneof![
        40 => Just(Step::Request),
        6 => n.clone().prop_map(Step::Abandon),
        20 => n.clone().prop_map(Step::Acquired),
        5 => n.clone().prop_map(Step::NotAcquired),
        40 => n.clone().prop_map(Step::Finished),
        6 => n.clone().prop_map(Step::Failed),
        20 => n.clone().prop_map(Step::BeginReturn),
        20 => n.clone().prop_map(Step::Returned),
        1 => Just(Step::Close),
    ]
}

struct World {
    shared: Shared<u32, u32>,
    max_forks: usize,
    max_parents: usize,
    closed: bool,
    next: u32,
    /// Attempts that were started and have not ended, with those that were cancelled on the way.
    attempts: BTreeMap<u64, CancelToken>,
    /// In order of arrival.
    waiting: Vec<(u64, u32)>,
    /// Forks in flight: the key and the parent.
    forks: Vec<(u64, u32)>,
    suspect: BTreeSet<u32>,
    /// The keys of parents that may be at rest, and parents that are being put.
    resting: Vec<u64>,
    returning: Vec<(u64, u32)>,
    /// Parents that are held.
    lent: BTreeSet<u32>,
}

impl World {
    fn new(max_forks: usize, max_parents: usize) -> Self {
        World {
            shared: Shared::new(max_forks, max_parents),
            max_forks,
            max_parents,
            closed: false,
            next: 0,
            attempts: BTreeMap::new(),
            waiting: Vec::new(),
            forks: Vec::new(),
            suspect: BTreeSet::new(),
            resting: Vec::new(),
            returning: Vec::new(),
            lent: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        let mut effects = Vec::new();
        match *step {
            Step::Request => {
                self.next += 1;
                let ticket = self.shared.request(self.next, &mut effects);
                self.waiting.push((ticket, self.next));
            }
            Step::Abandon(n) => {
                if let Some((ticket, _)) = remove(&mut self.waiting, n) {
                    self.shared.abandon(ticket, &mut effects);
                    self.shared.abandon(ticket, &mut Vec::new());
                }
            }
            Step::Acquired(n) => {
                if let Some(attempt) = self.end_attempt(n) {
                    self.next += 1;
                    self.lent.insert(self.next);
                    self.shared.acquired(attempt, self.next, &mut effects);
                }
            }
            Step::NotAcquired(n) => {
                if let Some(attempt) = self.end_attempt(n) {
                    self.shared.not_acquired(attempt, &error(), &mut effects);
                }
            }
            Step::Finished(n) => {
                if let Some((key, _)) = remove(&mut self.forks, n) {
                    self.shared.finished(key, None, &mut effects);
                }
            }
            Step::Failed(n) => {
                if let Some((key, parent)) = remove(&mut self.forks, n) {
                    self.suspect.insert(parent);
                    self.shared.finished(key, Some("failed".to_owned()), &mut effects);
                }
            }
            Step::BeginReturn(n) => {
                if let Some(key) = remove(&mut self.resting, n)
                    && let Some(parent) = self.shared.begin_return(key)
                {
                    assert!(self.forks.iter().all(|fork| fork.1 != parent), "put while it is forked");
                    assert!(self.shared.begin_return(key).is_none(), "put twice");
                    self.returning.push((key, parent));
                }
            }
            Step::Returned(n) => {
                if let Some((key, parent)) = remove(&mut self.returning, n) {
                    assert!(self.lent.remove(&parent));
                    self.shared.returned(key, &mut effects);
                }
            }
            Step::Close => {
                self.closed = true;
                self.shared.close(error(), &mut effects);
            }
        }
        self.carry_out(effects);
        self.check();
    }

    fn end_attempt(&mut self, n: usize) -> Option<u64> {
        let attempts: Vec<u64> = self.attempts.keys().copied().collect();
        let attempt = *attempts.get(n % attempts.len().max(1))?;
        self.attempts.remove(&attempt);
        Some(attempt)
    }

    fn carry_out(&mut self, effects: Vec<Effect<u32, u32>>) {
        for effect in effects {
            match effect {
                Effect::Acquire { attempt, cancel } => {
                    assert!(self.attempts.insert(attempt, cancel).is_none());
                }
                Effect::Cancel(cancel) => cancel.cancel(),
                Effect::Deliver { waiter, key, parent } => {
                    assert_eq!(self.waiting.remove(0).1, waiter, "first come, first served");
                    assert!(self.lent.contains(&parent), "a parent that is not held");
                    assert!(!self.suspect.contains(&parent), "a suspect parent");
                    assert!(self.returning.iter().all(|other| other.1 != parent), "it is being put");
                    self.forks.push((key, parent));
                }
                Effect::Refuse { waiter, .. } => {
                    assert_eq!(self.waiting.remove(0).1, waiter, "in order of arrival");
                    let hope = self.usable().next().is_some() || self.wanted() > 0;
                    assert!(self.closed || !hope, "refused while something was to come");
                }
                Effect::Rest { key } => {
                    // One that settles already is put by who sees to that.
                    let settles = self.resting.contains(&key);
                    assert_ne!(self.shared.begin_settle(key).is_some(), settles, "nobody, or two, put it");
                    if !settles {
                        self.resting.push(key);
                    }
                }
                Effect::Discard { parent, .. } => {
                    assert!(self.suspect.contains(&parent));
                    assert!(self.forks.iter().all(|fork| fork.1 != parent), "ended while it is forked");
                    assert!(self.lent.remove(&parent), "ended twice");
                }
            }
        }
    }

    fn check(&self) {
        let forks_of = |parent: u32| self.forks.iter().filter(|fork| fork.1 == parent).count();
        assert!(self.lent.iter().all(|parent| forks_of(*parent) <= self.max_forks));
        let wanted = self.wanted();
        assert!(wanted <= self.waiting.len().div_ceil(self.max_forks), "more attempts than anybody needs");
        let returning = |parent: &u32| self.returning.iter().any(|other| other.1 == *parent);
        let usable: Vec<u32> = self.usable().collect();
        assert!(wanted == 0 || usable.len() + wanted <= self.max_parents, "more parents than allowed");
        if self.closed {
            assert!(self.waiting.is_empty() && wanted == 0);
        }
        if self.waiting.is_empty() {
            return;
        }
        // Nobody waits beside a parent that has room, and nobody waits for nothing.
        let has_room = |parent: &u32| !returning(parent) && forks_of(*parent) < self.max_forks;
        assert!(!usable.iter().any(has_room), "waits beside a parent with room");
        assert!(wanted > 0 || !usable.is_empty(), "waits for nothing: {}", self.shared.explain());
    }

    fn wanted(&self) -> usize {
        self.attempts.values().filter(|cancel| !cancel.is_cancelled()).count()
    }

    fn usable(&self) -> impl Iterator<Item = u32> {
        self.lent.iter().filter(|parent| !self.suspect.contains(parent)).copied()
    }

    /// Lets everything end, and sees that nothing is lost.
    fn finish(&mut self) {
        while !self.waiting.is_empty() || !self.lent.is_empty() || !self.attempts.is_empty() {
            for step in [
                Step::Finished(0),
                Step::Acquired(0),
                Step::Finished(0),
                Step::BeginReturn(0),
                Step::Returned(0),
            ] {
                self.apply(&step);
            }
        }
        assert!(self.forks.is_empty());
    }
}

fn error() -> Error {
    Error::new(ErrorCode::CreateFailed, Phase::Create, "scripted")
}

fn remove<T>(list: &mut Vec<T>, n: usize) -> Option<T> {
    if list.is_empty() { None } else { Some(list.remove(n % list.len())) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(
        max_forks in 1..4usize,
        max_parents in 1..4usize,
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new(max_forks, max_parents);
        for step in &steps {
            world.apply(step);
        }
        world.finish();
    }
}

#[test]
fn a_resting_parent_is_forked_again_without_being_put() {
    let mut world = World::new(2, 2);
    world.apply(&Step::Request);
    world.apply(&Step::Acquired(0));
    world.apply(&Step::Finished(0));
    assert_eq!(world.resting.len(), 1);
    world.apply(&Step::Request);
    assert_eq!((world.forks.len(), world.attempts.len()), (1, 0));
    world.apply(&Step::BeginReturn(0));
    assert!(world.returning.is_empty());
    world.finish();
}

#[test]
fn one_that_is_being_put_is_waited_for_instead_of_making_another() {
    let mut world = World::new(1, 2);
    world.apply(&Step::Request);
    world.apply(&Step::Acquired(0));
    world.apply(&Step::Finished(0));
    world.apply(&Step::BeginReturn(0));
    world.apply(&Step::Request);
    assert_eq!(world.attempts.len(), 0);
    world.apply(&Step::Returned(0));
    assert_eq!(world.attempts.len(), 1);
    world.finish();
}

#[test]
fn an_attempt_that_outlasts_a_whole_wait_is_no_longer_counted_on() {
    let mut world = World::new(2, 2);
    world.apply(&Step::Request);
    world.apply(&Step::Request);
    assert_eq!(world.attempts.len(), 1);
    world.apply(&Step::Abandon(0));
    let cancelled: Vec<bool> = world.attempts.values().map(CancelToken::is_cancelled).collect();
    assert_eq!(cancelled, [false]);
    world.apply(&Step::Abandon(0));
    world.apply(&Step::Request);
    let cancelled: Vec<bool> = world.attempts.values().map(CancelToken::is_cancelled).collect();
    assert_eq!(cancelled, [true, false]);
    world.finish();
}
