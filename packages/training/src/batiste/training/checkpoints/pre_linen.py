"""Renaming the submodules in parameters from before Linen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from batiste.core.frozen_dict import FrozenDict
from batiste.core.types import Tree

__all__ = [
    "convert_pre_linen",
]


_NUMBERED = re.compile(r"(.*)_(\d+)")


def convert_pre_linen(params: Tree) -> Tree:
    """Renames the submodules in parameters from before Linen.

    There, unnamed submodules were numbered in the order of their creation, whatever
    their class (`Conv_0`, `Dense_1`); in Linen each class is counted by itself
    (`Conv_0`, `Dense_0`). Names without a number at the end are kept. Collections such
    as batch statistics have the same names and can be converted too, once they are
    unflattened.

    Args:
      params: nested dictionaries; parameters in the names of Linen are returned with
        the same names.

    Returns:
      The renamed tree, of the same kind: `FrozenDict` for a `FrozenDict`, `dict` for
      any other mapping; anything else is returned as it is.

    >>> from batiste.training.checkpoints import convert_pre_linen
    >>> convert_pre_linen({'Conv_0': {'bias': 0}, 'Dense_1': {'bias': 1}})
    {'Conv_0': {'bias': 0}, 'Dense_0': {'bias': 1}}
    """
    if not isinstance(params, Mapping):
        return params
    renamed = {}
    counts: Counter[str] = Counter()

    def creation_order(item: tuple[object, object]) -> tuple[str, int]:
        numbered = _match(item[0])
        return (numbered[1], int(numbered[2])) if numbered else (str(item[0]), -1)

    for name, value in sorted(params.items(), key=creation_order):
        numbered = _match(name)
        if numbered:
            module = numbered[1]
            name = f"{module}_{counts[module]}"
            counts[module] += 1
        renamed[name] = convert_pre_linen(value)
    return FrozenDict(renamed) if isinstance(params, FrozenDict) else renamed


def _match(name: object) -> re.Match[str] | None:
    return _NUMBERED.fullmatch(name) if isinstance(name, str) else None
