"""Forks of a Python runtime: what they share with their parent, and what they must not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import sandboxset
from conftest import PATIENCE, eventually
from sandboxset import LateBinding, PythonRuntime, SandboxSet

HANDLERS = """
import os, sys

def evaluate(source):
    names = {}
    exec(source, names)
    return names["answer"]

def hello(request):
    return b"hello " + request
"""
#: What draws on each random source, after the parent has.
RANDOM = {
    "random": "import random; answer = random.getrandbits(128)",
    "uuid1 node and sequence": "import uuid; one = uuid.uuid1(); answer = [one.node, one.clock_seq]",
    "uuid4": "import uuid; answer = str(uuid.uuid4())",
    "ssl": "import ssl; answer = ssl.RAND_bytes(16).hex()",
    "tempfile": "import tempfile; answer = [next(tempfile._get_candidate_names()) for _ in range(2)]",
    "secrets": "import secrets; answer = secrets.token_hex()",
    "urandom": "import os; answer = os.urandom(16).hex()",
    "authkey": "import multiprocessing; answer = bytes(multiprocessing.current_process().authkey).hex()",
}
NUMPY = {"numpy": "import numpy; answer = numpy.random.bytes(16).hex()"}
#: A module that has drawn on every source before it is forked, so that nothing is fresh by having never been used.
DRAWN = "names = {}\nfor source in SOURCES:\n    exec(source, names)\n"

Make = Callable[..., SandboxSet]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    path.mkdir(mode=0o755)
    (path / "app.py").write_text(HANDLERS)
    return path


@pytest.fixture
def make(linux: SandboxSet) -> Iterator[Make]:
    """Makes sets; closes them, children first, and makes sure that nothing is left."""
    sets: list[SandboxSet] = []

    def make(**options: Any) -> SandboxSet:
        sets.append(SandboxSet(**options))
        return sets[-1]

    yield make
    for pool in reversed(sets):
        assert pool.close(PATIENCE).survivors == ()


def evaluate(sandbox: sandboxset.SandboxRef, source: str) -> Any:
    return sandbox.call_json(source, timeout=PATIENCE)


def test_the_example_of_the_documentation(make: Make, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(app.parent)
    preloaded = make(runtime=PythonRuntime(preload=["json"]))
    pool = make(parent=preloaded, runtime=PythonRuntime(handler="app:hello"), code_dir="./app")
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"fork") == b"hello fork"
    assert (preloaded.stats().created, preloaded.stats().forks) == (1, 1)


def test_a_fork_has_what_was_preloaded_and_an_environment_of_its_own(make: Make, app: Path) -> None:
    (app / "prepared.py").write_text("import os\nvalue = [os.getpid(), dict(os.environ)]\n")
    parents = make(runtime=PythonRuntime(preload=["prepared", "decimal"], env={"OF": "parent"}), code_dir=app)
    child = PythonRuntime(handler="app:evaluate", json=True, env={"OF": "child"})
    pool = make(parent=parents, runtime=child, code_dir=app)
    with pool.get_or_create_unpaused() as first, pool.get_or_create_unpaused() as second:
        look = "import os, sys, prepared; answer = [prepared.value, dict(os.environ), 'decimal' in sys.modules]"
        (parents_pid, parents_environment), environment, loaded = evaluate(first, look)
        assert loaded and isinstance(parents_pid, int)
        assert (parents_environment["OF"], environment["OF"]) == ("parent", "child")
        assert "SANDBOXSET_FORK_FD" in parents_environment and "SANDBOXSET_FORK_FD" not in environment
        assert parents_environment["OPENBLAS_NUM_THREADS"] == "1" and "OPENBLAS_NUM_THREADS" not in environment
        # What one changes, the other does not see.
        evaluate(first, "import prepared; prepared.value = answer = 'changed'")
        assert evaluate(second, "import prepared; answer = prepared.value")[0] == parents_pid
        # It can start programs and wait for them, have threads, and catch signals.
        programs = "import subprocess; answer = subprocess.run(['/bin/sh', '-c', 'exit 3']).returncode"
        assert evaluate(first, programs) == 3
        threads = """
