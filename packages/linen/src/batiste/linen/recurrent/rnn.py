"""Layers that run a recurrent cell along a sequence."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core import FrozenDict

from ..module.module import Module
from ..module.text import located
from ..types import Array
from .cell import RNNCellBase

__all__ = ["Bidirectional", "RNN", "RNNBase", "flip_sequences"]

Carry = Any

_BAD_CELL_SIZE = (
    "{module}: cell_size={size!r} is not a size; pass an integer or a tuple of "
    "integers, and time_major and the other options by keyword"
)
_NO_TIME = (
    "{module}: the input has the shape {shape}, but {cell} needs a time axis and "
    "{axes} or more axes of features, in an input of shape {layout}"
)
_LENGTHS = (
    "{where}: {name} has the shape {found}, but the input of shape {shape} has the "
    "batch axes {batch}; pass one of shape {expected}"
)
_TWO_LENGTHS = (
    "{where}: both seq_lengths and segmentation_mask were given; they say the same, "
    "so pass one of them"
)


def _sequence_lengths(
    where: str,
    shape: tuple[int, ...],
    time_axis: int,
    n_batch: int,
    seq_lengths: Array | None,
    segmentation_mask: Array | None,
) -> Array | None:
    """The length of each sequence, of shape (*batch,), or None for full lengths."""
    first = 1 if time_axis == 0 else 0
    batch = shape[first : first + n_batch]
    if segmentation_mask is not None:
        if seq_lengths is not None:
            raise ValueError(_TWO_LENGTHS.format(where=where))
        name, given = "segmentation_mask", segmentation_mask
        expected = shape[: n_batch + 1]
    elif seq_lengths is not None:
        name, given, expected = "seq_lengths", seq_lengths, batch
    else:
        return None
    if np.shape(given) != expected:
        raise ValueError(
            _LENGTHS.format(
                where=where,
                name=name,
                found=np.shape(given),
                shape=shape,
                batch=batch,
                expected=expected,
            )
        )
    given = jnp.asarray(given)
    if segmentation_mask is None:
        return given
    return jnp.sum(given != 0, axis=0 if time_axis == 0 else n_batch)


def flip_sequences(
    inputs: Array,
    seq_lengths: Array | None,
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
    time_axis = 0 if time_major else num_batch_dims
    if seq_lengths is None:
        return lax.rev(inputs, (time_axis,))
    is_mask = np.ndim(seq_lengths) == num_batch_dims + 1
    lengths = _sequence_lengths(
        "flip_sequences",
        inputs.shape,
        time_axis,
        num_batch_dims,
        None if is_mask else seq_lengths,
        seq_lengths if is_mask else None,
    )
    return _flip(inputs, lengths, num_batch_dims, time_axis)


def _flip(inputs: Array, lengths: Array | None, n_batch: int, time_axis: int) -> Array:
    if lengths is None:
        return lax.rev(inputs, (time_axis,))
    n = inputs.shape[time_axis]
    if not n:
        return inputs
    # Position t of a sequence takes from length - 1 - t, and modulo n the padding
    # takes from the padding.
    from_end = np.arange(n - 1, -1, -1, dtype=lengths.dtype)
    if time_axis == 0:
        from_end = from_end.reshape((n,) + (1,) * n_batch)
        source = jnp.expand_dims(lengths, 0)
    else:
        source = jnp.expand_dims(lengths, n_batch)
    source = lax.rem(source + from_end, np.asarray(n, lengths.dtype)[()])
    index: list[Any] = list(np.indices(source.shape, sparse=True))
    index[time_axis] = source
    return inputs[tuple(index)]


class RNNBase(Protocol):
    """What `Bidirectional` expects of the two layers that it combines.

    >>> layer: RNNBase = RNN(RNNCellBase())
    """

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        init_key: Any = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs along `inputs`; the arguments are those of `RNN.__call__`."""
        ...


def _default_key() -> jax.Array:
    # Most carries do not depend on the key. Made here and now, it leaves no equation
    # in the jaxpr of a caller that is being traced.
    with jax.ensure_compile_time_eval():
        return jax.random.key(0)


