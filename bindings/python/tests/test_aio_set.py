"""The asyncio side of a set, on the mock: what is asked, what is answered, in what order."""

from __future__ import annotations

import asyncio
import builtins
import gc
import inspect
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sandboxset
from aio_support import HANG, balanced, cancelled, eventually, run, threads
from conftest import PATIENCE
from sandboxset import aio


def test_the_first_example(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=4) as pool:
            async with pool.get_or_create_unpaused(timeout=2) as sandbox:
                out = await sandbox.exec(["echo", "hi"])
                assert (out.stdout, out.exit_code, sandbox.state) == ("echo hi\n", 0, "held")
            assert pool.stats().idle == 1 and mock.paused() == 1
            sandbox = await pool.get_or_create_unpaused()
            assert (sandbox.reused, sandbox.uses) == (True, 2)
            await sandbox.put()
            with pytest.raises(sandboxset.StaleRefError):
                await sandbox.put()
            with pytest.raises(KeyError):
                async with pool.get_or_create_unpaused():
                    raise KeyError
            await eventually(lambda: mock.live() == 0)
            assert pool.stats().destroyed_by == {"its holder was left by KeyError": 1}
            async with pool.get_or_create_unpaused() as sandbox:
                await sandbox.destroy("done")
            with pytest.raises(sandboxset.StaleRefError, match="done"):
                await sandbox.exec(["true"])
        with pytest.raises(sandboxset.ClosedError):
            await pool.get_or_create_unpaused()
        assert pool.stats().idle == 0

    run(main())


def test_a_get_is_awaited_once(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pool.get_or_create_unpaused()
                gc.collect()
            get = pool.get_or_create_unpaused()
            async with get:
                pass
            for again in (get.__aenter__, get._get):
                with pytest.raises(sandboxset.InvalidStateError, match="awaited already"):
                    await again()
            assert pool.stats().gets == 1

    run(main())


def test_the_same_names_as_the_synchronous_side() -> None:
    def public(thing: type) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    assert public(aio.SandboxSet) == public(sandboxset.SandboxSet) | {"of", "sync"}
    for name in ("SandboxRef", "Process", "Connection", "EventStream"):
        assert public(getattr(aio, name)) == public(getattr(sandboxset, name)), name
    synchronous = inspect.signature(sandboxset.SandboxSet.__new__).parameters
    asynchronous = inspect.signature(aio.SandboxSet.__init__).parameters
    assert list(asynchronous)[1:] == list(synchronous)[1:]


def test_errors_are_those_of_the_synchronous_side(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=1) as pool:
            with pytest.raises(TypeError, match="timeout"):
                await pool.get_or_create_unpaused(timeout="1")  # type: ignore[arg-type]
            with pytest.raises(sandboxset.InvalidArgumentError, match="acquire"):
                await pool.get_or_create_unpaused(acquire="some")  # type: ignore[arg-type]
            with pytest.raises(sandboxset.ExhaustedError):
                await pool.get_or_create_unpaused(acquire="reuse_only", no_wait=True)
            async with pool.get_or_create_unpaused() as held:
                with pytest.raises(builtins.TimeoutError, match="1 held") as late:
                    await pool.get_or_create_unpaused(timeout=0.01)
                assert isinstance(late.value, sandboxset.TimeoutError) and late.value.phase == "wait"
                with pytest.raises(sandboxset.ExhaustedError):
                    await pool.get_or_create_unpaused(no_wait=True)
                token = sandboxset.CancelToken()
                waiting = asyncio.create_task(pool.get_or_create_unpaused(cancel=token)._get())
                await eventually(lambda: pool.stats().waiting == 1)
                token.cancel()
                with pytest.raises(sandboxset.CancelledError):
                    await waiting
                with pytest.raises(sandboxset.CancelledError):
                    await pool.get_or_create_unpaused(cancel=token)
                with pytest.raises(TypeError, match="args"):
                    await held.exec("true")
            with pytest.raises(sandboxset.InvalidArgumentError, match="count"):
                await pool.prewarm(2)
            with pytest.raises(TypeError, match="keep"):
                await pool.shrink("x")  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="deadline"):
                await pool.close("x")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="sync"):
            aio.SandboxSet.of(pool)  # type: ignore[arg-type]
        with pytest.raises(sandboxset.InvalidArgumentError, match="max_size"):
            aio.SandboxSet(mock, max_size=0)

    run(main())


