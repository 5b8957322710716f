"""What all scopes of one tree have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from typing import Any

from ..types import Path
from .filters import Filter, in_filter
from .keys import LazyRng

__all__ = ["Origin", "Tree"]


@dataclasses.dataclass(eq=False, slots=True)
class Origin:
    """What the scopes of a tree were lifted from, for errors about what is missing.

    It keeps no values alive.

    Attributes:
      transform: the name of the transform.
      mutable: the filter of what may change outside of it.
      streams: the names of the PRNG streams outside.
      collections: the names of the collections outside.
      ins: what collections it lets in.
      outer: what the scopes outside were lifted from themselves.

    >>> Origin("scan", True, ("params",), (), (), None).transform
    'scan'
    """

    transform: str
    mutable: Filter
    streams: tuple[str, ...]
    collections: tuple[str, ...]
    ins: tuple[Container[str], ...]
    outer: Origin | None


@dataclasses.dataclass(eq=False, slots=True, weakref_slot=True)
class Tree:
    """What all scopes of one tree share.

    Scopes refer to this and to the scope above them. No reference goes down, so that a
    tree is freed, with the arrays in it, at once when its last scope is.

    Attributes:
      variables: the collections at the root.
      rngs: the PRNG streams at the root.
      invalid: whether the call that the tree was made for has ended.
      lifted: the names of the lifted functions that are running on scopes made of this
        tree's: its own scopes are then seen by closures only.
      closed: whether such a function is at work at the trace level of this tree, where
        only this tells that one of its scopes is used by a closure.
      origin: what this tree's scopes were lifted from, or None.
      mutable: for each collection that was asked for, whether it is mutable.
      moved: for places to which others were moved, the paths of those.

    >>> Tree({"params": {}}, {}).invalid
    False
    """

    variables: dict[str, Any]
    rngs: dict[str, LazyRng]
    invalid: bool = False
    lifted: list[str] = dataclasses.field(default_factory=list)
    closed: bool = False
    origin: Origin | None = None
    mutable: dict[str, bool] = dataclasses.field(default_factory=dict)
    moved: dict[Path, Path] = dataclasses.field(default_factory=dict)

    def keeps_changes(self, col: str) -> str | None:
        """Returns the transform that does not let changes of a collection out.

        None if it is immutable outside of all of them, too.
        """
        origin = self.origin
        while origin is not None and not in_filter(origin.mutable, col):
            origin = origin.outer
        return None if origin is None else origin.transform

    def mutable_outside(self) -> list[Filter]:
        """Returns what may change outside of each transform around, from within."""
        filters = []
        origin = self.origin
        while origin is not None:
            filters.append(origin.mutable)
            origin = origin.outer
        return filters

    def keeps_stream(self, name: str) -> str | None:
        """Returns the transform that does not let a PRNG stream in, if one does."""
        origin = self.origin
        while origin is not None and name not in origin.streams:
            origin = origin.outer
        return None if origin is None else origin.transform

    def keeps_collection(self, col: str) -> str | None:
        """Returns the transform that does not let a collection in, if one does.

        None if there is none outside of it, nor can be made there.
        """
        origin = self.origin
        while origin is not None:
            there = col in origin.collections or in_filter(origin.mutable, col)
            if there and not any(col in names for names in origin.ins):
                return origin.transform
            origin = origin.outer
        return None

    def given_streams(self) -> list[str]:
        """Returns the PRNG streams that the call was given."""
        streams, origin = tuple(self.rngs), self.origin
        while origin is not None:
            streams, origin = origin.streams, origin.outer
        return sorted(streams)
