"""Logical axes: values whose dimensions have names that rules map to mesh axes."""

import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core import struct
from batiste.core.initializer_calls import initialize
from batiste.core.types import Function, Tree

from .axis_names import (
    AnyMesh,
    LogicalNames,
    LogicalRules,
    as_axis_names,
    checked_sharding,
    path_text,
)
from .axis_rules import (
    as_rules,
    get_logical_axis_rules,
    logical_to_mesh_axes,
    match_rules,
)
from .constraint import constrain, mesh_for
from .errors import AxisRulesError, PartitioningError, UnknownAxisError
from .partitioned import Partitioned

__all__ = [
    "LogicallyPartitioned",
    "RulesFallback",
    "logical_to_mesh",
    "logical_to_mesh_sharding",
    "with_logical_constraint",
    "with_logical_partitioning",
]


class RulesFallback(enum.Enum):
    """What `with_logical_constraint` does about a name that no rule applied to.

    Attributes:
      AXIS_IS_UNSHARDED: the dimension is unsharded.
      RAISE_ERROR: `UnknownAxisError` is raised.
      NO_CONSTRAINT: the whole value is left without a constraint.

    >>> from batiste import spmd
    >>> spmd.RulesFallback.RAISE_ERROR.value
    'raise_error'
    """

    AXIS_IS_UNSHARDED = "axis_is_unsharded"
    RAISE_ERROR = "raise_error"
    NO_CONSTRAINT = "no_constraint"


def logical_to_mesh(tree: Tree, rules: LogicalRules | None = None) -> Tree:
    """Turns the logical names in a tree of `PartitionSpec`s into mesh axes.

    Args:
      tree: a pytree of `PartitionSpec`s, as `get_partition_spec` returns it.
      rules: the rules to use, in place of those in force.

    Returns:
      The same tree with every spec resolved as by `logical_to_mesh_axes`.

    Raises:
      DuplicateAxisError: a logical name is on two dimensions of one value.
      AxisRulesError: a leaf is no `PartitionSpec`, or a rule is not a pair. Both have
        the value's path in their messages.

    >>> from jax.sharding import PartitionSpec
    >>> from batiste import spmd
    >>> specs = {"w": PartitionSpec("embed", "hidden")}
    >>> tuple(spmd.logical_to_mesh(specs, (("hidden", "model"),))["w"])
    (None, 'model')
    """
    return _map_specs(lambda spec: logical_to_mesh_axes(spec, rules), tree)


def logical_to_mesh_sharding(
    tree: Tree, mesh: AnyMesh, rules: LogicalRules | None = None
) -> Tree:
    """Turns a tree of logical `PartitionSpec`s into shardings over `mesh`.

    Args:
      tree: a pytree of `PartitionSpec`s, as `get_partition_spec` returns it.
      mesh: the mesh; an abstract one will do.
      rules: the rules to use, in place of those in force.

    Returns:
      The same tree with a `NamedSharding` in place of every spec.

    Raises:
      DuplicateAxisError: an axis is on two dimensions of one value.
      UnknownAxisError: a rule names an axis that the mesh does not have.
      AxisRulesError: a leaf is no `PartitionSpec`, or a rule is not a pair. All three
        have the value's path in their messages.

    >>> import jax
    >>> from jax.sharding import PartitionSpec
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
    >>> specs = {"w": PartitionSpec("embed", "hidden")}
    >>> rules = (("hidden", "model"),)
    >>> spmd.logical_to_mesh_sharding(specs, mesh, rules)["w"].shard_shape((8, 8))
    (8, 2)
    """

    def sharding(spec: PartitionSpec) -> NamedSharding:
        return checked_sharding(mesh, logical_to_mesh_axes(spec, rules))

    return _map_specs(sharding, tree)


