"""The Python runtime without a parent: handlers, JSON, errors, and where its interpreter comes from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sandboxset
from conftest import PATIENCE
from sandboxset import PythonRuntime, SandboxSet

HANDLERS = """
import json, os, sys

def echo(request):
    return request

def upper(request):
    return bytearray(request.upper())

def length(request):
    return b"%d" % len(request)

def grow(request):
    return b"x" * int(request)

def fail(request):
    raise ValueError("no good: " + request.decode())

def leave(request):
    sys.exit(3)

class Ugly(Exception):
    def __str__(self):
        raise RuntimeError("cannot even be shown")

def ugly(request):
    raise Ugly

def wrong(request):
    return "text"

def end(request):
    os._exit(7)

def add(value):
    return {"sum": sum(value["numbers"]), "echo": value}

def unserialisable(value):
    return {1, 2}

def where(value):
    return {
        "executable": sys.executable, "prefix": sys.prefix, "base_prefix": sys.base_prefix, "path": sys.path,
        "version": list(sys.version_info[:2]), "modules": sorted(sys.modules), "argv": sys.argv,
        "environment": dict(os.environ), "cwd": os.getcwd(),
    }

def evaluate(source):
    names = {}
    exec(source, names)
    return names["answer"]

class Greeter:
    def greet(self, request):
        return b"hello " + request

greeter = Greeter()
number = 3
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    # As root every sandbox is a user of its own.
    tmp_path.chmod(0o755)
    (tmp_path / "app.py").write_text(HANDLERS)
    (tmp_path / "broken.py").write_text("import no_such_module_at_all\n")
    return tmp_path


Call = Callable[..., Any]


@pytest.fixture
def serving(app: Path, linux: SandboxSet) -> Iterator[Callable[..., SandboxSet]]:
    """Makes sets whose runtime is a Python one; closes them."""
    sets: list[SandboxSet] = []

    def make(handler: str, **options: Any) -> SandboxSet:
        recipe = {name: options.pop(name) for name in ("root", "limits", "layers") if name in options}
        pool = SandboxSet(runtime=PythonRuntime(handler=handler, **options), code_dir=app, max_size=2, **recipe)
        sets.append(pool)
        return pool

    yield make
    for pool in sets:
        assert pool.close(PATIENCE).survivors == ()


def test_a_handler_answers(serving: Call) -> None:
    with serving("app:upper").get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"hello") == b"HELLO"
        assert sandbox.call(b"") == b""
        assert sandbox.call(bytes(range(256))) == bytes(range(256)).upper()
    with serving("app:greeter.greet").get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"you") == b"hello you"


def test_large_requests_and_answers(serving: Call) -> None:
    most = 64 << 20
    limits = sandboxset.Limits(memory_bytes=1 << 30)
    with serving("app:length", limits=limits).get_or_create_unpaused() as sandbox:
        for size in [1, 65536, (1 << 20) + 1, most]:
            assert sandbox.call(bytes(size), timeout=PATIENCE) == b"%d" % size
        with pytest.raises(sandboxset.TooBigError):
            sandbox.call(bytes(most + 1))
        assert sandbox.call(b"still") == b"5"
    with serving("app:grow", limits=limits).get_or_create_unpaused() as sandbox:
        for size in [0, 1, 65537, most]:
            assert sandbox.call(b"%d" % size, timeout=PATIENCE) == b"x" * size
        with pytest.raises(sandboxset.HandlerFailedError, match="more than"):
            sandbox.call(b"%d" % (most + 1), timeout=PATIENCE)
        assert sandbox.call(b"3") == b"xxx"


def test_an_exception_is_an_answer_and_the_runtime_lives_on(serving: Call) -> None:
    with serving("app:fail") as pool:
        sandbox = pool.get_or_create_unpaused()
        with pytest.raises(sandboxset.HandlerFailedError, match="ValueError: no good: \u00fc") as caught:
            sandbox.call("\u00fc".encode())
        error = caught.value
        assert (error.code, error.name, error.phase, error.retryable) == (26, "HANDLER_FAILED", "connect", False)
        assert error.sandbox_id == sandbox.id
        assert error.cause is not None and 'raise ValueError("no good' in error.cause
        # Neither does it spoil the sandbox for the next holder.
        first = sandbox.id
        sandbox.put()
        with pool.get_or_create_unpaused() as sandbox:
            assert (sandbox.id, sandbox.reused) == (first, True)
            assert b"ValueError: no good" in sandbox.log()
    for handler, text in [
        ("app:leave", "SystemExit: 3"),
        ("app:ugly", "Ugly"),
        ("app:wrong", "TypeError: the handler returned a str, not bytes"),
    ]:
        with serving(handler).get_or_create_unpaused() as sandbox:
            for _ in range(2):
                with pytest.raises(sandboxset.HandlerFailedError, match=text):
                    sandbox.call(b"x")
            assert sandbox.state == "held"


