"""How transforms with an axis treat collections: which axis, in and out, and boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from .. import meta
from ..filters import Filter

__all__ = ["In", "Out", "VariableAxes", "axis_sizes"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class In(Generic[T]):
    """An axis of collections that go into a transform and do not come out changed.

    >>> In(0).axis
    0
    """

    axis: T


@dataclasses.dataclass(frozen=True)
class Out(Generic[T]):
    """An axis of collections that come out of a transform and do not go in.

    >>> Out(0).axis
    0
    """

    axis: T


class VariableAxes:
    """The groups of collections that `variable_axes` of a transform asks for.

    Args:
      variable_axes: from filters to axes, or `In` or `Out` of axes.
      metadata_params: what boxes are told when they gain or lose an axis.
    """

    def __init__(
        self, variable_axes: Mapping[Any, Any], metadata_params: Mapping[Any, Any]
    ):
        ins = {f: a for f, a in variable_axes.items() if not isinstance(a, Out)}
        outs = {f: a for f, a in variable_axes.items() if not isinstance(a, In)}
        self.in_filters: tuple[Filter, ...] = tuple(ins)
        self.out_filters: tuple[Filter, ...] = tuple(outs)
        self.in_axes: tuple[Any, ...] = tuple(map(_axis, ins.values()))
        self.out_axes: tuple[Any, ...] = tuple(map(_axis, outs.values()))
        self._params = metadata_params

    def enter(self, groups: Sequence[Any]) -> tuple[Any, ...]:
        """Takes the axis out of what the boxes of the groups say."""
        return tuple(
            group if axis is None else meta.remove_axis(group, axis, self._params)
            for group, axis in zip(groups, self.in_axes, strict=True)
        )

    def leave(self, groups: Sequence[Any]) -> tuple[Any, ...]:
        """Puts the axis into what the boxes of the groups say."""
        return tuple(
            group if axis is None else meta.add_axis(group, axis, self._params)
            for group, axis in zip(groups, self.out_axes, strict=True)
        )


def _axis(axis: Any) -> Any:
    return axis.axis if isinstance(axis, (In, Out)) else axis


def axis_sizes(axes: Any, tree: Any, unmapped: Any = None) -> Iterable[int]:
    """The sizes of the arrays of a tree along their axes.

    Args:
      axes: a prefix of the tree, with an axis, or `unmapped`, for its leaves.
      tree: a pytree of arrays.
      unmapped: says that arrays have no axis.
    """
    sizes: list[int] = []

    def add(axis: Any, subtree: Any) -> None:
        if axis is not unmapped:
            sizes.extend(
                np.shape(leaf)[axis]
                for leaf in jax.tree.leaves(subtree)
                if -np.ndim(leaf) <= axis < np.ndim(leaf)
            )

    jax.tree.map(add, axes, tree, is_leaf=lambda x: x is None or x is unmapped)
    return sizes
