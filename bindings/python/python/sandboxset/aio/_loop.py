"""How a task waits for an operation of the native module, without a thread and without polling.

The task itself asks the operation whether it is done, so that what the operation gives is never on its way between two
places when the task is cancelled. What passes between threads is only a number: whoever completes the operation leaves
it in a queue and makes a descriptor readable that the event loop watches. No thread of the library touches Python.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

from .. import _native
from ..errors import ForkedProcessError, InvalidStateError, TimeoutError

#: The mailbox of each loop with something under way. Weak on both sides: what is under way keeps a mailbox alive.
_mailboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Mailbox]] = weakref.WeakKeyDictionary()


class _Mailbox:
    """Wakes the tasks of one loop; watched by the loop only while one of them waits."""

    __slots__ = ("__weakref__", "_loop", "_native", "_next", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._native = _native.aio.Mailbox()
        self._next = 0
        self._waiting: dict[int, asyncio.Future[None]] = {}

    async def finish(self, operation: _native.aio.Operation) -> Any:
        number = self._next
        self._next += 1
        try:
            while (done := operation.poll(self._native, number)) is None:
                if not self._waiting:
                    self._loop.add_reader(self._native.fileno(), self._deliver)
                self._waiting[number] = self._loop.create_future()
                await self._waiting[number]
            return done[0]
        finally:
            # Not done only if the task was cancelled, or its loop is gone.
            operation.cancel()
            if self._waiting.pop(number, None) is not None:
                self._rest()

    def _deliver(self) -> None:
        """Let the tasks go on that are meant, in the order in which they were woken."""
        if _native.in_forked_child():
            # The descriptor, and what is written to it, is the parent's.
            return
        for number in self._native.take():
            future = self._waiting.pop(number, None)
            if future is not None and not future.done():
                future.set_result(None)
        self._rest()

    def _rest(self) -> None:
        """Leave the loop alone when nothing is under way. A forked child shares the selector with its parent."""
        if not self._waiting and not self._loop.is_closed() and not _native.in_forked_child():
            self._loop.remove_reader(self._native.fileno())


async def finish(operation: _native.aio.Operation) -> Any:
    """Wait for an operation. When the task is cancelled the operation is taken back."""
    if _native.in_forked_child():
        # Before the loop is asked for, which would say only that it does not run here.
        message = "this process was forked from the one that owns the sandbox set; start processes with spawn"
        raise ForkedProcessError(message)
    loop = asyncio.get_running_loop()
    reference = _mailboxes.get(loop)
    mailbox = reference() if reference is not None else None
    if mailbox is None:
        mailbox = _Mailbox(loop)
        _mailboxes[loop] = weakref.ref(mailbox)
    return await mailbox.finish(operation)


async def finish_within(operation: _native.aio.Operation, timeout: float, phase: str, message: str) -> Any:
    """Wait for an operation that has no time limit of its own."""
    try:
        async with asyncio.timeout(timeout) as limit:
            return await finish(operation)
    except builtins.TimeoutError as error:
        if isinstance(error, TimeoutError) or not limit.expired():
            raise
    raise TimeoutError(message, phase=phase)


class Turn:
    """Sees to it that one task at a time does something."""

    __slots__ = ("_taken", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._taken = False

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Do it for the length of the block."""
        if self._taken:
            raise InvalidStateError(f"another task is {self._what} already")
        self._taken = True
        try:
            yield
        finally:
            self._taken = False
