"""A set of "sandboxes" that are plain directories: no isolation at all, hence for harmless jobs only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sandboxset import SandboxSetError


@dataclass(frozen=True)
class LocalOutput:
    """As much of an output as the runner looks at."""

    outcome: str
    exit_code: int | None
    stdout: str
    stderr: str
    stdout_dropped: int = 0
    stderr_dropped: int = 0


@dataclass(frozen=True)
class LocalEntry:
    """A name in a directory."""

    name: str


class LocalSandbox:
    """A temporary directory that stands for /scratch."""

    def __init__(self, owner: LocalSet) -> None:
        self._owner = owner
        self.directory = Path(tempfile.mkdtemp(prefix="local-run-"))
        self.reused = False
        self.destroyed: str | None = None

    def exec(
        self, args: Sequence[str], *, timeout: float, env: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> LocalOutput:
        """Runs a command of this host in the directory."""
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(self.directory), **(env or {})}
        try:
            done = subprocess.run(
                args, input=stdin, capture_output=True, cwd=self.directory, env=variables, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            return LocalOutput("timed_out", None, "", "")
        return LocalOutput("exited", done.returncode, done.stdout.decode(), done.stderr.decode())

    def write_file(self, path: str, data: bytes) -> None:
        """Writes a file of scratch."""
        (self.directory / path).write_bytes(data)

    def read_file(self, path: str) -> bytes:
        """Reads a file of scratch, and falls for every link planted there; a reader of pipes would hang."""
        target = self.directory / path
        try:
            if target.stat().st_size > 1 << 20 or not target.is_file():
                raise SandboxSetError(f"{path} is not a small file")
            return target.read_bytes()
        except OSError as error:
            raise SandboxSetError(str(error)) from error

    def list_dir(self, path: str) -> list[LocalEntry]:
        """Lists scratch; every other directory is the host's and looks empty."""
        return [LocalEntry(name) for name in os.listdir(self.directory)] if path == "/scratch" else []

    def remove(self, path: str) -> None:
        """Removes a file or directory of scratch."""
        target = self.directory / Path(path).relative_to("/scratch")
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()

    def put(self) -> None:
        """Gives it back."""
        self._owner.give(self)

    def destroy(self, reason: str) -> None:
        """Ends it."""
        self.destroyed = reason
        self._owner.forget(self)


class LocalSet:
    """As many local sandboxes as there is room for."""

    def __init__(self, size: int) -> None:
        self._room = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._idle: list[LocalSandbox] = []
        self.alive: list[LocalSandbox] = []
        self.most_alive = 0

    def __enter__(self) -> LocalSet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sandbox in self.alive:
            shutil.rmtree(sandbox.directory)

    def get_or_create_unpaused(self, *, timeout: float) -> LocalSandbox:
        """The one put last, or a new one."""
        assert self._room.acquire(timeout=timeout)
        with self._lock:
            if self._idle:
                sandbox = self._idle.pop()
                sandbox.reused = True
                return sandbox
            sandbox = LocalSandbox(self)
            self.alive.append(sandbox)
            self.most_alive = max(self.most_alive, len(self.alive))
            return sandbox

    def give(self, sandbox: LocalSandbox) -> None:
        """Takes one back."""
        with self._lock:
            self._idle.append(sandbox)
        self._room.release()

    def forget(self, sandbox: LocalSandbox) -> None:
        """Removes one."""
        with self._lock:
            self.alive.remove(sandbox)
        shutil.rmtree(sandbox.directory)
        self._room.release()


@dataclass(frozen=True)
class Nothing:
    """Evidence of a host that noticed nothing."""

    secret: str = "canary-0123"
    visits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visited(Nothing):
    """Evidence of a host whose bait was reached."""

    visits: tuple[str, ...] = ("tcp",)
