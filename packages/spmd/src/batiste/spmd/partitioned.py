"""`Partitioned`: a value together with the mesh axes of its dimensions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core import meta, struct
from batiste.core.initializer_calls import initialize
from batiste.core.types import Function, Tree

from .axis_names import (
    AnyMesh,
    AxisEntry,
    LogicalNames,
    as_axis_names,
    check_rank,
    checked_sharding,
    path_text,
)
from .constraint import constrain
from .errors import (
    PartitioningError,
    PartitioningUnspecifiedError,
    UnknownAxisError,
)

__all__ = [
    "PARTITION_NAME",
    "A",
    "Partitioned",
    "get_partition_spec",
    "get_sharding",
    "map_boxes",
    "with_partitioning",
]


A = TypeVar("A")

PARTITION_NAME = "partition_name"
"""The key, in the `metadata_params` of `vmap` and `scan`, of the new axis's name."""


class Partitioned(struct.PyTreeNode, meta.AxisMetadata[A]):
    """A value boxed together with the mesh axes that its dimensions lie over.

    A variable whose initializer returns one is stored boxed and read unboxed. The box
    is a pytree node with the value as its only child, so `jax.tree.map` and optimizers
    see through it, and keep it. In `vmap` and `scan` the names gain and lose the
    transform's axis, named by `metadata_params={PARTITION_NAME: name}`.

    Attributes:
      value: the array; anything else is boxed as well but never constrained.
      names: one entry per dimension: a mesh axis, a tuple of mesh axes, or None where
        the dimension is unsharded. Trailing dimensions without an entry are
        unsharded.
      mesh: the mesh to lay the value over, in place of the one in force.

    Raises:
      AxisRulesError: `names` is a bare string or no sequence.

    >>> import jax.numpy as jnp
    >>> from batiste import spmd
    >>> box = spmd.Partitioned(jnp.zeros((2, 3)), (None, "model"))
    >>> box.unbox().shape
    (2, 3)
    >>> box.add_axis(0, {spmd.PARTITION_NAME: "layers"}).names
    ('layers', None, 'model')
    """

    value: Any
    names: LogicalNames = struct.field(pytree_node=False)
    mesh: Mesh | None = struct.field(default=None, pytree_node=False)

    def __post_init__(self) -> None:
        if type(self.names) is not tuple or list in map(type, self.names):
            # The names are static, so they have to be hashable.
            object.__setattr__(self, "names", as_axis_names(self.names))

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Returns the value, constrained to its layout where a mesh is in force.

        Args:
          apply_constraint: False returns the value just as it is.

        Returns:
          The value. Outside of `jax.jit`, and where there is no mesh, it is untouched,
          unless this box has a mesh of its own.

        Raises:
          UnknownAxisError: the mesh has no axis of one of the names.
          DuplicateAxisError: one mesh axis is on two dimensions.
          RankMismatchError: there are more names than dimensions.

        >>> from batiste import spmd
        >>> spmd.Partitioned(1.0, ()).unbox()
        1.0
        """
        if apply_constraint:
            return constrain(self.value, self.names, self.mesh)
        return self.value

    def replace_boxed(self, val: Any) -> "Partitioned[Any]":
        """Returns the same box around another value.

        >>> from batiste import spmd
        >>> spmd.Partitioned(1.0, ("data",)).replace_boxed(2.0).value
        2.0
        """
        return self.replace(value=val)

    def to_nnx_metadata(self) -> dict[str, Any]:
        """Returns the box as NNX has it: the value and what is known about it.

        >>> from batiste import spmd
        >>> spmd.Partitioned(1.0, ("data",)).to_nnx_metadata()
        {'value': 1.0, 'mesh': None, 'out_sharding': ('data',)}
        """
        return {"value": self.value, "mesh": self.mesh, "out_sharding": self.names}

    @classmethod
    def from_nnx_metadata(cls, metadata: Mapping[str, Any]) -> "Partitioned[A]":
        """Makes a box of what NNX knows about a value.

        Args:
          metadata: `value` and `out_sharding`, the names; `mesh` and, for logical
            names, `sharding_rules` may be there. The rest is ignored.

        Raises:
          PartitioningError: one of the two is missing.

        >>> from batiste import spmd
        >>> spmd.Partitioned.from_nnx_metadata({"value": 1.0, "out_sharding": ("a",)})
        Partitioned(value=1.0, names=('a',), mesh=None)
        """
        missing = [key for key in ("value", "out_sharding") if key not in metadata]
        if missing:
            raise PartitioningError(
                f"A {cls.__name__} is made of `value` and `out_sharding`, and the "
                f"metadata lacks {', '.join(missing)}; it has {sorted(metadata)}."
            )
        return cls(**cls._fields_from_nnx(metadata))

    @classmethod
    def _fields_from_nnx(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "value": metadata["value"],
            "names": metadata["out_sharding"],
            "mesh": metadata.get("mesh"),
        }

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> "Partitioned[A]":
        """Returns the box with a name for a dimension that a transform has added.

        Args:
          index: where the new dimension is, in the new value; negative counts from
            the end. Dimensions before it that have no name get None.
          params: the transform's `metadata_params`; `PARTITION_NAME` is the name.

        Returns:
          A new box of the same value.

        Raises:
          PartitioningUnspecifiedError: `params` has no `PARTITION_NAME`.

        >>> from batiste import spmd
        >>> box = spmd.Partitioned(None, ("data",))
        >>> box.add_axis(-1, {spmd.PARTITION_NAME: None}).names
        ('data', None)
        """
        name = self._axis_name(params)
        if index < 0:
            index += len(self.names) + 1
        names = list(self.names)
        names.extend([None] * (index - len(names)))
        names.insert(index, name)
        return self.replace(names=tuple(names))

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> "Partitioned[A]":
        """Returns the box without the name of a dimension that has been taken away.

        Args:
          index: where the dimension was, in the former value; negative counts from
            the end.
          params: the transform's `metadata_params`; `PARTITION_NAME` is the name.

        Returns:
          A new box of the same value.

        Raises:
          PartitioningUnspecifiedError: `params` has no `PARTITION_NAME`.
          UnknownAxisError: the dimension has another name than that, or none.

        >>> from batiste import spmd
        >>> box = spmd.Partitioned(None, ("layers", "data"))
        >>> box.remove_axis(0, {spmd.PARTITION_NAME: "layers"}).names
        ('data',)
        """
        name = self._axis_name(params)
        names = list(self.names)
        named = -len(names) <= index < len(names)
        # Trailing dimensions without a name are unsharded.
        present = names.pop(index) if named else None
        if present != name:
            raise UnknownAxisError(
                name,
                self.names,
                f"boxed value at dimension {index}",
                f"That dimension is named {present!r}: give the name under which it "
                "was added, in metadata_params={'partition_name': ...}.",
            )
        return self.replace(names=tuple(names))

    def _axis_name(self, params: Mapping[Any, Any]) -> AxisEntry:
        if PARTITION_NAME not in params:
            raise PartitioningUnspecifiedError(self)
        return params[PARTITION_NAME]

    def get_partition_spec(self) -> PartitionSpec:
        """Returns the names as a `PartitionSpec`.

        >>> from batiste import spmd
        >>> tuple(spmd.Partitioned(1.0, (None, "model")).get_partition_spec())
        (None, 'model')
        """
        return PartitionSpec(*self.names)

    def get_sharding(self, mesh: AnyMesh) -> NamedSharding:
        """Returns the layout of the value over `mesh`.

        Raises:
          UnknownAxisError: the mesh has no axis of one of the names.
          DuplicateAxisError: one mesh axis is on two dimensions.

        >>> import jax
        >>> from batiste import spmd
        >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
        >>> box = spmd.Partitioned(1.0, (None, "model"))
        >>> box.get_sharding(mesh).shard_shape((8, 8))
        (8, 2)
        """
        return checked_sharding(mesh, self.names)


def with_partitioning(
    fn: Function, names: LogicalNames, mesh: Mesh | None = None
) -> Callable[..., Partitioned[Any]]:
    """Wraps a function so that what it returns is boxed in a `Partitioned`.

    Args:
      fn: the function, as a rule an initializer `(key, shape, dtype) -> array`.
      names: the mesh axis (or a tuple of them, or None) for each dimension.
      mesh: the mesh to lay the value over, in place of the one in force.

    Returns:
      A function of the same arguments.

    Raises:
      AxisRulesError: `names` is a bare string or no sequence.

    >>> import jax
    >>> from batiste import spmd
    >>> init = spmd.with_partitioning(jax.nn.initializers.ones, (None, "model"))
    >>> init(jax.random.key(0), (2, 3)).names
    (None, 'model')
    """
    names = as_axis_names(names)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Partitioned[Any]:
        value = fn(*args, **kwargs) if kwargs else initialize(fn, *args)
        # The rank is not compared with the names yet: DenseGeneral draws its kernel as
        # a matrix, and gives the boxed value its shape afterwards.
        return Partitioned(value, names, mesh=mesh)

    return wrapper


def map_boxes(fn: Callable[[Any], Any], tree: Tree) -> Tree:
    """Maps a function over the boxes and the other leaves of a tree.

    Args:
      fn: takes a box, or a leaf without one; its result stands in their place.
      tree: any pytree.

    Returns:
      A tree of the results.

    Raises:
      PartitioningError: one that `fn` raised, with the path of the box in its message.

    >>> map_boxes(lambda box: getattr(box, "names", None), {"a": 1})
    {'a': None}
    """

    def at_path(path: tuple[Any, ...], leaf: Any) -> Any:
        try:
            return fn(leaf)
        except PartitioningError as error:
            raise error.at(path_text(path)) from None

    return jax.tree_util.tree_map_with_path(
        at_path, tree, is_leaf=lambda node: isinstance(node, Partitioned)
    )


def get_partition_spec(tree: Tree) -> Tree:
    """Returns the `PartitionSpec` of every value in a tree.

    Args:
      tree: a pytree of variables, for example `jax.eval_shape` of a module's `init`
        or of the creation of a `TrainState`.

    Returns:
      The same tree with a `PartitionSpec` in place of each box; `PartitionSpec()`,
      that is replicated, in place of each array without a box; and None in place of
      other leaves. Logical names are not resolved: see `logical_to_mesh`.

    Raises:
      RankMismatchError: a box has more names than its value dimensions; the message
        has its path.

    >>> import jax.numpy as jnp
    >>> from batiste import spmd
    >>> w = spmd.Partitioned(jnp.zeros((2, 2)), ("data",))
    >>> specs = spmd.get_partition_spec({"w": w, "b": jnp.zeros(2)})
    >>> tuple(specs["w"]), tuple(specs["b"])
    (('data',), ())
    """

    def spec(leaf: Any) -> PartitionSpec | None:
        if isinstance(leaf, Partitioned):
            check_rank(leaf.names, leaf.value)
            return leaf.get_partition_spec()
        return PartitionSpec() if hasattr(leaf, "shape") else None

    return map_boxes(spec, tree)


def get_sharding(tree: Tree, mesh: AnyMesh) -> Tree:
    """Returns the `NamedSharding` over `mesh` of every value in a tree.

    Args:
      tree: a pytree of variables, as for `get_partition_spec`.
      mesh: the mesh; an abstract one will do.

    Returns:
      The same tree with shardings in place of boxes and arrays, and None in place of
      other leaves. Logical names are resolved by the box's rules, else by those in
      force.

    Raises:
      RankMismatchError: a box has more names than its value dimensions.
      UnknownAxisError: the mesh has no axis of one of the names.
      DuplicateAxisError: one mesh axis is on two dimensions. All three have the
        value's path in their messages.

    >>> import jax, jax.numpy as jnp
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((2,), ("data",))
    >>> w = spmd.Partitioned(jnp.zeros((2, 2)), ("data",))
    >>> spmd.get_sharding({"w": w}, mesh)["w"].shard_shape((2, 2))
    (1, 2)
    """

    def sharding(leaf: Any) -> NamedSharding | None:
        if isinstance(leaf, Partitioned):
            check_rank(leaf.names, leaf.value)
            return leaf.get_sharding(mesh)
        return NamedSharding(mesh, PartitionSpec()) if hasattr(leaf, "shape") else None

    return map_boxes(sharding, tree)
