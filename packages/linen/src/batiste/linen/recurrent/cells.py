"""Recurrent cells of vectors: one step of an LSTM, GRU, MGU or simple RNN.

In the equations, products with W are layers of the names in their indices. Shapes are
(*batch, in_features) for the input x and (*batch, features) for all else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, cast

import jax.numpy as jnp
import numpy as np
from jax import lax

from batiste.core.types import Array, Dtype, Initializer

from .. import initializers, ops
from ..activation import sigmoid, tanh
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..linear.dense import Dense
from ..module.defaults import documented_order
from ..module.methods import compact
from ..module.module import Module
from ..types import PrecisionLike
from .cell import (
    CELL_ORDERS,
    InitializeCarry,
    RNNCellBase,
    check_carry,
    pair_of_arrays,
)

__all__ = [
    "DenseParams",
    "GRUCell",
    "LSTMCell",
    "MGUCell",
    "OptimizedLSTMCell",
    "SimpleCell",
]

# One object, so that what is memoised for it is memoised once.
default_recurrent_kernel_init = initializers.orthogonal()


def _check_features(
    cell: GRUCell | LSTMCell | MGUCell | OptimizedLSTMCell | SimpleCell,
    carry: Array | tuple[Array, Array],
    h: Array,
) -> int:
    """The number of features of h, which the rest of the carry must have, too."""
    features = (np.shape(h) or (None,))[-1]
    check_carry(cell, carry, features)
    return cast(int, features)


def _dense(
    cell: GRUCell | LSTMCell | MGUCell | SimpleCell,
    name: str,
    features: int,
    kernel_init: Initializer,
    bias_init: Initializer | None = None,
) -> Dense:
    """A layer with the dtypes of a cell, and a bias if there is an initializer."""
    return Dense(
        features,
        use_bias=bias_init is not None,
        kernel_init=kernel_init,
        bias_init=bias_init or initializers.zeros,
        dtype=cell.dtype,
        param_dtype=cell.param_dtype,
        name=name,
    )


class LSTMCell(RNNCellBase):
    r"""One step of a long short-term memory.

    With input x, hidden state h and memory c:

    .. math::
        i &= \sigma(W_{ii} x + W_{hi} h + b_{hi}) \\
        f &= \sigma(W_{if} x + W_{hf} h + b_{hf}) \\
        g &= \tanh(W_{ig} x + W_{hg} h + b_{hg}) \\
        o &= \sigma(W_{io} x + W_{ho} h + b_{ho}) \\
        c' &= f c + i g \\
        h' &= o \tanh(c')

    The carry is `(c, h)`. Submodules: `ii`, `if`, `ig`, `io` (kernels only) and `hi`,
    `hf`, `hg`, `ho`.

    Attributes:
      features: the number of features of the carry that `initialize_carry` makes; a
        carry of other features counts for more.
      gate_fn: the activation of the gates.
      activation_fn: the activation of the memory's update and of the output.
      kernel_init: initializer of the kernels for the input.
      recurrent_kernel_init: initializer of the kernels for the hidden state.
      bias_init: initializer of the biases.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which parameters and carry are initialized.
      carry_init: initializer of the carry.

    Hochreiter and Schmidhuber, 1997, "Long short-term memory".

    >>> import jax
    >>> cell = LSTMCell(features=4)
    >>> x = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> variables = cell.init(jax.random.key(1), carry, x)
    >>> (c, h), y = cell.apply(variables, carry, x)
    >>> c.shape, h.shape, y.shape
    ((2, 4), (2, 4), (2, 4))
    """

    features: int | None = None
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry(pair_of_arrays)
    _field_orders = CELL_ORDERS

    @compact
    def __call__(
        self, carry: tuple[Array, Array], inputs: Array
    ) -> tuple[tuple[Array, Array], Array]:
        """Does one step.

        Args:
          carry: `(c, h)`, two arrays of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, and the output, which is the new h.

        Raises:
          ValueError: the arrays of the carry differ in their features, or have none.
        """
        x = inputs
        c, h = carry
        features = _check_features(self, carry, h)

        def linear(gate: str) -> Array:
            """W_i x + W_h h + b_h of one gate."""
            w_i = _dense(self, f"i{gate}", features, self.kernel_init)
            w_h_init = self.recurrent_kernel_init
            w_h = _dense(self, f"h{gate}", features, w_h_init, self.bias_init)
            return w_i(x) + w_h(h)

        i = self.gate_fn(linear("i"))
        f = self.gate_fn(linear("f"))
        g = self.activation_fn(linear("g"))
        o = self.gate_fn(linear("o"))
        new_c = f * c + i * g
        new_h = o * self.activation_fn(new_c)
        return (new_c, new_h), new_h


class DenseParams(Module):
    """The parameters of a `Dense` layer, without its computation.

    Parameters: `kernel` of shape (in_features, features), and, with `use_bias`,
    `bias` of shape (features,).

    Attributes:
      features: the number of output features.
      use_bias: whether there is a bias.
      param_dtype: the dtype in which the parameters are initialized.
      precision: not used; there is no computation.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.

    >>> import jax
    >>> (kernel, bias), _ = DenseParams(4).init_with_output(
    ...     jax.random.key(0), jnp.ones((2, 3)))
    >>> kernel.shape, bias.shape
    ((3, 4), (4,))
    """

    features: int
    use_bias: bool = True
    param_dtype: Dtype = jnp.float32
    precision: PrecisionLike = None
    kernel_init: Initializer = default_kernel_init
    bias_init: Initializer = initializers.zeros_init()

    @compact
    def __call__(self, inputs: Array) -> tuple[Array, Array | None]:
        """The kernel for `inputs` of shape (..., in_features), and the bias or None."""
        kernel = self.param(
            "kernel",
            self.kernel_init,
            (np.shape(inputs)[-1], self.features),
            self.param_dtype,
        )
        if not self.use_bias:
            return kernel, None
        return kernel, self.param(
            "bias", self.bias_init, (self.features,), self.param_dtype
        )


class OptimizedLSTMCell(RNNCellBase):
    """One step of a long short-term memory, with two large matrix products.

    It computes what `LSTMCell` computes, with the same parameters, but multiplies the
    input, and the hidden state, with the kernels of all gates at once. That is faster
    for up to about 2,000 features.

    Attributes are those of `LSTMCell`.

    >>> import jax
    >>> cell = OptimizedLSTMCell(features=4)
    >>> x = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> variables = cell.init(jax.random.key(1), carry, x)
    >>> (c, h), y = cell.apply(variables, carry, x)
    >>> c.shape, h.shape, y.shape
    ((2, 4), (2, 4), (2, 4))
    """

    features: int | None = None
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry(pair_of_arrays)
    _field_orders = CELL_ORDERS

    @compact
    def __call__(
        self, carry: tuple[Array, Array], inputs: Array
    ) -> tuple[tuple[Array, Array], Array]:
        """Does one step.

        Args:
          carry: `(c, h)`, two arrays of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, and the output, which is the new h.

        Raises:
          ValueError: the arrays of the carry differ in their features, or have none.
        """
        x = inputs
        c, h = carry
        features = _check_features(self, carry, h)

        # w_i: (in_features, features), w_h: (features, features), b_h: (features,)
        w_i, w_h, b_h = [], [], []
        for gate in "ifgo":
            kernel, _ = DenseParams(
                features,
                use_bias=False,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                name=f"i{gate}",
            )(x)
            w_i.append(kernel)
            kernel, bias = DenseParams(
                features,
                param_dtype=self.param_dtype,
                kernel_init=self.recurrent_kernel_init,
                bias_init=self.bias_init,
                name=f"h{gate}",
            )(h)
            w_h.append(kernel)
            b_h.append(bias)

        h_i, h_f, h_g, h_o = _products(h, w_h, b_h, self.dtype)
        x_i, x_f, x_g, x_o = _products(x, w_i, None, self.dtype)
        i = self.gate_fn(h_i + x_i)
        f = self.gate_fn(h_f + x_f)
        g = self.activation_fn(h_g + x_g)
        o = self.gate_fn(h_o + x_o)
        new_c = f * c + i * g
        new_h = o * self.activation_fn(new_c)
        return (new_c, new_h), new_h


def _products(
    x: Array, kernels: list[Array], biases: list[Array] | None, dtype: Dtype | None
) -> list[Array]:
    """`x @ kernel + bias` for each kernel, computed as one product."""
    sizes = [np.shape(kernel)[-1] for kernel in kernels]
    kernel = lax.concatenate(kernels, 1)
    bias = None if biases is None else lax.concatenate(biases, 0)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    y = ops.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
    if bias is not None:
        y = ops.add(y, bias)
    return list(lax.split(y, sizes, axis=y.ndim - 1))


class SimpleCell(RNNCellBase):
    r"""One step of a simple recurrent network.

    .. math::
        h' = \tanh(W_i x + b_i + W_h h)

    With `residual`, h is added before the activation. The carry is h. Submodules: `i`
    and `h` (a kernel only).

    Attributes:
      features: the number of features of the carry that `initialize_carry` makes; a
        carry of other features counts for more.
      activation_fn: the activation of the output.
      kernel_init: initializer of the kernel for the input.
      recurrent_kernel_init: initializer of the kernel for the hidden state.
      bias_init: initializer of the bias.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which parameters and carry are initialized.
      carry_init: initializer of the carry.
      residual: whether to add the previous hidden state before the activation.

    Elman, 1990, "Finding structure in time".

    >>> import jax
    >>> cell = SimpleCell(features=4)
    >>> x = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> (h, y), _ = cell.init_with_output(jax.random.key(1), carry, x)
    >>> h.shape, y.shape
    ((2, 4), (2, 4))
    """

    features: int | None = None
    activation_fn: Callable[[Array], Array] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    residual: bool = False

    initialize_carry: ClassVar[Any] = InitializeCarry()
    _field_orders = CELL_ORDERS

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the arrays of the carry differ in their features, or have none.
        """
        x, h = inputs, carry
        features = _check_features(self, carry, h)
        w_i = _dense(self, "i", features, self.kernel_init, self.bias_init)
        w_h = _dense(self, "h", features, self.recurrent_kernel_init)
        y = w_i(x) + w_h(h)
        if self.residual:
            y = y + h
        new_h = self.activation_fn(y)
        return new_h, new_h


