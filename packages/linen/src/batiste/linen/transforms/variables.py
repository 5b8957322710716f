"""Lifted changes of variables and keys: what a module sees of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batiste.core import lift
from batiste.core.arguments import not_a_mapping
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter, PRNGSequenceFilter
from batiste.core.types import Function

from .call import LiftedCall
from .target import Methods, Target, lift_target

__all__ = ["add_metadata_axis", "fold_rngs", "map_variables"]


def map_variables(
    target: Target,
    mapped_collections: CollectionFilter = True,
    trans_in_fn: Function = lift.id_fn,
    trans_out_fn: Function = lift.id_fn,
    init: bool = False,
    mutable: bool = False,
    rngs: PRNGSequenceFilter = True,
    variables: CollectionFilter = True,
    methods: Methods = None,
) -> Target:
    """Changes the variables on their way into a module, and out of it.

    For example to mask, normalize or transpose weights, without a change of the layer.

    Args:
      target: a module class, or a function whose first argument is a module.
      mapped_collections: a filter that selects the collections to change.
      trans_in_fn: maps a dict of collections to what the module sees.
      trans_out_fn: maps what the module changed or made to what is stored; used if
        `init` or `mutable`.
      init: whether variables are initialized inside: run once to make them, before
        they are mapped.
      mutable: whether the module may change the mapped collections.
      rngs: a filter that selects the PRNG streams to pass in.
      variables: a filter that selects the other collections to pass in.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class CausalDense(nn.Module):
    ...     features: int
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         mask = lambda variables: jax.tree.map(jnp.triu, variables)
    ...         layer = nn.map_variables(
    ...             nn.Dense, "params", mask, init=self.is_initializing())
    ...         return layer(self.features, use_bias=False)(x)
    >>> model = CausalDense(3)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> y = model.apply(variables, jnp.array([[0., 0., 1.]]))
    >>> y[0, :2].tolist()
    [0.0, 0.0]
    """
    options = {
        "mapped_collections": mapped_collections,
        "trans_in_fn": trans_in_fn,
        "trans_out_fn": trans_out_fn,
        "init": init,
        "mutable": mutable,
        "rngs": rngs,
        "variables": variables,
    }
    return lift_target(_lift_map_variables, map_variables, target, options, methods)


def _lift_map_variables(
    fn: Function, trans_in_fn: Function, trans_out_fn: Function, **options: Any
) -> Function:
    """`lift.map_variables`, whose functions have other names."""
    return lift.map_variables(
        fn, map_in_fn=trans_in_fn, map_out_fn=trans_out_fn, **options
    )


def add_metadata_axis(
    target: Target,
    variable_axes: Mapping[Any, int | None] = FrozenDict(),
    metadata_params: Mapping[Any, Any] = FrozenDict(),
) -> Target:
    """Tells the boxes of variables of an axis that they do not have inside.

    As `vmap` and `scan` do, but without the axis: for a module whose variables are
    stacked by other means.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: for each collection, where the axis is; None for no axis.
      metadata_params: what boxes are told, for example
        `{nn.PARTITION_NAME: "layers"}`.

    Raises:
      TransformTargetError: `target` is neither.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> Layer = nn.add_metadata_axis(
    ...     nn.Dense, {"params": 0}, {nn.PARTITION_NAME: "layers"})
    >>> init_fn = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
    >>> variables = Layer(2, kernel_init=init_fn).init(
    ...     jax.random.key(0), jnp.ones((1, 3)))
    >>> variables["params"]["kernel"].names
    ('layers', 'in', 'out')
    """
    if not isinstance(variable_axes, Mapping):
        raise not_a_mapping("variable_axes", variable_axes)
    axes = {key: axis for key, axis in variable_axes.items() if axis is not None}
    if not axes:
        return target
    # A class has the name that `map_variables`, applied for each axis, gives it.
    return lift_target(
        lift.add_metadata_axis,
        add_metadata_axis,
        target,
        {"variable_axes": axes, "metadata_params": metadata_params},
        prefix="Map_variables" * len(axes),
    )


class _FoldCall(LiftedCall):
    folds_rngs = True


def fold_rngs(
    target: Target,
    variables: CollectionFilter = True,
    rngs: PRNGSequenceFilter = True,
    methods: Methods = None,
) -> Target:
    """Gives a module PRNG streams with base keys of their own.

    What was to be folded into the keys, the path and the number of keys drawn, is
    folded in at once.

    Args:
      target: a module class, or a function whose first argument is a module.
      variables: a filter that selects the collections to pass in.
      rngs: a filter that selects the PRNG streams to pass in.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.

    Raises:
      TransformTargetError: `target` is neither.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> variables = nn.fold_rngs(nn.Dense)(3).init(jax.random.key(0), jnp.ones((1, 2)))
    >>> variables["params"]["kernel"].shape
    (2, 3)
    """
    return lift_target(
        lift.fold_rngs,
        fold_rngs,
        target,
        {"variables": variables, "rngs": rngs},
        methods,
        call_type=_FoldCall,
    )
