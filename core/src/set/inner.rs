//! What all handles of a set share, and how the decisions of its slots are carried out.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::entry::Entry;
use super::events::Hub;
use super::parents::Parents;
use super::slots::{Admission, Delivery, Effect, Lease, Loan, Refusal, Released, Sizes, Slots};
use super::waiters::Waiter;
use crate::clock::{self, Clock, Timer};
use crate::sandbox::Killer;
use crate::threads::{self, Job};
use crate::{Backend, CancelToken, Config, Error, ErrorCode, Phase, Result, Reuse, SandboxSpec};

/// A set. Locks are taken one at a time and never across a backend call, an effect or an observer.
pub(super) struct Inner {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) spec: Arc<SandboxSpec>,
    pub(super) config: Config,
    pub(super) can_pause: bool,
    pub(super) hub: Arc<Hub>,
    /// How many wait; only a hint for puts, which look again under the lock.
    waiting: AtomicUsize,
    core: Mutex<Core>,
    /// Signalled at every change while somebody watches: a prewarm, drain or close.
    changed: Condvar,
    pub(super) refill_timer: Mutex<Option<Timer>>,
    pub(super) parents: Parents,
    /// Fires when the set is closed, for creates that wait for a parent.
    pub(super) closing: CancelToken,
}

pub(super) type EntrySlots = Slots<Arc<Entry>, Arc<Waiter>>;
pub(super) type Effects = Vec<Effect<Arc<Entry>, Arc<Waiter>>>;

struct Core {
    slots: EntrySlots,
    watchers: usize,
}

impl Inner {
    pub(super) fn new(backend: Arc<dyn Backend>, spec: SandboxSpec, config: Config) -> Self {
        let sizes =
            Sizes { max_size: config.max_size, min_idle: config.min_idle, max_waiters: config.max_waiters };
        let parents = Parents::new(&config);
        Inner {
            can_pause: backend.capabilities().pause,
            backend,
            spec: Arc::new(spec),
            config,
            hub: Arc::default(),
            waiting: AtomicUsize::new(0),
            core: Mutex::new(Core { slots: Slots::new(sizes), watchers: 0 }),
            changed: Condvar::new(),
            refill_timer: Mutex::new(None),
            parents,
            closing: CancelToken::new(),
        }
    }

    /// Tells the slots something and does what they decide, after the lock is released.
    #[inline(always)]
    pub(super) fn decide<T>(self: &Arc<Self>, tell: impl FnOnce(&mut EntrySlots, &mut Effects) -> T) -> T {
        let mut effects = Effects::new();
        let mut core = self.core.lock();
        let answer = tell(&mut core.slots, &mut effects);
        self.publish_changes(&core);
        // Before anybody can see what was decided: who then advances a manual clock means what follows from it too.
        let decided_at = if effects.is_empty() { None } else { Some(self.config.clock.now()) };
        drop(core);
        if let Some(now) = decided_at {
            self.carry_out(effects, now);
        }
        answer
    }

    /// Asks the slots something.
    pub(super) fn ask<T>(&self, question: impl FnOnce(&EntrySlots) -> T) -> T {
        question(&self.core.lock().slots)
    }

    /// Waits until the slots are in a wanted state, or until a deadline on the set's clock. Answers whether they are.
    pub(super) fn watch(
        self: &Arc<Self>,
        deadline: Duration,
        mut wanted: impl FnMut(&EntrySlots) -> bool,
    ) -> bool {
        let (_timer, until) = match &self.config.clock {
            Clock::System => (None, clock::instant_of(deadline)),
            manual => {
                let set = Arc::clone(self);
                let wake = move || {
                    let _core = set.core.lock();
                    set.changed.notify_all();
                };
                (Some(manual.schedule(deadline, Box::new(wake))), None)
            }
        };
        let mut core = self.core.lock();
        core.watchers += 1;
        let reached = loop {
            if wanted(&core.slots) {
                break true;
            }
            match until {
                Some(until) => {
                    if self.changed.wait_until(&mut core, until).timed_out() {
                        break wanted(&core.slots);
                    }
                }
                None if self.config.clock.now() >= deadline => break false,
                None => self.changed.wait(&mut core),
            }
        };
        core.watchers -= 1;
        reached
    }

    /// Whether somebody waits, perhaps: to be looked at again under the lock.
    #[inline]
    pub(super) fn somebody_waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// What to do with a running sandbox whose holder has put it back: reset it first, if that is the rule.
    #[inline]
    pub(super) fn put(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease) {
        if self.config.reuse == Reuse::Reset {
            return self.start_reset(entry, lease);
        }
        self.take_back(entry, lease);
    }

    /// As `put`, for a thread that must not wait; answers what is left to do.
    pub(super) fn put_at_once(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease) -> Option<Job> {
        if self.config.reuse == Reuse::Reset {
            self.start_reset(entry, lease);
            return None;
        }
        self.take_back_at_once(entry, lease)
    }

    /// What to do with a running sandbox whose lease has ended: pause it and make it idle, or hand it over.
    #[inline]
    pub(super) fn take_back(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease) {
        if self.somebody_waits() && self.decide(|slots, effects| slots.hand_over(lease, effects)).is_some() {
            return;
        }
        self.release(entry, lease, entry.guard.pause());
    }

