//! Calls into a guarded sandbox: what an error, a panic or a death in them means for it and for the caller.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Guard, Killer};
use crate::{BackendSandbox, Error, ErrorCode, EventKind, LateBinding, Phase, Result};

impl Guard {
    /// Runs an operation of the holder. An error that is not the caller's own mistake is published as a fault, and
    /// becomes `SANDBOX_DEAD` if the sandbox turns out to have died of it or before it.
    pub(crate) fn operate<T>(
        &self,
        phase: Phase,
        name: &str,
        operation: impl FnOnce(&dyn BackendSandbox) -> Result<T>,
    ) -> Result<T> {
        self.check(phase)?;
        let error = match catch_unwind(AssertUnwindSafe(|| operation(&*self.sandbox))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error.with_sandbox(self.id),
            Err(panic) => return Err(self.panicked(phase, name, &*panic)),
        };
        if is_callers_mistake(&error) {
            return Err(error);
        }
        // A destroy meanwhile is a better answer than whatever the call that it broke off came back with.
        self.check(phase)?;
        self.publish(|| EventKind::Fault(format!("{name}: {}", error.message())));
        match self.check_alive(phase) {
            Ok(()) if error.code() == ErrorCode::SandboxDead => {
                self.doom(Killer::Itself, || error.message().to_owned());
                Err(self.dead(phase))
            }
            Ok(()) => Err(error),
            Err(dead) => Err(dead),
        }
    }

    /// Gives the sandbox what its next holder asked for. On any error it is dead before the error is returned.
    pub(crate) fn bind(&self, binding: &LateBinding, deadline: Instant) -> Result<()> {
        self.check(Phase::Bind)?;
        self.bound.store(true, Ordering::Release);
        self.guarded(Phase::Bind, "bind", |sandbox| sandbox.bind(binding, deadline))?;
        self.check_alive(Phase::Bind)
    }

    /// Takes back what was bound late, if anything was. On any error the sandbox is dead before the error is returned.
    pub(crate) fn unbind(&self, deadline: Instant) -> Result<()> {
        self.check(Phase::Bind)?;
        if !self.bound.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.guarded(Phase::Bind, "unbind", |sandbox| sandbox.unbind(deadline))
    }

    /// Removes what its last holder left, what was bound late included, and has the backend verify that. On any error
    /// the sandbox is dead before the error is returned.
    pub(crate) fn reset(&self, deadline: Instant) -> Result<()> {
        self.unbind(deadline)?;
        self.check(Phase::Use)?;
        let error = match catch_unwind(AssertUnwindSafe(|| self.sandbox.reset(deadline))) {
            Ok(Ok(report)) => {
                self.check(Phase::Use)?;
                self.publish(|| EventKind::Reset(report));
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(panic) => panic_error(Phase::Use, "the backend", &*panic),
        };
        if !self.is_dead() {
            self.fail_reset(error.message());
        }
        Err(error.with_sandbox(self.id))
    }

    /// Nobody knows what is left in the sandbox.
    #[cold]
    pub(crate) fn fail_reset(&self, text: &str) {
        tracing::warn!(sandbox = %self.id, text, "could not be reset");
        self.publish(|| EventKind::Fault(format!("reset: {text}")));
        self.doom(Killer::Fault, || format!("reset: {text}"));
    }

    /// Calls the backend's pause, unpause, bind or unbind. On failure the sandbox is dead before the error is returned.
    pub(super) fn guarded<T>(
        &self,
        phase: Phase,
        name: &str,
        call: impl FnOnce(&dyn BackendSandbox) -> Result<T>,
    ) -> Result<T> {
        match catch_unwind(AssertUnwindSafe(|| call(&*self.sandbox))) {
            Ok(Ok(value)) => Ok(value),
            // What breaks off because of a destroy is no fault of its own.
            Ok(Err(_)) if self.is_dead() => Err(self.dead(phase)),
            Ok(Err(error)) => {
                self.fault(name, error.message());
                Err(error.with_sandbox(self.id))
            }
            Err(panic) => Err(self.panicked(phase, name, &*panic)),
        }
    }

    #[cold]
    pub(super) fn panicked(&self, phase: Phase, name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
        let error = panic_error(phase, name, panic);
        self.fault(name, error.message());
        error.with_sandbox(self.id)
    }

    #[cold]
    pub(super) fn fault(&self, name: &str, text: &str) {
        tracing::warn!(sandbox = %self.id, operation = name, text, "fault");
        self.publish(|| EventKind::Fault(format!("{name}: {text}")));
        self.doom(Killer::Fault, || format!("{name} failed: {text}"));
    }
}

/// Whether an error says that the caller asked for something wrong, rather than that something went wrong with the
/// sandbox. What a handler makes of a request is between it and its caller: the runtime says itself that it lives on.
pub(crate) fn is_callers_mistake(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::InvalidArgument
            | ErrorCode::InvalidState
            | ErrorCode::Unsupported
            | ErrorCode::PermissionDenied
            | ErrorCode::TooBig
            | ErrorCode::HandlerFailed
    )
}

/// What a panic of a backend or a hook is reported as.
pub(crate) fn panic_error(phase: Phase, name: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Error::new(ErrorCode::Internal, phase, format!("{name} panicked: {text}"))
}
