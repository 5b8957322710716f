"""Lifted `jax.lax.scan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .. import errors
from ..arguments import not_a_mapping
from ..axes_scan import Loop, broadcast, depends_on_loop
from ..config import config
from ..partial_eval import Staged
from ..scope.filters import Filter
from ..scope.keys import RngCounters
from ..types import Function, Tree
from .axes import VariableAxes, axis_sizes, sizes_do_not_fit, split_keys
from .closures import ClosedOver
from .pack import Lifted, Repack, VariableGroup, VariableGroups, pack, update_groups
from .streams import RngGroups
from .unequal_types import explain_carry

__all__ = ["scan"]


def scan(
    fn: Function,
    variable_axes: Mapping[Filter, Any] = {},
    variable_broadcast: Filter = False,
    variable_carry: Filter = False,
    split_rngs: Mapping[Filter, bool] = {},
    in_axes: Tree = 0,
    out_axes: Tree = 0,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    data_transform: Function | None = None,
    metadata_params: Mapping[Any, Any] = {},
    check_constancy_invariants: bool = True,
) -> Function:
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
      _split_transpose: as in `jax.lax.scan`. By position it may be left out, as
        documented.
      data_transform: called inside the body with the groups of variables and of PRNG
        streams before scopes are made of them; returns them changed.
      metadata_params: what boxes (`AxisMetadata`) are told about the axis.
      check_constancy_invariants: whether a body that can draw keys is traced once more
        beforehand in any case. If not, that is done only where something broadcast is
        made. It decides over the counts of keys, and so over the keys.

    Returns:
      A function `(scope, carry, *xs) -> (carry, ys)`.

    Raises:
      InvalidArgumentError: (when called) the number of iterations is not given by
        anything, or differs; or the body returns no pair.
      ValueError: (when called) a broadcast variable or output depends on the loop.
      InvalidArgumentError: (when called) the carry, or a carried variable, changes its
        structure, shapes or dtypes.
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
    if not isinstance(_split_transpose, bool):
        # By position as documented, without this one.
        if isinstance(data_transform, Mapping):
            metadata_params = data_transform
        data_transform, _split_transpose = _split_transpose, False
    has_constants = broadcast in jax.tree.leaves(out_axes)
    axes = VariableAxes(variable_axes, metadata_params)
    is_number = length is None or hasattr(length, "__index__")
    if not is_number or (isinstance(length, (int, np.integer)) and length < 0):
        raise errors.InvalidArgumentError(
            f"length={errors.short_repr(length)} of a lifted scan is no number of "
            "iterations: give an integer that is not negative, or None to take the "
            "size that arguments and variables have.",
            argument="length",
        )
    try:
        splits = tuple(split_rngs.values())
    except AttributeError:
        raise not_a_mapping("split_rngs", split_rngs) from None
    rng_axes = tuple([0 if split else broadcast for split in splits])
    for col_filter, axis in variable_axes.items():
        if not isinstance(getattr(axis, "axis", axis), int):
            raise errors.InvalidArgumentError(
                f"The axis of {col_filter!r} in the variable_axes of a scan must be an "
                f"integer, but is {axis!r}. Collections that are the same in all "
                "iterations belong into variable_broadcast."
            )

    transform = getattr(fn, "loop_name", "scan")

    def inner(
        scope_fn: Lifted,
        repack_fn: Repack,
        variable_groups: VariableGroups,
        rng_groups: RngGroups,
        init: Tree,
        *args: Tree,
    ) -> tuple[tuple[Tree, Tree], VariableGroups]:
        broadcast_vars, carry_vars, *scan_vars = variable_groups

        def sizes_error() -> Exception:
            return sizes_do_not_fit(
                "scan",
                {} if length is None else {"length": length},
                ("xs", in_axes, args),
                (axes.in_axes, scan_vars),
                scope_fn.roots,
                unmapped=broadcast,
            )

        try:
            if length is None:
                size = _find_length(in_axes, args, axes.in_axes, tuple(scan_vars))
            else:
                size = length
        except ValueError:
            raise sizes_error() from None
        rngs = split_keys(rng_groups, splits, size)

        def step(
            broadcast_vars: VariableGroup, carry: Tree, groups: Tree, *args: Tree
        ) -> tuple[VariableGroup, Tree, Tree]:
            carry_vars, carry = carry
            scan_vars, rng_groups = groups
            variables = (broadcast_vars, carry_vars, *scan_vars)
            if data_transform is not None:
                variables, rng_groups = data_transform(variables, rng_groups)
            scope = scope_fn(variables, rng_groups)
            made = fn(scope, carry, *args)
            if not isinstance(made, (tuple, list)) or len(made) != 2:
                raise _no_pair(made, scope_fn)
            carry, ys = made
            broadcast_out, carry_out, *scan_out = repack_fn(scope)
            # What is immutable is not packed, but is still there in the next iteration.
            broadcast_out = update_groups(broadcast_vars, broadcast_out)
            carry_out = update_groups(carry_vars, carry_out)
            return broadcast_out, (carry_out, carry), (ys, tuple(scan_out))

        is_per_arg = isinstance(in_axes, (tuple, list))
        arg_axes = in_axes if is_per_arg else (in_axes,) * len(args)
        try:
            loop = Loop(
                in_axes=((axes.in_axes, rng_axes), *arg_axes),
                out_axes=(out_axes, axes.out_axes),
                args=((axes.enter(scan_vars, scope_fn.roots), rngs), *args),
                length=size,
                reverse=reverse,
                unroll=unroll,
                _split_transpose=_split_transpose,
            )
        except errors.FlaxError:
            raise  # a box says that the axis has another name
        except ValueError:
            raise sizes_error() from None
        carry = (carry_vars, init)

        # The probe: what is broadcast, and whether the body makes carried variables.
        # Tracing the body once more beforehand draws keys, which is seen by the counts
        # of those after it. That is also done where it serves nothing else.
        constant_ys: list[Any] = []
        makes_carried = False
        draws = any(map(any, rng_groups))
        if (
            has_constants
            or (check_constancy_invariants and draws)
            or scope_fn.can_change(variable_broadcast, variable_carry)
        ):
            closed_over = None
            if not config.documented_checks:
                closed_over = ClosedOver(scope_fn.roots)

            def step_and_made(*args: Tree) -> tuple[Tree, Tree, Tree]:
                broadcast_out, *outputs = step(*args)
                made = [] if closed_over is None else closed_over.made()
                return (broadcast_out, made), *outputs

            probe = loop.probe(step_and_made, broadcast_vars, carry)
            unknown = _check_constants(probe, scope_fn)
            known, constant_ys, carry_structure = probe.evaluate(unknown)
            broadcast_vars, made = known
            if closed_over is not None:
                closed_over.put(made)
            variables_structure = carry_structure.children()[0]
            makes_carried = variables_structure != jax.tree.structure(carry_vars)

        # The first step, outside of the loop if it makes them. It counts its keys as
        # the others do.
        start: list[RngCounters] | None = None
        if makes_carried and loop.length:
            start = [counters.copy() for counters in scope_fn.counters]
            first = carry
            carry = loop.peel(step, broadcast_vars, carry)
            # The loop would not see that this step returned no carry like the first.
            carries = ((), first[1]), ((), carry[1])
            explain_carry(transform, scope_fn, None, lambda note: note(*carries))

        # The loop.
        in_user_code = False

        def step_in_loop(*args: Tree) -> tuple[VariableGroup, Tree, Tree]:
            nonlocal in_user_code
            in_user_code = True
            if start is not None:
                for counters, saved in zip(scope_fn.counters, start, strict=True):
                    counters.assign(saved)
            made = step(*args)
            scope_fn.check_unchanged("scan", args[1][0], made[1][0])
            in_user_code = False
            return made

        try:
            (carry_vars, carry), (ys, scan_out) = loop.run(
                step_in_loop, broadcast_vars, carry, constant_ys
            )
        except (TypeError, ValueError) as error:
            if in_user_code:
                raise

            def run(note: Function) -> None:
                def noted(*args: Tree) -> tuple[VariableGroup, Tree, Tree]:
                    made = step_in_loop(*args)
                    note(args[1], made[1])
                    return made

                loop.probe(noted, broadcast_vars, carry)

            explain_carry(transform, scope_fn, error, run)
            raise

        # What is to be committed.
        scan_out = axes.leave(scan_out, scope_fn.roots)
        out_groups = (broadcast_vars, carry_vars, *scan_out)
        return (carry, ys), scope_fn.only_mutable(out_groups)

    return pack(
        inner,
        (variable_broadcast, variable_carry, *axes.in_filters),
        (variable_broadcast, variable_carry, *axes.out_filters),
        tuple(split_rngs),
        name="scan",
    )


def _no_pair(made: Any, lifted: Lifted) -> errors.InvalidArgumentError:
    found = errors.short_repr(made)
    if isinstance(made, (tuple, list)):
        found = f"a {type(made).__name__} of {len(made)}"
    return errors.InvalidArgumentError(
        f"The body of the lifted scan of scope {lifted.places} must return a pair, "
        f"(carry, ys), but returned {found}. Return (carry, None) if there is nothing "
        "to stack.",
        where=lifted.places,
    )


def _check_constants(probe: Staged, lifted: Lifted) -> list[int]:
    """Raises if something broadcast depends on the loop.

    Returns:
      The places of what the body makes in scopes that it closes over, and depends on
      the loop.
    """
    names = []
    closed_over = []
    for place in probe.unknown_outputs():
        which, _, name = probe.name(place).partition("/")
        if which == "1":
            names.append(f'the output "{name}"')
        elif name.startswith("1/"):
            closed_over.append(place)
        else:
            _, root, name = name.split("/", 2)
            path = lifted.roots[int(root)].path_text
            names.append(f'the variable "{name}" of scope "{path}"')
    if names:
        raise depends_on_loop(names)
    return closed_over


def _find_length(
    in_axes: Tree, args: tuple[Tree, ...], variable_axes: tuple[int, ...], groups: Tree
) -> int:
    sizes = [
        *axis_sizes(in_axes, args, unmapped=broadcast),
        *axis_sizes(variable_axes, groups),
    ]
    if not sizes:
        raise ValueError
    # That they agree is checked by the loop.
    return sizes[0]
