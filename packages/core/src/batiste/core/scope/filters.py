"""Filters that select collections and PRNG streams by name.

A filter is `True` (everything), `False` (nothing), a name, a collection of names,
or a `DenyList` of any of these (everything but).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from ..errors import InvalidFilterError

__all__ = [
    "CollectionFilter",
    "DenyList",
    "Filter",
    "PRNGSequenceFilter",
    "filter_to_set",
    "group_collections",
    "in_filter",
    "intersect_filters",
    "is_filter_empty",
    "subtract_filters",
    "union_filters",
]


@dataclasses.dataclass(frozen=True, eq=True)
class DenyList:
    """A filter that selects every name which `deny` does not.

    >>> in_filter(DenyList("intermediates"), "params")
    True
    >>> in_filter(DenyList(["params", "cache"]), "params")
    False
    """

    deny: Filter


Filter = bool | str | Collection[str] | DenyList
CollectionFilter = Filter
PRNGSequenceFilter = Filter


def _names(filter_like: Any) -> AbstractSet[str]:
    if isinstance(filter_like, str):
        return {filter_like}
    if isinstance(filter_like, Collection):
        return set(filter_like)
    raise InvalidFilterError(filter_like)


def is_filter_empty(filter_like: Filter) -> bool:
    """Whether the filter selects no name at all.

    Raises:
      InvalidFilterError: `filter_like` is none of the kinds that a filter may be.

    >>> is_filter_empty([]), is_filter_empty(DenyList(True)), is_filter_empty("a")
    (True, True, False)
    """
    if isinstance(filter_like, bool):
        return not filter_like
    if isinstance(filter_like, DenyList):
        return filter_like.deny is True
    return not _names(filter_like)


def in_filter(filter_like: Filter, col: str) -> bool:
    """Whether the filter selects the name `col`.

    Raises:
      InvalidFilterError: `filter_like` is none of the kinds that a filter may be.

    >>> in_filter(["params", "cache"], "cache")
    True
    """
    if isinstance(filter_like, bool):
        return filter_like
    if isinstance(filter_like, str):
        return col == filter_like
    if isinstance(filter_like, DenyList):
        return not in_filter(filter_like.deny, col)
    if isinstance(filter_like, Collection):
        return col in filter_like
    raise InvalidFilterError(filter_like)


def filter_to_set(filter_like: Filter) -> set[str]:
    """The set of names that a finite filter selects.

    Raises:
      InvalidFilterError: `filter_like` is none of the kinds that a filter may be, or
        selects infinitely many names (`True` or a `DenyList`).

    >>> filter_to_set("params")
    {'params'}
    """
    if filter_like is False:
        return set()
    if filter_like is True or isinstance(filter_like, DenyList):
        raise InvalidFilterError(filter_like)
    return set(_names(filter_like))


def union_filters(a: Filter, b: Filter) -> Filter:
    """A filter that selects what `a` or `b` selects.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> sorted(union_filters("params", ["cache"]))
    ['cache', 'params']
    """
    if a is True or b is True:
        return True
    if isinstance(a, DenyList) and isinstance(b, DenyList):
        return DenyList(intersect_filters(a.deny, b.deny))
    if isinstance(a, DenyList):
        return DenyList(subtract_filters(a.deny, b))
    if isinstance(b, DenyList):
        return DenyList(subtract_filters(b.deny, a))
    return filter_to_set(a) | filter_to_set(b)


def subtract_filters(a: Filter, b: Filter) -> Filter:
    """A filter that selects what `a` selects and `b` does not.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> subtract_filters(True, "params")
    DenyList(deny='params')
    """
    if b is True:
        return False
    if a is True:
        return b.deny if isinstance(b, DenyList) else DenyList(_checked(b))
    if isinstance(a, DenyList) and isinstance(b, DenyList):
        return subtract_filters(b.deny, a.deny)
    if isinstance(a, DenyList):
        return DenyList(union_filters(a.deny, b))
    if isinstance(b, DenyList):
        return intersect_filters(a, b.deny)
    return filter_to_set(a) - filter_to_set(b)


def intersect_filters(a: Filter, b: Filter) -> Filter:
    """A filter that selects what both `a` and `b` select.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> intersect_filters(DenyList("cache"), ["cache", "params"])
    {'params'}
    """
    if a is True:
        return _checked(b)
    if b is True:
        return _checked(a)
    if isinstance(a, DenyList) and isinstance(b, DenyList):
        return DenyList(union_filters(a.deny, b.deny))
    if isinstance(b, DenyList):
        return subtract_filters(a, b.deny)
    if isinstance(a, DenyList):
        return subtract_filters(b, a.deny)
    return filter_to_set(a) & filter_to_set(b)


def _checked(filter_like: Filter) -> Filter:
    is_filter_empty(filter_like)
    return filter_like


def group_collections(
    xs: Mapping[str, Any], col_filters: Sequence[Filter]
) -> tuple[dict[str, Any], ...]:
    """Splits a dict of collections into one dict for each filter.

    A collection goes to the first filter that selects it, and nowhere else;
    collections that no filter selects are left out.

    Raises:
      InvalidFilterError: a filter is none of the kinds that a filter may be.

    >>> group_collections({"a": 1, "b": 2, "c": 3}, ["a", True, "c"])
    ({'a': 1}, {'b': 2, 'c': 3}, {})
    """
    groups: list[dict[str, Any]] = [{} for _ in col_filters]
    for name, value in xs.items():
        for group, col_filter in zip(groups, col_filters, strict=True):
            if in_filter(col_filter, name):
                group[name] = value
                break
    return tuple(groups)
