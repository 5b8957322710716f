"""Nested dicts of variables: copied, merged, and given out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import config
from ..frozen_dict import FrozenDict

__all__ = ["as_result", "merge_into", "snapshot"]


def snapshot(tree: Any) -> Any:
    """A copy of the dicts of a tree, not of its leaves.

    >>> tree = {"a": {"b": 1}}
    >>> snapshot(tree) == tree, snapshot(tree)["a"] is tree["a"]
    (True, False)
    """
    if not isinstance(tree, Mapping):
        return tree
    top = dict(tree)
    pending = [top]
    while pending:
        copy = pending.pop()
        for key, value in copy.items():
            if isinstance(value, Mapping):
                copy[key] = below = dict(value)
                pending.append(below)
    return top


def merge_into(target: dict[str, Any], key: str, value: Any) -> None:
    """Sets an entry; if it and `value` are nested dicts, merges them entry by entry.

    >>> target = {"a": {"b": 1}}
    >>> merge_into(target, "a", {"c": 2})
    >>> target
    {'a': {'b': 1, 'c': 2}}
    """
    old = target.get(key)
    if isinstance(old, dict) and isinstance(value, Mapping):
        for name, part in value.items():
            merge_into(old, name, part)
    else:
        target[key] = value


def as_result(tree: dict[str, Any]) -> Any:
    """The tree as it is given to users: a `FrozenDict`, or a dict if so configured.

    >>> as_result({"a": 1})
    FrozenDict({
        a: 1,
    })
    """
    if config.return_frozendict:
        return FrozenDict(tree, __unsafe_skip_copy__=True)
    return tree