import threading
found = []
thread = threading.Thread(target=lambda: found.append(threading.current_thread() is not threading.main_thread()))
thread.start(); thread.join()
answer = found + [threading.current_thread() is threading.main_thread(), threading.active_count()]
"""
        assert evaluate(first, threads) == [True, True, 1]
        signals = """
import os, signal
caught = []
signal.signal(signal.SIGUSR1, lambda number, frame: caught.append(number))
os.kill(os.getpid(), signal.SIGUSR1)
answer = [caught, signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, signal.getsignal(signal.SIGINT) is not None]
"""
        assert evaluate(first, signals) == [[10], True, True]
        assert evaluate(first, "import gc; answer = gc.get_freeze_count() > 1000") is True


def test_a_fork_sees_the_code_of_its_own_set(make: Make, tmp_path: Path) -> None:
    for name in ["one", "two"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / f"only_{name}.py").write_text("")
        (tmp_path / name / "app.py").write_text(f"def which(request): return b'{name}'\n")
    parents = make(runtime=PythonRuntime(preload=["only_one"]), code_dir=tmp_path / "one")
    for name in ["one", "two"]:
        pool = make(parent=parents, runtime=PythonRuntime(handler="app:which"), code_dir=tmp_path / name)
        with pool.get_or_create_unpaused() as sandbox:
            assert sandbox.call(b"") == name.encode()


@pytest.mark.parametrize("kind", ["standard", "handler of the parent", "forks of a fork", "numpy"])
def test_two_forks_differ_in_every_random_source(make: Make, app: Path, kind: str) -> None:
    sources = dict(RANDOM)
    if kind == "numpy":
        sources = dict(NUMPY)
    (app / "drawn.py").write_text(f"SOURCES = {list(sources.values())!r}\n{DRAWN}")
    preload = ["drawn", "app"] if kind == "handler of the parent" else ["drawn"]
    parents = make(runtime=PythonRuntime(preload=preload), code_dir=app, max_size=1)
    if kind == "forks of a fork":
        # It has drawn before its forks do, too.
        parents = make(parent=parents, runtime=PythonRuntime(preload=["drawn_again"]), code_dir=app)
        (app / "drawn_again.py").write_text("import drawn, importlib\nimportlib.reload(drawn)\n")
    pool = make(parent=parents, runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    held = [pool.get_or_create_unpaused() for _ in range(3)]
    # Then the others have waited for it.
    eventually(lambda: parents.stats().idle > 0)
    held += [pool.get_or_create_unpaused() for _ in range(2)]
    for name, source in sources.items():
        answers = [str(evaluate(sandbox, source)) for sandbox in held]
        assert len(set(answers)) == len(held), f"{name}: {answers}"
    # What nobody can renew is the same, so that forks would be caught at being alike.
    alike = [evaluate(sandbox, "answer = hash('a string')") for sandbox in held]
    assert len(set(alike)) == 1
    for sandbox in held:
        sandbox.put()


@pytest.mark.parametrize("handler", ["app:evaluate", "told:evaluate"])
def test_a_fork_hears_of_it_once_and_when_it_has_something_to_do(make: Make, app: Path, handler: str) -> None:
    told = "import os, time\ntimes = []\nos.register_at_fork(after_in_child=lambda: times.append(time.monotonic()))\n"
    (app / "told.py").write_text(told + HANDLERS)
    parents = make(runtime=PythonRuntime(preload=["told"]), code_dir=app, max_size=1)
    pool = make(parent=parents, runtime=PythonRuntime(handler=handler, json=True), code_dir=app, max_size=8)

    def check() -> None:
        asked = time.monotonic()
        with pool.get_or_create_unpaused(acquire="fresh_only") as sandbox:
            got = time.monotonic()
            (heard,) = evaluate(sandbox, "import told; answer = told.times")
            # What it was told when it was wanted it knows, and of the rehearsal it knows nothing.
            shown = "import os, sys; answer = [sys.argv[-2:], os.environ['SANDBOXSET_SOCKET'], os.listdir('/tmp')]"
            assert evaluate(sandbox, shown) == [[f"handler={handler}", "json=1"], "/scratch/runtime.sock", []]
        if handler == "app:evaluate":
            assert asked < heard < got
        else:
            # The parent had imported the handler, so nothing was to be done before the first call.
            assert got < heard

    check()
    # The next one has waited to be wanted.
    eventually(lambda: parents.stats().idle == 1)
    check()


def test_a_fork_has_the_page_tables_of_the_interpreter(make: Make, app: Path) -> None:
    # The kernel copies those of a file that is mapped only if a page of it is the process's own.
    counted = """
