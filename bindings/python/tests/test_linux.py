"""Real sandboxes. Skipped, loudly, where the host does not allow one."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
import sandboxset
from conftest import PATIENCE, eventually, run_script
from sandboxset import Limits, Runtime, SandboxSet

PYTHON = "/usr/bin/python3"

#: A runtime that answers each request with its own length and first letters.
ECHO = r"""
import os, socket, struct
listener = socket.socket(socket.AF_UNIX)
listener.bind(os.environ["SANDBOXSET_SOCKET"])
listener.listen()
print("runtime starts", flush=True)
os.write(3, b"READY\n")
while True:
    stream, _ = listener.accept()
    with stream, stream.makefile("rwb") as file:
        while header := file.read(4):
            request = file.read(struct.unpack("<I", header)[0])
            if request == b"sleep":
                import time
                time.sleep(600)
            answer = b"%d:%s" % (len(request), request[:10])
            file.write(struct.pack("<I", len(answer)) + answer)
            file.flush()
"""


def test_exec(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        out = sandbox.exec(["/bin/sh", "-c", 'cat; echo "$A" >&2; exit 3'], stdin=b"\xffhi\n", env={"A": "b"})
        assert (out.outcome, out.exit_code, out.success) == ("exited", 3, False)
        assert (out.stdout_bytes, out.stdout, out.stderr) == (b"\xffhi\n", "\ufffdhi\n", "b\n")
        assert out.usage.wall > 0
        assert sandbox.exec(["pwd"]).stdout.strip() == sandbox.scratch_dir
        assert sandbox.exec(["pwd"], cwd="/").stdout == "/\n"
        killed = sandbox.exec(["/bin/sh", "-c", "kill -9 $$"])
        assert (killed.outcome, killed.signal, killed.exit_code) == ("signaled", 9, None)
        assert sandbox.usage().pids >= 1 and sandbox.usage().proportional_memory_bytes >= 0


@pytest.mark.usefixtures("linux")
def test_shells_are_an_option_of_the_backend() -> None:
    for shells in [None, 0, 3]:
        backend = sandboxset.LinuxBackend(shells=shells)
        with SandboxSet(backend, max_size=2) as pool:
            for _ in range(3):
                with pool.get_or_create_unpaused(acquire="fresh_only") as sandbox:
                    assert sandbox.exec(["/bin/true"]).success
    for wrong in [-1, 1025, 1 << 70]:
        with pytest.raises(sandboxset.InvalidArgumentError, match="shells"):
            sandboxset.LinuxBackend(shells=wrong)


def test_a_timeout_is_an_outcome(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        assert sandbox.exec(["sleep", "600"], timeout=0.1, grace=0).outcome == "timed_out"


def test_output_is_bounded(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        out = sandbox.exec(["/bin/sh", "-c", "head -c 100000 /dev/zero"], output_bytes=1000)
        assert (len(out.stdout_bytes), out.stdout_dropped, out.truncated) == (1000, 99_000, True)
        assert sandbox.exec(["yes"], output_bytes=1000, on_overflow="kill").outcome == "output_limit"


def test_a_missing_program(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        try:
            out = sandbox.exec(["/no/such/program"])
            assert not out.success
        except sandboxset.SandboxSetError as error:
            assert "/no/such/program" in str(error) or error.code


def test_spawn(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        with sandbox.spawn(["cat"], stdin="stream") as process:
            process.write_stdin(b"one\n")
            assert process.read(timeout=PATIENCE) == b"one\n"
            with pytest.raises(sandboxset.TimeoutError):
                process.read(timeout=0.01)
            process.write_stdin(b"two\n")
            process.close_stdin()
            process.close_stdin()
            assert b"".join(process) == b"two\n"
            out = process.wait(timeout=PATIENCE)
            assert (out.exit_code, process.wait().exit_code) == (0, 0)
        process = sandbox.spawn(["sleep", "600"])
        with pytest.raises(sandboxset.TimeoutError):
            process.wait(timeout=0.01)
        process.signal(15)
        assert process.wait(timeout=PATIENCE).signal == 15
        process = sandbox.spawn(["sleep", "600"])
        process.kill()
        process.kill()
        assert process.wait(timeout=PATIENCE).signal == 9
        for bad in (0, 65, 2**32 - 1):
            with pytest.raises(sandboxset.InvalidArgumentError, match="signal"):
                process.signal(bad)


def test_an_iteration_on_another_thread(linux: SandboxSet) -> None:
    pieces: list[bytes] = []

    def work() -> None:
        with linux.get_or_create_unpaused() as sandbox:
            pieces.extend(sandbox.spawn(["/bin/sh", "-c", "echo a; sleep 0.2; echo b"]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert b"".join(pieces) == b"a\nb\n"


def test_files(linux: SandboxSet) -> None:
    with linux.get_or_create_unpaused() as sandbox:
        sandbox.write_file("a.txt", b"hello", mode=0o600)
        assert sandbox.read_file("a.txt") == b"hello"
        assert sandbox.exec(["cat", "/scratch/a.txt"]).stdout == "hello"
        sandbox.write_file(b"\xff.bin", b"\0" * 1000)
        names = [entry.name for entry in sandbox.list_dir()]
        assert "a.txt" in names and "\udcff.bin" in names
        assert sandbox.read_file("\udcff.bin") == b"\0" * 1000
        with pytest.raises(sandboxset.TooBigError):
            sandbox.read_file("\udcff.bin", max_bytes=999)
        sandbox.exec(["ln", "-s", "/etc/passwd", "/scratch/link"])
        assert {entry.kind for entry in sandbox.list_dir() if entry.name == "link"} == {"symlink"}
        sandbox.remove("a.txt")
        with pytest.raises(sandboxset.SandboxSetError):
            sandbox.read_file("a.txt")


def test_a_runtime(linux: SandboxSet) -> None:
    runtime = Runtime([PYTHON, "-c", ECHO], ready_timeout=PATIENCE)
    with SandboxSet(runtime=runtime, max_size=1, create_timeout=PATIENCE) as pool:
        with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            assert sandbox.call(b"hello") == b"5:hello"
            assert sandbox.call(bytearray(b"x" * 100_000)) == b"100000:xxxxxxxxxx"
            with sandbox.connect() as connection:
                connection.write(b"\x02\0\0\0ab")
                answer = b""
                while len(answer) < 8:
                    answer += connection.read(timeout=PATIENCE)
                assert answer == b"\x04\0\0\0002:ab"
                with pytest.raises(sandboxset.TimeoutError):
                    connection.read(timeout=0.01)
            with pytest.raises(sandboxset.ClosedError):
                connection.read()
            assert b"runtime starts" in sandbox.log()
        with pool.get_or_create_unpaused() as again:
            assert again.reused
            assert again.call(b"again") == b"5:again"


def test_a_call_that_times_out_taints(linux: SandboxSet) -> None:
    runtime = Runtime([PYTHON, "-c", ECHO], ready_timeout=PATIENCE)
    with SandboxSet(runtime=runtime, max_size=1, create_timeout=PATIENCE) as pool:
        with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            with pytest.raises(sandboxset.TimeoutError):
                sandbox.call(b"sleep", timeout=0.05)
        eventually(lambda: pool.stats().destroyed == 1)


def test_limits_hold(linux: SandboxSet) -> None:
    with SandboxSet(limits=Limits(memory_bytes=64 << 20, pids=8, scratch_bytes=1 << 20)) as pool:
        with pool.get_or_create_unpaused() as sandbox:
            out = sandbox.exec(["head", "-c", "4000000", "/dev/zero"], output_bytes=0)
            assert out.success
            out = sandbox.exec(["/bin/sh", "-c", "head -c 4000000 /dev/zero > /scratch/big"])
            assert not out.success
            out = sandbox.exec([PYTHON, "-c", "x = bytearray(200 << 20)"])
            assert not out.success


def test_eight_threads(linux: SandboxSet) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                with linux.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
                    assert sandbox.exec(["echo", str(number)]).stdout == f"{number}\n"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert linux.stats().created <= 4


INTERRUPTED = {
    "exec": "sandbox.exec(['sleep', '600'], timeout=600)",
    "wait": "sandbox.spawn(['sleep', '600'], timeout=600).wait()",
    "read": "sandbox.spawn(['sleep', '600'], timeout=600).read(timeout=600)",
    "iteration": "list(sandbox.spawn(['sleep', '600'], timeout=600))",
    "write": "sandbox.spawn(['sleep', '600'], stdin='stream', timeout=600).write_stdin(bytes(10 << 20), timeout=600)",
}


@pytest.mark.parametrize("wait", INTERRUPTED)
def test_interrupt(linux: SandboxSet, wait: str) -> None:
    run_script(
        f"""
