"""Bad input, argument by argument: an error that names the argument, and nothing done."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sandboxset
from sandboxset import Bind, InvalidArgumentError, Limits, MockFault, Runtime

HUGE = 10**5000


class Evil:
    """Raises from every conversion."""

    def __index__(self) -> int:
        raise RuntimeError("evil")

    def __fspath__(self) -> str:
        raise RuntimeError("evil")

    def __str__(self) -> str:
        raise RuntimeError("evil")


class WrongPath:
    def __fspath__(self) -> int:
        return 3


NO_INT: list[Any] = [True, 1.0, "1", b"1", [], object(), decimal.Decimal(1)]
BAD_INT: list[Any] = [-1, HUGE, -HUGE, 2**64, 2**63 * 4]
NO_TIME: list[Any] = [True, False, "1", b"1", [], object(), decimal.Decimal(1), 1j]
BAD_TIME: list[Any] = [-1, -0.001, float("nan"), float("inf"), float("-inf"), 1e300, HUGE, 1e9 + 1]
NO_NAME: list[Any] = [1, 1.0, True, [], object(), bytearray(b"x"), WrongPath()]
BAD_NAME: list[Any] = ["\0", "a\0b", b"a\0b", "\ud800"]
NO_BYTES: list[Any] = ["text", 1, True, [1], object(), Path("x")]
NO_LIST: list[Any] = ["ls", b"ls", 1, object(), {"a"}, {"a": 1}, iter(["ls"]), (item for item in ["ls"])]
NO_MAP: list[Any] = ["a=b", [("a", "b")], 1, object(), {"a"}]
NO_TEXT: list[Any] = [1, b"x", True, object()]

#: argument, wrong types, wrong values
SET: list[tuple[str, list[Any], list[Any]]] = [
    ("max_size", NO_INT, [*BAD_INT, 0, (1 << 20) + 1]),
    ("min_idle", NO_INT, [*BAD_INT, 9]),
    ("max_waiters", NO_INT, BAD_INT),
    ("get_timeout", NO_TIME, BAD_TIME),
    ("create_timeout", NO_TIME, [*BAD_TIME, 0]),
    ("reuse", NO_TEXT, ["", "Keep", "keep ", "\ud800", "x" * 10_000]),
    ("parent", [1, "pool", sandboxset.SandboxSet, object()], []),
    ("max_forks", NO_INT, [*BAD_INT, 0]),
    ("root", NO_NAME, [*BAD_NAME, "", "/no/such", "relative/no/such", "/etc/passwd", "/" + "x" * 5000]),
    ("root", [], ["oci:", "oci:/no/such:tag", "oci:no/such", b"oci:/tmp:\xff", "oci:/tmp:"]),
    ("code_dir", NO_NAME, [*BAD_NAME, "", "/no/such", b"/no/such", Path("/no/such")]),
    ("scratch_dirs", NO_NAME, [*BAD_NAME, "", "/no/such"]),
    ("env", NO_MAP, [{"": "x"}, {"a=b": "x"}, {"a\0": "x"}, {"a": "x\0"}, {"\ud800": "x"}, {"a": b"x", b"a": "y"}]),
    ("binds", [*NO_LIST, [("/usr", "/x")], [1]], []),
    ("limits", [1, {}, "4G", object()], []),
    ("runtime", [1, ["python3"], "python3", object()], []),
    ("clock", [1, object()], []),
    ("backend", [1, "mock", object(), sandboxset.MockBackend], []),
    ("command_policy", [1, "policy", object()], []),
]
LIMITS: list[tuple[str, list[Any], list[Any]]] = [
    ("memory_bytes", NO_INT, [*BAD_INT, 0, 1, 4096, 2**63]),
    ("pids", NO_INT, [*BAD_INT, 0, 1, 2**32, 4_194_305]),
    ("cpus", NO_TIME, [-1, 0, 1e-9, 5000, float("nan"), float("inf"), HUGE]),
    ("scratch_bytes", NO_INT, [*BAD_INT, 0, 4095]),
    ("scratch_inodes", NO_INT, [*BAD_INT, 0, 1]),
    ("open_files", NO_INT, [*BAD_INT, 0, 3, 2**32]),
    ("file_bytes", NO_INT, [*BAD_INT, 0]),
]
COMMAND: list[tuple[str, list[Any], list[Any]]] = [
    ("args", [*NO_LIST, None, [1], [None], ["ls", True], ["ls", WrongPath()]], [[], (), [""], ["a\0"], ["\ud800"]]),
    ("args", [], [["x" * (128 << 10)], ["x"] * (1 << 20)]),
    ("env", NO_MAP, [{"": "x"}, {"a=b": "x"}, {"a": "x\0"}, {"a": "\udfff\ud800"}]),
    ("env", [{"a": 1}, {"a": None}, {1: "a"}], []),
    ("cwd", NO_NAME, [*BAD_NAME, "", "relative", "/a/../b", "/proc/self"]),
    ("timeout", NO_TIME, [*BAD_TIME, 0, 0.0]),
    ("grace", NO_TIME, BAD_TIME),
    ("output_bytes", NO_INT, [*BAD_INT, (1 << 30) + 1]),
    ("on_overflow", NO_TEXT, ["", "KILL", "stop"]),
    ("memory_bytes", NO_INT, [*BAD_INT, 0, 4096]),
    ("cpu_seconds", NO_INT, [*BAD_INT, 0]),
    ("cancel", [1, object(), sandboxset.CancelToken], []),
]
GET: list[tuple[str, list[Any], list[Any]]] = [
    ("timeout", NO_TIME, BAD_TIME),
    ("no_wait", [1, 0, "yes", object()], []),
    ("acquire", NO_TEXT, ["", "ANY", "reuse-only", "\ud800"]),
    ("cancel", [1, object()], []),
]


def rows(table: list[tuple[str, list[Any], list[Any]]]) -> list[Any]:
    return [
        pytest.param(field, value, kind, id=f"{field}-{kind.__name__}-{number}")
        for field, types, values in table
        for kind, bad in [(TypeError, types), (InvalidArgumentError, values)]
        for number, value in enumerate(bad)
    ]


def refuse(call: Callable[[], Any], field: str, kind: type[Exception]) -> None:
    """The call must fail in the one right way: the type, the name of the argument, no raw control characters."""
    with pytest.raises((TypeError, InvalidArgumentError)) as caught:
        call()
    error = caught.value
    assert type(error) is kind, f"{type(error).__name__}: {error}"
    text = str(error)
    assert field in text
    assert text.isprintable()
    assert len(text) < 20_000
    if isinstance(error, InvalidArgumentError):
        assert error.field is not None and error.field.startswith(field.split("[")[0])
        assert isinstance(error, ValueError)
        assert (error.code, error.retryable) == (1, False)


@pytest.mark.parametrize(("field", "value", "kind"), rows(SET))
def test_set(mock: sandboxset.MockBackend, field: str, value: Any, kind: type[Exception]) -> None:
    arguments: dict[str, Any] = {"backend": mock, field: value}
    refuse(lambda: sandboxset.SandboxSet(**arguments), field, kind)
    assert (mock.live(), mock.calls("create")) == (0, 0)


@pytest.mark.parametrize(("field", "value", "kind"), rows(LIMITS))
def test_limits(mock: sandboxset.MockBackend, field: str, value: Any, kind: type[Exception]) -> None:
    limits = Limits(**{field: value})
    refuse(lambda: sandboxset.SandboxSet(mock, limits=limits), f"limits.{field}", kind)


@pytest.mark.parametrize(
    ("runtime", "field", "kind"),
    [
        (Runtime([]), "runtime.args", InvalidArgumentError),
        (Runtime("python3"), "runtime.args", TypeError),
        (Runtime([1]), "runtime.args", TypeError),  # type: ignore[list-item]
        (Runtime(["a\0"]), "runtime.args", InvalidArgumentError),
        (Runtime(["a"], env={"": "x"}), "runtime.env", InvalidArgumentError),
        (Runtime(["a"], env=["x"]), "runtime.env", TypeError),  # type: ignore[arg-type]
        (Runtime(["a"], ready_timeout=0), "runtime.ready_timeout", InvalidArgumentError),
        (Runtime(["a"], ready_timeout=True), "runtime.ready_timeout", TypeError),
        (Runtime(["a"], forks=1), "runtime.forks", TypeError),
    ],
)
def test_runtime(mock: sandboxset.MockBackend, runtime: Runtime, field: str, kind: type[Exception]) -> None:
    refuse(lambda: sandboxset.SandboxSet(mock, runtime=runtime), field, kind)


@pytest.mark.parametrize(
    ("bind", "field", "kind"),
    [
        (Bind("/no/such", "/x"), "binds.source", InvalidArgumentError),
        (Bind("", "/x"), "binds.source", InvalidArgumentError),
        (Bind("/dev/null", "/x"), "binds.source", InvalidArgumentError),
        (Bind(1, "/x"), "binds.source", TypeError),  # type: ignore[arg-type]
        (Bind("/usr", "x"), "binds.target", InvalidArgumentError),
        (Bind("/usr", "/a/../b"), "binds.target", InvalidArgumentError),
        (Bind("/usr", "/"), "binds.target", InvalidArgumentError),
        (Bind("/usr", "/proc/x"), "binds.target", InvalidArgumentError),
        (Bind("/usr", None), "binds.target", TypeError),  # type: ignore[arg-type]
        (Bind("/usr", "/x", writable=1), "binds.writable", TypeError),  # type: ignore[arg-type]
    ],
)
def test_binds(mock: sandboxset.MockBackend, bind: Bind, field: str, kind: type[Exception]) -> None:
    refuse(lambda: sandboxset.SandboxSet(mock, binds=[bind]), field, kind)


@pytest.mark.parametrize(("field", "value", "kind"), rows(GET))
def test_get(
    mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet, field: str, value: Any, kind: type[Exception]
) -> None:
    refuse(lambda: pool.get_or_create_unpaused(**{field: value}), field, kind)
    stats = pool.stats()
    assert (mock.live(), mock.calls("create"), stats.gets, stats.waiting) == (0, 0, 0, 0)


@pytest.mark.parametrize(("field", "value", "kind"), rows(COMMAND))
@pytest.mark.parametrize("method", ["exec", "spawn"])
def test_command(
    mock: sandboxset.MockBackend,
    pool: sandboxset.SandboxSet,
    method: str,
    field: str,
    value: Any,
    kind: type[Exception],
) -> None:
    arguments: dict[str, Any] = {"args": ["true"], field: value}
    with pool.get_or_create_unpaused() as sandbox:
        refuse(lambda: getattr(sandbox, method)(**arguments), field, kind)
        assert (mock.live(), mock.calls("exec"), sandbox.state) == (1, 0, "held")
    # A mistake of the caller says nothing against the sandbox.
    assert pool.stats().idle == 1


@pytest.mark.parametrize("value", NO_BYTES)
def test_exec_stdin(pool: sandboxset.SandboxSet, value: Any) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        refuse(lambda: sandbox.exec(["true"], stdin=value), "stdin", TypeError)


def test_spawn_stdin(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        refuse(lambda: sandbox.spawn(["true"], stdin="text"), "stdin", InvalidArgumentError)  # type: ignore[arg-type]
        refuse(lambda: sandbox.spawn(["true"], stdin=1), "stdin", TypeError)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", NO_NAME)
def test_paths_of_wrong_type(pool: sandboxset.SandboxSet, value: Any) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        refuse(lambda: sandbox.read_file(value), "path", TypeError)
        refuse(lambda: sandbox.write_file(value, b""), "path", TypeError)
        refuse(lambda: sandbox.list_dir(value), "path", TypeError)
        refuse(lambda: sandbox.remove(value), "path", TypeError)


@pytest.mark.parametrize("value", ["\ud800", "x\ud800"])
def test_paths_that_cannot_be(pool: sandboxset.SandboxSet, value: str) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        refuse(lambda: sandbox.read_file(value), "path", InvalidArgumentError)
        refuse(lambda: sandbox.write_file(value, b""), "path", InvalidArgumentError)
        refuse(lambda: sandbox.list_dir(value), "path", InvalidArgumentError)
        refuse(lambda: sandbox.remove(value), "path", InvalidArgumentError)


def test_the_other_methods_of_a_ref(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        for value in NO_BYTES:
            refuse(lambda value=value: sandbox.write_file("x", value), "data", TypeError)
            refuse(lambda value=value: sandbox.call(value), "request", TypeError)
        for value in NO_INT:
            refuse(lambda value=value: sandbox.read_file("x", max_bytes=value), "max_bytes", TypeError)
            refuse(lambda value=value: sandbox.list_dir("x", max_entries=value), "max_entries", TypeError)
            refuse(lambda value=value: sandbox.write_file("x", b"", mode=value), "mode", TypeError)
            refuse(lambda value=value: sandbox.log(max_bytes=value), "max_bytes", TypeError)
        for value in BAD_INT:
            refuse(lambda value=value: sandbox.read_file("x", max_bytes=value), "max_bytes", InvalidArgumentError)
            refuse(lambda value=value: sandbox.write_file("x", b"", mode=value), "mode", InvalidArgumentError)
        for value in BAD_TIME:
            refuse(lambda value=value: sandbox.connect(timeout=value), "timeout", InvalidArgumentError)
            refuse(lambda value=value: sandbox.call(b"", timeout=value), "timeout", InvalidArgumentError)
        for value in NO_TEXT:
            refuse(lambda value=value: sandbox.destroy(value), "reason", TypeError)
            refuse(lambda value=value: sandbox.taint(value), "reason", TypeError)
        refuse(lambda: sandbox.destroy("\ud800"), "reason", InvalidArgumentError)
        assert sandbox.state == "held"


def test_the_other_methods_of_a_set(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    for value in NO_INT:
        refuse(lambda value=value: pool.prewarm(value), "count", TypeError)
        refuse(lambda value=value: pool.shrink(value), "keep", TypeError)
        refuse(lambda value=value: pool.events(capacity=value), "capacity", TypeError)
    for value in BAD_INT:
        refuse(lambda value=value: pool.prewarm(value), "count", InvalidArgumentError)
        refuse(lambda value=value: pool.shrink(value), "keep", InvalidArgumentError)
        refuse(lambda value=value: pool.events(capacity=value), "capacity", InvalidArgumentError)
    for value in BAD_TIME:
        refuse(lambda value=value: pool.prewarm(1, timeout=value), "timeout", InvalidArgumentError)
        refuse(lambda value=value: pool.drain(value), "deadline", InvalidArgumentError)
        refuse(lambda value=value: pool.close(value), "deadline", InvalidArgumentError)
    for value in NO_TIME:
        refuse(lambda value=value: pool.drain(value), "deadline", TypeError)
        refuse(lambda value=value: pool.close(value), "deadline", TypeError)
    assert mock.live() == 0
    pool.get_or_create_unpaused().put()


def test_the_backends() -> None:
    mock = sandboxset.MockBackend()
    refuse(lambda: mock.fault_at("run", 1, MockFault.hang()), "operation", InvalidArgumentError)  # type: ignore[arg-type]
    refuse(lambda: mock.fault_at("exec", 0, MockFault.hang()), "nth", InvalidArgumentError)
    refuse(lambda: mock.fault_at("exec", True, MockFault.hang()), "nth", TypeError)
    refuse(lambda: mock.fault_at("exec", 1, "fail"), "fault", TypeError)  # type: ignore[arg-type]
    refuse(lambda: mock.calls(1), "operation", TypeError)  # type: ignore[arg-type]
    refuse(lambda: MockFault.delay(-1), "seconds", InvalidArgumentError)
    refuse(lambda: MockFault.fail(1), "cause", TypeError)  # type: ignore[arg-type]
    refuse(lambda: sandboxset.ManualClock().advance(-1), "by", InvalidArgumentError)
    refuse(lambda: sandboxset.LinuxBackend(keeper=1), "keeper", TypeError)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.get_or_create_unpaused(timeuot=1),
        lambda pool: pool.get_or_create_unpaused(1),
        lambda pool: sandboxset.SandboxSet(maxsize=1),
        lambda pool: sandboxset.SandboxSet(sandboxset.MockBackend(), sandboxset.MockBackend()),
        lambda pool: sandboxset.SandboxRef(),
        lambda pool: sandboxset.Output(),
        lambda pool: pool.prewarm(),
    ],
)
def test_unknown_and_missing_arguments(pool: sandboxset.SandboxSet, call: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        call(pool)


def test_what_a_conversion_raises_is_passed_on(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        for call in (
            lambda: sandbox.exec([Evil()]),  # type: ignore[list-item]
            lambda: sandbox.read_file(Evil()),  # type: ignore[arg-type]
            lambda: pool.prewarm(Evil()),  # type: ignore[arg-type]
            lambda: sandbox.exec(["true"], output_bytes=Evil()),  # type: ignore[arg-type]
        ):
            with pytest.raises(RuntimeError, match="evil"):
                call()
        assert sandbox.state == "held"


def test_a_list_that_changes_during_the_call(pool: sandboxset.SandboxSet) -> None:
    args: list[Any] = []

    class Grows:
        def __fspath__(self) -> str:
            args.clear()
            args.extend(["x"] * 1000)
            return "true"

    args.extend([Grows(), "a"])
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.exec(args).outcome


def test_what_is_accepted(mock: sandboxset.MockBackend, tmp_path: Path) -> None:
    class Index:
        def __index__(self) -> int:
            return 3

    with sandboxset.SandboxSet(
        mock,
        code_dir=tmp_path,
        binds=(Bind(tmp_path, b"/data"),),
        env={"A": "1", "B": "\udcff"},
        limits=Limits(memory_bytes=64 << 20, pids=8, cpus=1),
        runtime=Runtime(["python3", tmp_path], env={}, ready_timeout=1),
        max_size=Index(),  # type: ignore[arg-type]
        get_timeout=1,
        scratch_dirs=str(tmp_path),
        reuse="keep",
    ) as pool:
        with pool.get_or_create_unpaused(timeout=1, acquire="any", no_wait=False) as sandbox:
            out = sandbox.exec(("a", b"\xff", Path("c")), stdin=bytearray(b"x"), env={"C": b"\xff"}, cwd="/", timeout=1)  # type: ignore[dict-item]
            assert out.outcome
            sandbox.exec(["a"], stdin=memoryview(b"x"), on_overflow="kill", output_bytes=0, grace=0)
