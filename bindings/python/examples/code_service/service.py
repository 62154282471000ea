"""The service: a queue of jobs, a few threads, and one set of fewer sandboxes."""

from __future__ import annotations

import argparse
import gc
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from sandboxset import SandboxSet

from . import census, report, runner
from .baits import Baits
from .catalogue import all_jobs
from .jobs import PYTHON, Job, resolve
from .progress import Progress
from .runner import Record

#: How long the keeper may take to end after the set was closed, before its processes count as left behind.
SETTLE_SECONDS = 10.0

#: Samples of the undisturbed get and put that are taken after the jobs.
QUIET_ROUNDS = 200


def main(
    arguments: Sequence[str] | None = None,
    open_set: Callable[[int], SandboxSet] = lambda size: SandboxSet(max_size=size),
    jobs: Sequence[Job] | None = None,
    out: TextIO = sys.stdout,
    show_forks: Callable[[], tuple[str, list[str]]] | None = None,
) -> int:
    """Runs the demo; 0 if every job did what it must and nothing was left behind.

    ``show_forks`` is what comes after the jobs, unless only some of them were asked for. The parameters between are
    for tests.
    """
    options = parse(arguments)
    chosen = [job for job in (all_jobs() if jobs is None else jobs) if not options.only or job.name in options.only]
    if not chosen:
        print(f"no job is called {' or '.join(options.only)}", file=sys.stderr)
        return 2
    runnable = [job for job in chosen if job.missing() is None]
    harmless = sum(not job.hostile for job in runnable)
    print(
        f"{harmless} harmless and {len(runnable) - harmless} hostile jobs, {options.rounds} times each: "
        f"{options.threads} threads, one set of {options.size} sandboxes",
        file=out,
    )
    with Baits() as baits:
        baits.prove()
        before = census.take()
        started = time.perf_counter()
        with open_set(options.size) as pool:
            records = serve(pool, plan(runnable, options.rounds, options.seed), baits, options.threads, out)
            seconds = time.perf_counter() - started
            quiet = quiet_timings(pool, QUIET_ROUNDS)
        forks = show_forks() if show_forks is not None and not options.only else ("", [])
        # The keeper ends with the last reference to the backend, and the set holds one.
        del pool
        gc.collect()
        left = census.settle(before, SETTLE_SECONDS).left_behind(before)
    return tell(chosen, records, quiet, left, forks, seconds, out)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="code_service", description="Runs many jobs in a few sandboxes.")
    parser.add_argument("--threads", type=positive, default=8, help="threads that submit jobs (default 8)")
    parser.add_argument("--size", type=positive, default=4, help="sandboxes in the set (default 4)")
    parser.add_argument("--rounds", type=positive, default=3, help="how often every job runs (default 3)")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the jobs (default 1)")
    parser.add_argument("--only", action="append", default=[], metavar="JOB", help="run only this job; repeatable")
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """An argument that must be a whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def plan(jobs: Sequence[Job], rounds: int, seed: int) -> list[Job]:
    """Every job ``rounds`` times, each round in an order of its own; the same seed gives the same plan."""
    order = random.Random(seed)
    planned: list[Job] = []
    for _ in range(rounds):
        shuffled = list(jobs)
        order.shuffle(shuffled)
        planned += shuffled
    return planned


def serve(pool: SandboxSet, jobs: Sequence[Job], baits: Baits, threads: int, out: TextIO) -> list[Record]:
    """Runs the jobs from a queue on ``threads`` threads and returns their records in the order they finished."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    records: list[Record] = []
    failures: list[BaseException] = []
    progress = Progress(len(jobs), out)

    def work() -> None:
        while not failures:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            progress.start(job.name)
            try:
                record = runner.run(pool, job, baits)
            except BaseException as failure:  # A defect of the service; it must end the run, not one thread of it.
                failures.append(failure)
                return
            records.append(record)
            progress.finish(job.name, failed=record.problem is not None, reused=record.reused)

    workers = [threading.Thread(target=work, name=f"worker-{number}") for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    progress.close()
    if failures:
        raise failures[0]
    return records


def quiet_timings(pool: SandboxSet, rounds: int) -> dict[str, list[float]]:
    """Get and put with nobody else around: what the set itself costs, without waiting for other jobs."""
    gets, puts = [], []
    # The first get may have to create, and the first unpause finds cold caches.
    pool.get_or_create_unpaused(timeout=runner.GET_TIMEOUT).put()
    for _ in range(rounds):
        start = time.perf_counter()
        sandbox = pool.get_or_create_unpaused(timeout=runner.GET_TIMEOUT)
        got = time.perf_counter()
        sandbox.put()
        gets.append(got - start)
        puts.append(time.perf_counter() - got)
    return {"get, quiet": gets, "put, quiet": puts}


def tell(
    chosen: Sequence[Job],
    records: Sequence[Record],
    quiet: dict[str, list[float]],
    left: dict[str, list[str]],
    forks: tuple[str, Sequence[str]],
    seconds: float,
    out: TextIO,
) -> int:
    """Prints the tables and turns them into an exit code."""
    missing = [job for job in chosen if job.missing() is not None]
    table, wrong = forks
    failed = report.problems(records)
    residue = sum(len(found) for found in left.values())
    print(f"\n{report.jobs_table(records)}\n" if records else "", file=out)
    print(f"{len(records)} runs in {seconds:.1f} s, hit rate {report.hit_rate(records):.0%}\n", file=out)
    print(report.timings_table({**report.timings(records), **quiet}), file=out)
    if table:
        print(f"\n{table}", file=out)
    print("\nleft behind on the host:", *report.census_lines(left), sep="\n", file=out)
    for job in missing:
        print(f"\n!!! NOT RUN: {job.name}: this host has no {job.missing()}", file=out)
    for line in [*failed, *wrong]:
        print(f"\nFAILED {line}", file=out)
    # Without Python nearly nothing runs, and a demonstration of nothing must not look like a success.
    good = not failed and not wrong and not residue and records and resolve(PYTHON) is not None
    not_run = f", {len(missing)} NOT RUN" if missing else ""
    print(
        f"\n{len(records) - len(failed)} of {len(records)} runs passed{not_run}, {residue} things left behind: "
        f"{'ok' if good else 'NOT OK'}",
        file=out,
        flush=True,
    )
    return 0 if good else 1
