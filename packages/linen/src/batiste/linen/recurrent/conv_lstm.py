"""The recurrent cell of images: one step of a convolutional LSTM."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core.errors import InvalidArgumentError
from batiste.core.types import Array, Dtype, Initializer

from .. import initializers
from ..activation import sigmoid, tanh
from ..linear.conv import Conv
from ..module.methods import compact
from ..module.text import located
from .cell import InitializeCarry, RNNCellBase, check_carry, pair_of_arrays

__all__ = ["ConvLSTMCell"]


class ConvLSTMCell(RNNCellBase):
    r"""One step of a convolutional long short-term memory.

    As `LSTMCell`, with convolutions (`*`) in place of matrix products:

    .. math::
        i &= \sigma(W_{ii} * x + W_{hi} * h + b_i) \\
        f &= \sigma(W_{if} * x + W_{hf} * h + b_f + 1) \\
        g &= \tanh(W_{ig} * x + W_{hg} * h + b_g) \\
        o &= \sigma(W_{io} * x + W_{ho} * h + b_o) \\
        c' &= f c + i g \\
        h' &= o \tanh(c')

    The carry is `(c, h)`. Submodules: `ih` and `hh`, each a `Conv` with the channels
    of i, g, f and o, in this order.

    Attributes:
      features: the number of channels of the carry that `initialize_carry` makes; a
        carry of others counts for more.
      kernel_size: the size of the kernels along each spatial axis.
      strides: the strides of the convolutions.
      padding: the padding of the convolutions.
      use_bias: whether the convolutions have biases.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which parameters and carry are initialized.
      carry_init: initializer of the carry.

    Shi et al., 2015, https://arxiv.org/abs/1506.04214.

    >>> import jax
    >>> cell = ConvLSTMCell(features=4, kernel_size=(3, 3))
    >>> x = jnp.ones((2, 8, 8, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> ((c, h), y), _ = cell.init_with_output(jax.random.key(1), carry, x)
    >>> c.shape, h.shape, y.shape
    ((2, 8, 8, 4), (2, 8, 8, 4), (2, 8, 8, 4))
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sequence[int] | None = None
    padding: str | Sequence[tuple[int, int]] = "SAME"
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry(pair_of_arrays)

    @compact
    def __call__(
        self, carry: tuple[Array, Array], inputs: Array
    ) -> tuple[tuple[Array, Array], Array]:
        """Does one step.

        Args:
          carry: `(c, h)`, two arrays of shape (*batch, *spatial, features).
          inputs: array of shape (*batch, *spatial, in_features).

        Returns:
          The new carry, and the output, which is the new h.

        Raises:
          ValueError: the arrays of the carry differ in their features, or the
            convolutions change the sizes of the spatial axes.
        """
        x = inputs
        c, h = carry
        features = (np.shape(h) or (self.features,))[-1]
        check_carry(self, carry, features)

        def conv(name: str) -> Conv:
            return Conv(
                4 * features,
                kernel_size=self.kernel_size,
                strides=self.strides,
                padding=self.padding,
                use_bias=self.use_bias,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=name,
            )

        # (*batch, *spatial, 4 * features)
        from_x, from_h = conv("ih")(x), conv("hh")(h)
        if not from_x.shape[:-1] == from_h.shape[:-1] == np.shape(c)[:-1]:
            raise InvalidArgumentError(
                f"{located(self)}: the convolutions turn inputs of shape {np.shape(x)} "
                f"and a hidden state of shape {np.shape(h)} into gates of shapes "
                f"{from_x.shape} and {from_h.shape}, but gates must have the size of "
                "the carry; keep padding='SAME' and strides of 1"
            )
        gates = from_x + from_h
        sizes = [features] * 4
        i, g, f, o = lax.split(gates, sizes, axis=gates.ndim - 1)
        new_c = sigmoid(f + 1) * c + sigmoid(i) * tanh(g)
        new_h = sigmoid(o) * tanh(new_c)
        return (new_c, new_h), new_h

    @property
    def num_feature_axes(self) -> int:
        """The spatial axes and the channels."""
        return len(self.kernel_size) + 1
