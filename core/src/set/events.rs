//! What happened in a set, in order.

use std::time::Duration;

use crate::SandboxId;

/// One thing that happened to one sandbox of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Counts every event of the set from 1 without gaps; a gap in what a stream delivers is a loss.
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
            EventKind::Destroy(_) => "destroy",
            EventKind::Fault(_) => "fault",
            EventKind::Lost(_) => "lost",
        }
    }
}

/// The events of one set from the moment of subscription. Bounded: a slow reader loses the oldest and is told.
#[derive(Debug)]
pub struct EventStream {}

impl EventStream {
    /// The next event; `None` if none came in time, or if the set is closed and all were read.
    pub fn next(&self, timeout: Duration) -> Option<Event> {
        let _ = timeout;
        todo!()
    }
}