def _map_specs(fn: Callable[[PartitionSpec], Any], tree: Tree) -> Tree:
    def at_path(path: tuple[Any, ...], spec: Any) -> Any:
        try:
            if not isinstance(spec, PartitionSpec):
                raise AxisRulesError(
                    f"Expected a PartitionSpec, got {spec!r}. Make the tree with "
                    "get_partition_spec, or write PartitionSpec('batch', None)."
                )
            return fn(spec)
        except PartitioningError as error:
            raise error.at(path_text(path)) from None

    return jax.tree_util.tree_map_with_path(
        at_path, tree, is_leaf=lambda node: isinstance(node, PartitionSpec)
    )


def with_logical_constraint(
    x: Tree,
    logical_axis_resources: Tree,
    rules: LogicalRules | None = None,
    mesh: Mesh | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> Tree:
    """Constrains the layout of an intermediate value by logical axis names.

    Without rules, without a mesh, and (unless `mesh` is given) outside of `jax.jit`,
    the value is returned untouched: a model with constraints in it runs everywhere.

    Args:
      x: a pytree of arrays.
      logical_axis_resources: the logical names of the dimensions, in a tuple or a
        `PartitionSpec`; None for no constraint; or a pytree of these that is a prefix
        of `x`.
      rules: the rules to use, in place of those in force.
      mesh: the mesh to use, in place of the one in force.
      fallback: what to do about a name that no rule applied to.

    Returns:
      `x`, constrained.

    Raises:
      UnknownAxisError: no rule applied to a name, and `fallback` is `RAISE_ERROR`; or
        the mesh does not have an axis that a rule names.
      RankMismatchError: there are more names than dimensions.
      DuplicateAxisError: an axis is on two dimensions of one value.
      AxisRulesError: names or rules are not of the described form.

    >>> import jax, jax.numpy as jnp
    >>> from batiste import spmd
    >>> @jax.jit
    ... def f(x):
    ...   return spmd.with_logical_constraint(x * 2, ("batch", "embed"))
    >>> with jax.set_mesh(jax.make_mesh((1,), ("data",))):
    ...   with spmd.logical_axis_rules((("batch", "data"),)):
    ...     y = f(jnp.ones((4, 2)))
    >>> y.shape
    (4, 2)
    """
    rules = get_logical_axis_rules() if rules is None else as_rules(rules)
    if not rules or logical_axis_resources is None:
        return x

    def constrain_subtree(names: Any, subtree: Tree) -> Tree:
        if names is None:
            return subtree
        spec, unmatched = match_rules(names, rules)
        if unmatched:
            if fallback is RulesFallback.RAISE_ERROR:
                known = tuple(dict.fromkeys(name for name, _ in rules))
                raise UnknownAxisError(
                    unmatched[0],
                    known,
                    "logical axis rules",
                    f"The axis names {tuple(names)!r} did not match: add a rule to a "
                    "mesh axis that the other dimensions leave free, or to None.",
                )
            if fallback is RulesFallback.NO_CONSTRAINT:
                return subtree
        return jax.tree.map(lambda leaf: constrain(leaf, spec, mesh), subtree)

    return jax.tree.map(
        constrain_subtree, logical_axis_resources, x, is_leaf=_is_axis_names
    )


def _is_axis_names(node: Any) -> bool:
    """Whether a node of a pytree of axis names is the names of one value."""
    if node is None or isinstance(node, PartitionSpec):
        return True
    return isinstance(node, tuple) and all(
        entry is None or isinstance(entry, str) or entry is PartitionSpec.UNCONSTRAINED
        for entry in node
    )


class LogicallyPartitioned(Partitioned):
    """A value boxed together with logical names for its dimensions.

    Rules decide, when the value is read, which mesh axes these names stand for.

    Attributes:
      value: the array.
      names: one entry per dimension: a logical name, or None.
      mesh: the mesh to lay the value over, in place of the one in force.
      rules: the rules to use, in place of those in force.

    Raises:
      AxisRulesError: `names` is a bare string or no sequence, or a rule is no pair.

    >>> import jax, jax.numpy as jnp
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
    >>> box = spmd.LogicallyPartitioned(jnp.zeros((2, 8)), ("embed", "hidden"))
    >>> with spmd.logical_axis_rules((("hidden", "model"),)):
    ...   tuple(box.get_sharding(mesh).spec)
    (None, 'model')
    """

    rules: LogicalRules | None = struct.field(default=None, pytree_node=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rules is not None:
            # The rules are static, so they have to be hashable.
            object.__setattr__(self, "rules", as_rules(self.rules))

    def to_nnx_metadata(self) -> dict[str, Any]:
        """Returns the box as NNX has it; see `Partitioned.to_nnx_metadata`.

        >>> from batiste import spmd
        >>> spmd.LogicallyPartitioned(1.0, ("embed",)).to_nnx_metadata()
        {'value': 1.0, 'mesh': None, 'out_sharding': ('embed',), 'sharding_rules': None}
        """
        return {**super().to_nnx_metadata(), "sharding_rules": self.rules}

    @classmethod
    def _fields_from_nnx(cls, metadata: Mapping[str, Any]) -> dict[str, Any]:
        rules = metadata.get("sharding_rules")
        return {**super()._fields_from_nnx(metadata), "rules": rules}

    def unbox(self, apply_constraint: bool = True) -> Any:
        """Returns the value, constrained to its layout where a mesh is in force.

        Args:
          apply_constraint: False returns the value just as it is.

        Returns:
          The value; untouched where there are no rules, no mesh, or (unless this box
          has a mesh of its own) no `jax.jit`.

        Raises:
          UnknownAxisError: the mesh does not have an axis that a rule names.
          DuplicateAxisError: one axis is on two dimensions.
          RankMismatchError: there are more names than dimensions.

        >>> from batiste import spmd
        >>> spmd.LogicallyPartitioned(1.0, ()).unbox()
        1.0
        """
        if not apply_constraint or mesh_for(self.value, self.mesh) is None:
            return self.value
        return with_logical_constraint(
            self.value, PartitionSpec(*self.names), rules=self.rules, mesh=self.mesh
        )

    def get_sharding(self, mesh: AnyMesh) -> NamedSharding:
        """Returns the layout over `mesh`, by the box's rules, else by those in force.

        Without any rules, the names are taken for mesh axes.

        Raises:
          UnknownAxisError: the mesh has no axis of one of the names.
          DuplicateAxisError: one axis is on two dimensions.

        >>> import jax
        >>> from batiste import spmd
        >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
        >>> rules = (("hidden", "model"),)
        >>> box = spmd.LogicallyPartitioned(1.0, ("hidden",), rules=rules)
        >>> box.get_sharding(mesh).shard_shape((8,))
        (2,)
        """
        rules = get_logical_axis_rules() if self.rules is None else self.rules
        if not rules:
            return super().get_sharding(mesh)
        return checked_sharding(mesh, match_rules(self.names, rules)[0])


def with_logical_partitioning(
    fn: Function,
    names: LogicalNames,
    mesh: Mesh | None = None,
    rules: LogicalRules | None = None,
) -> Callable[..., LogicallyPartitioned]:
    """Wraps a function so that what it returns is a `LogicallyPartitioned`.

    Args:
      fn: the function, as a rule an initializer `(key, shape, dtype) -> array`.
      names: the logical name, or None, for each dimension.
      mesh: the mesh to lay the value over, in place of the one in force.
      rules: the rules to use, in place of those in force.

    Returns:
      A function of the same arguments.

    Raises:
      AxisRulesError: `names` is a bare string or no sequence, or a rule is no pair.

    >>> import jax
    >>> from batiste import spmd
    >>> init = spmd.with_logical_partitioning(
    ...     jax.nn.initializers.ones, ("embed", "hidden"))
    >>> init(jax.random.key(0), (2, 3)).names
    ('embed', 'hidden')
    """
    names = as_axis_names(names)
    rules = None if rules is None else as_rules(rules)

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> LogicallyPartitioned:
        value = fn(*args, **kwargs) if kwargs else initialize(fn, *args)
        # The rank is not compared with the names yet: DenseGeneral draws its kernel as
        # a matrix, and gives the boxed value its shape afterwards.
        return LogicallyPartitioned(value, names, mesh=mesh, rules=rules)

    return wrapper
