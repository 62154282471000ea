"""The checks of the forks can fail."""

from __future__ import annotations

from typing import Any, cast

import pytest
from sandboxset import SandboxRef

from code_service import forks


class Answering:
    """A ref that answers what it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.ended = ""

    def call_json(self, _value: object, *, timeout: float) -> Any:
        return self.answer

    def put(self) -> None:
        self.ended = "put"

    def destroy(self, _reason: str) -> None:
        self.ended = "destroyed"


GOOD = {"commonest": forks.COMMONEST, "visits": 1, "trace": False}


@pytest.mark.parametrize(
    ("answer", "visits", "is_right"),
    [
        (GOOD, 1, True),
        ({**GOOD, "visits": 2, "trace": True}, 2, True),
        (GOOD, 2, False),
        ({**GOOD, "visits": 2}, 1, False),
        ({**GOOD, "trace": True}, 1, False),
        ({**GOOD, "commonest": []}, 1, False),
        (None, 1, False),
    ],
)
def test_what_a_request_finds_is_judged(answer: Any, visits: int, is_right: bool) -> None:
    sandbox = Answering(answer)
    seconds, problem = forks.serve(lambda: cast(SandboxRef, sandbox), visits)
    assert seconds >= 0 and (problem is None) is is_right
    assert sandbox.ended == "put"


def test_a_sandbox_for_one_request_is_destroyed() -> None:
    sandbox = Answering(GOOD)
    assert forks.serve(lambda: cast(SandboxRef, sandbox), 1, destroy=True)[1] is None
    assert sandbox.ended == "destroyed"


def test_the_function_counts_words_and_leaves_traces(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec((forks.HERE / "function" / "handler.py").read_text(), names)
    first, second = names["handle"](forks.EVENT), names["handle"](forks.EVENT)
    assert [list(pair) for pair in first["commonest"]] == forks.COMMONEST
    assert (first["visits"], first["trace"], second["visits"], second["trace"]) == (1, False, 2, True)
