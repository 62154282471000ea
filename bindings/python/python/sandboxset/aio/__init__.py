"""The asyncio side of sandboxset: the same sets, errors and options, with calls to await.

>>> import asyncio, sandboxset
>>> async def main():
...     async with sandboxset.aio.SandboxSet(max_size=8) as pool:
...         async with pool.get_or_create_unpaused(timeout=2.0) as sandbox:
...             out = await sandbox.exec(["python3", "-c", "print(6*7)"], timeout=5.0)
...             print(out.stdout, out.exit_code)
>>> asyncio.run(main())

A set belongs to no event loop: it may be used from several, each in its own thread, and from threads by
``SandboxSet.sync`` at the same time. A task that waits for a sandbox needs no thread; it stands in one queue with the
threads that wait, first come, first served. Every await may be cancelled; nothing is lost then.
"""

from ._sandbox import SandboxRef
from ._set import Get, SandboxSet
from ._streams import Connection, EventStream, Process

__all__ = ["Connection", "EventStream", "Get", "Process", "SandboxRef", "SandboxSet"]