    /// As `take_back`, for a thread that must not wait; answers what is left to do if the pause takes long.
    fn take_back_at_once(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease) -> Option<Job> {
        if self.somebody_waits() && self.decide(|slots, effects| slots.hand_over(lease, effects)).is_some() {
            return None;
        }
        let paused = match entry.guard.pause_at_once() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let (set, entry) = (Arc::clone(self), Arc::clone(entry));
                return Some(Box::new(move || set.release(&entry, lease, entry.guard.go_on_pausing())));
            }
            Err(error) => Err(error),
        };
        self.release(entry, lease, paused);
        None
    }

    /// Makes a sandbox idle that was paused, or ends it.
    #[inline]
    fn release(self: &Arc<Self>, entry: &Arc<Entry>, lease: Lease, paused: Result<()>) {
        if paused.is_err() {
            return self.end(lease, "it could not be paused");
        }
        let released = self.decide(|slots, effects| slots.release(lease, effects));
        debug_assert!(released == Released::Done || entry.guard.is_dead());
    }

    /// What to do with a sandbox that was meant for somebody who is gone: it is the next one's.
    #[cold]
    pub(super) fn decline(self: &Arc<Self>, loan: &Loan<Arc<Entry>>) {
        self.decide(|slots, _| {
            slots.decline(loan.lease);
            loan.occupant.decline(loan.lease.generation);
        });
        if let Some(rest) = self.take_back_at_once(&loan.occupant, loan.lease) {
            threads::run_anyway(rest);
        }
    }

    /// Ends a sandbox that is out, if the lease still is the current one.
    #[cold]
    pub(super) fn end(self: &Arc<Self>, lease: Lease, reason: impl Into<Cow<'static, str>>) {
        let reason = reason.into();
        self.decide(|slots, effects| slots.condemn(lease, reason, effects));
    }

    fn carry_out(self: &Arc<Self>, effects: Effects, now: Duration) {
        let mut settling = None;
        for effect in effects {
            match effect {
                Effect::Deliver { waiter, delivery } => {
                    if let Some(Delivery::Loan(loan)) = waiter.complete(delivery) {
                        self.decline(&loan);
                    }
                }
                Effect::Create { slot } => self.start_create(slot),
                // Last, because it may block, and nobody waits for it. At most one: this is its maker's thread.
                Effect::Settle(loan) => settling = Some(loan),
                Effect::Destroy { lease, occupant, reason } => {
                    // Dead for its holder at once, torn down when a worker gets to it.
                    occupant.guard.doom(Killer::Set, || reason.into_owned());
                    self.limit_place(lease, &occupant, now);
                    self.start_tear_down(lease, occupant);
                }
                Effect::Retry { lease, occupant } => self.start_tear_down(lease, occupant),
                Effect::Quarantine { lease, failures } => self.quarantine(lease, failures, now),
                Effect::BackOff { failures } => self.back_off(failures, now),
            }
        }
        if let Some(loan) = settling {
            self.settle(loan);
        }
    }

    /// Pauses a new sandbox that nobody waits for, on the worker that made it.
    fn settle(self: &Arc<Self>, loan: Loan<Arc<Entry>>) {
        match loan.occupant.guard.pause() {
            Ok(()) => self.decide(|slots, effects| slots.settled(loan.lease, effects)),
            Err(_) => self.end(loan.lease, "it could not be paused"),
        }
    }

    /// Ends a doomed sandbox on a worker; a parent only when its last child is gone.
    pub(super) fn start_tear_down(self: &Arc<Self>, lease: Lease, entry: Arc<Entry>) {
        if entry.children.put_off(&entry, lease) {
            return self.decide(|slots, effects| slots.linger(lease, effects));
        }
        let set = Arc::clone(self);
        threads::run_anyway(Box::new(move || set.tear_down(lease, &entry)));
    }

    /// Stores the hint for puts and wakes those who watch. Called under the lock, after every change.
    #[inline]
    fn publish_changes(&self, core: &MutexGuard<'_, Core>) {
        let waiting = core.slots.waiting();
        if waiting != self.waiting.load(Ordering::Relaxed) {
            self.waiting.store(waiting, Ordering::Relaxed);
        }
        if core.watchers > 0 {
            self.changed.notify_all();
        }
    }
}

/// What a refused caller is told.
pub(super) fn refused(refusal: Refusal, max_waiters: usize) -> Error {
    match refusal {
        Refusal::Draining => Error::new(ErrorCode::Closed, Phase::Wait, "the set is draining"),
        Refusal::Closed => closed(),
        Refusal::Overloaded => Error::new(
            ErrorCode::Overloaded,
            Phase::Wait,
            format!("{max_waiters} callers wait already, which is max_waiters"),
        ),
        Refusal::Exhausted => Error::new(
            ErrorCode::Exhausted,
            Phase::Wait,
            "no sandbox is idle, and none may be waited for or created for this call",
        ),
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorCode::Closed, Phase::Wait, "the set is closed")
}

impl Inner {
    /// `CLOSED` unless the set still serves.
    pub(super) fn check_open(&self) -> Result<()> {
        match self.ask(|slots| slots.admission()) {
            Admission::Open => Ok(()),
            Admission::Draining => Err(refused(Refusal::Draining, 0)),
            Admission::Closed => Err(closed()),
        }
    }
}