def test_a_runtime_that_ends_is_no_failed_call(serving: Call) -> None:
    with serving("app:end").get_or_create_unpaused() as sandbox:
        with pytest.raises(sandboxset.SandboxDeadError):
            sandbox.call(b"x")
        sandbox.destroy()


def test_json(serving: Call) -> None:
    with serving("app:add", json=True).get_or_create_unpaused() as sandbox:
        value = {"numbers": [1, 2, 3.5], "text": "\u00fc\0", "none": None}
        assert sandbox.call_json(value) == {"sum": 6.5, "echo": value}
        assert sandbox.call(b'{"numbers":[]}') == b'{"sum":0,"echo":{"numbers":[]}}'
        with pytest.raises(sandboxset.HandlerFailedError, match="KeyError: 'numbers'"):
            sandbox.call_json({})
        with pytest.raises(sandboxset.HandlerFailedError, match="JSONDecodeError"):
            sandbox.call(b"{")
        with pytest.raises(TypeError, match="set"):
            sandbox.call_json({1})
        with pytest.raises(TypeError, match="timeout"):
            sandbox.call_json(1, timeout="soon")
        assert sandbox.call_json({"numbers": [1]})["sum"] == 1
    with serving("app:unserialisable", json=True).get_or_create_unpaused() as sandbox:
        with pytest.raises(sandboxset.HandlerFailedError, match="TypeError.*set"):
            sandbox.call_json(None)
    # A handler of bytes may speak JSON by itself, or not.
    with serving("app:echo").get_or_create_unpaused() as sandbox:
        assert sandbox.call_json([1, {"a": None}]) == [1, {"a": None}]
    with serving("app:upper").get_or_create_unpaused() as sandbox, pytest.raises(ValueError, match="Expecting value"):
        sandbox.call_json(None)


def test_calls_from_many_threads_and_streams_left_half_way(serving: Call) -> None:
    with serving("app:echo").get_or_create_unpaused() as sandbox:
        stale = sandbox.connect()
        stale.write(b"\x10\0\0\0half")

        def work(number: int) -> None:
            for count in range(20):
                request = b"%d.%d" % (number, count) * 1000
                assert sandbox.call(request, timeout=PATIENCE) == request

        with ThreadPoolExecutor(4) as threads:
            # Raises what was raised in any of them.
            list(threads.map(work, range(4)))
        stale.write(b"-and-the-rest")
        assert stale.read(100, timeout=PATIENCE)[:4] == b"\x10\0\0\0"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"handler": "nowhere:handle"}, "handler nowhere:handle: ModuleNotFoundError: No module named 'nowhere'"),
        ({"handler": "app:missing"}, "handler app:missing: AttributeError"),
        ({"handler": "app:number"}, "handler app:number: a int cannot be called"),
        ({"handler": "broken:handle"}, "handler broken:handle: ModuleNotFoundError.*no_such_module_at_all"),
        ({"handler": "app:echo", "preload": ["json", "nonsense"]}, "preload nonsense: ModuleNotFoundError"),
        ({"preload": ["no.such"]}, "preload no.such: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_imported_is_named(app: Path, linux: SandboxSet, options: dict[str, Any], text: str) -> None:
    with SandboxSet(runtime=PythonRuntime(**options), code_dir=app) as pool:
        with pytest.raises(sandboxset.CreateFailedError, match=text):
            pool.get_or_create_unpaused(timeout=PATIENCE)


def test_code_that_cannot_be_read_is_said_to_be(linux: SandboxSet, app: Path) -> None:
    app.chmod(0)
    with SandboxSet(runtime=PythonRuntime(handler="app:echo"), code_dir=app) as pool:
        with pytest.raises(sandboxset.CreateFailedError, match="/code: the user of the sandbox may not read it"):
            pool.get_or_create_unpaused(timeout=PATIENCE)
    app.chmod(0o755)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"preload": ["a b"]}, "preload"),
        ({"preload": [""]}, "preload"),
        ({"handler": "app"}, "handler"),
        ({"handler": "app:"}, "handler"),
        ({"handler": "../app:f"}, "handler"),
        ({"paths": ["/no/such/place"]}, "runtime.brings.source"),
        ({"ready_timeout": 0}, "runtime.ready_timeout"),
    ],
)
def test_bad_values_are_named(mock: sandboxset.MockBackend, options: dict[str, Any], field: str) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError) as caught:
        SandboxSet(mock, runtime=PythonRuntime(**options))
    assert caught.value.field == field


