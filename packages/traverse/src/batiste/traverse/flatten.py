"""Nested dictionaries as flat ones, keyed by path, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from .errors import (
    NotAMappingError,
    NotTraversableError,
    PathConflictError,
    PathKeyError,
    type_name,
)

# Importing typing would be most of the time that importing this package takes. Type
# checkers take any variable of this name to be true.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Path = tuple[Any, ...]

__all__ = [
    "empty_node",
    "flatten_dict",
    "path_aware_map",
    "require_mapping",
    "unflatten_dict",
]


_MISSING = object()


class _EmptyNode(tuple):
    """Stands for an empty dictionary in a flat one; `empty_node` is the only one.

    A tuple with no named fields, because that is what JAX and other tree libraries
    take for a node without leaves with nothing to register: mapping a function over
    the values of a flat dictionary leaves the marker alone.
    """

    __slots__ = ()
    _fields = ()

    def __new__(cls) -> _EmptyNode:
        return empty_node

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:
        return hash(_EmptyNode)

    def __repr__(self) -> str:
        return "empty_node"

    def __reduce__(self) -> str:
        # A name, so that copies and unpickled markers are this very object.
        return "empty_node"


empty_node = tuple.__new__(_EmptyNode)


def require_mapping(caller: str, xs: object) -> None:
    """Checks that a function over nested dictionaries was given one.

    Args:
      caller: the name of the function.
      xs: what it was given.

    Raises:
      NotAMappingError: `xs` is not a mapping.

    >>> require_mapping('flatten_dict', {'a': 1})
    """
    if not isinstance(xs, Mapping):
        raise NotAMappingError(
            f"{caller} needs a mapping, such as a dict or a FrozenDict, but got a "
            f"value of type {type_name(xs)}."
        )


def _shown_path(path: Path | list[str], sep: str | None) -> str:
    return repr(tuple(path)) if sep is None else repr(sep.join(path))


def _require_separator(caller: str, sep: object) -> None:
    if sep is not None and not isinstance(sep, str):
        raise PathKeyError(
            f"{caller}: sep must be a string or None, but got {sep!r} "
            f"({type_name(sep)})."
        )


_ESCAPE = "\\"


def _join(path: Path, sep: str) -> str:
    try:
        joined = sep.join(path)
    except TypeError:
        bad = next(key for key in path if not isinstance(key, str))
        raise PathKeyError(
            f"flatten_dict with sep={sep!r} needs keys that are strings, but the path "
            f"{path!r} has the key {bad!r} ({type_name(bad)}); leave sep out to get "
            "paths as tuples."
        ) from None
    # An empty sep joins for display: nothing could split that.
    if not sep or not path or _split(joined, sep) == list(path):
        return joined
    if _ESCAPE not in sep:
        escaped = sep.join(_escaped(key, sep) for key in path[:-1])
        escaped += sep * (len(path) > 1) + _escaped(path[-1], sep, last=True)
        if _split(escaped, sep) == list(path):
            return escaped
    raise PathKeyError(
        f"flatten_dict: the path {path!r}, joined with sep={sep!r}, would be split in "
        "other places; choose another sep, or leave it out to get paths as tuples."
    )


def _escaped(key: str, sep: str, last: bool = False) -> str:
    """A key in which no separator is one: a backslash stands before each.

    Backslashes before it, or at the end of a key that others follow, are doubled.
    """
    parts = key.split(sep)
    ends = [part[len(part.rstrip(_ESCAPE)) :] for part in parts]
    doubled = [part + end for part, end in zip(parts, ends, strict=True)]
    if last:
        doubled[-1] = parts[-1]
    return f"{_ESCAPE}{sep}".join(doubled)


def flatten_dict(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool = False,
    is_leaf: Callable[[Path, Any], bool] | None = None,
    sep: str | None = None,
) -> dict[Any, Any]:
    r"""Turns a nested dictionary into a flat one whose keys are paths.

    Every mapping is gone into, whatever its type; everything else is a leaf, lists
    and tuples too. The order of the leaves is that of the input. The work is linear
    in the size of the result, and no depth is too great.

    Args:
      xs: the nested dictionary: a `dict`, a `FrozenDict` or another mapping.
      keep_empty_nodes: put `empty_node` where a nested dictionary is empty.
        Otherwise empty dictionaries leave no trace. An empty `xs` gives an
        empty result in both cases.
      is_leaf: `is_leaf(path, subtree)` is asked about every mapping, `xs`
        itself (with the path `()`) included. Where it returns true, the mapping
        is kept whole, as a leaf. The path is a tuple, also when `sep` is given.
      sep: join the keys of a path to one string, with this between them. Without
        it paths are tuples. Where a key itself contains `sep`, a backslash is put
        before it, so that `unflatten_dict` gives the same keys back.

    Returns:
      A new `dict` from paths to leaves. The leaves are the same objects.

    Raises:
      NotAMappingError: `xs` is not a mapping.
      PathKeyError: `sep` is not a string, or a key is not while `sep` is given, or the
        keys could not be told apart once joined.
      PathConflictError: joined with `sep`, two paths are the same string but for the
        backslashes, which other readers take for parts of keys.
      NotTraversableError: a dictionary contains itself.

    >>> from batiste.traverse import flatten_dict
    >>> xs = {'scale': 3, 'dense': {'bias': 2, 'extra': {}}}
    >>> flatten_dict(xs)
    {('scale',): 3, ('dense', 'bias'): 2}
    >>> flatten_dict(xs, keep_empty_nodes=True, sep='/')
    {'scale': 3, 'dense/bias': 2, 'dense/extra': empty_node}
    >>> flatten_dict(xs, is_leaf=lambda path, subtree: path == ('dense',))
    {('scale',): 3, ('dense',): {'bias': 2, 'extra': {}}}
    >>> print(*flatten_dict({'stats': {'kernel/u': 1}}, sep='/'))
    stats/kernel\/u
    """
    require_mapping("flatten_dict", xs)
    _require_separator("flatten_dict", sep)
    flat: dict[Any, Any] = {}
    plain: set[str] = set()
    for path, value in _leaves(xs, keep_empty_nodes, is_leaf):
        if sep is None:
            flat[path] = value
            continue
        joined = _join(path, sep)
        unescaped = sep.join(path)
        if unescaped in plain:
            raise PathConflictError(
                f"flatten_dict: with sep={sep!r}, the path {path!r} and an earlier one "
                f"both become {unescaped!r}; choose another sep, or leave it out."
            )
        plain.add(unescaped)
        flat[joined] = value
    return flat


def _leaves(
    xs: Mapping[Any, Any],
    keep_empty_nodes: bool,
    is_leaf: Callable[[Path, Any], bool] | None,
) -> Iterator[tuple[Path, Any]]:
    if is_leaf is not None and is_leaf((), xs):
        yield (), xs
        return
    # A stack of our own, because Python's ends at a thousand levels. One path is
    # shared by all levels: a tuple for each would make deep trees quadratic.
    path: list[Any] = []
    open_nodes = [(xs, iter(xs.items()))]
    open_ids = {id(xs)}
    while open_nodes:
        node, items = open_nodes[-1]
        for key, value in items:
            path.append(key)
            if isinstance(value, Mapping):
                if is_leaf is not None and is_leaf(tuple(path), value):
                    yield tuple(path), value
                elif value:
                    if id(value) in open_ids:
                        raise NotTraversableError(
                            f"flatten_dict: the {type_name(value)} at {tuple(path)!r} "
                            "contains itself, so that its paths have no end."
                        )
                    open_ids.add(id(value))
                    open_nodes.append((value, iter(value.items())))
                    break
                elif keep_empty_nodes:
                    yield tuple(path), empty_node
            else:
                yield tuple(path), value
            path.pop()
        else:
            open_nodes.pop()
            open_ids.remove(id(node))
            if path:
                path.pop()


def unflatten_dict(xs: Mapping[Any, Any], sep: str | None = None) -> dict[Any, Any]:
    """Rebuilds the nested dictionary that `flatten_dict` flattened.

    `empty_node` becomes an empty dictionary. A leaf that is itself a `dict` may
    stand where other paths go further: its entries and theirs are put together, in a
    new dictionary. The values of `xs` are never changed.

    Args:
      xs: a mapping from paths to leaves. Paths are tuples of keys or, with `sep`,
        strings.
      sep: the separator that `flatten_dict` was given. Where a backslash stands before
        it, it is a part of the key, as `flatten_dict` writes it.

    Returns:
      A new `dict` of `dict`s, whatever mappings were flattened.

    Raises:
      NotAMappingError: `xs` is not a mapping.
      PathKeyError: a path is not a tuple (or, with `sep`, not a string), or
        `sep` is not a string of at least one character.
      PathConflictError: a leaf stands where another path goes further.

    >>> from batiste.traverse import unflatten_dict
    >>> unflatten_dict({('scale',): 3, ('dense', 'bias'): 2})
    {'scale': 3, 'dense': {'bias': 2}}
    >>> unflatten_dict({'scale': 3, 'dense/bias': 2}, sep='/')
    {'scale': 3, 'dense': {'bias': 2}}
    """
    require_mapping("unflatten_dict", xs)
    _require_separator("unflatten_dict", sep)
    if sep == "":
        raise PathKeyError(
            "unflatten_dict: sep must not be empty; there is no telling where to split."
        )
    root: dict[Any, Any] = {}
    # The dictionaries made here, as against those that are leaves of the input.
    branches = {id(root)}
    for key, value in xs.items():
        path = _split(key, sep)
        node: Any = root
        for depth, part in enumerate(path[:-1]):
            child = node.get(part)
            if id(child) not in branches:
                child = _branch(node, path, depth, branches, sep)
            node = child
        _place(node, path, value, branches, sep)
    return root


def _split(key: Any, sep: str | None) -> Path | list[str]:
    if sep is None:
        if isinstance(key, tuple):
            return key
        hint = "; pass sep to split strings" if isinstance(key, str) else ""
        raise PathKeyError(
            f"unflatten_dict needs keys that are tuples, but got {key!r} "
            f"({type_name(key)}){hint}."
        )
    if isinstance(key, str):
        if f"{_ESCAPE}{sep}" not in key or _ESCAPE in sep:
            return key.split(sep)
        return _split_escaped(key, sep)
    raise PathKeyError(
        f"unflatten_dict with sep={sep!r} needs keys that are strings, but got {key!r} "
        f"({type_name(key)}); leave sep out if the keys are tuples."
    )


def _split_escaped(key: str, sep: str) -> list[str]:
    """Splits where no backslash, or an even number of them, stands before `sep`."""
    parts: list[str] = []
    pending = ""
    pieces = key.split(sep)
    for piece in pieces[:-1]:
        count = len(piece) - len(piece.rstrip(_ESCAPE))
        text = piece[: len(piece) - (count + 1) // 2]
        if count % 2:
            pending += text + sep
        else:
            parts.append(pending + text)
            pending = ""
    return [*parts, pending + pieces[-1]]


def _branch(
    node: dict[Any, Any],
    path: Path | list[str],
    depth: int,
    branches: set[int],
    sep: str | None,
) -> dict[Any, Any]:
    """The dictionary under `path[depth]` in `node`, made if it is not there."""
    part = path[depth]
    child = node.get(part, _MISSING)
    if child is _MISSING:
        child = node[part] = {}
        branches.add(id(child))
    elif id(child) not in branches:
        if not isinstance(child, dict):
            raise PathConflictError(
                f"unflatten_dict: {_shown_path(path[: depth + 1], sep)} is a "
                f"leaf ({type_name(child)}), and {_shown_path(path, sep)} needs "
                "it to be a dictionary; remove or rename one of the two."
            )
        child = node[part] = dict(child)
        branches.add(id(child))
    return child


def _place(
    node: dict[Any, Any],
    path: Path | list[str],
    value: Any,
    branches: set[int],
    sep: str | None,
) -> None:
    # The path () names the root, which is always there.
    existing = node.get(path[-1], _MISSING) if path else node
    if existing is _MISSING:
        if value is empty_node:
            value = {}
            branches.add(id(value))
        node[path[-1]] = value
        return
    where = _shown_path(path, sep)
    if id(existing) not in branches:
        why = f"{where} is given twice, once inside a leaf that is a dictionary"
    elif value is empty_node:
        return
    elif not isinstance(value, dict):
        why = f"{where} is a leaf ({type_name(value)}), and other paths go on from it"
    else:
        clashing = [key for key in value if key in existing]
        if not clashing:
            existing.update(value)
            return
        why = f"{where} is a leaf with the key {clashing[0]!r}, as is another path"
    raise PathConflictError(f"unflatten_dict: {why}; remove or rename one of the two.")


def path_aware_map(
    f: Callable[[Path, Any], Any], nested_dict: Mapping[Any, Any]
) -> dict[Any, Any]:
    """Maps the leaves of a nested dictionary, telling the function where each one is.

    Args:
      f: `f(path, value)` gives the new value of a leaf. `path` is the tuple of
        keys from the outermost dictionary to the leaf.
      nested_dict: a nested dictionary; leaves are as in `flatten_dict`, and empty
        dictionaries stay empty dictionaries.

    Returns:
      A new `dict` of `dict`s with the same keys, whatever the mappings were.

    Raises:
      NotAMappingError: `nested_dict` is not a mapping.
      NotTraversableError: a dictionary contains itself.

    >>> from batiste.traverse import path_aware_map
    >>> params = {'dense': {'kernel': 4, 'bias': 2}, 'norm': {'bias': 1}}
    >>> path_aware_map(lambda path, x: 0 if path[-1] == 'bias' else x, params)
    {'dense': {'kernel': 4, 'bias': 0}, 'norm': {'bias': 0}}
    """
    require_mapping("path_aware_map", nested_dict)
    return unflatten_dict(
        {
            path: value if value is empty_node else f(path, value)
            for path, value in _leaves(nested_dict, True, None)
        }
    )
