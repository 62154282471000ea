"""Counts what a run could leave on the host: processes, cgroups, mounts, directories and open files."""

from __future__ import annotations

import contextlib
import os
import re
import select
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

#: What the names of our cgroups, mounts and directories have in common.
MARK = "sandboxset"

#: What remains of it in the name of a process that was started from a memfd, which the kernel cuts to 15 bytes.
PROCESS_MARK = "sandboxse"

#: How the names of cgroups and directories tell their owner: machine, pid and start time of the host process.
OWNER = re.compile(rf"{MARK}-[0-9a-f]+-(\d+)-\d+-")

#: Seconds between two looks at a process that has ended but was not yet reaped: nothing announces that.
REAP_INTERVAL = 0.01


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    name: str
    #: Ticks since boot; tells two processes of the same pid apart.
    started: int
    #: The kernel's letter, for example S or Z.
    state: str = "S"

    @property
    def ours(self) -> bool:
        """Whether it bears the name of our keeper or init."""
        return PROCESS_MARK in self.name


@dataclass(frozen=True)
class Census:
    """What there is at one moment, by kind; each kind a set of descriptions."""

    processes: frozenset[str]
    cgroups: frozenset[str]
    mounts: frozenset[str]
    directories: frozenset[str]
    descriptors: frozenset[str]

    KINDS = ("processes", "cgroups", "mounts", "directories", "descriptors")

    def left_behind(self, before: Census) -> dict[str, list[str]]:
        """What is there now and was not there before, by kind; every kind is present, empty or not."""
        return {kind: sorted(getattr(self, kind) - getattr(before, kind)) for kind in self.KINDS}


def take() -> Census:
    """Counts now."""
    return Census(
        processes=frozenset(
            f"{p.pid} {p.name} (started {p.started})" for p in related(process_table(), os.getpid(), owner_of)
        ),
        cgroups=frozenset(_cgroups()),
        mounts=frozenset(_mounts()),
        directories=frozenset(_directories()),
        descriptors=frozenset(_descriptors()),
    )


def settle(before: Census, seconds: float) -> Census:
    """Counts when every process that appeared since ``before`` has ended, at the latest after ``seconds``.

    The keeper ends by itself shortly after the last set; its pidfd says when, so nothing here sleeps and guesses.
    """
    deadline = time.monotonic() + seconds
    now = take()
    ended: set[int] = set()
    while now.processes - before.processes and time.monotonic() < deadline:
        pid = int(min(now.processes - before.processes).split()[0])
        if pid in ended:
            time.sleep(REAP_INTERVAL)
        elif _await_end(pid, deadline - time.monotonic()):
            ended.add(pid)
        else:
            break
        now = take()
    return now


def related(table: dict[int, Process], host: int, owner_of: Callable[[int], int | None]) -> list[Process]:
    """The descendants of ``host``, and what bears our name and is not another host process's.

    The keeper is not a descendant: it leaves its parent so that it can outlive it and clean up. Who it works for is
    asked of the kernel; what tells nobody's name counts as ours.
    """
    found = []
    for process in table.values():
        if process.pid == host:
            continue
        # A zombie whose parent is the host's pid 1 runs nothing, holds nothing and is reaped when that sees fit.
        waits_for_init = process.state == "Z" and process.parent == 1
        ours = process.ours and not waits_for_init and _owner(table, process, owner_of) in (None, host)
        if _descends(table, process, host) or (ours and _is_orphan(table, process)):
            found.append(process)
    return found


def _owner(table: dict[int, Process], process: Process, owner_of: Callable[[int], int | None]) -> int | None:
    """Whose it is, or else whose the nearest of its parents is that tells: what just begins or ends tells nothing."""
    owners = (owner_of(each.pid) for each in takewhile(lambda each: each.ours, _line(table, process)))
    return next((owner for owner in owners if owner is not None), None)


def owner_of(pid: int) -> int | None:
    """The host process that a keeper or init works for, by the name of its cgroup or by the pidfd it watches."""
    with contextlib.suppress(OSError):
        named = OWNER.search(Path("/proc", str(pid), "cgroup").read_text())
        if named:
            return int(named[1])
    with contextlib.suppress(OSError):
        for info in Path("/proc", str(pid), "fdinfo").iterdir():
            # The keeper's first pidfd is that of its host; those of its inits have children's numbers.
            watched = re.search(r"^Pid:\t(\d+)$", info.read_text(), re.MULTILINE)
            if watched and not Path("/proc", watched[1], "stat").read_text().rpartition(")")[2].split()[1] == str(pid):
                return int(watched[1])
    return None


def process_table() -> dict[int, Process]:
    """All processes of the host that this user can see."""
    table = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_text(errors="replace")
        except OSError:
            continue  # It ended while we were looking.
        # The name is in parentheses and may hold any character, so the last one closes it.
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        table[int(entry)] = Process(int(entry), int(fields[1]), name, int(fields[19]), fields[0])
    return table


def _line(table: dict[int, Process], process: Process) -> Iterator[Process]:
    """The process, its parent, the parent of that, and so on."""
    current: Process | None = process
    while current is not None:
        yield current
        current = table.get(current.parent)


def _descends(table: dict[int, Process], process: Process, host: int) -> bool:
    return any(each.parent == host for each in _line(table, process))


def _is_orphan(table: dict[int, Process], process: Process) -> bool:
    """Whether nobody but processes of our name is between it and pid 1."""
    stranger = next((each for each in _line(table, process) if not each.ours), None)
    return stranger is None or stranger.pid == 1


def _await_end(pid: int, seconds: float) -> bool:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(max(seconds, 0) * 1000))
    finally:
        os.close(pidfd)


def belongs_elsewhere(name: str, host: int) -> bool:
    """Whether a cgroup or directory of our kind is that of another host process, which its name tells."""
    owner = OWNER.search(name)
    return owner is not None and int(owner[1]) != host


def _cgroups() -> list[str]:
    found, host = [], os.getpid()
    for directory, children, _files in os.walk("/sys/fs/cgroup"):
        # Cgroups come and go while we walk; what is gone is simply not found.
        marked = [child for child in children if MARK in child and not belongs_elsewhere(child, host)]
        found += [os.path.join(directory, child) for child in marked]
    return found


def _mounts() -> list[str]:
    # The first six fields hold the mount's own id and place; the rest varies with options of the kernel.
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [" ".join(line.split()[:6]) for line in lines if MARK in line]


def _directories() -> list[str]:
    places = {tempfile.gettempdir(), "/tmp", "/var/tmp", "/run", "/dev/shm", f"/run/user/{os.getuid()}"}
    places.add(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))
    found, host = set(), os.getpid()
    for place in places:
        try:
            marked = [name for name in os.listdir(place) if MARK in name]
        except OSError:
            continue  # Not there, or not ours to look at.
        found |= {os.path.join(place, name) for name in marked if not belongs_elsewhere(name, host)}
    return sorted(found)


def _descriptors() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(f"{fd} -> {os.readlink(f'/proc/self/fd/{fd}')}")
        except OSError:
            continue  # The directory's own descriptor, closed by now.
    return found
