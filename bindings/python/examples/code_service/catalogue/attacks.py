"""The hostile jobs. "Passed" means that the attack was contained, and that it really was made."""

from __future__ import annotations

from collections.abc import Sequence

from ..contained import (
    MEMORY_MIB,
    PIDS,
    SCRATCH_INODES,
    at_most,
    attack,
    differs_from_the_host,
    disk_is_bounded,
    ends,
    environment_is_empty,
    exits_cleanly,
    gains_nothing,
    inodes_are_bounded,
    is_refused,
    leaves_nobody,
    never_says,
    out_of_memory,
    output_is_bounded,
    reads_back,
    says,
    within,
)
from ..jobs import PYTHON, Check, Job

#: Seconds for the attacks that only a time-out ends: enough for Python to start on a busy machine.
SHORT = 2.0

#: Seconds after its time-out until an exec must be back, on a busy machine.
LATE = 5.0

PLANTED = {
    "report.txt": None,
    "shadow.txt": None,
    "up.txt": None,
    "magic.txt": None,
    "folder/canary.txt": None,
    "fifo.txt": None,
    "loop.txt": None,
    "endless.txt": None,
    "honest.txt": b"an honest result\n",
}


def hostile(
    name: str,
    *findings: Check,
    arguments: Sequence[str] = (),
    timeout: float = 30.0,
    roll_call: bool = False,
    collect: Sequence[str] = (),
) -> Job:
    """An attack whose program is ``attacks/<name>.py``."""
    return Job(
        name,
        (PYTHON, f"{name}.py", *arguments),
        attack(*findings),
        files=(f"attacks/{name}.py",),
        timeout=timeout,
        collect=tuple(collect),
        roll_call=roll_call,
        hostile=True,
    )


def outliving(name: str, begun: str) -> Job:
    """An attack that tries to live longer than its time-out."""
    return hostile(
        name, ends("timed_out"), says(begun), within(SHORT + LATE), leaves_nobody, timeout=SHORT, roll_call=True
    )


JOBS = [
    # Taking more than its share.
    hostile(
        "fork_bomb",
        ends("timed_out"),
        says("^refused"),
        at_most("alive", PIDS),
        within(SHORT + LATE),
        leaves_nobody,
        timeout=SHORT,
        roll_call=True,
    ),
    hostile("thread_bomb", exits_cleanly, says("^refused"), at_most("started", PIDS)),
    hostile("memory_hog", out_of_memory, at_most("holding", MEMORY_MIB), never_says("took")),
    hostile(
        "memory_children",
        ends("out_of_memory", "exited"),
        says("^child killed$"),
        at_most("holding", MEMORY_MIB),
        never_says("took"),
        leaves_nobody,
        roll_call=True,
    ),
    hostile("output_flood", ends("timed_out", "output_limit"), output_is_bounded, within(SHORT + LATE), timeout=SHORT),
    hostile("disk_filler", exits_cleanly, disk_is_bounded),
    hostile("inode_filler", exits_cleanly, inodes_are_bounded),
    hostile("deep_tree", exits_cleanly, at_most("depth", SCRATCH_INODES), leaves_nobody, roll_call=True),
    # Living longer than it may.
    outliving("endless_loop", "^begun$"),
    outliving("ignore_term", "^deaf$"),
    outliving("stop_self", "^stopping$"),
    outliving("daemonise", "^daemons started$"),
    hostile("kill_init", exits_cleanly, says("^survived$"), never_says("^traced"), leaves_nobody, roll_call=True),
    # Seeing what is not its own.
    hostile(
        "read_host_files",
        exits_cleanly,
        at_most("got", 0),
        never_says("^(read|listed)"),
        arguments=["{canary}", "{neighbour_pid}", "{host_pid}"],
    ),
    hostile(
        "proc_snoop",
        exits_cleanly,
        at_most("processes", 4),
        never_says("neighbour-"),
        never_says("^opened"),
        arguments=["{neighbour_pid}"],
    ),
    hostile("environment_snoop", exits_cleanly, environment_is_empty, arguments=["{variable}"]),
    hostile(
        "planted_links",
        exits_cleanly,
        says("^planted$"),
        reads_back(PLANTED),
        differs_from_the_host("passwd.txt"),
        arguments=["{canary}"],
        collect=[*PLANTED, "passwd.txt"],
    ),
    # Reaching out.
    hostile(
        "network_local",
        exits_cleanly,
        is_refused("tcp4", "tcp0", "tcp6", "udp4", also="ECONNREFUSED"),
        arguments=["{tcp_port}", "{udp_port}"],
    ),
    hostile(
        "network_remote",
        exits_cleanly,
        is_refused("metadata", "nameserver", "web6", "raw", "packet", "netlink", "vsock", "alg"),
    ),
    hostile(
        "unix_sockets",
        exits_cleanly,
        is_refused("abstract", "path", "around", also="ECONNREFUSED ENOENT"),
        arguments=["{abstract}", "{unix_path}"],
    ),
    # Rising.
    hostile("escalate", exits_cleanly, gains_nothing),
]
