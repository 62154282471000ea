"""Runs one job in one sandbox: upload, exec, read back, put or destroy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import sandboxset
from sandboxset import SandboxRef, SandboxSet

from .baits import Baits
from .jobs import PYTHON, Job, Refused, Result

#: What a job may find in a used sandbox. A set belongs to one function, so ``put`` keeps the files of the last
#: holder; this service runs a different program each time and therefore clears them itself.
WRITABLE = ("/scratch", "/tmp")

#: Seconds a job waits for one of the sandboxes.
GET_TIMEOUT = 60.0


@dataclass(frozen=True)
class Record:
    """One run of one job, as the table shows it."""

    job: str
    hostile: bool
    outcome: str
    #: What is wrong with the result; None when nothing is.
    problem: str | None
    reused: bool = False
    #: Seconds each step took; ``get`` includes waiting for a sandbox that others held.
    get: float | None = None
    exec: float | None = None
    put: float | None = None
    total: float = 0.0


def run(pool: SandboxSet, job: Job, baits: Baits) -> Record:
    """Runs a job and judges it. Errors of the library become a failed record: one job never stops the service."""
    started = time.perf_counter()
    try:
        sandbox = pool.get_or_create_unpaused(timeout=GET_TIMEOUT)
    except sandboxset.SandboxSetError as error:
        return Record(job.name, job.hostile, "no sandbox", str(error), total=time.perf_counter() - started)
    got = time.perf_counter()
    reused = sandbox.reused
    put_seconds = None
    try:
        result = execute(sandbox, job, baits.names)
        problem = job.judge(result, baits)
        if job.hostile or problem:
            sandbox.destroy(f"ran {job.name}")
        else:
            before_put = time.perf_counter()
            sandbox.put()
            put_seconds = time.perf_counter() - before_put
    except sandboxset.SandboxSetError as error:
        end(sandbox, f"{job.name} failed")
        result, problem = Result("error"), str(error)
    except BaseException:
        end(sandbox, f"{job.name} was abandoned")
        raise
    finished = time.perf_counter()
    return Record(
        job.name,
        job.hostile,
        describe(result),
        problem,
        reused,
        get=got - started,
        exec=result.seconds or None,
        put=put_seconds,
        total=finished - started,
    )


def end(sandbox: SandboxRef, reason: str) -> None:
    """Destroys a sandbox after an error, which may have been the end of it already."""
    with contextlib.suppress(sandboxset.SandboxSetError):
        sandbox.destroy(reason)


def execute(sandbox: SandboxRef, job: Job, names: Mapping[str, str]) -> Result:
    """Uploads the job's files, runs its command and collects what there is to judge; ``names`` are the baits'."""
    for directory in WRITABLE:
        for entry in sandbox.list_dir(directory):
            sandbox.remove(f"{directory}/{entry.name}")
    for name, content in job.uploads().items():
        sandbox.write_file(name, content)
    started = time.perf_counter()
    output = sandbox.exec(job.command(names), timeout=job.timeout, env=dict(job.env), stdin=job.stdin)
    seconds = time.perf_counter() - started
    return Result(
        outcome=output.outcome,
        exit_code=output.exit_code,
        stdout=output.stdout,
        stderr=output.stderr,
        dropped=output.stdout_dropped + output.stderr_dropped,
        seconds=seconds,
        collected=collect(sandbox, job),
        aftermath=call_roll(sandbox) if job.roll_call else None,
    )


def collect(sandbox: SandboxRef, job: Job) -> dict[str, bytes | Refused]:
    """Reads the job's files back. A refusal is a result too: an attack is supposed to meet one."""
    collected: dict[str, bytes | Refused] = {}
    for path in job.collect:
        try:
            collected[path] = sandbox.read_file(path)
        except sandboxset.SandboxSetError as error:
            collected[path] = Refused(str(error))
    return collected


def call_roll(sandbox: SandboxRef) -> str:
    """Lists the processes that live in the sandbox now, with a program that the attack could not have replaced."""
    source = (
        "import os\n"
        "for pid in sorted(filter(str.isdigit, os.listdir('/proc')), key=int):\n"
        "    try:\n"
        "        with open(f'/proc/{pid}/cmdline', 'rb') as file: line = file.read()\n"
        "        with open(f'/proc/{pid}/stat') as file: state = file.read().rpartition(')')[2].split()[0]\n"
        "    except OSError: continue\n"
        "    if int(pid) != os.getpid(): print(pid, state, ascii(line))\n"
        "print('roll call over')\n"
    )
    output = sandbox.exec([PYTHON, "-I", "-c", source], timeout=30.0)
    if not output.success:
        end = f"{output.outcome}, exit code {output.exit_code}, signal {output.signal}"
        return f"the roll call itself failed: {end}: {output.stderr}"
    return output.stdout


def describe(result: Result) -> str:
    """How the command ended, in a word or two."""
    return f"exited {result.exit_code}" if result.outcome == "exited" else result.outcome.replace("_", " ")
