"""Activation functions: those of `jax.nn`, and the parametric `PReLU`.

>>> import jax.numpy as jnp
>>> relu(jnp.array([-1.0, 2.0])).tolist()
[0.0, 2.0]
"""

from __future__ import annotations

from jax import numpy as jnp
from jax.nn import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    logsumexp,
    one_hot,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    standardize,
    swish,
)
from jax.numpy import tanh

from batiste.core.softmax import log_softmax, softmax

from . import ops
from .module.methods import compact
from .module.module import Module
from .types import Array, ArrayLike, Dtype, Key

__all__ = [
    "PReLU",
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "normalize",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "standardize",
    "swish",
    "tanh",
]


normalize = standardize


class PReLU(Module):
    """ReLU whose slope for negative inputs is a learned parameter.

    Computes `x` where `x >= 0` and `negative_slope * x` elsewhere (He et al. 2015,
    arXiv:1502.01852). The parameter is the scalar `negative_slope`; the result has
    the shape and the dtype of the input.

    Attributes:
      param_dtype: the dtype of the parameter.
      negative_slope_init: its initial value.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> prelu = PReLU()
    >>> x = jnp.array([-1.0, 2.0])
    >>> variables = prelu.init(jax.random.key(0), x)
    >>> prelu.apply(variables, x)
    Array([-0.01,  2.  ], dtype=float32)
    """

    param_dtype: Dtype = jnp.float32
    negative_slope_init: float = 0.01

    @compact
    def __call__(self, inputs: ArrayLike) -> Array:
        """Applies the activation.

        Args:
          inputs: an array of any shape.

        Returns:
          An array of the shape and the dtype of `inputs`.
        """
        x = ops.as_array(inputs)
        slope = self.param(
            "negative_slope", _full, self.negative_slope_init, self.param_dtype
        )
        if slope.dtype != x.dtype:
            slope = ops.convert_element_type(slope, x.dtype)
        return ops.select_nonnegative(x, ops.mul(slope, x))


def _full(key: Key, value: float, dtype: Dtype) -> Array:
    del key
    return jnp.full((), value, dtype)
