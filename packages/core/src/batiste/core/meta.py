"""Boxes around arrays that know what their axes are: the interface."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import jax
import numpy as np

__all__ = [
    "A",
    "AxisMetadata",
    "TAxisMetadata",
    "add_axis",
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
    that add or remove an axis (``vmap``, ``scan``) tell the box about it. A box is
    a pytree with the array as its child, such as a ``struct.PyTreeNode`` subclass.

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
        """The content of the box."""

    @abc.abstractmethod
    def replace_boxed(self, val: Any) -> AxisMetadata[Any]:
        """A box with the same facts and another content, which may be a box too."""

    @abc.abstractmethod
    def add_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
        """A box that tells of one more axis.

        Args:
          index: where the new axis is, in the array after the change.
          params: the transform's ``metadata_params``.
        """

    @abc.abstractmethod
    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> AxisMetadata[A]:
        """A box that tells of one axis less.

        Args:
          index: where the axis is, in the array before the change.
          params: the transform's ``metadata_params``.
        """


def is_axis_metadata(val: Any) -> bool:
    """Whether a value is a box.

    >>> is_axis_metadata(3)
    False
    """
    return isinstance(val, AxisMetadata)


def map_axis_meta(fn: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every outermost box of a tree, and keep the other leaves.

    Args:
      fn: takes a box; its result stands in the box's place.
      tree: any pytree.

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


def add_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
    """Tell every box of a tree that its array has a new axis.

    Args:
      tree: any pytree; of boxes inside boxes only the outermost is told.
      index: where the new axis is.
      params: the transform's ``metadata_params``.

    >>> add_axis({'a': 1}, 0, {})
    {'a': 1}
    """
    return map_axis_meta(lambda box: box.add_axis(index, params), tree)


def remove_axis(tree: Any, index: int, params: Mapping[Any, Any]) -> Any:
    """Tell every box of a tree that its array lost an axis; see :func:`add_axis`.

    >>> remove_axis({'a': 1}, 0, {})
    {'a': 1}
    """
    return map_axis_meta(lambda box: box.remove_axis(index, params), tree)


def unbox(tree: Any) -> Any:
    """Take everything out of its boxes, boxes inside boxes too.

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


def replace_boxed(tree: Any, updates: Any) -> Any:
    """Put new content into the boxes of a tree; the inverse of :func:`unbox`.

    Args:
      tree: a pytree with boxes.
      updates: the new content: a pytree of the structure of ``unbox(tree)``, or with
        more structure below its leaves.

    Returns:
      ``updates``, with a box around what ``tree`` has in a box.

    Raises:
      ValueError: ``updates`` has another structure.

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


def _content(box: Any) -> Any:
    # Of the old content only its structure matters. `unbox` may do work on it, such as
    # laying it out over a mesh.
    children = jax.tree_util.tree_leaves(box, is_leaf=lambda node: node is not box)
    return children[0] if len(children) == 1 else box.unbox()


# Most trees given to this module are a single array, and most nodes of the others are
# arrays or dicts. They are told by their exact type, as the check against an abstract
# class costs more than the rest of the call. JAX's array types, tracers among them,
# are remembered when they are met; there are only a few.
_array_types: set[type] = {np.ndarray, int, float, bool, complex}
_container_types: frozenset[type] = frozenset({dict, list, tuple})


def _is_bare(tree: Any) -> bool:
    kind = type(tree)
    if kind in _array_types:
        return True
    if isinstance(tree, jax.Array) and not isinstance(tree, AxisMetadata):
        _array_types.add(kind)
        return True
    return False


def _is_box(node: Any) -> bool:
    kind = type(node)
    if kind in _array_types or kind in _container_types:
        return False
    return isinstance(node, AxisMetadata)
