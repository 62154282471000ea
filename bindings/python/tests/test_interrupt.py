"""Ctrl-C on the main thread: every wait ends, and nothing is lost. Each in an interpreter of its own."""

from __future__ import annotations

import pytest
from conftest import run_script

HELD = """
mock = sandboxset.MockBackend()
pool = sandboxset.SandboxSet(mock, max_size=1)
held = pool.get_or_create_unpaused()
"""


def interrupts(wait: str, *, when: str, setup: str = HELD, after: str = "held.put()") -> None:
    run_script(
        setup
        + f"""
interrupt_when(lambda: {when})
try:
    {wait}
except KeyboardInterrupt:
    print("interrupted")
else:
    sys.exit("not interrupted")
{after}
mock.release_hangs()
report = pool.close()
assert report.survivors == (), report
assert mock.live() == 0
"""
    )


def test_get() -> None:
    after = "eventually(lambda: pool.stats().waiting == 0); held.put(); assert pool.stats().idle == 1"
    interrupts("pool.get_or_create_unpaused(timeout=600)", when="pool.stats().waiting == 1", after=after)


def test_get_with_a_token_of_its_own() -> None:
    setup = HELD + "token = sandboxset.CancelToken()\n"
    after = "assert not token.cancelled; held.put()"
    wait = "pool.get_or_create_unpaused(timeout=600, cancel=token)"
    interrupts(wait, when="pool.stats().waiting == 1", setup=setup, after=after)


def test_get_that_waits_for_a_create() -> None:
    setup = """
mock = sandboxset.MockBackend()
pool = sandboxset.SandboxSet(mock, max_size=1)
mock.fault_always("create", sandboxset.MockFault.hang())
"""
    # The create goes on; its sandbox is not lost but becomes idle.
    after = "mock.release_hangs(); eventually(lambda: pool.stats().idle == 1)"
    interrupts("pool.get_or_create_unpaused(timeout=600)", when="mock.calls('create') == 1", setup=setup, after=after)


def test_exec() -> None:
    setup = HELD + "mock.fault_always('exec', sandboxset.MockFault.hang())\n"
    after = "held.destroy('interrupted')"
    interrupts("held.exec(['x'], timeout=600)", when="mock.calls('exec') == 1", setup=setup, after=after)


SPAWNED = (
    HELD
    + """
asked = threading.Event()
process = held.spawn(["cat"], stdin="stream", timeout=600)
"""
)


@pytest.mark.parametrize("wait", ["process.wait()", "process.read(timeout=600)", "list(process)"])
def test_process(wait: str) -> None:
    after = "process.close_stdin(); assert process.wait(timeout=60).success; del process; held.put()"
    interrupts(f"asked.set(); {wait}", when="asked.is_set()", setup=SPAWNED, after=after)


@pytest.mark.parametrize("wait", ["held.connect()", "held.call(b'x', timeout=600)"])
def test_connect_and_call(wait: str) -> None:
    setup = HELD + "mock.fault_always('connect', sandboxset.MockFault.hang())\n"
    interrupts(wait, when="mock.calls('connect') == 1", setup=setup, after="held.destroy('interrupted')")


def test_a_read_from_a_connection() -> None:
    setup = HELD + "connection = held.connect()\nasked = threading.Event()\n"
    interrupts("asked.set(); connection.read(timeout=600)", when="asked.is_set()", setup=setup)


def test_prewarm() -> None:
    setup = """
mock = sandboxset.MockBackend()
pool = sandboxset.SandboxSet(mock, max_size=1)
mock.fault_always("create", sandboxset.MockFault.hang())
"""
    interrupts("pool.prewarm(1, timeout=600)", when="mock.calls('create') == 1", setup=setup, after="")


CLOSED = """
def refused():
    try:
        pool.get_or_create_unpaused(timeout=0, no_wait=True).put()
    except sandboxset.ClosedError:
        return True
    except sandboxset.SandboxSetError:
        return False
"""


def test_drain() -> None:
    interrupts("pool.drain(600)", when="refused()", setup=HELD + CLOSED)


def test_close() -> None:
    interrupts("pool.close(600)", when="refused()", setup=HELD + CLOSED)


def test_events() -> None:
    setup = HELD + "events = pool.events()\nasked = threading.Event()\n"
    interrupts("asked.set(); list(events)", when="asked.is_set()", setup=setup)
    interrupts("asked.set(); events.next(600)", when="asked.is_set()", setup=setup)


def test_a_with_block_destroys_on_an_interrupt() -> None:
    run_script(
        """
        mock = sandboxset.MockBackend()
        mock.fault_always("exec", sandboxset.MockFault.hang())
        interrupt_when(lambda: mock.calls("exec") == 1)
        try:
            with sandboxset.SandboxSet(mock) as pool:
                with pool.get_or_create_unpaused() as sandbox:
                    try:
                        sandbox.exec(["x"], timeout=600)
                    finally:
                        mock.release_hangs()
        except KeyboardInterrupt:
            assert mock.live() == 0
        else:
            sys.exit("not interrupted")
        """
    )


def test_a_signal_handler_that_does_not_raise_does_not_end_the_wait() -> None:
    run_script(
        HELD
        + """
seen = []
signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), held.put()))
def poke():
    eventually(lambda: pool.stats().waiting == 1)
    os.kill(os.getpid(), signal.SIGUSR1)
threading.Thread(target=poke, daemon=True).start()
with pool.get_or_create_unpaused(timeout=600) as sandbox:
    assert sandbox.reused
assert seen == [1]
pool.close()
"""
    )


def test_interrupts_lose_no_place() -> None:
    """Interrupts at any moment of get and put: in the end every place of the set is there."""
    run_script(
        """
        import random
        mock = sandboxset.MockBackend()
        pool = sandboxset.SandboxSet(mock, max_size=2)
        over = threading.Event()
        go = threading.Event()

        def poke():
            while not over.is_set():
                go.wait(60)
                go.clear()
                time.sleep(random.random() * 0.001)
                if not over.is_set():
                    os.kill(os.getpid(), signal.SIGINT)

        def others():
            while not over.is_set():
                with pool.get_or_create_unpaused():
                    pass

        threads = [threading.Thread(target=run, daemon=True) for run in (poke, others, others)]
        for thread in threads:
            thread.start()
        seen = 0
        import warnings
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(200):
            try:
                go.set()
                while True:
                    with pool.get_or_create_unpaused():
                        pass
            except KeyboardInterrupt:
                seen += 1
        over.set()
        go.set()
        for thread in threads:
            thread.join(60)
        assert seen == 200
        refs = [pool.get_or_create_unpaused(timeout=60) for _ in range(2)]
        for ref in refs:
            ref.put()
        pool.close()
        assert mock.live() == 0
        """
    )


@pytest.mark.parametrize("thread", ["main", "other"])
def test_the_gil_is_free_during_a_wait(thread: str) -> None:
    run_script(
        HELD
        + f"""
def wait():
    with pool.get_or_create_unpaused(timeout=600):
        pass

def work():
    eventually(lambda: pool.stats().waiting == 1)
    sum(range(100_000))
    held.put()

here, there = (wait, work) if {thread!r} == "main" else (work, wait)
other = threading.Thread(target=there)
other.start()
here()
other.join(60)
assert not other.is_alive()
pool.close()
"""
    )
