"""Type variables of `flax.linen.transforms`, for annotations.

>>> def twice(target: Target) -> Target: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from batiste.linen import Module

__all__ = ["C", "Target", "TransformTarget"]

TransformTarget = type[Module] | Callable[..., Any]
Target = TypeVar("Target", bound=TransformTarget)
C = TypeVar("C")
