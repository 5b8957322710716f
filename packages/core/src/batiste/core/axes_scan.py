"""`jax.lax.scan` along any axes, with values that are the same for the whole loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .partial_eval import Staged

__all__ = ["broadcast", "scan"]


class _Broadcast:
    def __repr__(self) -> str:
        return "broadcast"


broadcast = _Broadcast()
"""In place of an axis: the value is not scanned over but the same in each iteration."""


def scan(
    fn: Callable[..., Any],
    in_axes: Any,
    out_axes: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Callable[..., Any]:
    """Makes a loop of a function, with axes as in `jax.vmap`.

    Args:
      fn: the body, `fn(broadcast_in, carry, *args) -> (broadcast_out, carry, ys)`.
        `broadcast_out` may have another structure than `broadcast_in`; in the loop,
        the body gets what it gave out, so that it can make values that are the same
        for all iterations. They must not depend on the carry or on scanned arguments.
      in_axes: for `args` (or a prefix of them) the axis to scan over, or `broadcast`.
      out_axes: for `ys` (or a prefix) the axis to stack along, or `broadcast`.
      length: the number of iterations, when no argument gives it.
      reverse: whether to go from the last index to the first.
      unroll: how many iterations to put into one round of the loop.
      _split_transpose: as in `jax.lax.scan`.
      check_constancy_invariants: whether to trace the body once more beforehand, to
        find the broadcast outputs and check that they do not depend on the loop. If
        not, `broadcast_in` is given back, and no `out_axes` may be `broadcast`.

    Returns:
      A function `(broadcast_in, carry, *args) -> (broadcast_out, carry, ys)`.

    Raises:
      ValueError: (when called) the arguments' sizes differ, or there are none and no
        length; or a broadcast output depends on the loop.

    >>> def body(offset, total, x):
    ...     total = total + x + offset
    ...     return offset, total, total
    >>> loop = scan(body, in_axes=(1,), out_axes=1)
    >>> _, total, ys = loop(10, jnp.zeros(1), jnp.ones((1, 3)))
    >>> print(total, ys)
    [33.] [[11. 22. 33.]]
    """
    loop = Loop(
        in_axes,
        out_axes,
        length=length,
        reverse=reverse,
        unroll=unroll,
        _split_transpose=_split_transpose,
    )

    def scan_fn(broadcast_in: Any, init: Any, *args: Any) -> Any:
        return loop(fn, broadcast_in, init, args, probe=check_constancy_invariants)

    return scan_fn


class Loop:
    """The settings of a scan; see `scan`."""

    def __init__(
        self,
        in_axes: Any,
        out_axes: Any,
        length: int | None,
        reverse: bool,
        unroll: int,
        _split_transpose: bool,
    ):
        self.in_axes = in_axes
        self.out_axes = out_axes
        self.length = length
        self.reverse = reverse
        self.options: dict[str, Any] = {"reverse": reverse, "unroll": unroll}
        if _split_transpose:
            self.options["_split_transpose"] = True

    def __call__(
        self,
        fn: Callable[..., Any],
        broadcast_in: Any,
        init: Any,
        args: tuple[Any, ...],
        probe: bool = True,
        needs_first: Callable[[], bool] = lambda: False,
        describe: Callable[[str], str] = lambda output: f'the output "{output[2:]}"',
    ) -> Any:
        """Runs the loop.

        With `probe`, the body is traced once before. If `needs_first` then says so,
        the first iteration is made outside of the loop, and may give the carry
        another structure than it has at first. `describe` gives the name for people
        of a broadcast output that depends on the loop, from its path in the pair of
        the two kinds of broadcast outputs.
        """
        slices = _Slices(self.in_axes, args, self.length)
        const_ys: list[Any] = []
        if probe:
            broadcast_in, const_ys = self._constants(
                fn, broadcast_in, init, slices, describe
            )
        carry, head = init, None
        if slices.length and needs_first():
            index = slices.length - 1 if self.reverse else 0
            _, carry, ys = fn(broadcast_in, init, *slices.at(index))
            head = self._split_ys(ys)[0]
            slices.drop(index)
        ys_info: Any = None

        def body(carry: Any, xs: list[Any]) -> Any:
            nonlocal ys_info
            _, carry, ys = fn(broadcast_in, carry, *slices.fill(xs))
            stacked, _, *ys_info = self._split_ys(ys)
            return carry, stacked

        carry, ys = lax.scan(
            body, carry, slices.scanned, length=slices.length, **self.options
        )
        axes, treedef = ys_info
        if head is not None:
            pairs = zip(head, ys, strict=True)
            ys = [_prepend(x, y, at_end=self.reverse) for x, y in pairs]
        stacked, constants = iter(ys), iter(const_ys)
        leaves = [
            next(constants) if axis is broadcast else _move_axis(next(stacked), 0, axis)
            for axis in axes
        ]
        return broadcast_in, carry, jax.tree.unflatten(treedef, leaves)

    def _split_ys(self, ys: Any) -> tuple[list[Any], list[Any], list[Any], Any]:
        """The outputs to stack, the broadcast ones, the axes of all, their treedef."""
        leaves, treedef = jax.tree.flatten(ys)
        axes = _flat_axes(self.out_axes, ys, "out_axes", "the outputs of the body")
        pairs = list(zip(leaves, axes, strict=True))
        stacked = [leaf for leaf, axis in pairs if axis is not broadcast]
        constant = [leaf for leaf, axis in pairs if axis is broadcast]
        return stacked, constant, axes, treedef

    def _constants(
        self,
        fn: Callable[..., Any],
        broadcast_in: Any,
        init: Any,
        slices: _Slices,
        describe: Callable[[str], str],
    ) -> tuple[Any, list[Any]]:
        """The broadcast outputs, which must not depend on the loop."""
        leaves, treedef = jax.tree.flatten(init)

        def first(carry: list[Any], xs: list[Any]) -> Any:
            carry = jax.tree.unflatten(treedef, carry)
            xs = [lax.index_in_dim(x, 0, keepdims=False) for x in xs]
            constant, _, ys = fn(broadcast_in, carry, *slices.fill(xs))
            return constant, self._split_ys(ys)[1]

        inputs = slices.scanned if slices.length else slices.as_if_one()
        staged = Staged(first, leaves, inputs)
        unknown = staged.unknown_outputs()
        if unknown:
            names = " and ".join(describe(staged.name(place)) for place in unknown)
            raise ValueError(
                "What is broadcast in a scan must be the same in each iteration, but "
                f"depending on the carry or on scanned values is {names}. Carry or "
                "scan it, or compute it from what does not change in the loop."
            )
        return staged.evaluate()


def _move_axis(x: Any, source: int, target: int) -> jax.Array:
    # Nothing is traced for an axis that stays where it is.
    return jnp.asarray(x) if source == target else jnp.moveaxis(x, source, target)


def _prepend(head: Any, tail: jax.Array, at_end: bool) -> jax.Array:
    head = jnp.asarray(head)[None]
    return jnp.concatenate([tail, head] if at_end else [head, tail])


class _Slices:
    """The arguments of a loop: what is scanned over, with its axis in front."""

    def __init__(self, in_axes: Any, args: tuple[Any, ...], length: int | None):
        leaves, self._treedef = jax.tree.flatten(args)
        axes = _flat_axes(in_axes, args, "in_axes", "the arguments")
        self._leaves = leaves
        self._is_scanned = [axis is not broadcast for axis in axes]
        sizes = set() if length is None else {length}
        for leaf, axis in zip(leaves, axes, strict=True):
            if axis is not broadcast:
                shape = np.shape(leaf)
                if not -len(shape) <= axis < len(shape):
                    raise ValueError(
                        f"Cannot scan over axis {axis} of an array of shape {shape}. "
                        "Give its axis, or `broadcast`, in in_axes."
                    )
                sizes.add(shape[axis])
        if not sizes:
            raise ValueError(
                "A scan without arguments to scan over needs length=... to tell how "
                "many iterations there are."
            )
        if len(sizes) > 1:
            raise ValueError(
                "The arguments of a scan must have the same size along their axes, "
                f"and that of length if given, but the sizes are {sorted(sizes)}."
            )
        (self.length,) = sizes
        self.scanned = [
            _move_axis(leaf, axis, 0)
            for leaf, axis in zip(leaves, axes, strict=True)
            if axis is not broadcast
        ]

    def fill(self, xs: list[Any]) -> tuple[Any, ...]:
        """The arguments, with `xs` in place of what is scanned over."""
        values = iter(xs)
        leaves = [
            next(values) if is_scanned else leaf
            for leaf, is_scanned in zip(self._leaves, self._is_scanned, strict=True)
        ]
        return jax.tree.unflatten(self._treedef, leaves)

    def at(self, index: int) -> tuple[Any, ...]:
        return self.fill([x[index] for x in self.scanned])

    def drop(self, index: int) -> None:
        """Leaves out the first or the last iteration."""
        self.length -= 1
        self.scanned = [x[1:] if index == 0 else x[:-1] for x in self.scanned]

    def as_if_one(self) -> list[jax.ShapeDtypeStruct]:
        """What would be scanned over if there were one iteration."""
        return [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in self.scanned]


def _flat_axes(axes: Any, tree: Any, name: str, what: str) -> list[Any]:
    """For each leaf of the tree its axis, from a prefix of the tree."""
    flat: list[Any] = []

    def add(axis: Any, subtree: Any) -> None:
        flat.extend([axis] * len(jax.tree.leaves(subtree)))

    try:
        jax.tree.map(add, axes, tree)
    except ValueError as error:
        raise ValueError(
            f"The {name} of a scan, {axes!r}, must be an axis, `broadcast`, or a "
            f"prefix of the structure of {what}, {jax.tree.structure(tree)}."
        ) from error
    return flat
