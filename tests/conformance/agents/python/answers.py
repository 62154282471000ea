"""What calls gave, as JSON."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from typing import Any

import sandboxset

Json = dict[str, Any]

#: The counters that are objects, and all others.
_OBJECTS = ("misses", "destroyed_by")


class Unsupported(Exception):
    """Why Python cannot make this very call."""


async def of(result: Awaitable[Any]) -> Json:
    """Make the answer of a result."""
    try:
        return {"ok": await result}
    except sandboxset.SandboxSetError as error:
        return {"error": _error(error)}
    except Unsupported as why:
        return {"unsupported": str(why)}


def _error(error: sandboxset.SandboxSetError) -> Json:
    names = ("code", "name", "phase", "retryable", "sandbox_id", "field", "message")
    return {name: getattr(error, name) for name in names} | {"cause": error.cause or ""}


def text_of(data: bytes) -> str:
    """Make a string with one character for each byte."""
    return data.decode("latin-1")


def output(output: sandboxset.Output) -> Json:
    """How a command ended and what it wrote."""
    return {
        "outcome": output.outcome,
        "exit_code": output.exit_code,
        "signal": output.signal,
        "stdout": text_of(output.stdout_bytes),
        "stderr": text_of(output.stderr_bytes),
        "stdout_dropped": output.stdout_dropped,
        "stderr_dropped": output.stderr_dropped,
    }


def stats(stats: sandboxset.Stats) -> Json:
    """Every counter by its name."""
    counters = {name: getattr(stats, name) for name in dir(stats) if not name.startswith("_")}
    for name in _OBJECTS:
        counters[name] = {reason: count for reason, count in counters[name].items() if count}
    return counters


def event(event: sandboxset.Event | None) -> Json | None:
    """One event, if there is one."""
    if event is None:
        return None
    return {
        "sequence": event.sequence,
        "kind": event.kind,
        "sandbox_id": event.sandbox_id,
        "text": event.reason,
        "child_id": event.child_id or 0,
        "lost": event.lost or 0,
    }


def inspection(ref: Any) -> Json:
    """What a ref says of itself."""
    names = ("id", "uses", "reused", "state", "scratch_dir", "host_scratch_dir")
    return {name: getattr(ref, name) for name in names}


def milliseconds(seconds: float) -> int:
    """Round down."""
    return math.floor(seconds * 1000)
