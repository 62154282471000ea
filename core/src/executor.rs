//! Runs futures whose callers have no runtime: one thread polls them all, and a worker each what may block.
//!
//! The thread is a worker that is claimed as long as any such future is under way, so that one that is woken always has
//! a thread, even when the system has none left. That a future is polled by one thread at a time, and once more after
//! it was woken, is `async-task`'s.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use async_task::Runnable;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::threads::{self, Job};

/// A place for one future; `None` if the system has no thread left.
pub(crate) fn enter() -> Option<Place> {
    EXECUTOR.enter()
}

/// A place for one future. While there is one, the thread that polls lives.
pub(crate) struct Place(());

/// Where its future goes on: on the thread that polls all of them, or on a worker.
#[derive(Clone)]
pub(crate) struct Course {
    on_worker: Arc<AtomicBool>,
}

impl Place {
    /// Runs a future to its end. Its first poll is on a worker if it `may_block` there, which it may until it calls
    /// [`Course::must_not_block`].
    pub(crate) fn spawn<F>(self, may_block: bool, future: impl FnOnce(Course) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let course = Course { on_worker: Arc::new(AtomicBool::new(may_block)) };
        let future = future(course.clone());
        let whole = async move {
            future.await;
            drop(self);
        };
        let (runnable, task) = async_task::spawn(whole, move |runnable| course.schedule(runnable));
        task.detach();
        runnable.schedule();
    }
}

impl Course {
    /// The future goes on where it may block, until it says that it does no more.
    pub(crate) async fn may_block(&self) {
        poll_fn(|context| {
            if self.on_worker.swap(true, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// From its next wait on, the future is polled beside all others.
    pub(crate) fn must_not_block(&self) {
        self.on_worker.store(false, Ordering::Release);
    }

    fn schedule(&self, runnable: Runnable) {
        let poll: Job = Box::new(move || {
            runnable.run();
        });
        if !self.on_worker.load(Ordering::Acquire) {
            return EXECUTOR.push(poll);
        }
        if let Err(poll) = threads::run(poll) {
            // Without a worker it may delay the others, which is better than to be lost.
            EXECUTOR.push(poll);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !crate::in_forked_child() {
            EXECUTOR.leave();
        }
    }
}

static EXECUTOR: Executor = Executor {
    state: Mutex::new(State { ready: VecDeque::new(), places: 0, has_thread: false }),
    changed: Condvar::new(),
};

struct Executor {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// One poll for each future that was woken.
    ready: VecDeque<Job>,
    places: usize,
    has_thread: bool,
}

impl Executor {
    fn enter(&'static self) -> Option<Place> {
        let mut state = self.state.lock();
        if !state.has_thread {
            threads::claim()?.run(Box::new(|| self.work()));
            state.has_thread = true;
        }
        state.places += 1;
        Some(Place(()))
    }

    fn leave(&self) {
        let mut state = self.state.lock();
        state.places -= 1;
        if state.places == 0 {
            self.changed.notify_one();
        }
    }

    fn push(&self, poll: Job) {
        self.state.lock().ready.push_back(poll);
        self.changed.notify_one();
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(poll) = state.ready.pop_front() {
                MutexGuard::unlocked(&mut state, || {
                    if catch_unwind(AssertUnwindSafe(poll)).is_err() {
                        tracing::error!("a future of a sandbox set panicked");
                    }
                });
            } else if state.places == 0 {
                state.has_thread = false;
                return;
            } else {
                self.changed.wait(&mut state);
            }
        }
    }
}
