"""Plain trees: what a program that knows no classes takes and gives.

JAX writes the structure of a program's arguments and results into the file, and reads
it back only where the classes of the containers are known. So the program in a file has
none but dicts, lists and tuples. Other containers become these on the way in and out,
by what JAX calls their children: names make a dict, numbers a list.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax import tree_util

from batiste.core.types import Tree

from ..errors import ExportError

__all__ = [
    "difference",
    "leaf_paths",
    "plain",
    "rebuilder",
]


def plain(tree: Tree) -> Tree:
    """Returns a tree of dicts, lists and tuples with the leaves of any other.

    Named tuples become tuples; mappings, and containers whose children have names, such
    as dataclasses, become dicts with text for keys; what has numbered children becomes
    a list.

    Args:
      tree: a pytree.

    Raises:
      ExportError: two keys of a mapping are the same text.

    >>> from batiste.core import freeze
    >>> plain(freeze({'carry': (1, [2])}))
    {'carry': (1, [2])}
    >>> plain({1: 'a', 2: None})
    {'1': 'a', '2': None}
    """
    if tree is None:
        return None
    found, _ = tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is not tree)
    if len(found) == 1 and not found[0][0]:
        return tree
    children = [plain(child) for _, child in found]
    if isinstance(tree, tuple):
        return tuple(children)
    if isinstance(tree, list):
        return children
    keys = [path[0] for path, _ in found]
    names = [
        str(key.key if isinstance(key, tree_util.DictKey) else key.name)
        for key in keys
        if isinstance(key, (tree_util.DictKey, tree_util.GetAttrKey))
    ]
    named = isinstance(tree, Mapping) or dataclasses.is_dataclass(tree)
    if not names and not named:
        return children
    if len(set(names)) < len(keys):
        raise ExportError(
            f"A {type(tree).__name__} has the keys "
            f"{', '.join(repr(getattr(key, 'key', key)) for key in keys)}, which are "
            "not different as text, and the arguments and results of an exported "
            "program have text for keys. Rename them."
        )
    return dict(zip(names, children))


def rebuilder(tree: Tree) -> Callable[[Tree], Tree]:
    """Returns a function that gives a plain tree the containers of another tree.

    Args:
      tree: a pytree; its leaves are not used.

    Returns:
      A function of a tree with the structure of `plain(tree)`. It returns one with the
      structure of `tree`, and leaves from its argument.

    >>> from batiste.core import freeze
    >>> rebuilder(freeze({'a': 0, 'b': 0}))({'a': 1, 'b': 2})
    FrozenDict({
        a: 1,
        b: 2,
    })
    """
    structure = jax.tree.structure(tree)
    numbers = range(structure.num_leaves)
    order = jax.tree.leaves(plain(structure.unflatten(numbers)))

    def rebuild(given: Tree) -> Tree:
        leaves: list[Any] = [None] * len(order)
        for number, leaf in zip(order, jax.tree.leaves(given)):
            leaves[number] = leaf
        return structure.unflatten(leaves)

    return rebuild


def leaf_paths(tree: Tree, name: str = "") -> Iterator[tuple[str, Any]]:
    """Lists the leaves with their paths, as text.

    >>> list(leaf_paths({'a': [1, 2]}, 'x'))
    [('x/a/0', 1), ('x/a/1', 2)]
    """
    for path, leaf in tree_util.tree_flatten_with_path(tree)[0]:
        keys = tree_util.keystr(path, simple=True, separator="/")
        yield "/".join(filter(None, (name, keys))), leaf


def difference(given: Tree, expected: Tree, name: str) -> str | None:
    """Says where the structures of two plain trees differ first, and None if nowhere.

    >>> difference({'a': 1}, {'a': 1, 'b': 2}, 'x')
    '"x" has the keys "a", and takes "a", "b"'
    >>> difference([1], 1, 'x')
    '"x" is a list, and takes an array'
    """
    for kind in (dict, list, tuple, type(None)):
        if isinstance(given, kind) is not isinstance(expected, kind):
            return f'"{name}" is {_kind(given)}, and takes {_kind(expected)}'
    if isinstance(expected, dict):
        if given.keys() != expected.keys():
            return f'"{name}" has the keys {_keys(given)}, and takes {_keys(expected)}'
        pairs = [(key, given[key], expected[key]) for key in expected]
    elif isinstance(expected, (list, tuple)):
        if len(given) != len(expected):
            return f'"{name}" has {len(given)} items, and takes {len(expected)}'
        pairs = [(i, *pair) for i, pair in enumerate(zip(given, expected))]
    else:
        return None
    found = (difference(a, b, f"{name}/{key}") for key, a, b in pairs)
    return next(filter(None, found), None)


def _kind(value: object) -> str:
    if value is None:
        return "None"
    names = {dict: "a dict", list: "a list", tuple: "a tuple"}
    return names.get(type(value), "an array")


def _keys(tree: dict[str, Any]) -> str:
    return ", ".join(f'"{key}"' for key in sorted(tree)) or "none"
