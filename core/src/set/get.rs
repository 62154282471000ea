//! The slow path of a get: waiting for a sandbox that was not idle.

use std::sync::Arc;
use std::time::Duration;

use super::bound::Bound;
use super::entry::Entry;
use super::inner::{Inner, closed, refused};
use super::sandbox_ref::SandboxRef;
use super::slots::{Delivery, Loan, Ticket};
use super::waiters::{GaveUp, Waiter};
use crate::{Acquire, Error, ErrorCode, GetOptions, LateBinding, MissReason, Phase, Result};

/// What a look at the slots gave.
pub(super) enum Look {
    Loan(Loan<Arc<Entry>>),
    Wait(Arc<Waiter>, Ticket),
}

/// How far a get has come that found nothing useful at its first look.
#[derive(Debug)]
pub(super) struct Get {
    timeout: Duration,
    pub(super) deadline: Duration,
    ticket: Option<Ticket>,
    /// Something idle was useless.
    pub(super) unhealthy: bool,
    counted: bool,
}

impl Inner {
    #[inline]
    pub(super) fn get(self: &Arc<Self>, options: &GetOptions) -> Result<SandboxRef> {
        match self.begin(options)? {
            Ok(sandbox) => Ok(sandbox),
            Err(get) => self.get_slowly(options, get),
        }
    }

    /// The first look of a get: a sandbox, or what it takes to go on.
    #[inline(always)]
    pub(super) fn begin(
        self: &Arc<Self>,
        options: &GetOptions,
    ) -> Result<std::result::Result<SandboxRef, Get>> {
        if let Some(cancel) = &options.cancel {
            cancel.check(Phase::Wait)?;
        }
        if let Some(binding) = &options.binding {
            self.check_binding(binding)?;
            return Ok(Err(Get::new(self, options, false)));
        }
        let Some(loan) = self.decide(|slots, effects| slots.take(options.acquire, effects)) else {
            return Ok(Err(Get::new(self, options, false)));
        };
        Ok(self.resume(loan).ok_or_else(|| Get::new(self, options, true)))
    }

    /// As `begin`, without the first look, for those who may not unpause on their thread.
    pub(super) fn begin_in_the_queue(&self, options: &GetOptions) -> Result<Get> {
        if let Some(binding) = &options.binding {
            self.check_binding(binding)?;
        }
        Ok(Get::new(self, options, false))
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
    pub(super) fn resume_with(
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
    fn get_slowly(self: &Arc<Self>, options: &GetOptions, mut get: Get) -> Result<SandboxRef> {
        loop {
            let loan = match self.look(options, &mut get)? {
                Look::Loan(loan) => loan,
                Look::Wait(waiter, ticket) => {
                    match waiter.wait(&self.config.clock, get.deadline, options.cancel.as_ref()) {
                        Ok(delivery) => accept(delivery)?,
                        Err(gave_up) => {
                            self.give_up(ticket, gave_up, &get)?;
                            self.accept_late(waiter.wait_for_delivery(), gave_up)?
                        }
                    }
                }
            };
            if let Some(sandbox) = self.resume_with(loan, options.binding.as_ref())? {
                return Ok(sandbox);
            }
            get.unhealthy = true;
        }
    }

    /// Takes what is idle, or else queues.
    pub(super) fn look(self: &Arc<Self>, options: &GetOptions, get: &mut Get) -> Result<Look> {
        if let Some(cancel) = &options.cancel {
            cancel.check(Phase::Wait)?;
        }
        let waiter = Arc::new(Waiter::default());
        // Looking and queueing is one step, or a put in between would go unnoticed.
        let look = self.decide(|slots, effects| {
            let idle = match get.ticket {
                None => slots.take(options.acquire, effects),
                Some(_) => slots.take_again(options.acquire, effects),
            };
            if let Some(loan) = idle {
                return Ok(Look::Loan(loan));
            }
            if !get.counted {
                get.counted = true;
                let reason = slots.miss_reason(options.acquire);
                slots.count_miss(if get.unhealthy { MissReason::Unhealthy } else { reason });
            }
            slots
                .enqueue(get.ticket, options.acquire, options.no_wait, Arc::clone(&waiter), effects)
                .map(|ticket| Look::Wait(waiter, ticket))
        });
        let look = look.map_err(|refusal| refused(refusal, self.config.max_waiters))?;
        if let Look::Wait(_, ticket) = &look {
            get.ticket = Some(*ticket);
        }
        Ok(look)
    }

    /// Leaves the queue. Without an error the delivery was decided first and is on its way.
    pub(super) fn give_up(self: &Arc<Self>, ticket: Ticket, gave_up: GaveUp, get: &Get) -> Result<()> {
        let abandoned = self.decide(|slots, effects| {
            let abandoned = slots.abandon(ticket, effects);
            if abandoned.is_some() && gave_up == GaveUp::TimedOut {
                slots.count_timeout();
            }
            abandoned
        });
        match (abandoned, gave_up) {
            (Some((why, last_error)), GaveUp::TimedOut) => Err(timed_out(get.timeout, &why, last_error)),
            (Some(_), GaveUp::Cancelled) => Err(cancelled()),
            (None, _) => Ok(()),
        }
    }

    /// Leaves the queue of a caller that is gone; false if a delivery is on its way.
    pub(super) fn leave(self: &Arc<Self>, ticket: Ticket) -> bool {
        self.decide(|slots, effects| slots.abandon(ticket, effects)).is_some()
    }

    /// What to do with a delivery that came when the caller had given up. For a deadline it is good news; after a
    /// cancel nobody is there to use the sandbox, so it goes to the next.
    pub(super) fn accept_late(
        self: &Arc<Self>,
        delivery: Delivery<Arc<Entry>>,
        gave_up: GaveUp,
    ) -> Result<Loan<Arc<Entry>>> {
        let loan = accept(delivery)?;
        if gave_up == GaveUp::Cancelled {
            self.decline(&loan);
            return Err(cancelled());
        }
        Ok(loan)
    }
}

impl Get {
    #[cold]
    fn new(set: &Inner, options: &GetOptions, unhealthy: bool) -> Self {
        let timeout = options.timeout.unwrap_or(set.config.get_timeout);
        let deadline = set.config.clock.now().saturating_add(timeout);
        Get { timeout, deadline, ticket: None, unhealthy, counted: false }
    }
}

pub(super) fn accept(delivery: Delivery<Arc<Entry>>) -> Result<Loan<Arc<Entry>>> {
    match delivery {
        Delivery::Loan(loan) => Ok(loan),
        Delivery::Failed(error) => Err(error),
        Delivery::Closed => Err(closed()),
    }
}

pub(super) fn cancelled() -> Error {
    Error::new(ErrorCode::Cancelled, Phase::Wait, "the caller cancelled")
}

fn timed_out(timeout: Duration, why: &str, last_error: Option<Error>) -> Error {
    let error = Error::new(ErrorCode::Timeout, Phase::Wait, format!("no sandbox within {timeout:?}: {why}"));
    match last_error {
        Some(cause) => error.with_source(cause),
        None => error,
    }
}
