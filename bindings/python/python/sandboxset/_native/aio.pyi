# What the asyncio side is made of, as the type checkers see it. An operation begins here and is polled by its task; see
# `sandboxset/aio/_loop.py`.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, Self, TypeAlias, TypedDict, final

from ..config import LateBinding, Name
from . import CancelToken, EventStream, SandboxRef, SandboxSet

__all__ = [
    "AsyncConnection",
    "AsyncProcess",
    "Mailbox",
    "Operation",
    "begin_call",
    "begin_close",
    "begin_command",
    "begin_connect",
    "begin_drain",
    "begin_get",
    "begin_isolation_report",
    "begin_leave",
    "begin_list_dir",
    "begin_log",
    "begin_next",
    "begin_prewarm",
    "begin_put",
    "begin_read_file",
    "begin_remove",
    "begin_shrink",
    "begin_usage",
    "begin_write_file",
]

_Bytes: TypeAlias = bytes | bytearray | memoryview
_ExcType: TypeAlias = type[BaseException] | None

class _Command(TypedDict):
    """All that `exec` and `spawn` are given."""

    args: Sequence[Name]
    env: Mapping[str, str] | None
    cwd: Name | None
    stdin: _Bytes | Literal["stream"] | None
    timeout: float | None
    grace: float | None
    output_bytes: int | None
    on_overflow: Literal["truncate", "kill"] | None
    memory_bytes: int | None
    cpu_seconds: int | None
    cancel: CancelToken | None

@final
class Mailbox:
    """The mailbox of one event loop. Its descriptor is readable when some of the loop's operations can go on."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """The descriptor to watch for reading."""

    def take(self) -> list[int]:
        """The numbers of the operations that can go on, each perhaps more than once."""

@final
class Operation:
    """A call that is under way. Dropping it takes the call back."""

    def poll(self, mailbox: Mailbox, number: int) -> tuple[Any] | None:
        """What the call gave, in a tuple; `None` if it is under way.

        Then this number is posted to the mailbox as soon as it should be asked again.
        """

    def cancel(self) -> None:
        """Takes the call back, unless it is over."""

@final
class AsyncProcess:
    """A command that a task started; collecting it kills the command."""

    def begin_read(
        self, max_bytes: int | None, stream: Literal["stdout", "stderr"] | None, timeout: float | None
    ) -> Operation:
        """Reads up to `max_bytes`; empty at the end. `timeout` is only checked here."""

    def begin_write_stdin(self, data: _Bytes, timeout: float | None) -> Operation:
        """Writes all bytes to the command's standard input."""

    def begin_wait(self, timeout: float | None, cancel: CancelToken | None) -> Operation:
        """Waits for the end of the command."""

    def close_stdin(self) -> None:
        """Ends the command's standard input. Idempotent."""

    def signal(self, signal: int) -> None:
        """Sends a signal, 1 to 64, to the command's own process."""

    def kill(self) -> None:
        """Kills every process of the command. Idempotent."""

    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

@final
class AsyncConnection:
    """A stream to a runtime's socket; collecting it closes it."""

    def begin_read(self, max_bytes: int | None, timeout: float | None) -> Operation:
        """Reads up to `max_bytes`; empty when the runtime has closed the stream. `timeout` is only checked here."""

    def begin_write(self, data: _Bytes, timeout: float | None) -> Operation:
        """Writes all bytes. Cancelling it half-way closes the connection."""

    def close(self) -> None:
        """Closes the stream. Idempotent."""

    def __reduce_ex__(self, _protocol: Any, /) -> NoReturn: ...

def begin_get(
    set: SandboxSet,
    timeout: float | None,
    no_wait: bool | None,
    acquire: Literal["any", "reuse_only", "fresh_only"] | None,
    cancel: CancelToken | None,
    binding: LateBinding | None,
) -> SandboxRef | Operation:
    """A `SandboxRef` if one is idle, else the operation that gives one."""

def begin_prewarm(set: SandboxSet, count: int, timeout: float | None) -> Operation: ...
def begin_shrink(set: SandboxSet, keep: int) -> Operation: ...
def begin_drain(set: SandboxSet, deadline: float | None) -> Operation: ...
def begin_close(set: SandboxSet, deadline: float | None) -> Operation: ...
def begin_isolation_report(set: SandboxSet) -> Operation: ...
def begin_command(sandbox: SandboxRef, stream: bool, arguments: _Command) -> Operation:
    """Runs a command to its end, or only starts it if it is to `stream`."""

def begin_connect(sandbox: SandboxRef, timeout: float | None, cancel: CancelToken | None) -> Operation: ...
def begin_call(
    sandbox: SandboxRef, request: _Bytes, timeout: float | None, cancel: CancelToken | None
) -> Operation: ...
def begin_read_file(sandbox: SandboxRef, path: Name, max_bytes: int | None) -> Operation: ...
def begin_write_file(sandbox: SandboxRef, path: Name, data: _Bytes, mode: int | None) -> Operation: ...
def begin_list_dir(sandbox: SandboxRef, path: Name | None, max_entries: int | None) -> Operation: ...
def begin_remove(sandbox: SandboxRef, path: Name) -> Operation: ...
def begin_usage(sandbox: SandboxRef) -> Operation: ...
def begin_log(sandbox: SandboxRef, max_bytes: int | None) -> Operation: ...
def begin_next(stream: EventStream, timeout: float | None) -> Operation: ...
def begin_put(sandbox: SandboxRef) -> Operation | None:
    """Gives the sandbox back. Nothing if that is all, else the operation that is the rest of it."""

def begin_leave(sandbox: SandboxRef, exc_type: _ExcType) -> Operation | None:
    """Puts the sandbox, or destroys it if an exception leaves the block, unless either was done before."""
