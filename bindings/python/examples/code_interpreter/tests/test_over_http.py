"""The service, driven by HTTP: what an agent does with it, and what hostile code cannot do."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sandboxset

pytest.importorskip("aiohttp", reason="the example needs aiohttp")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402

from code_interpreter.conversations import Conversations  # noqa: E402
from code_interpreter.service import CONVERSATIONS, application  # noqa: E402

PATIENCE = 60.0

Test = Callable[["Talk"], Awaitable[None]]


@pytest.fixture(autouse=True, scope="module")
def real_sandboxes() -> Iterator[None]:
    try:
        with sandboxset.SandboxSet(max_size=1) as pool, pool.get_or_create_unpaused(timeout=PATIENCE):
            pass
    except sandboxset.SandboxSetError as error:
        if os.environ.get("SANDBOXSET_REQUIRE_LINUX"):
            raise
        pytest.skip(f"no real sandbox can be made here: {error}")
    yield


class Talk:
    """A client of a service in the same process."""

    def __init__(self, client: TestClient[Any, Any], conversations: Conversations) -> None:
        self.client = client
        self.conversations = conversations

    async def begin(self) -> str:
        async with self.client.post("/conversations") as answer:
            assert answer.status == 201, await answer.text()
            return str((await answer.json())["conversation"])

    async def run(self, name: str, code: str, *, status: int = 200, **more: Any) -> dict[str, Any]:
        async with self.client.post(f"/conversations/{name}/run", json={"code": code, **more}) as answer:
            assert answer.status == status, await answer.text()
            return dict(await answer.json())

    async def get(self, path: str, *, status: int = 200) -> bytes:
        async with self.client.get(path) as answer:
            assert answer.status == status, await answer.text()
            return bytes(await answer.read())

    async def end(self, name: str, *, status: int = 204) -> None:
        async with self.client.delete(f"/conversations/{name}") as answer:
            assert answer.status == status


@asynccontextmanager
async def service(**options: Any) -> AsyncIterator[Talk]:
    app = application(lambda: Conversations(**options))
    async with asyncio.timeout(PATIENCE), TestClient(TestServer(app)) as client:
        yield Talk(client, app[CONVERSATIONS])


def talking(test: Test, **options: Any) -> None:
    async def main() -> None:
        async with service(**options) as talk:
            await test(talk)

    asyncio.run(main())


def pixels(png: bytes) -> bytes:
    """The rows of a picture, each with its filter; only what is well-formed is one."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + content),)
        data += content if kind == b"IDAT" else b""
        at += 12 + length
    return zlib.decompress(data)


def test_a_conversation_keeps_its_files() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        async with talk.client.put(f"/conversations/{name}/files/data.csv", data=b"1\n2\n3\n") as answer:
            assert answer.status == 204
        out = await talk.run(name, "print(sum(map(int, open('data.csv'))))\nopen('total', 'w').write('6')")
        assert (out["outcome"], out["exit_code"], out["stdout"], out["files"]) == (
            "exited",
            0,
            "6\n",
            ["data.csv", "total"],
        )
        assert (await talk.run(name, "print(open('total').read())"))["stdout"] == "6\n"
        assert await talk.get(f"/conversations/{name}/files/total") == b"6"
        failed = await talk.run(name, "1 / 0")
        assert failed["exit_code"] == 1 and "ZeroDivisionError" in failed["stderr"]
        await talk.get(f"/conversations/{name}/files/missing", status=404)
        await talk.end(name)
        await talk.end(name, status=404)
        await talk.run(name, "print()", status=404)

    talking(test)


def test_a_plot_is_a_picture_that_the_code_drew() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        pictures = []
        for values in ("[x * x for x in range(50)]", "[-x for x in range(50)]"):
            out = await talk.run(name, f"import plot; plot.line({values})")
            assert out["exit_code"] == 0 and "plot.png" in out["files"], out
            async with talk.client.get(f"/conversations/{name}/files/plot.png") as answer:
                assert answer.content_type == "image/png"
                pictures.append(pixels(await answer.read()))
        # Something was drawn, and it is not the same for other data.
        assert len(set(pictures[0])) > 2 and pictures[0] != pictures[1]

    talking(test)


