"""Replicating, prefetching, padding and scanning over devices and dimensions."""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core.partial_eval import partial_eval_by_shape
from batiste.core.types import Array, ArrayLike, Function, Tree

__all__ = [
    "pad_shard_unpad",
    "partial_eval_by_shape",
    "pmean",
    "prefetch_to_device",
    "replicate",
    "scan_in_dim",
    "unreplicate",
]


_DEVICE_AXIS = "_device_put_sharded"


def _leading_axis_sharding(
    devices: Sequence[Any] | None, axis_name: str
) -> NamedSharding:
    """One slice of the leading axis on each device."""
    chosen = np.array(jax.local_devices() if devices is None else list(devices))
    return NamedSharding(Mesh(chosen, (axis_name,)), PartitionSpec(axis_name))


def _place(path: jax.tree_util.KeyPath) -> str:
    return jax.tree_util.keystr(path) or "the root"


def replicate(
    tree: Tree,
    devices: Sequence[Any] | None = None,
    axis_name: str = _DEVICE_AXIS,
) -> Tree:
    """Puts a copy of every array on each device, as `jax.pmap` wants it.

    Args:
      tree: pytree of arrays or numbers of shape `s`.
      devices: the `d` devices; the local ones in the order of `jax.pmap` if None.
      axis_name: name of the mesh axis in the sharding of the results.

    Returns:
      The pytree with arrays of shape `(d, *s)`, entry `i` on device `i`.

    >>> import jax
    >>> from batiste.training import jax_utils
    >>> copies = jax_utils.replicate({'w': 2.0})
    >>> copies['w'].shape == (jax.local_device_count(),)
    True
    """
    targets = jax.local_devices() if devices is None else list(devices)
    sharding = _leading_axis_sharding(targets, axis_name)

    def copy_to_all(x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        copies = [jax.device_put(x[None], device) for device in targets]
        return jax.make_array_from_single_device_arrays(
            (len(targets), *x.shape), sharding, copies
        )

    return jax.tree.map(copy_to_all, tree)


def unreplicate(tree: Tree) -> Tree:
    """Returns the first copy of every replicated array.

    Args:
      tree: pytree of arrays whose leading axis is the devices.

    Returns:
      The pytree with that axis taken off.

    >>> from batiste.training import jax_utils
    >>> float(jax_utils.unreplicate(jax_utils.replicate(2.0)))
    2.0
    """
    return jax.tree.map(lambda x: x[0], tree)


def pmean(xs: Tree, axis_name: str) -> Tree:
    """Averages every array of a pytree over a mapped axis.

    Args:
      xs: pytree of arrays.
      axis_name: the axis, as given to `jax.pmap` or `jax.vmap`.

    Returns:
      The pytree of the means, on every member of the axis.

    >>> import jax, jax.numpy as jnp
    >>> from batiste.training import jax_utils
    >>> jax.vmap(lambda x: jax_utils.pmean(x, 'i'), axis_name='i')(
    ...     jnp.array([1.0, 3.0])).tolist()
    [2.0, 2.0]
    """
    return jax.tree.map(lambda x: lax.pmean(x, axis_name), xs)


def prefetch_to_device(
    iterator: Iterable[Tree],
    size: int,
    devices: Sequence[Any] | None = None,
    axis_name: str = _DEVICE_AXIS,
) -> Iterator[Tree]:
    """Moves batches to the devices before they are asked for.

    On GPUs a `size` of 2 lets the transfer of one batch overlap with the step on the
    one before.

    Args:
      iterator: yields pytrees of arrays whose leading axis is split over the devices:
        its length is their number `d`, for `jax.pmap`, or a multiple of it.
      size: number of batches to hold on the devices, at least 1.
      devices: the devices; the local ones in the order of `jax.pmap` if None.
      axis_name: name of the mesh axis in the sharding of the results.

    Returns:
      An iterator over the same pytrees, sharded over the devices.

    Raises:
      ValueError: `size` is less than 1; or, when the batch is drawn, an array has a
        leading axis that cannot be split. The message names its place in the tree.

    >>> import jax, numpy as np
    >>> from batiste.training import jax_utils
    >>> batches = (np.full((jax.local_device_count(), 2), i) for i in range(3))
    >>> [int(x[0, 0]) for x in jax_utils.prefetch_to_device(batches, 2)]
    [0, 1, 2]
    """
    if size < 1:
        raise ValueError(f"prefetch_to_device: size is {size}; it must be 1 or more.")
    sharding = _leading_axis_sharding(devices, axis_name)
    count = sharding.mesh.size

    def put(path: jax.tree_util.KeyPath, x: ArrayLike) -> Array:
        shape = np.shape(x)
        if not shape or shape[0] % count:
            raise ValueError(
                f"prefetch_to_device: the array at {_place(path)} has shape {shape}; "
                f"its leading axis must be split over {count} devices. Reshape the "
                f"batch, for example with common_utils.shard."
            )
        return jax.device_put(x, sharding)

    def prefetched() -> Iterator[Tree]:
        source = iter(iterator)
        queue: collections.deque[Tree] = collections.deque()

        def fill(n: int) -> None:
            for batch in itertools.islice(source, n):
                queue.append(jax.tree_util.tree_map_with_path(put, batch))

        fill(size)
        while queue:
            yield queue.popleft()
            fill(1)

    return prefetched()


def _as_tuple(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def scan_in_dim(
    body_fn: Callable[[Tree, Tree], tuple[Tree, Tree]],
    init: Tree,
    xs: Tree,
    axis: int | Sequence[int] = (0,),
    unroll: int | Sequence[int] = (1,),
    keepdims: bool = False,
) -> tuple[Tree, Tree]:
    """Runs `jax.lax.scan` over one or more axes, anywhere in the arrays.

    Args:
      body_fn: function `(carry, x) -> (carry, y)`.
      init: the first carry.
      xs: pytree of arrays. In `x`, the axes scanned over are missing.
      axis: the axis or axes, the outermost loop first.
      unroll: iterations per loop step: one number for all axes, or one for each.
      keepdims: leave the axes scanned over in `x` and `y`, with length 1.

    Returns:
      The last carry, and the pytree of the `y`, stacked with the axes scanned over
      at the places that they have in `xs`.

    Raises:
      ValueError: `unroll` has neither one number nor one for each axis.

    >>> import jax.numpy as jnp
    >>> from batiste.training import jax_utils
    >>> total, doubled = jax_utils.scan_in_dim(
    ...     lambda c, x: (c + x.sum(), 2 * x), 0, jnp.arange(6).reshape(2, 3), axis=1)
    >>> int(total), doubled.tolist()
    (15, [[0, 2, 4], [6, 8, 10]])
    """
    axes = _as_tuple(axis)
    unrolls = _as_tuple(unroll)
    if len(unrolls) == 1:
        unrolls *= len(axes)
    if len(unrolls) != len(axes):
        raise ValueError(
            f"scan_in_dim: unroll={unroll!r} has {len(unrolls)} numbers for the "
            f"{len(axes)} axes {axes}; give one number, or one for each axis."
        )
    leading = tuple(range(len(axes)))

    def body(carry: Tree, x: Tree) -> tuple[Tree, Tree]:
        if keepdims:
            x = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, axes), x)
        carry, y = body_fn(carry, x)
        if keepdims:
            y = jax.tree.map(lambda leaf: jnp.squeeze(leaf, axes), y)
        return carry, y

    step: Function = body
    for n in reversed(unrolls):
        step = functools.partial(_scan, step, n)
    carry, ys = step(init, jax.tree.map(lambda x: jnp.moveaxis(x, axes, leading), xs))
    return carry, jax.tree.map(lambda y: jnp.moveaxis(y, leading, axes), ys)


