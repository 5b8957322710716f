"""Boxes around arrays that know what their axes are: the interface."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from .types import Tree

__all__ = [
    "A",
    "AxisMetadata",
    "TAxisMetadata",
    "add_axis",
    "array_types",
    "is_axis_metadata",
    "map_axis_meta",
    "remove_axis",
    "replace_boxed",
    "unbox",
]


A = TypeVar("A")
TAxisMetadata = TypeVar("TAxisMetadata", bound="AxisMetadata")


class AxisMetadata(Generic[A], metaclass=abc.ABCMeta):
    """The interface of a box: a pytree node that holds an array and facts on its axes.

    A variable may hold a box in place of an array. Layers see the array; transforms
    that add or remove an axis (`vmap`, `scan`) tell the box about it. A box is a
    pytree with the array as its child, such as a `struct.PyTreeNode` subclass.

    >>> from batiste.core import struct
    >>> class Named(struct.PyTreeNode, AxisMetadata):
    ...     value: object
    ...     names: tuple = struct.field(pytree_node=False)
    ...     def unbox(self):
    ...         return self.value
    ...     def replace_boxed(self, val):
    ...         return self.replace(value=val)
    ...     def add_axis(self, index, params):
    ...         names = self.names[:index] + (params['name'],) + self.names[index:]
    ...         return self.replace(names=names)
    ...     def remove_axis(self, index, params):
    ...         names = self.names[:index] + self.names[index + 1:]
    ...         return self.replace(names=names)
    >>> Named(1, ('in', 'out')).add_axis(0, {'name': 'layers'}).names
    ('layers', 'in', 'out')
    """

    @abc.abstractmethod
    def unbox(self) -> A:
        """Returns the content of the box."""

    @abc.abstractmethod
    def replace_boxed(self, val: Any) -> AxisMetadata[Any]:
        """Returns a box with the same facts and another content, perhaps a box too."""

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
        """Returns a box that tells of one more axis.

        Args:
          index: where the new axis is, in the array after the change.
          params: the transform's `metadata_params`.

        Returns:
          A new box around the same content.
        """

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
        """Returns a box that tells of one axis less.

        Args:
          index: where the axis is, in the array before the change.
          params: the transform's `metadata_params`.

        Returns:
          A new box around the same content.
        """


def is_axis_metadata(val: object) -> bool:
    """Tells whether a value is a box.

    >>> is_axis_metadata(3)
    False
    """
    return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[Any], Any], tree: Tree) -> Tree:
    """Applies a function to every outermost box of a tree, and keeps the other leaves.

    Args:
      fn: takes a box; its result stands in the box's place.
      tree: any pytree.

    Returns:
      The tree with the results in it.

    >>> map_axis_meta(lambda box: box.unbox(), {'a': 1})
    {'a': 1}
    """
    if _is_bare(tree):
        return tree
    return jax.tree_util.tree_map(
        lambda leaf: fn(leaf) if isinstance(leaf, AxisMetadata) else leaf,
        tree,
        is_leaf=is_axis_metadata,
    )


def add_axis(tree: Tree, index: int, params: Mapping[Any, Any]) -> Tree:
    """Tells every box of a tree that its array has a new axis.

    Args:
      tree: any pytree; of boxes inside boxes only the outermost is told.
      index: where the new axis is, in the arrays after the change.
      params: the transform's `metadata_params`.

    Returns:
      The tree with the new boxes in it.

    >>> add_axis({'a': 1}, 0, {})
    {'a': 1}
    """
    return map_axis_meta(lambda box: box.add_axis(index, params), tree)


def remove_axis(tree: Tree, index: int, params: Mapping[Any, Any]) -> Tree:
    """Tells every box of a tree that its array has lost an axis.

    Args:
      tree: any pytree; of boxes inside boxes only the outermost is told.
      index: where the axis was, in the arrays before the change.
      params: the transform's `metadata_params`.

    Returns:
      The tree with the new boxes in it.

    >>> remove_axis({'a': 1}, 0, {})
    {'a': 1}
    """
    return map_axis_meta(lambda box: box.remove_axis(index, params), tree)


def unbox(tree: Tree) -> Tree:
    """Takes everything out of its boxes, boxes inside boxes too.

    Args:
      tree: any pytree.

    Returns:
      The tree with the content of each box in its place.

    >>> unbox({'a': 1})
    {'a': 1}
    """
    if _is_bare(tree):
        return tree
    return map_axis_meta(lambda box: unbox(box.unbox()), tree)


def replace_boxed(tree: Tree, updates: Tree) -> Tree:
    """Puts new content into the boxes of a tree, as the inverse of `unbox`.

    Args:
      tree: a pytree with boxes.
      updates: the new content: a pytree of the structure of `unbox(tree)`, or with
        more structure below its leaves.

    Returns:
      `updates`, with a box around what `tree` has in a box.

    Raises:
      ValueError: `updates` has another structure.

    >>> replace_boxed({'a': 1}, {'a': 2})
    {'a': 2}
    """
    if _is_bare(tree):
        return updates
    return jax.tree_util.tree_map(_replace_one, tree, updates, is_leaf=is_axis_metadata)


def _replace_one(old: Any, new: Any) -> Any:
    if isinstance(old, AxisMetadata):
        return old.replace_boxed(replace_boxed(_content(old), new))
    return new


def _content(box: AxisMetadata[Any]) -> Any:
    # Of the old content only its structure matters. `unbox` may do work on it, such as
    # laying it out over a mesh.
    children = jax.tree_util.tree_leaves(box, is_leaf=lambda node: node is not box)
    return children[0] if len(children) == 1 else box.unbox()


# Most trees given to this module are a single array. It is told by its exact type, as
# the check against an abstract class costs more than the rest of the call. JAX's array
# types, tracers among them, are remembered when they are met; there are only a few.
array_types: set[type] = {np.ndarray, int, float, bool, complex}


def _is_bare(tree: Tree) -> bool:
    """Whether a tree is one array or number, without a box around it."""
    kind = type(tree)
    if kind in array_types:
        return True
    if isinstance(tree, jax.Array) and not isinstance(tree, AxisMetadata):
        array_types.add(kind)
        return True
    return False
