"""Conversations, each with a sandbox of its own from its first moment to its end."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

import sandboxset
from sandboxset import Limits, aio

#: The interpreter of the sandboxes' own root.
PYTHON = "/usr/bin/python3"
#: What code may import in addition, read-only at /code in every sandbox.
CODE = Path(__file__).parent / "library"
#: The most that is kept of each output stream, and of a file that is read.
OUTPUT_BYTES = 64 << 10
FILE_BYTES = 8 << 20


class NoConversation(LookupError):
    """There is no such conversation, or it is over."""


@dataclass(slots=True)
class Conversation:
    """One sandbox, and who waits for it. What runs in it runs one after the other."""

    sandbox: aio.SandboxRef
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    expiry: asyncio.TimerHandle | None = None


class Conversations:
    """All conversations that are not over; an asynchronous context manager.

    Files stay in the scratch dir from one run to the next. At its end, or when nobody used it for ``idle_seconds``, a
    conversation's sandbox is destroyed; nobody else ever gets it.
    """

    def __init__(
        self,
        backend: sandboxset.LinuxBackend | sandboxset.MockBackend | None = None,
        *,
        most: int = 8,
        idle_seconds: float = 600.0,
        run_seconds: float = 10.0,
        memory_bytes: int = 256 << 20,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._run_seconds = run_seconds
        self._conversations: dict[str, Conversation] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._pool = aio.SandboxSet(
            backend,
            code_dir=CODE,
            env={"PYTHONPATH": "/code", "HOME": "/scratch", "MPLCONFIGDIR": "/scratch/.matplotlib"},
            limits=Limits(memory_bytes=memory_bytes, pids=32),
            max_size=most,
            min_idle=min(2, most),
            reuse="replace",
        )

    async def begin(self) -> str:
        """Begin a conversation; its id is its secret. A ``TimeoutError`` says that there are too many."""
        sandbox = await self._pool.get_or_create_unpaused(timeout=5)
        name = secrets.token_urlsafe(16)
        self._conversations[name] = Conversation(sandbox)
        self._touch(name)
        return name

    async def run(self, name: str, code: str, seconds: float | None = None) -> sandboxset.Output:
        """Run Python code; how it ended is in the output."""
        limit = self._run_seconds if seconds is None else min(seconds, self._run_seconds)
        conversation = self._touch(name)
        try:
            async with conversation.turn:
                return await conversation.sandbox.exec(
                    [PYTHON, "-"],
                    stdin=code.encode(),
                    timeout=limit,
                    output_bytes=OUTPUT_BYTES,
                    on_overflow="kill",
                )
        finally:
            self._touch_if_alive(name)

    async def files(self, name: str) -> list[str]:
        """The names of the files in the conversation's scratch dir."""
        entries = await self._touch(name).sandbox.list_dir()
        return [entry.name for entry in entries if entry.kind == "file" and not entry.name.startswith(".")]

    async def read(self, name: str, path: str) -> bytes:
        """Read a file of the conversation."""
        return await self._touch(name).sandbox.read_file(path, max_bytes=FILE_BYTES)

    async def write(self, name: str, path: str, data: bytes) -> None:
        """Write a file of the conversation."""
        await self._touch(name).sandbox.write_file(path, data)

    async def end(self, name: str, reason: str = "the conversation ended") -> None:
        """End a conversation, whatever runs in it."""
        conversation = self._conversations.pop(name, None)
        if conversation is None:
            raise NoConversation(name)
        if conversation.expiry is not None:
            conversation.expiry.cancel()
        await conversation.sandbox.destroy(reason)

    def __len__(self) -> int:
        return len(self._conversations)

    async def __aenter__(self) -> Conversations:
        return self

    async def __aexit__(self, *_: object) -> None:
        for name in list(self._conversations):
            await self.end(name, "the service ended")
        await asyncio.gather(*self._ending)
        await self._pool.close()

    def _touch(self, name: str) -> Conversation:
        """Find a conversation, and begin its idle time anew."""
        conversation = self._conversations.get(name)
        if conversation is None:
            raise NoConversation(name)
        if conversation.expiry is not None:
            conversation.expiry.cancel()
        loop = asyncio.get_running_loop()
        conversation.expiry = loop.call_later(self._idle_seconds, self._expire, name)
        return conversation

    def _touch_if_alive(self, name: str) -> None:
        if name in self._conversations:
            self._touch(name)

    def _expire(self, name: str) -> None:
        if self._conversations[name].turn.locked():
            # It is not idle; its run begins the time anew when it is over.
            return
        task = asyncio.ensure_future(self.end(name, "nobody used the conversation"))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
