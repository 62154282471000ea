"""Forgotten refs, Ctrl-C, fork and the exit of the interpreter, for tasks: the edges of a loop and of a process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import warnings
from typing import Any

import pytest
import sandboxset
from aio_support import balanced, eventually, run
from conftest import run_script
from sandboxset import aio


def test_a_forgotten_ref_is_destroyed_with_a_warning(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            sandbox = await pool.get_or_create_unpaused()
            with pytest.warns(ResourceWarning, match=f"sandbox {sandbox.id} was neither put nor destroyed"):
                del sandbox
                gc.collect()
            await balanced(mock, pool)
            assert pool.stats().destroyed == 1

    run(main())


def test_refs_in_cycles(mock: sandboxset.MockBackend) -> None:
    class Node:
        itself: Any
        sandbox: aio.SandboxRef

    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=4) as pool:
            node = Node()
            node.itself, node.sandbox = node, await pool.get_or_create_unpaused()
            with pytest.warns(ResourceWarning):
                del node
                gc.collect()

            # A task that waits for itself, and holds a ref.
            async def wait(on: list[Any], sandbox: aio.SandboxRef) -> None:
                await on[0]

            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            on = [future]
            task = asyncio.ensure_future(wait(on, await pool.get_or_create_unpaused()))
            await asyncio.sleep(0)
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            future.add_done_callback(lambda _, task=task: None)
            with pytest.warns(ResourceWarning):
                del task, future
                on.clear()
                gc.collect()
            await balanced(mock, pool)
            assert pool.stats().destroyed == 2

    run(main())


def test_an_exception_with_a_traceback_keeps_no_ref(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(KeyError):
                    async with pool.get_or_create_unpaused() as sandbox:
                        raise KeyError(sandbox)
                gc.collect()
            await balanced(mock, pool)

    run(main())


HELD = """
import asyncio
mock = sandboxset.MockBackend()
hang = sandboxset.MockFault.hang()
"""

#: How each wait begins, what says that it waits, and whether the set can be used afterwards.
WAITS = {
    "get": ("await pool.get_or_create_unpaused(timeout=600)", "pool.stats().waiting == 1"),
    "exec": ("mock.fault_always('exec', hang); await held.exec(['x'])", "mock.calls('exec') == 1"),
    "call": ("mock.fault_always('connect', hang); await held.call(b'x')", "mock.calls('connect') == 1"),
    "connect": ("mock.fault_always('connect', hang); await held.connect()", "mock.calls('connect') == 1"),
    "files": ("mock.fault_always('files', hang); await held.list_dir()", "mock.calls('files') == 1"),
    "wait": ("asked.set(); await process.wait()", "asked.is_set()"),
    "read": ("asked.set(); await process.read()", "asked.is_set()"),
    "pieces": ("asked.set(); print([piece async for piece in process])", "asked.is_set()"),
    "connection": ("c = await held.connect(); asked.set(); await c.read()", "asked.is_set()"),
    "events": ("e = pool.events(); asked.set(); print([event async for event in e])", "asked.is_set()"),
    "drain": ("asked.set(); await pool.drain(600)", "asked.is_set()"),
    "close": ("asked.set(); await pool.close(600)", "asked.is_set()"),
}


@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c(wait: str) -> None:
    statement, reached = WAITS[wait]
    done = run_script(
        HELD
        + f"""
pool = sandboxset.aio.SandboxSet(mock, max_size=1)
asked = threading.Event()
async def main():
    global held
    held = await pool.get_or_create_unpaused()
    process = await held.spawn(["cat"], stdin="stream", timeout=600)
    interrupt_when(lambda: {reached})
    {statement}
started = time.monotonic()
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
else:
    sys.exit("not interrupted")
mock.release_hangs()
held.taint("interrupted")
pool.sync.get_or_create_unpaused  # The set itself is whole.
asyncio.run(held.put())
assert pool.stats().waiting == 0
assert pool.sync.close().survivors == ()
assert mock.live() == 0
"""
    )
    assert "interrupted" in done.stdout and done.stderr == "", done.stderr


def test_ctrl_c_while_a_sandbox_is_created() -> None:
    run_script(
        HELD
        + """
mock.fault_always("create", hang)
pool = sandboxset.aio.SandboxSet(mock, max_size=1)
interrupt_when(lambda: mock.calls("create") == 1)
async def main():
    async with pool.get_or_create_unpaused(timeout=600):
        pass
try:
    asyncio.run(main())
except KeyboardInterrupt:
    mock.release_hangs()
    eventually(lambda: pool.stats().idle == 1)
    pool.sync.close()
    assert mock.live() == 0
else:
    sys.exit("not interrupted")
"""
    )


EXITS = {
    "open set": "async def main(): await (await pool.get_or_create_unpaused()).put()",
    "held ref": """
async def main():
    global held
    held = await pool.get_or_create_unpaused()
""",
    "pending get": """
async def main():
    global held, waiting
    held = await pool.get_or_create_unpaused()
    async def wait():
        await pool.get_or_create_unpaused(timeout=600)
    waiting = asyncio.create_task(wait())
    while pool.stats().waiting == 0:
        await asyncio.sleep(0)
""",
    "pending exec": """
async def main():
    global held, waiting
    held = await pool.get_or_create_unpaused()
    mock.fault_always("exec", sandboxset.MockFault.hang())
    waiting = asyncio.create_task(held.exec(["x"]))
    while mock.calls("exec") == 0:
        await asyncio.sleep(0)
""",
    "pending read, event and close": """
