//! Time, injectable.

use std::sync::Arc;
use std::time::Duration;

/// Where a set takes its time from. Monotonic; counts from an arbitrary start.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's monotonic clock.
    #[default]
    System,
    /// A clock that stands still until a test advances it.
    Manual(Arc<ManualClock>),
}

/// A clock that only [`ManualClock::advance`] moves.
#[derive(Debug, Default)]
pub struct ManualClock {}

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Moves the clock and runs everything whose deadline has come.
    pub fn advance(&self, by: Duration) {
        let _ = by;
        todo!()
    }
}
