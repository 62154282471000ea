"""What a Python process may do to itself while it has sandboxes: nobody hangs, and nothing is left."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import sandboxset
from conftest import eventually, run_script


def left_of(pid: int) -> list[str]:
    """The processes in cgroups that carry the identity of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            groups = (entry / "cgroup").read_text() if entry.name.isdigit() else ""
        except OSError:
            continue
        if "sandboxset-" in groups and f"-{pid}-" in groups:
            found.append(f"{entry.name} {groups}")
    return found


def test_a_storm_of_signals(linux: sandboxset.SandboxSet) -> None:
    run_script(
        """
        calls = []
        signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with sandboxset.SandboxSet(max_size=2) as pool:
            for number in range(15):
                with pool.get_or_create_unpaused(timeout=60) as sandbox:
                    out = sandbox.exec(["sh", "-c", f"sleep 0.01; echo {number}"], timeout=60)
                    assert out.stdout == f"{number}\\n", out
                    sandbox.write_file("file", b"x" * 100_000)
                    assert sandbox.read_file("file") == b"x" * 100_000
                if number % 5 == 4:
                    with pool.get_or_create_unpaused(timeout=60) as sandbox:
                        sandbox.destroy()
            assert not pool.close(60).survivors
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert len(calls) > 10, len(calls)
        """
    )


def test_a_host_that_becomes_a_daemon(linux: sandboxset.SandboxSet) -> None:
    """The one who made the sandboxes ends; that a grandchild holds copies of its descriptors keeps none of them."""
    done = run_script(
        """
        pool = sandboxset.SandboxSet(max_size=2)
        held = pool.get_or_create_unpaused(timeout=60)
        process = held.spawn(["sleep", "600"])
        import warnings
        warnings.simplefilter("ignore")
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(writer, str(os.getpid()).encode())
                for descriptor in (0, 1, 2, writer):
                    os.close(descriptor)
                time.sleep(600)
            os._exit(0)
        os.close(writer)
        print(os.getpid(), os.read(reader, 100).decode())
        sys.stdout.flush()
        os._exit(0)
        """
    )
    host, daemon = map(int, done.stdout.split())
    try:
        eventually(lambda: not left_of(host))
        os.kill(daemon, 0)
    finally:
        os.kill(daemon, signal.SIGKILL)


def test_a_host_that_closes_everything(linux: sandboxset.SandboxSet) -> None:
    """As programs do that make daemons of themselves: every call ends, and so does every sandbox."""
    done = run_script(
        """
        pool = sandboxset.SandboxSet(max_size=2)
        held = pool.get_or_create_unpaused(timeout=60)
        process = held.spawn(["sleep", "600"])
        os.closerange(3, 1000)
        for call in (
            lambda: held.exec(["true"], timeout=1),
            lambda: held.read_file("file"),
            lambda: pool.get_or_create_unpaused(timeout=1),
            lambda: held.put(),
        ):
            try:
                call()
                print("served")
            except sandboxset.SandboxSetError as error:
                print(type(error).__name__)
        print(os.getpid())
        sys.stdout.flush()
        time.sleep(0.5)
        os._exit(0)
        """
    )
    lines = done.stdout.split()
    assert len(lines) == 5, lines
    eventually(lambda: not left_of(int(lines[-1])))
