"""Logical axis names of variables, kept in collections beside them.

The names of the axes of a variable `kernel` in the collection `params` are kept as
`kernel_axes` in the collection `params_axes`. Boxes (`nn.with_logical_partitioning`)
are the newer way to say the same; this one leaves the variables bare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from jax.sharding import PartitionSpec

from batiste.core import Scope, Variable, errors, lift, struct
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import (
    CollectionFilter,
    PRNGSequenceFilter,
    in_filter,
    union_filters,
)
from batiste.core.struct import field
from batiste.spmd import RulesFallback, with_logical_constraint

from .. import transforms
from ..module.context import context
from ..transforms.call import LiftedCall
from ..transforms.target import lift_target

__all__ = [
    "AxisMetadata",
    "PartitionedVariable",
    "core_remat_static",
    "get_axis_names",
    "param_with_axes",
    "remat",
    "scan_with_axes",
    "variable_with_axes",
    "vmap_with_axes",
]

_SUFFIX: Final = "_axes"

Names = Any  # a tuple of names and Nones, a PartitionSpec, or a tree of them


@struct.dataclass
class AxisMetadata:
    """The axis names of one variable, as a pytree without leaves.

    >>> AxisMetadata(names=("embed", "mlp")).names
    ('embed', 'mlp')
    """

    names: Names = field(pytree_node=False)


def _running_module(module: Any) -> Any:
    if module is None and context.modules:
        module = context.modules[-1]
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


def _store_names(module: Any, collection: str, name: str, axes: Names) -> None:
    module.sow(
        collection + _SUFFIX,
        name + _SUFFIX,
        AxisMetadata(names=axes),
        reduce_fn=_keep_last,
        init_fn=_nothing,
    )


def _constrain(
    value: Any,
    axes: Names,
    scope: Scope,
    collection: str,
    name: str,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
) -> Any:
    """Lays a variable's value out by its names; errors get the variable's path."""
    try:
        spec = PartitionSpec(*axes)
        return with_logical_constraint(value, spec, fallback=fallback)
    except errors.AxisMetadataError as error:
        raise error.at("/".join((collection, *scope.path, name))) from None


def param_with_axes(
    name: str,
    init_fn: Callable[..., Any],
    *init_args: Any,
    axes: Names = None,
    module: Any = None,
    **init_kwargs: Any,
) -> Any:
    """Declares a parameter, with names for its axes, in the running module.

    The value is constrained to the layout that the logical axis rules in force give
    the names, and the names are stored in the collection `params_axes`.

    Args:
      name: the parameter's name.
      init_fn: makes the first value, from a key, `init_args` and `init_kwargs`.
      axes: a name, or None, for each axis; None for no names at all.
      module: the module, by default the one whose method runs.

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

    def _constrain(self, value: Any) -> Any:
        if self.axes is None:
            return value
        return _constrain(
            value, self.axes, self.scope, self.collection, self.name, self.fallback
        )

    @property
    def value(self) -> Any:
        """The variable's present value, constrained.

        Raises:
          ScopeVariableNotFoundError: the variable has no value.
        """
        return self._constrain(Variable.value.fget(self))  # type: ignore[attr-defined]

    @value.setter
    def value(self, value: Any) -> None:
        Variable.value.fset(self, self._constrain(value))  # type: ignore[attr-defined]