class GRUCell(RNNCellBase):
    r"""One step of a gated recurrent unit.

    .. math::
        r &= \sigma(W_{ir} x + b_{ir} + W_{hr} h) \\
        z &= \sigma(W_{iz} x + b_{iz} + W_{hz} h) \\
        n &= \tanh(W_{in} x + b_{in} + r (W_{hn} h + b_{hn})) \\
        h' &= (1 - z) n + z h

    The carry is h. Submodules: `ir`, `iz`, `in`, `hr` and `hz` (kernels only), `hn`.

    Attributes are those of `LSTMCell`.

    Cho et al., 2014, https://arxiv.org/abs/1406.1078.

    >>> import jax
    >>> cell = GRUCell(features=4)
    >>> x = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> (h, y), _ = cell.init_with_output(jax.random.key(1), carry, x)
    >>> h.shape, y.shape
    ((2, 4), (2, 4))
    """

    features: int | None = None
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry()
    _field_orders = CELL_ORDERS

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the arrays of the carry differ in their features, or have none.
        """
        x, h = inputs, carry
        features = _check_features(self, carry, h)

        def w_i(gate: str) -> Dense:
            name = f"i{gate}"
            return _dense(self, name, features, self.kernel_init, self.bias_init)

        def w_h(gate: str, bias_init: Initializer | None = None) -> Dense:
            name = f"h{gate}"
            return _dense(self, name, features, self.recurrent_kernel_init, bias_init)

        r = self.gate_fn(w_i("r")(x) + w_h("r")(h))
        z = self.gate_fn(w_i("z")(x) + w_h("z")(h))
        n = self.activation_fn(w_i("n")(x) + r * w_h("n", self.bias_init)(h))
        new_h = (1.0 - z) * n + z * h
        return new_h, new_h


class MGUCell(RNNCellBase):
    r"""One step of a minimal gated unit.

    .. math::
        f &= \sigma(W_{if} x + b_{if} + W_{hf} h) \\
        n &= \tanh(W_{in} x + b_{in} + f (W_{hn} h + b_{hn})) \\
        h' &= (1 - f) n + f h

    Without `reset_gate`, n is :math:`\tanh(W_{in} x + b_{in} + W_{hn} h)`. The carry
    is h. Submodules: `if`, `in`, `hf` (a kernel only) and `hn`.

    Attributes:
      features: the number of features of the carry that `initialize_carry` makes; a
        carry of other features counts for more.
      gate_fn: the activation of the gate.
      activation_fn: the activation of the update.
      kernel_init: initializer of the kernels for the input.
      recurrent_kernel_init: initializer of the kernels for the hidden state.
      forget_bias_init: initializer of the gate's bias; ones, to forget little at first.
      activation_bias_init: initializer of the other biases.
      dtype: the dtype of the computation; inferred from input and parameters if None.
      param_dtype: the dtype in which parameters and carry are initialized.
      carry_init: initializer of the carry.
      reset_gate: whether the gate also weighs the hidden state in the update.

    Zhou et al., 2016, https://arxiv.org/abs/1603.09420.

    >>> import jax
    >>> cell = MGUCell(features=4)
    >>> x = jnp.ones((2, 3))
    >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
    >>> (h, y), _ = cell.init_with_output(jax.random.key(1), carry, x)
    >>> h.shape, y.shape
    ((2, 4), (2, 4))
    """

    features: int | None = None
    gate_fn: Callable[[Array], Array] = sigmoid
    activation_fn: Callable[[Array], Array] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    forget_bias_init: Initializer = initializers.ones_init()
    activation_bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    reset_gate: bool = True

    initialize_carry: ClassVar[Any] = InitializeCarry()
    _field_orders = dataclasses.replace(
        CELL_ORDERS,
        other=(
            *("gate_fn", "activation_fn", "kernel_init", "recurrent_kernel_init"),
            *("forget_bias_init", "activation_bias_init", "dtype", "param_dtype"),
        ),
    )

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the arrays of the carry differ in their features, or have none.
        """
        x, h = inputs, carry
        features = _check_features(self, carry, h)

        def w_i(gate: str, bias_init: Initializer) -> Dense:
            return _dense(self, f"i{gate}", features, self.kernel_init, bias_init)

        def w_h(gate: str, bias_init: Initializer | None = None) -> Dense:
            name = f"h{gate}"
            return _dense(self, name, features, self.recurrent_kernel_init, bias_init)

        f = self.gate_fn(w_i("f", self.forget_bias_init)(x) + w_h("f")(h))
        if self.reset_gate:
            hidden = w_h("n", self.activation_bias_init)(h) * f
        else:
            hidden = w_h("n")(h)
        n = self.activation_fn(w_i("n", self.activation_bias_init)(x) + hidden)
        new_h = (1.0 - f) * n + f * h
        return new_h, new_h


for _cell in (LSTMCell, OptimizedLSTMCell, SimpleCell, GRUCell, MGUCell):
    documented_order(_cell)