is_code, answer = False, []
for line in open("/proc/self/smaps"):
    words = line.split()
    if "-" in words[0] and not words[0].endswith(":"):
        is_code = words[1] == "r-xp" and words[-1].startswith("/")
    elif is_code and words[0] == "Anonymous:":
        answer.append(int(words[1]))
"""
    plain = make(runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    parents = make(runtime=PythonRuntime(preload=["app", "json"]), code_dir=app)
    forks = make(parent=parents, runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    with plain.get_or_create_unpaused() as created, forks.get_or_create_unpaused() as forked:
        assert set(evaluate(created, counted)) == {0}
        assert set(evaluate(forked, counted)) == {4}


def test_what_cannot_be_imported_is_named_and_the_parent_lives_on(make: Make, app: Path) -> None:
    parents = make(runtime=PythonRuntime(preload=["json"]), max_size=1)
    for runtime, text in [
        (PythonRuntime(handler="nowhere:handle"), "handler nowhere:handle: ModuleNotFoundError: No module named"),
        (PythonRuntime(handler="app:missing"), "handler app:missing: AttributeError"),
        (PythonRuntime(handler="app:hello", preload=["nonsense"]), "preload nonsense: ModuleNotFoundError"),
        # The parent has the module, so that nothing is to be imported.
        (PythonRuntime(handler="json:loads", preload=["nonsense"]), "preload nonsense: ModuleNotFoundError"),
        (PythonRuntime(handler="json:missing"), "handler json:missing: AttributeError"),
        (PythonRuntime(handler="json:__name__"), "handler json:__name__: a str cannot be called"),
        (PythonRuntime(handler="json:JSONEncoder.missing"), "handler json:JSONEncoder.missing: AttributeError"),
        (sandboxset.Runtime(["/bin/true"]), "cannot become '/bin/true'"),
    ]:
        pool = make(parent=parents, runtime=runtime, code_dir=app)
        with pytest.raises(sandboxset.CreateFailedError, match=text):
            pool.get_or_create_unpaused(timeout=PATIENCE)
    pool = make(parent=parents, runtime=PythonRuntime(handler="app:hello"), code_dir=app)
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"") == b"hello "
    pool = make(parent=parents, runtime=PythonRuntime(handler="json:JSONDecoder.decode"))
    with pool.get_or_create_unpaused() as sandbox, pytest.raises(sandboxset.HandlerFailedError, match="TypeError"):
        sandbox.call(b"")
    assert parents.stats().created == 1


def test_a_module_that_starts_a_thread_is_named(make: Make, app: Path) -> None:
    source = "import threading\nstop = threading.Event()\nthreading.Thread(target=stop.wait, daemon=True).start()\n"
    (app / "threaded.py").write_text(source)
    (app / "passing.py").write_text(source + "stop.set()\nthreading.enumerate()[1].join()\n")
    parents = make(runtime=PythonRuntime(preload=["json", "threaded", "decimal"]), code_dir=app)
    with pytest.raises(sandboxset.CreateFailedError, match="preload threaded: it started a thread"):
        parents.get_or_create_unpaused(timeout=PATIENCE)
    # One that is over is no obstacle; and where nothing is forked no thread is.
    for runtime in [
        PythonRuntime(preload=["passing"]),
        PythonRuntime(preload=["threaded"], handler="app:hello"),
    ]:
        with make(runtime=runtime, code_dir=app).get_or_create_unpaused(timeout=PATIENCE):
            pass


def test_a_parent_answers_no_calls_and_a_runtime_is_no_parent(make: Make, app: Path) -> None:
    parents = make(runtime=PythonRuntime(preload=["json"]))
    with parents.get_or_create_unpaused() as parent, pytest.raises(sandboxset.InvalidStateError):
        parent.call(b"")
    # A fork without a handler is one that can only be asked in vain.
    with make(parent=parents).get_or_create_unpaused() as sandbox:
        with pytest.raises(sandboxset.HandlerFailedError, match="no handler"):
            sandbox.call(b"")
    leaves = make(runtime=PythonRuntime(handler="app:hello"), code_dir=app)
    with pytest.raises(sandboxset.InvalidArgumentError, match="parent"):
        make(parent=leaves)


def test_a_tree_of_preloaded_modules(make: Make, app: Path) -> None:
    root = make(runtime=PythonRuntime(preload=["json"]))
    branch = make(parent=root, runtime=PythonRuntime(preload=["decimal"]))
    twig = make(parent=branch, runtime=PythonRuntime(preload=["sqlite3"]))
    leaf = make(parent=twig, runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    look = "import sys; answer = [name in sys.modules for name in ('json', 'decimal', 'sqlite3', 'csv')]"
    with leaf.get_or_create_unpaused() as sandbox:
        assert evaluate(sandbox, look) == [True, True, True, False]
    # A fork server in between is one that can be forked beside its children.
    other = make(parent=branch, runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    with other.get_or_create_unpaused() as sandbox:
        assert evaluate(sandbox, look) == [True, True, False, False]


def test_replace_gives_every_request_a_clean_fork(make: Make, app: Path) -> None:
    parents = make(runtime=PythonRuntime(preload=["json"]), max_size=1)
    pool = make(
        parent=parents,
        runtime=PythonRuntime(handler="app:evaluate", json=True),
        code_dir=app,
        reuse="replace",
        min_idle=2,
    )
    leave = """
