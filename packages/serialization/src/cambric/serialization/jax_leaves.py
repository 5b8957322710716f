"""JAX arrays as leaves, without importing JAX: who holds one has imported it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .errors import SerializationError


def is_jax_array(value: Any) -> bool:
    """Whether a value is a `jax.Array`, a typed PRNG key included."""
    # A module that is still being imported lacks its names.
    array = getattr(sys.modules.get("jax"), "Array", None)
    return array is not None and isinstance(value, array)


def is_prng_key(value: Any) -> bool:
    """Whether a value is an array of typed keys, as `jax.random.key` makes."""
    if not is_jax_array(value):
        return False
    jax = sys.modules["jax"]
    return jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def is_jax_partial(value: Any) -> bool:
    """Whether a value is a `jax.tree_util.Partial`."""
    tree_util = getattr(sys.modules.get("jax"), "tree_util", None)
    return tree_util is not None and isinstance(value, tree_util.Partial)


def to_host(value: Any) -> np.ndarray[Any, Any]:
    """A `jax.Array` as a NumPy array; on a CPU without a copy.

    Typed keys give the integers they are made of: `uint32[..., 2]` for the default
    generator.

    Raises:
      SerializationError: the array has been deleted or donated, or parts of it live in
        other processes.
    """
    if is_prng_key(value):
        value = sys.modules["jax"].random.key_data(value)
    if not (
        getattr(value, "is_fully_addressable", True)
        or getattr(value, "is_fully_replicated", True)
    ):
        raise SerializationError(
            f"The array {value.dtype}{list(value.shape)} is spread over several "
            "processes, and this one holds only a part. Gather it first, as with "
            "jax.experimental.multihost_utils.process_allgather, or have every process "
            "save its own shards."
        )
    try:
        return np.asarray(value)
    except (RuntimeError, TypeError) as error:  # deleted or donated; a tracer
        raise SerializationError(
            f"The array {value.dtype}{list(value.shape)} has no values to save: {error}"
        ) from error


def restore_key(target: Any, state: Any) -> Any:
    """The typed keys that integers read from a file stand for.

    Args:
      target: keys of the same shape, whose generator is used.
      state: the integers, `uint32`, with the words of each key in the last axis; typed
        keys are returned as they are.

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
