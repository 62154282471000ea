//! The slow path of a get: waiting for a sandbox that was not idle.

use std::sync::Arc;
use std::time::Duration;

use super::bound::Bound;
use super::entry::Entry;
use super::inner::{Inner, closed, refused};
use super::sandbox_ref::SandboxRef;
use super::slots::{Delivery, Loan, Refusal, Ticket};
use super::waiters::{GaveUp, Waiter};
use crate::{Acquire, Error, ErrorCode, GetOptions, LateBinding, MissReason, Phase, Result};

/// What a look at the slots gave.
enum Look {
    Loan(Loan<Arc<Entry>>),
    Wait(Ticket),
}

impl Inner {
    #[inline]
    pub(super) fn get(self: &Arc<Self>, options: &GetOptions) -> Result<SandboxRef> {
        if let Some(cancel) = &options.cancel {
            cancel.check(Phase::Wait)?;
        }
        if let Some(binding) = &options.binding {
            self.check_binding(binding)?;
            return self.get_slowly(options, false);
        }
        let Some(loan) = self.decide(|slots, effects| slots.take(options.acquire, effects)) else {
            return self.get_slowly(options, false);
        };
        match self.resume(loan) {
            Some(sandbox) => Ok(sandbox),
            None => self.get_slowly(options, true),
        }
    }

    /// The part of a get that neither waits nor creates; `None` if that did not give a sandbox.
    #[inline]
    pub(super) fn get_idle(self: &Arc<Self>, acquire: Acquire) -> Option<SandboxRef> {
        let loan = self.decide(|slots, effects| slots.take(acquire, effects))?;
        self.resume(loan)
    }

    /// Unpauses a sandbox on the thread of its holder to be and checks that it lives. A useless one is destroyed.
    #[inline(always)]
    fn resume(self: &Arc<Self>, loan: Loan<Arc<Entry>>) -> Option<SandboxRef> {
        let Loan { lease, occupant: entry } = loan;
        if let Err(error) = entry.guard.resume() {
            self.reject(&entry, lease, &error);
            return None;
        }
        let uses = entry.hand_out(lease.generation);
        Some(SandboxRef::new(entry, lease, uses, None))
    }

    /// As `resume`, but binds what the holder to be asked for. A sandbox to which it cannot be bound is destroyed, and
    /// no other is tried: what was asked for may be the reason.
    fn resume_with(
        self: &Arc<Self>,
        loan: Loan<Arc<Entry>>,
        binding: Option<&LateBinding>,
    ) -> Result<Option<SandboxRef>> {
        let Some(binding) = binding else { return Ok(self.resume(loan)) };
        let Loan { lease, occupant: entry } = loan;
        if let Err(error) = entry.guard.resume() {
            self.reject(&entry, lease, &error);
            return Ok(None);
        }
        match Bound::bind(&entry.guard, binding) {
            Ok(bound) => {
                let uses = entry.hand_out(lease.generation);
                Ok(Some(SandboxRef::new(entry, lease, uses, Some(bound))))
            }
            Err(error) => {
                self.reject(&entry, lease, &error);
                Err(error)
            }
        }
    }

    #[cold]
    fn reject(self: &Arc<Self>, entry: &Arc<Entry>, lease: super::slots::Lease, error: &Error) {
        tracing::warn!(sandbox = %entry.guard.id(), %error, "a sandbox was useless");
        let reason = entry.guard.death().map_or_else(|| error.message().to_owned(), |d| d.reason.clone());
        self.decide(|slots, effects| slots.reject(lease, reason.into(), effects));
    }

    #[cold]
    fn get_slowly(self: &Arc<Self>, options: &GetOptions, unhealthy: bool) -> Result<SandboxRef> {
        let timeout = options.timeout.unwrap_or(self.config.get_timeout);
        let clock = &self.config.clock;
        let deadline = clock.now().saturating_add(timeout);
        let (mut ticket, mut unhealthy, mut counted) = (None, unhealthy, false);
        loop {
            if let Some(cancel) = &options.cancel {
                cancel.check(Phase::Wait)?;
            }
            let waiter = Arc::new(Waiter::default());
            // Looking and queueing is one step, or a put in between would go unnoticed.
            let look = self.decide(|slots, effects| {
                let idle = match ticket {
                    None => slots.take(options.acquire, effects),
                    Some(_) => slots.take_again(options.acquire, effects),
                };
                if let Some(loan) = idle {
                    return Ok(Look::Loan(loan));
                }
                if !counted {
                    counted = true;
                    let reason = slots.miss_reason(options.acquire);
                    slots.count_miss(if unhealthy { MissReason::Unhealthy } else { reason });
                }
                slots
                    .enqueue(ticket, options.acquire, options.no_wait, Arc::clone(&waiter), effects)
                    .map(Look::Wait)
            });
            let loan = match look.map_err(|refusal| self.refuse(refusal))? {
                Look::Loan(loan) => loan,
                Look::Wait(mine) => {
                    ticket = Some(mine);
                    self.wait(&waiter, mine, timeout, deadline, options)?
                }
            };
            if let Some(sandbox) = self.resume_with(loan, options.binding.as_ref())? {
                return Ok(sandbox);
            }
            unhealthy = true;
        }
    }

    fn wait(
        self: &Arc<Self>,
        waiter: &Arc<Waiter>,
        ticket: Ticket,
        timeout: Duration,
        deadline: Duration,
        options: &GetOptions,
    ) -> Result<Loan<Arc<Entry>>> {
        let gave_up = match waiter.wait(&self.config.clock, deadline, options.cancel.as_ref()) {
            Ok(delivery) => return accept(delivery),
            Err(gave_up) => gave_up,
        };
        let abandoned = self.decide(|slots, effects| {
            let abandoned = slots.abandon(ticket, effects);
            if abandoned.is_some() && gave_up == GaveUp::TimedOut {
                slots.count_timeout();
            }
            abandoned
        });
        match (abandoned, gave_up) {
            (Some((why, last_error)), GaveUp::TimedOut) => Err(timed_out(timeout, &why, last_error)),
            (Some(_), GaveUp::Cancelled) => Err(cancelled()),
            // The delivery was decided first. For a deadline that is good news; after a cancel nobody is there to
            // use the sandbox, so it goes to the next.
            (None, GaveUp::TimedOut) => accept(waiter.wait_for_delivery()),
            (None, GaveUp::Cancelled) => {
                let loan = accept(waiter.wait_for_delivery())?;
                self.decide(|slots, _| {
                    slots.decline(loan.lease);
                    loan.occupant.decline(loan.lease.generation);
                });
                self.take_back(&loan.occupant, loan.lease);
                Err(cancelled())
            }
        }
    }

    fn refuse(&self, refusal: Refusal) -> Error {
        refused(refusal, self.config.max_waiters)
    }
}

fn accept(delivery: Delivery<Arc<Entry>>) -> Result<Loan<Arc<Entry>>> {
    match delivery {
        Delivery::Loan(loan) => Ok(loan),
        Delivery::Failed(error) => Err(error),
        Delivery::Closed => Err(closed()),
    }
}

fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, Phase::Wait, "the caller cancelled")
}

fn timed_out(timeout: Duration, why: &str, last_error: Option<Error>) -> Error {
    let error = Error::new(ErrorCode::Timeout, Phase::Wait, format!("no sandbox within {timeout:?}: {why}"));
    match last_error {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}
