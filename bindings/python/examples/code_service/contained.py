"""Ways to tell whether an attack was contained. Every check here must be able to fail; the tests prove that it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .checks import differs, first
from .jobs import Check, Evidence, Refused, Result

#: What a sandbox of this set may use: the defaults of the library.
MEMORY_MIB, PIDS, SCRATCH_BYTES, SCRATCH_INODES, OUTPUT_BYTES = 256, 64, 64 << 20, 4096, 1 << 20

#: How an attempt to connect may end when there is no network: refused here, before anything could leave.
REFUSALS = frozenset(
    "EPERM EACCES EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT ENETUNREACH ENETDOWN EADDRNOTAVAIL ENODEV".split()
)

ERRNO_NOT_PERMITTED, ERRNO_NO_SPACE, ERRNO_NO_SYSTEM_CALL = 1, 28, 38


def attack(*findings: Check) -> Check:
    """What all attacks have in common, the secret stays secret and no bait is visited, and then ``findings``."""

    def check(result: Result, evidence: Evidence) -> str | None:
        return first(*(finding(result, evidence) for finding in (keeps_the_secret, reaches_no_bait, *findings)))

    return check


def keeps_the_secret(result: Result, evidence: Evidence) -> str | None:
    """The secret of the host appears in nothing that came out of the sandbox."""
    places: dict[str, str] = {"stdout": result.stdout, "stderr": result.stderr, "roll call": result.aftermath or ""}
    for name, content in result.collected.items():
        places[name] = content.reason if isinstance(content, Refused) else content.decode("utf-8", "replace")
    leaks = [place for place, text in places.items() if evidence.secret in text]
    return f"the host's secret came out in {', '.join(leaks)}" if leaks else None


def reaches_no_bait(_result: Result, evidence: Evidence) -> str | None:
    """Nobody knocked at a socket of the host."""
    return f"sockets of the host were reached: {', '.join(evidence.visits)}" if evidence.visits else None


def ends(*outcomes: str) -> Check:
    """The command ended in one of these ways."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        if result.outcome in outcomes:
            return None
        return f"{result.outcome} {result.exit_code} instead of {' or '.join(outcomes)}: {result.stderr[-300:]!r}"

    return check


def exits_cleanly(result: Result, _evidence: Evidence) -> str | None:
    """The attack ran to its own end, so that its report is complete."""
    if (result.outcome, result.exit_code) == ("exited", 0):
        return None
    return f"{result.outcome} {result.exit_code} before the attack was over: {result.stderr[-300:]!r}"


def says(pattern: str) -> Check:
    """The attack got as far as printing this; one that never began proves nothing."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        return (
            None
            if re.search(pattern, result.stdout, re.MULTILINE)
            else f"never said {pattern!r}: {result.stdout[-300:]!r}"
        )

    return check


def never_says(pattern: str) -> Check:
    """The attack did not report this success."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        found = re.search(pattern, result.stdout, re.MULTILINE)
        return f"the attack says {found.group()!r}" if found else None

    return check


def at_most(name: str, limit: int) -> Check:
    """Every ``name=<number>`` in the report is within the limit, and there is one."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        numbers = [int(number) for number in re.findall(rf"\b{name}=(\d+)", result.stdout)]
        if not numbers:
            return f"reported no {name}: {result.stdout[-300:]!r}"
        return f"{name} came to {max(numbers)}, the limit is {limit}" if max(numbers) > limit else None

    return check


def within(seconds: float) -> Check:
    """The exec returned in time, whatever the command did."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        return f"took {result.seconds:.1f} s" if result.seconds > seconds else None

    return check


def leaves_nobody(result: Result, _evidence: Evidence) -> str | None:
    """The sandbox still works, and nothing runs in it but its init."""
    lines = (result.aftermath or "").splitlines()
    if not lines or lines[-1] != "roll call over":
        return f"the sandbox did not answer the roll call: {result.aftermath!r}"
    # A zombie runs nothing; it only waits to be counted.
    alive = [line for line in lines[:-1] if not re.match(r"\d+ [ZX]\b", line)]
    strangers = [line for line in alive if not line.startswith("1 ")]
    if len(strangers) == len(alive):
        return "the roll call did not see init, so it proves nothing"
    return f"still running afterwards: {strangers}" if strangers else None


def output_is_bounded(result: Result, _evidence: Evidence) -> str | None:
    """No more than the limit of each stream was kept, and the rest was counted."""
    return first(
        f"{len(result.stdout)} bytes of stdout were kept" if len(result.stdout) > OUTPUT_BYTES else None,
        f"{len(result.stderr)} bytes of stderr were kept" if len(result.stderr) > OUTPUT_BYTES else None,
        None if result.stdout.startswith("flood") else "there was no flood",
        None if result.dropped > 0 else "nothing was dropped",
    )


def out_of_memory(result: Result, _evidence: Evidence) -> str | None:
    """The kernel ended the hoard; without memory cgroups a limit of the address space may, as Python tells."""
    refused = result.outcome == "exited" and result.exit_code == 1 and "MemoryError" in result.stderr
    return None if result.outcome == "out_of_memory" or refused else f"{result.outcome} {result.exit_code}"


