"""Cancelling at each await: it ends at once as ``asyncio.CancelledError``, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import sandboxset
from aio_support import HANG, balanced, cancelled, eventually, run
from conftest import PATIENCE
from sandboxset import MockBackend, aio

Call = Callable[[], Coroutine[Any, Any, Any]]


async def cancel_when(call: Call, reached: Callable[[], bool]) -> None:
    task = asyncio.ensure_future(call())
    await eventually(reached)
    assert not task.done(), task
    await cancelled(task)


def test_before_it_starts(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            await cancelled(asyncio.ensure_future(pool.get_or_create_unpaused()._get()))
            assert mock.calls("create") == 0
            async with pool.get_or_create_unpaused() as sandbox:
                await cancelled(asyncio.ensure_future(sandbox.exec(["true"])))
                assert mock.calls("exec") == 0
            assert pool.stats().idle == 1

    run(main())


def test_get_while_its_sandbox_is_created(mock: MockBackend) -> None:
    async def main() -> None:
        mock.fault_always("create", HANG)
        async with aio.SandboxSet(mock) as pool:
            await cancel_when(pool.get_or_create_unpaused()._get, lambda: mock.calls("create") == 1)
            assert (pool.stats().waiting, pool.stats().creating) == (0, 1)
            mock.release_hangs()
            # The create goes on, and its sandbox is there for the next.
            await eventually(lambda: pool.stats().idle == 1)
            await balanced(mock, pool)
            async with pool.get_or_create_unpaused() as sandbox:
                assert sandbox.uses == 1

    run(main())


def test_get_in_the_queue(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=1) as pool:
            async with pool.get_or_create_unpaused():
                for _ in range(3):
                    await cancel_when(pool.get_or_create_unpaused()._get, lambda: pool.stats().waiting == 1)
                    assert pool.stats().waiting == 0
            await balanced(mock, pool)
            assert pool.stats().idle == 1

    run(main())


def test_get_whose_sandbox_is_on_its_way(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=1) as pool:
            for _ in range(100):
                held = await pool.get_or_create_unpaused()
                first, second = (asyncio.ensure_future(pool.get_or_create_unpaused()._get()) for _ in range(2))
                await asyncio.sleep(0)
                assert pool.stats().waiting == 2
                # It is handed to the first, who is cancelled before it can know.
                await held.put()
                await cancelled(first)
                assert (await second).uses > 1
                await (await second).put()
            await balanced(mock, pool)
            assert mock.calls("create") == 1

    run(main())


def test_get_while_it_is_bound(mock: MockBackend) -> None:
    async def main() -> None:
        binding = sandboxset.LateBinding(secrets={"token": b"hush"})
        async with aio.SandboxSet(mock, max_size=1) as pool:
            mock.fault_always("bind", HANG)
            get = pool.get_or_create_unpaused(binding=binding)
            await cancel_when(get._get, lambda: mock.wait_for_hangs("bind", 1, timeout=0))
            mock.release_hangs()
            # It had a secret, so it is not used again.
            await eventually(lambda: mock.live() == 0)
            await balanced(mock, pool)

    run(main())


def test_a_block_that_is_cancelled_destroys(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:

            async def hold() -> None:
                async with pool.get_or_create_unpaused():
                    await asyncio.sleep(PATIENCE)

            await cancel_when(hold, lambda: pool.stats().held == 1)
            await balanced(mock, pool)
            assert pool.stats().destroyed_by == {"its holder was left by CancelledError": 1}

    run(main())


@pytest.mark.parametrize("operation", ["exec", "connect", "call", "read_file", "write_file", "list_dir", "remove"])
def test_what_a_holder_does(mock: MockBackend, operation: str) -> None:
    calls: dict[str, Callable[[aio.SandboxRef], Coroutine[Any, Any, Any]]] = {
        "exec": lambda sandbox: sandbox.exec(["x"]),
        "connect": lambda sandbox: sandbox.connect(),
        "call": lambda sandbox: sandbox.call(b"x"),
        "read_file": lambda sandbox: sandbox.read_file("x"),
        "write_file": lambda sandbox: sandbox.write_file("x", b"x"),
        "list_dir": lambda sandbox: sandbox.list_dir(),
        "remove": lambda sandbox: sandbox.remove("x"),
    }
    scripted: Any = {"exec": "exec", "connect": "connect", "call": "connect"}.get(operation, "files")

    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            mock.fault_always(scripted, HANG)
            async with pool.get_or_create_unpaused() as sandbox:
                reached = lambda: mock.wait_for_hangs(scripted, 1, timeout=0)  # noqa: E731
                await cancel_when(lambda: calls[operation](sandbox), reached)
            # A call was still under way at the put.
            await eventually(lambda: mock.live() == 0)
            await balanced(mock, pool)

    run(main())


def test_waits_for_a_process(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            async with pool.get_or_create_unpaused() as sandbox:
                process = await sandbox.spawn(["word"], stdin="stream")
                for wait in (process.wait, process.read, process.__anext__):
                    waiting = asyncio.ensure_future(wait())
                    await asyncio.sleep(0)
                    assert not waiting.done()
                    await cancelled(waiting)
                # The command lives on, and nothing that it writes is lost.
                await process.close_stdin()
                assert b"".join([piece async for piece in process]) == b"word\n"
                assert (await process.wait()).success
            assert pool.stats().idle == 1
            await balanced(mock, pool)

    run(main())


def test_spawn(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            mock.fault_always("exec", HANG)
            async with pool.get_or_create_unpaused() as sandbox:
                await cancel_when(lambda: sandbox.spawn(["x"]), lambda: mock.calls("exec") == 1)
            await eventually(lambda: mock.live() == 0)
            await balanced(mock, pool)

    run(main())


def test_a_connection(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            async with pool.get_or_create_unpaused() as sandbox, await sandbox.connect() as connection:
                reading = asyncio.ensure_future(connection.read())
                await asyncio.sleep(0)
                await cancelled(reading)
                await connection.write(b"\x01\0\0\0a")
                # The read that was given up has the answer; it is the next reader's.
                assert await connection.read() == b"\x01\0\0\0a"
            await balanced(mock, pool)
            assert pool.stats().idle == 1

    run(main())


def test_prewarm_drain_and_close(mock: MockBackend) -> None:
    async def main() -> None:
        pool = aio.SandboxSet(mock, max_size=2)
        mock.fault_always("create", HANG)
        await cancel_when(lambda: pool.prewarm(1), lambda: mock.calls("create") == 1)
        mock.release_hangs()
        await eventually(lambda: pool.stats().idle == 1)
        held = await pool.get_or_create_unpaused()

        def refused() -> bool:
            try:
                pool.sync.get_or_create_unpaused(no_wait=True).put()
            except sandboxset.ClosedError:
                return True
            except sandboxset.ExhaustedError:
                pass
            return False

        await cancel_when(lambda: pool.drain(PATIENCE), refused)
        closing = asyncio.ensure_future(pool.close(PATIENCE))
        await asyncio.sleep(0)
        await cancelled(closing)
        # The close goes on.
        await held.put()
        await eventually(lambda: mock.live() == 0)
        assert (await pool.close()).survivors == ()

    run(main())


def test_events(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            events = pool.events()
            waiting = asyncio.ensure_future(events.__anext__())
            await asyncio.sleep(0)
            await cancelled(waiting)
            async with pool.get_or_create_unpaused():
                pass
            assert [(await events.__anext__()).kind for _ in range(3)] == ["create", "put", "pause"]

    run(main())


def test_a_loop_that_is_closed_with_calls_pending(
    mock: MockBackend, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    pool = aio.SandboxSet(mock, max_size=1)
    held = pool.sync.get_or_create_unpaused()
    loop = asyncio.new_event_loop()
    coroutine = pool.get_or_create_unpaused()._get()
    task = loop.create_task(coroutine)
    while pool.stats().waiting == 0:
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    # The sandbox is on its way to a task that will never run.
    held.put()
    assert pool.stats().idle == 0
    # What is said of a task that is dropped is asyncio's own; here it is not to be said.
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    coroutine.close()
    del coroutine
    asyncio.run(balanced(mock, pool))
    assert pool.stats().idle == 1
    assert not recwarn.list and not caplog.records
    pool.sync.close()


def test_cancels_at_any_moment_lose_no_place(mock: MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=2) as pool:

            async def work() -> None:
                while True:
                    async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                        await sandbox.exec(["true"])

            served = pool.stats().gets
            tasks = [asyncio.ensure_future(work()) for _ in range(6)]
            for _ in range(400):
                for _ in range(random.randrange(4)):
                    await asyncio.sleep(0)
                index = random.randrange(len(tasks))
                tasks[index].cancel()
                await asyncio.wait([tasks[index]])
                assert tasks[index].cancelled(), tasks[index]
                tasks[index] = asyncio.ensure_future(work())
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            assert pool.stats().gets > served
            await balanced(mock, pool)
            for ref in [await pool.get_or_create_unpaused(timeout=PATIENCE) for _ in range(2)]:
                await ref.put()

    run(main())