class RNN(Module):
    """Runs a cell along a sequence.

    The cell is called for one step after another, by `scan`, with the carry that it
    returned at the step before. Submodule: `cell`.

    Attributes:
      cell: a cell, such as `LSTMCell(features=64)`.
      cell_size: the `size` to pass to the cell's `initialize_carry`, for cells without
        features of their own: an integer, or for a `ConvLSTMCell` the tuple
        `(*spatial, features)`.
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
    variable_broadcast: Any = "params"
    variable_carry: Any = False
    split_rngs: Mapping[Any, bool] = FrozenDict({"params": False})

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Carry | None = None,
        init_key: Any = None,
        seq_lengths: Array | None = None,
        segmentation_mask: Array | None = None,
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
            `initialize_carry`.
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
        n_batch, feature_axes = self._count_axes(shape, time_major)
        time_axis = 0 if time_major else n_batch
        lengths = _sequence_lengths(
            located(self), shape, time_axis, n_batch, seq_lengths, segmentation_mask
        )
        flip = functools.partial(
            _flip, lengths=lengths, n_batch=n_batch, time_axis=time_axis
        )

        if reverse:
            inputs = jax.tree.map(lambda x: flip(jnp.asarray(x)), inputs)
        carry = initial_carry
        if carry is None:
            step_shape = shape[:time_axis] + shape[time_axis + 1 :]
            key = _default_key() if init_key is None else init_key
            if self.cell_size is None:
                carry = self.cell.initialize_carry(key, step_shape)
            else:
                batch = step_shape[: len(step_shape) - feature_axes]
                cell: Any = self.cell  # of the generation with three arguments
                carry = cell.initialize_carry(key, batch, self.cell_size)

        first = carry
        keep_carries = lengths is not None and return_carry
        carry, outputs = self._scan(carry, inputs, time_axis, keep_carries)
        if keep_carries:
            carries, outputs = outputs
            carry = jax.tree.map(
                functools.partial(_at_last_step, lengths), first, carries
            )
        if reverse and keep_order:
            outputs = jax.tree.map(flip, outputs)
        return (carry, outputs) if return_carry else outputs

    def _count_axes(self, shape: tuple[int, ...], time_major: bool) -> tuple[int, int]:
        """The numbers of batch axes and of feature axes of an input."""
        size = self.cell_size
        if size is None:
            axes = self.cell.num_feature_axes
        elif isinstance(size, int) and not isinstance(size, bool):
            axes = 1
        elif isinstance(size, tuple | list):
            axes = len(size)
        else:
            raise ValueError(_BAD_CELL_SIZE.format(module=located(self), size=size))
        n_batch = len(shape) - 1 - axes
        if n_batch < 0:
            layout = (
                "(time, *batch, *features)"
                if time_major
                else ("(*batch, time, *features)")
            )
            raise ValueError(
                _NO_TIME.format(
                    module=located(self),
                    shape=shape,
                    cell=type(self.cell).__name__,
                    axes=axes,
                    layout=layout,
                )
            )
        return n_batch, axes

    def _scan(
        self, carry: Carry, inputs: Array, time_axis: int, keep_carries: bool
    ) -> tuple[Carry, Any]:
        """The last carry and the outputs; or all carries with them."""
        # Imported here because transforms import layers.
        from ..transforms import scan

        def step(cell: Any, carry: Carry, x: Array) -> tuple[Carry, Any]:
            carry, y = cell(carry, x)
            return carry, (carry, y) if keep_carries else y

        run = scan(
            step,
            in_axes=time_axis,
            out_axes=(0, time_axis) if keep_carries else time_axis,
            unroll=self.unroll,
            variable_axes=self.variable_axes,
            variable_broadcast=self.variable_broadcast,
            variable_carry=self.variable_carry,
            split_rngs=self.split_rngs,
        )
        return run(self.cell, carry, inputs)


def _at_last_step(lengths: Array, first: Array, carries: Array) -> Array:
    """Of `carries` of shape (time, *batch, ...), the one of each sequence's end.

    An empty sequence ends with its `first` carry.
    """
    first = jnp.asarray(first)
    empty = lax.expand_dims(lengths == 0, range(lengths.ndim, first.ndim))
    if not carries.shape[0]:
        return first
    batch = np.indices(lengths.shape, sparse=True)
    return jnp.where(empty, first, carries[(lengths - 1, *batch)])


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
        inputs: Array,
        *,
        initial_carry: tuple[Carry, Carry] | None = None,
        init_key: Any = None,
        seq_lengths: Array | None = None,
        segmentation_mask: Array | None = None,
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
        # The older argument is passed only when used: a layer need not know it.
        options: dict[str, Any] = {"seq_lengths": seq_lengths}
        if segmentation_mask is not None:
            options["segmentation_mask"] = segmentation_mask

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
