"""What a get binds late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sandboxset
from conftest import PATIENCE, eventually
from sandboxset import Bind, LateBinding, LateFile, LateLimits

HUSH = b"hush-hush"


def everything(source: Path) -> LateBinding:
    return LateBinding(
        env={"WHO": "late"},
        secrets={"token": HUSH},
        files=[LateFile("in/put", b"data", 0o640)],
        binds=[Bind(source, "/mnt/dir")],
        limits=LateLimits(pids=32),
    )


def test_the_holder_finds_it_and_after_a_reset_the_next_does_not(
    mock: sandboxset.MockBackend, tmp_path: Path
) -> None:
    with sandboxset.SandboxSet(mock, max_size=1, reuse="reset") as pool:
        with pool.get_or_create_unpaused(timeout=PATIENCE, binding=everything(tmp_path)) as sandbox:
            first = sandbox.id
            assert sandbox.read_file("/run/secrets/token") == HUSH
            assert sandbox.read_file("in/put") == b"data"
            assert sandbox.list_dir("/mnt/dir") == []
        with pool.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
            assert sandbox.id == first
            for path in ("/run/secrets/token", "in/put"):
                with pytest.raises(sandboxset.InvalidArgumentError):
                    sandbox.read_file(path)
    assert (mock.calls("bind"), mock.calls("unbind")) == (1, 1)


def test_a_set_that_keeps_destroys_what_code_may_have_copied(
    pool: sandboxset.SandboxSet, tmp_path: Path
) -> None:
    with pool.get_or_create_unpaused(binding=everything(tmp_path)) as sandbox:
        first = sandbox.id
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.id != first
    with pool.get_or_create_unpaused(binding=LateBinding(env={"A": "b"})) as sandbox:
        second = sandbox.id
    with pool.get_or_create_unpaused() as sandbox:
        assert sandbox.id == second


def test_a_failure_is_an_error_of_its_own_phase(mock: sandboxset.MockBackend) -> None:
    mock.fault_at("bind", 1, sandboxset.MockFault.fail("no"))
    with sandboxset.SandboxSet(mock, max_size=1) as pool:
        with pytest.raises(sandboxset.InternalError) as raised:
            pool.get_or_create_unpaused(binding=LateBinding(secrets={"token": HUSH}))
        assert raised.value.phase == "bind"
        pool.get_or_create_unpaused(timeout=PATIENCE).put()
        eventually(lambda: pool.stats().destroyed == 1)


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        (LateBinding(env={"A=B": ""}), "binding.env"),
        (LateBinding(secrets={"a/b": b""}), "binding.secrets"),
        (LateBinding(secrets={"": b""}), "binding.secrets"),
        (LateBinding(secrets={"a": bytes(1 << 20), "b": b"x"}), "binding.secrets"),
        (LateBinding(files=[LateFile("../x", b"")]), "binding.files.path"),
        (LateBinding(files=[LateFile("/etc/x", b"")]), "binding.files.path"),
        (LateBinding(files=[LateFile("x", b"", 0o4755)]), "binding.files.mode"),
        (LateBinding(files=[LateFile("x", bytes(65 << 20))]), "binding.files"),
        (LateBinding(binds=[Bind("/no/such", "/mnt/x")]), "binding.binds.source"),
        (LateBinding(binds=[Bind("/", "/mnt/x")]), "binding.binds.source"),
        (LateBinding(binds=[Bind("/usr", "/scratch/x")]), "binding.binds.target"),
        (LateBinding(binds=[Bind("/usr", "/mnt/x", writable=True)]), "binding.binds.writable"),
        (LateBinding(limits=LateLimits(pids=65)), "binding.limits.pids"),
        (LateBinding(limits=LateLimits(memory_bytes=1 << 40)), "binding.limits.memory_bytes"),
        (LateBinding(limits=LateLimits(cpus=float("nan"))), "binding.limits.cpus"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_made(
    pool: sandboxset.SandboxSet, mock: sandboxset.MockBackend, binding: LateBinding, field: str
) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError) as raised:
        pool.get_or_create_unpaused(binding=binding)
    assert raised.value.field == field
    assert field in str(raised.value)
    assert mock.most_live() == 0


@pytest.mark.parametrize(
    ("binding", "name"),
    [
        ({"env": {}}, "binding"),
        (LateBinding(env=[("A", "b")]), "binding.env"),  # type: ignore[arg-type]
        (LateBinding(secrets={"token": HUSH.decode()}), "binding.secrets"),  # type: ignore[dict-item]
        (LateBinding(secrets=[HUSH]), "binding.secrets"),  # type: ignore[arg-type]
        (LateBinding(files=["x"]), "binding.files"),  # type: ignore[list-item]
        (LateBinding(files=LateFile("x", b"")), "binding.files"),  # type: ignore[arg-type]
        (LateBinding(binds=["/usr"]), "binding.binds"),  # type: ignore[list-item]
        (LateBinding(limits={"pids": 1}), "binding.limits"),  # type: ignore[arg-type]
        (LateBinding(limits=LateLimits(pids=True)), "binding.limits.pids"),
    ],
)
def test_a_wrong_type_names_the_argument_and_shows_no_secret(
    pool: sandboxset.SandboxSet, binding: Any, name: str
) -> None:
    with pytest.raises(TypeError, match=f"^{name}: ") as raised:
        pool.get_or_create_unpaused(binding=binding)
    assert HUSH.decode() not in str(raised.value)


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    assert HUSH.decode() not in repr(everything(tmp_path))
    assert "data" not in repr(everything(tmp_path).files)


def test_a_real_sandbox(linux: sandboxset.SandboxSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host")
    tmp_path.chmod(0o755)
    binding = LateBinding(
        env={"WHO": "late"},
        secrets={"token": HUSH},
        files=[LateFile("in/put", b"data")],
        binds=[Bind(tmp_path, "/mnt/dir")],
    )
    with linux.get_or_create_unpaused(timeout=PATIENCE, binding=binding) as sandbox:
        script = "cat /run/secrets/token in/put /mnt/dir/file; echo $WHO; touch /mnt/dir/x || echo refused"
        assert sandbox.exec(["sh", "-c", script]).stdout == HUSH.decode() + "dataof the hostlate\nrefused\n"
        first = sandbox.id
    with linux.get_or_create_unpaused(timeout=PATIENCE) as sandbox:
        assert sandbox.id != first
        assert not sandbox.exec(["ls", "/run/secrets", "/mnt"]).stdout
