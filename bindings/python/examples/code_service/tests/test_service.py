"""The service as a whole, on a set without isolation and with harmless jobs."""

from __future__ import annotations

import dataclasses
import io
import tempfile
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from sandboxset import SandboxSet

from code_service import service
from code_service.catalogue import all_jobs
from code_service.checks import prints
from code_service.jobs import PYTHON, Evidence, Job, Result, resolve

from .local import LocalSandbox, LocalSet

pytestmark = pytest.mark.skipif(resolve(PYTHON) is None, reason=f"NOT RUN: this host has no {PYTHON}")

QUICK = [job for job in all_jobs() if job.name in ("lisp", "expression", "n_queens", "lru_cache", "max_flow")]
WRONG = dataclasses.replace(QUICK[0], name="wrong", check=prints("something else"))


def serve(jobs: Sequence[Job], *arguments: str, size: type[LocalSet] = LocalSet) -> tuple[int, str]:
    out = io.StringIO()
    code = service.main(["--rounds", "2", *arguments], cast(Callable[[int], SandboxSet], size), jobs, out)
    return code, out.getvalue()


def test_good_jobs_pass_and_sandboxes_are_reused() -> None:
    code, text = serve(QUICK, "--threads", "4", "--size", "2")
    assert code == 0, text
    assert "10 of 10 runs passed, 0 things left behind: ok" in text
    assert "hit rate 80%" in text or "hit rate 90%" in text
    assert "get, quiet" in text and "exec, harmless" in text


def test_a_failed_job_fails_the_run() -> None:
    code, text = serve([*QUICK, WRONG])
    assert code == 1
    assert "FAILED 2 of 2" in text and "FAILED wrong: printed" in text and "NOT OK" in text


def test_something_left_behind_fails_the_run() -> None:
    left: list[tempfile.TemporaryDirectory[str]] = []

    class Littering(LocalSet):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            left.append(tempfile.TemporaryDirectory(prefix="sandboxset-left-"))

    try:
        code, text = serve(QUICK, size=Littering)
        assert code == 1 and left[0].name in text and "1 things left behind: NOT OK" in text
    finally:
        left[0].cleanup()


def test_a_missing_interpreter_is_told_loudly() -> None:
    missing = dataclasses.replace(QUICK[0], name="cobol", argv=("cobol", "x"))
    code, text = serve([*QUICK, missing])
    assert code == 0
    assert "!!! NOT RUN: cobol: this host has no cobol" in text and "1 NOT RUN" in text


def test_running_nothing_is_no_success() -> None:
    code, _ = serve([dataclasses.replace(QUICK[0], argv=("cobol", "x"))])
    assert code == 1


def test_a_hostile_or_failed_job_costs_its_sandbox() -> None:
    sets: list[LocalSet] = []

    class Watched(LocalSet):
        def __init__(self, size: int) -> None:
            super().__init__(size)
            sets.append(self)

    hostile = dataclasses.replace(QUICK[0], name="hostile", hostile=True)
    code, text = serve([hostile], size=Watched)
    assert code == 0 and "contained" in text and "created ×2" in text
    code, text = serve([WRONG], size=Watched)
    assert code == 1 and "created ×2" in text


def test_a_check_that_stumbles_is_a_failed_job() -> None:
    def stumbles(_result: Result, _evidence: Evidence) -> str | None:
        raise IndexError("no such line")

    code, text = serve([dataclasses.replace(QUICK[0], check=stumbles)])
    assert code == 1 and "IndexError('no such line')" in text


def test_a_defect_of_the_service_ends_the_run() -> None:
    class Broken(LocalSet):
        def get_or_create_unpaused(self, *, timeout: float) -> LocalSandbox:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        serve(QUICK, size=Broken)


def test_plan_is_reproducible_and_complete() -> None:
    plan = service.plan(QUICK, 3, seed=1)
    assert plan == service.plan(QUICK, 3, seed=1) != service.plan(QUICK, 3, seed=2)
    assert sorted(job.name for job in plan) == sorted(job.name for job in QUICK * 3)


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--size", "-1"], ["--rounds", "x"], ["--unknown"]])
def test_bad_arguments_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        service.parse(arguments)


def test_an_unknown_job_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(QUICK, "--only", "no-such-job")[0] == 2
    assert "no job is called no-such-job" in capsys.readouterr().err