def _scan(body: Function, unroll: int, carry: Tree, xs: Tree) -> tuple[Tree, Tree]:
    return lax.scan(body, carry, xs, unroll=unroll)


def pad_shard_unpad(
    wrapped: Function,
    static_argnums: int | Sequence[int] = (0,),
    static_argnames: str | Sequence[str] = (),
    static_return: bool = False,
) -> Function:
    """Lets a `jax.pmap` function take batches that the devices do not divide.

    Arguments are padded with zeros on the host to a multiple of the number of local
    devices, split over them, and the result is joined, cut to the original length and
    brought to the host.

    Args:
      wrapped: the function; usually `f(params, batch)`.
      static_argnums: positions of arguments that are passed on as they are. The
        default is the first, the parameters.
      static_argnames: names of keyword arguments that are passed on as they are.
      static_return: return the result of `wrapped` as it is; for metrics, which are
        no batch.

    Returns:
      A function with the arguments of `wrapped` and the keyword
      `min_device_batch`: pad to at least that many examples per device, so that a
      last, smaller batch needs no new compilation.

    Raises:
      ValueError: (when called) the arrays differ in batch size, or there are none.
      TypeError: (when called) an argument or result that is to be padded or cut
        holds something that is no array with a batch axis.

    >>> import jax, numpy as np
    >>> from batiste.training import jax_utils
    >>> double = jax.pmap(lambda scale, x: scale * x, in_axes=(None, 0))
    >>> jax_utils.pad_shard_unpad(double)(2.0, np.arange(3.0)).tolist()
    [0.0, 2.0, 4.0]
    """
    if isinstance(static_argnames, str):
        static_argnames = (static_argnames,)
    # Arguments are known by their position or by their name.
    static = {*_as_tuple(static_argnums), *static_argnames}

    @functools.wraps(wrapped)
    def call_with_shards(
        *args: Any, min_device_batch: int | None = None, **kwargs: Any
    ) -> Tree:
        given: dict[int | str, Any] = {**dict(enumerate(args)), **kwargs}
        batched = {key: tree for key, tree in given.items() if key not in static}
        layout = _Layout.of(_batch_size(batched), min_device_batch)
        given |= {
            key: jax.tree.map(layout.pad_and_shard, tree)
            for key, tree in batched.items()
        }
        result = wrapped(
            *(given[position] for position in range(len(args))),
            **{name: given[name] for name in kwargs},
        )
        if static_return:
            return result
        on_host = jax.device_get(result)
        return jax.tree_util.tree_map_with_path(layout.unshard_and_unpad, on_host)

    return call_with_shards


