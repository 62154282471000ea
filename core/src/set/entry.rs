//! One sandbox of a set: what its place, its holder and the workers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::inner::Inner;
use super::parents::{Children, Claim};
use super::slots::{LeasePhase, Occupant, Source};
use crate::clock::Timer;
use crate::sandbox::Guard;

/// A sandbox and its lease. Keeps its set alive, so that a ref may outlive the set's last handle; the place drops
/// it when the sandbox is gone.
pub(super) struct Entry {
    pub(super) guard: Guard,
    pub(super) set: Arc<Inner>,
    /// On the set's clock.
    pub(super) ready_at: Duration,
    /// The generation and the phase of the current lease, in one word, so that ending a lease is one step.
    lease: AtomicU64,
    /// How often it was handed out. Written only by whoever was just given the sandbox.
    uses: AtomicU64,
    /// The generation of the lease that was tainted last, and why.
    tainted: AtomicU64,
    taint: Mutex<String>,
    /// Commands of the current holder that were started and have not ended.
    pub(super) running: AtomicUsize,
    /// Calls of the current holder into the sandbox that have not returned.
    pub(super) under_way: AtomicUsize,
    /// While it is being destroyed: the end of its place's reservation, and the next try.
    pub(super) place_timer: Mutex<Option<Timer>>,
    pub(super) retry_timer: Mutex<Option<Timer>>,
    pub(super) children: Children,
    /// On the sandbox it was forked from, until it is gone.
    pub(super) claim: Mutex<Option<Claim>>,
}

const PHASE_BITS: u32 = 3;
const FREE: u64 = 0;
const RESUMING_FROM_IDLE: u64 = 1;
const RESUMING_HANDED: u64 = 2;
const HELD: u64 = 3;
const RETURNING: u64 = 4;

impl Entry {
    pub(super) fn new(guard: Guard, set: Arc<Inner>, ready_at: Duration, claim: Option<Claim>) -> Self {
        Entry {
            guard,
            set,
            ready_at,
            lease: AtomicU64::new(FREE),
            uses: AtomicU64::new(0),
            tainted: AtomicU64::new(0),
            taint: Mutex::new(String::new()),
            running: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            place_timer: Mutex::new(None),
            retry_timer: Mutex::new(None),
            children: Children::default(),
            claim: Mutex::new(claim),
        }
    }

    /// The sandbox runs and is its holder's from here on. Answers how often it was handed out, this time included.
    #[inline]
    pub(super) fn hand_out(&self, generation: u64) -> u64 {
        let uses = self.uses.load(Ordering::Relaxed) + 1;
        self.uses.store(uses, Ordering::Relaxed);
        self.lease.store(word(generation, HELD), Ordering::Release);
        uses
    }

    /// Begins the way back of a sandbox that was never handed out.
    pub(super) fn decline(&self, generation: u64) {
        self.lease.store(word(generation, RETURNING), Ordering::Release);
    }

    /// Ends the holder's right to the sandbox: `true` for exactly one caller per lease.
    #[inline]
    pub(super) fn end_lease(&self, generation: u64) -> bool {
        let (held, returning) = (word(generation, HELD), word(generation, RETURNING));
        self.lease.compare_exchange(held, returning, Ordering::SeqCst, Ordering::Acquire).is_ok()
    }

    /// Marks the sandbox of this lease as not reusable. The first reason is kept; an older lease changes nothing.
    pub(super) fn taint(&self, generation: u64, reason: &str) {
        let mut taint = self.taint.lock();
        if self.tainted.load(Ordering::Relaxed) < generation {
            reason.clone_into(&mut taint);
            self.tainted.store(generation, Ordering::Release);
        }
    }

    /// Why the sandbox of this lease is not reusable, if it was tainted.
    #[inline]
    pub(super) fn tainted(&self, generation: u64) -> Option<String> {
        if self.tainted.load(Ordering::Acquire) == generation {
            Some(self.taint.lock().clone())
        } else {
            None
        }
    }

    /// Whether the holder with this generation still has the sandbox.
    #[inline]
    pub(super) fn is_held(&self, generation: u64) -> bool {
        self.lease.load(Ordering::SeqCst) == word(generation, HELD)
    }

    /// Whether nobody has been given the sandbox since.
    pub(super) fn is_last(&self, generation: u64) -> bool {
        self.lease.load(Ordering::SeqCst) >> PHASE_BITS == generation
    }
}

impl Occupant for Arc<Entry> {
    #[inline]
    fn lend(&self, generation: u64, source: Source) {
        let phase = match source {
            Source::Idle => RESUMING_FROM_IDLE,
            Source::Handed => RESUMING_HANDED,
        };
        self.lease.store(word(generation, phase), Ordering::Release);
    }

    fn phase(&self) -> LeasePhase {
        match self.lease.load(Ordering::Acquire) & ((1 << PHASE_BITS) - 1) {
            RESUMING_FROM_IDLE => LeasePhase::Resuming(Source::Idle),
            RESUMING_HANDED => LeasePhase::Resuming(Source::Handed),
            HELD => LeasePhase::Held,
            _ => LeasePhase::Returning,
        }
    }

    fn is_childless(&self) -> bool {
        self.children.are_gone()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("guard", &self.guard).finish_non_exhaustive()
    }
}

#[inline]
fn word(generation: u64, phase: u64) -> u64 {
    generation << PHASE_BITS | phase
}
