//! Random histories of a set, against a naive model that keeps plain lists and searches them from end to end.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use proptest::prelude::*;

use super::*;
use crate::{ErrorCode, Phase};

/// A sandbox that only knows who it is and how far its lease is.
#[derive(Clone, Debug)]
struct Fake {
    id: u32,
    phase: Rc<Cell<LeasePhase>>,
}

impl Occupant for Fake {
    fn lend(&self, _generation: u64, source: Source) {
        self.phase.set(LeasePhase::Resuming(source));
    }

    fn phase(&self) -> LeasePhase {
        self.phase.get()
    }

    fn is_childless(&self) -> bool {
        false
    }
}

/// Something that happens. Numbers pick one of what there is, modulo its count.
#[derive(Clone, Debug)]
enum Step {
    Get { acquire: Acquire, no_wait: bool },
    GiveUp(usize),
    Created(usize),
    CreateFailed(usize),
    Settled(usize),
    Use(usize),
    Put(usize),
    HandOver(usize),
    Reject(usize),
    Destroy(usize),
    Stale(usize),
    Destroyed(usize),
    DestroyFailed(usize),
    Linger(usize),
    RetrySucceeded(usize),
    ReleasePlace(usize),
    TakesTooLong(usize),
    Shrink(usize),
    Prewarm(usize),
    AllowRefill,
    Drain,
    Close,
    CondemnHeld,
}

fn step() -> impl Strategy<Value = Step> {
    let acquire = prop_oneof![
        6 => Just(Acquire::Any),
        1 => Just(Acquire::ReuseOnly),
        2 => Just(Acquire::FreshOnly),
    ];
    let n = 0..64usize;
    prop_oneof![
        60 => (acquire, prop::bool::weighted(0.2)).prop_map(|(acquire, no_wait)| Step::Get { acquire, no_wait }),
        10 => n.clone().prop_map(Step::GiveUp),
        40 => n.clone().prop_map(Step::Created),
        8 => n.clone().prop_map(Step::CreateFailed),
        20 => n.clone().prop_map(Step::Settled),
        20 => n.clone().prop_map(Step::Use),
        40 => n.clone().prop_map(Step::Put),
        20 => n.clone().prop_map(Step::HandOver),
        6 => n.clone().prop_map(Step::Reject),
        10 => n.clone().prop_map(Step::Destroy),
        10 => n.clone().prop_map(Step::Stale),
        20 => n.clone().prop_map(Step::Destroyed),
        6 => n.clone().prop_map(Step::DestroyFailed),
        8 => n.clone().prop_map(Step::Linger),
        6 => n.clone().prop_map(Step::RetrySucceeded),
        4 => n.clone().prop_map(Step::ReleasePlace),
        4 => n.clone().prop_map(Step::TakesTooLong),
        3 => (0..6usize).prop_map(Step::Shrink),
        3 => (0..6usize).prop_map(Step::Prewarm),
        6 => Just(Step::AllowRefill),
        1 => Just(Step::Drain),
        1 => Just(Step::Close),
        1 => Just(Step::CondemnHeld),
    ]
}

struct World {
    slots: Slots<Fake, u32>,
    sizes: Sizes,
    next_id: u32,
    next_waiter: u32,
    creates: Vec<u32>,
    settling: Vec<Loan<Fake>>,
    /// The model's stack: the most recently idle last.
    idle: Vec<u32>,
    held: Vec<Loan<Fake>>,
    destroying: Vec<(Lease, u32)>,
    quarantined: Vec<(Lease, u32)>,
    /// The model's queue, in order of arrival.
    waiting: Vec<(Ticket, u32, Acquire)>,
    ended: Vec<Lease>,
    /// Sandboxes that were held once.
    touched: BTreeSet<u32>,
    gone: BTreeSet<u32>,
    leases: BTreeSet<(u32, u64)>,
}

