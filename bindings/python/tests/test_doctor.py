"""What the host is said to offer, and the program that says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import sandboxset


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandboxset", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, **variables},
    )


def test_the_diagnosis_agrees_with_what_a_set_can_do(linux_obstacle: str | None) -> None:
    diagnosis = sandboxset.doctor()
    assert diagnosis.can_make_sandboxes == (linux_obstacle is None), str(diagnosis)
    assert len({check.name for check in diagnosis.checks}) == len(diagnosis.checks) > 20
    for check in diagnosis.checks:
        assert check.status in ("works", "degraded", "missing")
        assert check.detail
        assert (check.status == "works") == (check.fix == ""), check
    sandbox = diagnosis.check("sandbox")
    assert sandbox is not None and "Check(name=\"sandbox\"" in repr(sandbox)
    assert diagnosis.check("none") is None
    assert str(diagnosis).startswith("kernel ")


def test_the_program_prints_json_or_a_table() -> None:
    printed = run("doctor", "--json")
    report = json.loads(printed.stdout)
    assert printed.returncode == (0 if report["can_make_sandboxes"] else 1), printed.stderr
    assert [set(check) for check in report["checks"]] == [{"name", "status", "detail", "fix"}] * len(report["checks"])
    assert {check["name"]: check["status"] for check in report["checks"]}.keys() >= {"kernel", "sandbox", "cgroup"}
    table = run("doctor")
    assert table.returncode == printed.returncode
    for check in report["checks"]:
        assert f"\n{check['name']} " in "\n" + table.stdout


def test_a_host_that_cannot_make_sandboxes_is_1(tmp_path: Path) -> None:
    # A program that is no keeper stands for a host that cannot.
    broken = tmp_path / "keeper"
    broken.write_text("nonsense")
    printed = run("doctor", "--json", SANDBOXSET_KEEPER=str(broken))
    assert printed.returncode == 1
    report = json.loads(printed.stdout)
    assert not report["can_make_sandboxes"]
    (sandbox,) = [check for check in report["checks"] if check["name"] == "sandbox"]
    assert sandbox["status"] == "missing" and sandbox["fix"]


def test_the_self_test_says_of_each_attempt_what_became_of_it() -> None:
    printed = run("self-test", "--json")
    report = json.loads(printed.stdout)
    assert (printed.returncode, report["passed"]) == (0, True), printed
    assert {probe["verdict"] for probe in report["probes"]} <= {"blocked", "not applicable", "open"}
    assert report["blocked"] > 100
    assert any(probe["control"] for probe in report["probes"])


@pytest.mark.parametrize("arguments", [(), ("cure",), ("doctor", "now"), ("--json",)])
def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    printed = run(*arguments)
    assert (printed.returncode, printed.stdout) == (2, "")
    assert "usage: python -m sandboxset" in printed.stderr
