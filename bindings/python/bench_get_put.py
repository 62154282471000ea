"""Measures get + put on the mock and prints one line of JSON per variant; times are per pair, in nanoseconds.

The set, the mock and the binding do all they do in real use; only the sandbox is missing. Pairs are timed in
batches, so that reading the clock does not count.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable

import sandboxset

#: Pairs per batch: the clock is read twice per batch, which is then below a thousandth.
BATCH = 200


def by_method(pool: sandboxset.SandboxSet) -> None:
    """Time one batch of get and put."""
    get = pool.get_or_create_unpaused
    for _ in range(BATCH):
        get().put()


def by_block(pool: sandboxset.SandboxSet) -> None:
    """Time one batch of with blocks."""
    for _ in range(BATCH):
        with pool.get_or_create_unpaused():
            pass


def measure(name: str, batch: Callable[[sandboxset.SandboxSet], None], seconds: float) -> None:
    """Run batches for a while and print their quantiles."""
    with sandboxset.SandboxSet(sandboxset.MockBackend(), max_size=8) as pool:
        batch(pool)
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(samples) < 100:
            started = time.perf_counter_ns()
            batch(pool)
            samples.append((time.perf_counter_ns() - started) / BATCH)
    print(json.dumps(row(name, samples)))


def row(name: str, samples: list[float]) -> dict[str, object]:
    """Make a row of the batches' means."""
    samples = sorted(samples)
    figures = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    quantiles = {key: round(samples[int(share * (len(samples) - 1))], 1) for key, share in figures.items()}
    return {"name": name, "unit": "ns", **quantiles, "n": len(samples) * BATCH}


def main() -> None:
    """Measure the row, and with --all its variants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure each variant")
    parser.add_argument("--all", action="store_true", help="also measure the with block")
    arguments = parser.parse_args()
    gc.disable()
    measure("python.get_put", by_method, arguments.seconds)
    if arguments.all:
        measure("python.get_put.with", by_block, arguments.seconds)


if __name__ == "__main__":
    main()
