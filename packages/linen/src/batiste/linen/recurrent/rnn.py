"""Layers that run a recurrent cell along a sequence.

A sequence is an axis, time, of an array of shape (*batch, time, *features), or of
(time, *batch, *features) if time-major. What follows a sequence on its axis, up to the
length of the longest, is padding.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError
from batiste.core.frozen_dict import FrozenDict
from batiste.core.scope import CollectionFilter
from batiste.core.types import Array, ArrayLike, Key, Tree

from .. import array_type
from ..flags import config
from ..module.module import Module
from ..module.positions import Orders
from ..module.text import located
from .cell import Carry, RNNCellBase

__all__ = ["RNN", "Bidirectional", "RNNBase", "flip_sequences"]

T = TypeVar("T")

# How often a default carry is adapted to what one step makes of it.
_CARRY_TRIALS: Final = 4


class RNNBase(Protocol):
    """What `Bidirectional` expects of the two layers that it combines.

    >>> layer: RNNBase = RNN(RNNCellBase())
    """

    def __call__(
        self,
        inputs: Tree,
        *,
        initial_carry: Carry | None = None,
        init_key: Key | None = None,
        seq_lengths: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs along `inputs`; the arguments are those of `RNN.__call__`."""
        ...


class RNN(Module):
    """Runs a cell along a sequence.

    The cell is called for one step after another, by `scan`, with the carry that it
    returned at the step before. Submodule: `cell`.

    Attributes:
      cell: a cell, such as `LSTMCell(features=64)`.
      cell_size: the `size` to pass to the cell's `initialize_carry`, for cells without
        features of their own: an integer, or for a `ConvLSTMCell` the tuple
        `(*spatial, features)`. By position it may be left out, as in later versions of
        flax: `RNN(cell, True)` is time-major.
      time_major: whether inputs and outputs have the shape (time, *batch, *features),
        and not (*batch, time, *features).
      return_carry: whether to return the last carry as well.
      reverse: whether to run from the end to the start; outputs then come in this
        order. Padding stays at the end.
      keep_order: whether to put the outputs of `reverse` back into the order of the
        inputs.
      unroll: how many steps one iteration of the loop does.
      variable_axes: collections to split along time, as in `scan`.
      variable_broadcast: collections that all steps share, as in `scan`.
      variable_carry: collections that are passed from step to step, as in `scan`.
      split_rngs: PRNG streams to split, as in `scan`.

    >>> from batiste.linen.recurrent.cells import GRUCell
    >>> x = jnp.ones((10, 50, 32))
    >>> layer = RNN(GRUCell(features=64))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> layer.apply(variables, x).shape
    (10, 50, 64)
    >>> lengths = jnp.arange(10) + 1
    >>> carry, y = layer.apply(variables, x, seq_lengths=lengths, return_carry=True)
    >>> carry.shape
    (10, 64)
    """

    cell: RNNCellBase
    cell_size: int | tuple[int, ...] | None = None
    time_major: bool = False
    return_carry: bool = False
    reverse: bool = False
    keep_order: bool = False
    unroll: int = 1
    variable_axes: Mapping[Any, Any] = FrozenDict()
    variable_broadcast: CollectionFilter = "params"
    variable_carry: CollectionFilter = False
    split_rngs: Mapping[Any, bool] = FrozenDict({"params": False})

    _field_orders = Orders(
        other=(
            *("cell", "time_major", "return_carry", "reverse", "keep_order", "unroll"),
            *("variable_axes", "variable_broadcast", "variable_carry", "split_rngs"),
        ),
        absent=("cell_size",),
        is_other=lambda values: isinstance(values[0], bool),
        is_documented=False,
    )

    def __call__(
        self,
        inputs: Tree,
        *,
        initial_carry: Carry | None = None,
        init_key: Key | None = None,
        seq_lengths: ArrayLike | None = None,
        segmentation_mask: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs along `inputs`. Arguments override the attributes of the same name.

        Args:
          inputs: array, or pytree of arrays, of shape (*batch, time, *features), or
            (time, *batch, *features) if time-major.
          initial_carry: the first carry, by default from the cell's
            `initialize_carry`, in the dtypes and with the sharding that the cell
            returns.
          init_key: PRNG key for `initialize_carry`, by default `jax.random.key(0)`.
          seq_lengths: the length of each sequence, integers of shape (*batch,). What
            follows is padding: it has outputs of no meaning, and the carry that is
            returned is that of the last step before it, or for an empty sequence the
            first carry.
          segmentation_mask: the same as a mask of shape (*batch, time), or
            (time, *batch), that is not 0 on the sequence.
          return_carry: whether to return the last carry as well.
          time_major: whether time is the first axis.
          reverse: whether to run from the end to the start.
          keep_order: whether to put the outputs of `reverse` back into order.

        Returns:
          The outputs, of shape (*batch, time, *out_features), or (time, *batch,
          *out_features) if time-major. With `return_carry` the pair of the last carry
          and the outputs.

        Raises:
          ValueError: the input has too few axes, or the lengths do not fit it.
        """
        time_major = self.time_major if time_major is None else time_major
        return_carry = self.return_carry if return_carry is None else return_carry
        reverse = self.reverse if reverse is None else reverse
        keep_order = self.keep_order if keep_order is None else keep_order

        shape = np.shape(jax.tree.leaves(inputs)[0])
        axes = _axes_of(self, shape, time_major)
        lengths = None
        if seq_lengths is not None or segmentation_mask is not None:
            lengths = _sequence_lengths(
                located(self), shape, axes, seq_lengths, segmentation_mask
            )
        flip = functools.partial(_flip, lengths=lengths, axes=axes)
        if reverse:
            inputs = jax.tree.map(lambda x: flip(jnp.asarray(x)), inputs)
        first = initial_carry
        if first is None:
            key = _default_key() if init_key is None else init_key
            first = _first_carry(self, key, shape, axes)

        # All carries are needed to find those at the ends of the sequences.
        ends = lengths if return_carry else None
        run = functools.partial(
            _scan,
            self,
            inputs=inputs,
            time_axis=axes.time,
            keep_carries=ends is not None,
        )
        if initial_carry is None:
            first, (carry, outputs) = _from_default(run, first, inputs, axes)
        else:
            carry, outputs = run(first)
        if ends is not None:
            carries, outputs = outputs
            at_end = functools.partial(_at_last_step, ends)
            carry = jax.tree.map(at_end, first, carries)
        if reverse and keep_order:
            outputs = jax.tree.map(flip, outputs)
        return (carry, outputs) if return_carry else outputs


class _Axes(NamedTuple):
    """Which axes an input has: `n_batch` of the batch, one of time, the features."""

    n_batch: int
    time: int  # 0 if time-major, or else n_batch

    def of_batch(self, shape: tuple[T, ...]) -> tuple[T, ...]:
        """The part of a shape, of an input or a mask, that is the batch."""
        return _without(shape[: self.n_batch + 1], self.time)


def _without(shape: tuple[T, ...], axis: int) -> tuple[T, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _axes_of(layer: RNN, shape: tuple[int, ...], time_major: bool) -> _Axes:
    """Which axes an input of this shape has; raises if there are too few."""
    feature_axes = _count_feature_axes(layer)
    n_batch = len(shape) - 1 - feature_axes
    if n_batch < 0:
        order = "time, *batch" if time_major else "*batch, time"
        raise InvalidArgumentError(
            f"{located(layer)}: the input has the shape {shape}, but "
            f"{type(layer.cell).__name__} needs a time axis and {feature_axes} or more "
            f"axes of features, in an input of shape ({order}, *features)"
        )
    return _Axes(n_batch, 0 if time_major else n_batch)


def _count_feature_axes(layer: RNN) -> int:
    size = layer.cell_size
    if size is None:
        return layer.cell.num_feature_axes
    if isinstance(size, int) and not isinstance(size, bool):
        return 1
    if isinstance(size, tuple | list):
        return len(size)
    raise InvalidArgumentError(
        f"{located(layer)}: cell_size={size!r} is not a size; pass an integer or a "
        "tuple of integers, and time_major and the other options by keyword"
    )


def _sequence_lengths(
    where: str,
    shape: tuple[int, ...],
    axes: _Axes,
    seq_lengths: ArrayLike | None,
    segmentation_mask: ArrayLike | None,
) -> Array | None:
    """The length of each sequence, of shape (*batch,), or None for full lengths."""
    if seq_lengths is not None and segmentation_mask is not None:
        raise InvalidArgumentError(
            f"{where}: both seq_lengths and segmentation_mask were given; they say the "
            "same, so pass one of them"
        )
    batch = axes.of_batch(shape)

    def check_shape(name: str, given: ArrayLike, expected: tuple[int, ...]) -> None:
        if np.shape(given) != expected:
            raise InvalidArgumentError(
                f"{where}: {name} has the shape {np.shape(given)}, but the input of "
                f"shape {shape} has the batch axes {batch}; pass one of shape "
                f"{expected}"
            )

    if seq_lengths is not None:
        check_shape("seq_lengths", seq_lengths, batch)
        return jnp.asarray(seq_lengths)
    if segmentation_mask is not None:
        with_time = shape[: axes.n_batch + 1]
        check_shape("segmentation_mask", segmentation_mask, with_time)
        return jnp.sum(jnp.asarray(segmentation_mask) != 0, axis=axes.time)
    return None


def _default_key() -> Key:
    # Most carries do not depend on the key. Made here and now, it leaves no equation
    # in the jaxpr of a caller that is being traced.
    with jax.ensure_compile_time_eval():
        return jax.random.key(0)


def _first_carry(layer: RNN, key: Key, shape: tuple[int, ...], axes: _Axes) -> Carry:
    """The carry before the first step of an input of this shape."""
    if layer.cell_size is None:
        return layer.cell.initialize_carry(key, _without(shape, axes.time))
    cell: Any = layer.cell  # of the generation with three arguments
    return cell.initialize_carry(key, axes.of_batch(shape), layer.cell_size)


def _from_default(
    run: Callable[..., tuple[Carry, Tree]], first: Carry, inputs: Tree, axes: _Axes
) -> tuple[Carry, tuple[Carry, Tree]]:
    """Runs from the default carry, as a carry of the types that the cell returns.

    Mostly it is that already. Where it is not, one step tells the dtypes, the axes of
    a `shard_map` that it varies over, and the sharding; in a mesh with explicit axes
    the batch is laid out as that of the inputs, without which no step can be made.

    Returns:
      The first carry, and what `run` returns for it.
    """
    for _ in range(_CARRY_TRIALS):
        types: list[Any] = []
        try:
            return first, run(first)
        except Exception:
            # The body is traced once more, in this case alone.
            with contextlib.suppress(Exception):
                run(first, types=types)
            fitted = _fitted(first, types, inputs, axes)
            if fitted is None:
                raise
            first = fitted
    return first, run(first)


def _fitted(carry: Carry, types: list[Any], inputs: Tree, axes: _Axes) -> Carry | None:
    """The carry as arrays of the types, or None if it cannot be, or is that already."""
    leaves, treedef = jax.tree.flatten(carry)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    if len(types) != len(leaves):
        new = _with_batch_of(jax.tree.leaves(inputs)[0], leaves, axes)
    elif all(map(_same_shape, leaves, types)):
        new = list(map(array_type.as_type, leaves, types))
    else:
        return None
    before, after = ([array_type.type_parts(x) for x in xs] for xs in (leaves, new))
    return None if before == after else jax.tree.unflatten(treedef, new)


def _same_shape(x: Array, kind: Any) -> bool:
    return x.shape == kind.shape


def _with_batch_of(inputs: Array, leaves: list[Array], axes: _Axes) -> list[Array]:
    """Arrays whose first axes are the batch, laid out as the batch of the inputs is."""
    kind: Any = jax.typeof(inputs)
    if array_type.explicit_spec(kind) is None:
        return leaves
    batch = axes.of_batch(array_type.spec_entries(inputs))
    shape = axes.of_batch(inputs.shape)
    return [
        array_type.laid_out(x, kind, jax.sharding.PartitionSpec(*batch))
        if x.shape[: len(shape)] == shape
        else x
        for x in leaves
    ]


def _scan(
    layer: RNN,
    carry: Carry,
    inputs: Tree,
    time_axis: int,
    keep_carries: bool,
    types: list[Any] | None = None,
) -> tuple[Carry, Tree]:
    """The last carry, and the outputs, or all carries (time, ...) with the outputs.

    `types`, if given, is filled with the types of the carry after one step.
    """

    def step(cell: Any, carry: Carry, x: Tree) -> tuple[Carry, Tree]:
        carry, y = cell(carry, x)
        if types is not None:
            types[:] = map(jax.typeof, jax.tree.leaves(carry))
        return carry, (carry, y) if keep_carries else y

    # It is no method, and nothing that interceptors should see.
    step.method_handler_wrapped = True  # type: ignore[attr-defined]

    # Here, since lifting takes as long to import as all that a cell alone needs.
    from ..transforms.scan import scan

    run = scan(
        step,
        in_axes=time_axis,
        out_axes=(0, time_axis) if keep_carries else time_axis,
        unroll=layer.unroll,
        variable_axes=layer.variable_axes,
        variable_broadcast=layer.variable_broadcast,
        variable_carry=layer.variable_carry,
        split_rngs=layer.split_rngs,
    )
    return run(layer.cell, carry, inputs)


def _at_last_step(lengths: Array, first: ArrayLike, carries: Array) -> Array:
    """Of `carries` of shape (time, *batch, ...), the one of each sequence's end.

    An empty sequence ends with its `first` carry, or, as config
    `empty_sequences_keep_carry` has it, with that of the last step of padding.
    """
    first = jnp.asarray(first)
    if not carries.shape[0]:
        return first
    batch = np.indices(lengths.shape, sparse=True)

    def at_last_step(lengths: Array, first: Array, carries: Array) -> Array:
        last = carries[(lengths - 1, *batch)]
        if not config.empty_sequences_keep_carry:
            return last
        empty = lax.expand_dims(lengths == 0, range(lengths.ndim, first.ndim))
        return jnp.where(empty, first, last)

    entries = array_type.spec_entries(carries)[1:]
    return _laid_out(at_last_step, (lengths, first, carries), entries)


def _laid_out(
    function: Callable[..., Array], args: tuple[Array, ...], entries: tuple[Any, ...]
) -> Array:
    """Calls a function of arrays; where JAX cannot lay out the result, as told."""
    try:
        return function(*args)
    except Exception:
        found = array_type.laid_out_by_compiler(function, args, *entries)
        if found is None:
            raise
        return found


def _concatenate(a: Array, b: Array) -> Array:
    return jnp.concatenate([a, b], axis=-1)


class Bidirectional(Module):
    """Runs one layer forwards and one backwards, and merges their outputs.

    Submodules: `forward_rnn` and `backward_rnn`. If they are one and the same layer,
    the parameters are shared.

    Attributes:
      forward_rnn: a layer such as `RNN`.
      backward_rnn: another, that is run in reverse.
      merge_fn: merges two outputs; by default it concatenates their features.
      time_major: whether time is the first axis.
      return_carry: whether to return the last carries as well.

    Schuster and Paliwal, 1997, "Bidirectional recurrent neural networks".

    >>> from batiste.linen.recurrent.cells import GRUCell
    >>> layer = Bidirectional(RNN(GRUCell(4)), RNN(GRUCell(3)))
    >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 5, 6)))
    >>> y.shape, sorted(variables["params"])
    ((2, 5, 7), ['backward_rnn', 'forward_rnn'])
    """

    forward_rnn: RNNBase
    backward_rnn: RNNBase
    merge_fn: Callable[[Array, Array], Array] = _concatenate
    time_major: bool = False
    return_carry: bool = False

    def __call__(
        self,
        inputs: Tree,
        *,
        initial_carry: tuple[Carry, Carry] | None = None,
        init_key: Key | None = None,
        seq_lengths: ArrayLike | None = None,
        segmentation_mask: ArrayLike | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs along `inputs` in both directions.

        Args:
          inputs: array of shape (*batch, time, *features), or
            (time, *batch, *features) if time-major.
          initial_carry: the first carries, forwards and backwards.
          init_key: PRNG key for the carries, by default `jax.random.key(0)`.
          seq_lengths: the length of each sequence, integers of shape (*batch,).
          segmentation_mask: the same as a mask, as in `RNN`.
          return_carry: whether to return the last carries as well; overrides the
            attribute.
          time_major: whether time is the first axis; overrides the attribute.
          reverse: accepted for `RNNBase`; both directions are read in any case.
          keep_order: accepted for `RNNBase`; outputs are in the order of the inputs.

        Returns:
          The merged outputs; with `return_carry`, the pair of carries and the outputs.

        Raises:
          ValueError: as `RNN`.
        """
        del reverse, keep_order
        time_major = self.time_major if time_major is None else time_major
        return_carry = self.return_carry if return_carry is None else return_carry
        if init_key is None:
            with jax.ensure_compile_time_eval():
                forward_key, backward_key = jax.random.split(_default_key())
        else:
            forward_key, backward_key = jax.random.split(init_key)
        forward_carry, backward_carry = initial_carry or (None, None)
        # Each is passed only when used: a layer need not know both.
        lengths = {"seq_lengths": seq_lengths, "segmentation_mask": segmentation_mask}
        options: dict[str, Any] = {n: v for n, v in lengths.items() if v is not None}

        forward_carry, forward = self.forward_rnn(
            inputs,
            initial_carry=forward_carry,
            init_key=forward_key,
            return_carry=True,
            time_major=time_major,
            reverse=False,
            **options,
        )
        backward_carry, backward = self.backward_rnn(
            inputs,
            initial_carry=backward_carry,
            init_key=backward_key,
            return_carry=True,
            time_major=time_major,
            reverse=True,
            keep_order=True,
            **options,
        )
        outputs = jax.tree.map(self.merge_fn, forward, backward)
        if return_carry:
            return (forward_carry, backward_carry), outputs
        return outputs


