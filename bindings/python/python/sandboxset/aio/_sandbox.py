"""The handle of one holder, for tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

from .. import _native
from ..config import Name
from ._loop import finish
from ._streams import Connection, Process

__all__ = ["SandboxRef"]

_Bytes = bytes | bytearray | memoryview


class SandboxRef:
    """One caller's hold on one sandbox, from a get until ``put`` or ``destroy``, exactly once.

    As an asynchronous context manager it puts the sandbox at the end of the block, and destroys it when an exception,
    a cancel included, leaves the block. A ref that is collected without either is destroyed, with a
    ``ResourceWarning``. A call that is cancelled is taken back: a command is killed, and the ref is tainted if nobody
    can say how far the call had come.
    """

    __slots__ = ("__weakref__", "_ref")

    def __init__(self, ref: _native.SandboxRef) -> None:
        """Made by ``SandboxSet.get_or_create_unpaused`` only."""
        self._ref = ref

    async def put(self) -> None:
        """Give the sandbox back, paused and idle, or straight to the oldest waiter.

        The ref is stale at once; what is awaited is a pause that takes long, and that goes on when it is cancelled. A
        sandbox that cannot be reused is destroyed instead, without an error. A second put is a ``StaleRefError``.
        """
        rest = _native.aio.begin_put(self._ref)
        if rest is not None:
            await finish(rest)

    async def destroy(self, reason: str | None = None) -> None:
        """End the sandbox; the reason is kept and shown by any later call. Does not wait for the teardown."""
        self._ref.destroy(reason)

    def taint(self, reason: str) -> None:
        """Mark the sandbox as not reusable: its put will destroy it."""
        self._ref.taint(reason)

    async def exec(
        self,
        args: Sequence[Name],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Name | None = None,
        stdin: _Bytes | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        output_bytes: int | None = None,
        on_overflow: Literal["truncate", "kill"] | None = None,
        memory_bytes: int | None = None,
        cpu_seconds: int | None = None,
        cancel: _native.CancelToken | None = None,
    ) -> _native.Output:
        """Run a command to its end; how it ended is in the output, not an exception.

        `args` is the program and its arguments, never a shell. `timeout` is 30 seconds by default; afterwards TERM,
        `grace` (0.2) seconds, KILL of every process it started. Of each output stream `output_bytes` (1 MiB) are
        kept, half from the beginning, half from the end; with `on_overflow="kill"` more than that ends the command.
        `memory_bytes` and `cpu_seconds` limit each of its processes. A cancel kills it and taints the ref.
        """
        operation = _native.aio.begin_command(
            self._ref,
            False,
            {
                "args": args,
                "env": env,
                "cwd": cwd,
                "stdin": stdin,
                "timeout": timeout,
                "grace": grace,
                "output_bytes": output_bytes,
                "on_overflow": on_overflow,
                "memory_bytes": memory_bytes,
                "cpu_seconds": cpu_seconds,
                "cancel": cancel,
            },
        )
        return cast(_native.Output, await finish(operation))

    async def spawn(
        self,
        args: Sequence[Name],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Name | None = None,
        stdin: _Bytes | Literal["stream"] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        output_bytes: int | None = None,
        on_overflow: Literal["truncate", "kill"] | None = None,
        memory_bytes: int | None = None,
        cpu_seconds: int | None = None,
        cancel: _native.CancelToken | None = None,
    ) -> Process:
        """Start a command; as `exec`, but with ``stdin="stream"`` it reads what `Process.write_stdin` writes."""
        operation = _native.aio.begin_command(
            self._ref,
            True,
            {
                "args": args,
                "env": env,
                "cwd": cwd,
                "stdin": stdin,
                "timeout": timeout,
                "grace": grace,
                "output_bytes": output_bytes,
                "on_overflow": on_overflow,
                "memory_bytes": memory_bytes,
                "cpu_seconds": cpu_seconds,
                "cancel": cancel,
            },
        )
        return Process(await finish(operation))

    async def connect(self, *, timeout: float | None = None, cancel: _native.CancelToken | None = None) -> Connection:
        """Open a stream to the runtime's socket."""
        return Connection(await finish(_native.aio.begin_connect(self._ref, timeout, cancel)))

    async def call(
        self, request: _Bytes, *, timeout: float | None = None, cancel: _native.CancelToken | None = None
    ) -> bytes:
        """Send one request to the runtime and return its answer. A cancel taints the ref."""
        return cast(bytes, await finish(_native.aio.begin_call(self._ref, request, timeout, cancel)))

    async def call_json(
        self, value: Any, *, timeout: float | None = None, cancel: _native.CancelToken | None = None
    ) -> Any:
        """Send a value as JSON to the runtime and return its answer, which must be JSON too."""
        return json.loads(await self.call(json.dumps(value).encode(), timeout=timeout, cancel=cancel))

    async def read_file(self, path: Name, *, max_bytes: int | None = None) -> bytes:
        """Read a regular file of at most `max_bytes` (64 MiB); a larger one is ``TooBigError``.

        The path is absolute in the sandbox, or relative to its scratch dir. The host follows no link planted inside.
        """
        return cast(bytes, await finish(_native.aio.begin_read_file(self._ref, path, max_bytes)))

    async def write_file(self, path: Name, data: _Bytes, *, mode: int | None = None) -> None:
        """Create or replace a regular file, whole or not at all, with these permission bits (0o644).

        A cancel does not stop the write.
        """
        await finish(_native.aio.begin_write_file(self._ref, path, data, mode))

    async def list_dir(self, path: Name | None = None, *, max_entries: int | None = None) -> list[_native.DirEntry]:
        """Return the entries of a directory, by default the scratch dir, sorted by name.

        More than `max_entries` (4096) is ``TooBigError``.
        """
        return cast(list[_native.DirEntry], await finish(_native.aio.begin_list_dir(self._ref, path, max_entries)))

    async def remove(self, path: Name) -> None:
        """Remove a file or, with all it holds, a directory. A cancel does not stop the removal."""
        await finish(_native.aio.begin_remove(self._ref, path))

    async def usage(self) -> _native.Usage:
        """What the sandbox uses now."""
        return cast(_native.Usage, await finish(_native.aio.begin_usage(self._ref)))

    async def log(self, *, max_bytes: int | None = None) -> bytes:
        """What the runtime wrote to its standard output and error, the last `max_bytes` (64 KiB) of it."""
        return cast(bytes, await finish(_native.aio.begin_log(self._ref, max_bytes)))

    @property
    def id(self) -> int:
        """The id of the sandbox; valid after put and destroy."""
        return self._ref.id

    @property
    def scratch_dir(self) -> str:
        """The scratch dir as the sandbox's own processes see it."""
        return self._ref.scratch_dir

    @property
    def host_scratch_dir(self) -> str | None:
        """The scratch dir on the host, if it is a directory of the host."""
        return self._ref.host_scratch_dir

    @property
    def state(self) -> Literal["held", "dead", "stale"]:
        """What state the sandbox is in for this holder."""
        return self._ref.state

    @property
    def reused(self) -> bool:
        """Whether an earlier holder used this sandbox."""
        return self._ref.reused

    @property
    def uses(self) -> int:
        """How often the sandbox was handed out, this time included."""
        return self._ref.uses

    @property
    def age(self) -> float:
        """The seconds since it became ready."""
        return self._ref.age

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        rest = _native.aio.begin_leave(self._ref, exc_type)
        if rest is not None:
            await finish(rest)

    def __repr__(self) -> str:
        return f"<aio.{repr(self._ref)[1:]}"

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        return self._ref.__reduce_ex__(protocol)
