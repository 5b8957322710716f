"""Names for what signatures hold: arrays, keys, trees, dtypes, shapes, collections.

They are for annotations; nothing checks them when a program runs. `Any` stands in
signatures only where a value really can be anything; where it is a tree, it is called
`Tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.typing
import numpy as np

__all__ = [
    "Array",
    "ArrayLike",
    "Axis",
    "Collection",
    "Dtype",
    "Function",
    "Initializer",
    "Key",
    "Keys",
    "Path",
    "Shape",
    "Tree",
    "Variables",
]

Array: TypeAlias = jax.Array
"""An array of JAX, or a tracer of one."""

ArrayLike: TypeAlias = jax.typing.ArrayLike
"""What JAX's functions take for an array."""

Dtype: TypeAlias = str | type[Any] | np.dtype
"""A dtype, its name, or a scalar type such as `jnp.float32`."""

Shape: TypeAlias = Sequence[int]
"""The sizes of an array's axes."""

Axis: TypeAlias = int | None
"""An axis, counted from the front or, if negative, from the end; None for no axis."""

Key: TypeAlias = jax.Array
"""A PRNG key, of `jax.random.key` or of `jax.random.PRNGKey`."""

Keys: TypeAlias = Mapping[str, Key]
"""A PRNG key for each stream."""

Tree: TypeAlias = Any
"""A pytree: nested containers with leaves of any kind."""

Path: TypeAlias = tuple[str, ...]
"""The names from a root down to a place."""

Collection: TypeAlias = Mapping[str, Any]
"""Nested mappings from names to variables."""

Variables: TypeAlias = Mapping[str, Collection]
"""Collections by their names."""

Initializer: TypeAlias = Callable[..., Any]
"""Makes the first value of a variable: `init(key, shape, dtype)` for a parameter."""

Function: TypeAlias = Callable[..., Any]
"""A function that is passed on without a look at its signature."""
