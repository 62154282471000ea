"""Commands, files, calls and streams for tasks, on the mock."""

from __future__ import annotations

import asyncio
import copy
import pickle

import pytest
import sandboxset
from aio_support import eventually, run, threads
from conftest import PATIENCE
from sandboxset import aio


def test_commands(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool, pool.get_or_create_unpaused() as sandbox:
            out = await sandbox.exec(["x" * 1000], output_bytes=100)
            assert (len(out.stdout_bytes), out.stdout_dropped) == (100, 901)
            assert (await sandbox.exec(["x" * 1000], output_bytes=10, on_overflow="kill")).outcome == "output_limit"
            outs = await asyncio.gather(*(sandbox.exec(["echo", str(number)]) for number in range(20)))
            assert [out.stdout for out in outs] == [f"echo {number}\n" for number in range(20)]
            with pytest.raises(sandboxset.InvalidArgumentError, match="timeout"):
                await sandbox.exec(["x"], timeout=-1)
            with pytest.raises(TypeError, match="stdin"):
                await sandbox.exec(["x"], stdin="stream")  # type: ignore[arg-type]
            sandbox.taint("enough")

    run(main())


def test_processes(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            async with pool.get_or_create_unpaused() as sandbox:
                async with await sandbox.spawn(["cat"], stdin="stream") as process:
                    await process.write_stdin(b"abc")
                    with pytest.raises(sandboxset.TimeoutError):
                        await process.wait(timeout=0.01)
                    await process.close_stdin()
                    assert (await process.wait()).outcome == "exited"
                process = await sandbox.spawn(["echo", "hi"])
                assert b"".join([piece async for piece in process]) == b"echo hi\n"
                assert await process.read() == b"" and await process.read(stream="stderr") == b""
                await process.wait()
                killed = await sandbox.spawn(["cat"], stdin="stream")
                await killed.signal(15)
                assert (await killed.wait()).signal == 15
                for wrong in (0, 65, 2**32 - 1):
                    with pytest.raises(sandboxset.InvalidArgumentError, match="signal"):
                        await killed.signal(wrong)
                with pytest.raises(sandboxset.InvalidArgumentError, match="max_bytes"):
                    await process.read(0)
                with pytest.raises(sandboxset.InvalidArgumentError, match="stream"):
                    await process.read(stream="stdin")  # type: ignore[arg-type]
                with pytest.raises(sandboxset.InvalidArgumentError, match="timeout"):
                    await process.read(timeout=-1)
                with pytest.raises(TypeError, match="data"):
                    await process.write_stdin("text")  # type: ignore[arg-type]
            for stale in (process.wait, process.kill, process.close_stdin):
                with pytest.raises(sandboxset.StaleRefError):
                    await stale()
            assert pool.stats().idle == 1

    run(main())


def test_a_read_that_ends_early_loses_nothing(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool, pool.get_or_create_unpaused() as sandbox:
            process = await sandbox.spawn(["word"], stdin="stream")
            with pytest.raises(sandboxset.TimeoutError, match="wrote nothing") as late:
                await process.read(timeout=0.01)
            assert late.value.phase == "exec"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.read(), 0.01)
            reading = asyncio.create_task(process.read(2))
            await asyncio.sleep(0)
            with pytest.raises(sandboxset.InvalidStateError, match="reading stdout"):
                await process.read()
            await process.close_stdin()
            # Piece by piece, as the reader asks for it.
            assert [await reading, await process.read(2), await process.read(), await process.read()] == [
                b"wo", b"rd", b"\n", b"",
            ]  # fmt: skip
            await process.wait()

    run(main())


def test_a_process_that_is_collected_while_it_is_read_is_killed(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool, pool.get_or_create_unpaused() as sandbox:
            process = await sandbox.spawn(["cat"], stdin="stream")
            with pytest.raises(sandboxset.TimeoutError):
                await process.read(timeout=0)
            del process
            # The worker that reads goes when the command is killed.
            await eventually(lambda: threads() == 0)
            assert (await sandbox.exec(["true"])).success
        await pool.close()

    run(main())


def test_files(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool, pool.get_or_create_unpaused() as sandbox:
            await sandbox.write_file("a", b"hello", mode=0o600)
            await sandbox.write_file(b"b\xff", bytearray(b"x"))
            assert await sandbox.read_file("a") == b"hello"
            assert {entry.name for entry in await sandbox.list_dir()} == {"a", "b\udcff"}
            await sandbox.remove("a")
            with pytest.raises(sandboxset.InvalidArgumentError, match="mode"):
                await sandbox.write_file("a", b"", mode=0o1000)
            with pytest.raises(sandboxset.InvalidArgumentError, match="path"):
                await sandbox.read_file("../a")
            assert (await sandbox.usage()).pids >= 0
            assert (sandbox.scratch_dir, sandbox.state, sandbox.uses) == ("/scratch", "held", 1)
            assert sandbox.age >= 0 and sandbox.id > 0 and sandbox.host_scratch_dir is None

    run(main())


def test_calls_and_connections(mock: sandboxset.MockBackend) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool:
            async with pool.get_or_create_unpaused() as sandbox:
                assert await sandbox.call(b"question") == b"question"
                assert await sandbox.call_json({"a": [1]}) == {"a": [1]}
                async with await sandbox.connect() as connection:
                    with pytest.raises(sandboxset.TimeoutError, match="not ready"):
                        await connection.read(timeout=0.01)
                    # One task reads while another writes.
                    reading = asyncio.create_task(connection.read(4, timeout=PATIENCE))
                    await asyncio.sleep(0)
                    with pytest.raises(sandboxset.InvalidStateError, match="reading"):
                        await connection.read()
                    await connection.write(b"\x02\0\0\0ab")
                    assert await reading == b"\x02\0\0\0"
                    assert await connection.read() == b"ab"
                    with pytest.raises(TypeError, match="data"):
                        await connection.write("text")  # type: ignore[arg-type]
                    late = asyncio.create_task(connection.read(timeout=PATIENCE))
                    await asyncio.sleep(0)
                with pytest.raises(sandboxset.ClosedError):
                    await late
                for use in (connection.read, lambda: connection.write(b"x")):
                    with pytest.raises(sandboxset.ClosedError):
                        await use()
                kept = await sandbox.connect()
            for use in (kept.read, lambda: kept.write(b"x")):
                with pytest.raises(sandboxset.StaleRefError):
                    await use()

    run(main())


@pytest.mark.parametrize("operation", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_pickling_is_refused(mock: sandboxset.MockBackend, operation: object) -> None:
    async def main() -> None:
        async with aio.SandboxSet(mock) as pool, pool.get_or_create_unpaused() as sandbox:
            process = await sandbox.spawn(["cat"])
            for thing in (pool, sandbox, pool.events(), process, await sandbox.connect()):
                with pytest.raises(TypeError, match="cannot pickle or copy"):
                    operation(thing)  # type: ignore[operator]
            await process.wait()

    run(main())
