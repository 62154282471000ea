//! Blocking calls for asynchronous callers: each runs on a worker thread, and its result is a future.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::{CancelRegistration, CancelToken, Error, ErrorCode, Phase, Result, threads};

/// The result of a call that runs on a thread of this library. Needs no particular runtime: it can be awaited anywhere.
///
/// Dropping it cancels the call, if that can be cancelled, and waits for nothing; what the call would have given is
/// dropped when it is there, so a process is killed and a sandbox put.
#[must_use = "dropping the task cancels the call"]
pub struct Task<T> {
    phase: Phase,
    answer: Answer<T>,
    /// The call's own, so that dropping the task cancels nothing else of its caller.
    cancel: CancelToken,
    /// Cancels the call with its caller's token.
    _registration: Option<CancelRegistration>,
}

/// A thread of this library that waits for one call: claimed first, so that nothing that follows fails for want of it.
/// Dropping it lets the thread go.
#[must_use = "dropping the worker lets its thread go"]
pub struct Worker {
    phase: Phase,
    claim: threads::Claim,
}

enum Answer<T> {
    Coming(oneshot::Receiver<Result<T>>),
    /// There was no thread to run the call.
    Refused,
    Given,
}

impl<T: Send + 'static> Task<T> {
    /// Runs `call` on a thread of this library, which gives it the token to heed: cancelled with the caller's own, and
    /// when the task is dropped.
    ///
    /// Errors of the task: what `call` answers; `NO_CAPACITY` if no thread can be started; `INTERNAL` if it panics;
    /// `FORKED_PROCESS` in a forked child.
    pub fn run(
        phase: Phase,
        cancel: Option<&CancelToken>,
        call: impl FnOnce(&CancelToken) -> Result<T> + Send + 'static,
    ) -> Self {
        let own = CancelToken::new();
        let registration = cancel.map(|token| {
            let own = own.clone();
            token.on_cancel(move || own.cancel())
        });
        let (sender, receiver) = oneshot::channel();
        let heeded = own.clone();
        let job = move || {
            // Whoever is gone wants no result; it is dropped here.
            let _ = sender.send(call(&heeded));
        };
        let started = crate::in_forked_child() || threads::run(Box::new(job)).is_ok();
        let answer = if started { Answer::Coming(receiver) } else { Answer::Refused };
        Task { phase, answer, cancel: own, _registration: registration }
    }
}

impl Task<()> {
    /// Runs a job that must be done, here if there is no thread for it. Dropping the task does not stop it.
    pub(crate) fn of_job(phase: Phase, job: threads::Job) -> Self {
        let (sender, receiver) = oneshot::channel();
        threads::run_anyway(Box::new(move || {
            job();
            // Whoever is gone does not wait for it.
            let _ = sender.send(Ok(()));
        }));
        Task { phase, answer: Answer::Coming(receiver), cancel: CancelToken::new(), _registration: None }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let task = self.get_mut();
        if let Err(error) = crate::forked::refuse_in_child(task.phase) {
            return Poll::Ready(Err(error));
        }
        let result = match &mut task.answer {
            Answer::Coming(receiver) => match std::task::ready!(Pin::new(receiver).poll(context)) {
                Ok(result) => result,
                Err(_) => Err(panicked(task.phase)),
            },
            Answer::Refused => Err(no_thread(task.phase)),
            Answer::Given => Err(polled_again(task.phase)),
        };
        task.answer = Answer::Given;
        Poll::Ready(result)
    }
}

impl Worker {
    /// Claims a thread, or starts one.
    ///
    /// Errors: `NO_CAPACITY` if none can be started, `FORKED_PROCESS`.
    pub fn claim(phase: Phase) -> Result<Self> {
        crate::forked::refuse_in_child(phase)?;
        let claim = threads::claim().ok_or_else(|| no_thread(phase))?;
        Ok(Worker { phase, claim })
    }

    /// Runs `call`, which may block, and gives its result to `done`, exactly once: `INTERNAL` if the call panics.
    pub fn run<T: 'static>(
        self,
        call: impl FnOnce() -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let done = Done::new(self.phase, done);
        self.claim.run(Box::new(move || done.call(call())));
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Calls who waits for a result exactly once, also when the call that was to give it panics.
pub(crate) struct Done<T, F: FnOnce(Result<T>)> {
    phase: Phase,
    done: Option<F>,
    _result: PhantomData<fn(T)>,
}

impl<T, F: FnOnce(Result<T>)> Done<T, F> {
    pub(crate) fn new(phase: Phase, done: F) -> Self {
        Done { phase, done: Some(done), _result: PhantomData }
    }

    pub(crate) fn call(mut self, result: Result<T>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl<T, F: FnOnce(Result<T>)> Drop for Done<T, F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(panicked(self.phase)));
        }
    }
}

/// What is said when the system has no thread left.
pub(crate) fn no_thread(phase: Phase) -> Error {
    Error::new(ErrorCode::NoCapacity, phase, "no thread could be started for the call")
}

fn panicked(phase: Phase) -> Error {
    Error::new(ErrorCode::Internal, phase, "the call panicked")
}

/// What a future says that is asked once more after it has answered.
pub(crate) fn polled_again(phase: Phase) -> Error {
    Error::new(ErrorCode::InvalidState, phase, "the result was taken already")
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if matches!(self.answer, Answer::Coming(_)) {
            self.cancel.cancel();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("phase", &self.phase).finish_non_exhaustive()
    }
}
