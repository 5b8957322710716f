"""Filters that select collections and PRNG streams by name.

A filter is `True` (everything), `False` (nothing), a name, a collection of names,
or a `DenyList` of any of these (everything but). Whatever it is made of, it comes to
a set of names and whether it selects these or all others: a `NameSet`, on which the
functions here do their sums.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from ..errors import InvalidFilterError

__all__ = [
    "CollectionFilter",
    "DenyList",
    "Filter",
    "NameSet",
    "PRNGSequenceFilter",
    "filter_to_set",
    "group_by_names",
    "group_collections",
    "in_filter",
    "intersect_filters",
    "is_filter_empty",
    "subtract_filters",
    "union_filters",
]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, eq=True)
class DenyList:
    """A filter that selects every name which `deny` does not.

    Attributes:
      deny: the filter whose opposite this is.

    >>> in_filter(DenyList("intermediates"), "params")
    True
    >>> in_filter(DenyList(["params", "cache"]), "params")
    False
    """

    deny: Filter


Filter = bool | str | Collection[str] | DenyList
CollectionFilter = Filter
PRNGSequenceFilter = Filter


@dataclasses.dataclass(frozen=True, slots=True)
class NameSet:
    """A set of names that is finite, or lacks finitely many of all names.

    Attributes:
      names: the names that are told apart from all others.
      complement: whether the set has all names but these.

    >>> finite, infinite = NameSet.of(["a", "b"]), NameSet.of(DenyList("b"))
    >>> "a" in finite & infinite, "b" in finite & infinite
    (True, False)
    >>> "a" in finite - infinite, "c" in finite | infinite
    (False, True)
    """

    names: frozenset[str]
    complement: bool = False

    @classmethod
    def of(cls, filter_like: Filter) -> NameSet:
        """Returns what a filter selects.

        Raises:
          InvalidFilterError: `filter_like` is none of the kinds that a filter may be.
        """
        if isinstance(filter_like, (bool, str)):
            return _simple(filter_like)
        if isinstance(filter_like, DenyList):
            return ~cls.of(filter_like.deny)
        # The usual types come first: asking for the abstract one takes longer.
        if isinstance(filter_like, (list, tuple, set, frozenset, Collection)):
            try:
                return cls(frozenset(filter_like))
            except TypeError:  # it contains something without a hash
                pass
        raise InvalidFilterError(filter_like)

    def __contains__(self, name: object) -> bool:
        return (name in self.names) is not self.complement

    def __bool__(self) -> bool:
        return self.complement or bool(self.names)

    def __invert__(self) -> NameSet:
        return NameSet(self.names, not self.complement)

    def __and__(self, other: NameSet) -> NameSet:
        if self.complement and other.complement:
            return NameSet(self.names | other.names, complement=True)
        if self.complement:
            return NameSet(other.names - self.names)
        if other.complement:
            return NameSet(self.names - other.names)
        return NameSet(self.names & other.names)

    def __sub__(self, other: NameSet) -> NameSet:
        return self & ~other

    def __or__(self, other: NameSet) -> NameSet:
        if self.complement or other.complement:
            return ~(~self - other)
        return NameSet(self.names | other.names)

    def as_filter(self) -> Filter:
        """Returns a filter that selects the set: True, a set, or a `DenyList`."""
        if not self.complement:
            return set(self.names)
        if len(self.names) > 1:
            return DenyList(self.names)
        return DenyList(*self.names) if self.names else True


_NOTHING = NameSet(frozenset())
_EVERYTHING = NameSet(frozenset(), complement=True)


@functools.lru_cache(maxsize=1024)
def _simple(filter_like: bool | str) -> NameSet:
    if isinstance(filter_like, str):
        return NameSet(frozenset((filter_like,)))
    return _EVERYTHING if filter_like else _NOTHING


def is_filter_empty(filter_like: Filter) -> bool:
    """Returns whether the filter selects no name at all.

    Raises:
      InvalidFilterError: `filter_like` is none of the kinds that a filter may be.

    >>> is_filter_empty([]), is_filter_empty(DenyList(True)), is_filter_empty("a")
    (True, True, False)
    """
    if isinstance(filter_like, (bool, str)):
        return filter_like is False
    if isinstance(filter_like, DenyList) and isinstance(filter_like.deny, str):
        return False  # all but one name, as `init` has it
    selected = NameSet.of(filter_like)
    for name in selected.names:
        if not isinstance(name, str):
            raise InvalidFilterError(filter_like)
    return not selected


def in_filter(filter_like: Filter, col: str) -> bool:
    """Returns whether the filter selects the name `col`.

    Raises:
      InvalidFilterError: `filter_like` is none of the kinds that a filter may be.

    >>> in_filter(["params", "cache"], "cache")
    True
    """
    if isinstance(filter_like, (bool, str)):
        return filter_like is True or filter_like == col
    if isinstance(filter_like, DenyList):
        return not in_filter(filter_like.deny, col)
    return col in NameSet.of(filter_like)


def filter_to_set(x: Filter) -> set[str]:
    """Returns the set of names that a finite filter selects.

    Raises:
      InvalidFilterError: `x` is none of the kinds that a filter may be, or
        selects infinitely many names (`True` or a `DenyList`).

    >>> filter_to_set("params")
    {'params'}
    """
    if x is True or isinstance(x, DenyList):
        raise InvalidFilterError(x)
    return set(NameSet.of(x).names)


def union_filters(a: Filter, b: Filter) -> Filter:
    """Returns a filter that selects what `a` or `b` selects.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> sorted(union_filters("params", ["cache"]))
    ['cache', 'params']
    """
    if a is True or b is True:
        return True
    return (NameSet.of(a) | NameSet.of(b)).as_filter()


def subtract_filters(a: Filter, b: Filter) -> Filter:
    """Returns a filter that selects what `a` selects and `b` does not.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> subtract_filters(True, "params")
    DenyList(deny='params')
    """
    if b is True:
        return False
    return (NameSet.of(a) - NameSet.of(b)).as_filter()


def intersect_filters(a: Filter, b: Filter) -> Filter:
    """Returns a filter that selects what both `a` and `b` select.

    Raises:
      InvalidFilterError: an argument is none of the kinds that a filter may be.

    >>> intersect_filters(DenyList("cache"), ["cache", "params"])
    {'params'}
    """
    x, y = NameSet.of(a), NameSet.of(b)
    if x is _EVERYTHING:
        return b
    return a if y is _EVERYTHING else (x & y).as_filter()


def group_collections(
    xs: Mapping[str, T], col_filters: Sequence[Filter]
) -> tuple[dict[str, T], ...]:
    """Splits a dict of collections into one dict for each filter.

    A collection goes to the first filter that selects it, and nowhere else;
    collections that no filter selects are left out.

    Args:
      xs: the collections, or anything else by names.
      col_filters: the filters, of which the earlier take precedence.

    Returns:
      For each filter the dict of what it was the first to select.

    Raises:
      InvalidFilterError: a filter is none of the kinds that a filter may be.

    >>> group_collections({"a": 1, "b": 2, "c": 3}, ["a", True, "c"])
    ({'a': 1}, {'b': 2, 'c': 3}, {})
    """
    return group_by_names(xs, [NameSet.of(col_filter) for col_filter in col_filters])


def group_by_names(
    xs: Mapping[str, T], name_sets: Sequence[NameSet]
) -> tuple[dict[str, T], ...]:
    """Splits a dict of collections as `group_collections`, with filters as sets.

    >>> group_by_names({"a": 1, "b": 2}, [NameSet.of("a"), NameSet.of(True)])
    ({'a': 1}, {'b': 2})
    """
    groups: tuple[dict[str, T], ...] = tuple([{} for _ in name_sets])
    for name, value in xs.items():
        for selected, group in zip(name_sets, groups, strict=True):
            if (name in selected.names) is not selected.complement:
                group[name] = value
                break
    return groups
