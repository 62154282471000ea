"""What a job is, what running it yields, and how its programs find their way into a sandbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent

#: The interpreter every Python job runs on: the one of the root file system, not the one that runs the service.
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Refused:
    """A file that could not be read back, and what the library said about it."""

    reason: str


@dataclass(frozen=True)
class Result:
    """Everything that is known about one finished run of a job; the only thing a check may judge."""

    outcome: str
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    #: Bytes of standard output and error that were not kept.
    dropped: int = 0
    #: How long the exec took, in seconds.
    seconds: float = 0.0
    #: The files named by ``Job.collect``.
    collected: Mapping[str, bytes | Refused] = field(default_factory=dict)
    #: What the roll call in the same sandbox printed after the job, if the job asked for one.
    aftermath: str | None = None


class Evidence(Protocol):
    """What the host noticed, whatever the job itself may claim."""

    @property
    def secret(self) -> str:
        """What no sandbox may ever print."""

    @property
    def visits(self) -> tuple[str, ...]:
        """Who reached a socket of the host so far."""


#: Returns what is wrong with a result, or None when nothing is.
Check = Callable[[Result, Evidence], str | None]


@dataclass(frozen=True)
class Job:
    """One program with its input and with the means to tell whether its result is right."""

    name: str
    #: The command. ``{canary}`` and the like are replaced by what the baits of this run are called.
    argv: tuple[str, ...]
    check: Check
    #: Paths of files to upload, relative to the example's directory; they arrive by their last name.
    files: tuple[str, ...] = ()
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    #: Seconds. A harmless job needs a fraction of it; only a hang or an attack reaches it.
    timeout: float = 30.0
    #: A program of the host's root file system that the command starts and cannot do without.
    needs: str = ""
    #: Files to read back with ``read_file`` after the command.
    collect: tuple[str, ...] = ()
    #: Whether to count the processes of the sandbox after the command.
    roll_call: bool = False
    #: Whether the job attacks. Its sandbox is destroyed afterwards, and "passed" means "was contained".
    hostile: bool = False

    def missing(self) -> str | None:
        """The interpreter or compiler that this host does not have, if any."""
        wanted = [program for program in (self.argv[0], self.needs) if program]
        return next((program for program in wanted if resolve(program) is None), None)

    def judge(self, result: Result, evidence: Evidence) -> str | None:
        """What is wrong with a result, or None. Output so strange that the check trips over it is wrong, too."""
        try:
            return self.check(result, evidence)
        except Exception as error:  # The output is a stranger's; any way to stumble over it is possible.
            return f"the check cannot read the result ({error!r}): {result.stdout[-300:]!r}"

    def command(self, names: Mapping[str, str]) -> list[str]:
        """The arguments for exec, with the program's real path and the baits' names filled in."""
        program = resolve(self.argv[0]) or self.argv[0]
        return [program] + [fill(argument, names) for argument in self.argv[1:]]

    def uploads(self) -> dict[str, bytes]:
        """The files to write before the command, by the name they get in the sandbox."""
        return {Path(path).name: (HERE / path).read_bytes() for path in self.files}


def python_job(
    name: str,
    check: Check,
    arguments: Sequence[str] = (),
    files: Sequence[str] = (),
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    collect: Sequence[str] = (),
) -> Job:
    """A harmless job whose program is ``programs/<name>.py``, with further files to upload beside it."""
    return Job(
        name,
        (PYTHON, f"{name}.py", *arguments),
        check,
        files=(f"programs/{name}.py", *files),
        stdin=stdin,
        env=env or {},
        collect=tuple(collect),
    )


def resolve(program: str) -> str | None:
    """The real path of a program that is part of the root file system, or None.

    Links are followed here because Debian's ``awk`` leads through ``/etc/alternatives``, and the ``/etc`` of a
    sandbox is a minimal one.
    """
    found = shutil.which(program, path="/usr/bin:/bin")
    return os.path.realpath(found) if found else None


def fill(argument: str, names: Mapping[str, str]) -> str:
    """Replaces ``{name}`` by its value; unlike ``str.format`` it leaves all other braces alone."""
    for name, value in names.items():
        argument = argument.replace("{" + name + "}", value)
    return argument
