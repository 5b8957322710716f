"""A linear layer written as an einsum of its input and its kernel."""

from __future__ import annotations

import numpy as np
from jax import numpy as jnp

from batiste.core.errors import InvalidArgumentError

from .. import initializers, ops
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..module.methods import compact
from ..module.module import Module
from ..module.text import located
from ..module.variables import merge_param
from ..types import (
    Array,
    ArrayLike,
    Dtype,
    Initializer,
    PrecisionLike,
    PromoteDtypeFn,
    Shape,
)

__all__ = ["Einsum"]


class Einsum(Module):
    """The einsum of the input with a kernel, plus a bias.

    Parameters: `kernel` of shape `shape`, and, with `use_bias`, `bias`, which has the
    axes of the kernel that are left in the output, in the order of the output.

    Attributes:
      shape: the shape of the kernel.
      einsum_str: the equation, `"input,kernel->output"`, as in `jax.numpy.einsum`;
        it may contain an ellipsis, and may be given at call time instead.
      use_bias: whether to add a bias.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which the parameters are initialized.
      precision: as in `jax.lax.dot_general`.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
      promote_dtype: brings `(inputs, kernel, bias)` to one dtype.
      preferred_element_type: the dtype to accumulate in and return.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = Einsum((2, 4, 5), "nta,hab->nthb")
    >>> variables = layer.init(jax.random.key(0), jnp.ones((3, 7, 4)))
    >>> jax.tree.map(jnp.shape, dict(variables["params"]))
    {'bias': (2, 5), 'kernel': (2, 4, 5)}
    >>> layer.apply(variables, jnp.ones((3, 7, 4))).shape
    (3, 7, 2, 5)
    """

    shape: Shape
    einsum_str: str | None = None
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    promote_dtype: PromoteDtypeFn = promote_dtype
    preferred_element_type: Dtype | None = None

    @compact
    def __call__(self, inputs: ArrayLike, einsum_str: str | None = None) -> Array:
        """Applies the equation to `inputs`.

        Args:
          inputs: the first operand, with the axes that the equation gives it.
          einsum_str: the equation, if the field of this name is None.

        Returns:
          An array with the axes of the equation's output.

        Raises:
          ValueError: the equation is missing or given twice, has no "->", or is not
            one of two operands that fit their shapes.
        """
        equation = _checked_equation(
            self, merge_param("einsum_str", self.einsum_str, einsum_str)
        )
        shape = tuple(self.shape)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias, laid_out = None, ()
        if self.use_bias:
            bias_shape, laid_out = _bias_shapes(self, equation, np.ndim(inputs), shape)
            bias = self.param("bias", self.bias_init, bias_shape, self.param_dtype)
        x, kernel, bias = self.promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        y = jnp.einsum(
            equation,
            x,
            kernel,
            precision=self.precision,
            preferred_element_type=self.preferred_element_type,
        )
        return y if bias is None else ops.add(y, bias, laid_out)


def _checked_equation(layer: Einsum, equation: str) -> str:
    """Returns the equation without spaces: two operands, an arrow and an output."""
    equation = equation.replace(" ", "")
    if "->" not in equation:
        raise InvalidArgumentError(
            f"{located(layer)}: einsum_str={equation!r} does not say what axes the "
            'output has; write them after a "->", as in "ab,bc->ac"'
        )
    if equation.count(",") != 1:
        raise InvalidArgumentError(
            f"{located(layer)}: einsum_str={equation!r} is one of "
            f"{equation.count(',') + 1} operands, but the layer has two, its input and "
            'its kernel; write "input,kernel->output"'
        )
    return equation


def _bias_shapes(
    layer: Einsum, equation: str, in_rank: int, kernel_shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shape of the bias, and that shape with ones among it as in `y`."""
    operands, output = equation.split("->")
    lhs, rhs = operands.split(",")
    kernel_axes = _spell_out(rhs, len(kernel_shape))
    if len(kernel_axes) != len(kernel_shape):
        raise InvalidArgumentError(
            f"{located(layer)}: the kernel has {len(kernel_shape)} axes by its shape "
            f"{kernel_shape}, but {len(kernel_axes)} by einsum_str={equation!r}"
        )
    # The axes under the ellipsis of the output are as many as the longer of the
    # operands has there; they are aligned at their ends.
    hidden = max(
        len(_spell_out(lhs, in_rank)) - _letters(lhs), len(kernel_axes) - _letters(rhs)
    )
    sizes = dict(zip(kernel_axes, kernel_shape, strict=True))
    output_axes = _spell_out(output, _letters(output) + hidden)
    bias_shape = tuple(sizes[axis] for axis in output_axes if axis in sizes)
    laid_out = tuple(sizes.get(axis, 1) for axis in output_axes)
    return bias_shape, laid_out


def _letters(subscripts: str) -> int:
    return len(subscripts.replace("...", ""))


def _spell_out(subscripts: str, rank: int) -> list[str]:
    """Returns the labels of all axes; those of an ellipsis count from their end."""
    before, dots, after = subscripts.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]
