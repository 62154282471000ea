"""Layers of isolation: required, best effort, off."""

from __future__ import annotations

import pytest

import sandboxset


@pytest.mark.parametrize(
    ("layers", "part"),
    [
        ({"no such layer": "required"}, "no such layer"),
        ({"seccomp": "Required"}, "required, best_effort or off"),
        ({"root": "off"}, "cannot be off"),
    ],
)
def test_bad_layers_name_the_argument(layers: dict[str, str], part: str) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError) as raised:
        sandboxset.SandboxSet(layers=layers)  # type: ignore[arg-type]
    assert raised.value.field == "layers"
    assert part in str(raised.value)


def test_layers_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match="layers"):
        sandboxset.SandboxSet(layers=["seccomp"])  # type: ignore[arg-type]