def test_outside_of_a_loop(mock: sandboxset.MockBackend) -> None:
    pool = aio.SandboxSet(mock)
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.prewarm(1).send(None)
    pool.sync.close()


def test_a_failed_create(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            mock.fault_at("create", 1, sandboxset.MockFault.fail("no memory"))
            with pytest.raises(sandboxset.CreateFailedError, match="no memory"):
                await pool.get_or_create_unpaused()
            async with pool.get_or_create_unpaused():
                pass
            await balanced(mock, pool)

    run(main())


def test_a_thousand_tasks_share_four_sandboxes_in_order_and_without_a_thread_each(
    mock: sandboxset.MockBackend,
) -> None:
    tasks, served, most_threads = 1000, [], 0

    async def work(pool: aio.SandboxSet, number: int) -> None:
        nonlocal most_threads
        async with pool.get_or_create_unpaused(timeout=PATIENCE):
            served.append(number)
            most_threads = max(most_threads, threads())
            await asyncio.sleep(0)

    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=4, max_waiters=tasks) as pool:
            held = [await pool.get_or_create_unpaused() for _ in range(4)]
            async with asyncio.TaskGroup() as group:
                for number in range(tasks):
                    group.create_task(work(pool, number))
                await eventually(lambda: pool.stats().waiting == tasks)
                waiting_threads = threads()
                for sandbox in held:
                    await sandbox.put()
            await balanced(mock, pool)
            # The timer of the deadlines, and workers of the creates that have not gone yet.
            assert waiting_threads <= 6 and most_threads <= 6, (waiting_threads, most_threads)

    run(main())
    assert served == list(range(tasks)) and mock.most_live() == 4


def test_tasks_and_threads_stand_in_one_queue(mock: sandboxset.MockBackend) -> None:
    order: list[int] = []

    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=1) as pool:
            held = await pool.get_or_create_unpaused()

            async def task(number: int) -> None:
                async with pool.get_or_create_unpaused(timeout=PATIENCE):
                    order.append(number)

            def thread(number: int) -> None:
                with pool.sync.get_or_create_unpaused(timeout=PATIENCE):
                    order.append(number)

            loop = asyncio.get_running_loop()
            waiters: list[asyncio.Future[Any]] = []
            with ThreadPoolExecutor(10) as executor:
                for number in range(20):
                    on_thread = number % 2 == 0
                    waiters.append(
                        loop.run_in_executor(executor, thread, number)
                        if on_thread
                        else asyncio.ensure_future(task(number))
                    )
                    await eventually(lambda: pool.stats().waiting == len(waiters))
                await held.put()
                await asyncio.gather(*waiters)

    run(main())
    assert order == list(range(20))


