"""Many threads on one set, one ref, one token."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sandboxset
from conftest import PATIENCE


def in_parallel(count: int, work: Callable[[int], None]) -> None:
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait(PATIENCE)
        work(number)

    with ThreadPoolExecutor(count) as executor:
        for future in [executor.submit(run, number) for number in range(count)]:
            future.result(PATIENCE)


def test_no_sandbox_has_two_holders(mock: sandboxset.MockBackend) -> None:
    holders: collections.Counter[int] = collections.Counter()
    with sandboxset.SandboxSet(mock, max_size=4) as pool:

        def work(number: int) -> None:
            for turn in range(200):
                with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                    holders[sandbox.id] += 1
                    assert holders[sandbox.id] == 1
                    if turn % 50 == number:
                        sandbox.exec(["true"])
                    holders[sandbox.id] -= 1

        in_parallel(16, work)
        stats = pool.stats()
        assert (stats.gets, stats.puts, stats.held, stats.waiting) == (3200, 3200, 0, 0)
        assert mock.live() <= 4
    assert mock.live() == 0


def test_one_of_many_ends_of_a_ref_succeeds(pool: sandboxset.SandboxSet) -> None:
    for _ in range(50):
        sandbox = pool.get_or_create_unpaused()
        answers: list[str] = []

        def end(number: int) -> None:
            try:
                sandbox.put() if number % 2 else sandbox.destroy()  # noqa: B023
                answers.append("ok")  # noqa: B023
            except sandboxset.StaleRefError:
                answers.append("stale")  # noqa: B023

        in_parallel(4, end)
        assert sorted(answers) == ["ok", "stale", "stale", "stale"]
    assert pool.stats().held == 0


def test_nothing_is_borrowed(pool: sandboxset.SandboxSet) -> None:
    """Every object may be used by several threads at the same time."""
    token = sandboxset.CancelToken()
    events = pool.events(capacity=16)
    with pool.get_or_create_unpaused() as sandbox:

        def use(number: int) -> None:
            for _ in range(100):
                sandbox.exec(["true"])
                assert (sandbox.state, token.cancelled) == ("held", False)
                assert sandbox.id and sandbox.uses == 1
                pool.stats()
                events.next(timeout=0)
                repr(sandbox), repr(pool)

        in_parallel(8, use)


def test_first_come_first_served(mock: sandboxset.MockBackend) -> None:
    """60 callers on 2 places: nobody starves."""
    with sandboxset.SandboxSet(mock, max_size=2) as pool:
        served: list[int] = []

        def work(number: int) -> None:
            with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                sandbox.exec(["true"])
                served.append(number)

        in_parallel(60, work)
        assert sorted(served) == list(range(60))


def test_close_under_load(mock: sandboxset.MockBackend) -> None:
    pool = sandboxset.SandboxSet(mock, max_size=2)
    enough = threading.Event()

    def work(number: int) -> None:
        if number == 0:
            enough.wait(PATIENCE)
            assert pool.close(PATIENCE).survivors == ()
            return
        with pytest.raises(sandboxset.ClosedError):
            while True:
                with pool.get_or_create_unpaused(timeout=PATIENCE):
                    if pool.stats().gets > 500:
                        enough.set()

    in_parallel(8, work)
    assert mock.live() == 0
    assert pool.stats().held == 0
