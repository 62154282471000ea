"""The HTTP side: conversations, runs and files as resources."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import sandboxset
from aiohttp import web

from .conversations import FILE_BYTES, Conversations, NoConversation

CONVERSATIONS = web.AppKey("conversations", Conversations)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(make: Callable[[], Conversations]) -> web.Application:
    """Make the service; ``make`` is called when it starts, and what it made is closed when it ends."""

    async def live(app: web.Application) -> AsyncIterator[None]:
        async with make() as conversations:
            app[CONVERSATIONS] = conversations
            yield

    app = web.Application(middlewares=[errors], client_max_size=FILE_BYTES)
    app.cleanup_ctx.append(live)
    app.add_routes(
        [
            web.post("/conversations", begin),
            web.delete("/conversations/{name}", end),
            web.post("/conversations/{name}/run", run),
            web.get("/conversations/{name}/files", files),
            web.get("/conversations/{name}/files/{path}", read),
            web.put("/conversations/{name}/files/{path}", write),
        ]
    )
    return app


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say in the language of HTTP what went wrong."""
    try:
        return await handler(request)
    except NoConversation:
        return _error(404, "there is no such conversation, or it is over")
    except (sandboxset.TimeoutError, sandboxset.OverloadedError):
        return _error(503, "too many conversations")
    except (sandboxset.SandboxDeadError, sandboxset.StaleRefError):
        return _error(410, "the conversation is over")
    except sandboxset.TooBigError as error:
        return _error(413, error.message)
    except sandboxset.InvalidArgumentError as error:
        return _error(400, error.message)
    except sandboxset.SandboxSetError as error:
        return _error(500, error.message)


async def begin(request: web.Request) -> web.Response:
    """Begin a conversation."""
    return web.json_response({"conversation": await request.app[CONVERSATIONS].begin()}, status=201)


async def end(request: web.Request) -> web.Response:
    """End a conversation."""
    await request.app[CONVERSATIONS].end(request.match_info["name"])
    return web.Response(status=204)


async def run(request: web.Request) -> web.Response:
    """Run ``{"code": ..., "seconds": ...}``."""
    try:
        asked = await request.json()
        code, seconds = asked["code"], asked.get("seconds")
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return _error(400, 'expected a JSON object with "code"')
    if not isinstance(code, str) or isinstance(seconds, bool) or not isinstance(seconds, int | float | None):
        return _error(400, '"code" is text and "seconds" a number')
    conversations, name = request.app[CONVERSATIONS], request.match_info["name"]
    out = await conversations.run(name, code, seconds)
    return web.json_response(
        {
            "outcome": out.outcome,
            "exit_code": out.exit_code,
            "stdout": out.stdout,
            "stderr": out.stderr,
            "truncated": out.truncated,
            "files": await conversations.files(name),
        }
    )


async def files(request: web.Request) -> web.Response:
    """List the files of a conversation."""
    return web.json_response({"files": await request.app[CONVERSATIONS].files(request.match_info["name"])})


async def read(request: web.Request) -> web.Response:
    """Give a file of a conversation, a picture as a picture. What a browser would run is never called that."""
    conversations, name, path = request.app[CONVERSATIONS], request.match_info["name"], request.match_info["path"]
    if path not in await conversations.files(name):
        return _error(404, "there is no such file")
    data = await conversations.read(name, path)
    kind = mimetypes.guess_type(path)[0]
    kind = kind if kind in ("image/png", "image/jpeg", "text/csv", "application/json") else "application/octet-stream"
    return web.Response(body=data, content_type=kind, headers={"X-Content-Type-Options": "nosniff"})


async def write(request: web.Request) -> web.Response:
    """Take a file into a conversation."""
    names = request.match_info
    await request.app[CONVERSATIONS].write(names["name"], names["path"], await request.read())
    return web.Response(status=204)


def _error(status: int, message: str) -> web.Response:
    body: dict[str, Any] = {"error": message}
    return web.json_response(body, status=status)