impl World {
    fn new(sizes: Sizes) -> Self {
        World {
            slots: Slots::new(sizes),
            sizes,
            next_id: 0,
            next_waiter: 0,
            creates: Vec::new(),
            settling: Vec::new(),
            idle: Vec::new(),
            held: Vec::new(),
            destroying: Vec::new(),
            quarantined: Vec::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            touched: BTreeSet::new(),
            gone: BTreeSet::new(),
            leases: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        let mut effects = Vec::new();
        let mut prewarmed = 0;
        match *step {
            Step::Get { acquire, no_wait } => self.get(acquire, no_wait, &mut effects),
            Step::GiveUp(n) => {
                if let Some((ticket, ..)) = remove(&mut self.waiting, n) {
                    assert!(self.slots.abandon(ticket, &mut effects).is_some());
                    assert!(self.slots.abandon(ticket, &mut effects).is_none(), "only once");
                }
            }
            Step::Created(n) => {
                if let Some(slot) = remove(&mut self.creates, n) {
                    self.next_id += 1;
                    let phase = Rc::new(Cell::new(LeasePhase::Returning));
                    self.slots.created(slot, Fake { id: self.next_id, phase }, &mut effects);
                }
            }
            Step::CreateFailed(n) => {
                if let Some(slot) = remove(&mut self.creates, n) {
                    let error = Error::new(ErrorCode::CreateFailed, Phase::Create, "scripted");
                    self.slots.create_failed(slot, error, &mut effects);
                }
            }
            Step::Settled(n) => {
                if let Some(loan) = remove(&mut self.settling, n) {
                    self.comes_free(
                        loan.occupant.id,
                        |slots, effects| {
                            slots.settled(loan.lease, effects);
                        },
                        &mut effects,
                    );
                }
            }
            Step::Use(n) => {
                if let Some(loan) = pick(&self.held, n) {
                    loan.occupant.phase.set(LeasePhase::Held);
                }
            }
            Step::Put(n) => {
                if let Some(loan) = remove(&mut self.held, n) {
                    loan.occupant.phase.set(LeasePhase::Returning);
                    self.ended.push(loan.lease);
                    self.comes_free(
                        loan.occupant.id,
                        |slots, effects| {
                            assert_eq!(slots.release(loan.lease, effects), Released::Done);
                        },
                        &mut effects,
                    );
                }
            }
            Step::HandOver(n) => self.hand_over(n, &mut effects),
            Step::Reject(n) => {
                if let Some(loan) = remove(&mut self.held, n) {
                    self.ended.push(loan.lease);
                    self.slots.reject(loan.lease, Cow::Borrowed("useless"), &mut effects);
                }
            }
            Step::Destroy(n) => {
                if let Some(loan) = remove(&mut self.held, n) {
                    self.ended.push(loan.lease);
                    assert!(self.slots.condemn(loan.lease, Cow::Borrowed("by its holder"), &mut effects));
                }
            }
            Step::Stale(n) => self.stale(n),
            Step::Destroyed(n) => {
                if let Some((lease, id)) = remove(&mut self.destroying, n) {
                    assert!(self.gone.insert(id), "destroyed twice");
                    self.slots.destroyed(lease, "gone", &mut effects);
                    self.ended.push(lease);
                }
            }
            Step::DestroyFailed(n) => {
                if let Some((lease, id)) = remove(&mut self.destroying, n) {
                    self.slots.destroy_failed(lease, &mut effects);
                    self.quarantined.push((lease, id));
                }
            }
            Step::Linger(n) => {
                if let Some((lease, _)) = pick(&self.destroying, n) {
                    self.slots.linger(*lease, &mut effects);
                }
            }
            Step::RetrySucceeded(n) => {
                if let Some((lease, id)) = remove(&mut self.quarantined, n) {
                    assert_eq!(self.slots.retry(lease).map(|fake| fake.id), Some(id));
                    assert!(self.gone.insert(id), "destroyed twice");
                    self.slots.destroyed(lease, "gone at last", &mut effects);
                    assert!(self.slots.retry(lease).is_none());
                }
            }
            Step::ReleasePlace(n) => {
                if let Some((lease, _)) = pick(&self.quarantined, n) {
                    self.slots.release_place(*lease, &mut effects);
                }
            }
            Step::TakesTooLong(n) => {
                if let Some((lease, id)) = remove(&mut self.destroying, n) {
                    self.slots.release_place(lease, &mut effects);
                    // A parent that waits for its last child takes as long as that does.
                    match self.slots.retry(lease) {
                        Some(_) => self.quarantined.push((lease, id)),
                        None => self.destroying.push((lease, id)),
                    }
                }
            }
            Step::Shrink(keep) => {
                let keep = keep.max(self.sizes.min_idle);
                let excess = self.idle.len().saturating_sub(keep);
                assert_eq!(self.slots.shrink(keep, &mut effects), excess);
            }
            Step::Prewarm(count) => {
                if self.slots.admission() == Admission::Open {
                    prewarmed = count;
                    self.slots.prewarm(count, &mut effects);
                }
            }
            Step::AllowRefill => self.slots.allow_refill(&mut effects),
            Step::Drain => self.slots.drain(),
            Step::Close => self.slots.close(&mut effects),
            Step::CondemnHeld => {
                if self.slots.admission() == Admission::Closed {
                    self.ended.extend(self.held.drain(..).map(|loan| loan.lease));
                    self.slots.condemn_held(&mut effects);
                }
            }
        }
        self.carry_out(effects, prewarmed);
        self.check();
    }

    fn get(&mut self, acquire: Acquire, no_wait: bool, effects: &mut Effects<Fake, u32>) {
        let open = self.slots.admission() == Admission::Open;
        let expected = self.idle.iter().rposition(|id| self.suits(*id, acquire)).filter(|_| open);
        let loan = self.slots.take(acquire, effects);
        assert_eq!(loan.as_ref().map(|loan| loan.occupant.id), expected.map(|at| self.idle[at]));
        if let (Some(loan), Some(at)) = (loan, expected) {
            self.idle.remove(at);
            return self.lent(loan);
        }
        self.next_waiter += 1;
        let full = self.waiting.len() >= self.sizes.max_waiters;
        match self.slots.enqueue(None, acquire, no_wait, self.next_waiter, effects) {
            Ok(ticket) => {
                assert!(open && !full);
                assert!(!no_wait || !self.slots.queue.is_uncovered(ticket) || acquire == Acquire::FreshOnly);
                assert!(self.waiting.last().is_none_or(|(last, ..)| *last < ticket));
                self.waiting.push((ticket, self.next_waiter, acquire));
            }
            Err(Refusal::Overloaded) => assert!(full),
            Err(Refusal::Exhausted) => assert!(no_wait || acquire == Acquire::ReuseOnly),
            Err(Refusal::Draining | Refusal::Closed) => assert!(!open),
        }
    }

    fn hand_over(&mut self, n: usize, effects: &mut Effects<Fake, u32>) {
        let Some(loan) = remove(&mut self.held, n) else { return };
        let waiter = self.waiting.iter().any(|(_, _, acquire)| *acquire != Acquire::FreshOnly);
        match self.slots.hand_over(loan.lease, effects) {
            Some(released) => {
                assert!(waiter && released == Released::Done);
                self.ended.push(loan.lease);
            }
            None => {
                assert!(!waiter, "somebody waits");
                self.held.push(loan);
            }
        }
    }

    /// A lease that is over changes nothing, whoever has the place now.
    fn stale(&mut self, n: usize) {
        let Some(&lease) = pick(&self.ended, n) else { return };
        let before = format!("{:?}", self.slots);
        let mut effects = Vec::new();
        assert_eq!(self.slots.release(lease, &mut effects), Released::Stale);
        assert_eq!(self.slots.hand_over(lease, &mut effects), Some(Released::Stale));
        assert!(!self.slots.condemn(lease, Cow::Borrowed("stale"), &mut effects));
        self.slots.reject(lease, Cow::Borrowed("stale"), &mut effects);
        self.slots.settled(lease, &mut effects);
        assert!(effects.is_empty());
        assert_eq!(before, format!("{:?}", self.slots));
    }

    /// Something became available: it is idle afterwards, unless somebody got it or it was destroyed.
    fn comes_free(
        &mut self,
        id: u32,
        tell: impl FnOnce(&mut Slots<Fake, u32>, &mut Effects<Fake, u32>),
        effects: &mut Effects<Fake, u32>,
    ) {
        let waiter = self.waiting.iter().any(|(_, _, acquire)| self.suits(id, *acquire));
        tell(&mut self.slots, effects);
        if !waiter && self.slots.admission() != Admission::Closed {
            self.idle.push(id);
        }
    }

    fn carry_out(&mut self, effects: Effects<Fake, u32>, prewarmed: usize) {
        let created_any = effects.iter().any(|effect| matches!(effect, Effect::Create { .. }));
        for effect in effects {
            match effect {
                Effect::Create { slot } => self.creates.push(slot),
                Effect::Settle(loan) => {
                    assert!(!self.waiting.iter().any(|(_, _, acquire)| *acquire != Acquire::FreshOnly));
                    self.settling.push(loan);
                }
                Effect::Deliver { waiter, delivery } => self.delivered(waiter, delivery),
                Effect::Destroy { lease, occupant, .. } => {
                    self.idle.retain(|id| *id != occupant.id);
                    self.destroying.push((lease, occupant.id));
                }
                Effect::Retry { lease, occupant } => {
                    assert!(self.quarantined.contains(&(lease, occupant.id)));
                }
                Effect::Quarantine { .. } | Effect::BackOff { .. } => {}
            }
        }
        if created_any {
            let wanting =
                self.waiting.iter().filter(|(_, _, acquire)| *acquire != Acquire::ReuseOnly).count();
            let floor = self.sizes.min_idle.max(prewarmed);
            let deficit = floor.saturating_sub(self.idle.len() + self.settling.len());
            assert!(self.creates.len() <= wanting + deficit, "more creates than anybody wants");
        }
    }

    fn delivered(&mut self, waiter: u32, delivery: Delivery<Fake>) {
        let at = self.waiting.iter().position(|(_, other, _)| *other == waiter).expect("it waits");
        let (_, _, acquire) = self.waiting[at];
        match delivery {
            Delivery::Loan(loan) => {
                let first =
                    self.waiting.iter().position(|(_, _, other)| self.suits(loan.occupant.id, *other));
                assert_eq!(first, Some(at), "first come, first served");
                assert!(self.suits(loan.occupant.id, acquire));
                self.lent(loan);
            }
            Delivery::Failed(error) => assert_eq!(error.code(), ErrorCode::CreateFailed),
            Delivery::Closed => assert_eq!(self.slots.admission(), Admission::Closed),
        }
        self.waiting.remove(at);
    }

    fn lent(&mut self, loan: Loan<Fake>) {
        assert!(self.leases.insert((loan.lease.slot, loan.lease.generation)), "a lease was given twice");
        assert!(!self.gone.contains(&loan.occupant.id), "a destroyed sandbox was handed out");
        assert!(self.held.iter().all(|other| other.occupant.id != loan.occupant.id), "two holders");
        self.touched.insert(loan.occupant.id);
        self.held.push(loan);
    }

    fn suits(&self, id: u32, acquire: Acquire) -> bool {
        acquire != Acquire::FreshOnly || !self.touched.contains(&id)
    }

    fn check(&self) {
        let slots = &self.slots;
        let stats = slots.stats();
        // The conservation law, and agreement with the model.
        let existing =
            stats.idle + stats.held + stats.resuming + stats.returning + stats.destroying + stats.quarantined;
        assert_eq!(stats.created, existing as u64 + stats.destroyed);
        assert_eq!(stats.destroyed, self.gone.len() as u64);
        assert_eq!(stats.idle, self.idle.len());
        assert_eq!(stats.creating, self.creates.len());
        assert_eq!(stats.held + stats.resuming + stats.returning, self.held.len() + self.settling.len());
        assert_eq!(stats.destroying, self.destroying.len());
        assert_eq!(stats.quarantined, self.quarantined.len());
        assert_eq!(stats.waiting, self.waiting.len());
        assert_eq!(stats.destroyed_by.iter().map(|(_, count)| count).sum::<u64>(), stats.destroyed);
        assert!(stats.hits <= stats.gets);
        // Reserved places never exceed the size, and no more sandboxes than that are ever without a place.
        let placed = stats.creating + existing - slots.displaced;
        assert_eq!(slots.occupied, placed);
        assert!(slots.occupied <= self.sizes.max_size && slots.displaced <= self.sizes.max_size);
        let lingering = slots.in_state(State::Lingering { holds_place: true });
        assert!(lingering == 0 || slots.displaced == self.sizes.max_size, "lingers in a place for nothing");
        // Nobody waits while there is something for them, or a place to make it in.
        let open = slots.admission() == Admission::Open;
        for (ticket, _, acquire) in &self.waiting {
            assert!(!self.idle.iter().any(|id| self.suits(*id, *acquire)), "waits while one is idle");
            let uncovered = slots.queue.is_uncovered(*ticket);
            assert!(!uncovered || slots.occupied == self.sizes.max_size, "waits while there is a place");
            assert!(!uncovered || slots.unowned.is_empty(), "waits while a create has no owner");
        }
        if open && !slots.refill_blocked && slots.occupied < self.sizes.max_size {
            assert!(slots.idle() + slots.coming() >= self.sizes.min_idle, "the stock is not refilled");
        }
        if slots.admission() == Admission::Closed {
            assert!(self.waiting.is_empty() && self.idle.is_empty());
        }
    }

    /// Lets everything end well, and sees that nothing is lost.
    fn finish(&mut self) {
        self.apply(&Step::Close);
        self.apply(&Step::CondemnHeld);
        while !self.slots.is_empty() {
            self.apply(&Step::Created(0));
            self.apply(&Step::Settled(0));
            self.apply(&Step::Destroyed(0));
            self.apply(&Step::RetrySucceeded(0));
        }
        let stats = self.slots.stats();
        assert_eq!(stats.created, stats.destroyed);
    }
}

fn remove<T>(list: &mut Vec<T>, n: usize) -> Option<T> {
    if list.is_empty() { None } else { Some(list.remove(n % list.len())) }
}

fn pick<T>(list: &[T], n: usize) -> Option<&T> {
    if list.is_empty() { None } else { list.get(n % list.len()) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(
        max_size in 1..6usize,
        min_idle in 0..4usize,
        max_waiters in 1..6usize,
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut world = World::new(Sizes { max_size, min_idle: min_idle.min(max_size), max_waiters });
        world.apply(&Step::AllowRefill);
        for step in &steps {
            world.apply(step);
        }
        world.finish();
    }
}

#[test]
fn a_waiter_that_was_served_in_vain_keeps_its_turn() {
    let mut slots: Slots<Fake, u32> = Slots::new(Sizes { max_size: 1, min_idle: 0, max_waiters: 9 });
    let mut effects = Vec::new();
    let phase = Rc::new(Cell::new(LeasePhase::Held));
    let first = slots.enqueue(None, Acquire::Any, false, 1, &mut effects).unwrap();
    let second = slots.enqueue(None, Acquire::Any, false, 2, &mut effects).unwrap();
    effects.clear();
    slots.created(0, Fake { id: 1, phase }, &mut effects);
    let Some(Effect::Deliver { waiter: 1, delivery: Delivery::Loan(loan) }) = effects.pop() else {
        panic!("the first is served first")
    };
    slots.reject(loan.lease, Cow::Borrowed("dead"), &mut effects);
    assert_eq!(slots.enqueue(Some(first), Acquire::Any, false, 3, &mut effects), Ok(first));
    assert_eq!((slots.queue.next(true), slots.queue.ahead_of(second)), (Some(first), 1));
}

#[test]
fn reasons_are_bounded() {
    let mut slots: Slots<Fake, u32> = Slots::new(Sizes { max_size: 1, min_idle: 0, max_waiters: 9 });
    for number in 0..1000 {
        let mut effects = Vec::new();
        slots.prewarm(1, &mut effects);
        let phase = Rc::new(Cell::new(LeasePhase::Held));
        slots.created(0, Fake { id: number, phase }, &mut effects);
        let Some(Effect::Settle(loan)) = effects.pop() else { panic!("nobody waits") };
        slots.condemn(loan.lease, Cow::Borrowed("x"), &mut effects);
        let Some(Effect::Destroy { lease, .. }) = effects.pop() else { panic!("it was condemned") };
        slots.destroyed(lease, &format!("reason {number}"), &mut effects);
    }
    let stats = slots.stats();
    assert_eq!((stats.destroyed, stats.destroyed_by.len()), (1000, 65));
}