@pytest.mark.parametrize(
    "options", [{"preload": "json"}, {"preload": [1]}, {"handler": 1}, {"json": 1}, {"paths": 1}, {"interpreter": 1}]
)
def test_wrong_types_are_refused(mock: sandboxset.MockBackend, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"runtime.{next(iter(options))}"):
        SandboxSet(mock, runtime=PythonRuntime(**options))


def test_it_is_the_interpreter_of_the_caller(serving: Call, app: Path) -> None:
    more = app / "more"
    more.mkdir()
    (more / "extra.py").write_text("answer = 42\n")
    pool = serving("app:where", json=True, preload=["extra"], paths=[more], env={"GREETING": "hi"})
    with pool.get_or_create_unpaused() as sandbox:
        there = sandbox.call_json(None)
        assert (there["executable"], there["prefix"]) == (sys.executable, sys.prefix)
        assert (there["base_prefix"], tuple(there["version"])) == (sys.base_prefix, sys.version_info[:2])
        assert there["path"][:2] == ["/code", str(more)]
        assert "extra" in there["modules"] and "numpy" not in there["modules"]
        assert (there["environment"]["GREETING"], there["cwd"]) == ("hi", "/scratch")
        assert "/run" not in "".join(there["path"])
        # The packages are there too, and nothing of it can be changed.
        out = sandbox.exec([sys.executable, "-c", "import pytest, sys; print(pytest.__file__, sys.prefix)"])
        assert out.stdout.split() == [pytest.__file__, sys.prefix], out.stderr
        for path in [sys.prefix, "/run/sandboxset", "/run/sandboxset/sandboxset_runtime/calls.py", str(more)]:
            script = f"chmod 777 {path}; touch {path}/x; rm -rf {path}; mv {path} {path}.x; test -e {path} && echo ok"
            out = sandbox.exec(["/bin/sh", "-c", script])
            assert out.stdout == "ok\n", out
            assert out.stderr.count("Read-only file system") + out.stderr.count("busy") >= 3, out.stderr
        assert sandbox.call_json(None)["cwd"] == "/scratch"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a package of its own."""
    directory = tmp_path_factory.mktemp("environment")
    directory.chmod(0o755)
    path = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True, timeout=PATIENCE)
    packages = next(path.glob("lib/python*/site-packages"))
    (packages / "only_here.py").write_text("answer = b'in the environment'\ndef handle(request): return answer\n")
    # Where this package itself is found.
    (packages / "ours.pth").write_text(str(Path(sandboxset.__file__).parents[1]))
    return path


@pytest.mark.usefixtures("linux")
def test_it_works_from_a_virtual_environment(environment: Path) -> None:
    program = """
import sandboxset
with sandboxset.SandboxSet(runtime=sandboxset.PythonRuntime(handler="only_here:handle")) as pool:
    with pool.get_or_create_unpaused() as sandbox:
        print(sandbox.call(b"").decode())
"""
    done = subprocess.run(
        [environment / "bin" / "python", "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "in the environment\n", done.stderr


def test_the_interpreter_of_the_root(serving: Call) -> None:
    own = shutil.which("python3", path="/usr/bin")
    if own is None:
        pytest.skip("no Python in the host's root")
    with serving("app:where", json=True, interpreter=own).get_or_create_unpaused() as sandbox:
        there = sandbox.call_json(None)
        assert there["prefix"].startswith("/usr")
        assert sandbox.exec(["/bin/ls", sys.prefix]).success is sys.prefix.startswith("/usr")
