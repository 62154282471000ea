"""The agents of Python for the conformance suite: of the package, and with ``--asyncio`` of its asyncio side.

They translate the lines of ``tests/conformance/README.md`` into calls and results into lines, and decide nothing. The
two sides have the same names, so they differ only in what waits: here threads, there tasks.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Coroutine
from typing import Any

import answers
from operations import Agent

Request = dict[str, Any]


def respond(answer: Request) -> None:
    """Say one line."""
    print(json.dumps(answer), flush=True)


def finish_at_once(coroutine: Coroutine[Any, Any, Request]) -> Request:
    """Run what has nothing to await."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise RuntimeError("the synchronous side waited for a loop")


def run_on_threads() -> None:
    """Answer until there is nothing more; what is in the background is a thread."""
    agent = Agent(is_async=False)
    threads: dict[str, threading.Thread] = {}
    results: dict[str, Request] = {}

    def perform(name: str, request: Request) -> None:
        results[name] = finish_at_once(answers.of(agent.perform(request)))

    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "join":
            threads.pop(request["name"]).join()
            respond(results.pop(request["name"]))
        elif (name := request.get("background")) is not None:
            threads[name] = threading.Thread(target=perform, args=(name, request), daemon=True)
            threads[name].start()
            respond({"ok": None})
        else:
            respond(finish_at_once(answers.of(agent.perform(request))))


async def run_in_tasks() -> None:
    """Answer until there is nothing more; what is in the background is a task."""
    agent = Agent(is_async=True)
    tasks: dict[str, asyncio.Task[Request]] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        if request["op"] == "join":
            respond(await tasks.pop(request["name"]))
        elif (name := request.get("background")) is not None:
            tasks[name] = asyncio.create_task(answers.of(agent.perform(request)))
            respond({"ok": None})
        else:
            respond(await answers.of(agent.perform(request)))


def main() -> None:
    """Be one of the two."""
    if sys.argv[1:] == ["--asyncio"]:
        asyncio.run(run_in_tasks())
    elif not sys.argv[1:]:
        run_on_threads()
    else:
        sys.exit("usage: agent.py [--asyncio]")


if __name__ == "__main__":
    main()