pool = sandboxset.SandboxSet(max_size=1)
sandbox = pool.get_or_create_unpaused()
idle = sandbox.usage().pids
interrupt_when(lambda: sandbox.usage().pids > idle)
try:
    {INTERRUPTED[wait]}
except KeyboardInterrupt:
    pass
else:
    sys.exit("not interrupted")
sandbox.destroy("interrupted")
assert pool.close().survivors == ()
"""
    )


def test_interrupt_of_a_call(linux: SandboxSet) -> None:
    run_script(
        f"""
runtime = sandboxset.Runtime([{PYTHON!r}, "-c", {ECHO!r}])
pool = sandboxset.SandboxSet(runtime=runtime, max_size=1)
sandbox = pool.get_or_create_unpaused()
asked = threading.Event()
for wait in (lambda: sandbox.call(b"sleep", timeout=600), lambda: sandbox.connect().read(timeout=600)):
    asked.clear()
    interrupt_when(asked.is_set)
    try:
        asked.set()
        wait()
    except KeyboardInterrupt:
        pass
    else:
        sys.exit("not interrupted")
sandbox.destroy("interrupted")
assert pool.close().survivors == ()
"""
    )


def test_the_example_of_the_readme(linux: SandboxSet) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    assert run_script(example).stdout == "42\n 0\n"


def test_exit_with_held_sandboxes(linux: SandboxSet) -> None:
    done = run_script("pool = sandboxset.SandboxSet()\nheld = pool.get_or_create_unpaused()\nprint('end')")
    assert "end" in done.stdout


def test_the_report(linux: SandboxSet) -> None:
    report = linux.isolation_report()
    assert report.layers
    assert all(layer.status in ("active", "degraded", "missing") for layer in report.layers)
    assert len(str(report).splitlines()) == len(report.layers)
    print(report, file=sys.stderr)
