"""Reading parts of any container, and rebuilding it with some of them replaced.

Nothing here changes its arguments, and every container keeps its type.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping, MutableSequence, Sequence

from .errors import (
    NotTraversableError,
    TraverseAttributeError,
    TraverseItemError,
    shown,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "attribute",
    "elements",
    "item",
    "replace_attribute",
    "replace_each",
    "replace_elements",
    "replace_entries",
    "replace_item",
    "require_each",
]


def _copy(value: Any) -> Any:
    """A shallow copy that is safe to change, or an error."""
    try:
        new = copy.copy(value)
    except Exception as error:
        raise NotTraversableError(
            f"a value of type {type_name(value)} cannot be updated, because it cannot "
            f"be copied: {error}."
        ) from error
    # Immutable values, classes and modules are their own copies.
    if new is value:
        raise NotTraversableError(
            f"a value of type {type_name(value)} cannot be updated, because it cannot "
            "be copied; select the value that holds it and replace it there."
        )
    return new


def replace_entries(like: Mapping[Any, Any], entries: dict[Any, Any]) -> Any:
    """Makes a mapping of the type of another one.

    Args:
      like: the other one; a copy of it keeps what its type's constructor may not know.
      entries: the keys and values of the new one: those of `like`, and perhaps more.
        This function may keep it or change it.

    Returns:
      The new mapping.

    Raises:
      NotTraversableError: the type cannot be made of a dict, nor `like` be copied.

    >>> from collections import OrderedDict
    >>> replace_entries(OrderedDict(a=1, b=2), {'a': 3, 'b': 4}) == {'a': 3, 'b': 4}
    True
    """
    if type(like) is dict:
        return entries
    if isinstance(like, dict):
        # A copy keeps what the constructor of a subclass may not know, such as the
        # default factory of a defaultdict. Other mappings may share with their copies
        # the very dictionary they wrap.
        new = _copy(like)
        new.update(entries)
        return new
    return _construct(like, entries)


def replace_elements(like: Any, elements: list[Any]) -> Any:
    """Makes a sequence of the type of another one.

    Args:
      like: the other one.
      elements: the elements of the new one. This function may keep the list.

    Returns:
      The new sequence.

    Raises:
      NotTraversableError: the type cannot be made of a list, nor `like` be copied.

    >>> from collections import deque
    >>> replace_elements(deque([1, 2], maxlen=3), [3, 4])
    deque([3, 4], maxlen=3)
    """
    if type(like) is list:
        return elements
    if isinstance(like, tuple):
        try:
            # Not the constructor: that of a named tuple, for one, takes fields.
            new = tuple.__new__(type(like), elements)
        except TypeError:
            # Types such as time.struct_time insist on their own constructor.
            return _construct(like, elements)
        if hasattr(like, "__dict__"):
            new.__dict__.update(like.__dict__)
        return new
    if isinstance(like, (list, deque)):
        new = _copy(like)
        new.clear()
        new.extend(elements)
        return new
    return _construct(like, elements)


def _construct(like: Any, content: Any) -> Any:
    try:
        return type(like)(content)
    except TypeError as error:
        raise NotTraversableError(
            f"a value of type {type_name(like)} cannot be updated, because its type "
            f"cannot be called with a {type_name(content)}: {error}."
        ) from error


def _is_record(value: Any) -> bool:
    """Whether a value is a dataclass and not, in the first place, a container."""
    cls = type(value)
    return hasattr(cls, "__dataclass_fields__") and not hasattr(cls, "__iter__")


def _field_names(value: Any) -> list[str]:
    # Importing dataclasses takes longer than the rest of this package.
    import dataclasses

    return [field.name for field in dataclasses.fields(value)]


def _replace_fields(value: Any, changes: dict[str, Any]) -> Any:
    import dataclasses

    init = {field.name: field.init for field in dataclasses.fields(value)}
    arguments = {name: new for name, new in changes.items() if init[name]}
    new = dataclasses.replace(value, **arguments) if arguments else _copy(value)
    for name, change in changes.items():
        if not init[name]:
            # The constructor does not take it, and the dataclass may be frozen.
            object.__setattr__(new, name, change)
    return new


def elements(value: Any) -> Iterable[Any]:
    """Iterates over what `each` selects.

    Args:
      value: a mapping, whose values these are; a dataclass, whose fields; or anything
        that can be iterated over.

    Returns:
      An iterable.

    Raises:
      NotTraversableError: `value` is none of these.

    >>> list(elements({'a': 1, 'b': 2}))
    [1, 2]
    """
    if isinstance(value, Mapping):
        return value.values()
    if _is_record(value):
        return [getattr(value, name) for name in _field_names(value)]
    try:
        return iter(value)
    except TypeError as error:
        raise NotTraversableError(
            f"each() cannot go into a value of type {type_name(value)}; it takes "
            "mappings, dataclasses and what can be iterated over."
        ) from error


def replace_each(value: Any, new: list[Any]) -> Any:
    """Makes a value like another one, with everything in it that `each` selects new.

    Args:
      value: what `require_each` lets pass.
      new: as many values as `elements` gives, in that order.

    Returns:
      The new value.

    Raises:
      NotTraversableError: the type has a constructor of its own, or refuses copies.

    >>> replace_each({'a': 1, 'b': 2}, [3, 4])
    {'a': 3, 'b': 4}
    """
    if isinstance(value, Mapping):
        return replace_entries(value, dict(zip(value, new, strict=True)))
    if isinstance(value, (tuple, MutableSequence)):
        return replace_elements(value, new)
    return _replace_fields(value, dict(zip(_field_names(value), new, strict=True)))


def require_each(value: Any) -> None:
    """Checks that `replace_each` can rebuild a value.

    Raises:
      NotTraversableError: it is no mapping, list, tuple or dataclass.

    >>> require_each([1, 2])
    """
    if not isinstance(value, (Mapping, tuple, MutableSequence)) and not _is_record(
        value
    ):
        raise NotTraversableError(
            f"each() cannot update a value of type {type_name(value)}; it updates "
            "mappings, lists, tuples, named tuples and dataclasses."
        )


def item(value: Any, key: Any) -> Any:
    """Looks an item up, without the entry that a defaultdict would add to itself.

    Args:
      value: anything with items.
      key: a key, an index or a slice.

    Returns:
      `value[key]`.

    Raises:
      TraverseItemError: it is not there.
      NotTraversableError: `value` has no items, or none that have such a key.

    >>> item((1, 2, 3), -1)
    3
    """
    has_default = isinstance(value, Mapping) and hasattr(type(value), "__missing__")
    try:
        if has_default and key not in value:
            return copy.copy(value)[key]
        return value[key]
    except LookupError:
        if isinstance(value, Mapping):
            has = f"it has {shown(value)}"
        elif isinstance(value, Sequence):
            has = f"its length is {len(value)}"
        else:
            has = "check the key"
        raise TraverseItemError(
            f"the value of type {type_name(value)} has no item {key!r}; {has}."
        ) from None
    except TypeError as error:
        raise NotTraversableError(
            f"a value of type {type_name(value)} has no item {key!r}: {error}."
        ) from error


def replace_item(value: Any, key: Any, new: Any) -> Any:
    """Makes a value like another one, but for one item.

    Args:
      value: anything with items.
      key: a key, an index or a slice.
      new: the item; for a slice, a list of items.

    Returns:
      The new value.

    Raises:
      NotTraversableError: `value` cannot be copied, or does not take the item.

    >>> replace_item((1, 2, 3), slice(1, None), [4, 5])
    (1, 4, 5)
    """
    if isinstance(value, Mapping):
        return replace_entries(value, {**value, key: new})
    if isinstance(value, (tuple, MutableSequence)):
        changed = list(value)
        changed[key] = new
        return replace_elements(value, changed)
    if not hasattr(type(value), "__setitem__"):
        raise NotTraversableError(
            f"the items of a value of type {type_name(value)} cannot be replaced."
        )
    changed = _copy(value)
    try:
        changed[key] = new
    except TypeError as error:
        raise NotTraversableError(
            f"item {key!r} of a value of type {type_name(value)} cannot be replaced "
            f"by one of type {type_name(new)}: {error}."
        ) from error
    return changed


def attribute(value: Any, name: str) -> Any:
    """Looks an attribute up.

    Args:
      value: anything.
      name: the name of the attribute.

    Returns:
      `getattr(value, name)`.

    Raises:
      TraverseAttributeError: it is not there.

    >>> attribute(1 + 2j, 'imag')
    2.0
    """
    try:
        return getattr(value, name)
    except AttributeError as error:
        raise TraverseAttributeError(
            f"the value of type {type_name(value)} has no attribute {name!r}."
        ) from error


def replace_attribute(value: Any, name: str, new: Any) -> Any:
    """Makes a value like another one, but for one attribute.

    Args:
      value: anything.
      name: the name of the attribute; of a named tuple or a dataclass, a field.
      new: the attribute.

    Returns:
      The new value.

    Raises:
      NotTraversableError: `name` is no field of a named tuple or a dataclass.
      TraverseAttributeError: `value` cannot be copied, or does not take the attribute.

    >>> import types
    >>> replace_attribute(types.SimpleNamespace(a=1), 'a', 2)
    namespace(a=2)
    """
    names: Sequence[str] | None = None
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
    elif hasattr(type(value), "__dataclass_fields__"):
        names = _field_names(value)
    if names is not None:
        if name not in names:
            raise NotTraversableError(
                f"{name!r} is no field of {type_name(value)}, so that it cannot be "
                f"updated; the fields are {shown(names)}."
            )
        if isinstance(value, tuple):
            return replace_item(value, list(names).index(name), new)
        return _replace_fields(value, {name: new})
    try:
        changed = _copy(value)
        setattr(changed, name, new)
    except (AttributeError, NotTraversableError) as error:
        raise TraverseAttributeError(
            f"attribute {name!r} of a value of type {type_name(value)} cannot be "
            f"set: {error}."
        ) from error
    return changed
