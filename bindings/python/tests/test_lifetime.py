"""Forgotten refs, interpreter exit, fork, pickling: the edges of a process."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import sandboxset
from conftest import eventually, run_script


def test_a_forgotten_ref_is_destroyed_with_a_warning(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    sandbox = pool.get_or_create_unpaused()
    number = sandbox.id
    with pytest.warns(ResourceWarning, match=f"sandbox {number} was neither put nor destroyed"):
        del sandbox
        gc.collect()
    eventually(lambda: mock.live() == 0)
    assert pool.stats().idle == 0
    with pool.get_or_create_unpaused() as other:
        assert other.id != number


def test_a_forgotten_ref_in_a_cycle(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    class Node:
        pass

    node: Any = Node()
    node.itself, node.sandbox = node, pool.get_or_create_unpaused()
    with pytest.warns(ResourceWarning):
        del node
        gc.collect()
    eventually(lambda: mock.live() == 0)


def test_an_ended_ref_is_collected_in_silence(pool: sandboxset.SandboxSet) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool.get_or_create_unpaused().put()
        pool.get_or_create_unpaused().destroy()
        with pool.get_or_create_unpaused():
            pass
        gc.collect()


def test_the_warning_leaves_a_pending_exception_alone(pool: sandboxset.SandboxSet) -> None:
    def fail() -> None:
        forgotten = pool.get_or_create_unpaused()
        raise KeyError(forgotten.id)

    with pytest.warns(ResourceWarning):
        try:
            fail()
        except KeyError as error:
            traceback.clear_frames(error.__traceback__)
        else:
            raise AssertionError("the exception was lost")
        gc.collect()


def test_a_policy_that_knows_its_set_can_be_collected(mock: sandboxset.MockBackend) -> None:
    class Policy:
        pool: Any

        def __call__(self, args: list[str], **_: Any) -> None: ...

    policy = Policy()
    policy.pool = sandboxset.SandboxSet(mock, command_policy=policy)
    watch = weakref.ref(policy)
    del policy
    gc.collect()
    assert watch() is None


@pytest.mark.parametrize("operation", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_pickling_is_refused(pool: sandboxset.SandboxSet, operation: Callable[[Any], Any]) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        for thing in (pool, sandbox, sandboxset.CancelToken(), sandboxset.MockBackend(), pool.events()):
            with pytest.raises(TypeError, match="cannot pickle or copy"):
                operation(thing)


def in_child(body: Callable[[], Any]) -> str:
    """What a forked child answers. It must neither hang nor run the rest of the tests."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            answer = str(body())
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        answer = stream.read()
    end = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert time.monotonic() < end, "the child hangs"
        time.sleep(0.002)
    return answer


