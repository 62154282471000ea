"""Tasks and real sandboxes. Skipped, loudly, where the host does not allow one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import sandboxset
from aio_support import cancelled, eventually, run
from conftest import PATIENCE, run_script
from sandboxset import PythonRuntime, Runtime, SandboxSet, aio
from test_linux import ECHO, PYTHON

pytestmark = pytest.mark.usefixtures("linux")


def running(marker: str) -> list[str]:
    """The processes of this host that have the marker among their arguments."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if marker.encode() in Path(f"/proc/{entry}/cmdline").read_bytes():
                found.append(entry)
        except OSError:
            pass
    return found


def test_commands_files_and_streams(linux: SandboxSet) -> None:
    async def main() -> None:
        pool = aio.SandboxSet.of(linux)
        async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            out = await sandbox.exec(["/bin/sh", "-c", 'cat; echo "$A" >&2; exit 3'], stdin=b"hi\n", env={"A": "b"})
            assert (out.stdout, out.stderr, out.exit_code) == ("hi\n", "b\n", 3)
            await sandbox.write_file("in", b"content")
            async with await sandbox.spawn(["/bin/sh", "-c", "cat in -; echo end >&2"], stdin="stream") as process:
                assert await process.read(timeout=PATIENCE) == b"content"
                with pytest.raises(sandboxset.TimeoutError):
                    await process.read(timeout=0.01)
                await process.write_stdin(b" and more")
                await process.close_stdin()
                assert b"".join([piece async for piece in process]) == b" and more"
                assert await process.read(stream="stderr") == b"end\n"
                assert (await process.wait()).success
            assert {entry.name for entry in await sandbox.list_dir()} == {"in"}
            assert (await sandbox.usage()).pids >= 1
        assert linux.stats().idle == 1

    run(main())


def test_a_cancelled_command_is_killed(linux: SandboxSet) -> None:
    async def main() -> None:
        pool = aio.SandboxSet.of(linux)
        async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            marker = f"cancelled-{os.getpid()}"
            script = "import os, time\nfor _ in range(3): os.fork() or os.setsid()\ntime.sleep(600)"
            command = asyncio.ensure_future(sandbox.exec([PYTHON, "-c", script, marker], timeout=600))
            await eventually(lambda: len(running(marker)) == 8)
            await cancelled(command)
            await eventually(lambda: running(marker) == [])
            number = sandbox.id
        # The ref was tainted, so its sandbox is not used again.
        async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            assert sandbox.id != number
        await eventually(lambda: linux.stats().destroying == 0)

    run(main())


@pytest.mark.parametrize("moment", ["get", "exec", "call", "read", "wait", "connection"])
def test_cancels_leave_nothing(moment: str) -> None:
    async def cancel(pool: aio.SandboxSet) -> None:
        async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            process = await sandbox.spawn(["cat"], stdin="stream")
            connection = await sandbox.connect()
            waits = {
                "get": pool.get_or_create_unpaused(acquire="fresh_only", timeout=PATIENCE)._get,
                "exec": lambda: sandbox.exec(["sleep", "600"], timeout=600),
                "call": lambda: sandbox.call(b"sleep", timeout=600),
                "read": process.read,
                "wait": process.wait,
                "connection": connection.read,
            }
            waiting = asyncio.ensure_future(waits[moment]())
            await asyncio.sleep(0)
            await cancelled(waiting)
            await process.close_stdin()
            await connection.close()

    async def main() -> None:
        descriptors = len(os.listdir("/proc/self/fd"))
        async with aio.SandboxSet(runtime=Runtime([PYTHON, "-c", ECHO]), max_size=2) as pool:
            for _ in range(3):
                await cancel(pool)
            assert (await pool.close(PATIENCE)).survivors == ()
            stats = pool.stats()
            assert stats.created == stats.destroyed and stats.held == stats.waiting == 0
            await eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + KEEPER_DESCRIPTORS)

    run(main())


#: What the connection to a keeper takes, which lives as long as its backend.
KEEPER_DESCRIPTORS = 4


def test_a_python_runtime_below_a_parent() -> None:
    async def main() -> None:
        async with (
            aio.SandboxSet(runtime=PythonRuntime(preload=["json"])) as preloaded,
            aio.SandboxSet(parent=preloaded, runtime=PythonRuntime(handler="json:dumps", json=True)) as pool,
        ):
            async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                assert await sandbox.call_json([1, 2]) == "[1, 2]"

    run(main())


def test_reads_and_writes_of_a_connection(tmp_path: Path) -> None:
    async def main() -> None:
        async with aio.SandboxSet(runtime=Runtime([PYTHON, "-c", ECHO])) as pool:
            async with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                assert await sandbox.call(b"x" * 1_000_000) == b"1000000:xxxxxxxxxx"
                async with await sandbox.connect() as connection:
                    reading = asyncio.ensure_future(connection.read())
                    await asyncio.sleep(0)
                    await connection.write(b"\x02\0\0\0ab")
                    answer = await reading
                    while len(answer) < 8:
                        answer += await connection.read(timeout=PATIENCE)
                    assert answer == b"\x04\0\0\x002:ab"
                    # A write that nobody reads does not end; given up half-way, it closes the connection.
                    await connection.write(b"\x05\0\0\0sleep")
                    with pytest.raises(sandboxset.ClosedError):
                        while True:
                            # The first that is cancelled after its worker has begun closes the connection.
                            writing = asyncio.ensure_future(connection.write(bytes(1 << 20), timeout=600))
                            await asyncio.sleep(0.01)
                            await cancelled(writing)
                assert b"runtime starts" in await sandbox.log()
                await sandbox.destroy("its runtime sleeps")

    run(main())


def test_interpreter_exit_with_live_sets_and_pending_awaits() -> None:
    done = run_script(
        """
        import asyncio
        async def main():
            global pool, held, waiting
            pool = sandboxset.aio.SandboxSet(max_size=1)
            held = await pool.get_or_create_unpaused()
            waiting = [
                asyncio.create_task(held.exec(["sleep", "600.0625"], timeout=600)),
                asyncio.create_task(pool.get_or_create_unpaused(timeout=600)._get()),
            ]
            def runs():
                for entry in filter(str.isdigit, os.listdir("/proc")):
                    try:
                        with open(f"/proc/{entry}/cmdline", "rb") as arguments:
                            if arguments.read() == b"sleep\\x00600.0625\\x00":
                                return True
                    except OSError:
                        pass
            while pool.stats().waiting == 0 or not runs():
                await asyncio.sleep(0.001)
        asyncio.run(main())
        """
    )
    assert [line for line in done.stderr.splitlines() if "ResourceWarning" not in line] == [], done.stderr

    async def gone() -> None:
        await eventually(lambda: running("600.0625") == [])

    run(gone())
