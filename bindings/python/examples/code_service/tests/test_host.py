"""The census and the baits: that they see what they are for."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from code_service import census
from code_service.baits import SECRET_VARIABLE, Baits
from code_service.census import Process, belongs_elsewhere, related


def table(*processes: Process) -> dict[int, Process]:
    return {process.pid: process for process in processes}


INIT, HOST, OTHER = Process(1, 0, "init", 1), Process(50, 1, "python", 5), Process(60, 1, "pytest", 6)


@pytest.mark.parametrize(
    ("process", "owner", "counted"),
    [
        (Process(70, 50, "cat", 7), None, True),
        (Process(70, 50, "cat", 7, "Z"), None, True),
        (Process(70, 50, "sandboxset-keep", 7), 50, True),
        (Process(70, 1, "memfd:sandboxse", 7), 50, True),
        (Process(70, 1, "memfd:sandboxse", 7), None, True),
        (Process(70, 1, "memfd:sandboxse", 7), 60, False),
        (Process(70, 60, "memfd:sandboxse", 7), None, False),
        (Process(70, 1, "memfd:sandboxse", 7, "Z"), None, False),
        (Process(70, 1, "cron", 7), None, False),
    ],
)
def test_which_processes_count(process: Process, owner: int | None, counted: bool) -> None:
    found = related(table(INIT, HOST, OTHER, process), 50, lambda pid: owner)
    assert (process in found) is counted


def test_what_runs_under_an_orphaned_keeper_counts_as_well() -> None:
    keeper, init = Process(70, 1, "sandboxset-keep", 7), Process(71, 70, "sandboxset-init", 8)
    assert related(table(INIT, HOST, keeper, init), 50, lambda pid: None) == [keeper, init]


def test_what_tells_nothing_is_whose_its_keeper_is() -> None:
    keeper, init = Process(70, 1, "memfd:sandboxse", 7), Process(71, 70, "memfd:sandboxse", 8)
    owners = {70: 60}
    assert related(table(INIT, HOST, OTHER, keeper, init), 50, owners.get) == []
    owners = {70: 50}
    assert related(table(INIT, HOST, OTHER, keeper, init), 50, owners.get) == [keeper, init]


@pytest.mark.parametrize(
    ("name", "elsewhere"),
    [("sandboxset-e7c7-60-6-96da", True), ("sandboxset-e7c7-50-5-96da", False), ("sandboxset-left", False)],
)
def test_what_another_host_process_owns_does_not_count(name: str, elsewhere: bool) -> None:
    assert belongs_elsewhere(name, 50) is elsewhere


def test_host_itself_does_not_count() -> None:
    assert related(table(INIT, HOST), 50, lambda pid: None) == []


def test_nothing_done_leaves_nothing() -> None:
    before = census.take()
    left = census.take().left_behind(before)
    assert left == {kind: [] for kind in census.Census.KINDS}


def test_a_directory_and_a_descriptor_are_seen() -> None:
    before = census.take()
    with tempfile.TemporaryDirectory(prefix="sandboxset-left-") as directory, open(os.devnull) as file:
        left = census.take().left_behind(before)
        assert left["directories"] == [directory]
        assert left["descriptors"] == [f"{file.fileno()} -> /dev/null"]


def test_settle_waits_for_an_ending_process_and_reports_a_lasting_one() -> None:
    before = census.take()
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    assert child.stdin is not None
    try:
        left = census.settle(before, 0.05).left_behind(before)["processes"]
        assert len(left) == 1 and left[0].startswith(f"{child.pid} cat")
    finally:
        child.stdin.close()
        child.wait()
    assert census.settle(before, 10).left_behind(before)["processes"] == []


def test_settle_reports_a_process_that_nobody_reaps() -> None:
    before = census.take()
    child = subprocess.Popen(["/bin/true"])
    try:
        # Not awaited, so it stays in the table as a zombie however long we look.
        left = census.settle(before, 0.2).left_behind(before)["processes"]
        assert [line.split()[0] for line in left] == [str(child.pid)]
    finally:
        child.wait()


def test_baits_notice_every_visit_and_are_gone_afterwards() -> None:
    before = census.take()
    with Baits() as baits:
        baits.prove()
        assert not baits.visits
        names = baits.names
        with socket.create_connection(("127.0.0.1", int(names["tcp_port"]))) as visitor:
            assert baits.secret.encode() in visitor.recv(100)
        assert baits.visits == ("tcp",)
        assert os.environ[SECRET_VARIABLE] == baits.secret
        assert baits.secret in Path("/proc", names["neighbour_pid"], "cmdline").read_text()
        assert baits.secret not in "".join(names.values())
        directory = Path(names["directory"])
        assert directory.is_dir()
    assert not directory.exists() and SECRET_VARIABLE not in os.environ
    left = census.settle(before, 10).left_behind(before)
    assert left == {kind: [] for kind in census.Census.KINDS}
