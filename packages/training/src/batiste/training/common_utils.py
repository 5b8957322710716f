"""Helpers for training loops over `jax.pmap`: sharding, stacking, one-hot labels."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
from jax import numpy as jnp

from batiste.core.types import Array, Key, Tree

__all__ = [
    "get_metrics",
    "onehot",
    "shard",
    "shard_prng_key",
    "stack_forest",
]


def shard(xs: Tree) -> Tree:
    """Splits the leading axis of every array over the local devices.

    Args:
      xs: pytree of arrays of shape `(n, ...)`, `n` a multiple of the number `d` of
        local devices.

    Returns:
      The pytree with arrays of shape `(d, n / d, ...)`.

    Raises:
      ValueError: an array is a scalar, or its leading axis is no multiple of `d`.
        The message names its place in the tree.

    >>> import jax, numpy as np
    >>> from batiste.training import common_utils
    >>> d = jax.local_device_count()
    >>> common_utils.shard({'x': np.zeros((2 * d, 3))})['x'].shape == (d, 2, 3)
    True
    """
    devices = jax.local_device_count()

    def split(path: jax.tree_util.KeyPath, x: Array | np.ndarray) -> Array | np.ndarray:
        shape = np.shape(x)
        if not shape or shape[0] % devices:
            raise ValueError(
                f"shard: the array at {jax.tree_util.keystr(path) or 'the root'} has "
                f"shape {shape}; its leading axis must be a multiple of the number "
                f"of local devices, {devices}. Drop or pad the last batch "
                f"(jax_utils.pad_shard_unpad pads)."
            )
        return x.reshape((devices, shape[0] // devices) + shape[1:])

    return jax.tree_util.tree_map_with_path(split, xs)


def shard_prng_key(prng_key: Key) -> Key:
    """Splits a random key into one for each local device.

    Args:
      prng_key: a key, raw (`jax.random.PRNGKey`) or typed (`jax.random.key`).

    Returns:
      An array of keys whose leading axis is the number of local devices.

    >>> import jax
    >>> from batiste.training import common_utils
    >>> keys = common_utils.shard_prng_key(jax.random.key(0))
    >>> keys.shape == (jax.local_device_count(),)
    True
    """
    return jax.random.split(prng_key, num=jax.local_device_count())


def stack_forest(forest: Sequence[Tree]) -> Tree:
    """Stacks pytrees of one structure, leaf by leaf.

    Args:
      forest: at least one pytree; corresponding leaves have one shape `s`.

    Returns:
      One pytree, with leaves of shape `(len(forest), *s)`.

    Raises:
      ValueError: `forest` is empty, or structures or shapes differ.

    >>> from batiste.training import common_utils
    >>> common_utils.stack_forest([{'loss': 1.0}, {'loss': 2.0}])['loss'].tolist()
    [1.0, 2.0]
    """
    if len(forest) == 0:
        raise ValueError("stack_forest: the forest is empty; give at least one tree.")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *forest)


def get_metrics(device_metrics: Sequence[Tree]) -> Tree:
    """Collects metrics that `jax.pmap` returned, step by step, on the host.

    Args:
      device_metrics: for each step, a pytree of replicated arrays: their leading
        axis is the devices, and all its entries are equal.

    Returns:
      One pytree of host arrays, stacked over the steps, of the first device.

    Raises:
      ValueError: there are no steps, or their structures or shapes differ.

    >>> import numpy as np
    >>> from batiste.training import common_utils
    >>> steps = [{'loss': np.full(8, 0.5)}, {'loss': np.full(8, 0.25)}]
    >>> common_utils.get_metrics(steps)['loss'].tolist()
    [0.5, 0.25]
    """
    first = jax.tree.map(lambda x: x[0], device_metrics)
    return stack_forest(jax.device_get(first))


def onehot(
    labels: Array, num_classes: int, on_value: float = 1.0, off_value: float = 0.0
) -> Array:
    """Returns labels as float32 vectors with one entry switched on.

    Args:
      labels: integers of shape `(...)`.
      num_classes: length of the vectors. A label outside `[0, num_classes)` gives a
        vector with no entry on.
      on_value: the entry at the label.
      off_value: all other entries.

    Returns:
      A float32 array of shape `(..., num_classes)`.

    >>> import jax.numpy as jnp
    >>> from batiste.training import common_utils
    >>> common_utils.onehot(jnp.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    is_on = jnp.asarray(labels)[..., None] == jnp.arange(num_classes)
    return jnp.where(is_on, jnp.float32(on_value), jnp.float32(off_value))
