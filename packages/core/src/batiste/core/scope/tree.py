"""What all scopes of one tree have in common."""

from __future__ import annotations

from typing import Any

from .keys import LazyRng

__all__ = ["Tree"]


class Tree:
    """What all scopes of one tree share.

    Scopes refer to this and to the scope above them. No reference goes down, so that a
    tree is freed, with the arrays in it, at once when its last scope is.
    """

    __slots__ = ("__weakref__", "invalid", "lifted", "mutable", "rngs", "variables")

    def __init__(self, variables: dict[str, Any], rngs: dict[str, LazyRng]):
        self.variables = variables
        self.rngs = rngs
        self.invalid = False
        # How many lifted functions are running on scopes made of this tree's: its own
        # scopes are then seen by closures only.
        self.lifted = 0
        # For each collection that was asked for, whether it is mutable.
        self.mutable: dict[str, bool] = {}