def variable_with_axes(
    collection: str,
    name: str,
    init_fn: Callable[..., Any],
    *init_args: Any,
    axes: Names = None,
    module: Any = None,
    fallback: RulesFallback = RulesFallback.AXIS_IS_UNSHARDED,
    **init_kwargs: Any,
) -> PartitionedVariable:
    """Declares a variable, with names for its axes, in the running module.

    Args:
      collection: the variable's collection; the names go to `{collection}_axes`.
      name: the variable's name.
      init_fn: makes the first value, from `init_args` and `init_kwargs`.
      axes: a name, or None, for each axis; None for no names at all.
      module: the module, by default the one whose method runs.
      fallback: what to do about a name that no rule applies to.

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
    return PartitionedVariable(module.scope, collection, name, axes, fallback)


def get_axis_names(axes_metadata: Mapping[str, Any]) -> FrozenDict[str, Any]:
    """The axis names of a collection, in the tree of its variables.

    Args:
      axes_metadata: a collection of names, such as `params_axes`.

    Returns:
      The collection with `PartitionSpec`s, under the names of the variables.

    >>> names = AxisMetadata(names=("embed", "mlp"))
    >>> tuple(get_axis_names({"dense": {"kernel_axes": names}})["dense"]["kernel"])
    ('embed', 'mlp')
    """
    return FrozenDict(_without_suffix(axes_metadata))


def _without_suffix(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {
            name.removesuffix(_SUFFIX)
            if isinstance(child, AxisMetadata)
            else name: _without_suffix(child)
            for name, child in tree.items()
        }
    return PartitionSpec(*tree.names) if isinstance(tree, AxisMetadata) else tree


# Transforms that keep the names right.


def _map_names(tree: Any, change: Callable[[list], None]) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map_names(child, change) for name, child in tree.items()}
    if isinstance(tree, AxisMetadata):
        names = list(tree.names)
        change(names)
        return AxisMetadata(names=tuple(names))
    return tree


def _with_axis(
    target: Any, collection: str, axis: int, axis_name: str | None, methods: Any
) -> Any:
    """Lets the names of a collection have one more axis outside of the target."""

    def insert(names: list) -> None:
        names.insert(axis if axis >= 0 else axis + len(names) + 1, axis_name)

    def remove(names: list) -> None:
        del names[axis]

    return transforms.map_variables(
        target,
        collection + _SUFFIX,
        lambda tree: _map_names(tree, remove),
        lambda tree: _map_names(tree, insert),
        mutable=True,
        methods=methods,
    )


def scan_with_axes(
    target: Any,
    variable_axes: Mapping[Any, Any] = {},
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    axis_name: str = "layers",
    axes_collections: Iterable[str] = ("params",),
    data_transform: Callable[..., Any] | None = None,
    methods: Any = None,
) -> Any:
    """As `nn.scan`, for variables whose axes have names.

    Args:
      axis_name: the name of the axis along which variables are stacked.
      axes_collections: the collections whose variables have names for their axes.

    Other arguments and errors are those of `nn.scan`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, _):
    ...         return x * nn.partitioning.param_with_axes(
    ...             "scale", nn.initializers.ones, x.shape[-1:], axes=("embed",)), None
    >>> Stack = nn.partitioning.scan_with_axes(
    ...     Scale, {"params": 0}, split_rngs={"params": True}, length=4)
    >>> variables = Stack().init(jax.random.key(0), jnp.ones((2, 3)), None)
    >>> variables["params_axes"]["scale_axes"].names
    ('layers', 'embed')
    """
    axes = dict(variable_axes)
    mapped = {}
    for collection in axes_collections:
        names = collection + _SUFFIX
        if collection in axes:
            # Names have no leaves to stack: the loop hands them on.
            mapped[collection] = axes[names] = axes[collection]
        elif in_filter(variable_broadcast, collection):
            variable_broadcast = union_filters(variable_broadcast, names)
        elif in_filter(variable_carry, collection):
            variable_carry = union_filters(variable_carry, names)
    scanned = transforms.scan(
        target,
        variable_axes=axes,
        variable_broadcast=variable_broadcast,
        variable_carry=variable_carry,
        split_rngs=split_rngs,
        in_axes=in_axes,
        out_axes=out_axes,
        length=length,
        reverse=reverse,
        unroll=unroll,
        data_transform=data_transform,
        methods=methods,
    )
    for collection, axis in mapped.items():
        scanned = _with_axis(scanned, collection, axis, axis_name, methods)
    return scanned


def vmap_with_axes(
    target: Any,
    variable_axes: Mapping[Any, Any],
    split_rngs: Mapping[Any, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
    partitioning_axis_names: Mapping[str, str] = {},
    spmd_axis_name: str | None = None,
    methods: Any = None,
) -> Any:
    """As `nn.vmap`, for variables whose axes have names.

    Args:
      partitioning_axis_names: for each collection whose variables have names for
        their axes, the name of the batch axis.

    Other arguments and errors are those of `nn.vmap`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Scale(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return x * nn.partitioning.param_with_axes(
    ...             "scale", nn.initializers.ones, x.shape[-1:], axes=("embed",))
    >>> Experts = nn.partitioning.vmap_with_axes(
    ...     Scale, {"params": 0}, {"params": True},
    ...     partitioning_axis_names={"params": "expert"})
    >>> variables = Experts().init(jax.random.key(0), jnp.ones((2, 3)))
    >>> variables["params_axes"]["scale_axes"].names
    ('expert', 'embed')
    """
    axes = dict(variable_axes)
    for collection in partitioning_axis_names:
        if collection in axes:
            axes[collection + _SUFFIX] = axes[collection]
    mapped = transforms.vmap(
        target,
        variable_axes=axes,
        split_rngs=split_rngs,
        in_axes=in_axes,
        out_axes=out_axes,
        axis_size=axis_size,
        axis_name=axis_name,
        spmd_axis_name=spmd_axis_name,
        methods=methods,
    )
    for collection, name in partitioning_axis_names.items():
        axis = axes.get(collection)
        if axis is not None:
            mapped = _with_axis(mapped, collection, axis, name, methods)
    return mapped


def core_remat_static(
    fn: Callable[..., Any],
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
) -> Callable[..., Any]:
    """Lifted `jax.checkpoint` for functions of scopes, with static arguments.

    It is `batiste.core.lift.checkpoint`; `static_argnums` do not count the scope.

    >>> import jax, jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> dense = core_remat_static(nn.dense, static_argnums=1)
    >>> init(dense)(jax.random.key(0), jnp.ones((1, 2)), 3)[0].shape
    (1, 3)
    """
    return lift.checkpoint(
        fn,
        variables=variables,
        rngs=rngs,
        concrete=concrete,
        prevent_cse=prevent_cse,
        static_argnums=_as_tuple(static_argnums),
        policy=policy,
    )


def remat(
    target: Any,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Any = None,
) -> Any:
    """As `nn.remat`, but `static_argnums` do not count the module.

    Other arguments and errors are those of `nn.remat`.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> Norm = nn.partitioning.remat(nn.BatchNorm, static_argnums=1)
    >>> class Net(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, train):
    ...         return Norm()(x, not train)
    >>> y, _ = Net().init_with_output(jax.random.key(0), jnp.ones((2, 3)), False)
    >>> y.shape
    (2, 3)
    """
    options = {
        "variables": variables,
        "rngs": rngs,
        "concrete": concrete,
        "prevent_cse": prevent_cse,
        "static_argnums": static_argnums,
        "policy": policy,
    }
    return lift_target(
        core_remat_static,
        remat,
        target,
        options,
        methods,
        prefix="Core_remat_static",
        call_type=_RematCall,
    )


class _RematCall(LiftedCall):
    transforms_kwargs = True


def _as_tuple(value: int | Iterable[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)
