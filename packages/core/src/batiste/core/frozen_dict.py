"""An immutable dictionary that is a pytree, and functions for both kinds of dict."""

# The views and the functions of this file are the other half of the class: they read
# the dict inside it, which has no public name, as whoever has it can change it.
# ruff: noqa: SLF001

from __future__ import annotations

import operator
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, cast, overload

import jax

__all__ = [
    "FrozenDict",
    "FrozenItemsView",
    "FrozenKeysView",
    "FrozenValuesView",
    "copy",
    "entries_of",
    "freeze",
    "pop",
    "pretty_repr",
    "unfreeze",
]

K = TypeVar("K")
V = TypeVar("V")

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


class FrozenKeysView(KeysView[K]):
    """The keys of a FrozenDict: a set-like view with a short `repr`.

    >>> FrozenDict(a=1, b=2).keys()
    frozen_dict_keys(['a', 'b'])
    """

    def __repr__(self) -> str:
        return f"frozen_dict_keys({list(self)})"


class FrozenValuesView(ValuesView[V]):
    """The values of a FrozenDict, nested dictionaries as FrozenDicts.

    >>> FrozenDict(a=1, b=2).values()
    frozen_dict_values([1, 2])
    """

    def __iter__(self) -> Iterator[V]:
        for value in self._mapping._dict.values():  # type: ignore[attr-defined]
            yield _view(value) if isinstance(value, dict) else value  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"frozen_dict_values({list(self)})"


class FrozenItemsView(ItemsView[K, V]):
    """The key-value pairs of a FrozenDict, nested dictionaries as FrozenDicts.

    >>> FrozenDict(a=1, b=2).items()
    frozen_dict_items([('a', 1), ('b', 2)])
    """

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for key, value in self._mapping._dict.items():  # type: ignore[attr-defined]
            yield key, (_view(value) if isinstance(value, dict) else value)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"frozen_dict_items({list(self)})"


