"""The set, for tasks."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

from .. import _native
from .._set import CommandPolicy
from .._set import SandboxSet as SyncSandboxSet
from ..config import Bind, LateBinding, Limits, Name, Runtime
from ..errors import InvalidStateError
from ..runtimes import NodeRuntime, PythonRuntime
from ._loop import finish
from ._sandbox import SandboxRef
from ._streams import EventStream

__all__ = ["Get", "SandboxSet"]


class Get:
    """A get that begins when it is awaited, or entered with ``async with``, which also ends the ref; once.

    A task that is cancelled while it waits leaves the queue at once. A create that was started for it goes on, and a
    sandbox that was on its way serves the next.
    """

    __slots__ = ("_options", "_sandbox", "_set")

    def __init__(self, native: _native.SandboxSet, options: tuple[Any, ...]) -> None:
        self._set = native
        self._options: tuple[Any, ...] | None = options
        self._sandbox: SandboxRef | None = None

    def __await__(self) -> Generator[Any, None, SandboxRef]:
        return self._get().__await__()

    async def __aenter__(self) -> SandboxRef:
        self._sandbox = await self._get()
        return self._sandbox

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._sandbox is not None:
            await self._sandbox.__aexit__(exc_type, exc, traceback)

    async def _get(self) -> SandboxRef:
        options, self._options = self._options, None
        if options is None:
            raise InvalidStateError("this get was awaited already; ask the set for another", phase="wait")
        found = _native.aio.begin_get(self._set, *options)
        if isinstance(found, _native.aio.Operation):
            found = cast(_native.SandboxRef, await finish(found))
        return SandboxRef(found)


class SandboxSet:
    """All sandboxes of one function, for tasks; thread-safe, and usable from several event loops.

    Takes the arguments of ``sandboxset.SandboxSet`` and behaves the same. Making one waits for no sandbox, but unpacks
    the image of an ``oci:`` root first: ``await asyncio.to_thread(SandboxSet, root=...)`` keeps that off the loop.
    As an asynchronous context manager it is closed at the end of the block; one that is still open when the
    interpreter exits is closed then.
    """

    __slots__ = ("__weakref__", "_sync")

    def __init__(
        self,
        backend: _native.LinuxBackend | _native.MockBackend | None = None,
        *,
        root: Name | None = None,
        code_dir: Name | None = None,
        binds: Sequence[Bind] | None = None,
        env: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        runtime: Runtime | PythonRuntime | NodeRuntime | None = None,
        layers: Mapping[str, Literal["required", "best_effort", "off"]] | None = None,
        max_size: int | None = None,
        min_idle: int | None = None,
        max_waiters: int | None = None,
        get_timeout: float | None = None,
        create_timeout: float | None = None,
        reuse: Literal["keep", "reset", "replace"] | None = None,
        parent: SandboxSet | _native.SandboxSet | None = None,
        max_forks: int | None = None,
        scratch_dirs: Name | None = None,
        command_policy: CommandPolicy | None = None,
        clock: _native.ManualClock | None = None,
    ) -> None:
        """Make a set; it makes no sandbox yet, unless ``min_idle`` asks for it."""
        self._sync = SyncSandboxSet(
            backend,
            root=root,
            code_dir=code_dir,
            binds=binds,
            env=env,
            limits=limits,
            runtime=runtime,
            layers=layers,
            max_size=max_size,
            min_idle=min_idle,
            max_waiters=max_waiters,
            get_timeout=get_timeout,
            create_timeout=create_timeout,
            reuse=reuse,
            parent=parent.sync if isinstance(parent, SandboxSet) else parent,
            max_forks=max_forks,
            scratch_dirs=scratch_dirs,
            command_policy=command_policy,
            clock=clock,
        )

    @classmethod
    def of(cls, sync: SyncSandboxSet) -> Self:
        """The same set as one for threads."""
        if not isinstance(sync, SyncSandboxSet):
            raise TypeError(f"sync: expected a sandboxset.SandboxSet, got {type(sync).__name__}")
        self = cls.__new__(cls)
        self._sync = sync
        return self

    @property
    def sync(self) -> SyncSandboxSet:
        """The same set, for threads."""
        return self._sync

    def get_or_create_unpaused(
        self,
        *,
        timeout: float | None = None,
        no_wait: bool | None = None,
        acquire: Literal["any", "reuse_only", "fresh_only"] | None = None,
        cancel: _native.CancelToken | None = None,
        binding: LateBinding | None = None,
    ) -> Get:
        """A running sandbox: the most recently used idle one, else a new one, else the first that comes free.

        ``await`` it for a ref that you end yourself, or enter it with ``async with``. `timeout` is how long to wait, by
        default the set's `get_timeout`; zero is one try. With `no_wait` the call fails with ``ExhaustedError`` instead
        of waiting. `acquire` says which sandboxes will do. `binding` is what this holder gets on top of the set's
        recipe; it is bound after the wait, within 5 seconds.
        """
        return Get(self._sync, (timeout, no_wait, acquire, cancel, binding))

    async def prewarm(self, count: int, *, timeout: float | None = None) -> int:
        """Make idle sandboxes until there are `count`, or until the set is full.

        Waits for them, at most `timeout` (60) seconds, and answers how many are idle then. A cancel stops no create.
        """
        return cast(int, await finish(_native.aio.begin_prewarm(self._sync, count, timeout)))

    async def shrink(self, keep: int) -> int:
        """Destroy idle sandboxes, least recently used first, until `keep` are left; answers how many."""
        return cast(int, await finish(_native.aio.begin_shrink(self._sync, keep)))

    async def drain(self, deadline: float | None = None) -> None:
        """Stop admission and wait for holders, at most `deadline` (10) seconds; then ``TimeoutError``. Idempotent.

        A cancel ends the wait, not the draining.
        """
        await finish(_native.aio.begin_drain(self._sync, deadline))

    async def close(self, deadline: float | None = None) -> _native.CloseReport:
        """End the set: fail waiters with ``ClosedError`` and destroy what is idle.

        Held sandboxes are destroyed at their put, or at the deadline (10 seconds). Waits for the teardown and reports
        what survived. Idempotent. A cancel ends the wait, not the close.
        """
        return cast(_native.CloseReport, await finish(_native.aio.begin_close(self._sync, deadline)))

    def stats(self) -> _native.Stats:
        """A consistent snapshot of the counters. Works after close."""
        return self._sync.stats()

    def events(self, *, capacity: int | None = None, timeout: float | None = None) -> EventStream:
        """Subscribe to what happens from now on. At most `capacity` (1024) unread events are kept.

        An iteration over the stream ends when the set is closed, or when no event came for `timeout` seconds.
        """
        return EventStream(self._sync.events(capacity=capacity, timeout=timeout), timeout)

    async def isolation_report(self) -> _native.IsolationReport:
        """What isolation the sandboxes of this set reach on this host."""
        return cast(_native.IsolationReport, await finish(_native.aio.begin_isolation_report(self._sync)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<aio.{repr(self._sync)[1:]}"

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        return self._sync.__reduce_ex__(protocol)
