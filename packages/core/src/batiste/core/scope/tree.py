"""What all scopes of one tree have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..types import Path
from .keys import LazyRng

__all__ = ["Tree"]


@dataclasses.dataclass(eq=False, slots=True, weakref_slot=True)
class Tree:
    """What all scopes of one tree share.

    Scopes refer to this and to the scope above them. No reference goes down, so that a
    tree is freed, with the arrays in it, at once when its last scope is.

    Attributes:
      variables: the collections at the root.
      rngs: the PRNG streams at the root.
      invalid: whether the call that the tree was made for has ended.
      lifted: how many lifted functions are running on scopes made of this tree's: its
        own scopes are then seen by closures only.
      mutable: for each collection that was asked for, whether it is mutable.
      moved: for places to which others were moved, the paths of those.

    >>> Tree({"params": {}}, {}).invalid
    False
    """

    variables: dict[str, Any]
    rngs: dict[str, LazyRng]
    invalid: bool = False
    lifted: int = 0
    mutable: dict[str, bool] = dataclasses.field(default_factory=dict)
    moved: dict[Path, Path] = dataclasses.field(default_factory=dict)