class FrozenDict(Mapping[K, V]):
    """A dictionary that cannot change, nested dictionaries included.

    It is made from what `dict` takes. Nested dictionaries are copied, so a later
    change of the source does not show; every other value is kept as it is. A nested
    dictionary is given out as a FrozenDict that shares its entries: reading costs no
    copy. Equal to any mapping with the same entries. It can be hashed if all of its
    values can, and the hash is computed once. As a pytree its children are the
    values, by sorted keys.

    Args:
      *args: a mapping or pairs, as for `dict`.
      **kwargs: entries, as for `dict`.
      __unsafe_skip_copy__: use the given dictionary itself, which must not change
        from then on.

    Raises:
      ValueError: an entry is assigned or deleted.

    >>> variables = FrozenDict({'params': {'kernel': 1, 'bias': 0}})
    >>> variables['params']['kernel']
    1
    >>> variables
    FrozenDict({
        params: {
            kernel: 1,
            bias: 0,
        },
    })
    """

    __slots__ = ("_dict", "_hash")

    _dict: dict[K, V]
    _hash: int | None

    def __init__(
        self, *args: Any, __unsafe_skip_copy__: bool = False, **kwargs: Any
    ) -> None:
        self._hash = None
        first = args[0] if len(args) == 1 and not kwargs else None
        if type(first) is FrozenDict:
            self._dict = first._dict
        elif __unsafe_skip_copy__ and type(first) is dict:
            self._dict = first
        else:
            self._dict = cast("dict[K, V]", dict(*args, **kwargs))
            if not __unsafe_skip_copy__:
                _own_nested(self._dict)

    def __getitem__(self, key: K) -> V:
        value = self._dict[key]
        if isinstance(value, dict):
            return cast(V, _view(value))
        return value

    def get(self, key: K, default: Any = None) -> Any:
        """Returns the value of a key.

        Args:
          key: the key.
          default: what to return if there is none.

        Returns:
          The value, or the default.

        >>> FrozenDict(a=1).get('b', 0)
        0
        """
        value = self._dict.get(key, default)
        # A dictionary given as the default belongs to the caller.
        if isinstance(value, dict) and value is not default:
            return _view(value)
        return value

    def __setitem__(self, key: K, value: V) -> NoReturn:
        raise ValueError("FrozenDict is immutable.")

    def __delitem__(self, key: K) -> NoReturn:
        raise ValueError("FrozenDict is immutable.")

    def __contains__(self, key: object) -> bool:
        return key in self._dict

    def __iter__(self) -> Iterator[K]:
        return iter(self._dict)

    def __len__(self) -> int:
        return len(self._dict)

    def keys(self) -> KeysView[K]:
        """Returns a view of the keys, in the order of construction.

        >>> list(FrozenDict(b=1, a=2).keys())
        ['b', 'a']
        """
        return FrozenKeysView(self)

    def values(self) -> ValuesView[V]:
        """Returns a view of the values, in the order of construction.

        >>> list(FrozenDict(b=1, a={}).values())
        [1, FrozenDict({})]
        """
        return FrozenValuesView(self)

    def items(self) -> ItemsView[K, V]:
        """Returns a view of the pairs of key and value, in the order of construction.

        >>> dict(FrozenDict(b=1, a=2).items())
        {'b': 1, 'a': 2}
        """
        return FrozenItemsView(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenDict):
            return self._dict == other._dict
        if isinstance(other, dict):
            return self._dict == other
        if isinstance(other, Mapping):
            return self._dict == dict(other.items())
        return NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = _hash(self._dict)
        return self._hash

    def __repr__(self) -> str:
        return self.pretty_repr()

    def _repr_html_(self) -> str | None:
        from . import notebook  # only notebooks ask for it

        name = type(self).__name__
        return notebook.page(lambda: notebook.tree(name, self._dict, shown=True))

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenDict, (self.unfreeze(),)

    def pretty_repr(self, num_spaces: int = 4) -> str:
        """Writes the nested dictionary as text, an entry a line.

        Args:
          num_spaces: spaces for each level.

        Returns:
          The lines.

        >>> print(FrozenDict({'a': {'b': 1}}).pretty_repr(2))
        FrozenDict({
          a: {
            b: 1,
          },
        })
        """
        return f"FrozenDict({_pretty(self._dict, num_spaces)})"

    def copy(self, add_or_replace: Mapping[Any, Any] = _EMPTY) -> FrozenDict[K, V]:
        """Returns a FrozenDict with entries added or replaced.

        Args:
          add_or_replace: the new entries; nested dictionaries replace whole values.

        Returns:
          A new FrozenDict, which shares the other values with this one.

        >>> FrozenDict(a=1).copy({'b': 2}) == {'a': 1, 'b': 2}
        True
        """
        added = dict(add_or_replace)
        _own_nested(added)
        return _view({**self._dict, **added})

    def pop(self, key: K) -> tuple[FrozenDict[K, V], V]:
        """Splits off an entry.

        Args:
          key: the key of the entry.

        Returns:
          A FrozenDict without the entry, and the value of the entry.

        Raises:
          KeyError: there is no such entry.

        >>> state, params = FrozenDict(params=1, stats=2).pop('params')
        >>> state == {'stats': 2}, params
        (True, 1)
        """
        value = self[key]
        rest = dict(self._dict)
        del rest[key]
        return _view(rest), value

    def unfreeze(self) -> dict[K, V]:
        """Returns a mutable copy: a plain nested dictionary, with sorted keys.

        >>> FrozenDict({'b': {'c': 1}, 'a': 2}).unfreeze()
        {'a': 2, 'b': {'c': 1}}
        """
        return unfreeze(self)

    def tree_flatten_with_keys(
        self,
    ) -> tuple[tuple[tuple[Any, V], ...], tuple[K, ...]]:
        """Takes the dictionary apart as a pytree node.

        Returns:
          The children with their pytree keys, and the sorted dictionary keys.

        Raises:
          TypeError: the keys cannot be sorted.

        >>> FrozenDict(b=1, a=2).tree_flatten_with_keys()
        (((DictKey(key='a'), 2), (DictKey(key='b'), 1)), ('a', 'b'))
        """
        entries = self._dict
        keys = tuple(_sorted(entries))
        children = tuple((jax.tree_util.DictKey(key), entries[key]) for key in keys)
        return children, keys

    @classmethod
    def tree_unflatten(
        cls, keys: tuple[K, ...], values: Iterable[V]
    ) -> FrozenDict[K, V]:
        """Puts a pytree node together, as the inverse of `tree_flatten_with_keys`.

        Args:
          keys: the dictionary keys.
          values: the values, in the order of the keys.

        Returns:
          A FrozenDict.

        >>> FrozenDict.tree_unflatten(('a', 'b'), (2, 1)) == {'a': 2, 'b': 1}
        True
        """
        return cls(dict(zip(keys, values, strict=True)), __unsafe_skip_copy__=True)

    def __to_state_dict__(self) -> dict[str, Any]:
        state = {str(key): value for key, value in self.items()}
        if len(state) != len(self._dict):
            names = [str(key) for key in self._dict]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(
                "The keys of a dictionary must differ as strings, to be saved; "
                f"{twice} occur more than once, in the keys {list(self._dict)}. "
                "Rename some."
            )
        return state

    def __from_state_dict__(self, state: Mapping[str, Any]) -> FrozenDict[K, V]:
        return FrozenDict({key: state[str(key)] for key in self._dict})


