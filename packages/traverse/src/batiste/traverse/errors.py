"""The errors of this package.

Each is a `TraverseError`, and besides that an instance of every builtin class
that calling code may already catch for the same mistake.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "NotAMappingError",
    "NotTraversableError",
    "PathConflictError",
    "PathKeyError",
    "TraverseAttributeError",
    "TraverseError",
    "TraverseItemError",
    "TraverseValuesError",
    "shown",
    "type_name",
]


_SHOWN = 8


class TraverseError(Exception):
    """Base class of every error that this package raises itself.

    An exception raised by your own callback passes through unchanged.

    >>> from batiste.traverse import TraverseError, flatten_dict
    >>> try:
    ...     flatten_dict([1, 2])
    ... except TraverseError as error:
    ...     print(error)
    flatten_dict needs a mapping, such as a dict or a FrozenDict, but got a value of \
type list.
    """

    # KeyError, one of the builtin classes mixed in below, would print the repr.
    __str__ = Exception.__str__


class NotAMappingError(TraverseError, TypeError, AssertionError):
    """A function over nested dictionaries was given something else.

    >>> from batiste.traverse import unflatten_dict
    >>> unflatten_dict(3)
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.NotAMappingError: unflatten_dict needs a mapping, such \
as a dict or a FrozenDict, but got a value of type int.
    """


class NotTraversableError(TraverseError, TypeError, ValueError):
    """A traversal met an object that it cannot go into or cannot rebuild.

    >>> from batiste.traverse import t_identity
    >>> t_identity.each().update(str, 3)
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.NotTraversableError: each() cannot update a value of type \
int; it updates mappings, lists, tuples, named tuples and dataclasses.
    """


class PathKeyError(TraverseError, TypeError, ValueError):
    """A key cannot be part of a path, or a separator cannot join or split one.

    >>> from batiste.traverse import flatten_dict
    >>> flatten_dict({'a': {0: 1.0}}, sep='/')
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.PathKeyError: flatten_dict with sep='/' needs keys that \
are strings, but the path ('a', 0) has the key 0 (int); leave sep out to get paths as \
tuples.
    """


class PathConflictError(TraverseError, ValueError):
    """Two values claim the same place, so that one of them would be lost.

    >>> from batiste.traverse import unflatten_dict
    >>> unflatten_dict({'a': 1, 'a/b': 2}, sep='/')
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.PathConflictError: unflatten_dict: 'a' is a leaf (int), \
and 'a/b' needs it to be a dictionary; remove or rename one of the two.
    """


class TraverseItemError(TraverseError, KeyError, IndexError):
    """The selected key or index is not in the container.

    >>> from batiste.traverse import t_identity
    >>> list(t_identity.each()['c'].iterate([{'a': 1, 'b': 2}]))
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.TraverseItemError: the value of type dict has no item \
'c'; it has 'a', 'b' (at t_identity.each()['c']).
    """


class TraverseAttributeError(TraverseError, AttributeError):
    """The selected attribute does not exist, or cannot be set on a copy.

    >>> from batiste.traverse import t_identity
    >>> list(t_identity[0].bar.iterate([3]))
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.TraverseAttributeError: the value of type int has no \
attribute 'bar' (at t_identity[0].bar).
    """


class TraverseValuesError(TraverseError, ValueError, TypeError):
    """`Traversal.set` got too few values, too many, or no ordered collection.

    >>> from batiste.traverse import t_identity
    >>> t_identity.each().set([1], (7, 8))
    Traceback (most recent call last):
      ...
    batiste.traverse.errors.TraverseValuesError: set got 1 value, but \
t_identity.each() selects more items; pass one value for each.
    """


def type_name(value: object) -> str:
    """Names the type of a value, for a message.

    >>> type_name({'a': 1})
    'dict'
    """
    return type(value).__name__


def shown(items: Iterable[object]) -> str:
    """Shows the first few of some items, for a message: enough to spot a typing slip.

    >>> shown(range(9))
    '0, 1, 2, 3, 4, 5, 6, 7, ...'
    """
    texts = []
    for item in items:
        if len(texts) == _SHOWN:
            texts.append("...")
            break
        texts.append(repr(item))
    return ", ".join(texts) or "nothing"
