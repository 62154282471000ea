"""The types say what the module does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sandboxset

ROOT = Path(__file__).parents[1]


def run(*command: str, cwd: Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
def test_the_stub_matches_the_module(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    run("mypy.stubtest", "sandboxset", cwd=tmp_path)


@pytest.mark.timeout(300)
def test_the_package_and_its_users_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    user = tmp_path / "user.py"
    user.write_text(
        """
import sandboxset
from typing import assert_type

def use() -> str:
    with sandboxset.SandboxSet(max_size=8, limits=sandboxset.Limits(pids=4)) as pool:
        assert_type(pool, sandboxset.SandboxSet)
        with pool.get_or_create_unpaused(timeout=2.0) as sandbox:
            out = sandbox.exec(["true"], timeout=5)
            assert_type(out.exit_code, int | None)
            with sandbox.spawn(["cat"], stdin="stream") as process:
                assert_type([piece for piece in process], list[bytes])
    return out.stdout

async def use_in_a_task() -> str:
    async with sandboxset.aio.SandboxSet(parent=sandboxset.SandboxSet()) as pool:
        assert_type(pool, sandboxset.aio.SandboxSet)
        kept = await pool.get_or_create_unpaused()
        assert_type(kept, sandboxset.aio.SandboxRef)
        await kept.put()
        async with pool.get_or_create_unpaused(timeout=2.0) as sandbox:
            out = await sandbox.exec(["true"], timeout=5)
            async with await sandbox.spawn(["cat"], stdin="stream") as process:
                assert_type([piece async for piece in process], list[bytes])
            assert_type([event.kind async for event in pool.events()][0] == "create", bool)
    return out.stdout
"""
    )
    run("mypy", "--strict", str(user), cwd=tmp_path)
    run("mypy", "--strict", "-p", "sandboxset", cwd=tmp_path)


def test_everything_public_is_documented() -> None:
    assert (Path(sandboxset.__file__).parent / "py.typed").exists()
    assert sandboxset.aio.__doc__
    public = [(name, getattr(sandboxset, name)) for name in sandboxset.__all__ if name != "aio"]
    for name, thing in public + [(name, getattr(sandboxset.aio, name)) for name in sandboxset.aio.__all__]:
        assert isinstance(thing, type) is (name not in ("CommandPolicy", "doctor", "propose_tree"))
        assert thing.__doc__ or name == "CommandPolicy", name
        if isinstance(thing, type):
            assert thing.__doc__, name
            for key, value in vars(thing).items():
                if not key.startswith("_") and (callable(value) or isinstance(value, property)):
                    assert value.__doc__, f"{name}.{key}"
