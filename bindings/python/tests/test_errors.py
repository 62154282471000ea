"""One table of errors, the same here and in the core; the conformance suite compares it with every language."""

from __future__ import annotations

import builtins
import pickle

import pytest
import sandboxset
from sandboxset import _native, errors

def test_the_table_is_the_one_of_the_core() -> None:
    ours = [(code, kind.name, kind.retryable) for code, kind in sorted(errors.SandboxSetError.by_code.items())]
    assert ours == _native.error_table()


def test_every_class_is_public_and_named_after_its_code() -> None:
    for kind in errors.SandboxSetError.by_code.values():
        words = kind.name.title().replace("_", "")
        assert kind.__name__ == words.removesuffix("Error") + "Error"
        assert getattr(sandboxset, kind.__name__) is kind
        assert kind.__doc__


def test_a_timeout_is_also_a_builtin_one(pool: sandboxset.SandboxSet) -> None:
    refs = [pool.get_or_create_unpaused() for _ in range(4)]
    with pytest.raises(builtins.TimeoutError) as caught:
        pool.get_or_create_unpaused(timeout=0.01)
    error = caught.value
    assert isinstance(error, sandboxset.TimeoutError)
    assert (error.code, error.name, error.phase, error.retryable) == (10, "TIMEOUT", "wait", True)
    for ref in refs:
        ref.put()


def test_a_failed_create_tells_its_cause(mock: sandboxset.MockBackend, pool: sandboxset.SandboxSet) -> None:
    mock.fault_at("create", 1, sandboxset.MockFault.fail("no more \x1b[31mmemory"))
    with pytest.raises(sandboxset.CreateFailedError) as caught:
        pool.get_or_create_unpaused()
    assert "memory" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert (caught.value.code, caught.value.phase) == (20, "create")


@pytest.mark.parametrize("kind", errors.SandboxSetError.by_code.values(), ids=lambda kind: kind.__name__)
def test_errors_travel_between_processes(kind: type[sandboxset.SandboxSetError]) -> None:
    error = kind("text", phase="wait", retryable=True, sandbox_id=7, cause="because", field="args")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == f"text ({kind.name}): because"
    assert (copy.phase, copy.retryable, copy.sandbox_id, copy.cause, copy.field) == ("wait", True, 7, "because", "args")
