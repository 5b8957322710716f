"""Transforms that keep the names of axes right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batiste.core import lift
from batiste.core.arguments import not_a_mapping
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import (
    CollectionFilter,
    PRNGSequenceFilter,
    in_filter,
    union_filters,
)
from batiste.core.types import Function, Tree

from .. import transforms
from ..transforms.call import LiftedCall
from ..transforms.target import Methods, Target, lift_target
from .variables import SUFFIX, AxisMetadata, map_names

__all__ = ["core_remat_static", "remat", "scan_with_axes", "vmap_with_axes"]


def _map_names(tree: Tree, change: Callable[[list[str | None]], None]) -> Tree:
    if isinstance(tree, Mapping):
        return {name: _map_names(child, change) for name, child in tree.items()}
    if isinstance(tree, AxisMetadata):

        def changed(names: tuple[Any, ...]) -> tuple[Any, ...]:
            change(as_list := list(names))
            return tuple(as_list)

        return AxisMetadata(names=map_names(changed, tree.names))
    return tree


def _with_axis(
    target: Target, collection: str, axis: int, axis_name: str | None, methods: Methods
) -> Target:
    """Lets the names of a collection have one more axis outside of the target."""

    def insert(names: list[str | None]) -> None:
        names.insert(axis if axis >= 0 else axis + len(names) + 1, axis_name)

    def remove(names: list[str | None]) -> None:
        del names[axis]

    return transforms.map_variables(
        target,
        collection + SUFFIX,
        lambda tree: _map_names(tree, remove),
        lambda tree: _map_names(tree, insert),
        mutable=True,
        methods=methods,
    )


def scan_with_axes(
    target: Target,
    variable_axes: Mapping[Any, Any] = FrozenDict(),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    axis_name: str = "layers",
    axes_collections: Iterable[str] = ("params",),
    data_transform: Callable[..., Any] | None = None,
    methods: Methods = None,
) -> Target:
    """Does what `nn.scan` does, for variables whose axes have names.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: as for `nn.scan`.
      variable_broadcast: as for `nn.scan`.
      variable_carry: as for `nn.scan`.
      split_rngs: as for `nn.scan`.
      in_axes: as for `nn.scan`.
      out_axes: as for `nn.scan`.
      length: as for `nn.scan`.
      reverse: as for `nn.scan`.
      unroll: as for `nn.scan`.
      axis_name: the name of the axis along which variables are stacked.
      axes_collections: the collections whose variables have names for their axes.
      data_transform: as for `nn.scan`.
      methods: as for `nn.scan`.

    Raises:
      As `nn.scan`.

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
    if not isinstance(variable_axes, Mapping):
        raise not_a_mapping("variable_axes", variable_axes)
    axes = dict(variable_axes)
    mapped = {}
    for collection in axes_collections:
        names = collection + SUFFIX
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
    target: Target,
    variable_axes: Mapping[Any, Any],
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    axis_size: int | None = None,
    axis_name: str | None = None,
    partitioning_axis_names: Mapping[str, str] = FrozenDict(),
    spmd_axis_name: str | None = None,
    methods: Methods = None,
) -> Target:
    """Does what `nn.vmap` does, for variables whose axes have names.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: as for `nn.vmap`.
      split_rngs: as for `nn.vmap`.
      in_axes: as for `nn.vmap`.
      out_axes: as for `nn.vmap`.
      axis_size: as for `nn.vmap`.
      axis_name: as for `nn.vmap`.
      partitioning_axis_names: for each collection whose variables have names for
        their axes, the name of the batch axis.
      spmd_axis_name: as for `nn.vmap`.
      methods: as for `nn.vmap`.

    Raises:
      As `nn.vmap`.

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
    if not isinstance(variable_axes, Mapping):
        raise not_a_mapping("variable_axes", variable_axes)
    axes = dict(variable_axes)
    for collection in partitioning_axis_names:
        if collection in axes:
            axes[collection + SUFFIX] = axes[collection]
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
    fn: Function,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
) -> Function:
    """Lifted `jax.checkpoint` for functions of scopes, with static arguments.

    It is `batiste.core.lift.checkpoint` under another name.

    Args:
      fn: a function whose first argument is a scope or a pytree of them.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      concrete: whether values that nothing is traced of stay as they are, so that
        control flow can depend on them: Python scalars and constants, and everything
        outside of other transformations (where nothing is then checkpointed).
      prevent_cse: whether to keep the compiler from undoing the transform.
      static_argnums: positions of arguments that are compile-time constants, counted
        without the scope.
      policy: what to keep for the gradient, one of `jax.checkpoint_policies`.

    Returns:
      A function of the same arguments.

    Raises:
      As `batiste.core.lift.checkpoint`.

    >>> import jax, jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> dense = core_remat_static(nn.dense, static_argnums=1)
    >>> init(dense)(jax.random.key(0), jnp.ones((1, 2)), 3)[0].shape
    (1, 3)
    """
    if not isinstance(static_argnums, int):
        static_argnums = tuple(static_argnums)
    return lift.checkpoint(
        fn,
        variables=variables,
        rngs=rngs,
        concrete=concrete,
        prevent_cse=prevent_cse,
        static_argnums=static_argnums,
        policy=policy,
    )


def remat(
    target: Target,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    concrete: bool = False,
    prevent_cse: bool = True,
    static_argnums: int | Iterable[int] = (),
    policy: Callable[..., bool] | None = None,
    methods: Methods = None,
) -> Target:
    """Does what `nn.remat` does, with other numbers for static arguments.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: as for `nn.remat`.
      rngs: as for `nn.remat`.
      concrete: as for `nn.remat`.
      prevent_cse: as for `nn.remat`.
      static_argnums: as for `nn.remat`, but counted without the module.
      policy: as for `nn.remat`.
      methods: as for `nn.remat`.

    Raises:
      As `nn.remat`.

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