def test_one_set_in_two_loops_in_two_threads(mock: sandboxset.MockBackend) -> None:
    pool = aio.SandboxSet(mock, max_size=2)
    counts = [0, 0]

    async def work(index: int) -> None:
        for _ in range(100):
            async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                await sandbox.exec(["true"])
                counts[index] += 1

    async def main(index: int) -> None:
        await asyncio.gather(*(work(index) for _ in range(4)))

    loops = [threading.Thread(target=lambda index=index: run(main(index))) for index in range(2)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join(PATIENCE)
    assert counts == [400, 400]
    assert (pool.stats().held, pool.stats().waiting, mock.most_live()) == (0, 0, 2)
    pool.sync.close()


def test_maintenance(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        pool = aio.SandboxSet(mock, max_size=4)
        assert await pool.prewarm(3) == 3
        assert await pool.shrink(1) == 2
        assert (await pool.isolation_report()).layers is not None
        assert repr(pool).startswith("<aio.SandboxSet idle=1")
        held = await pool.get_or_create_unpaused()
        with pytest.raises(sandboxset.TimeoutError, match="draining"):
            await pool.drain(0.01)
        with pytest.raises(sandboxset.ClosedError):
            await pool.get_or_create_unpaused()
        draining = asyncio.create_task(pool.drain(PATIENCE))
        await asyncio.sleep(0)
        await held.put()
        await draining
        report = await pool.close()
        assert report.survivors == () and mock.live() == 0
        assert (await pool.close()).destroyed == 0

    run(main())


def test_a_close_ends_those_who_wait(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        pool = aio.SandboxSet(mock, max_size=1)
        held = await pool.get_or_create_unpaused()
        waiting = [asyncio.ensure_future(pool.get_or_create_unpaused()._get()) for _ in range(10)]
        await eventually(lambda: pool.stats().waiting == 10)
        closing = asyncio.create_task(pool.close(PATIENCE))
        for waiter in waiting:
            with pytest.raises(sandboxset.ClosedError):
                await waiter
        await held.put()
        assert (await closing).survivors == ()

    run(main())


def test_events(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        pool = aio.SandboxSet(mock)
        events = pool.events()

        async def read() -> list[str]:
            return [event.kind async for event in events]

        kinds = asyncio.create_task(read())
        await asyncio.sleep(0)
        async with pool.get_or_create_unpaused():
            pass
        with pytest.raises(sandboxset.InvalidStateError, match="reading"):
            await events.next()
        await pool.close()
        assert await kinds == ["create", "put", "pause", "destroy"]
        assert await events.next() is None

    run(main())


def test_waiting_for_an_event_loses_none(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            events = pool.events(timeout=0.01)
            assert [event async for event in events] == []
            assert await events.next(0) is None
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(events.next(PATIENCE), 0.01)
            async with pool.get_or_create_unpaused():
                pass
            event = await events.next(PATIENCE)
            assert event is not None and (event.sequence, event.kind) == (1, "create")
            with pytest.raises(TypeError, match="timeout"):
                await events.next("1")  # type: ignore[arg-type]

    run(main())


def test_parents_of_both_sides(mock: sandboxset.MockBackend) -> None:
    runtime = sandboxset.Runtime(["server"], forks=True)

    async def main() -> None:
        parents = (aio.SandboxSet(mock, runtime=runtime), sandboxset.SandboxSet(mock, runtime=runtime))
        for parent in parents:
            async with aio.SandboxSet(parent=parent) as pool, pool.get_or_create_unpaused() as sandbox:
                assert await sandbox.call(b"x") == b"x"
            assert parent.stats().forks == 1
        await parents[0].close()
        parents[1].close()

    run(main())


def test_a_slow_pause_does_not_hold_up_the_loop(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=1) as pool:
            mock.fault_always("pause", HANG)
            sandbox = await pool.get_or_create_unpaused()
            putting = asyncio.ensure_future(sandbox.put())
            # The pause hangs elsewhere, and the ref is stale already.
            await eventually(lambda: mock.calls("pause") == 1)
            assert not putting.done() and sandbox.state == "stale"
            await cancelled(putting)
            assert (pool.stats().idle, mock.live()) == (0, 1)
            mock.release_hangs()
            await eventually(lambda: pool.stats().idle == 1)
            async with pool.get_or_create_unpaused():
                pass
            assert pool.stats().idle == 1
            await balanced(mock, pool)

    run(main())


def test_a_command_policy(mock: sandboxset.MockBackend) -> None:
    def policy(args: list[str], **_: object) -> list[str] | None:
        if args[0] == "forbidden":
            raise ValueError("no")
        return ["other"] if args[0] == "rewritten" else None

    async def main() -> None:
        async with aio.SandboxSet(mock, command_policy=policy) as pool, pool.get_or_create_unpaused() as sandbox:
            assert (await sandbox.exec(["rewritten"])).stdout == "other\n"
            with pytest.raises(sandboxset.PermissionDeniedError, match="refused: no"):
                await sandbox.exec(["forbidden"])

    run(main())