async def main():
    global held, tasks
    held = await pool.get_or_create_unpaused()
    process = await held.spawn(["cat"], stdin="stream")
    events = pool.events()
    tasks = [asyncio.create_task(wait) for wait in (process.read(), events.next(), pool.close(600))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
""",
    "sys.exit in a task": """
async def main():
    async with pool.get_or_create_unpaused() as sandbox:
        mock.fault_always("exec", sandboxset.MockFault.hang())
        asyncio.get_running_loop().call_later(0.05, lambda: sys.exit(0))
        await sandbox.exec(["x"])
""",
    "a loop in a daemon thread": """
mock.fault_always("exec", sandboxset.MockFault.hang())
async def work():
    async with pool.get_or_create_unpaused() as sandbox:
        await sandbox.exec(["x"])
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()
threading.excepthook = lambda args: None
async def main():
    while mock.calls("exec") == 0:
        await asyncio.sleep(0)
""",
    "a busy loop in a daemon thread": """
async def work():
    while True:
        try:
            async with pool.get_or_create_unpaused() as sandbox:
                await sandbox.exec(["x"])
        except sandboxset.SandboxSetError:
            return
threading.Thread(target=lambda: asyncio.run(work()), daemon=True).start()
threading.excepthook = lambda args: None
async def main():
    while pool.stats().gets < 100:
        await asyncio.sleep(0)
""",
    "kept beyond the module": """
import builtins
async def main():
    builtins.keep = (pool, await pool.get_or_create_unpaused(), pool.events(), pool.get_or_create_unpaused())
""",
}


@pytest.mark.parametrize("state", EXITS)
def test_exit(state: str) -> None:
    started = time.monotonic()
    done = run_script(
        HELD
        + "pool = sandboxset.aio.SandboxSet(mock, max_size=1)\n"
        + EXITS[state]
        + "\nasyncio.run(main())\nprint('end')\n"
    )
    # A ref that is still held at the exit is a leak that Python may report, if it gets to collecting it.
    noise = [line for line in done.stderr.splitlines() if "ResourceWarning" not in line]
    assert noise == [], done.stderr
    assert ("end" in done.stdout) is (state != "sys.exit in a task")
    assert time.monotonic() - started < 30


def in_child(loop_body: Any) -> str:
    """What a coroutine of a forked child answers that goes on where its parent was."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            coroutine = loop_body()
            coroutine.send(None)
            answer = "it waits"
        except BaseException as error:
            answer = type(error).__name__
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


def test_a_forked_child_is_refused(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock, max_size=2) as pool:
            held = await pool.get_or_create_unpaused()
            process = await held.spawn(["cat"], stdin="stream")
            async with pool.get_or_create_unpaused():
                pass
            # Something is under way, so that the loop watches a mailbox.
            reading = asyncio.ensure_future(process.read())
            await asyncio.sleep(0)
            calls = (
                lambda: pool.get_or_create_unpaused()._get(),
                lambda: pool.get_or_create_unpaused(acquire="fresh_only")._get(),
                lambda: pool.get_or_create_unpaused().__aenter__(),
                lambda: held.exec(["true"]),
                lambda: held.spawn(["true"]),
                lambda: held.call(b"x"),
                lambda: held.read_file("x"),
                lambda: held.put(),
                lambda: held.destroy(),
                lambda: process.wait(),
                lambda: process.kill(),
                lambda: pool.prewarm(1),
                lambda: pool.drain(1),
                lambda: pool.close(1),
            )
            for call in calls:
                assert in_child(call) == "ForkedProcessError"
            assert in_child(lambda: cancel_and_collect(reading)) == "dropped"
            # Nothing that happened in a child changed anything here.
            assert (mock.live(), held.state, pool.stats().idle) == (2, "held", 1)
            await process.close_stdin()
            assert await reading == b"cat\n"
            await process.wait()
            await held.put()
            await balanced(mock, pool)

    run(main())


async def cancel_and_collect(task: asyncio.Task[Any]) -> None:
    """End what the parent has under way, as the child's garbage collection would."""
    task.get_coro().close()  # type: ignore[union-attr]
    asyncio.get_event_loop_policy()
    gc.collect()
    raise type("dropped", (Exception,), {})


def test_a_child_that_runs_its_own_loop_is_refused(mock: sandboxset.MockBackend) -> None:
    pool = aio.SandboxSet(mock)

    async def use() -> None:
        async with pool.get_or_create_unpaused():
            pass

    asyncio.run(use())

    def child() -> Any:
        asyncio.run(use())

    assert in_child(child) == "ForkedProcessError"
    asyncio.run(use())
    assert pool.stats().gets == 2
    pool.sync.close()


def events_to_watch() -> set[str]:
    """The descriptors by which loops are woken. Of other kinds, teardowns in the background come and go."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(f"/proc/self/fd/{number}") == "anon_inode:[eventfd]":
                found.add(number)
    return found


def test_descriptors_are_closed_when_nothing_is_under_way(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        before = events_to_watch()
        async with aio.SandboxSet(mock, max_size=1) as pool:
            for _ in range(20):
                async with pool.get_or_create_unpaused() as sandbox:
                    await sandbox.exec(["true"])
            held = await pool.get_or_create_unpaused()
            waiting = asyncio.ensure_future(pool.get_or_create_unpaused()._get())
            await eventually(lambda: pool.stats().waiting == 1)
            assert len(events_to_watch()) == len(before) + 1
            await held.put()
            await (await waiting).put()
        # Who woke the loop last may have its waker for a moment longer.
        await eventually(lambda: events_to_watch() == before)

    run(main())
