"""One function in four kinds of sandboxes: created, forked from a warm parent, forked ahead of demand, reused."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sandboxset import PythonRuntime, SandboxRef, SandboxSet

from . import report

HERE = Path(__file__).resolve().parent

#: What the function would otherwise import on the request path.
MODULES = ("argparse", "asyncio", "csv", "decimal", "email", "http.client", "json", "logging", "sqlite3", "ssl")

#: How many requests each kind serves. Creating takes the longest and shows the least.
REQUESTS = {"created": 10, "forked": 40, "forked ahead": 40, "reused": 200}

#: Seconds between requests, as in a service that is not overloaded.
PAUSE = 0.03

#: Seconds after which a sandbox that is made ahead will never come.
PATIENCE = 60.0

EVENT = {"text": (HERE / "texts" / "gettysburg.txt").read_text(), "most": 3}
COMMONEST = [["that", 13], ["the", 11], ["we", 10]]


def show() -> tuple[str, list[str]]:
    """A table of how long a request takes until its answer is there, in each kind; and what is wrong."""
    code = HERE / "function"
    created = PythonRuntime(preload=MODULES, handler="handler:handle", json=True)
    forked = PythonRuntime(handler="handler:handle", json=True)
    series: dict[str, list[float]] = {}
    problems: list[str] = []
    with (
        SandboxSet(runtime=PythonRuntime(preload=MODULES), max_size=1) as preloaded,
        SandboxSet(runtime=created, code_dir=code) as plain,
        SandboxSet(parent=preloaded, runtime=forked, code_dir=code) as forks,
        SandboxSet(parent=preloaded, runtime=forked, code_dir=code, reuse="replace", min_idle=2) as ahead,
    ):
        sets = {"created": plain, "forked": forks, "forked ahead": ahead, "reused": forks}
        ways = {"created": fresh, "forked": fresh, "forked ahead": replaced, "reused": reused}
        for kind, pool in sets.items():
            # The first of its kind finds cold caches, and starts what the others find.
            way = ways[kind]
            way(pool, 0)
            series[kind] = []
            for number in range(1, REQUESTS[kind] + 1):
                time.sleep(PAUSE)
                seconds, problem = way(pool, number)
                series[kind].append(seconds)
                if problem is not None:
                    problems.append(f"{kind}, request {number}: {problem}")
                    break
        parents = preloaded.stats().created
    if parents != 1:
        problems.append(f"{parents} parents were created, not one")
    return f"one function, from the request until its answer:\n{report.timings_table(series)}", problems


def fresh(pool: SandboxSet, _number: int) -> tuple[float, str | None]:
    """A request to a sandbox that is made for it."""
    return serve(lambda: pool.get_or_create_unpaused(acquire="fresh_only", timeout=PATIENCE), 1, destroy=True)


def replaced(pool: SandboxSet, _number: int) -> tuple[float, str | None]:
    """A request to a clean sandbox that was made ahead; its put has the next one made."""
    end = time.monotonic() + PATIENCE
    while pool.stats().idle < 2 and time.monotonic() < end:
        time.sleep(0.001)
    return serve(lambda: pool.get_or_create_unpaused(acquire="reuse_only", timeout=PATIENCE), 1)


def reused(pool: SandboxSet, number: int) -> tuple[float, str | None]:
    """A request to the sandbox that served the one before."""
    return serve(lambda: pool.get_or_create_unpaused(timeout=PATIENCE), number + 1)


def serve(get: Callable[[], SandboxRef], visits: int, *, destroy: bool = False) -> tuple[float, str | None]:
    """One request: its seconds, and what is wrong with its answer. It must be the sandbox's ``visits``-th."""
    started = time.perf_counter()
    sandbox = get()
    answer = sandbox.call_json(EVENT, timeout=PATIENCE)
    seconds = time.perf_counter() - started
    if destroy:
        sandbox.destroy("served its request")
    else:
        sandbox.put()
    expected = {"commonest": COMMONEST, "visits": visits, "trace": visits > 1}
    return seconds, None if answer == expected else f"answered {answer!r}, not {expected!r}"
