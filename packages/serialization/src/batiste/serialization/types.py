"""Names for what the signatures of this package hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

__all__ = [
    "Buffer",
    "Leaf",
    "Shape",
    "State",
    "Tree",
]

Tree: TypeAlias = Any
"""Containers inside one another, or objects with a state; at the ends, leaves."""

Leaf: TypeAlias = Any
"""What has no parts: an array, a number, a string, bytes, None."""

State: TypeAlias = Mapping[str, Any]
"""The parts of an object by their names."""

Shape: TypeAlias = tuple[int, ...]
"""The lengths of an array's axes."""

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes in memory."""
