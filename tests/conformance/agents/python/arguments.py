"""Arguments from JSON. What is absent or null is left away, so that the package's own default holds."""

from __future__ import annotations

from typing import Any

import sandboxset
from answers import Unsupported

Json = dict[str, Any]


def present(request: Json, *names: str) -> Json:
    """Those of the arguments that are there, numbers as numbers."""
    return {name: number(request[name]) for name in names if request.get(name) is not None}


def number(value: Any) -> Any:
    """Read a large integer from its digits; everything else is what it is."""
    if isinstance(value, str) and value.removeprefix("-").isdigit():
        return int(value)
    return value


def seconds(request: Json, *names: str) -> Json:
    """Times, from milliseconds."""
    return {name: number(request[f"{name}_ms"]) / 1000 for name in names if request.get(f"{name}_ms") is not None}


def data(text: str) -> bytes:
    """Bytes from one character each."""
    return text.encode("latin-1")


def mapping(pairs: list[list[str]]) -> dict[str, str]:
    """Variables by name."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise Unsupported("a mapping of Python has each key once")
    return {key: value for key, value in pairs}


def binds(values: list[Json]) -> list[sandboxset.Bind]:
    """Files and directories of the host."""
    return [sandboxset.Bind(**value) for value in values]


def fault(value: Json) -> sandboxset.MockFault:
    """What happens at a call of the mock."""
    match value["kind"]:
        case "fail":
            return sandboxset.MockFault.fail(value["message"])
        case "hang":
            return sandboxset.MockFault.hang()
        case "die":
            return sandboxset.MockFault.die()
        case "delay":
            return sandboxset.MockFault.delay(value["delay_ms"] / 1000)
    raise ValueError(f"no fault {value}")


def spec(value: Json) -> Json:
    """The recipe of a set's sandboxes."""
    arguments = present(value, "root", "code_dir", "layers")
    if value.get("binds") is not None:
        arguments["binds"] = binds(value["binds"])
    if value.get("env") is not None:
        arguments["env"] = mapping(value["env"])
    if value.get("limits") is not None:
        arguments["limits"] = sandboxset.Limits(**_limits(value["limits"]))
    if (runtime := value.get("runtime")) is not None:
        more = present(runtime, "forks") | seconds(runtime, "ready_timeout")
        if runtime.get("env") is not None:
            more["env"] = mapping(runtime["env"])
        arguments["runtime"] = sandboxset.Runtime(runtime["args"], **more)
    return arguments


def _limits(value: Json) -> Json:
    limits = {name: number(limit) for name, limit in value.items() if limit is not None}
    if isinstance(limits.get("cpus"), str):
        limits["cpus"] = float(limits["cpus"])
    return limits


def config(value: Json) -> Json:
    """How a set behaves, but for what is a handle."""
    plain = present(value, "max_size", "min_idle", "max_waiters", "reuse", "max_forks", "scratch_dirs")
    return plain | seconds(value, "get_timeout", "create_timeout")


def binding(value: Json) -> sandboxset.LateBinding:
    """What a get binds late."""
    arguments: Json = {}
    if value.get("env") is not None:
        arguments["env"] = mapping(value["env"])
    if value.get("secrets") is not None:
        arguments["secrets"] = {name: data(secret) for name, secret in mapping(value["secrets"]).items()}
    if value.get("files") is not None:
        arguments["files"] = [
            sandboxset.LateFile(file["path"], data(file["data"]), **present(file, "mode")) for file in value["files"]
        ]
    if value.get("binds") is not None:
        arguments["binds"] = binds(value["binds"])
    if value.get("limits") is not None:
        arguments["limits"] = sandboxset.LateLimits(**_limits(value["limits"]))
    return sandboxset.LateBinding(**arguments)


def command(value: Json) -> Json:
    """A command, but for its arguments and its cancel token."""
    plain = present(value, "cwd", "output_bytes", "on_overflow", "memory_bytes", "cpu_seconds")
    arguments = plain | seconds(value, "timeout", "grace")
    if value.get("env") is not None:
        arguments["env"] = mapping(value["env"])
    stdin = value.get("stdin")
    if isinstance(stdin, str):
        arguments["stdin"] = data(stdin)
    elif stdin is not None:
        arguments["stdin"] = "stream"
    return arguments