import json, os
answer = [hasattr(json, "left"), os.path.exists("left")]
json.left = open("left", "w")
"""
    for _ in range(5):
        eventually(lambda: pool.stats().idle == 2)
        with pool.get_or_create_unpaused() as sandbox:
            assert evaluate(sandbox, leave) == [False, False]
            assert not sandbox.reused
    assert pool.stats().hits == 5
    assert parents.stats().created == 1


def test_forks_from_many_threads(make: Make, app: Path) -> None:
    parents = make(runtime=PythonRuntime(preload=["json"]), max_size=2)
    pool = make(parent=parents, runtime=PythonRuntime(handler="app:hello"), code_dir=app, max_size=16)

    def work(number: int) -> None:
        for _ in range(5):
            sandbox = pool.get_or_create_unpaused(acquire="fresh_only", timeout=PATIENCE)
            assert sandbox.call(b"%d" % number, timeout=PATIENCE) == b"hello %d" % number
            sandbox.destroy()

    with ThreadPoolExecutor(4) as threads:
        # Raises what was raised in any of them.
        list(threads.map(work, range(4)))
    assert parents.stats().fork_failures == 0


def runtimes(cookie: str) -> list[int]:
    """The processes of the host whose environment has this, as the kernel remembers it from their start."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/environ", "rb") as environ:
                if entry.isdigit() and cookie.encode() in environ.read():
                    found.append(int(entry))
        except OSError:
            continue
    return found


