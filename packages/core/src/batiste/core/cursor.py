"""Changes deep inside immutable data, as if it could be changed.

>>> from batiste.core.cursor import cursor
>>> data = {'layers': [{'rate': 0.1}, {'rate': 0.2}], 'step': (3, 4)}
>>> c = cursor(data)
>>> c['layers'][1]['rate'] = 0.5
>>> c['step'][0] += 10
>>> c.build()
{'layers': [{'rate': 0.1}, {'rate': 0.5}], 'step': (13, 4)}
>>> data['step']
(3, 4)
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import operator
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from typing import (
    Any,
    Generic,
    NoReturn,
    Protocol,
    TypeAlias,
    TypeVar,
    runtime_checkable,
)

from jax.tree_util import DictKey, GetAttrKey, keystr

from .errors import CursorFindError, name_hint, short_repr
from .frozen_dict import FrozenDict
from .types import Function

__all__ = [
    "AccessType",
    "Condition",
    "Cursor",
    "Indexable",
    "Key",
    "ParentKey",
    "cursor",
]

A = TypeVar("A")

Key: TypeAlias = Hashable
"""A key of a mapping, an index, or the name of an attribute."""

Condition: TypeAlias = Callable[[str, Any], Any]
"""Whether the value at a path is meant."""


@runtime_checkable
class Indexable(Protocol):
    """Anything with items, read by `x[key]`.

    >>> isinstance([], Indexable), isinstance(3, Indexable)
    (True, False)
    """

    def __getitem__(self, key: Any, /) -> Any: ...


class AccessType(enum.Enum):
    """How a child is reached from its parent: `parent[key]` or `parent.key`.

    >>> [kind.name for kind in AccessType]
    ['ITEM', 'ATTR']
    """

    ITEM = enum.auto()
    ATTR = enum.auto()


@dataclasses.dataclass(frozen=True)
class ParentKey(Generic[A]):
    """Where a cursor hangs.

    Args:
      parent: the cursor above.
      key: the key or the name of the attribute.
      access_type: which of the two it is.

    >>> ParentKey(cursor({'a': 1}), 'a', AccessType.ITEM).key
    'a'
    """

    parent: Cursor[A]
    key: Key
    access_type: AccessType


def is_named_tuple(obj: object) -> bool:
    """Tells whether an object is an instance of a named tuple.

    >>> import collections
    >>> is_named_tuple(collections.namedtuple('Point', 'x y')(1, 2)), is_named_tuple(())
    (True, False)
    """
    return isinstance(obj, tuple) and hasattr(obj, "_fields")


def _children(obj: Any) -> list[tuple[Key, AccessType]]:
    """What a walk over the object visits below it, in order."""
    if isinstance(obj, FrozenDict | dict):
        return [(key, AccessType.ITEM) for key in obj]
    if is_named_tuple(obj):
        return [(name, AccessType.ATTR) for name in obj._fields]
    if isinstance(obj, list | tuple):
        return [(i, AccessType.ITEM) for i in range(len(obj))]
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return [(f.name, AccessType.ATTR) for f in dataclasses.fields(obj) if f.init]
    return []


def _rebuilt(obj: Any, changes: dict[Any, Any]) -> Any:
    """A copy of an object with some of its items or fields exchanged."""
    if isinstance(obj, FrozenDict):
        return obj.copy(changes)
    if is_named_tuple(obj):
        return obj._replace(**changes)
    if isinstance(obj, tuple):
        items = [changes.get(i, item) for i, item in enumerate(obj)]
        return type(obj)(items)
    if isinstance(obj, list | MutableMapping):
        new: Any = copy.copy(obj)
        for key, value in changes.items():
            new[key] = value
        return new
    return dataclasses.replace(obj, **changes)


class Cursor(Generic[A]):
    """A place in nested data, which can be changed without changing the data.

    Items and attributes of a cursor are cursors of the places below; assigning to them
    notes a change. Operators work on the value itself, as in `c['step'] + 1`. Make
    one with `cursor`.

    Containers are dicts, FrozenDicts, lists, tuples, named tuples and dataclasses,
    modules among them.

    Args:
      obj: the value at this place.
      parent_key: where it hangs; None at the root.

    >>> place = Cursor({'a': (1, 2)}, None)
    >>> place['a'][1] = 3
    >>> place.build()
    {'a': (1, 3)}
    """

    _obj: Any
    _parent_key: ParentKey[Any] | None
    _below: dict[Key, Cursor[Any]]
    _replaced: bool

    def __init__(self, obj: A, parent_key: ParentKey[Any] | None) -> None:
        own = self.__dict__
        own["_obj"], own["_parent_key"] = obj, parent_key
        # The cursors of places below that were asked for, and whether the value here
        # is another one than in the data that this tree of cursors began with.
        own["_below"], own["_replaced"] = {}, False

    # Places.

    @property
    def _root(self) -> Cursor[Any]:
        here: Cursor[Any] = self
        while here._parent_key is not None:
            here = here._parent_key.parent
        return here

    @property
    def _path(self) -> str:
        keys: list[Any] = []
        here: Cursor[Any] = self
        while here._parent_key is not None:
            at = here._parent_key
            by_name = at.access_type is AccessType.ATTR
            keys.append(GetAttrKey(str(at.key)) if by_name else DictKey(at.key))
            here = at.parent
        return keystr(tuple(reversed(keys)))

    def _where(self) -> str:
        return f"the place {self._path}" if self._path else "the root"

    def _item_key(self, key: Any) -> tuple[Any, AccessType]:
        """The key under which changes of an item are noted."""
        obj = self._obj
        if isinstance(obj, list | tuple) and not isinstance(key, slice):
            index, length = operator.index(key), len(obj)
            if not -length <= index < length:
                raise IndexError(
                    f"Index {index} is out of range at {self._where()}, which holds "
                    f"{length} items."
                )
            index %= length
            names: Any = getattr(obj, "_fields", None)
            if is_named_tuple(obj):
                return names[index], AccessType.ATTR
            return index, AccessType.ITEM
        return key, AccessType.ITEM

    def _child(self, key: Any, access: AccessType) -> Cursor[Any]:
        if key not in self._below:
            by_name = access is AccessType.ATTR
            value = getattr(self._obj, key) if by_name else self._obj[key]
            self._below[key] = Cursor(value, ParentKey(self, key, access))
        return self._below[key]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            raise TypeError(
                f"A cursor has no slices: {key} was asked for at {self._where()}. Use "
                "single items, or `.build()` for the value."
            )
        try:
            return self._child(*self._item_key(key))
        except KeyError:
            hint = name_hint(key, self._obj)
            raise KeyError(f'No key "{key}" at {self._where()}.{hint}') from None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Copying, pickling and inspection ask for such names.
            raise AttributeError(name)
        try:
            return self._child(name, AccessType.ATTR)
        except AttributeError:
            names = [key for key, _ in _children(self._obj)]
            raise AttributeError(
                f"No attribute {name!r} at {self._where()}, which is of type "
                f"{type(self._obj).__name__}.{name_hint(name, names)}"
            ) from None

    # Changes.

    def _replace_child(self, key: Key, access: AccessType, value: Any) -> None:
        new = Cursor(
            value.build() if isinstance(value, Cursor) else value,
            ParentKey(self, key, access),
        )
        new.__dict__["_replaced"] = True
        self._below[key] = new

    def __setitem__(self, key: Any, value: Any) -> None:
        if not isinstance(self._obj, FrozenDict | list | tuple | MutableMapping):
            self._refuse("items")
        if isinstance(key, slice):
            self[key]
        self._replace_child(*self._item_key(key), value)

    def __setattr__(self, name: str, value: Any) -> None:
        names = [
            key for key, access in _children(self._obj) if access is AccessType.ATTR
        ]
        if not names:
            self._refuse("attributes")
        if name not in names:
            raise AttributeError(
                f"No field {name!r} at {self._where()}, which is of type "
                f"{type(self._obj).__name__}.{name_hint(name, names)}"
            )
        self._replace_child(name, AccessType.ATTR, value)

    def _refuse(self, what: str) -> NoReturn:
        raise TypeError(
            f"Cannot change {what} at {self._where()}, which is of type "
            f"{type(self._obj).__name__}. Dicts, FrozenDicts, lists and tuples have "
            "items, dataclasses and named tuples have attributes; replace any other "
            "value as a whole."
        )

    def _built(self) -> tuple[bool, Any]:
        """Tells whether anything changed at or below this place, and the value."""
        changes = {}
        for key in self._below:
            child: Cursor[Any] = self._below[key]
            changed, value = child._built()
            if changed:
                changes[key] = value
        if changes:
            return True, _rebuilt(self._obj, changes)
        return self._replaced, self._obj

    def build(self) -> Any:
        """Returns the value at this place, with all changes at and below it.

        What has not changed is the same object as in the original.

        >>> c = cursor({'a': [1, 2], 'b': {}})
        >>> c['a'][0] = 5
        >>> c['a'].build(), c.build()
        ([5, 2], {'a': [5, 2], 'b': {}})
        """
        return self._built()[1]

    def set(self, value: Any) -> Any:
        """Changes this place, and returns all of the data with every change so far.

        Args:
          value: the new value.

        Returns:
          A changed copy of what the root holds.

        >>> cursor({'a': [1, 2]})['a'][0].set(5)
        {'a': [5, 2]}
        """
        if self._parent_key is None:
            return value.build() if isinstance(value, Cursor) else value
        self._exchange(value)
        return self._root.build()

    def _exchange(self, value: Any) -> None:
        at = self._parent_key
        assert at is not None
        parent: Cursor[Any] = at.parent
        parent._replace_child(at.key, at.access_type, value)

    def apply_update(self, update_fn: Callable[[str, Any], Any]) -> Cursor[A]:
        """Changes what a function of path and value changes.

        Args:
          update_fn: called as `update_fn(path, value)` for every place below this
            one, parents first, where `path` has keys and names joined by slashes. If
            it returns another object than `value`, that takes its place, and nothing
            below is visited.

        Returns:
          This cursor.

        >>> c = cursor({'a': {'rate': 1, 'step': 2}, 'rate': 3})
        >>> c.apply_update(lambda path, v: -v if path.endswith('rate') else v).build()
        {'a': {'rate': -1, 'step': 2}, 'rate': -3}
        """

        def update(path: str, child: Cursor[Any]) -> bool:
            value = child.build()
            new = update_fn(path, value)
            if new is value:
                return False
            child._exchange(new)
            return True

        for _ in self._search(update):
            pass
        return self

    def find(self, cond_fn: Condition) -> Cursor[Any]:
        """Returns the cursor of the only place that meets a condition.

        Args:
          cond_fn: called as `cond_fn(path, value)`, as in `apply_update`;
            below a place that meets the condition no other is looked for.

        Returns:
          The cursor.

        Raises:
          CursorFindError: none meets it, or more than one.

        >>> cursor({'a': {'rate': 1}}).find(lambda path, v: v == 1).set(2)
        {'a': {'rate': 2}}
        """
        found = self.find_all(cond_fn)
        first = next(found, None)
        if first is None:
            raise CursorFindError()
        second = next(found, None)
        if second is not None:
            raise CursorFindError(first, second)
        return first

    def find_all(self, cond_fn: Condition) -> Iterator[Cursor[Any]]:
        """Finds all places that meet a condition.

        Args:
          cond_fn: called as in `find`.

        Returns:
          An iterator over their cursors. The search goes on when the next is asked for.

        >>> c = cursor([1, (2, 'x'), 3])
        >>> for place in c.find_all(lambda path, v: isinstance(v, int)):
        ...     place.set(place * 10)
        [10, (2, 'x'), 3]
        [10, (20, 'x'), 3]
        [10, (20, 'x'), 30]
        """
        return self._search(lambda path, child: cond_fn(path, child.build()))

    def _search(
        self, meets: Callable[[str, Cursor[Any]], Any], above: str = ""
    ) -> Iterator[Cursor[Any]]:
        """All places below that meet a condition, and are not below another such."""
        for key, access in _children(self.build()):
            child: Cursor[Any] = self._child(key, access)
            path = f"{above}{key}"
            if meets(path, child):
                yield child
            else:
                yield from child._search(meets, f"{path}/")

    # The value itself.

    def __iter__(self) -> Iterator[Cursor[Any]]:
        if not isinstance(self._obj, list | tuple):
            raise TypeError(
                f"Cannot iterate over {self._where()}, which is of type "
                f"{type(self._obj).__name__}; lists and tuples give cursors of items."
            )
        return (self[i] for i in range(len(self._obj)))

    def __reversed__(self) -> Iterator[Cursor[Any]]:
        return reversed(list(self))

    def __len__(self) -> int:
        return len(self.build())

    def __bool__(self) -> bool:
        return bool(self.build())

    def __str__(self) -> str:
        return str(self.build())

    def __repr__(self) -> str:
        return f"Cursor({short_repr(self.build())})"

    def __round__(self, *digits: Any) -> Any:
        return round(self.build(), *digits)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    __hash__ = None  # type: ignore[assignment]


def cursor(obj: A) -> Cursor[A]:
    """Makes a cursor at the root of some data.

    Args:
      obj: dicts, FrozenDicts, lists, tuples, named tuples, dataclasses, and whatever
        values they hold.

    Returns:
      A `Cursor`. Change items and attributes by assignment, and get a changed copy
      with `build()`.

    >>> from batiste.core import struct
    >>> @struct.dataclass
    ... class State:
    ...     step: int
    ...     params: dict
    >>> c = cursor(State(0, {'w': 1.0}))
    >>> c.step += 1
    >>> c.params['w'] *= 0.5
    >>> c.build()
    State(step=1, params={'w': 0.5})
    """
    return Cursor(obj, None)


def _forwarded(apply: Function, reflected: bool = False) -> Function:
    """A method that applies an operator to the values of cursors."""

    def method(self: Any, *others: Any) -> Any:
        values = [o.build() if isinstance(o, Cursor) else o for o in (self, *others)]
        return apply(*values[::-1]) if reflected else apply(*values)

    return method


for _name in ("lt", "le", "eq", "ne", "gt", "ge", "neg", "pos", "abs", "invert"):
    setattr(Cursor, f"__{_name}__", _forwarded(getattr(operator, f"__{_name}__")))
_BINARY = "add sub mul matmul truediv floordiv mod pow lshift rshift and or xor"
for _name in _BINARY.split():
    _apply = getattr(operator, f"__{_name}__")
    setattr(Cursor, f"__{_name}__", _forwarded(_apply))
    setattr(Cursor, f"__r{_name}__", _forwarded(_apply, reflected=True))