def test_a_forked_child_is_refused(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    held = pool.get_or_create_unpaused()
    with pool.get_or_create_unpaused():
        pass
    for call in (
        lambda: pool.get_or_create_unpaused(),
        lambda: pool.get_or_create_unpaused(timeout=5),
        lambda: held.put(),
        lambda: held.destroy(),
        lambda: held.exec(["true"]),
        lambda: pool.prewarm(1),
        lambda: pool.shrink(0),
        lambda: pool.drain(1),
        lambda: pool.close(1),
        lambda: pool.events(),
        lambda: sandboxset.SandboxSet(sandboxset.MockBackend()),
    ):
        answer = in_child(call)
        assert answer.startswith("ForkedProcessError"), answer
    # Nothing that happened in a child changed anything here.
    assert (mock.live(), held.state, pool.stats().idle) == (2, "held", 1)
    held.put()
    assert pool.stats().idle == 2


def test_what_a_forked_child_drops_harms_nobody(mock: sandboxset.MockBackend) -> None:
    things: dict[str, Any] = {"pool": sandboxset.SandboxSet(mock)}
    things["held"] = things["pool"].get_or_create_unpaused()
    things["events"] = things["pool"].events()

    def drop() -> str:
        things.clear()
        gc.collect()
        return "dropped"

    assert in_child(drop) == "dropped"
    assert (mock.live(), things["held"].state) == (1, "held")
    things["held"].put()
    things["pool"].close()


def test_a_forked_child_exits_in_order() -> None:
    run_script(
        """
        import gc
        pool = sandboxset.SandboxSet(sandboxset.MockBackend())
        held = pool.get_or_create_unpaused()
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert held.state == "held"
        held.put()
        """
    )


def use_in_process(pool: sandboxset.SandboxSet) -> str:
    try:
        pool.get_or_create_unpaused()
    except sandboxset.SandboxSetError as error:
        return type(error).__name__
    return "no error"


def test_multiprocessing_fork(pool: sandboxset.SandboxSet) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process = context.Process(target=lambda: queue.put(use_in_process(pool)))
        process.start()
    assert queue.get(timeout=60) == "ForkedProcessError"
    process.join(60)
    assert process.exitcode == 0
    queue.close()
    queue.join_thread()


EXITS = {
    "open set": "pool = sandboxset.SandboxSet(mock); pool.get_or_create_unpaused().put()",
    "held ref": "pool = sandboxset.SandboxSet(mock); held = pool.get_or_create_unpaused()",
    "held ref without its set": "held = sandboxset.SandboxSet(mock).get_or_create_unpaused()",
    "events": "pool = sandboxset.SandboxSet(mock); events = pool.events(); pool.get_or_create_unpaused().put()",
    "many sets": "pools = [sandboxset.SandboxSet(mock, min_idle=2) for _ in range(20)]",
    "hanging create": """
mock.fault_always("create", sandboxset.MockFault.hang())
pool = sandboxset.SandboxSet(mock)
threading.Thread(target=pool.get_or_create_unpaused, daemon=True).start()
eventually(lambda: mock.calls("create") == 1)
""",
    "hanging destroy": """
mock.fault_always("destroy", sandboxset.MockFault.hang())
pool = sandboxset.SandboxSet(mock)
pool.get_or_create_unpaused().put()
""",
    "daemons waiting": """
pool = sandboxset.SandboxSet(mock, max_size=1)
held = pool.get_or_create_unpaused()
def wait():
    try:
        pool.get_or_create_unpaused(timeout=600)
    except sandboxset.ClosedError:
        pass
for _ in range(8):
    threading.Thread(target=wait, daemon=True).start()
eventually(lambda: pool.stats().waiting == 8)
""",
    "daemons at work": """
pool = sandboxset.SandboxSet(mock, max_size=2)
def work():
    while True:
        with pool.get_or_create_unpaused() as sandbox:
            sandbox.exec(["true"])
for _ in range(8):
    threading.Thread(target=work, daemon=True).start()
eventually(lambda: pool.stats().gets > 100)
threading.excepthook = lambda args: None
""",
    "daemon in exec": """
mock.fault_always("exec", sandboxset.MockFault.hang())
pool = sandboxset.SandboxSet(mock)
def work():
    with pool.get_or_create_unpaused() as sandbox:
        sandbox.exec(["true"])
threading.Thread(target=work, daemon=True).start()
eventually(lambda: mock.calls("exec") == 1)
threading.excepthook = lambda args: None
""",
    "thread that is joined": """
pool = sandboxset.SandboxSet(mock, max_size=1)
held = pool.get_or_create_unpaused()
def work():
    with pool.get_or_create_unpaused(timeout=600):
        print("served")
threading.Thread(target=work).start()
threading.Timer(0.1, held.put).start()
""",
    "used in atexit": """
import atexit
pool = sandboxset.SandboxSet(mock)
atexit.register(lambda: pool.get_or_create_unpaused().put())
""",
    "cycle": """
class Node: pass
node = Node(); node.itself = node
node.pool = sandboxset.SandboxSet(mock); node.held = node.pool.get_or_create_unpaused()
""",
    "collected after the module": """
import builtins
builtins.keep = (sandboxset.SandboxSet(mock), sandboxset.SandboxSet(mock).get_or_create_unpaused())
""",
}


@pytest.mark.parametrize("state", EXITS)
def test_exit(state: str) -> None:
    started = time.monotonic()
    done = run_script("mock = sandboxset.MockBackend()\n" + EXITS[state] + "\nprint('end')\n")
    assert "end" in done.stdout
    if state == "thread that is joined":
        assert "served" in done.stdout
    assert "panicked" not in done.stderr and "Fatal" not in done.stderr, done.stderr
    assert time.monotonic() - started < 30
