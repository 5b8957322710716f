"""Trees of variables whose items are attributes; of generation 0.6.

>>> DotGetter({"params": {"dense": {"bias": 0.5}}}).params.dense.bias
0.5
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import jax

from batiste.core.frozen_dict import FrozenDict

__all__ = ["DotGetter", "is_leaf"]


def is_leaf(x: Any) -> bool:
    """Tells whether JAX takes a value for a leaf, or it has nothing below it.

    >>> is_leaf(3), is_leaf({"a": 1})
    (True, False)
    """
    return jax.tree.structure(x).num_nodes == 1


class DotGetter(MutableMapping[str, Any], dict):  # type: ignore[misc]
    """A view of a nested dict, for interactive use: `tree.params.dense.kernel`.

    Dicts in it are views, too; whatever else it holds is as it is. Setting an item sets
    it in the dict behind. A name that is a method of dicts, as `items`, is reached by
    `tree["items"]`.

    Args:
      data: the dict, or FrozenDict.

    >>> tree = DotGetter({"a": {"b": 1}})
    >>> tree.a.c = 2
    >>> tree
    {'a': {'b': 1, 'c': 2}}
    """

    __slots__ = ("_data",)

    def __init__(self, data: Any):
        object.__setattr__(self, "_data", data)

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError as error:
            raise AttributeError(f"this tree has no {key!r}, but {[*self]}") from error

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def __getitem__(self, key: str) -> Any:
        value = self._data[key]
        return DotGetter(value) if isinstance(value, (dict, FrozenDict)) else value

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(self._data, FrozenDict):
            raise ValueError(
                f"Cannot set {key!r}: the tree is a FrozenDict. Make one of its "
                "`unfreeze()`."
            )
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        if isinstance(self._data, FrozenDict):
            raise ValueError(
                f"Cannot delete {key!r}: the tree is a FrozenDict. Make one of its "
                "`unfreeze()`."
            )
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __dir__(self) -> list[str]:
        return [*self._data]

    def __repr__(self) -> str:
        return repr(self._data)

    def __hash__(self) -> int:  # pyright: ignore
        return hash(tuple(sorted(self._data.items())))

    def __copy__(self) -> DotGetter:
        return self.copy()

    def __reduce__(self) -> Any:
        return DotGetter, (object.__getattribute__(self, "_data"),)

    def __to_state_dict__(self) -> dict[str, Any]:
        return dict(self._data)

    def __from_state_dict__(self, state: dict[str, Any]) -> DotGetter:
        return DotGetter(type(self._data)(state))

    def copy(self, **kwargs: Any) -> DotGetter:
        """Returns a view of a copy, with further items."""
        return DotGetter({**self._data, **kwargs})


def _unflatten(keys: tuple[str, ...], values: Any) -> DotGetter:
    return DotGetter(values[0])


jax.tree_util.register_pytree_node(
    DotGetter, lambda tree: ((object.__getattribute__(tree, "_data"),), ()), _unflatten
)
