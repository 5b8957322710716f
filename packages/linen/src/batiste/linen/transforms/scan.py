"""Lifted loops: `jax.lax.scan`, with rematerialization too, and `while_loop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batiste.core import lift
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter

from .call import call_lifted
from .direct_call import DirectCall
from .target import Call, lift_target

__all__ = ["remat_scan", "scan", "while_loop"]


def scan(
    target: Any,
    variable_axes: Mapping[Any, Any] = FrozenDict(),
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = FrozenDict(),
    methods: Any = None,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Any:
    """Lifted `jax.lax.scan`: runs a module many times, compiled once.

    The target has the signature `(module, carry, *xs) -> (carry, ys)`, and so has
    the result, whose `xs` and `ys` are stacked. Variables are stacked too, one slice
    for each step; or shared by all steps; or carried from step to step.

    Args:
      target: a module class, or a function whose first argument is a module.
      variable_axes: for each collection that is stacked, along which axis.
      variable_broadcast: a filter that selects the collections that all steps share.
        They may be initialized inside, from values that do not depend on the step.
      variable_carry: a filter that selects the collections that are carried.
      split_rngs: for each PRNG stream that is passed in, whether every step gets a
        key of its own.
      in_axes: the axes of `xs` to scan along, a prefix of their tree;
        `batiste.core.lift.broadcast` for what every step gets whole. Keyword
        arguments are passed to every step as they are.
      out_axes: the axes along which `ys` are stacked.
      length: the number of steps, if `xs` does not tell it.
      reverse: whether to run from the last step to the first.
      unroll: how many steps make one iteration of the compiled loop.
      data_transform: applied to the groups of variables and streams inside.
      metadata_params: what boxes are told about the axis, for example
        `{nn.PARTITION_NAME: "layers"}`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`.
      check_constancy_invariants: whether to check that shared variables and
        broadcast results do not depend on the step.

    Raises:
      TransformTargetError: `target` is neither.
      TransformedMethodReturnValueError: the function returns a module or variable.
      ValueError: the number of steps is not known, or not the same everywhere.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Block(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x, _):
    ...         return x + nn.relu(nn.Dense(2)(x)), None
    >>> Stack = nn.scan(Block, variable_axes={"params": 0},
    ...                 split_rngs={"params": True}, length=4)
    >>> variables = Stack().init(jax.random.key(0), jnp.ones((1, 2)), None)
    >>> variables["params"]["Dense_0"]["kernel"].shape
    (4, 2, 2)
    """
    options = {
        "variable_axes": variable_axes,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "split_rngs": split_rngs,
        "in_axes": in_axes,
        "out_axes": out_axes,
        "length": length,
        "reverse": reverse,
        "unroll": unroll,
        "data_transform": data_transform,
        "metadata_params": metadata_params,
        "_split_transpose": _split_transpose,
        "check_constancy_invariants": check_constancy_invariants,
    }
    return lift_target(_scan_call, scan, target, options, methods)


def _scan_call(**options: Any) -> Call:
    def call(
        fn: Callable[..., Any], module: Any, args: tuple, kwargs: Any, cls: Any
    ) -> Any:
        return call_lifted(
            lambda body: lift.scan(body, **options),
            fn,
            module,
            args,
            kwargs,
            cls,
            closed_kwargs=True,
        )

    return call


def remat_scan(
    target: Any,
    lengths: Sequence[int] = (),
    policy: Callable[..., bool] | None = None,
    variable_broadcast: CollectionFilter = False,
    variable_carry: CollectionFilter = False,
    variable_axes: Mapping[Any, Any] = FrozenDict({True: 0}),
    split_rngs: Mapping[Any, bool] = FrozenDict({True: True}),
    metadata_params: Mapping[Any, Any] | Sequence[Mapping[Any, Any]] = FrozenDict(),
) -> Any:
    """Scans over layers in nested loops, each rematerialized.

    With lengths `(m, n)` there are `m * n` layers, and the gradient keeps `m + n` of
    their inputs, not all. The layer maps its one argument to something of the same
    structure, shapes and dtypes.

    Args:
      target: a module class, or a function whose first argument is a module.
      lengths: the lengths of the loops, the outermost first.
      policy: what to keep nevertheless, one of `jax.checkpoint_policies`.
      variable_broadcast: a filter that selects the collections all layers share.
      variable_carry: a filter that selects the collections that are carried.
      variable_axes: for each collection that is stacked, along which axis. By
        default all are, along the first.
      split_rngs: for each PRNG stream that is passed in, whether every layer gets a
        key of its own. By default all do.
      metadata_params: what boxes are told about the axis, in all loops; or a sequence
        with what they are told in each loop, the outermost first, for example
        `({nn.PARTITION_NAME: "stages"}, {nn.PARTITION_NAME: "layers"})`.

    Raises:
      TransformTargetError: `target` is neither.
      ValueError: `lengths` is empty, or `metadata_params` has not as many entries.
      PartitioningUnspecifiedError: a variable is in a box, and `metadata_params` does
        not name the axis.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> Stack = nn.remat_scan(nn.Dense, lengths=(10, 10))
    >>> variables = Stack(3).init(jax.random.key(0), jnp.ones((1, 3)))
    >>> variables["params"]["kernel"].shape
    (10, 10, 3, 3)
    """
    options = {
        "lengths": lengths,
        "policy": policy,
        "variable_broadcast": variable_broadcast,
        "variable_carry": variable_carry,
        "variable_axes": variable_axes,
        "split_rngs": split_rngs,
        "metadata_params": metadata_params,
    }
    return lift_target(_remat_scan_call, remat_scan, target, options)


def _remat_scan_call(**options: Any) -> Call:
    def call(
        fn: Callable[..., Any], module: Any, args: tuple, kwargs: Any, cls: Any
    ) -> Any:
        return call_lifted(
            lambda body: lift.remat_scan(body, **options),
            fn,
            module,
            args,
            kwargs,
            cls,
            closed_kwargs=True,
        )

    return call


def while_loop(
    cond_fn: Callable[..., Any],
    body_fn: Callable[..., Any],
    mdl: Any,
    init: Any,
    carry_variables: CollectionFilter = False,
    broadcast_variables: CollectionFilter = True,
    split_rngs: Mapping[Any, bool] = FrozenDict(),
) -> Any:
    """Lifted `jax.lax.while_loop`.

    No variable can be initialized inside: under `init`, call `body_fn` instead.

    Args:
      cond_fn: `(module, carry) -> bool`, whether to go on.
      body_fn: `(module, carry) -> carry`, one iteration.
      mdl: the module.
      init: the first carry; shapes and dtypes stay.
      carry_variables: a filter that selects the collections that iterations change.
      broadcast_variables: a filter that selects the collections that they read.
      split_rngs: for each PRNG stream that is passed in, whether every iteration
        gets a key of its own.

    Returns:
      The last carry.

    Raises:
      TransformTargetError: `mdl` is no module.
      CallCompactUnboundModuleError: `mdl` is unbound.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Doubling(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         count = self.variable("state", "count", lambda: 0)
    ...         def body(mdl, x):
    ...             mdl.put_variable("state", "count",
    ...                              mdl.get_variable("state", "count") + 1)
    ...             return 2 * x
    ...         return nn.while_loop(lambda mdl, x: x < 100, body, self, x,
    ...                              carry_variables="state")
    >>> y, state = Doubling().apply({"state": {"count": 0}}, 3, mutable="state")
    >>> int(y), int(state["state"]["count"])
    (192, 6)
    """
    call = DirectCall(mdl, (init,))
    y = lift.while_loop(
        call.body(cond_fn),
        call.body(body_fn),
        call.scopes,
        *call.args,
        carry_variables=carry_variables,
        broadcast_variables=broadcast_variables,
        split_rngs=split_rngs,
    )
    return call.finish(y)
