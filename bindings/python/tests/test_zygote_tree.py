"""The proposal which parents to preload."""

from __future__ import annotations

from typing import Any

import pytest
import sandboxset
from sandboxset import FunctionImports, Package, propose_tree

PACKAGES = [
    Package("numpy", 0.1, 20 << 20),
    Package("pandas", 0.15, 50 << 20, ["numpy"]),
    Package("requests", 0.08, 10 << 20),
]
FUNCTIONS = [
    FunctionImports("plot", ["numpy"], 10),
    FunctionImports("report", ["pandas"], 5.0),
    FunctionImports("fetch", ("requests",)),
]


def test_common_imports_become_a_tree() -> None:
    tree = propose_tree(FUNCTIONS, PACKAGES)
    assert [(node.parent, node.preload) for node in tree.nodes] == [
        (None, ()),
        (0, ("numpy",)),
        (1, ("pandas",)),
        (0, ("requests",)),
    ]
    assert tree.placements == {"plot": 1, "report": 2, "fetch": 3}
    assert tree.import_time_without == pytest.approx(10 * 0.1 + 5 * 0.25 + 0.08)
    assert tree.import_time_with == pytest.approx(0)
    assert tree.nodes[2].memory_bytes == (50 << 20) + (1 << 20)
    assert "4 nodes" in repr(tree)
    assert repr(tree.nodes[1]) == 'ZygoteNode(parent=0, preload=["numpy"], memory_bytes=22020096)'


def test_limits_are_kept() -> None:
    tree = propose_tree(FUNCTIONS, PACKAGES, max_nodes=2)
    assert [node.preload for node in tree.nodes] == [(), ("numpy",)]
    tree = propose_tree(FUNCTIONS, PACKAGES, memory_bytes=13 << 20, node_bytes=2 << 20)
    assert [node.preload for node in tree.nodes] == [()]
    tree = propose_tree(FUNCTIONS, PACKAGES, memory_bytes=14 << 20, node_bytes=2 << 20)
    assert [node.preload for node in tree.nodes] == [(), ("requests",)]


@pytest.mark.parametrize(
    ("functions", "packages", "limits", "field"),
    [
        ([FunctionImports("f", ["scipy"])], PACKAGES, {}, "functions[0].imports"),
        ([FunctionImports("f", [], -1)], PACKAGES, {}, "functions[0].weight"),
        ([FunctionImports("f", []), FunctionImports("f", [])], PACKAGES, {}, "functions[1].name"),
        (FUNCTIONS, [Package("a", -1.0)], {}, "packages[0].import_time"),
        (FUNCTIONS, [Package("a", 1.0, -1)], {}, "packages[0].memory_bytes"),
        (FUNCTIONS, PACKAGES, {"max_nodes": 0}, "limits.max_nodes"),
        (FUNCTIONS, PACKAGES, {"memory_bytes": 5}, "limits.memory_bytes"),
    ],
)
def test_bad_values_are_named(functions: Any, packages: Any, limits: Any, field: str) -> None:
    with pytest.raises(sandboxset.InvalidArgumentError) as raised:
        propose_tree(functions, packages, **limits)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("functions", "packages", "named"),
    [
        ({"f": ["numpy"]}, PACKAGES, "functions"),
        (["f"], PACKAGES, r"functions\[0\]"),
        ([FunctionImports("f", "numpy")], PACKAGES, r"functions\[0\].imports"),
        ([FunctionImports("f", [1])], PACKAGES, r"functions\[0\].imports\[0\]"),  # type: ignore[list-item]
        (FUNCTIONS, [Package("a", True)], r"packages\[0\].import_time"),
    ],
)
def test_wrong_types_are_named(functions: Any, packages: Any, named: str) -> None:
    with pytest.raises(TypeError, match=f"^{named}: expected"):
        propose_tree(functions, packages)
