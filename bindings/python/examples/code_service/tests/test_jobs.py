"""Every harmless job, run by this host's own interpreters, and every check, shown results that are wrong."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import cast

import pytest
from sandboxset import SandboxRef

from code_service.catalogue import all_jobs
from code_service.jobs import HERE, PYTHON, Job, Refused, Result, fill, resolve
from code_service.runner import execute

from .local import LocalSandbox, LocalSet, Nothing

HARMLESS = [job for job in all_jobs() if not job.hostile]


@pytest.fixture
def sandbox() -> Iterator[LocalSandbox]:
    with LocalSet(1) as pool:
        yield pool.get_or_create_unpaused(timeout=1)


def run(job: Job, sandbox: LocalSandbox) -> Result:
    missing = job.missing()
    if missing:
        pytest.skip(f"{job.name} NOT RUN: this host has no {missing}")
    return execute(cast(SandboxRef, sandbox), job, {})


@pytest.mark.parametrize("job", HARMLESS, ids=lambda job: job.name)
def test_passes_and_its_check_can_fail(job: Job, sandbox: LocalSandbox) -> None:
    result = run(job, sandbox)
    assert job.judge(result, Nothing()) is None
    for wrong in wrong_results(result):
        assert job.judge(wrong, Nothing()), f"the check of {job.name} accepts {wrong}"


def wrong_results(right: Result) -> Iterator[Result]:
    """The right result with one thing wrong at a time."""
    yield dataclasses.replace(right, exit_code=1)
    yield dataclasses.replace(right, outcome="timed_out", exit_code=None)
    yield dataclasses.replace(right, dropped=1)
    if right.collected:
        yield dataclasses.replace(right, collected={name: Refused("gone") for name in right.collected})
    if right.collected and not re.search(r"\d", right.stdout):
        return  # The product is a file; the line that announces it is not a result.
    yield dataclasses.replace(right, stdout="\n".join(right.stdout.splitlines()[1:]))
    changed = change_first_value(right.stdout)
    if changed != right.stdout:
        yield dataclasses.replace(right, stdout=changed)


def change_first_value(text: str) -> str:
    """The text with its first number made another one or, if it has none, its first letters swapped for others."""
    changed, count = re.subn(r"\d", lambda digit: str((int(digit[0]) + 5) % 10), text, count=1)
    return changed if count else re.sub(r"[a-z]{3}", "zzz", text, count=1)


def test_there_are_enough_jobs() -> None:
    assert len(HARMLESS) >= 40
    assert len(all_jobs()) - len(HARMLESS) >= 15


@pytest.mark.parametrize("job", all_jobs(), ids=lambda job: job.name)
def test_program_is_uploaded_and_explained(job: Job) -> None:
    program = next(path for path in job.files if path.startswith(("programs/", "attacks/")))
    assert program.rpartition("/")[2] in job.argv
    text = (HERE / program).read_text(encoding="utf-8")
    assert text.startswith(('"""', "# "))
    assert len(text.splitlines()) >= 5


def test_every_program_belongs_to_a_job() -> None:
    used = {path for job in all_jobs() for path in job.files}
    there = {
        f"{path.parent.name}/{path.name}"
        for folder in ("programs", "attacks")
        for path in (HERE / folder).iterdir()
        if path.is_file()
    }
    assert there <= used


def test_scratch_is_cleared_before_a_job(sandbox: LocalSandbox) -> None:
    sandbox.write_file("left-by-the-last-holder.txt", b"x")
    archives = next(job for job in HARMLESS if job.name == "archives")
    assert archives.judge(run(archives, sandbox), Nothing()) is None


def test_missing_programs_are_named() -> None:
    job = HARMLESS[0]
    assert dataclasses.replace(job, argv=("no-such-interpreter", "x")).missing() == "no-such-interpreter"
    assert dataclasses.replace(job, needs="no-such-compiler").missing() == "no-such-compiler"
    assert resolve(PYTHON) is None or job.missing() is None


def test_fill_leaves_other_braces_alone() -> None:
    assert fill("{a}{b}{}{{", {"a": "1"}) == "1{b}{}{{"
