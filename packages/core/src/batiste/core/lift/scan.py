"""Lifted `jax.lax.scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from .. import axes_scan
from ..axes_scan import broadcast
from ..scope.filters import Filter, union_filters
from ..scope.keys import RngCounters
from .axes import VariableAxes, axis_sizes
from .pack import Lifted, pack, tree_map_rngs, update_groups

__all__ = ["scan"]


def scan(
    fn: Callable[..., Any],
    variable_axes: Mapping[Filter, Any] = {},
    variable_broadcast: Filter = False,
    variable_carry: Filter = False,
    split_rngs: Mapping[Filter, bool] = {},
    in_axes: Any = 0,
    out_axes: Any = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    data_transform: Callable[..., Any] | None = None,
    metadata_params: Mapping[Any, Any] = {},
    check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
    """Lifted `jax.lax.scan`: runs a function of a scope in a loop.

    Args:
      fn: the body, `fn(scope, carry, *xs) -> (carry, ys)`.
      variable_axes: from filters of collections to the axis that is scanned over: each
        iteration has its own part. `In(axis)` and `Out(axis)` are for collections that
        only go in or only come out.
      variable_broadcast: collections that are the same in all iterations. They may be
        made inside, as far as they do not depend on the loop.
      variable_carry: collections that are handed on from one iteration to the next. If
        the body makes variables in them, the first iteration is run outside the loop.
      split_rngs: from filters of PRNG streams to whether each iteration gets keys of
        its own. Streams that are not named are not there inside `fn`.
      in_axes: the axes of `xs` to scan over (a prefix of them), or `broadcast`.
      out_axes: the axes of `ys` to stack along (a prefix), or `broadcast`.
      length: the number of iterations, when nothing else gives it.
      reverse: whether to go from the last index to the first.
      unroll: how many iterations to put into one round of the loop.
      _split_transpose: as in `jax.lax.scan`.
      data_transform: called inside the body with the groups of variables and of PRNG
        streams before scopes are made of them; returns them changed.
      metadata_params: what boxes (`AxisMetadata`) are told about the axis.
      check_constancy_invariants: whether a body that can draw keys is traced once more
        beforehand in any case. If not, that is done only where something broadcast is
        made. It decides over the counts of keys, and so over the keys.

    Returns:
      A function `(scope, carry, *xs) -> (carry, ys)`.

    Raises:
      ValueError: (when called) the number of iterations is not given by anything, or
        differs; or a broadcast variable or output depends on the loop.
      TypeError: (when called) the carry changes its structure, shapes or dtypes.
      PartitioningUnspecifiedError: a partitioned variable gains or loses the axis,
        and `metadata_params` does not say what it is called.
      As `pack`.

    >>> import jax.numpy as jnp
    >>> from batiste.core import init, nn
    >>> def layer(scope, x):
    ...     return nn.dense(scope, x, x.shape[-1]), None
    >>> layers = scan(layer, {"params": 0}, split_rngs={"params": True}, length=5)
    >>> (y, _), variables = init(layers)(jax.random.key(0), jnp.ones((1, 2)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((1, 2), (5, 2, 2))
    """
    shared = union_filters(variable_broadcast, variable_carry)
    has_constants = any(axis is broadcast for axis in jax.tree.leaves(out_axes))
    axes = VariableAxes(variable_axes, metadata_params)
    rng_axes = tuple(0 if split else broadcast for split in split_rngs.values())
    for col_filter, axis in variable_axes.items():
        if not isinstance(getattr(axis, "axis", axis), int):
            raise ValueError(
                f"The axis of {col_filter!r} in the variable_axes of a scan must be an "
                f"integer, but is {axis!r}. Collections that are the same in all "
                "iterations belong into variable_broadcast."
            )

    def inner(
        scope_fn: Lifted,
        repack_fn: Callable[..., Any],
        variable_groups: tuple[Any, ...],
        rng_groups: tuple[Any, ...],
        init: Any,
        *args: Any,
    ) -> Any:
        broadcast_vars, carry_vars, *scan_vars = variable_groups
        if length is None:
            size = _find_length(in_axes, args, axes.in_axes, tuple(scan_vars))
        else:
            size = length
        rng_groups = tuple(
            tree_map_rngs(lambda key: jax.random.split(key, size), group)
            if axis == 0
            else group
            for group, axis in zip(rng_groups, rng_axes, strict=True)
        )
        phase = "loop"
        makes_carried = False
        start: list[RngCounters] = []

        def body(broadcast_vars: Any, carry: Any, groups: Any, *args: Any) -> Any:
            nonlocal phase, makes_carried
            # The iteration outside of the loop counts its keys as the others do.
            if phase == "first":
                start.extend(state.copy() for state in scope_fn.counters)
            elif start:
                for state, saved in zip(scope_fn.counters, start, strict=True):
                    state.assign(saved)
            carry_vars, carry = carry
            scan_vars, rng_groups = groups
            variables = (broadcast_vars, carry_vars, *scan_vars)
            if data_transform is not None:
                variables, rng_groups = data_transform(variables, rng_groups)
            scope = scope_fn(variables, rng_groups)
            carry, ys = fn(scope, carry, *args)
            broadcast_out, carry_out, *scan_out = repack_fn(scope)
            # What is immutable is not packed, but is still there in the next iteration.
            broadcast_out = update_groups(broadcast_vars, broadcast_out)
            carry_out = update_groups(carry_vars, carry_out)
            if phase == "loop":
                scope_fn.check_unchanged("scan", carry_vars, carry_out)
            elif phase == "probe":
                makes_carried = scope_fn.has_new(carry_vars, carry_out)
            else:
                phase = "loop"
            return broadcast_out, (carry_out, carry), (ys, tuple(scan_out))

        def needs_first() -> bool:
            nonlocal phase
            phase = "first" if makes_carried else "loop"
            return makes_carried

        def describe(output: str) -> str:
            which, _, name = output.partition("/")
            if which == "1":
                return f'the output "{name}"'
            root, _, name = name.partition("/")
            path = scope_fn.roots[int(root)].path_text
            return f'the variable "{name}" of scope "{path}"'

        # Tracing the body once more beforehand draws keys, which is seen by the counts
        # of those after it. That is also done where it serves nothing else.
        draws = any(streams for group in rng_groups for streams in group)
        probe = has_constants or scope_fn.can_change(shared)
        probe = probe or (check_constancy_invariants and draws)
        if probe:
            phase = "probe"
        loop = axes_scan.Loop(
            in_axes=((axes.in_axes, rng_axes), *_per_arg(in_axes, args)),
            out_axes=(out_axes, axes.out_axes),
            length=size,
            reverse=reverse,
            unroll=unroll,
            _split_transpose=_split_transpose,
        )
        broadcast_out, (carry_out, carry), (ys, scan_out) = loop(
            body,
            broadcast_vars,
            (carry_vars, init),
            ((axes.enter(scan_vars, scope_fn.roots), rng_groups), *args),
            probe=probe,
            needs_first=needs_first,
            describe=describe,
        )
        out_groups = (broadcast_out, carry_out, *axes.leave(scan_out, scope_fn.roots))
        return (carry, ys), scope_fn.only_mutable(out_groups)

    return pack(
        inner,
        (variable_broadcast, variable_carry, *axes.in_filters),
        (variable_broadcast, variable_carry, *axes.out_filters),
        tuple(split_rngs),
        name="scan",
    )


def _per_arg(in_axes: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(in_axes, (tuple, list)):
        return tuple(in_axes)
    return (in_axes,) * len(args)


def _find_length(
    in_axes: Any, args: tuple[Any, ...], variable_axes: tuple[Any, ...], groups: Any
) -> int:
    sizes = [
        *axis_sizes(in_axes, args, unmapped=broadcast),
        *axis_sizes(variable_axes, groups),
    ]
    if not sizes:
        raise ValueError(
            "Neither an argument nor a variable of the lifted scan has an axis to scan "
            "over. Give length=..."
        )
    # That they agree is checked by the loop.
    return sizes[0]
