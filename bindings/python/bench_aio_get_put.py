"""Measures get + put in a task on the mock, beside SQLAlchemy's asynchronous pool; prints one line of JSON.

Times are per pair, in nanoseconds. Each of the two gives a thing that is idle and takes it back; SQLAlchemy does so as
its asynchronous engine does, with a connection that does nothing. They take turns, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import sandboxset

from bench_get_put import BATCH, row

Batch = Callable[[], Awaitable[None]]


def ours(pool: sandboxset.aio.SandboxSet) -> Batch:
    """Make a batch of get and put."""

    async def batch() -> None:
        for _ in range(BATCH):
            async with pool.get_or_create_unpaused():
                pass

    return batch


def sqlalchemy() -> Batch:
    """Make a batch of connect and close; an ``ImportError`` says that the package, or greenlet, is missing."""
    from sqlalchemy.pool import AsyncAdaptedQueuePool
    from sqlalchemy.util import greenlet_spawn

    class Connection:
        def close(self) -> None: ...

        def rollback(self) -> None: ...

    def connect() -> Any:
        return Connection()

    pool = AsyncAdaptedQueuePool(connect, pool_size=8)

    async def batch() -> None:
        for _ in range(BATCH):
            connection = await greenlet_spawn(pool.connect)
            await greenlet_spawn(connection.close)

    return batch


async def time_of(batch: Batch) -> float:
    """Run one batch; nanoseconds per pair."""
    started = time.perf_counter_ns()
    await batch()
    return (time.perf_counter_ns() - started) / BATCH


async def measure(seconds: float) -> dict[str, object]:
    """Run batches for a while and make the row of them."""
    missing = []
    async with sandboxset.aio.SandboxSet(sandboxset.MockBackend(), max_size=8) as pool:
        batches = {"ours": ours(pool)}
        try:
            batches["sqlalchemy"] = sqlalchemy()
        except ImportError as error:
            missing.append(f"peer sqlalchemy absent: {error}")
        samples: dict[str, list[float]] = {name: [] for name in batches}
        for batch in batches.values():
            await batch()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(samples["ours"]) < 100:
            for name, batch in batches.items():
                samples[name].append(await time_of(batch))
    peers = {name: row(name, times)["p50"] for name, times in samples.items() if name != "ours"}
    return row("python.aio_get_put", samples["ours"]) | {"peers": peers, "missing": missing}


def main() -> None:
    """Measure the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure")
    arguments = parser.parse_args()
    gc.disable()
    print(json.dumps(asyncio.run(measure(arguments.seconds))))


if __name__ == "__main__":
    main()
