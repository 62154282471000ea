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


def test_what_the_mock_answers(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.exec(["echo", "a", b"\xff"]).stdout_bytes == b"echo a \xff\n"
        assert sandbox.exec(["echo", b"\xff"]).stdout == "echo \ufffd\n"
        out = sandbox.exec(["x" * 1000], output_bytes=100)
        assert (len(out.stdout_bytes), out.stdout_dropped, out.stdout_head, out.truncated) == (100, 901, 50, True)
        assert sandbox.exec(["x" * 1000], output_bytes=100, on_overflow="kill").outcome == "output_limit"


def test_processes(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        with sandbox.spawn(["cat"], stdin="stream") as process:
            process.write_stdin(b"abc")
            with pytest.raises(sandboxset.TimeoutError):
                process.wait(timeout=0.01)
            process.close_stdin()
            assert process.wait(timeout=PATIENCE).outcome == "exited"
            assert process.wait().outcome == "exited"
        process = sandbox.spawn(["echo", "hi"])
        assert b"".join(process) == b"echo hi\n"
        assert process.read() == b""
        process.wait()
        for bad in (0, 65, 2**32 - 1):
            with pytest.raises(sandboxset.InvalidArgumentError, match="signal"):
                process.signal(bad)
        for call in (lambda: process.signal(True), lambda: process.signal("KILL")):  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="signal"):
                call()
        with pytest.raises(sandboxset.InvalidArgumentError, match="max_bytes"):
            process.read(0)
        with pytest.raises(sandboxset.InvalidArgumentError, match="stream"):
            process.read(stream="stdin")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="data"):
            process.write_stdin("text")  # type: ignore[arg-type]
    with pytest.raises(sandboxset.StaleRefError):
        process.wait()
    assert pool.stats().idle == 1


def test_files(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        sandbox.write_file("a", b"hello", mode=0o600)
        sandbox.write_file(b"b\xff", bytearray(b"x"))
        assert sandbox.read_file("a") == b"hello"
        names = {entry.name: entry.kind for entry in sandbox.list_dir()}
        assert names == {"a": "file", "b\udcff": "file"}
        assert sandbox.read_file("b\udcff") == b"x"
        sandbox.remove("a")
        with pytest.raises(sandboxset.InvalidArgumentError, match="mode"):
            sandbox.write_file("a", b"", mode=0o1000)
        with pytest.raises(sandboxset.InvalidArgumentError, match="path"):
            sandbox.read_file("../a")
        assert sandbox.state == "held"


def test_calls(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.call(b"question") == b"question"
        assert sandbox.call(bytearray(200_000)) == bytes(200_000)
        with sandbox.connect(timeout=1) as connection:
            connection.write(b"\x02\0\0\0ab")
            answer = b""
            while len(answer) < 6:
                answer += connection.read(1, timeout=PATIENCE)
            assert answer == b"\x02\0\0\0ab"
            with pytest.raises(sandboxset.TimeoutError):
                connection.read(timeout=0.01)
            with pytest.raises(TypeError, match="data"):
                connection.write("text")  # type: ignore[arg-type]
        for use in (connection.read, lambda: connection.write(b"x")):
            with pytest.raises(sandboxset.ClosedError):
                use()
        kept = sandbox.connect()
    with pytest.raises(sandboxset.StaleRefError):
        kept.read(timeout=1)
    assert sandbox.id


def test_a_reader_and_a_writer_share_a_connection(pool: sandboxset.SandboxSet) -> None:
    with pool.get_or_create_unpaused() as sandbox, sandbox.connect() as connection:
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(connection.read(timeout=PATIENCE)))
        reader.start()
        connection.write(b"\x01\0\0\0a")
        reader.join(PATIENCE)
        assert answers[0].startswith(b"\x01")


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
