//! What happened in a set, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::{Error, Phase, ResetReport, Result, SandboxId, forked};

/// One thing that happened to one sandbox of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts the events of the set from 1 without gaps, as long as anybody is subscribed; a gap in what one
    /// stream delivers is a loss. A `Lost` event carries the number of the last event that was lost.
    pub sequence: u64,
    /// The sandbox.
    pub sandbox_id: SandboxId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a sandbox. First `Create`, when it became usable; last `Destroy`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was created.
    Create,
    /// It is about to be unpaused.
    Unpause,
    /// It was paused.
    Pause,
    /// Its holder put it back.
    Put,
    /// It was reset after a put, and this was verified from outside.
    Reset(ResetReport),
    /// This sandbox of another set was forked from it.
    Fork(SandboxId),
    /// It was destroyed, for this reason.
    Destroy(String),
    /// An operation on it failed, with this text.
    Fault(String),
    /// This many events were dropped here, because the stream was not read in time.
    Lost(u64),
}

impl EventKind {
    /// The lower-case name that all languages use.
    pub fn name(&self) -> &'static str {
        match self {
            EventKind::Create => "create",
            EventKind::Unpause => "unpause",
            EventKind::Pause => "pause",
            EventKind::Put => "put",
            EventKind::Reset(_) => "reset",
            EventKind::Fork(_) => "fork",
            EventKind::Destroy(_) => "destroy",
            EventKind::Fault(_) => "fault",
            EventKind::Lost(_) => "lost",
        }
    }
}

/// The events of one set from the moment of subscription. Bounded: a slow reader loses the oldest and is told.
///
/// Thread-safe; dropping it ends the subscription.
#[derive(Debug)]
pub struct EventStream {
    ring: Arc<Ring>,
    hub: Arc<Hub>,
}

/// Where a set's events come from. Costs one load per event while nobody is subscribed.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    subscribed: AtomicBool,
    state: Mutex<HubState>,
}

/// Whether the last event of a sandbox was published; kept beside the sandbox, written under the hub's lock.
#[derive(Debug, Default)]
pub(crate) struct Ended(AtomicBool);

#[derive(Debug, Default)]
struct HubState {
    sequence: u64,
    closed: bool,
    rings: Vec<Arc<Ring>>,
}

#[derive(Debug)]
struct Ring {
    capacity: usize,
    state: Mutex<RingState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct RingState {
    events: VecDeque<Event>,
    /// The last event that was dropped, and how many were since the reader was last told.
    lost: Option<(u64, SandboxId, u64)>,
    closed: bool,
    /// Of the task that waits, if one does.
    waker: Option<Waker>,
}

impl EventStream {
    /// The most events that one stream may keep.
    pub const MAX_CAPACITY: usize = 1 << 20;

    /// The next event; `None` if none came in time, or if the set is closed and all were read.
    pub fn next(&self, timeout: Duration) -> Option<Event> {
        if forked::in_forked_child() {
            return None;
        }
        let until = Instant::now().checked_add(timeout);
        let mut state = self.ring.state.lock();
        loop {
            if let Some(event) = state.take() {
                return Some(event);
            }
            if state.closed {
                return None;
            }
            match until {
                Some(until) => {
                    if self.ring.arrived.wait_until(&mut state, until).timed_out()
                        && state.events.is_empty()
                        && state.lost.is_none()
                    {
                        return None;
                    }
                }
                None => self.ring.arrived.wait(&mut state),
            }
        }
    }

    /// Ends the subscription: whoever waits for an event, on whatever thread, is told that none will come.
    pub fn end(&self) {
        if forked::in_forked_child() {
            return;
        }
        self.hub.unsubscribe(&self.ring);
        let ended = RingState { closed: true, ..RingState::default() };
        let before = std::mem::replace(&mut *self.ring.state.lock(), ended);
        self.ring.arrived.notify_all();
        if let Some(waker) = before.waker {
            waker.wake();
        }
    }

    /// As [`EventStream::next`], for a task: it is woken when the next event has come, or the set is closed. One task at a
    /// time; `None` is the end.
    pub fn poll_next(&self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        if forked::in_forked_child() {
            return Poll::Ready(None);
        }
        let mut state = self.ring.state.lock();
        match state.take() {
            None if !state.closed => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            event => Poll::Ready(event),
        }
    }
}

impl RingState {
    /// The next event, or the news that some were lost before it.
    fn take(&mut self) -> Option<Event> {
        if let Some((sequence, sandbox_id, count)) = self.lost.take() {
            return Some(Event { sequence, sandbox_id, kind: EventKind::Lost(count) });
        }
        self.events.pop_front()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if !forked::in_forked_child() {
            self.hub.unsubscribe(&self.ring);
        }
    }
}

impl Hub {
    pub(crate) fn subscribe(self: &Arc<Self>, capacity: usize) -> Result<EventStream> {
        if !(1..=EventStream::MAX_CAPACITY).contains(&capacity) {
            return Err(Error::invalid(
                "capacity",
                format_args!("{capacity} is not between 1 and {}", EventStream::MAX_CAPACITY),
            )
            .with_phase(Phase::Use));
        }
        let mut state = self.state.lock();
        let ring = Arc::new(Ring {
            capacity,
            state: Mutex::new(RingState { closed: state.closed, ..RingState::default() }),
            arrived: Condvar::new(),
        });
        state.rings.push(Arc::clone(&ring));
        self.subscribed.store(true, Ordering::Release);
        Ok(EventStream { ring, hub: Arc::clone(self) })
    }

