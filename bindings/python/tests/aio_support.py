"""What the tests of the asyncio side share."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

import sandboxset
from conftest import PATIENCE
from sandboxset import MockFault, aio

HANG = MockFault.hang()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a test's coroutine in a loop of its own; one that hangs fails. Nothing of ours is left in the loop."""

    async def bounded() -> Any:
        async with asyncio.timeout(PATIENCE):
            answer = await main
        assert_loop_is_left_alone()
        return answer

    return asyncio.run(bounded())


def assert_loop_is_left_alone() -> None:
    """The loop watches only its own socket."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    assert len(selector.get_map()) == 1, list(selector.get_map().values())


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait, with the loop running, until something has happened; only a hang fails."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        await asyncio.sleep(0.001)


def threads() -> int:
    """How many threads the library has in this process."""
    count = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/comm") as name:
                count += name.read().startswith("sandboxset-")
        except OSError:
            pass
    return count


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end; it must end as cancelled."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return
    raise AssertionError("the task was not cancelled")


async def balanced(mock: sandboxset.MockBackend, pool: aio.SandboxSet) -> None:
    """Nothing is under way, and everything that was made is idle or gone."""
    busy = ("held", "creating", "resuming", "returning", "destroying", "quarantined", "waiting")
    await eventually(lambda: not any(getattr(pool.stats(), name) for name in busy))
    await eventually(lambda: mock.live() == pool.stats().idle)
    assert mock.paused() == pool.stats().idle
