"""Modules that take the place of `lax.dot_general` and `jnp.einsum` in layers."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

from jax import numpy as jnp

from batiste.core import Variable

from ..module.module import Module
from ..module.text import located
from ..types import Array, ArrayLike, Dtype, PrecisionLike
from .products import dot_general_with_precision, fp8_scaled_dot_general
from .rounding import in_qdq, out_qdq

__all__ = [
    "OVERWRITE_WITH_GRADIENT",
    "Fp8DirectDotGeneralOp",
    "Fp8DotGeneral",
    "Fp8DotGeneralBase",
    "Fp8DotGeneralOp",
    "Fp8Einsum",
    "NANOOFp8DotGeneralOp",
]

# The collection whose "gradient" is its next value.
OVERWRITE_WITH_GRADIENT = "_overwrite_with_gradient"


class Fp8DotGeneralBase(Module):
    """The statistics of a product in 8-bit numbers.

    Variables, in the collection `'_overwrite_with_gradient'`: of `input`, `kernel` and
    `output_grad`, each a `..._scale` of shape (1,) and an `..._amax_history` of shape
    (amax_history_length,), float32. Their gradients are their values for the next step,
    which `batiste.training.train_state.TrainState` puts in their place.

    Attributes:
      amax_history_length: over how many steps the largest magnitude is looked for.
      e4m3_dtype: the 8-bit dtype of the factors.
      e5m2_dtype: the 8-bit dtype of the gradient.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> class Scales(Fp8DotGeneralBase):
    ...     def __call__(self):
    ...         return self.input_scale.value
    >>> Scales().init_with_output(jax.random.key(0))[0].tolist()
    [1.0]
    """

    amax_history_length: int = 1024
    e4m3_dtype: Dtype = jnp.float8_e4m3fn
    e5m2_dtype: Dtype = jnp.float8_e5m2

    def setup(self) -> None:
        """Declares the statistics."""
        history, scale = (self.amax_history_length,), (1,)
        self.input_amax_history = _statistic(self, "input_amax_history", 0, history)
        self.kernel_amax_history = _statistic(self, "kernel_amax_history", 0, history)
        self.output_grad_amax_history = _statistic(
            self, "output_grad_amax_history", 0, history
        )
        self.input_scale = _statistic(self, "input_scale", 1, scale)
        self.kernel_scale = _statistic(self, "kernel_scale", 1, scale)
        self.output_grad_scale = _statistic(self, "output_grad_scale", 1, scale)


def _statistic(
    module: Module, name: str, value: float, shape: tuple[int, ...]
) -> Variable:
    """Declares one statistic, which is `value` throughout at first."""
    return module.variable(
        OVERWRITE_WITH_GRADIENT, name, jnp.full, shape, value, jnp.float32
    )


def _factors(module: Module, args: tuple[Any, ...]) -> tuple[Array, Array, Any]:
    """Returns what a product was called with, both factors in the dtype of the right.

    A layer brings its input and its kernel to one dtype before.
    """
    if len(args) != 3:
        raise TypeError(
            f"{located(module)}: called with {len(args)} positional arguments; a "
            "product is called with three, `lhs, rhs, dimension_numbers`, and whatever "
            "follows by keyword, as Dense and DenseGeneral call it"
        )
    lhs, rhs, dimension_numbers = args
    rhs = jnp.asarray(rhs)
    return jnp.asarray(lhs, rhs.dtype), rhs, dimension_numbers


class Fp8DotGeneralOp(Fp8DotGeneralBase):
    """A product whose factors are rounded to what 8-bit numbers can hold.

    The product is one of numbers in the dtype of the right factor, which a compiler may
    recognise as one of 8-bit numbers. `Fp8DirectDotGeneralOp`, which multiplies 8-bit
    numbers, has superseded it: to make one of this very class warns of that.

    Attributes:
      amax_history_length: over how many steps the largest magnitude is looked for.
      e4m3_dtype: the 8-bit dtype of the factors.
      e5m2_dtype: the 8-bit dtype of the gradient.

    >>> import warnings
    >>> import batiste.linen as nn
    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = nn.Dense(4, dot_general_cls=nn.Fp8DotGeneralOp)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", DeprecationWarning)
    ...     y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 3)))
    >>> y.shape, sorted(variables)
    ((2, 4), ['_overwrite_with_gradient', 'params'])
    """

    def __post_init__(self) -> None:
        """Warns that there is a better module."""
        super().__post_init__()
        if type(self) is Fp8DotGeneralOp:
            warnings.warn(
                "Fp8DotGeneralOp is deprecated, since it only imitates a product of "
                "8-bit numbers; use Fp8DirectDotGeneralOp, or Fp8Einsum",
                DeprecationWarning,
                stacklevel=2,
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Multiplies as `jax.lax.dot_general(lhs, rhs, dimension_numbers)` does.

        Args:
          *args: `lhs`, `rhs` and `dimension_numbers`.
          **kwargs: other arguments of `jax.lax.dot_general`, which are not used.

        Returns:
          The product, in the dtype of `rhs`.

        Raises:
          TypeError: there are not three positional arguments.
        """
        lhs, rhs, dimension_numbers = _factors(self, args)
        dtype = rhs.dtype
        lhs = in_qdq(
            dtype,
            self.e4m3_dtype,
            lhs,
            self.input_scale.value,
            self.input_amax_history.value,
        )
        rhs = in_qdq(
            dtype,
            self.e4m3_dtype,
            rhs,
            self.kernel_scale.value,
            self.kernel_amax_history.value,
        )
        product = dot_general_with_precision(lhs, rhs, dimension_numbers)
        return out_qdq(
            dtype,
            self.e5m2_dtype,
            product,
            self.output_grad_scale.value,
            self.output_grad_amax_history.value,
        )


