"""Commands, files and the policy, on the mock: what is asked, what is answered, what becomes of the sandbox."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sandboxset
from conftest import PATIENCE, eventually


def test_an_output(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        out = sandbox.exec(["true"])
    assert (out.outcome, out.exit_code, out.signal, out.success) == ("exited", 0, None, True)
    assert isinstance(out.stdout, str) and isinstance(out.stdout_bytes, bytes)
    assert isinstance(out.stderr, str) and isinstance(out.stderr_bytes, bytes)
    assert out.stdout == out.stdout_bytes.decode(errors="replace")
    assert (out.truncated, out.stdout_dropped, out.stderr_dropped) == (False, 0, 0)
    assert out.usage.wall >= 0.0 and out.usage.cpu >= 0.0 and out.usage.pids == 0
    assert repr(out).startswith("Output(exit_code=0")
    assert repr(out.usage).startswith("Usage(wall=")


def test_a_failed_exec_taints(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    mock.fault_at("exec", 1, sandboxset.MockFault.fail("broken pipe"))
    with pool.get_or_create_unpaused() as sandbox:
        with pytest.raises(sandboxset.SandboxSetError, match="broken pipe"):
            sandbox.exec(["true"])
    eventually(lambda: mock.live() == 0)


def test_a_sandbox_that_dies(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    mock.fault_at("exec", 1, sandboxset.MockFault.die())
    sandbox = pool.get_or_create_unpaused()
    with pytest.raises(sandboxset.SandboxDeadError) as caught:
        sandbox.exec(["true"])
    assert caught.value.sandbox_id == sandbox.id
    assert sandbox.state == "dead"
    with pytest.raises(sandboxset.SandboxDeadError):
        sandbox.exec(["true"])
    sandbox.put()
    eventually(lambda: mock.live() == 0)
    with pool.get_or_create_unpaused() as other:
        assert other.id != sandbox.id


def test_a_policy_refuses(mock: sandboxset.MockBackend) -> None:
    seen: list[Any] = []

    def policy(args: list[str], *, env: dict[str, str], cwd: str | None) -> None:
        seen.append((args, env, cwd, threading.get_ident()))
        if args[0] == "rm":
            raise ValueError("no rm here")
        if args[0] == "mount":
            raise sandboxset.UnsupportedError("no mounts")

    with sandboxset.SandboxSet(mock, command_policy=policy) as pool, pool.get_or_create_unpaused() as sandbox:
        sandbox.exec(["ls", "-l"], env={"A": "1"}, cwd="/tmp")
        assert seen == [(["ls", "-l"], {"A": "1"}, "/tmp", threading.get_ident())]
        with pytest.raises(sandboxset.PermissionDeniedError, match="no rm here") as caught:
            sandbox.exec(["rm"])
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.phase == "exec"
        with pytest.raises(sandboxset.UnsupportedError, match="no mounts"):
            sandbox.spawn(["mount"])
        assert mock.calls("exec") == 1
        assert sandbox.state == "held"
    assert mock.live() == 0
    assert len(seen) == 3


def test_a_policy_rewrites(mock: sandboxset.MockBackend) -> None:
    answers: list[Any] = [["nice", "ls"], [], "ls", [1]]
    with sandboxset.SandboxSet(mock, command_policy=lambda args, **_: answers.pop(0)) as pool:
        with pool.get_or_create_unpaused() as sandbox:
            sandbox.exec(["ls"])
            with pytest.raises(sandboxset.InvalidArgumentError, match="args"):
                sandbox.exec(["ls"])
            for _ in range(2):
                with pytest.raises(TypeError, match="command_policy"):
                    sandbox.exec(["ls"])


def test_a_policy_may_use_the_set(mock: sandboxset.MockBackend) -> None:
    """It is called without any lock, so it may do anything; here it gets another sandbox and runs a command."""
    depth: list[int] = []

    def policy(args: list[str], **_: Any) -> None:
        if len(depth) < 3:
            depth.append(1)
            with pool.get_or_create_unpaused() as inner:
                inner.exec(["true"])

    with sandboxset.SandboxSet(mock, command_policy=policy) as pool, pool.get_or_create_unpaused() as sandbox:
        sandbox.exec(["true"])
    assert (len(depth), mock.calls("exec")) == (3, 4)


@pytest.mark.parametrize("from_main", [True, False])
def test_cancel_ends_an_exec_before_it_starts(
    mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet, from_main: bool
) -> None:
    token = sandboxset.CancelToken()
    token.cancel()
    caught: list[BaseException] = []

    def run() -> None:
        with pool.get_or_create_unpaused() as sandbox:
            try:
                sandbox.exec(["true"], cancel=token)
            except BaseException as error:
                caught.append(error)

    if from_main:
        run()
    else:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(PATIENCE)
    assert [type(error) for error in caught] == [sandboxset.CancelledError]
    assert mock.calls("exec") == 0


def test_use_needs_a_held_ref(pool: sandboxset.SandboxSet) -> None:
    sandbox = pool.get_or_create_unpaused()
    sandbox.put()
    for call in (
        lambda: sandbox.exec(["true"]),
        lambda: sandbox.spawn(["true"]),
        lambda: sandbox.read_file("x"),
        lambda: sandbox.write_file("x", b""),
        lambda: sandbox.list_dir(),
        lambda: sandbox.remove("x"),
        lambda: sandbox.connect(),
        lambda: sandbox.call(b""),
        lambda: sandbox.usage(),
        lambda: sandbox.log(),
    ):
        with pytest.raises(sandboxset.StaleRefError):
            call()
    assert "stale" in repr(sandbox)
