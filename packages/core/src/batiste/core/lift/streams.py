"""Groups of PRNG streams on their way into a transform."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import jax

from ..scope.filters import NameSet
from ..scope.keys import FALLBACK, LazyRng, fallback_for, fallbacks_of
from ..types import Key

__all__ = [
    "RngGroups",
    "add_fallbacks",
    "fallback_places",
    "tree_map_rngs",
    "without_suffix",
]

T = TypeVar("T")

RngGroups: TypeAlias = tuple[tuple[dict[str, LazyRng], ...], ...]
"""For each filter, for each lifted root scope, its PRNG streams."""


def tree_map_rngs(fn: Callable[[Key], Any], tree: T) -> T:
    """Applies `fn` to the base key of every PRNG stream in a tree.

    Suffixes stay as they are, so that the keys that are drawn from a stream go on
    being told apart by the path of the scope and by their count.

    >>> import jax
    >>> from batiste.core.scope import LazyRng
    >>> streams = {"dropout": LazyRng.create(jax.random.key(0), "encoder")}
    >>> tree_map_rngs(lambda key: jax.random.split(key, 3), streams)["dropout"].suffix
    ('encoder',)
    """
    return jax.tree.map(fn, tree)


def without_suffix(rng_groups: RngGroups) -> RngGroups:
    """Returns PRNG streams that begin anew, from the base keys that they have.

    >>> from batiste.core.scope import LazyRng
    >>> groups = (({"dropout": LazyRng(jax.random.key(0), ("encoder",))},),)
    >>> without_suffix(groups)[0][0]["dropout"].suffix
    ()
    """
    return tuple(
        [
            tuple(
                [
                    {stream: LazyRng(lazy.rng) for stream, lazy in streams.items()}
                    for streams in group
                ]
            )
            for group in rng_groups
        ]
    )


def fallback_places(name_sets: Sequence[NameSet]) -> tuple[tuple[str, int], ...]:
    """Finds the streams that are grouped apart from the one that they fall back to.

    Args:
      name_sets: what each group selects.

    Returns:
      Names of streams, each with the index of its group; the empty name stands for all
      that are not named.

    >>> fallback_places([NameSet.of("params"), NameSet.of("dropout"), NameSet.of(True)])
    (('dropout', 1), ('', 2))
    """
    home = next((i for i, names in enumerate(name_sets) if FALLBACK in names), None)
    places: dict[str, int] = {}
    for index, selected in enumerate(name_sets):
        names = {""} if selected.complement else selected.names
        for name in sorted(names):
            places.setdefault(name, index)
    return tuple([(name, index) for name, index in places.items() if index != home])


def add_fallbacks(
    groups: Sequence[dict[str, LazyRng]],
    rngs: Mapping[str, LazyRng],
    places: Iterable[tuple[str, int]],
) -> None:
    """Adds what streams that are not given fall back to, each to the stream's group.

    So what is told to split a stream splits what it falls back to.

    Args:
      groups: the streams of one scope, by groups, to which they are added.
      rngs: all streams of the scope.
      places: what `fallback_places` returned.

    >>> groups = ({"params": LazyRng(jax.random.key(0))}, {})
    >>> add_fallbacks(groups, groups[0], [("dropout", 1)])
    >>> list(groups[1])
    ['params for dropout']
    """
    for name, index in places:
        if name in rngs:
            continue
        for found in fallbacks_of(name):
            if found in rngs:
                own = fallback_for(name)
                for group in groups:
                    group.pop(own, None)
                groups[index][own] = rngs[found]
                break
