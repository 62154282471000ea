//! Cancelling a wait from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    /// Set once, under the lock of `callbacks`, so that no callback is registered after the last was taken.
    cancelled: AtomicBool,
    next_id: AtomicU64,
    callbacks: Mutex<Vec<(u64, Callback)>>,
}

impl CancelToken {
    /// A token that has not been cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels every call that holds this token. Idempotent; never blocks on the calls.
    pub fn cancel(&self) {
        if crate::in_forked_child() {
            // The lock may be held by a thread that does not exist here, and there is no call to cancel.
            self.0.cancelled.store(true, Ordering::Release);
            return;
        }
        let callbacks = {
            let mut callbacks = self.0.callbacks.lock();
            self.0.cancelled.store(true, Ordering::Release);
            std::mem::take(&mut *callbacks)
        };
        for (_, callback) in callbacks {
            callback();
        }
    }

    /// Whether `cancel` was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Acquire)
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
        let mut callbacks = self.0.callbacks.lock();
        if self.is_cancelled() {
            drop(callbacks);
            callback();
            return registration;
        }
        callbacks.push((id, Box::new(callback)));
        registration
    }
}

impl Drop for CancelRegistration {
    fn drop(&mut self) {
        if crate::in_forked_child() {
            return;
        }
        let mut callbacks = self.shared.callbacks.lock();
        let Some(index) = callbacks.iter().position(|(id, _)| *id == self.id) else { return };
        let callback = callbacks.swap_remove(index);
        drop(callbacks);
        // Dropped after the lock is released, because it may own anything.
        drop(callback);
    }
}

impl std::fmt::Debug for CancelRegistration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelRegistration").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelToken").field("cancelled", &self.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_run_once_and_only_while_registered() {
        let token = CancelToken::new();
        let count = Arc::new(AtomicU64::new(0));
        let add = |by: u64| {
            let count = Arc::clone(&count);
            move || {
                count.fetch_add(by, Ordering::Relaxed);
            }
        };
        let kept = token.on_cancel(add(1));
        drop(token.on_cancel(add(10)));
        assert!(token.check(Phase::Wait).is_ok());
        token.cancel();
        token.cancel();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        drop(kept);
        drop(token.on_cancel(add(100)));
        assert_eq!(count.load(Ordering::Relaxed), 101);
        assert_eq!(token.check(Phase::Wait).unwrap_err().code(), ErrorCode::Cancelled);
    }
}
