"""`jax.lax.scan` along any axes, with values that are the same for the whole loop."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from .compiled_once import call_compiled_once
from .partial_eval import Staged
from .types import Array, Function, Tree

__all__ = ["Loop", "broadcast", "depends_on_loop", "scan"]


class _Broadcast:
    def __repr__(self) -> str:
        return "broadcast"


broadcast = _Broadcast()
"""In place of an axis: the value is not scanned over but the same in each iteration."""


def scan(
    fn: Function,
    in_axes: Tree,
    out_axes: Tree,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
    _split_transpose: bool = False,
    check_constancy_invariants: bool = True,
) -> Function:
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

    def scan_fn(broadcast_in: Tree, init: Tree, *args: Tree) -> tuple[Tree, Tree, Tree]:
        loop = Loop(in_axes, out_axes, args, length, reverse, unroll, _split_transpose)
        constant_ys: list[Any] = []
        if check_constancy_invariants:
            probe = loop.probe(fn, broadcast_in, init)
            unknown = [probe.name(place) for place in probe.unknown_outputs()]
            if unknown:
                raise depends_on_loop(
                    f'the output "{name.partition("/")[2]}"' for name in unknown
                )
            broadcast_in, constant_ys, _ = probe.evaluate()
        carry, ys = loop.run(fn, broadcast_in, init, constant_ys)
        return broadcast_in, carry, ys

    return scan_fn


def depends_on_loop(names: Iterable[str]) -> ValueError:
    """Returns the error about broadcast outputs that depend on the loop.

    >>> print(depends_on_loop(['the output "0"']).args[0].partition(", but ")[2][:49])
    depending on the carry or on scanned values is th
    """
    return ValueError(
        "What is broadcast in a scan must be the same in each iteration, but "
        f"depending on the carry or on scanned values is {' and '.join(names)}. Carry "
        "or scan it, or compute it from what does not change in the loop."
    )


class Loop:
    """One scan: its arguments in slices, and its outputs put together.

    The steps are to be taken in this order: `probe` (if at all), `peel` (if at all),
    `run`. The body is as in `scan`.

    Args:
      in_axes: as in `scan`.
      out_axes: as in `scan`.
      args: the arguments of the loop.
      length: as in `scan`.
      reverse: as in `scan`.
      unroll: as in `scan`.
      _split_transpose: as in `scan`.

    Attributes:
      length: the number of iterations that are to be run.

    Raises:
      ValueError: the arguments' sizes differ, or there are none and no length.

    >>> loop = Loop((0,), 0, (jnp.arange(3),), None, False, 1, False)
    >>> body = lambda broadcast, carry, x: (broadcast, carry + x, 2 * x)
    >>> carry = loop.peel(body, None, 0)
    >>> carry, ys = loop.run(body, None, carry)
    >>> int(carry), ys.tolist()
    (3, [0, 2, 4])
    """

    def __init__(
        self,
        in_axes: Tree,
        out_axes: Tree,
        args: tuple[Tree, ...],
        length: int | None,
        reverse: bool,
        unroll: int,
        _split_transpose: bool,
    ):
        self._out_axes = out_axes
        self._reverse = reverse
        self._options: dict[str, Any] = {"reverse": reverse, "unroll": unroll}
        if _split_transpose:
            self._options["_split_transpose"] = True
        # The leaves of the arguments, in which those that are scanned over have their
        # axis in front.
        leaves, self._treedef = jax.tree.flatten(args)
        axes = _flat_axes(in_axes, args, "in_axes", "the arguments")
        self._leaves: list[Any] = leaves
        self._places: list[int] = []
        sizes = set() if length is None else {length}
        for place, axis in enumerate(axes):
            if axis is broadcast:
                continue
            shape = np.shape(leaves[place])
            if not -len(shape) <= axis < len(shape):
                raise ValueError(
                    f"Cannot scan over axis {axis} of an array of shape {shape}. "
                    "Give its axis, or `broadcast`, in in_axes."
                )
            sizes.add(shape[axis])
            self._places.append(place)
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
        self._scanned = [
            _move_axis(leaves[place], axes[place], 0) for place in self._places
        ]
        # The first outputs, where the first iteration is run outside of the loop.
        self._head: list[Any] | None = None

    def probe(self, fn: Function, broadcast_in: Tree, init: Tree) -> Staged:
        """Traces the body on the first slice, to learn what it makes.

        Args:
          fn: the body.
          broadcast_in: as in `scan`.
          init: the first carry.

        Returns:
          The traced outputs: what is broadcast, of which none may depend on the loop
          (`broadcast_out`, and a list of the outputs `ys` with `broadcast` for an
          axis), and the structure of the carry.
        """
        leaves, treedef = jax.tree.flatten(init)

        def first(carry: list[Any], xs: list[Any]) -> tuple[Tree, list[Any], Any]:
            xs = [lax.index_in_dim(x, 0, keepdims=False) for x in xs]
            carry = jax.tree.unflatten(treedef, carry)
            constant, carry, ys = fn(broadcast_in, carry, *self._fill(xs))
            return constant, self._split(ys)[1], jax.tree.structure(carry)

        xs: list[Any] = self._scanned
        if not self.length:  # as if there were one iteration
            xs = [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in xs]
        return Staged(first, leaves, xs)

    def peel(self, fn: Function, broadcast_in: Tree, init: Tree) -> Tree:
        """Runs the first iteration by itself, and leaves the others to `run`.

        It may give the carry another structure than it has at first.

        Args:
          fn: the body.
          broadcast_in: as in `scan`.
          init: the first carry.

        Returns:
          The carry after it.
        """
        index = self.length - 1 if self._reverse else 0
        xs = [x[index] for x in self._scanned]
        _, carry, ys = fn(broadcast_in, init, *self._fill(xs))
        self._head, _ = self._split(ys)
        self.length -= 1
        self._scanned = [x[:-1] if self._reverse else x[1:] for x in self._scanned]
        return carry

    def run(
        self,
        fn: Function,
        broadcast_in: Tree,
        init: Tree,
        constant_ys: Sequence[Any] = (),
    ) -> tuple[Tree, Tree]:
        """Runs the iterations that are left.

        Args:
          fn: the body.
          broadcast_in: as in `scan`.
          init: the first carry.
          constant_ys: the outputs with `broadcast` for an axis, from `probe`.

        Returns:
          The last carry, and the outputs of all iterations.
        """

        def body(carry: Tree, xs: list[Any]) -> tuple[Tree, list[Any]]:
            _, carry, ys = fn(broadcast_in, carry, *self._fill(xs))
            return carry, self._split(ys)[0]

        # An open size, as `jax.export` has them, JAX takes from what is scanned over.
        length = None if self._scanned else self.length
        scan = functools.partial(lax.scan, body, length=length, **self._options)
        carry, stacked = call_compiled_once(scan, init, self._scanned)
        if self._head is not None:
            pairs = zip(self._head, stacked, strict=True)
            stacked = [_prepend(x, ys, at_end=self._reverse) for x, ys in pairs]
        return carry, self._join(stacked, constant_ys)

    def _fill(self, xs: list[Any]) -> tuple[Any, ...]:
        """The arguments, with `xs` in place of what is scanned over."""
        leaves = list(self._leaves)
        for place, x in zip(self._places, xs, strict=True):
            leaves[place] = x
        return jax.tree.unflatten(self._treedef, leaves)

    def _split(self, ys: Tree) -> tuple[list[Any], list[Any]]:
        """The outputs to stack, and the broadcast ones. Notes how to `_join` them."""
        leaves, self._ys_treedef = jax.tree.flatten(ys)
        what = "the outputs of the body"
        self._ys_axes = _flat_axes(self._out_axes, ys, "out_axes", what)
        stacked: list[Any] = []
        constant: list[Any] = []
        for leaf, axis in zip(leaves, self._ys_axes, strict=True):
            (constant if axis is broadcast else stacked).append(leaf)
        return stacked, constant

    def _join(self, stacked: Sequence[Any], constant: Sequence[Any]) -> Tree:
        """The outputs of the loop, as the body's, with their axes."""
        stacked_leaves, constant_leaves = iter(stacked), iter(constant)
        leaves = []
        for axis in self._ys_axes:
            if axis is broadcast:
                leaves.append(next(constant_leaves))
            else:
                leaves.append(_move_axis(next(stacked_leaves), 0, axis))
        return jax.tree.unflatten(self._ys_treedef, leaves)


def _move_axis(x: Any, source: int, target: int) -> Array:
    # Nothing is traced for an axis that stays where it is.
    return jnp.asarray(x) if source == target else jnp.moveaxis(x, source, target)


def _prepend(head: Any, tail: Array, at_end: bool) -> Array:
    head = jnp.asarray(head)[None]
    return jnp.concatenate([tail, head] if at_end else [head, tail])


def _flat_axes(axes: Tree, tree: Tree, name: str, what: str) -> list[Any]:
    """For each leaf of the tree its axis, from a prefix of the tree."""
    flat: list[Any] = []
    axes_leaves, prefix = jax.tree.flatten(axes)
    try:
        subtrees = prefix.flatten_up_to(tree)
    except ValueError as error:
        raise ValueError(
            f"The {name} of a scan, {axes!r}, must be an axis, `broadcast`, or a "
            f"prefix of the structure of {what}, {jax.tree.structure(tree)}."
        ) from error
    for axis, subtree in zip(axes_leaves, subtrees, strict=True):
        flat += [axis] * jax.tree.structure(subtree).num_leaves
    return flat