class _Layout(NamedTuple):
    """How many examples there are, and how many of them each device has place for."""

    batch: int
    devices: int
    per_device: int

    @classmethod
    def of(cls, batch: int, min_device_batch: int | None) -> _Layout:
        devices = jax.local_device_count()
        needed = (batch + devices - 1) // devices
        return cls(batch, devices, max(needed, min_device_batch or 0))

    def pad_and_shard(self, array: ArrayLike) -> np.ndarray:
        """Brings [batch, ...] to [devices, per_device, ...]."""
        filled = np.asarray(array)
        rest = filled.shape[1:]
        places = self.devices * self.per_device
        if places > self.batch:
            padded = np.zeros((places, *rest), filled.dtype)
            padded[: self.batch] = filled
            filled = padded
        return filled.reshape(self.devices, self.per_device, *rest)

    def unshard_and_unpad(
        self, path: jax.tree_util.KeyPath, shards: ArrayLike
    ) -> np.ndarray:
        """Brings [devices, per_device, ...] to [batch, ...]."""
        shape = np.shape(shards)
        if len(shape) < 2:
            raise TypeError(
                f"pad_shard_unpad: the result at {_place(path)} has shape {shape}, "
                f"where (devices, batch per device, ...) is expected. Use "
                f"static_return=True for results that are no batch."
            )
        rows = np.reshape(shards, (shape[0] * shape[1], *shape[2:]))
        return rows[: self.batch]


def _batch_size(batched: dict[int | str, Tree]) -> int:
    """The one length of the first axes of all arrays in the arguments."""
    sizes: dict[int, str] = {}
    for key, tree in batched.items():
        for path, array in jax.tree_util.tree_leaves_with_path(tree):
            where = f"argument {key!r}{jax.tree_util.keystr(path)}"
            if np.ndim(array) == 0:
                raise TypeError(
                    f"pad_shard_unpad: {where} is {array!r}, which has no batch axis "
                    f"to pad. Name it in static_argnums or static_argnames to pass it "
                    f"on as it is."
                )
            sizes.setdefault(np.shape(array)[0], where)
    if not sizes:
        raise ValueError(
            "pad_shard_unpad: there is no array to pad among the arguments. Are all of "
            "them named in static_argnums or static_argnames?"
        )
    if len(sizes) > 1:
        listed = ", ".join(f"{size} in {where}" for size, where in sizes.items())
        raise ValueError(
            f"pad_shard_unpad: the batch sizes differ: {listed}. All arrays that are "
            f"padded must have one length of their first axis."
        )
    return next(iter(sizes))
