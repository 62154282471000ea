"""Ways to tell whether a harmless job did what it should."""

from __future__ import annotations

from collections.abc import Callable

from .jobs import Check, Evidence, Result

#: Judges what a successful program printed: what is wrong with it, or None.
Judge = Callable[[str], str | None]


def prints(expected: str) -> Check:
    """The program succeeds and prints exactly this; blank space at either end of either does not count."""

    def judge(text: str) -> str | None:
        return None if text.strip() == expected.strip() else f"printed {text!r} instead of {expected!r}"

    return output(judge)


def output(judge: Judge) -> Check:
    """The program succeeds and ``judge`` finds nothing wrong with what it printed."""

    def check(result: Result, _evidence: Evidence) -> str | None:
        return ended_well(result) or judge(result.stdout)

    return check


def ended_well(result: Result) -> str | None:
    """The program exited with code 0 and none of its output was lost."""
    if result.outcome != "exited" or result.exit_code != 0:
        return f"{result.outcome} {result.exit_code}: {result.stderr[-500:]!r}"
    return f"{result.dropped} bytes of output were dropped" if result.dropped else None


def differs(what: str, actual: object, expected: object) -> str | None:
    """A sentence about two values that should be equal, or None when they are."""
    return None if actual == expected else f"{what} is {actual!r} instead of {expected!r}"


def first(*problems: str | None) -> str | None:
    """The first problem there is."""
    return next((problem for problem in problems if problem), None)
