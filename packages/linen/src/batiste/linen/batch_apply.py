"""Calling a function of one batch axis on arrays that have several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, ArrayLike, Function, Shape, Tree

__all__ = [
    "BatchApply",
    "arbitrary_mergeable_leaf",
    "merge_leading_dims",
    "ndim_at_least",
    "split_leading_dim",
]


def _is_array(x: Any) -> bool:
    return isinstance(x, (jax.Array, np.ndarray, np.generic))


def ndim_at_least(x: Any, num_dims: int) -> bool:
    """Whether `x`, an array or anything that makes one, has `num_dims` axes or more.

    >>> ndim_at_least([1, 2], 1), ndim_at_least(3.0, 1)
    (True, False)
    """
    return np.ndim(x) >= num_dims


def arbitrary_mergeable_leaf(
    min_num_dims: int, args: tuple[Tree, ...], kwargs: Mapping[str, Tree]
) -> ArrayLike | None:
    """Returns the first array in `args` or `kwargs` with `min_num_dims` axes or more.

    It is None if there is none.

    >>> import numpy as np
    >>> arbitrary_mergeable_leaf(2, (1.0, np.ones((2, 3))), {}).shape
    (2, 3)
    """
    for leaf in jax.tree.leaves((args, kwargs)):
        if ndim_at_least(leaf, min_num_dims):
            return leaf
    return None


def merge_leading_dims(x: Any, num_dims: int) -> Any:
    """Makes one axis of the first `num_dims` axes of `x`.

    What has fewer axes, or is no array, is returned as it is.

    >>> import jax.numpy as jnp
    >>> merge_leading_dims(jnp.ones((2, 3, 4)), 2).shape
    (6, 4)
    """
    if not _is_array(x) or np.ndim(x) < num_dims or num_dims < 1:
        return x
    shape = np.shape(x)
    return lax.reshape(x, (math.prod(shape[:num_dims]), *shape[num_dims:]))


def split_leading_dim(x: Array, to_dim: Shape) -> Array:
    """Makes axes of sizes `to_dim` of the first axis of `x`.

    >>> import jax.numpy as jnp
    >>> split_leading_dim(jnp.ones((6, 4)), (2, 3)).shape
    (2, 3, 4)
    """
    return lax.reshape(x, (*to_dim, *np.shape(x)[1:]))


class BatchApply:
    """Calls a function with its inputs' first `num_dims` axes merged into one.

    The function sees one batch axis, and the axes are split again in everything that
    it returns. Inputs with fewer axes than `num_dims` are passed as they are. Works
    on arrays and on trees of them, for functions and for modules.

    Attributes:
      num_dims: how many leading axes to merge.

    Raises:
      ValueError: `num_dims` is not positive, no input has `num_dims` axes, or an
        output does not have the merged axis in front.

    >>> import jax.numpy as jnp
    >>> images = jnp.ones((4, 2, 8, 8, 3))  # time, batch, height, width, channels
    >>> BatchApply(lambda x: x.mean(axis=(1, 2)))(images).shape
    (4, 2, 3)
    """

    def __init__(self, f: Function, num_dims: int = 2):
        if num_dims < 1:
            raise InvalidArgumentError(
                "BatchApply merges num_dims leading axes into one: it must be "
                f"positive, got {num_dims}"
            )
        self._f = f
        self.num_dims = num_dims

    def __call__(self, *args: Tree, **kwargs: Tree) -> Tree:
        """Calls the function on `args` and `kwargs`."""
        example = arbitrary_mergeable_leaf(self.num_dims, args, kwargs)
        if example is None:
            shapes = [np.shape(leaf) for leaf in jax.tree.leaves((args, kwargs))]
            raise InvalidArgumentError(
                f"BatchApply requires at least one input with ndim >= {self.num_dims}, "
                f"whose leading {self.num_dims} axes it can merge; got shapes {shapes}"
            )
        dims = np.shape(example)[: self.num_dims]
        size = math.prod(dims)
        args, kwargs = jax.tree.map(
            lambda x: merge_leading_dims(x, self.num_dims), (args, kwargs)
        )

        def split(x: Any) -> Any:
            if not _is_array(x):
                return x
            if np.shape(x)[:1] != (size,):
                raise InvalidArgumentError(
                    f"BatchApply: the function returned an array of shape "
                    f"{np.shape(x)}, but its leading axis must be the merged one of "
                    f"size {size} ({dims} merged), so that it can be split again; "
                    "reductions must leave axis 0"
                )
            return split_leading_dim(x, dims)

        return jax.tree.map(split, self._f(*args, **kwargs))