    /// Publishes an event of a sandbox, unless its `Destroy` was published already. `kind` is only called if
    /// somebody listens.
    #[inline]
    pub(crate) fn publish(&self, sandbox_id: SandboxId, ended: &Ended, kind: impl FnOnce() -> EventKind) {
        if self.subscribed.load(Ordering::Acquire) {
            self.deliver(sandbox_id, ended, kind());
        }
    }

    /// Tells every reader that nothing more will come.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let wakers: Vec<Waker> = state.rings.iter().filter_map(|ring| ring.close()).collect();
        // A waker is the reader's code.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    #[cold]
    fn deliver(&self, sandbox_id: SandboxId, ended: &Ended, kind: EventKind) {
        let mut state = self.state.lock();
        if ended.0.load(Ordering::Relaxed) {
            return;
        }
        if matches!(kind, EventKind::Destroy(_)) {
            ended.0.store(true, Ordering::Relaxed);
        }
        state.sequence += 1;
        let event = Event { sequence: state.sequence, sandbox_id, kind };
        let wakers: Vec<Waker> = state.rings.iter().filter_map(|ring| ring.push(event.clone())).collect();
        // A waker is the reader's code.
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn unsubscribe(&self, ring: &Arc<Ring>) {
        let mut state = self.state.lock();
        state.rings.retain(|other| !Arc::ptr_eq(other, ring));
        self.subscribed.store(!state.rings.is_empty(), Ordering::Release);
    }
}

impl Ring {
    /// Answers the task that is to be woken, and so does `close`.
    #[must_use = "the reader is to be woken"]
    fn push(&self, event: Event) -> Option<Waker> {
        let mut state = self.state.lock();
        if state.events.len() == self.capacity
            && let Some(oldest) = state.events.pop_front()
        {
            let count = state.lost.map_or(0, |(_, _, count)| count) + 1;
            state.lost = Some((oldest.sequence, oldest.sandbox_id, count));
        }
        state.events.push_back(event);
        self.arrived.notify_one();
        state.waker.take()
    }

    #[must_use = "the reader is to be woken"]
    fn close(&self) -> Option<Waker> {
        let mut state = self.state.lock();
        state.closed = true;
        self.arrived.notify_all();
        state.waker.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_woken_by_the_next_event_and_by_the_end() {
        struct Flag(AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Release);
            }
        }
        let hub = Arc::new(Hub::default());
        let stream = hub.subscribe(10).unwrap();
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let woken = || flag.0.swap(false, Ordering::AcqRel);
        let next = || stream.poll_next(&mut Context::from_waker(&waker));
        assert!(next().is_pending() && !woken());
        let (id, ended) = (SandboxId::next(), Ended::default());
        hub.publish(id, &ended, || EventKind::Put);
        hub.publish(id, &ended, || EventKind::Pause);
        assert!(woken());
        for sequence in 1..=2 {
            assert!(matches!(next(), Poll::Ready(Some(event)) if event.sequence == sequence));
        }
        assert!(next().is_pending() && !woken());
        hub.close();
        assert!(woken() && next() == Poll::Ready(None));
    }

    fn event(stream: &EventStream) -> Option<(u64, &'static str)> {
        stream.next(Duration::ZERO).map(|event| (event.sequence, event.kind.name()))
    }

    #[test]
    fn a_slow_reader_is_told_how_many_it_lost() {
        let hub = Arc::new(Hub::default());
        let (id, ended) = (SandboxId::next(), Ended::default());
        hub.publish(id, &ended, || panic!("nobody listens"));
        let (slow, quick) = (hub.subscribe(2).unwrap(), hub.subscribe(100).unwrap());
        for _ in 0..5 {
            hub.publish(id, &ended, || EventKind::Put);
        }
        let lost = slow.next(Duration::ZERO).unwrap();
        assert_eq!((lost.sequence, lost.kind), (3, EventKind::Lost(3)));
        assert_eq!((event(&slow), event(&slow), event(&slow)), (Some((4, "put")), Some((5, "put")), None));
        for sequence in 1..=5 {
            assert_eq!(event(&quick), Some((sequence, "put")));
        }
    }

    #[test]
    fn nothing_follows_a_destroy_and_a_closed_hub_ends_its_streams() {
        let hub = Arc::new(Hub::default());
        let (id, ended) = (SandboxId::next(), Ended::default());
        let stream = hub.subscribe(8).unwrap();
        hub.publish(id, &ended, || EventKind::Destroy("done".into()));
        hub.publish(id, &ended, || EventKind::Pause);
        hub.close();
        assert_eq!(stream.next(Duration::from_secs(30)).unwrap().kind, EventKind::Destroy("done".into()));
        assert_eq!(stream.next(Duration::from_secs(30)), None);
    }

    #[test]
    fn the_end_of_a_subscription_wakes_who_waits() {
        let hub = Arc::new(Hub::default());
        let (id, ended) = (SandboxId::next(), Ended::default());
        let stream = hub.subscribe(8).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| stream.next(Duration::MAX));
            stream.end();
            assert_eq!(waits.join().unwrap(), None);
        });
        hub.publish(id, &ended, || panic!("nobody listens"));
        assert_eq!(stream.next(Duration::MAX), None);
    }

    #[test]
    fn a_stream_without_room_is_refused() {
        let hub = Arc::new(Hub::default());
        assert_eq!(hub.subscribe(0).unwrap_err().field(), Some("capacity"));
        assert_eq!(hub.subscribe(usize::MAX).unwrap_err().field(), Some("capacity"));
    }
}