def disk_is_bounded(result: Result, _evidence: Evidence) -> str | None:
    """Scratch ended at its limit, no other place takes more, and the root takes nothing."""
    places = reports(result.stdout)
    scratch = places.get("/scratch", {})
    for place, found in places.items():
        limit = SCRATCH_BYTES if place in ("/scratch", "/tmp", "/dev/shm") else 0
        if int(found["bytes"]) > limit or "errno" not in found:
            return f"{place} took {found['bytes']} bytes, the limit is {limit}"
    return first(
        differs("scratch ended with errno", scratch.get("errno"), str(ERRNO_NO_SPACE)),
        differs("scratch was filled", int(scratch.get("bytes", 0)) > SCRATCH_BYTES // 2, True),
    )


def inodes_are_bounded(result: Result, _evidence: Evidence) -> str | None:
    """No place takes more files than scratch may have, and scratch did end there."""
    places = reports(result.stdout)
    for place, found in places.items():
        if int(found["files"]) > SCRATCH_INODES or "errno" not in found:
            return f"{place} took {found['files']} files, the limit is {SCRATCH_INODES}"
    return differs("scratch ended with errno", places.get("/scratch", {}).get("errno"), str(ERRNO_NO_SPACE))


def reports(text: str) -> dict[str, dict[str, str]]:
    """The ``key=value`` pairs of each line, by its ``place``."""
    lines = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in text.splitlines()]
    return {line["place"]: line for line in lines if "place" in line}


def is_refused(*labels: str, also: str = "") -> Check:
    """Each attempt was reported, and each was refused at once; an unanswered packet is one that left."""
    accepted = REFUSALS | set(also.split())

    def check(result: Result, _evidence: Evidence) -> str | None:
        tried: dict[str, list[str]] = {}
        for label, end in re.findall(r"^([\w ]+)=(\S+)", result.stdout, re.MULTILINE):
            tried.setdefault(label, []).append(end)
        for label in labels:
            if label not in tried:
                return f"{label} was not tried"
            if not accepted.issuperset(tried[label]):
                return f"{label} ended with {', '.join(tried[label])}"
        return None

    return check


def gains_nothing(result: Result, _evidence: Evidence) -> str | None:
    """No right was gained, dangerous system calls do not exist, and no capability is left in any set."""
    ended = dict(re.findall(r"^([^=\n]+)=(.+)$", result.stdout, re.MULTILINE))
    gained = [label for label, end in ended.items() if end == "GAINED"]
    # These fail for want of arguments anyway; only these two numbers say that nobody looked at the arguments.
    filtered = (
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "io_uring_setup",
        "add_key",
        "init_module",
        "kexec_load",
        "open_by_handle_at",
    )
    blocked = {f"errno {number}" for number in (ERRNO_NOT_PERMITTED, ERRNO_NO_SYSTEM_CALL)}
    reachable = [label for label in filtered if label in ended and ended[label] not in blocked]
    identity = re.search(r"^uid (\d+) effective (\d+) (.*)$", result.stdout, re.MULTILINE)
    if not identity or len(ended) < 15:
        return f"the report is incomplete: {result.stdout[-300:]!r}"
    capabilities = {name: int(bits, 16) for name, bits in re.findall(r"(Cap\w+)=([0-9a-f]+)", identity.group(3))}
    return first(
        f"gained: {', '.join(gained)}" if gained else None,
        f"not filtered: {', '.join(reachable)}" if reachable else None,
        "runs as root" if "0" in identity.groups()[:2] else None,
        differs("capabilities", capabilities, {"CapPrm": 0, "CapEff": 0, "CapBnd": 0}),
    )


def environment_is_empty(result: Result, _evidence: Evidence) -> str | None:
    """Only variables that every program expects, and only the three standard streams."""
    report = re.search(r"^variables=(\S*) wanted=(\w+)$", result.stdout, re.MULTILINE)
    if not report:
        return f"the report is incomplete: {result.stdout[-300:]!r}"
    usual = {"PATH", "HOME", "PWD", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "USER", "LOGNAME", "SHELL", "TERM"}
    unusual = sorted(set(filter(None, report.group(1).split(","))) - usual)
    # The listing itself needs a descriptor, which is the lowest free one.
    extra = [line for line in re.findall(r"^fd .*$", result.stdout, re.MULTILINE) if int(line.split()[1]) > 3]
    return first(
        f"variables of the host: {', '.join(unusual)}" if unusual else None,
        differs("the wanted variable is there", report.group(2), "False"),
        f"inherited: {', '.join(extra)}" if extra else None,
    )


def differs_from_the_host(name: str) -> Check:
    """A link to ``/etc/passwd`` is refused, or at most leads to the sandbox's own file of that name."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        got = result.collected.get(name)
        if got is None:
            return f"{name} was not read back"
        return f"{name} is the host's" if got == Path("/etc/passwd").read_bytes() else None

    return check


def reads_back(expected: Mapping[str, bytes | None]) -> Check:
    """``read_file`` returned exactly these contents; for those that are None it refused."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        for name, content in expected.items():
            got = result.collected.get(name)
            if got is None:
                return f"{name} was not read back"
            if content is None and not isinstance(got, Refused):
                return f"{name} was followed: {got[:100]!r}"
            if content is not None and got != content:
                return f"{name} came back as {got!r}"
        return None

    return check
