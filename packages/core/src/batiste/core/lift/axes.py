"""How transforms with an axis treat collections: which axis, in and out, and boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import jax
import numpy as np

from .. import errors, meta
from ..partial_eval import path_name
from ..scope.filters import Filter

if TYPE_CHECKING:
    from ..scope.scope import Scope

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

    def enter(self, groups: Sequence[Any], roots: Sequence[Scope]) -> tuple[Any, ...]:
        """Takes the axis out of what the boxes of the groups say.

        Args:
          groups: for each filter, for each scope, a dict of collections.
          roots: the scopes, for the paths in errors.
        """
        return self._tell(meta.remove_axis, groups, self.in_axes, roots)

    def leave(self, groups: Sequence[Any], roots: Sequence[Scope]) -> tuple[Any, ...]:
        """Puts the axis into what the boxes of the groups say; as `enter`."""
        return self._tell(meta.add_axis, groups, self.out_axes, roots)

    def _tell(
        self,
        change: Callable[[Any, int, Mapping[Any, Any]], Any],
        groups: Sequence[Any],
        axes: Sequence[Any],
        roots: Sequence[Scope],
    ) -> tuple[Any, ...]:
        def told(group: Any, axis: int) -> Any:
            try:
                return change(group, axis, self._params)
            except errors.AxisMetadataError as error:
                raise _with_path(
                    error, lambda box: change(box, axis, self._params), group, roots
                ) from None

        return tuple(
            group if axis is None else told(group, axis)
            for group, axis in zip(groups, axes, strict=True)
        )


def _with_path(
    error: errors.AxisMetadataError,
    change: Callable[[Any], Any],
    group: Any,
    roots: Sequence[Scope],
) -> errors.AxisMetadataError:
    """The error with the path of the first box for which `change` raises it.

    Paths are looked for afterwards, because a walk with them takes longer.
    """
    for root, collections in zip(roots, group, strict=True):
        leaves = jax.tree_util.tree_leaves_with_path(
            collections, is_leaf=meta.is_axis_metadata
        )
        for path, leaf in leaves:
            try:
                change(leaf)
            except errors.AxisMetadataError:
                col, *names = (path_name((key,)) for key in path)
                return error.at("/".join((col, *root.path, *names)))
    return error


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
