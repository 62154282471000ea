"""The operations: each a method of the same name, which makes one call of the package."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import Any

import answers
import arguments
import sandboxset

Json = dict[str, Any]


class Leaving(Exception):
    """Leaves a scope."""


async def done(value: Any) -> Any:
    """Wait for a call of the asyncio side; one of the other is over."""
    return await value if inspect.isawaitable(value) else value


class Agent:
    """What the driver has made, by kind and name, and what it may ask for."""

    def __init__(self, *, is_async: bool) -> None:
        self._is_async = is_async
        self._handles: dict[tuple[str, str], Any] = {}
        #: Connections have a time limit in the protocol, their reads and writes have one in Python.
        self._limits: dict[str, Json] = {}

    async def perform(self, request: Json) -> Any:
        """Do what is asked. What it does not know ends the agent."""
        return await getattr(self, f"_op_{request['op']}")(request)

    def _keep(self, kind: str, request: Json, thing: Any) -> None:
        self._handles[kind, request["as"]] = thing

    def _the(self, kind: str, request: Json) -> Any:
        return self._handles[kind, request[kind]]

    def _token(self, request: Json) -> Json:
        return {"cancel": self._the("cancel", request)} if request.get("cancel") is not None else {}

    async def _op_backend_new(self, request: Json) -> None:
        if request["kind"] == "mock":
            return self._keep("backend", request, sandboxset.MockBackend())
        options = arguments.present(request, "keeper", "image_cache", "shells")
        self._keep("backend", request, sandboxset.LinuxBackend(**options))

    async def _op_mock_fault_at(self, request: Json) -> None:
        backend, fault = self._the("backend", request), arguments.fault(request["fault"])
        backend.fault_at(request["operation"], request["nth"], fault)

    async def _op_mock_fault_always(self, request: Json) -> None:
        fault = request.get("fault")
        backend = self._the("backend", request)
        backend.fault_always(request["operation"], None if fault is None else arguments.fault(fault))

    async def _op_mock_release_hangs(self, request: Json) -> None:
        self._the("backend", request).release_hangs()

    async def _op_mock_wait_for_hangs(self, request: Json) -> bool:
        wait = self._the("backend", request).wait_for_hangs
        waited = (request["operation"], request["count"])
        timeout = request["timeout_ms"] / 1000
        if self._is_async:
            # A test's own wait, which has no asynchronous form.
            return bool(await asyncio.to_thread(wait, *waited, timeout=timeout))
        return bool(wait(*waited, timeout=timeout))

    async def _op_mock_counts(self, request: Json) -> Json:
        backend = self._the("backend", request)
        return {name: getattr(backend, name)() for name in ("live", "most_live", "paused")}

    async def _op_mock_calls(self, request: Json) -> int:
        return int(self._the("backend", request).calls(request["operation"]))

    async def _op_clock_new(self, request: Json) -> None:
        self._keep("clock", request, sandboxset.ManualClock())

    async def _op_clock_advance(self, request: Json) -> None:
        self._the("clock", request).advance(request["by_ms"] / 1000)

    async def _op_cancel_new(self, request: Json) -> None:
        self._keep("cancel", request, sandboxset.CancelToken())

    async def _op_cancel(self, request: Json) -> None:
        self._the("cancel", request).cancel()

    async def _op_set_new(self, request: Json) -> None:
        config = request.get("config") or {}
        options = arguments.spec(request.get("spec") or {}) | arguments.config(config)
        if config.get("parent") is not None:
            options["parent"] = self._handles["set", config["parent"]]
        if config.get("clock") is not None:
            options["clock"] = self._handles["clock", config["clock"]]
        make = sandboxset.aio.SandboxSet if self._is_async else sandboxset.SandboxSet
        self._keep("set", request, make(self._the("backend", request), **options))

    async def _op_get_or_create_unpaused(self, request: Json) -> Json:
        options = arguments.seconds(request, "timeout") | arguments.present(request, "no_wait", "acquire")
        if request.get("binding") is not None:
            options["binding"] = arguments.binding(request["binding"])
        ref = await done(self._the("set", request).get_or_create_unpaused(**options, **self._token(request)))
        self._keep("ref", request, ref)
        return {"id": ref.id, "uses": ref.uses}

    async def _op_prewarm(self, request: Json) -> Any:
        count, timeout = arguments.number(request["count"]), arguments.seconds(request, "timeout")
        return await done(self._the("set", request).prewarm(count, **timeout))

    async def _op_shrink(self, request: Json) -> Any:
        return await done(self._the("set", request).shrink(arguments.number(request["keep"])))

    async def _op_drain(self, request: Json) -> None:
        await done(self._the("set", request).drain(**arguments.seconds(request, "deadline")))

    async def _op_close(self, request: Json) -> Json:
        report = await done(self._the("set", request).close(**arguments.seconds(request, "deadline")))
        return {"destroyed": report.destroyed, "survivors": len(report.survivors)}

    async def _op_stats(self, request: Json) -> Json:
        return answers.stats(self._the("set", request).stats())

    async def _op_isolation_report(self, request: Json) -> Json:
        report = await done(self._the("set", request).isolation_report())
        return {layer.name: layer.status for layer in report.layers}

    async def _op_events(self, request: Json) -> None:
        self._keep("events", request, self._the("set", request).events(**arguments.present(request, "capacity")))

    async def _op_next_event(self, request: Json) -> Any:
        stream, timeout = self._the("events", request), request["timeout_ms"] / 1000
        return answers.event(await done(stream.next(timeout)))

    async def _op_put(self, request: Json) -> None:
        await done(self._the("ref", request).put())

    async def _op_destroy(self, request: Json) -> None:
        await done(self._the("ref", request).destroy(request["reason"]))

    async def _op_taint(self, request: Json) -> None:
        self._the("ref", request).taint(request["reason"])

    async def _op_leave_scope(self, request: Json) -> None:
        ref, failing = self._the("ref", request), request["failing"]
        try:
            if self._is_async:
                async with ref:
                    if failing:
                        raise Leaving
            else:
                with ref:
                    if failing:
                        raise Leaving
        except Leaving:
            pass

    async def _op_abandon(self, request: Json) -> None:
        del self._handles["ref", request["ref"]]
        gc.collect()

    async def _op_inspect(self, request: Json) -> Json:
        return answers.inspection(self._the("ref", request))

    async def _op_age(self, request: Json) -> int:
        return answers.milliseconds(self._the("ref", request).age)

    async def _op_usage(self, request: Json) -> Json:
        usage = await done(self._the("ref", request).usage())
        return {"memory_bytes": usage.memory_bytes, "pids": usage.pids}

    async def _op_log(self, request: Json) -> str:
        ref = self._the("ref", request)
        return answers.text_of(await done(ref.log(**arguments.present(request, "max_bytes"))))

    async def _op_exec(self, request: Json) -> Json:
        return answers.output(await done(self._run("exec", request)))

    async def _op_spawn(self, request: Json) -> None:
        self._keep("process", request, await done(self._run("spawn", request)))

    def _run(self, method: str, request: Json) -> Any:
        command = request["command"]
        call = getattr(self._the("ref", request), method)
        options = arguments.command(command) | self._token(command)
        if method == "exec" and options.get("stdin") == "stream":
            raise answers.Unsupported("in Python a stream for exec is a wrong type")
        return call(command["args"], **options)

    async def _op_write_stdin(self, request: Json) -> None:
        process, timeout = self._the("process", request), arguments.seconds(request, "timeout")
        await done(process.write_stdin(arguments.data(request["data"]), **timeout))

    async def _op_close_stdin(self, request: Json) -> None:
        await done(self._the("process", request).close_stdin())

    async def _op_kill(self, request: Json) -> None:
        await done(self._the("process", request).kill())

    async def _op_signal(self, request: Json) -> None:
        await done(self._the("process", request).signal(arguments.number(request["signal"])))

    async def _op_read(self, request: Json) -> str:
        options = arguments.present(request, "max_bytes", "stream") | arguments.seconds(request, "timeout")
        return answers.text_of(await done(self._the("process", request).read(**options)))

    async def _op_wait(self, request: Json) -> Json:
        options = arguments.seconds(request, "timeout") | self._token(request)
        return answers.output(await done(self._the("process", request).wait(**options)))

    async def _op_call(self, request: Json) -> str:
        options = arguments.seconds(request, "timeout") | self._token(request)
        answer = await done(self._the("ref", request).call(arguments.data(request["data"]), **options))
        return answers.text_of(answer)

    async def _op_connect(self, request: Json) -> None:
        options = arguments.seconds(request, "timeout") | self._token(request)
        self._keep("connection", request, await done(self._the("ref", request).connect(**options)))
        self._limits[request["as"]] = {}

    async def _op_connection_set_timeout(self, request: Json) -> None:
        self._limits[request["connection"]] = arguments.seconds(request, "timeout")

    async def _op_connection_write(self, request: Json) -> None:
        connection, limit = self._the("connection", request), self._limits[request["connection"]]
        await done(connection.write(arguments.data(request["data"]), **limit))

    async def _op_connection_read(self, request: Json) -> str:
        connection, limit = self._the("connection", request), self._limits[request["connection"]]
        return answers.text_of(await done(connection.read(arguments.number(request["max_bytes"]), **limit)))

    async def _op_read_file(self, request: Json) -> str:
        ref, options = self._the("ref", request), arguments.present(request, "max_bytes")
        return answers.text_of(await done(ref.read_file(request["path"], **options)))

    async def _op_write_file(self, request: Json) -> None:
        ref, content = self._the("ref", request), arguments.data(request["data"])
        await done(ref.write_file(request["path"], content, **arguments.present(request, "mode")))

    async def _op_list_dir(self, request: Json) -> list[Json]:
        options = arguments.present(request, "path", "max_entries")
        entries = await done(self._the("ref", request).list_dir(**options))
        return [{"name": entry.name, "kind": entry.kind} for entry in entries]

    async def _op_remove(self, request: Json) -> None:
        await done(self._the("ref", request).remove(request["path"]))

    async def _op_drop(self, request: Json) -> None:
        kind = next(kind for kind in request if kind not in ("op", "background"))
        del self._handles[kind, request[kind]]
