"""Trees as dicts without branches, for formats that have nothing else.

The name of a leaf is that of its branches, joined with a separator. What is no array,
as the number of a step, has no place in such formats; it is written beside the arrays,
as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .encode import MAX_DEPTH
from .errors import (
    SerializationError,
    UnserializableTypeError,
    join_path,
    listed,
    nearest,
)
from .types import Leaf, Tree

__all__ = [
    "flattened",
    "from_json",
    "names_under",
    "nested",
    "plain_value",
    "to_json",
]


_PLAIN: Final = (bool, int, float, str, type(None))
_MAX_BITS: Final = 64  # as in msgpack


def flattened(
    tree: Tree, separator: str | None, *, fixed: bool = False
) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """Gives the leaves of a tree, each with its path; an empty container is a leaf.

    Args:
      tree: mappings, lists and tuples; the items of these are named by their positions.
      separator: must not be in a name; None where the tree is to have no branches.
      fixed: whether the format has no other separator.

    Yields:
      Paths and leaves.

    Raises:
      SerializationError: the tree is a leaf, its names could not be told apart once
        they are joined, or it is too deep.

    >>> dict(flattened({"a": {"b": 1}, "c": [2]}, "."))
    {('a', 'b'): 1, ('c', '0'): 2}
    """
    if not isinstance(tree, (Mapping, list, tuple)):
        raise SerializationError(
            f"The file is to hold arrays by name, and this is a {type(tree).__name__}. "
            "Put it into a dict."
        )
    stack: list[tuple[tuple[str, ...], Iterator[tuple[Any, Tree]]]]
    stack = [((), _children(tree))]
    while stack:
        path, items = stack[-1]
        item = next(items, None)
        if item is None:
            stack.pop()
            continue
        key, value = item
        here = (*path, str(key))
        if separator is not None and separator in here[-1]:
            way = "Rename it, or write another format."
            if not fixed:
                way = (
                    "Pass another separator, or separator=None for a dict that has no "
                    "branches."
                )
            raise SerializationError(
                f"The name {here[-1]!r} holds {separator!r}, which joins the names of "
                f"branches, so that the tree could not be read back. {way}",
                join_path(here),
            )
        if isinstance(value, (Mapping, list, tuple)) and value:
            if separator is None:
                raise SerializationError(
                    "With separator=None, the tree is one dict of arrays, and this is "
                    f"a {type(value).__name__} in it.",
                    join_path(here),
                )
            if len(here) >= MAX_DEPTH:
                raise SerializationError(
                    f"The tree is nested deeper than {MAX_DEPTH} levels, or contains "
                    "itself."
                )
            stack.append((here, _children(value)))
        else:
            yield here, value


def nested(flat: Mapping[str, Leaf], separator: str, depth: int = 0) -> Tree:
    """Makes dicts inside one another of joined names.

    Args:
      flat: leaves by their names.
      separator: what these were joined with.
      depth: how many names from the root, which all have in common, are left out.

    Returns:
      The tree.

    Raises:
      SerializationError: a leaf is where another one has a branch, or the tree is too
        deep.

    >>> nested({"a.b": 1, "a.c": 2}, ".")
    {'a': {'b': 1, 'c': 2}}
    >>> nested({"a.b": 1, "a.c": 2}, ".", 1)
    {'b': 1, 'c': 2}
    """
    holder: dict[str, Any] = {}
    for name, leaf in flat.items():
        if name.count(separator) >= MAX_DEPTH:
            raise SerializationError(
                f"The tree is nested deeper than {MAX_DEPTH} levels. Pass "
                "separator=None, which reads one dict.",
                name,
            )
        names = ["", *name.split(separator)[depth:]]
        branch: Any = holder
        for key in names[:-1]:
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                raise _clash(name, separator)
        if branch.setdefault(names[-1], leaf) is not leaf:
            raise _clash(name, separator)
    return holder.get("", {})


def names_under(
    names: Sequence[str], path: Sequence[str], separator: str | None
) -> list[str]:
    """Picks those of joined names that begin with a path.

    Args:
      names: all names.
      path: names of branches from the root.
      separator: what names were joined with, or None.

    Returns:
      The names, in their order.

    Raises:
      SerializationError: there are none.

    >>> names_under(["a.b", "a.c", "ab"], ("a",), ".")
    ['a.b', 'a.c']
    """
    if not path:
        return list(names)
    if separator is None:
        wanted = "/".join(path)
        kept = [name for name in names if (name,) == tuple(path)]
    else:
        wanted = separator.join(path)
        start = wanted + separator
        kept = [name for name in names if name == wanted or name.startswith(start)]
    if not kept:
        raise SerializationError(
            f"There is nothing at {join_path(path)!r}{nearest(wanted, names)}. Here "
            f"are: {listed(names) or 'no names'}.",
            "",
        )
    return kept


def plain_value(leaf: Leaf) -> Any:
    """Gives what is written as JSON for a leaf that is no array.

    Raises:
      SerializationError: it is none of Python's numbers, strings and None, and no empty
        container.

    >>> plain_value(7), plain_value(())
    (7, {})
    """
    if isinstance(leaf, (Mapping, list, tuple)):
        return {}
    if type(leaf) is int and leaf.bit_length() > _MAX_BITS:
        raise SerializationError(
            f"This int has {leaf.bit_length()} bits, and more than {_MAX_BITS} do not "
            "fit into the format."
        )
    if type(leaf) not in _PLAIN:
        raise UnserializableTypeError(
            f"A value of type {type(leaf).__name__!r} has no place in this format, "
            "which holds arrays, and Python's numbers, strings and None. Make an array "
            "of it, or write msgpack."
        )
    return leaf


def to_json(values: Mapping[str, Any]) -> str:
    """Writes what `plain_value` gave, by names.

    >>> to_json({"step": 7})
    '{"step":7}'
    """
    import json

    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> dict[str, Any]:
    """Reads what `to_json` wrote.

    Raises:
      ValueError: it did not write this.

    >>> from_json('{"step":7}')
    {'step': 7}
    """
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and all(
        type(v) in _PLAIN or v == {} for v in found.values()
    ):
        return found
    raise ValueError("it is not an object of numbers, strings and null")


def _children(tree: Tree) -> Iterator[tuple[Any, Tree]]:
    return iter(tree.items() if isinstance(tree, Mapping) else enumerate(tree))


def _clash(name: str, separator: str) -> SerializationError:
    return SerializationError(
        f"The name {name!r} and another one, split at {separator!r}, are an array and "
        "the branch that it would be in. Pass separator=None, which reads one dict "
        "with the names as they are.",
        name,
    )
