"""The Node runtime: handlers of both kinds of modules, JSON, promises, errors; and that it is no parent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sandboxset
from conftest import PATIENCE
from sandboxset import Limits, NodeRuntime, SandboxSet

HANDLERS = """
exports.upper = (request) => request.toString().toUpperCase();
exports.echo = (request) => request;
exports.add = ({ numbers }) => ({ sum: numbers.reduce((a, b) => a + b, 0) });
exports.later = async (request) => { await new Promise((done) => setTimeout(done, 10)); return `late ${request}`; };
exports.fail = (request) => { throw new RangeError(`no good: ${request}`); };
exports.reject = async (request) => { throw request.toString(); };
exports.wrong = () => 3;
exports.loose = (request) => { setImmediate(() => { throw new Error("too late"); }); return "first"; };
exports.number = 3;
let calls = 0;
exports.count = () => `${++calls}`;
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "app.js").write_text(HANDLERS)
    (tmp_path / "modern.mjs").write_text("export const handle = (request) => `modern ${request}`;\n")
    (tmp_path / "broken.js").write_text("require('no-such-module-at-all');\n")
    return tmp_path


@pytest.fixture
def serving(app: Path, linux: SandboxSet) -> Iterator[Callable[..., SandboxSet]]:
    """Makes sets whose runtime is a Node one; closes them."""
    if shutil.which("node") is None:
        pytest.skip("SKIPPED: no node on this host")
    sets: list[SandboxSet] = []

    def make(handler: str, **options: Any) -> SandboxSet:
        runtime = NodeRuntime(handler=handler, **options)
        # Without a memory cgroup this bounds address space, which Node reserves much of.
        sets.append(SandboxSet(runtime=runtime, code_dir=app, max_size=2, limits=Limits(memory_bytes=1 << 30)))
        return sets[-1]

    yield make
    for pool in sets:
        assert pool.close(PATIENCE).survivors == ()


Make = Callable[..., SandboxSet]


@pytest.mark.parametrize(
    ("handler", "answer"),
    [("app:upper", b"X"), ("app.js:echo", b"x"), ("app:later", b"late x"), ("modern:handle", b"modern x")],
)
def test_a_handler_answers(serving: Make, handler: str, answer: bytes) -> None:
    with serving(handler).get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"x", timeout=PATIENCE) == answer


def test_it_stays_warm_and_takes_large_requests(serving: Make) -> None:
    pool = serving("app:count")
    for count in range(1, 4):
        with pool.get_or_create_unpaused() as sandbox:
            assert sandbox.call(b"") == b"%d" % count
    with serving("app:echo").get_or_create_unpaused() as sandbox:
        for size in [0, 1, 65536, (4 << 20) + 1]:
            assert sandbox.call(b"x" * size, timeout=PATIENCE) == b"x" * size


def test_json(serving: Make) -> None:
    with serving("app:add", json=True).get_or_create_unpaused() as sandbox:
        assert sandbox.call_json({"numbers": [1, 2, 3.5]}) == {"sum": 6.5}
        with pytest.raises(sandboxset.HandlerFailedError, match="TypeError"):
            sandbox.call_json({})
        with pytest.raises(sandboxset.HandlerFailedError, match="SyntaxError"):
            sandbox.call(b"{")
        assert sandbox.call_json({"numbers": [1]}) == {"sum": 1}


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("app:fail", "RangeError: no good: x"),
        ("app:reject", "the handler failed: x"),
        ("app:wrong", "TypeError: the handler returned number"),
    ],
)
def test_an_exception_is_an_answer_and_the_runtime_lives_on(serving: Make, handler: str, text: str) -> None:
    with serving(handler).get_or_create_unpaused() as sandbox:
        for _ in range(2):
            with pytest.raises(sandboxset.HandlerFailedError, match=text):
                sandbox.call(b"x")
        assert sandbox.state == "held"


def test_what_fails_after_its_answer_ends_nothing(serving: Make) -> None:
    with serving("app:loose").get_or_create_unpaused() as sandbox:
        for _ in range(3):
            assert sandbox.call(b"") == b"first"
        assert sandbox.state == "held"


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        ("nowhere:handle", "handler nowhere:handle: Error: Cannot find package 'nowhere'"),
        ("app:missing", "handler app:missing: TypeError: it exports no function missing"),
        ("app:number", "it exports no function number"),
        ("broken:handle", "handler broken:handle: Error: Cannot find module 'no-such-module-at-all'"),
    ],
)
def test_what_cannot_be_loaded_is_named(serving: Make, handler: str, text: str) -> None:
    with pytest.raises(sandboxset.CreateFailedError, match=text):
        serving(handler).get_or_create_unpaused(timeout=PATIENCE)


def test_it_is_no_parent(serving: Make) -> None:
    with pytest.raises(sandboxset.UnsupportedError, match="Node has threads and cannot be forked") as caught:
        SandboxSet(parent=serving("app:echo"))
    assert caught.value.phase == "configure"


def test_bad_values_are_named(mock: sandboxset.MockBackend) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError, match="module:function"):
        SandboxSet(mock, runtime=NodeRuntime(handler="app", interpreter="/usr/bin/node"))
    with pytest.raises(TypeError, match="runtime.handler"):
        SandboxSet(mock, runtime=NodeRuntime(handler=3))  # type: ignore[arg-type]
