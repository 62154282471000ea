//! Cancelling a wait from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::{Error, ErrorCode, Phase, Result};

/// Cancels the calls it was given to, from any thread and at most once.
///
/// Clones share one state. Once cancelled a token stays cancelled.
#[derive(Clone, Default)]
pub struct CancelToken(Arc<Shared>);

/// Keeps a callback registered with a token; dropping it removes the callback.
#[must_use = "dropping the registration removes the callback"]
pub struct CancelRegistration {
    shared: Arc<Shared>,
    id: u64,
}

type Callback = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    next_id: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cancelled: bool,
    callbacks: Vec<(u64, Callback)>,
}

impl CancelToken {
    /// A token that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every call that holds this token. Idempotent; never blocks on the calls.
    pub fn cancel(&self) {
        let callbacks = {
            let mut state = self.0.state.lock();
            state.cancelled = true;
            std::mem::take(&mut state.callbacks)
        };
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.state.lock().cancelled
    }

    /// `CANCELLED` in the given phase, if the token was cancelled.
    pub fn check(&self, phase: Phase) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorCode::Cancelled, phase, "the caller cancelled"));
        }
        Ok(())
    }

    /// Runs `callback` on cancellation: on the cancelling thread, or here and now if it already happened.
    /// The callback must not block; no lock is held while it runs.
    pub fn on_cancel(&self, callback: impl FnOnce() + Send + 'static) -> CancelRegistration {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let registration = CancelRegistration { shared: Arc::clone(&self.0), id };
        let mut state = self.0.state.lock();
        if state.cancelled {
            drop(state);
            callback();
            return registration;
        }
        state.callbacks.push((id, Box::new(callback)));
        registration
    }
}

impl Drop for CancelRegistration {
    fn drop(&mut self) {
        self.shared.state.lock().callbacks.retain(|(id, _)| *id != self.id);
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}
