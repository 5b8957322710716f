"""JAX arrays as leaves, without importing JAX: who holds one has imported it."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import numpy as np

from .errors import SerializationError
from .types import Shape

if TYPE_CHECKING:  # Who has no JAX has none of its arrays.
    import jax

__all__ = [
    "host_blocks",
    "is_jax_array",
    "is_jax_partial",
    "is_prng_key",
    "local_array",
    "on_one_cpu",
    "restore_key",
]


_LAST_OF_NUMPY: Final = 255  # dtypes of higher numbers are of other packages


def is_jax_array(value: object) -> TypeGuard[jax.Array]:
    """Tells whether a value is a `jax.Array`, a typed PRNG key included.

    >>> is_jax_array(np.zeros(3))
    False
    """
    # A module that is still being imported lacks its names.
    array = getattr(sys.modules.get("jax"), "Array", None)
    return array is not None and isinstance(value, array)


def is_prng_key(value: object) -> TypeGuard[jax.Array]:
    """Tells whether a value is an array of typed keys, as `jax.random.key` makes.

    >>> is_prng_key(np.zeros(2, np.uint32))
    False
    """
    if not is_jax_array(value):
        return False
    jax = sys.modules["jax"]
    return jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def is_jax_partial(value: object) -> bool:
    """Tells whether a value is a `jax.tree_util.Partial`.

    >>> import functools
    >>> is_jax_partial(functools.partial(print))
    False
    """
    tree_util = getattr(sys.modules.get("jax"), "tree_util", None)
    return tree_util is not None and isinstance(value, tree_util.Partial)


def local_array(value: jax.Array) -> jax.Array:
    """Finds the array of this process that holds all elements of a `jax.Array`.

    Args:
      value: the array. Typed keys give the integers they are made of: `uint32[..., 2]`
        for the default generator.

    Returns:
      The array, all of whose elements this process can read.

    Raises:
      SerializationError: the array is being traced, has been deleted or donated, or
        parts of it live in other processes.
    """
    jax = sys.modules["jax"]
    if isinstance(value, jax.core.Tracer):
        raise SerializationError(
            f"{_name(value)} has no values yet: a function that is being traced, as by "
            "jax.jit, cannot save. Return the array and save it outside."
        )
    if value.is_deleted():
        raise SerializationError(
            f"{_name(value)} has been deleted, or donated to a function that was "
            "called with it. Save before that, or save what the function returned."
        )
    is_whole = value.is_fully_addressable
    if not (is_whole or value.is_fully_replicated):
        raise SerializationError(
            f"{_name(value)} is spread over several processes, and this one holds only "
            "a part. Gather it first, as with jax.experimental.multihost_utils."
            "process_allgather, or have every process save its own shards."
        )
    if is_prng_key(value):
        value = jax.random.key_data(value)
    return value if is_whole else value.addressable_data(0)


def on_one_cpu(value: jax.Array) -> np.ndarray | None:
    """Gives the elements of an array that is in host memory, without a copy.

    It is quick, and gives None where there is more to ask or to do: for an array that
    has been deleted, or is on another device, or on several.

    Args:
      value: an array with values, and not of typed keys.
    """
    if value.dtype.num <= _LAST_OF_NUMPY:
        try:
            return np.asarray(memoryview(value))
        except BufferError:
            return None
    # Python knows no memory of the other numbers, such as those of bfloat16.
    if value.is_deleted() or not value.is_fully_addressable:
        return None
    devices = value.devices()
    if len(devices) > 1 or not all(map(_on_cpu, devices)):
        return None
    # What JAX keeps besides an array that was read, it keeps of this one.
    return np.asarray(value.addressable_data(0))


def _on_cpu(device: Any) -> bool:
    return device.platform == "cpu"


def _name(value: jax.Array) -> str:
    return f"The array {value.dtype}{list(value.shape)}"


def host_blocks(array: jax.Array, size: int) -> Iterator[np.ndarray]:
    """Copies the elements of a local array to host memory, block by block.

    Args:
      array: a `jax.Array` that `local_array` returned.
      size: bytes that a block has at most; an array on one CPU device is handed out
        whole, without a copy.

    Yields:
      The blocks. Flat, one after the other, they are the array in C order.
    """
    if (whole := on_one_cpu(array)) is not None:
        yield whole
        return
    shards = [shard for shard in array.addressable_shards if shard.replica_id == 0]
    on_cpu = all(_on_cpu(shard.device) for shard in shards)
    if on_cpu and len(shards) == 1:
        yield np.asarray(shards[0].data)
        return
    # JAX keeps the host copy of an array for as long as the array lives, which for a
    # whole tree is a second tree. What is cut off a shard takes its copy along.
    cut = sys.modules["jax"].lax.dynamic_slice
    for region in _regions(array.shape, array.dtype.itemsize, size):
        block = np.empty([end - start for start, end in region], array.dtype)
        for shard in shards:
            there, here = [], []
            for (start, end), index, length in zip(
                region, shard.index, array.shape, strict=True
            ):
                first, last, _ = index.indices(length)
                low, high = max(start, first), min(end, last)
                there.append(slice(low - first, high - first))
                here.append(slice(low - start, high - start))
            sizes = [part.stop - part.start for part in here]
            if any(length <= 0 for length in sizes):
                continue  # the shard has no part of the block
            if on_cpu:
                block[tuple(here)] = np.asarray(shard.data)[tuple(there)]
            else:
                starts = [part.start for part in there]
                block[tuple(here)] = np.asarray(cut(shard.data, starts, sizes))
        yield block


def _regions(shape: Shape, itemsize: int, size: int) -> Iterator[list[tuple[int, int]]]:
    """Cuts an array into boxes that follow one another in C order.

    Each has at most `size` bytes, or one element. A box is a start and an end for each
    axis.
    """
    if not shape:
        yield []
        return
    if 0 in shape:
        return
    # One step along the axis spans the bytes of all axes behind it.
    axis = 0
    span = math.prod(shape[1:]) * itemsize
    while span > size and axis + 1 < len(shape):
        axis += 1
        span //= shape[axis]
    rows = max(1, size // span)
    for index in itertools.product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], rows):
            yield [
                *((i, i + 1) for i in index),
                (start, min(start + rows, shape[axis])),
                *((0, n) for n in shape[axis + 1 :]),
            ]


def restore_key(target: jax.Array, state: Any) -> jax.Array:
    """Makes the typed keys that integers read from a file stand for.

    Args:
      target: keys of the same shape, whose generator is used.
      state: the integers, `uint32`, with the words of each key in the last axis; typed
        keys are returned as they are.

    Returns:
      The keys.

    Raises:
      SerializationError: the integers are not keys of that generator.
    """
    if is_jax_array(state) and is_prng_key(state):
        return state
    random = sys.modules["jax"].random
    shape = random.key_data(target).shape
    if getattr(state, "dtype", None) != np.uint32 or state.shape[-1:] != shape[-1:]:
        found = getattr(state, "dtype", type(state).__name__)
        raise SerializationError(
            f"Typed keys of {random.key_impl(target)} are restored from uint32 values "
            f"with {shape[-1]} words each, not from {found}"
            f"{list(getattr(state, 'shape', ()))}."
        )
    return random.wrap_key_data(np.asarray(state), impl=random.key_impl(target))
