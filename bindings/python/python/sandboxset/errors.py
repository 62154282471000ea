"""The errors of this package: one base class and one class per code.

Each class statement below is a row of the table that every language shares. A wrong *type* of an argument is a
plain ``TypeError``; everything else that a call refuses or fails at is a ``SandboxSetError``.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar

__all__ = [
    "BackendUnavailableError",
    "CancelledError",
    "CircuitOpenError",
    "ClosedError",
    "CreateFailedError",
    "ExhaustedError",
    "ForkFailedError",
    "ForkedProcessError",
    "HandlerFailedError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "NoCapacityError",
    "OverloadedError",
    "PermissionDeniedError",
    "SandboxDeadError",
    "SandboxSetError",
    "StaleRefError",
    "TimeoutError",
    "TooBigError",
    "UnsupportedError",
]


class SandboxSetError(Exception):
    """Base class of every error of this package.

    Attributes:
        code: the number of the error, the same in every language; numbers are never reused.
        name: the name of the code, for example ``STALE_REF``.
        message: what went wrong, without the cause.
        phase: where in the call it arose: ``configure``, ``wait``, ``create``, ``exec``, …
        retryable: whether the same call may succeed later.
        sandbox_id: the sandbox concerned, if one is.
        cause: the chain of causes as one line, if there is one.
        field: the argument at fault, for ``INVALID_ARGUMENT``.
    """

    code: int = 0
    name: str = ""
    retryable: bool = False
    #: The class of each code.
    by_code: ClassVar[dict[int, type[SandboxSetError]]] = {}

    def __init_subclass__(
        cls, code: int | None = None, name: str = "", retryable: bool = False, **keywords: Any
    ) -> None:
        super().__init_subclass__(**keywords)
        if code is not None:
            cls.code, cls.name, cls.retryable = code, name, retryable
            SandboxSetError.by_code[code] = cls

    def __init__(
        self,
        message: str = "",
        *,
        phase: str = "use",
        retryable: bool | None = None,
        sandbox_id: int | None = None,
        cause: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.phase = phase
        self.sandbox_id = sandbox_id
        self.cause = cause
        self.field = field
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        text = f"{self.message} ({self.name})" if self.name else self.message
        return f"{text}: {self.cause}" if self.cause else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel between processes, with all they say.
        return (type(self), (self.message,), self.__dict__)


class InvalidArgumentError(SandboxSetError, ValueError, code=1, name="INVALID_ARGUMENT"):
    """An argument or option is out of range, contradictory or malformed; ``field`` names it."""


class InvalidStateError(SandboxSetError, code=2, name="INVALID_STATE"):
    """The call does not fit the state its object is in."""


class UnsupportedError(SandboxSetError, code=3, name="UNSUPPORTED"):
    """This backend, kernel or build cannot do what was asked."""


class PermissionDeniedError(SandboxSetError, code=4, name="PERMISSION_DENIED"):
    """The operating system, or a command policy, refused."""


class TimeoutError(SandboxSetError, builtins.TimeoutError, code=10, name="TIMEOUT", retryable=True):
    """The deadline passed. Also a builtin ``TimeoutError``."""


class CancelledError(SandboxSetError, code=11, name="CANCELLED"):
    """The caller's cancel token fired."""


class ClosedError(SandboxSetError, code=12, name="CLOSED"):
    """The set is draining or closed."""


class ExhaustedError(SandboxSetError, code=13, name="EXHAUSTED", retryable=True):
    """Nothing is idle and the caller asked not to wait, or to reuse only."""


class OverloadedError(SandboxSetError, code=14, name="OVERLOADED", retryable=True):
    """Too many callers are waiting already."""


class NoCapacityError(SandboxSetError, code=15, name="NO_CAPACITY", retryable=True):
    """The machine has no memory or count left for one more sandbox now."""


class TooBigError(SandboxSetError, code=16, name="TOO_BIG"):
    """The request could never fit the budget or a size limit."""


class CreateFailedError(SandboxSetError, code=20, name="CREATE_FAILED", retryable=True):
    """A sandbox could not be made."""


class SandboxDeadError(SandboxSetError, code=21, name="SANDBOX_DEAD", retryable=True):
    """The sandbox died; ``cause`` says of what."""


class StaleRefError(SandboxSetError, code=22, name="STALE_REF"):
    """The ref was already put or destroyed; nothing was changed."""


class ForkFailedError(SandboxSetError, code=23, name="FORK_FAILED", retryable=True):
    """A parent could not be forked."""


class BackendUnavailableError(SandboxSetError, code=24, name="BACKEND_UNAVAILABLE", retryable=True):
    """The backend itself (keeper, daemon) cannot be reached."""


class CircuitOpenError(SandboxSetError, code=25, name="CIRCUIT_OPEN", retryable=True):
    """Creates failed repeatedly and are suspended for a while."""


class HandlerFailedError(SandboxSetError, code=26, name="HANDLER_FAILED"):
    """What the runtime runs failed at a call; the runtime itself lives on. ``cause`` has the traceback."""


class ForkedProcessError(SandboxSetError, code=30, name="FORKED_PROCESS"):
    """The calling process is a fork of the one that owns the set."""


class InternalError(SandboxSetError, code=31, name="INTERNAL"):
    """A defect of this library."""


def _from_native(
    code: int,
    name: str,
    message: str,
    phase: str,
    retryable: bool,
    sandbox_id: int | None,
    cause: str | None,
    field: str | None,
) -> SandboxSetError:
    """Make the exception for an error of the native module."""
    error = SandboxSetError.by_code.get(code, SandboxSetError)(
        message, phase=phase, retryable=retryable, sandbox_id=sandbox_id, cause=cause, field=field
    )
    if error.code != code:
        error.code, error.name = code, name
    return error
