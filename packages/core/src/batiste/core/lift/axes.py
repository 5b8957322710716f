"""How transforms with an axis treat collections: which axis, in and out, and boxes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from .. import errors, meta
from ..arguments import not_a_mapping
from ..scope.filters import Filter
from ..scope.scope import Scope
from ..types import Axis, Tree
from .pack import VariableGroup, VariableGroups
from .streams import RngGroups

__all__ = [
    "In",
    "Out",
    "VariableAxes",
    "axis_sizes",
    "sizes_do_not_fit",
    "split_keys",
    "values_of",
]

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

    Attributes:
      in_filters: what collections go in.
      out_filters: what collections come out.
      in_axes: for each of `in_filters` its axis.
      out_axes: for each of `out_filters` its axis.

    >>> axes = VariableAxes({"params": 0, "state": Out(1)}, {})
    >>> axes.in_filters, axes.out_filters, axes.out_axes
    (('params',), ('params', 'state'), (0, 1))
    """

    in_filters: tuple[Filter, ...]
    out_filters: tuple[Filter, ...]
    in_axes: tuple[Any, ...]
    out_axes: tuple[Any, ...]

    def __init__(
        self, variable_axes: Mapping[Any, Any], metadata_params: Mapping[Any, Any]
    ):
        ins: list[tuple[Filter, Any]] = []
        outs: list[tuple[Filter, Any]] = []
        try:
            items = variable_axes.items()
        except AttributeError:
            raise not_a_mapping("variable_axes", variable_axes) from None
        for col_filter, axis in items:
            if isinstance(axis, In):
                ins.append((col_filter, axis.axis))
            elif isinstance(axis, Out):
                outs.append((col_filter, axis.axis))
            else:
                ins.append((col_filter, axis))
                outs.append((col_filter, axis))
            axis = getattr(axis, "axis", axis)
            if axis is not None and not isinstance(axis, (int, np.integer)):
                raise errors.InvalidArgumentError(
                    f"variable_axes={{{col_filter!r}: {errors.short_repr(axis)}}} of a "
                    "lifted transform cannot be used; an axis is an integer, or None "
                    "for variables that have none.",
                    argument="variable_axes",
                )
        self.in_filters, self.in_axes = zip(*ins, strict=True) if ins else ((), ())
        self.out_filters, self.out_axes = zip(*outs, strict=True) if outs else ((), ())
        self._params = metadata_params

    def enter(
        self, groups: Sequence[VariableGroup], roots: Sequence[Scope]
    ) -> VariableGroups:
        """Takes the axis out of what the boxes of the groups say.

        Args:
          groups: for each filter, for each scope, a dict of collections.
          roots: the scopes, for the paths in errors.

        Raises:
          AxisMetadataError: a box cannot lose the axis.
        """
        return self._tell(meta.remove_axis, groups, self.in_axes, roots)

    def leave(
        self, groups: Sequence[VariableGroup], roots: Sequence[Scope]
    ) -> VariableGroups:
        """Puts the axis into what the boxes of the groups say.

        Args:
          groups: for each filter, for each scope, a dict of collections.
          roots: the scopes, for the paths in errors.

        Raises:
          AxisMetadataError: a box cannot gain the axis.
        """
        return self._tell(meta.add_axis, groups, self.out_axes, roots)

    def _tell(
        self,
        change: Callable[[Any, int, Mapping[Any, Any]], Any],
        groups: Sequence[VariableGroup],
        axes: Sequence[Axis],
        roots: Sequence[Scope],
    ) -> VariableGroups:
        told = []
        for group, axis in zip(groups, axes, strict=True):
            if axis is None:
                told.append(group)
            elif _is_boxless(group):
                # What the walk over the boxes would return, without the walk.
                leaves, treedef = jax.tree.flatten(group)
                told.append(jax.tree.unflatten(treedef, leaves))
            else:
                try:
                    told.append(change(group, axis, self._params))
                except errors.AxisMetadataError as error:
                    raise self._placed(error, change, group, axis, roots) from None
        return tuple(told)

    def _placed(
        self,
        error: errors.AxisMetadataError,
        change: Callable[[Any, int, Mapping[Any, Any]], Any],
        group: VariableGroup,
        axis: int,
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
                    change(leaf, axis, self._params)
                except errors.AxisMetadataError:
                    col, *names = (
                        jax.tree_util.keystr((key,), simple=True) for key in path
                    )
                    return error.at("/".join((col, *root.path, *names)))
        return error


def _is_boxless(group: VariableGroup) -> bool:
    """Whether it is seen at once that there are but nested dicts of arrays."""
    pending: list[Mapping[str, Any]] = list(group)
    for part in pending:
        for value in part.values():
            if type(value) is dict:
                pending.append(value)
            elif not isinstance(value, (jax.Array, np.ndarray)):
                return False
    return True


def values_of(argument: str, value: Mapping[Any, T]) -> tuple[T, ...]:
    """Returns the values of an argument that is a mapping.

    Args:
      argument: its name.
      value: the mapping.

    Raises:
      InvalidArgumentError: it is none.

    >>> values_of("split_rngs", {"params": True})
    (True,)
    """
    try:
        return tuple(value.values())
    except AttributeError:
        raise not_a_mapping(argument, value) from None


def axis_sizes(axes: Tree, tree: Tree, unmapped: Any = None) -> list[int]:
    """Returns the sizes of the arrays of a tree along their axes.

    Args:
      axes: a prefix of the tree, with an axis, or `unmapped`, for its leaves.
      tree: a pytree of arrays.
      unmapped: says that arrays have no axis.

    >>> axis_sizes((0, None), (np.ones((3, 2)), np.ones(5)))
    [3]
    """
    flat_axes, prefix = jax.tree.flatten(axes, is_leaf=lambda x: x is None)
    sizes = []
    for axis, subtree in zip(flat_axes, prefix.flatten_up_to(tree), strict=True):
        if axis is unmapped:
            continue
        for leaf in jax.tree.leaves(subtree):
            shape = np.shape(leaf)
            if -len(shape) <= axis < len(shape):
                sizes.append(shape[axis])
    return sizes


def sizes_do_not_fit(
    transform: str,
    given: Mapping[str, int],
    args: tuple[str, Tree, tuple[Tree, ...]],
    variables: tuple[Sequence[Any], Sequence[VariableGroup]],
    roots: Sequence[Scope],
    unmapped: Any = None,
) -> errors.InvalidArgumentError:
    """Returns the error of a transform whose axis has no one size.

    Args:
      transform: its name.
      given: the argument that gives the size, if it was given.
      args: what the arguments are called, a prefix of axes for them, and they.
      variables: axes of groups of variables, and the groups.
      roots: the scopes.
      unmapped: says that arrays have no axis.

    >>> xs = np.ones(2), np.ones(3)
    >>> print(sizes_do_not_fit("scan", {}, ("xs", 0, xs), ((), ()), ()))
    The lifted scan of scope "" needs one size ... xs[0] has 2 along 0, xs[1] has 3 ...
    """
    where = ", ".join([f'"{root.path_text}"' for root in roots]) or '""'
    start = f"The lifted {transform} of scope {where}"
    found = {size: f"{name} is {size}" for name, size in given.items()}
    without: list[str] = []

    def add(label: str, leaf: Any, axis: Any) -> None:
        shape = np.shape(leaf)
        if axis is unmapped:
            return
        if isinstance(axis, int) and -len(shape) <= axis < len(shape):
            found.setdefault(shape[axis], f"{label} has {shape[axis]} along {axis}")
        else:
            without.append(f"{label}, of shape {shape}, has no axis {axis}")

    name, prefix, values = args
    axes, treedef = jax.tree.flatten(prefix, is_leaf=lambda x: x is None)
    try:
        subtrees = treedef.flatten_up_to(values)
    except ValueError:
        return errors.InvalidArgumentError(
            f"{start} was given {len(values)} {name}, of which in_axes={prefix!r} is "
            f"no prefix. Give an axis for all, or one for each of them (a tuple).",
            argument="in_axes",
        )
    labels = iter(jax.tree_util.tree_leaves_with_path(values))
    for axis, subtree in zip(axes, subtrees, strict=True):
        for leaf in jax.tree.leaves(subtree):
            add(name + jax.tree_util.keystr(next(labels)[0]), leaf, axis)
    for axis, group in zip(*variables, strict=True):
        for root, collections in zip(roots, group, strict=True):
            for path, leaf in jax.tree_util.tree_leaves_with_path(collections):
                keys = [jax.tree_util.keystr((key,), simple=True) for key in path]
                label = "/".join((keys[0], *root.path, *keys[1:]))
                add(f'the variable "{label}"', leaf, axis)
    own = "length" if transform == "scan" else "axis_size"
    none = "broadcast" if unmapped is not None else "None"
    if len(found) > 1:
        problem = (
            f"needs one size of the axis that it goes along, but "
            f"{', '.join(found.values())}. Give all the same; in_axes says which axis "
            f"that is, and {none} in it what has none."
        )
    elif without:
        problem = (
            f"finds no axis to go along: {without[0]}. Give its axis in in_axes, or "
            f"{none} for what has none, and {own}=... if nothing has one."
        )
    else:
        problem = (
            f"finds no axis to go along: neither an argument nor a variable has one. "
            f"Give {own}=..."
        )
    return errors.InvalidArgumentError(f"{start} {problem}", where=where)


def split_keys(
    rng_groups: RngGroups, splits: Iterable[bool], size: int
) -> tuple[tuple[Any, ...], ...]:
    """Returns groups of PRNG streams in which some have a key for each of many.

    Args:
      rng_groups: the groups.
      splits: for each of them whether its keys are split.
      size: into how many.

    Returns:
      The groups; keys that are split have a first axis of this size.

    >>> from batiste.core.scope import LazyRng
    >>> groups = (({"dropout": LazyRng(jax.random.key(0))},),)
    >>> split_keys(groups, [True], 3)[0][0]["dropout"].rng.shape
    (3,)
    """
    split = functools.partial(jax.random.split, num=size)
    return tuple(
        [
            jax.tree.map(split, group) if is_split else group
            for group, is_split in zip(rng_groups, splits, strict=True)
        ]
    )
