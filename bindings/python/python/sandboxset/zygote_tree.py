"""What functions import, for a proposal which parents to preload. Plain values; ``propose_tree`` checks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FunctionImports", "Package"]


@dataclass(frozen=True, slots=True)
class Package:
    """A package that functions import."""

    name: str
    """What functions and other packages call it."""
    import_time: float
    """Seconds that importing it takes when all it requires is there already."""
    memory_bytes: int = 0
    """Memory it takes once it is imported, without what it requires."""
    requires: Sequence[str] = ()
    """The packages that are imported with it."""


@dataclass(frozen=True, slots=True)
class FunctionImports:
    """A function that is to be forked from a node of the tree."""

    name: str
    """What it is called."""
    imports: Sequence[str]
    """The packages it imports; what they require need not be listed."""
    weight: float = 1.0
    """How often it is started, in whatever unit is the same for all."""
