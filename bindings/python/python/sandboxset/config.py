"""What a set is told about its sandboxes.

These are plain values. ``SandboxSet`` checks them, so a mistake is reported there, with the name of the field.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

__all__ = ["Bind", "LateBinding", "LateFile", "LateLimits", "Limits", "Runtime"]

#: A name of the operating system: a path, an argument, a variable.
Name: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

_Bytes: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one sandbox, all its processes together. ``None`` is the default of the library."""

    memory_bytes: int | None = None
    """Memory, swap and what the kernel needs for the sandbox included; default 256 MiB."""
    pids: int | None = None
    """Processes and threads; default 64."""
    cpus: float | None = None
    """CPU time per time, in cores (0.5 is half a core); default unlimited."""
    scratch_bytes: int | None = None
    """Size of the scratch tmpfs; default 64 MiB. ``/tmp`` has a tmpfs of the same size."""
    scratch_inodes: int | None = None
    """Files and directories in the scratch tmpfs; default 4096."""
    open_files: int | None = None
    """Open files per process; default 1024."""
    file_bytes: int | None = None
    """The largest file a process may write; default left to the tmpfs size."""


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host that is visible in every sandbox of a set."""

    source: Name
    """A path on the host."""
    target: Name
    """An absolute path in the sandbox."""
    writable: bool = False
    """Whether sandboxes may write to it. Sandboxes that share a writable bind are not isolated by it."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A command that is started with the sandbox, lives as long as it, and answers requests.

    It listens on the stream socket that the variable ``SANDBOXSET_SOCKET`` names, then writes ``READY\\n`` to file
    descriptor 3, or ``FAILED `` and why; only then is the sandbox handed out. ``SandboxRef.call`` frames requests and
    answers as a 4-byte little-endian length followed by that many bytes; the highest bit of an answer's says that the
    request failed.
    """

    args: Sequence[Name]
    """The program and its arguments; never a shell."""
    env: Mapping[str, str] | None = None
    """Variables on top of the set's."""
    ready_timeout: float | None = None
    """Seconds it may take to become ready; default 30."""
    forks: bool = False
    """Whether it is a fork server, so that its sandboxes can be parents. In a set with a parent ``args`` are what each
    fork is told, not a program that is started."""
    brings: Sequence[Name] = ()
    """Files and directories of the host that it needs beside the root, which sandboxes see read-only at the same
    paths."""


@dataclass(frozen=True, slots=True)
class LateFile:
    """A file that is written into the scratch dir before a sandbox is handed out."""

    path: Name
    """Relative to the scratch dir, or absolute and below it. Missing directories are made."""
    data: _Bytes = field(repr=False)
    """What it holds."""
    mode: int = 0o644
    """Its permission bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateLimits:
    """Limits for one holder, tighter than the set's or the same. ``None`` is the set's; a looser one is an error."""

    memory_bytes: int | None = None
    """Memory, swap included. What the sandbox holds already counts."""
    pids: int | None = None
    """Processes and threads."""
    cpus: float | None = None
    """CPU time per time, in cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LateBinding:
    """What one holder gets on top of the set's recipe, from its get until its put.

    At the put the variables are forgotten and the limits are the set's again. The code in the sandbox may have copied
    secrets, files and what is bound. So a sandbox that had any of them is used again only by a set with
    ``reuse="reset"``, after it was verified that nothing is left; any other set destroys it at the put.
    """

    env: Mapping[str, str] | None = None
    """Variables of every command of this holder, on top of the set's and beneath the command's own. Not for secrets."""
    secrets: Mapping[str, _Bytes] | None = field(default=None, repr=False)
    """Files of mode 0400 below ``/run/secrets``, by name, in memory that is never swapped out."""
    files: Sequence[LateFile] | None = None
    """Files below the scratch dir."""
    binds: Sequence[Bind] | None = None
    """Files or directories of the host, always read-only."""
    limits: LateLimits | None = None
    """Limits that are tighter than the set's."""