def test_code_that_does_not_end() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        out = await talk.run(name, "print('began', flush=True)\nwhile True: pass", seconds=1)
        assert (out["outcome"], out["stdout"]) == ("timed_out", "began\n")
        # It is over, with all that it started, and the conversation goes on.
        await talk.run(name, "import os, time\nif os.fork() == 0: time.sleep(600)\ntime.sleep(600)", seconds=1)
        count = "import os; print(len([p for p in os.listdir('/proc') if p.isdigit()]))"
        assert (await talk.run(name, count))["stdout"] == "2\n"

    talking(test)


def test_code_that_takes_all_memory() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        out = await talk.run(name, "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))")
        assert out["outcome"] in ("out_of_memory", "signaled", "exited") and out["exit_code"] != 0, out
        assert (await talk.run(await talk.begin(), "print('unharmed')"))["stdout"] == "unharmed\n"

    talking(test, memory_bytes=96 << 20)


def test_code_that_floods_its_output() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        out = await talk.run(name, "while True: print('x' * 1000)")
        assert out["outcome"] == "output_limit" and len(out["stdout"]) <= 64 << 10
        assert (await talk.run(name, "print('still here')"))["stdout"] == "still here\n"

    talking(test)


def test_another_conversation_is_out_of_reach() -> None:
    look = """
import os
found = []
for top, _, names in os.walk('/'):
    if top.startswith(('/proc', '/sys', '/usr')):
        continue
    for name in names:
        try:
            path = os.path.join(top, name)
            if os.path.isfile(path) and os.path.getsize(path) < 1000 and b'the ' + b'secret' in open(path, 'rb').read():
                found.append(path)
        except OSError:
            pass
print(found)
"""

    async def test(talk: Talk) -> None:
        mine, other = await talk.begin(), await talk.begin()
        await talk.run(mine, "open('note', 'w').write('the secret')")
        assert (await talk.run(other, look))["stdout"] == "[]\n"
        # The same search does find it where it is.
        assert (await talk.run(mine, look))["stdout"] == "['/scratch/note']\n"
        await talk.get(f"/conversations/{other}/files/note", status=404)
        await talk.get(f"/conversations/{other}/files/..%2Fnote", status=404)
        # Nor does the next one get anything of it.
        await talk.end(mine)
        assert (await talk.run(await talk.begin(), look))["stdout"] == "[]\n"

    talking(test)


def test_no_network() -> None:
    async def test(talk: Talk) -> None:
        reach = "import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        out = await talk.run(await talk.begin(), reach.format(port=talk.client.port))
        assert out["exit_code"] == 1 and "Error" in out["stderr"]

    talking(test)


def test_an_idle_conversation_expires_and_a_busy_one_does_not() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        await talk.run(name, "import time; time.sleep(1.5)")
        while len(talk.conversations):
            await asyncio.sleep(0.05)
        await talk.run(name, "print()", status=404)

    talking(test, idle_seconds=0.5)


def test_too_many_and_malformed_requests() -> None:
    async def test(talk: Talk) -> None:
        name = await talk.begin()
        async with talk.client.post("/conversations") as answer:
            assert answer.status == 503
        for body in (b"", b"[]", b"{}", b'{"code": 1}', b'{"code": "", "seconds": true}'):
            async with talk.client.post(f"/conversations/{name}/run", data=body) as answer:
                assert answer.status == 400, body
        await talk.run(name, "", seconds=-1, status=400)
        async with talk.client.put(f"/conversations/{name}/files/big", data=io.BytesIO(bytes(9 << 20))) as answer:
            assert answer.status == 413
        await talk.end(name)
        await talk.begin()

    talking(test, most=1)


def test_the_end_of_the_service_ends_what_runs() -> None:
    async def main() -> None:
        async with service() as talk:
            name = await talk.begin()
            running = asyncio.ensure_future(talk.conversations.run(name, "import time; time.sleep(600)"))
            while not talk.conversations._conversations[name].turn.locked():
                await asyncio.sleep(0)
        with pytest.raises(sandboxset.SandboxSetError):
            await running

    asyncio.run(main())