class NANOOFp8DotGeneralOp(Fp8DotGeneralOp):
    """An `Fp8DotGeneralOp` in the 8-bit dtypes that some accelerators have instead.

    Those have no infinity and no negative zero.

    Attributes:
      amax_history_length: over how many steps the largest magnitude is looked for.
      e4m3_dtype: the 8-bit dtype of the factors.
      e5m2_dtype: the 8-bit dtype of the gradient.

    >>> import batiste.linen as nn
    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = nn.Dense(4, dot_general_cls=nn.NANOOFp8DotGeneralOp)
    >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 3)))[0].shape
    (2, 4)
    """

    e4m3_dtype: Dtype = jnp.float8_e4m3fnuz
    e5m2_dtype: Dtype = jnp.float8_e5m2fnuz


class Fp8DirectDotGeneralOp(Fp8DotGeneralBase):
    """A product of 8-bit numbers, to be the `dot_general_cls` of a layer.

    The factors are rounded to `float8_e4m3fn`, the gradient to `float8_e5m2`. The
    module is also called `Fp8DotGeneral`.

    Attributes:
      amax_history_length: over how many steps the largest magnitude is looked for.
      e4m3_dtype: is not used.
      e5m2_dtype: is not used.

    >>> import batiste.linen as nn
    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = nn.Dense(4, dot_general_cls=nn.Fp8DotGeneral)
    >>> x = jnp.ones((2, 3))
    >>> variables = layer.init(jax.random.key(0), x)
    >>> grads = jax.grad(lambda variables: layer.apply(variables, x).sum())(variables)
    >>> statistics = grads["_overwrite_with_gradient"]["Fp8DirectDotGeneralOp_0"]
    >>> statistics["input_amax_history"][:3].tolist()
    [1.0, 0.0, 0.0]
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Multiplies as `jax.lax.dot_general(lhs, rhs, dimension_numbers)` does.

        Args:
          *args: `lhs`, `rhs` and `dimension_numbers`.
          **kwargs: other arguments of `jax.lax.dot_general`, which are not used.

        Returns:
          The product, in the dtype of `rhs`.

        Raises:
          TypeError: there are not three positional arguments.
        """
        lhs, rhs, dimension_numbers = _factors(self, args)
        return fp8_scaled_dot_general(
            lhs,
            rhs,
            dimension_numbers,
            preferred_element_type=rhs.dtype,
            quantize_compute_type=rhs.dtype,
            **_statistics(self),
        )


Fp8DotGeneral = Fp8DirectDotGeneralOp


class Fp8Einsum(Fp8DotGeneralBase):
    """An einsum of two arrays in 8-bit numbers, which are as in `Fp8DotGeneral`.

    Attributes:
      amax_history_length: over how many steps the largest magnitude is looked for.
      e4m3_dtype: is not used.
      e5m2_dtype: is not used.

    >>> import batiste.linen as nn
    >>> import jax
    >>> import jax.numpy as jnp
    >>> x, y = jnp.ones((2, 3)), jnp.ones((3, 4))
    >>> nn.Fp8Einsum().init_with_output(jax.random.key(0), "ab,bc->ac", x, y)[0].shape
    (2, 4)
    """

    def __call__(
        self,
        eqn: str,
        lhs: ArrayLike,
        rhs: ArrayLike,
        precision: PrecisionLike = None,
        preferred_element_type: Dtype | None = None,
    ) -> Array:
        """Applies an equation to two arrays.

        Args:
          eqn: the equation, as in `jax.numpy.einsum`.
          lhs: the first operand.
          rhs: the second.
          precision: is not used; anything but None is warned about.
          preferred_element_type: the dtype of the result, by default that of `rhs`.

        Returns:
          An array with the axes of the equation's output.
        """
        rhs = jnp.asarray(rhs)
        lhs = jnp.asarray(lhs, rhs.dtype)
        return jnp.einsum(
            eqn,
            lhs,
            rhs,
            precision=precision,
            preferred_element_type=preferred_element_type or rhs.dtype,
            _dot_general=partial(
                fp8_scaled_dot_general,
                quantize_compute_type=rhs.dtype,
                **_statistics(self),
            ),
        )


def _statistics(module: Fp8DotGeneralBase) -> dict[str, Any]:
    """Returns the statistics by the names of `fp8_scaled_dot_general`'s arguments."""
    return {
        "lhs_scale": module.input_scale.value,
        "rhs_scale": module.kernel_scale.value,
        "grad_scale": module.output_grad_scale.value,
        "lhs_amax_history": module.input_amax_history.value,
        "rhs_amax_history": module.kernel_amax_history.value,
        "grad_amax_history": module.output_grad_amax_history.value,
    }