_new = object.__new__


def _view(entries: dict[Any, Any]) -> FrozenDict[Any, Any]:
    """A FrozenDict on the dictionary itself."""
    frozen = _new(FrozenDict)
    frozen._dict = entries
    frozen._hash = None
    return frozen


def _own_nested(entries: dict[Any, Any]) -> None:
    """Replace the nested dictionaries by copies that nobody else holds.

    The entries of a FrozenDict are shared instead, as nobody can change them. A loop
    rather than a recursion, as dictionaries can be nested deeper than the stack.
    """
    todo = [entries]
    while todo:
        current = todo.pop()
        for key, value in current.items():
            if isinstance(value, dict):
                value = current[key] = dict(value)
                todo.append(value)
            elif isinstance(value, FrozenDict):
                current[key] = value._dict


def _hash(entries: dict[Any, Any]) -> int:
    # A set, as the order of entries does not count.
    hashes = set()
    for key, value in entries.items():
        nested = value._dict if isinstance(value, FrozenDict) else value
        value_hash = _hash(nested) if isinstance(nested, dict) else hash(value)
        hashes.add((key, value_hash))
    return hash(frozenset(hashes))


def _sorted(keys: Iterable[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:
        # Keys of several types, such as 1 and 'a', have no order among themselves.
        return sorted(keys, key=lambda key: (type(key).__qualname__, key))


# The recursive functions of this module are loops without comprehensions, so that a
# level of nesting takes one frame of the stack.
def _write_pretty(
    entries: dict[Any, Any], num_spaces: int, level: int, out: list[str]
) -> None:
    if not entries:
        out.append("{}")
        return
    indent = " " * (num_spaces * level)
    # Texts of several lines, such as those of arrays, are indented as a whole.
    newline = "\n" + indent
    out.append("{\n")
    for key, value in entries.items():
        out.append(indent + str(key).replace("\n", newline) + ": ")
        nested = value._dict if isinstance(value, FrozenDict) else value
        if isinstance(nested, dict):
            _write_pretty(nested, num_spaces, level + 1, out)
        else:
            out.append(repr(value).replace("\n", newline))
        out.append(",\n")
    out.append(" " * (num_spaces * (level - 1)) + "}")


def _pretty(entries: dict[Any, Any], num_spaces: int) -> str:
    out: list[str] = []
    _write_pretty(entries, max(num_spaces, 0), 1, out)
    return "".join(out)


def _flatten(
    frozen: FrozenDict[Any, Any],
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    entries = frozen._dict
    keys = tuple(_sorted(entries))
    return tuple([entries[key] for key in keys]), keys


def _unflatten(keys: tuple[Any, ...], values: Iterable[Any]) -> FrozenDict[Any, Any]:
    return _view(dict(zip(keys, values, strict=True)))


jax.tree_util.register_pytree_with_keys(
    FrozenDict, FrozenDict.tree_flatten_with_keys, _unflatten, _flatten
)


entries_of: Callable[[FrozenDict[Any, Any]], dict[Any, Any]]
entries_of = operator.attrgetter("_dict")
"""The nested dicts that a FrozenDict holds, for Batiste itself to read.

They read faster than the FrozenDict, which wraps what it gives out. Whoever asks for
them must not change them.
"""


def freeze(xs: Mapping[K, V]) -> FrozenDict[K, V]:
    """Makes a nested dictionary immutable.

    Args:
      xs: the dictionary; it is not changed, and later changes of it do not show.

    Returns:
      A FrozenDict with the same entries.

    >>> freeze({'a': {'b': 1}})['a']
    FrozenDict({
        b: 1,
    })
    """
    return FrozenDict(xs)


@overload
def unfreeze(x: FrozenDict[K, V]) -> dict[K, V]: ...


@overload
def unfreeze(x: dict[K, V]) -> dict[K, V]: ...


@overload
def unfreeze(x: V) -> V: ...


def unfreeze(x: Any) -> Any:
    """Gives a FrozenDict, or a dict that holds some, as dicts that can be changed.

    Args:
      x: a FrozenDict, or a dictionary with FrozenDicts as values at any depth.

    Returns:
      A plain nested dictionary. The keys of what was frozen are sorted, as in every
      copy that is made by a pytree map; lists and other pytrees in it are copied
      too. A value that is no dictionary comes back as it is.

    >>> unfreeze(FrozenDict({'a': {'b': 1}}))
    {'a': {'b': 1}}
    """
    if isinstance(x, FrozenDict):
        return _copy_tree(x._dict)
    if isinstance(x, dict):
        plain = {}
        for key, value in x.items():
            plain[key] = unfreeze(value)
        return plain
    return x


def copy(
    x: Mapping[Any, Any], add_or_replace: Mapping[Any, Any] = _EMPTY
) -> Mapping[Any, Any]:
    """Copies a FrozenDict or dict, with entries added or replaced.

    Args:
      x: the dictionary, which is not changed.
      add_or_replace: the new entries.

    Returns:
      A dictionary of the type of `x`.

    Raises:
      TypeError: `x` is neither.

    >>> copy({'a': 1}, {'b': 2})
    {'a': 1, 'b': 2}
    """
    if isinstance(x, FrozenDict):
        return x.copy(add_or_replace)
    if isinstance(x, dict):
        return {**_copy_tree(x), **add_or_replace}
    raise TypeError(f"Expected FrozenDict or dict, got {type(x)}")


def pop(x: Mapping[Any, Any], key: Any) -> tuple[Mapping[Any, Any], Any]:
    """Splits an entry off a FrozenDict or dict, which itself is not changed.

    Args:
      x: the dictionary.
      key: the key of the entry.

    Returns:
      A dictionary of the type of `x` without the entry, and the entry's value.

    Raises:
      TypeError: `x` is neither.
      KeyError: there is no such entry.

    >>> pop({'a': 1, 'b': 2}, 'a')
    ({'b': 2}, 1)
    """
    if isinstance(x, FrozenDict):
        return x.pop(key)
    if isinstance(x, dict):
        rest = _copy_tree(x)
        value = rest.pop(key)
        return rest, value
    raise TypeError(f"Expected FrozenDict or dict, got {type(x)}")


def pretty_repr(x: Any, num_spaces: int = 4) -> str:
    """Writes a nested dictionary of either kind as text, an entry a line.

    Args:
      x: the dictionary; for any other value the result is `repr(x)`.
      num_spaces: spaces for each level.

    Returns:
      The lines.

    >>> print(pretty_repr({'a': {'b': 1}}))
    {
        a: {
            b: 1,
        },
    }
    """
    if isinstance(x, FrozenDict):
        return x.pretty_repr(num_spaces)
    if isinstance(x, dict):
        return _pretty(x, num_spaces)
    return repr(x)


def _identity(x: Any) -> Any:
    return x


def _copy_tree(entries: dict[Any, Any]) -> dict[Any, Any]:
    """A copy of all dictionaries, lists and other pytrees, with sorted keys."""
    try:
        return jax.tree_util.tree_map(_identity, entries)
    except ValueError:
        # JAX cannot sort keys of several types; their order then stays.
        copied = {}
        for key, value in entries.items():
            copied[key] = _copy_tree(value) if isinstance(value, dict) else value
        return copied