def flip_sequences(
    inputs: ArrayLike,
    seq_lengths: ArrayLike | None,
    num_batch_dims: int,
    time_major: bool,
) -> Array:
    """Reverses sequences along time, and leaves their padding at the end.

    Args:
      inputs: array of shape (*batch, time, ...), or (time, *batch, ...) if time-major.
      seq_lengths: the length of each sequence, integers of shape (*batch,); or a mask
        of shape (*batch, time), or (time, *batch), that is not 0 on the sequence; or
        None if there is no padding.
      num_batch_dims: the number of batch axes.
      time_major: whether time is the first axis.

    Returns:
      Array of the shape of `inputs`. What stands where the padding was is padding too,
      in another order.

    Raises:
      ValueError: `seq_lengths` does not fit the input.

    >>> x = jnp.array([[1, 2, 3, 0], [4, 5, 6, 7]])
    >>> flip_sequences(x, jnp.array([3, 4]), num_batch_dims=1, time_major=False)
    Array([[3, 2, 1, 0],
           [7, 6, 5, 4]], dtype=int32)
    """
    inputs = jnp.asarray(inputs)
    axes = _Axes(num_batch_dims, 0 if time_major else num_batch_dims)
    if seq_lengths is None:
        return _flip(inputs, None, axes)
    is_mask = np.ndim(seq_lengths) == num_batch_dims + 1
    lengths = _sequence_lengths(
        "flip_sequences",
        inputs.shape,
        axes,
        None if is_mask else seq_lengths,
        seq_lengths if is_mask else None,
    )
    return _flip(inputs, lengths, axes)


def _flip(inputs: Array, lengths: Array | None, axes: _Axes) -> Array:
    if lengths is None:
        return lax.rev(inputs, (axes.time,))
    n = inputs.shape[axes.time]
    if not n:
        return inputs
    # Position t of a sequence takes from length - 1 - t, and modulo n the padding
    # takes from the padding.
    from_end = np.arange(n - 1, -1, -1, dtype=lengths.dtype)
    if axes.time == 0:
        from_end = from_end.reshape((n,) + (1,) * axes.n_batch)
    source = jnp.expand_dims(lengths, axes.time) + from_end
    source = lax.rem(source, np.asarray(n, lengths.dtype)[()])

    def flipped(inputs: Array, source: Array) -> Array:
        # (*batch, time), or (time, *batch)
        index: list[Any] = list(np.indices(source.shape, sparse=True))
        index[axes.time] = source
        return inputs[tuple(index)]

    return _laid_out(flipped, (inputs, source), array_type.spec_entries(inputs))
