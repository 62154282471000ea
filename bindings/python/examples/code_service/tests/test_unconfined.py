"""Negative controls: attacks that only look run without any sandbox, where they must succeed and be found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from sandboxset import SandboxRef

from code_service.baits import Baits
from code_service.catalogue import all_jobs
from code_service.jobs import PYTHON, Job, resolve
from code_service.runner import execute

from .local import LocalSet

pytestmark = pytest.mark.skipif(resolve(PYTHON) is None, reason=f"NOT RUN: this host has no {PYTHON}")

#: What the check must say of each.
LOOKING = {
    "read_host_files": "secret came out in stdout",
    "proc_snoop": "secret came out in stdout",
    "planted_links": "secret came out in report.txt",
    "network_local": "secret came out in stdout",
    "unix_sockets": "secret came out in stdout",
}
JOBS = [job for job in all_jobs() if job.name in LOOKING]


@pytest.fixture
def baits() -> Iterator[Baits]:
    with Baits() as baits:
        yield baits


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_attack_succeeds_without_a_sandbox_and_is_found_out(job: Job, baits: Baits) -> None:
    with LocalSet(1) as pool:
        result = execute(cast(SandboxRef, pool.get_or_create_unpaused(timeout=1)), job, baits.names)
    assert LOOKING[job.name] in (job.judge(result, baits) or ""), result
    if job.name in ("network_local", "unix_sockets"):
        assert baits.visits, "the bait did not notice its visitor"
