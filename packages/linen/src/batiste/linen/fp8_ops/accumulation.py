"""A float32 whose gradients are joined by their maximum in place of their sum.

JAX adds the gradients of a value that is used twice. The "gradient" of a scale is its
next value, and of two next values the larger is wanted. What JAX calls an extended
dtype may say how its values are added, so a scale of this dtype gets the larger one.

JAX has no public name for the two classes that such a dtype is made with. They are
found here, and only here, by way of public objects: the base class of extended dtypes
among the bases of the dtype of random keys, the class of arrays with an extended dtype
among the subclasses of `jax.Array`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.core import ShapedArray

from ..types import Array, Dtype, Shape

__all__ = [
    "Fp8MetaTyRules",
    "as_float",
    "fm32",
    "fp8_meta_dtype",
    "fp8_meta_dtype_wrapper",
    "fp32_max_grad",
    "in_dtype_of",
]

if TYPE_CHECKING:
    ExtendedDType = object
else:
    # Traced and not computed: nothing may start a device when it is imported.
    ExtendedDType = next(
        base
        for base in type(jax.eval_shape(jax.random.key, 0).dtype).__mro__
        if base.__name__ == "ExtendedDType"
    )


def _extended_array(aval: Any, data: Array) -> Array:
    """Returns `data` as an array of the extended dtype that `aval` has."""
    kinds = [kind for kind in jax.Array.__subclasses__() if kind.__name__ == "EArray"]
    make: Any = kinds[0]
    return make(aval, data)


class fp8_meta_dtype(jax.dtypes.extended):
    """What `jnp.issubdtype` knows the dtypes of this file by.

    >>> import jax.numpy as jnp
    >>> [jnp.issubdtype(dtype, fp8_meta_dtype) for dtype in (fm32, jnp.float32)]
    [True, False]
    """


class Fp8MetaTyRules:
    """What JAX asks an extended dtype about its values.

    >>> Fp8MetaTyRules.add(fm32, *(jnp.full(1, x).astype(fm32) for x in (2.0, 3.0)))
    EArray([3.], dtype=float32)
    """

    @staticmethod
    def physical_element_aval(dtype: Any) -> ShapedArray:
        """Returns what one element is stored as: a number of the float dtype."""
        return ShapedArray((), dtype.float_dtype)

    @staticmethod
    def convert_from(fp8_meta_dtype: Any, other_dtype: Any) -> bool:
        """Returns whether a value can become one of `other_dtype`."""
        return fp8_meta_dtype.float_dtype == other_dtype

    @staticmethod
    def convert_to(other_dtype: Any, fp8_meta_dtype: Any) -> bool:
        """Returns whether a value of `other_dtype` can become one of this dtype."""
        return fp8_meta_dtype.float_dtype == other_dtype

    @staticmethod
    def add(dt: Any, x: Array, y: Array) -> Array:
        """Returns the larger of the two, element by element."""
        numbers = [lax.convert_element_type(value, dt.float_dtype) for value in (x, y)]
        return lax.convert_element_type(lax.max(*numbers), dt)

    @staticmethod
    def zero(dt: Any) -> Array:
        """Returns what no gradient is: a scalar 0."""
        return lax.convert_element_type(np.zeros((), dt.float_dtype), dt)

    @staticmethod
    def tangent_dtype(dtype: Any) -> Any:
        """Returns the dtype of gradients: `dtype` itself."""
        return dtype

    @staticmethod
    def full(shape: Shape, fill_value: Any, dtype: Any) -> Array:
        """Returns an array of one value."""
        numbers = lax.full(shape, fill_value, dtype.float_dtype)
        return lax.convert_element_type(numbers, dtype)

    @staticmethod
    def global_sharded_result_handler(
        aval: Any, out_sharding: Any, committed: bool
    ) -> Callable[[Sequence[Array]], Array]:
        """Returns what makes an array of the buffers that a compiled program left."""

        def handler(buffers: Sequence[Array]) -> Array:
            if not committed and len(buffers) == 1:
                return _extended_array(aval, buffers[0])
            data = jax.make_array_from_single_device_arrays(
                aval.shape, out_sharding, list(buffers)
            )
            return _extended_array(aval, data)

        return handler


@dataclasses.dataclass(frozen=True)
class fp8_meta_dtype_wrapper(ExtendedDType):
    """A dtype of numbers whose gradients are joined by their maximum.

    Attributes:
      float_dtype: the dtype of the numbers.

    >>> import jax
    >>> from batiste.linen.fp8_ops import in_qdq
    >>> def loss(scale, dtype):
    ...     x, scale = jnp.ones(1), scale.astype(dtype)
    ...     histories = jnp.array([[896.0], [1344.0]])
    ...     q_dtype = jnp.float8_e4m3fn
    ...     used = (in_qdq(x.dtype, q_dtype, x, scale, each) for each in histories)
    ...     return sum(used).sum()
    >>> meta = fp8_meta_dtype_wrapper(jnp.float32)
    >>> grad = jax.jit(jax.grad(loss), static_argnums=1)
    >>> [float(grad(jnp.ones(1), dtype)[0]) for dtype in (meta, jnp.float32)]
    [3.0, 5.0]
    """

    float_dtype: Dtype
    _rules: Any = Fp8MetaTyRules
    type: Any = fp8_meta_dtype

    def __post_init__(self) -> None:
        # The class and the instance of a NumPy dtype are equal, with unequal hashes.
        object.__setattr__(self, "float_dtype", jnp.dtype(self.float_dtype))

    @property
    def name(self) -> str:
        """What the dtype is called: `'fp8_meta32'` for float32."""
        return f"fp8_meta{jnp.dtype(self.float_dtype).itemsize * 8}"

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__


fm32 = fp8_meta_dtype_wrapper(jnp.float32)
fp32_max_grad = fm32


def as_float(value: Array) -> Array:
    """Returns `value` with its numbers in the dtype that they are stored in.

    >>> as_float(jnp.ones(1).astype(fm32)).dtype, as_float(jnp.ones(1)).dtype
    (dtype('float32'), dtype('float32'))
    """
    dtype: Any = value.dtype
    if isinstance(dtype, fp8_meta_dtype_wrapper):
        return lax.convert_element_type(value, dtype.float_dtype)
    return value


def in_dtype_of(value: Array, like: Array) -> Array:
    """Returns `value` in the dtype of `like`, if that is one of this file.

    >>> in_dtype_of(jnp.ones(1), jnp.zeros(1).astype(fm32)).dtype
    fp8_meta32
    """
    dtype: Any = like.dtype
    if not isinstance(dtype, fp8_meta_dtype_wrapper):
        return value
    extended: Any = dtype
    return lax.convert_element_type(value, extended)
