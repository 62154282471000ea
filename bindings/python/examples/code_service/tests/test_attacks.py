"""Every check of an attack accepts a contained one and rejects every way in which the attack could have succeeded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from code_service.catalogue import all_jobs
from code_service.catalogue.attacks import PLANTED
from code_service.jobs import Job, Refused, Result

from .local import Nothing, Visited

HOSTILE = {job.name: job for job in all_jobs() if job.hostile}
SECRET = Nothing().secret
ALONE = "1 S \nroll call over\n"
HAUNTED = "1 S \n17 S outlive-first\nroll call over\n"
MIB = 1 << 20


def exited(stdout: str, **more: object) -> Result:
    return Result("exited", 0, stdout, **more)  # type: ignore[arg-type]


def timed_out(stdout: str, aftermath: str | None = ALONE, **more: object) -> Result:
    return Result("timed_out", None, stdout, seconds=2.3, aftermath=aftermath, **more)  # type: ignore[arg-type]


def outlived(stdout: str) -> list[Result]:
    """What every attempt to outlive the time-out could look like if it worked."""
    return [
        timed_out(stdout, HAUNTED),
        timed_out(stdout, None),
        timed_out(stdout, "Traceback"),
        timed_out(stdout, "roll call over"),
        timed_out("never begun"),
        exited(stdout, aftermath=ALONE),
        dataclasses.replace(timed_out(stdout), seconds=60.0),
    ]


def disk(scratch: int, root: int = 0, end: str = "errno=28") -> str:
    return f"place=/scratch bytes={scratch} {end}\nplace=/ bytes={root} errno=30\n"


REFUSED_LOCAL = "tcp4=ENETUNREACH\ntcp0=ENETUNREACH\ntcp6=EAFNOSUPPORT\nudp4=ENETUNREACH\n"
REFUSED_REMOTE = "".join(
    f"{label}=EPERM\n" for label in ("metadata", "nameserver", "web6", "raw", "packet", "netlink", "vsock", "alg")
)
REFUSED_UNIX = "abstract=ECONNREFUSED\nabstract=ECONNREFUSED\npath=ENOENT\naround=ENOENT\n"
NO_RIGHTS = (
    "".join(f"attempt {number}=errno 1\n" for number in range(20))
    + "bpf=errno 1\nio_uring_setup=errno 38\n"
    + "uid 1000 effective 1000 CapPrm=0000 CapEff=0000 CapBnd=0000\n"
)
CLEAN_ENVIRONMENT = """\
own PATH=/usr/bin
fd 0 /dev/null
fd 1 pipe:[1]
fd 2 pipe:[2]
fd 3 /proc/2/fd
variables=HOME,PATH wanted=False
"""
REFUSED_LINKS: dict[str, bytes | Refused] = {
    "passwd.txt": Refused("a link"),
    **{name: Refused("a link") if content is None else content for name, content in PLANTED.items()},
}
FLOOD = "flood " * 1000

#: For each attack a contained result, and results of an attack that succeeded.
CASES: dict[str, tuple[Result, list[Result]]] = {
    "fork_bomb": (
        timed_out("refused errno=11 alive=64\n"),
        outlived("refused errno=11 alive=64\n")
        + [timed_out("refused errno=11 alive=900\n"), timed_out("forked 100000 times\n")],
    ),
    "thread_bomb": (
        exited("refused started=60\n"),
        [exited("started=5000 and could go on\n"), exited("refused started=900\n")],
    ),
    "memory_hog": (
        Result("out_of_memory", None, "holding=8\nholding=240\n"),
        [
            exited("holding=1024\ntook a gigabyte\n"),
            Result("out_of_memory", None, "holding=512\n"),
            Result("out_of_memory", None, ""),
            Result("timed_out", None, "holding=8\n"),
        ],
    ),
    "memory_children": (
        Result("out_of_memory", None, "holding=40\nholding=200\nchild killed\n", aftermath=ALONE),
        [
            exited("holding=640\ntook 640 MiB\n", aftermath=ALONE),
            Result("out_of_memory", None, "holding=320\nchild killed\n", aftermath=ALONE),
            Result("out_of_memory", None, "holding=40\nchild killed\n", aftermath=HAUNTED),
        ],
    ),
    "output_flood": (
        Result("timed_out", None, FLOOD, FLOOD, dropped=5, seconds=2.1),
        [
            Result("timed_out", None, "flood " * MIB, FLOOD, dropped=5),
            Result("timed_out", None, FLOOD, "flood " * MIB, dropped=5),
            Result("timed_out", None, FLOOD, FLOOD, dropped=0),
            Result("timed_out", None, "", "", dropped=5),
            Result("timed_out", None, FLOOD, FLOOD, dropped=5, seconds=60.0),
            Result("exited", 0, FLOOD, FLOOD, dropped=5),
        ],
    ),
    "disk_filler": (
        exited(disk(64 * MIB)),
        [
            exited(disk(65 * MIB)),
            exited(disk(64 * MIB, root=1)),
            exited(disk(64 * MIB, end="no limit")),
            exited(disk(0, end="errno=13")),
            exited("place=/ bytes=0 errno=30\n"),
            exited(""),
        ],
    ),
    "inode_filler": (
        exited("place=/scratch files=4093 errno=28\n"),
        [
            exited("place=/scratch files=200000 no limit\n"),
            exited("place=/scratch files=9000 errno=28\n"),
            exited("place=/scratch files=4093 errno=28\nplace=/tmp files=9000 errno=28\n"),
            exited("place=/tmp files=9 errno=28\n"),
            exited(""),
        ],
    ),
    "deep_tree": (
        exited("refused errno=28 depth=4090\n", aftermath=ALONE),
        [exited("depth=100000\n", aftermath=ALONE), exited("refused errno=28 depth=4090\n", aftermath="gone")],
    ),
    "endless_loop": (timed_out("begun\n"), outlived("begun\n")),
    "ignore_term": (timed_out("deaf\ndeaf\n"), outlived("deaf\n")),
    "stop_self": (timed_out("stopping\nstopping\n"), outlived("stopping\n")),
    "daemonise": (timed_out("daemons started\n"), outlived("daemons started\n")),
    "kill_init": (
        exited("sent SIGKILL\nptrace errno=1\nsurvived\n", aftermath=ALONE),
        [
            exited("traced\nsurvived\n", aftermath=ALONE),
            exited("survived\n", aftermath=None),
            exited("survived\n", aftermath="2 S python\nroll call over\n"),
            Result("signaled", None, "", aftermath=ALONE),
        ],
    ),
    "read_host_files": (
        exited("attempts=40 got=0\n"),
        [
            exited(f"read /canary {SECRET}\nattempts=40 got=0\n"),
            exited("read /etc/shadow b'root:x'\nattempts=40 got=1\n"),
            exited("listed /root .bashrc\nattempts=40 got=0\n"),
            exited("attempts=40 got=1\n"),
            exited(""),
        ],
    ),
    "proc_snoop": (
        exited("/proc/1/exe init\nprocesses=2\n"),
        [
            exited("processes=180\n"),
            exited(f"/proc/77/cmdline neighbour-{SECRET}\nprocesses=2\n"),
            exited("/proc/77/cmdline neighbour-x\nprocesses=2\n"),
            exited("opened for writing /proc/1/mem\nprocesses=2\n"),
            exited(""),
        ],
    ),
    "environment_snoop": (
        exited(CLEAN_ENVIRONMENT),
        [
            exited(CLEAN_ENVIRONMENT.replace("False", "True")),
            exited(CLEAN_ENVIRONMENT.replace("HOME,", "HOME,AWS_SECRET_ACCESS_KEY,")),
            exited("fd 9 socket:[4]\n" + CLEAN_ENVIRONMENT),
            exited(f"own X={SECRET}\n" + CLEAN_ENVIRONMENT),
            exited(""),
        ],
    ),
    "planted_links": (
        exited("planted\n", collected=REFUSED_LINKS),
        [
            exited("planted\n"),
            exited("planted\n", collected={**REFUSED_LINKS, "report.txt": SECRET.encode()}),
            exited("planted\n", collected={**REFUSED_LINKS, "report.txt": Refused(f"read {SECRET}")}),
            exited("planted\n", collected={**REFUSED_LINKS, "shadow.txt": b"root:*:"}),
            exited("planted\n", collected={**REFUSED_LINKS, "fifo.txt": b""}),
            exited("planted\n", collected={**REFUSED_LINKS, "passwd.txt": Path("/etc/passwd").read_bytes()}),
            exited("planted\n", collected={**REFUSED_LINKS, "honest.txt": Refused("everything is refused")}),
            exited("", collected=REFUSED_LINKS),
        ],
    ),
    "network_local": (
        exited(REFUSED_LOCAL),
        [
            exited(REFUSED_LOCAL.replace("tcp4=ENETUNREACH", f"tcp4=REACHED b'{SECRET}'")),
            exited(REFUSED_LOCAL.replace("tcp4=ENETUNREACH", "tcp4=REACHED b''")),
            exited(REFUSED_LOCAL.replace("udp4=ENETUNREACH", "udp4=SILENCE")),
            exited(REFUSED_LOCAL.replace("tcp6=EAFNOSUPPORT\n", "")),
            exited(""),
        ],
    ),
    "network_remote": (
        exited(REFUSED_REMOTE),
        [
            exited(REFUSED_REMOTE.replace("metadata=EPERM", "metadata=SENT")),
            exited(REFUSED_REMOTE.replace("metadata=EPERM", "metadata=SILENCE")),
            exited(REFUSED_REMOTE.replace("metadata=EPERM", "metadata=ECONNREFUSED")),
            exited(REFUSED_REMOTE.replace("nameserver=EPERM", "nameserver=SENT")),
            exited(REFUSED_REMOTE.replace("netlink=EPERM", "netlink=OPENED")),
            exited(""),
        ],
    ),
    "unix_sockets": (
        exited(REFUSED_UNIX),
        [
            exited(REFUSED_UNIX.replace("path=ENOENT", "path=REACHED b''")),
            exited(REFUSED_UNIX.replace("path=ENOENT", "path=EPROTOTYPE")),
            exited(REFUSED_UNIX + "abstract=REACHED b''\n"),
            exited(""),
        ],
    ),
    "escalate": (
        exited(NO_RIGHTS),
        [
            exited(NO_RIGHTS + "mount=GAINED\n"),
            exited(NO_RIGHTS.replace("io_uring_setup=errno 38", "io_uring_setup=errno 14")),
            exited(NO_RIGHTS.replace("uid 1000 effective 1000", "uid 0 effective 0")),
            exited(NO_RIGHTS.replace("uid 1000 effective 1000", "uid 1000 effective 0")),
            exited(NO_RIGHTS.replace("CapBnd=0000", "CapBnd=00a8")),
            exited(NO_RIGHTS.replace(" CapBnd=0000", "")),
            exited("uid 1000 effective 1000 CapPrm=0 CapEff=0 CapBnd=0\n"),
        ],
    ),
}


def test_every_attack_has_cases() -> None:
    assert set(CASES) == set(HOSTILE)


@pytest.mark.parametrize("job", HOSTILE.values(), ids=HOSTILE)
def test_contained_attack_is_accepted(job: Job) -> None:
    assert job.judge(CASES[job.name][0], Nothing()) is None


@pytest.mark.parametrize(
    ("job", "result"),
    [
        pytest.param(HOSTILE[name], fake, id=f"{name}-{number}")
        for name, (_, fakes) in CASES.items()
        for number, fake in enumerate(fakes)
    ],
)
def test_successful_attack_is_rejected(job: Job, result: Result) -> None:
    assert job.judge(result, Nothing()) is not None


@pytest.mark.parametrize("job", HOSTILE.values(), ids=HOSTILE)
def test_what_the_host_noticed_counts_for_every_attack(job: Job) -> None:
    contained = CASES[job.name][0]
    assert "reached" in (job.judge(contained, Visited()) or "")
    for leak in (
        dataclasses.replace(contained, stdout=contained.stdout + SECRET),
        dataclasses.replace(contained, stderr=SECRET),
        dataclasses.replace(contained, aftermath=f"{SECRET}\n{ALONE}"),
        dataclasses.replace(contained, collected={**contained.collected, "x": SECRET.encode()}),
    ):
        assert "secret" in (job.judge(leak, Nothing()) or "")
    assert job.judge(Result("sandbox died"), Nothing()) is not None
