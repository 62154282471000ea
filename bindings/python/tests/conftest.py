"""Fixtures: a mock backend, a set on it, and a set of real sandboxes where the host allows one."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator

import pytest
import sandboxset

#: Seconds after which something that should happen at once is a hang. Generous: it fails only then.
PATIENCE = 60.0

_skipped: list[str] = []


@pytest.fixture
def mock() -> Iterator[sandboxset.MockBackend]:
    backend = sandboxset.MockBackend()
    yield backend
    backend.release_hangs()


@pytest.fixture
def pool(mock: sandboxset.MockBackend) -> Iterator[sandboxset.SandboxSet]:
    with sandboxset.SandboxSet(mock, max_size=4) as pool:
        yield pool


@pytest.fixture(scope="session")
def linux_obstacle() -> str | None:
    """Why no real sandbox can be made here, found out by making one."""
    try:
        with sandboxset.SandboxSet(max_size=1) as pool, pool.get_or_create_unpaused(timeout=PATIENCE):
            return None
    except sandboxset.SandboxSetError as error:
        return str(error)


@pytest.fixture
def linux(linux_obstacle: str | None, request: pytest.FixtureRequest) -> Iterator[sandboxset.SandboxSet]:
    if linux_obstacle is not None:
        if os.environ.get("SANDBOXSET_REQUIRE_LINUX"):
            pytest.fail(f"no real sandbox can be made here: {linux_obstacle}")
        _skipped.append(request.node.nodeid)
        pytest.skip(f"no real sandbox can be made here: {linux_obstacle}")
    with sandboxset.SandboxSet(max_size=4) as pool:
        yield pool


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("SKIPPED: no real sandboxes on this host", red=True, bold=True)
        terminalreporter.line(f"{len(_skipped)} tests of the Linux backend did not run:")
        for name in _skipped:
            terminalreporter.line(f"  {name}")


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something that another thread does has happened; only a hang fails."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("did not happen in time")
        time.sleep(0.002)


def run_script(source: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own; one that hangs fails."""
    prelude = """
        import os, signal, sys, threading, time
        # As every interpreter begins, but one whose shell has it run in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import sandboxset

        def eventually(condition):
            end = time.monotonic() + 60
            while not condition():
                if time.monotonic() > end:
                    os._exit(99)
                time.sleep(0.002)

        def interrupt_when(condition):
            def watch():
                eventually(condition)
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=watch, daemon=True).start()
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(source)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    if check:
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done
