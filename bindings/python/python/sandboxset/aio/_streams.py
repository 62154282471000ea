"""What comes and goes piece by piece, for tasks: running commands, connections, events."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Self, cast

from .. import _native
from ..errors import SandboxDeadError, StaleRefError, TimeoutError
from ._loop import Turn, finish, finish_within

__all__ = ["Connection", "EventStream", "Process"]

_Bytes = bytes | bytearray | memoryview

#: Seconds that one read may take by default.
_READ_TIMEOUT = 30.0


class Process:
    """A command that was started with ``SandboxRef.spawn``. Collecting it kills the command.

    An asynchronous iteration yields what it writes to standard output, piece by piece. As an asynchronous context
    manager it is killed at the end of the block, if it still runs. One task at a time may read each stream, another may
    write; a read that is cancelled, or times out, loses nothing.
    """

    __slots__ = ("__weakref__", "_native", "_turns")

    def __init__(self, native: _native.aio.AsyncProcess) -> None:
        """Made by ``SandboxRef.spawn`` only."""
        self._native = native
        self._turns = {name: Turn(f"reading {name}") for name in ("stdout", "stderr")}

    async def write_stdin(self, data: _Bytes, *, timeout: float | None = None) -> None:
        """Write all bytes to the command's standard input, which must be ``"stream"``; at most `timeout` (30) seconds.

        A cancel does not take back what the command may still read.
        """
        await finish(self._native.begin_write_stdin(data, timeout))

    async def close_stdin(self) -> None:
        """End the command's standard input. Idempotent."""
        self._native.close_stdin()

    async def read(
        self,
        max_bytes: int | None = None,
        *,
        stream: Literal["stdout", "stderr"] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """Read what the command wrote, up to `max_bytes` (64 KiB); empty at the end.

        Waits for something to read, at most `timeout` (30) seconds; then ``TimeoutError``.
        """
        operation = self._native.begin_read(max_bytes, stream, timeout)
        limit = _READ_TIMEOUT if timeout is None else timeout
        with self._turns[stream or "stdout"].take():
            message = "the command wrote nothing in time"
            return cast(bytes, await finish_within(operation, limit, "exec", message))

    async def signal(self, signal: int) -> None:
        """Send a signal, 1 to 64, to the command's own process."""
        self._native.signal(signal)

    async def kill(self) -> None:
        """Kill every process of the command. Idempotent."""
        self._native.kill()

    async def wait(self, *, timeout: float | None = None, cancel: _native.CancelToken | None = None) -> _native.Output:
        """Wait for the end of the command. A timeout, by default none, or a cancel leaves it running.

        What was not read is in the output, bounded; what a cancelled read took is the next read's. Later calls answer the same output again.
        """
        return cast(_native.Output, await finish(self._native.begin_wait(timeout, cancel)))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        with self._turns["stdout"].take():
            piece = cast(bytes, await finish(self._native.begin_read(None, None, None)))
        if not piece:
            raise StopAsyncIteration
        return piece

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._native.kill()
        except (StaleRefError, SandboxDeadError):
            # It is over with its sandbox.
            pass

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        return self._native.__reduce_ex__(protocol)


class Connection:
    """A stream to a runtime's socket. Collecting it closes it.

    One task at a time may read while another writes. A read that is cancelled, or times out, loses nothing; a write
    that is cancelled half-way closes the connection.
    """

    __slots__ = ("__weakref__", "_native", "_turn")

    def __init__(self, native: _native.aio.AsyncConnection) -> None:
        """Made by ``SandboxRef.connect`` only."""
        self._native = native
        self._turn = Turn("reading")

    async def read(self, max_bytes: int | None = None, *, timeout: float | None = None) -> bytes:
        """Read up to `max_bytes` (64 KiB); empty when the runtime has closed the stream.

        Waits for something to read, at most `timeout` (30) seconds; then ``TimeoutError``.
        """
        operation = self._native.begin_read(max_bytes, timeout)
        limit = _READ_TIMEOUT if timeout is None else timeout
        with self._turn.take():
            message = "the runtime was not ready in time"
            return cast(bytes, await finish_within(operation, limit, "connect", message))

    async def write(self, data: _Bytes, *, timeout: float | None = None) -> None:
        """Write all bytes. After a timeout it is unknown how many were written: close the connection."""
        await finish(self._native.begin_write(data, timeout))

    async def close(self) -> None:
        """Close the stream. Idempotent."""
        self._native.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._native.close()

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        return self._native.__reduce_ex__(protocol)


class EventStream:
    """The events of one set from the moment of subscription. A slow reader loses the oldest and is told.

    One task at a time may read it; a read that is cancelled, or times out, loses nothing.
    """

    __slots__ = ("__weakref__", "_native", "_timeout", "_turn")

    def __init__(self, native: _native.EventStream, timeout: float | None) -> None:
        """Made by ``SandboxSet.events`` only."""
        self._native = native
        self._timeout = timeout
        self._turn = Turn("reading the events")

    async def next(self, timeout: float | None = None) -> _native.Event | None:
        """The next event; ``None`` if none came in time, or if the set is closed and all were read."""
        operation = _native.aio.begin_next(self._native, timeout)
        limit = self._timeout if timeout is None else timeout
        with self._turn.take():
            if limit is None:
                return cast(_native.Event | None, await finish(operation))
            try:
                return cast(_native.Event | None, await finish_within(operation, limit, "use", "no event in time"))
            except TimeoutError:
                return None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _native.Event:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        return self._native.__reduce_ex__(protocol)
