"""The set, with its typed constructor, and its end at interpreter exit."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

from . import _native
from .config import Bind, Limits, Name, Runtime
from .runtimes import NodeRuntime, PythonRuntime

__all__ = ["CommandPolicy", "SandboxSet"]

#: Called as ``policy(args, env=…, cwd=…)`` before every command, on the thread that called ``exec`` or ``spawn``.
#: Raises to refuse, returns ``None`` to agree, or other arguments to run instead.
CommandPolicy = Callable[..., Sequence[Name] | None]

#: Seconds that all sets together may take to close when the interpreter exits.
_EXIT_DEADLINE = 1.0

_live: weakref.WeakSet[SandboxSet] = weakref.WeakSet()


class SandboxSet(_native.SandboxSet):
    """All sandboxes of one function; thread-safe.

    Ask it for a sandbox and get it running: reused if one is idle, created if not. As a context manager it is
    closed at the end of the block. A set that is still open when the interpreter exits is closed then.

    Times are seconds, sizes are bytes. A wrong type is a ``TypeError``, a wrong value an ``InvalidArgumentError``;
    both name the argument, and nothing was made then.

    Args:
        backend: makes the sandboxes; default that of the ``parent``, else ``LinuxBackend()``.
        root: an unpacked image directory, or ``oci:DIR:TAG`` for an image in an OCI image layout, which is unpacked
            into the backend's ``image_cache`` first; default the host's own ``/usr``, ``/bin``, ``/lib*``, read-only.
        code_dir: a directory of the host that appears read-only at ``/code``.
        binds: further files or directories of the host, in mount order.
        env: the environment of every command, beneath the command's own; nothing of the host's is inherited.
        limits: limits of each sandbox.
        runtime: a long-lived process in each sandbox that answers requests.
        layers: how much each layer of isolation matters, by the names of ``isolation_report()``; default best
            effort. A create without a required one is an ``UnsupportedError``.
        max_size: sandboxes at most, in whatever state; default 8.
        min_idle: idle sandboxes that are kept ready; default 0.
        max_waiters: callers that may wait at once; default 1024.
        get_timeout: how long a get waits unless told otherwise; default 30.
        create_timeout: how long one create may take; default 60.
        reuse: what a put does first: ``keep`` leaves everything to the next holder; ``reset`` empties the sandbox in
            the background and verifies from outside that it is as it was when fresh, and any doubt destroys it;
            ``replace`` destroys it, so that every holder gets a fresh one, made ahead if ``min_idle`` says so.
        parent: the set whose sandboxes are forked to make those of this one, which then are never made otherwise. Many
            children share a parent. One that is destroyed is torn down after its last child; one that dies takes its
            children with it. Once the parent set drains or is closed, a create is a ``ForkFailedError``.
        max_forks: forks of one sandbox that may be in flight at once, if this set is a parent; default 8. When more
            want to fork, the set grows, up to its ``max_size``.
        scratch_dirs: a directory of the host to make scratch dirs in; default a tmpfs for each sandbox.
        command_policy: may refuse or rewrite every command; see ``CommandPolicy``.
        clock: where time comes from, for tests.
    """

    __slots__ = ()

    def __new__(
        cls,
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
        parent: _native.SandboxSet | None = None,
        max_forks: int | None = None,
        scratch_dirs: Name | None = None,
        command_policy: CommandPolicy | None = None,
        clock: _native.ManualClock | None = None,
    ) -> Self:
        """Make a set; it makes no sandbox yet, unless ``min_idle`` asks for it."""
        self = super().__new__(
            cls,
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
            parent=parent,
            max_forks=max_forks,
            scratch_dirs=scratch_dirs,
            command_policy=command_policy,
            clock=clock,
        )
        _live.add(self)
        return self


@atexit.register
def _close_all() -> None:
    """Close what is still open, within a short time and without a word: nobody is left to read it."""
    if not _native.in_forked_child():
        _native.close_all(list(_live), _EXIT_DEADLINE)
