//! The one error type, and the table of codes that every language shares.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::sandbox::SandboxId;

/// What a fallible call of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says what went wrong, numerically and in words.
///
/// An `Error` is cheap to clone, so that one failed create can be reported to every caller who waited for it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    code: ErrorCode,
    phase: Phase,
    message: String,
    field: Option<String>,
    sandbox_id: Option<SandboxId>,
    retryable: bool,
    source: Option<Arc<dyn StdError + Send + Sync + 'static>>,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $retryable:literal;)*) => {
        /// The stable, numeric identity of an error. Numbers are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i32)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant = $number,)* }

        impl ErrorCode {
            /// Every code there is, in numeric order.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The name that all languages use, for example `STALE_REF`.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// Whether the same call may succeed later without any change by the caller.
            pub fn retryable(self) -> bool {
                match self { $(ErrorCode::$variant => $retryable,)* }
            }
        }
    };
}

error_codes! {
    /// An argument or option is out of range, contradictory or malformed; the message names it.
    InvalidArgument = 1, "INVALID_ARGUMENT", false;
    /// The call does not fit the state its object is in.
    InvalidState = 2, "INVALID_STATE", false;
    /// This backend, kernel or build cannot do what was asked.
    Unsupported = 3, "UNSUPPORTED", false;
    /// The operating system, or a command policy, refused.
    PermissionDenied = 4, "PERMISSION_DENIED", false;
    /// The deadline passed.
    Timeout = 10, "TIMEOUT", true;
    /// The caller's cancel token fired.
    Cancelled = 11, "CANCELLED", false;
    /// The set is draining or closed.
    Closed = 12, "CLOSED", false;
    /// Nothing is idle and the caller asked not to wait, or to reuse only.
    Exhausted = 13, "EXHAUSTED", true;
    /// Too many callers are waiting already.
    Overloaded = 14, "OVERLOADED", true;
    /// The machine has no memory or count left for one more sandbox now.
    NoCapacity = 15, "NO_CAPACITY", true;
    /// The request could never fit the budget or a size limit.
    TooBig = 16, "TOO_BIG", false;
    /// A sandbox could not be made.
    CreateFailed = 20, "CREATE_FAILED", true;
    /// The sandbox died; the cause text says of what.
    SandboxDead = 21, "SANDBOX_DEAD", true;
    /// The ref was already put or destroyed; nothing was changed.
    StaleRef = 22, "STALE_REF", false;
    /// A parent could not be forked.
    ForkFailed = 23, "FORK_FAILED", true;
    /// The backend itself (keeper, daemon) cannot be reached.
    BackendUnavailable = 24, "BACKEND_UNAVAILABLE", true;
    /// Creates failed repeatedly and are suspended for a while.
    CircuitOpen = 25, "CIRCUIT_OPEN", true;
    /// What the runtime runs failed at a call; the runtime itself lives on.
    HandlerFailed = 26, "HANDLER_FAILED", false;
    /// The calling process is a fork of the one that owns the set.
    ForkedProcess = 30, "FORKED_PROCESS", false;
    /// A defect of this library.
    Internal = 31, "INTERNAL", false;
}

/// Where in a call an error arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Checking options, before anything was done.
    Configure,
    /// Waiting for a sandbox to become free.
    Wait,
    /// Making a sandbox.
    Create,
    /// Forking a parent.
    Fork,
    /// Pausing a sandbox.
    Pause,
    /// Unpausing a sandbox.
    Unpause,
    /// Giving a sandbox what its get asked for, or taking it back.
    Bind,
    /// Using a ref (its state, its scratch dir).
    Use,
    /// Running a command.
    Exec,
    /// Reading, writing, listing or removing files.
    Files,
    /// Talking to the runtime.
    Connect,
    /// Destroying a sandbox.
    Destroy,
    /// Draining or closing a set.
    Close,
}

impl Phase {
    /// The lower-case name that all languages use.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Configure => "configure",
            Phase::Wait => "wait",
            Phase::Create => "create",
            Phase::Fork => "fork",
            Phase::Pause => "pause",
            Phase::Unpause => "unpause",
            Phase::Bind => "bind",
            Phase::Use => "use",
            Phase::Exec => "exec",
            Phase::Files => "files",
            Phase::Connect => "connect",
            Phase::Destroy => "destroy",
            Phase::Close => "close",
        }
    }
}

impl Error {
    /// An error of the given code and phase; `message` is a lower-case fragment without a final stop.
    pub fn new(code: ErrorCode, phase: Phase, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            code,
            phase,
            message: printable(&message.into()),
            field: None,
            sandbox_id: None,
            retryable: code.retryable(),
            source: None,
        }))
    }

    /// `INVALID_ARGUMENT` about one named option.
    pub fn invalid(field: impl Into<String>, message: impl fmt::Display) -> Self {
        let field = field.into();
        let mut error =
            Error::new(ErrorCode::InvalidArgument, Phase::Configure, format!("{field}: {message}"));
        error.inner_mut().field = Some(field);
        error
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner_mut().source = Some(Arc::new(source));
        self
    }

    /// Adds the sandbox that this error is about.
    #[must_use]
    pub fn with_sandbox(mut self, id: SandboxId) -> Self {
        self.inner_mut().sandbox_id = Some(id);
        self
    }

    /// Moves the error to another phase, when a shared check is used by several calls.
    #[must_use]
    pub fn with_phase(mut self, phase: Phase) -> Self {
        self.inner_mut().phase = phase;
        self
    }

    /// The numeric code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// Where it arose.
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The text, with control characters escaped.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The option or argument at fault, for `INVALID_ARGUMENT`.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// The sandbox concerned, if one is.
    pub fn sandbox_id(&self) -> Option<SandboxId> {
        self.0.sandbox_id
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        self.0.retryable
    }

    /// The chain of causes as one line, outermost first; empty if there is none.
    pub fn cause(&self) -> String {
        let mut causes = Vec::new();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            causes.push(printable(&cause.to_string()));
            next = cause.source();
        }
        causes.join(": ")
    }

    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.code.name())?;
        let cause = self.cause();
        if cause.is_empty() { Ok(()) } else { write!(f, ": {cause}") }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code)
            .field("phase", &self.0.phase)
            .field("message", &self.0.message)
            .field("field", &self.0.field)
            .field("sandbox_id", &self.0.sandbox_id)
            .field("retryable", &self.0.retryable)
            .field("cause", &self.cause())
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Escapes control characters, because messages may hold bytes that a sandbox chose and end up in a terminal.
fn printable(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
