"""Variables whose axes have names, which are kept in collections beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import jax
from jax.sharding import PartitionSpec

from batiste.core import Scope, Variable, errors, struct
from batiste.core.frozen_dict import FrozenDict
from batiste.core.struct import field
from batiste.core.types import Function, Tree
from batiste.spmd import RulesFallback, with_logical_constraint

from ..module.context import context
from ..module.module import Module
from ..module.variables import sow

__all__ = [
    "SUFFIX",
    "AxisMetadata",
    "PartitionedVariable",
    "get_axis_names",
    "map_names",
    "param_with_axes",
    "variable_with_axes",
]

SUFFIX: Final = "_axes"
"""What is put after the names of a variable and of its collection."""

Names: TypeAlias = Tree
"""A tuple of names and Nones, a `PartitionSpec`, or a tree of them."""


@struct.dataclass
class AxisMetadata:
    """The axis names of one variable, as a pytree without leaves.

    Attributes:
      names: a name, or None, for each axis.

    >>> AxisMetadata(names=("embed", "mlp")).names
    ('embed', 'mlp')
    """

    names: Names = field(pytree_node=False)


def map_names(change: Callable[[tuple[Any, ...]], Any], axes: Names) -> Tree:
    """Applies a function to the names of each array of a variable.

    A text alone is one name; None is no names at all.

    Args:
      change: gets a tuple of names and Nones.
      axes: the names of an array, or a tree of them.

    >>> map_names(len, {"a": ("embed", None), "b": "mlp", "c": None})
    {'a': 2, 'b': 1, 'c': None}
    """

    def change_one(names: Any) -> Any:
        if names is None:
            return None
        return change((names,) if isinstance(names, str) else tuple(names))

    return jax.tree.map(change_one, axes, is_leaf=_is_names)


def _is_names(value: Any) -> bool:
    """Whether a value names the axes of one array."""
    if value is None or isinstance(value, (str, PartitionSpec)):
        return True
    return (
        isinstance(value, tuple)
        and not hasattr(value, "_fields")
        and all(name is None or isinstance(name, str) for name in value)
    )


def _to_spec(names: tuple[Any, ...]) -> PartitionSpec:
    return PartitionSpec(*names)


def _running_module(module: Module | None) -> Module:
    if module is None and context.modules:
        module = cast("Module | None", context.modules[-1])
    if module is None:
        raise ValueError(
            "No module is running here, to declare a variable with axes in. Call this "
            "in a module's method, or pass module=..."
        )
    return module


def _keep_last(old: Any, new: Any) -> Any:
    return new


def _nothing() -> None:
    return None


def _store_names(module: Module, collection: str, name: str, axes: Names) -> None:
    sow(
        module,
        collection + SUFFIX,
        name + SUFFIX,
        AxisMetadata(names=axes),
        reduce_fn=_keep_last,
        init_fn=_nothing,
        reports=False,  # whoever lays nothing out needs no names
    )


def _constrain(
    value: Tree,
    axes: Names,
    scope: Scope,
    collection: str,
    name: str,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> Tree:
    """Lays a variable's value out by its names; errors get the variable's path."""

    def constrain(spec: PartitionSpec | None, part: Tree) -> Tree:
        if spec is None:
            return part
        return with_logical_constraint(part, spec, fallback=fallback)

    specs = map_names(_to_spec, axes)
    try:
        return jax.tree.map(constrain, specs, value, is_leaf=_is_names)
    except errors.AxisMetadataError as error:
        raise error.at("/".join((collection, *scope.path, name))) from None


def param_with_axes(
    name: str,
    init_fn: Function,
    *init_args: Any,
    axes: Names = None,
    module: Module | None = None,
    **init_kwargs: Any,
) -> Tree:
    """Declares a parameter, with names for its axes, in the running module.

    The value is constrained to the layout that the logical axis rules in force give
    the names, and the names are stored in the collection `params_axes`.

    Args:
      name: the parameter's name.
      init_fn: makes the first value, from a key, `init_args` and `init_kwargs`.
      *init_args: passed on to `init_fn`.
      axes: a name, or None, for each axis; None for no names at all. For a value that
        is a tree of arrays, a tree of such.
      module: the module, by default the one whose method runs.
      **init_kwargs: passed on to `init_fn`.

    Raises:
      ValueError: no module is running, and none is given.
      As `Module.param`, and `nn.with_logical_constraint`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * nn.partitioning.param_with_axes(
    ...             "scale", nn.initializers.ones, x.shape[-1:], axes=("embed",))
    >>> variables = Scale().init(jax.random.key(0), jnp.ones((2, 3)))
    >>> variables["params_axes"]["scale_axes"]
    AxisMetadata(names=('embed',))
    """
    module = _running_module(module)
    value = module.param(name, init_fn, *init_args, **init_kwargs)
    if axes is None:
        return value
    _store_names(module, "params", name, axes)
    assert module.scope is not None  # as it has declared a parameter
    return _constrain(value, axes, module.scope, "params", name)


class PartitionedVariable(Variable):
    """A handle on a variable whose axes have names.

    What is read from it or assigned to it is constrained to the layout that the
    logical axis rules in force give the names.

    Args:
      scope: the scope of the variable.
      collection: its collection.
      name: its name.
      axes: a name, or None, for each axis; None for no names at all.
      fallback: what to do about a name that no rule applies to.

    >>> from batiste.core import scope
    >>> handle = PartitionedVariable(
    ...     scope.bind({"state": {"x": 1.0}}), "state", "x", axes=())
    >>> handle.value
    1.0
    """

    __slots__ = ("axes", "fallback")

    def __init__(
        self,
        scope: Scope,
        collection: str,
        name: str,
        axes: Names = None,
        fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    ):
        super().__init__(scope, collection, name, unbox=True)
        self.axes = axes
        self.fallback = fallback

    def _constrain(self, value: Tree) -> Tree:
        if self.axes is None:
            return value
        return _constrain(
            value, self.axes, self.scope, self.collection, self.name, self.fallback
        )

    @property
    def value(self) -> Tree:
        """The variable's present value, constrained.

        Raises:
          ScopeVariableNotFoundError: the variable has no value.
        """
        return self._constrain(Variable.value.fget(self))  # type: ignore[attr-defined]

    @value.setter
    def value(self, value: Tree) -> None:
        Variable.value.fset(self, self._constrain(value))  # type: ignore[attr-defined]


def variable_with_axes(
    collection: str,
    name: str,
    init_fn: Function,
    *init_args: Any,
    axes: Names = None,
    module: Module | None = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    **init_kwargs: Any,
) -> PartitionedVariable:
    """Declares a variable, with names for its axes, in the running module.

    Args:
      collection: the variable's collection; the names go to `{collection}_axes`.
      name: the variable's name.
      init_fn: makes the first value, from `init_args` and `init_kwargs`.
      *init_args: passed on to `init_fn`.
      axes: a name, or None, for each axis; None for no names at all. For a value that
        is a tree of arrays, a tree of such.
      module: the module, by default the one whose method runs.
      fallback: what to do about a name that no rule applies to.
      **init_kwargs: passed on to `init_fn`.

    Returns:
      A handle on the variable.

    Raises:
      ValueError: no module is running, and none is given.
      As `Module.variable`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Mean(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         mean = nn.partitioning.variable_with_axes(
    ...             "stats", "mean", jnp.zeros, x.shape[-1:], axes=("embed",))
    ...         mean.value += x.mean(0)
    ...         return mean.value
    >>> variables = Mean().init(jax.random.key(0), jnp.ones((2, 3)))
    >>> variables["stats_axes"]["mean_axes"].names
    ('embed',)
    """
    module = _running_module(module)
    module.variable(collection, name, init_fn, *init_args, **init_kwargs)
    if axes is not None:
        _store_names(module, collection, name, axes)
    assert module.scope is not None  # as it has declared a variable
    return PartitionedVariable(module.scope, collection, name, axes, fallback)


def get_axis_names(axes_metadata: Mapping[str, Any]) -> FrozenDict[str, Any]:
    """Returns the axis names of a collection, in the tree of its variables.

    Args:
      axes_metadata: a collection of names, such as `params_axes`.

    Returns:
      The collection with `PartitionSpec`s, or trees of them, under the names of the
      variables.

    >>> names = AxisMetadata(names=("embed", "mlp"))
    >>> tuple(get_axis_names({"dense": {"kernel_axes": names}})["dense"]["kernel"])
    ('embed', 'mlp')
    """
    return FrozenDict(_without_suffix(axes_metadata))


def _without_suffix(tree: Tree) -> Tree:
    if isinstance(tree, Mapping):
        return {
            name.removesuffix(SUFFIX)
            if isinstance(child, AxisMetadata)
            else name: _without_suffix(child)
            for name, child in tree.items()
        }
    return map_names(_to_spec, tree.names) if isinstance(tree, AxisMetadata) else tree