def inhabitants(namespace: str) -> list[int]:
    """The Python processes of the host that are in this process id namespace."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/comm") as comm:
                if os.readlink(f"/proc/{entry}/ns/pid") == namespace and comm.read().startswith("python"):
                    found.append(int(entry))
        except OSError:
            continue
    return found


def memory_holds(pid: int, text: bytes) -> bool:
    """Whether a string is anywhere in what a process can read of its own memory; one that has ended has none."""
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            return any(text in part for part in readable(memory, maps))
    except (FileNotFoundError, ProcessLookupError):
        # Those that join a sandbox to be forked there end soon after they were found.
        return False


def readable(memory: BinaryIO, maps: Iterable[str]) -> Iterator[bytes]:
    """The parts of a process's memory that it can read."""
    for line in maps:
        where, rights = line.split()[:2]
        if "r" not in rights or "[v" in line:
            continue
        start, end = (int(number, 16) for number in where.split("-"))
        try:
            memory.seek(start)
            yield memory.read(end - start)
        except OSError:
            continue


def test_secrets_of_a_fork_never_reach_its_parent(make: Make, app: Path) -> None:
    cookie, secret, variable = (f"{kind}-{os.urandom(12).hex()}" for kind in ("cookie", "secret", "variable"))
    parents = make(runtime=PythonRuntime(preload=["json"], env={"COOKIE": cookie}), max_size=1)
    child = PythonRuntime(handler="app:evaluate", json=True, env={"OF_THE_CHILD": variable})
    pool = make(parent=parents, runtime=child, code_dir=app)
    binding = LateBinding(secrets={"token": secret.encode()})
    with pool.get_or_create_unpaused(binding=binding) as sandbox:
        read = "kept = open('/run/secrets/token').read(); import sys; sys.kept = kept; answer = kept"
        assert evaluate(sandbox, read) == secret
        own = sandbox.exec(["/bin/sh", "-c", "for pid in /proc/[0-9]*; do readlink $pid/ns/pid; done"]).stdout.split()
        try:
            # The control: what either was told is found by looking where it is.
            assert [memory_holds(pid, cookie.encode()) for pid in runtimes(cookie)].count(True) >= 1
            (fork,) = [pid for pid in inhabitants(own[-1]) if memory_holds(pid, secret.encode())]
        except PermissionError:
            pytest.skip("SKIPPED: this user may not look into the memory of its sandboxes")
        assert memory_holds(fork, variable.encode())
        for pid in runtimes(cookie):
            assert not memory_holds(pid, secret.encode())
            assert not memory_holds(pid, variable.encode())
        assert evaluate(sandbox, "import os; answer = os.environ['OF_THE_CHILD']") == variable
    with parents.get_or_create_unpaused() as above:
        above.write_file("control", cookie.encode())
        patterns = f"-e {cookie} -e {secret} -e {variable}"
        found = above.exec(["/bin/sh", "-c", f"ls /run/secrets; grep -r {patterns} /scratch /tmp /run; true"]).stdout
    assert cookie in found and secret not in found and variable not in found


def test_nothing_of_the_parent_is_open_in_a_fork(make: Make, app: Path) -> None:
    (app / "holder.py").write_text("import tempfile\nkept = tempfile.TemporaryFile()\nkept.write(b'x' * 100000)\n")
    parents = make(runtime=PythonRuntime(preload=["holder"]), code_dir=app)
    pool = make(parent=parents, runtime=PythonRuntime(handler="app:evaluate", json=True), code_dir=app)
    look = """
import os
answer = {}
for entry in os.listdir("/proc/self/fd"):
    try:
        answer[entry] = os.readlink(f"/proc/self/fd/{entry}").split(":")[0]
    except OSError:
        pass
"""
    with parents.get_or_create_unpaused() as parent:
        # The control: it is open there.
        assert "deleted" in parent.exec(["/bin/sh", "-c", "ls -l /proc/2/fd"]).stdout
    with pool.get_or_create_unpaused() as sandbox:
        links = evaluate(sandbox, look)
        assert [links[number] for number in "012"] == ["/dev/null", "/scratch/.runtime.log", "/scratch/.runtime.log"]
        # Where it listens, how it waits, and the connection of this call.
        assert sorted(links[number] for number in links if int(number) > 2) == ["anon_inode", "socket", "socket"]
