"""Runtimes that come with this package. Plain values; ``SandboxSet`` checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .config import Name

__all__ = ["NodeRuntime", "PythonRuntime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonRuntime:
    """A Python process in each sandbox that answers calls with a function, or that is forked to make such processes.

    Without a handler it is a fork server: a set with it can be the ``parent`` of others, whose sandboxes then start
    with all of ``preload`` imported. With a handler its sandboxes answer ``SandboxRef.call``, forked or not.

    By default it is the interpreter that runs this program, with its packages, brought in read-only; if the set has a
    ``root`` of its own, it is the ``python3`` of that. Modules are searched in ``/code``, which is the set's
    ``code_dir``, then in ``paths``, then where the interpreter does. The variables ``PYTHON*`` are ignored.

    Every fork has the random state of ``random``, ``numpy.random``, ``ssl``, ``uuid``, ``tempfile`` and
    ``multiprocessing`` renewed. Generators that a preloaded module made for itself are its own to renew, by
    ``os.register_at_fork(after_in_child=...)``; and forks of one parent share the seed of their hashes. A fork whose
    handler is in a module that its parent has imported runs no Python, these functions included, before its first call,
    so that it needs little memory until then.
    """

    preload: Sequence[str] = ()
    """Modules that are imported before a sandbox is ready. Of a fork server none may start a thread; libraries that
    would compute with several are told to use one."""
    handler: str | None = None
    """The function that answers, as ``module:function``. It takes bytes and returns bytes. An exception in it is a
    ``HandlerFailedError`` for the caller, and the runtime lives on. Calls are answered one at a time."""
    json: bool = False
    """Whether the handler takes what ``SandboxRef.call_json`` sent, and returns what can be sent as JSON."""
    paths: Sequence[Name] = ()
    """Directories of the host with more modules, which sandboxes see read-only at the same paths."""
    interpreter: Name | None = None
    """The interpreter as the sandbox sees it, if it is one of the root file system: CPython 3.9 or newer."""
    env: Mapping[str, str] | None = None
    """Variables on top of the set's."""
    ready_timeout: float | None = None
    """Seconds it may take to become ready; default 30."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRuntime:
    """A Node process in each sandbox that answers calls with a function.

    It stays warm from call to call, but cannot be forked, because Node has threads of its own: a set of them is no
    ``parent``. By default it is the ``node`` that this program would find in its ``PATH``, brought in read-only; if the
    set has a ``root`` of its own, it is the ``node`` of that.

    Where there is no memory cgroup, ``Limits.memory_bytes`` bounds address space, of which Node 20 reserves more than
    the default of the limit before it begins; 1 GiB was enough.
    """

    handler: str
    """The function that answers, as ``module:function``: a file of the ``code_dir``, or a module that Node finds by
    itself. It takes a ``Buffer`` and returns bytes or a string, or a promise of them. An exception in it is a
    ``HandlerFailedError`` for the caller, and the runtime lives on."""
    json: bool = False
    """Whether the handler takes what ``SandboxRef.call_json`` sent, and returns what can be sent as JSON."""
    interpreter: Name | None = None
    """The interpreter as the sandbox sees it, if it is one of the root file system."""
    env: Mapping[str, str] | None = None
    """Variables on top of the set's."""
    ready_timeout: float | None = None
    """Seconds it may take to become ready; default 30."""
