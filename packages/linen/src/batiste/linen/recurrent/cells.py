"""Recurrent cells of vectors: one step of an LSTM, GRU, MGU or simple RNN."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax

from .. import initializers
from ..activation import sigmoid, tanh
from ..dtypes import promote_dtype
from ..initializers import default_kernel_init
from ..linear.bias import add_bias
from ..linear.dense import Dense
from ..module.methods import compact
from ..module.module import Module
from ..module.text import located
from ..types import Array, Dtype, Initializer, PrecisionLike
from .cell import InitializeCarry, RNNCellBase, check_carry, pair_of_arrays

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


def _dense(
    cell: Any,
    name: str,
    features: int,
    kernel_init: Initializer,
    bias_init: Initializer | None,
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
      features: the number of features of the carry; those of the carry that is passed
        if None.
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
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry()
    _make_carry = staticmethod(pair_of_arrays)

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
          ValueError: the carry has other features than the cell.
        """
        check_carry(self, carry, located(self))
        c, h = carry
        features = self.features or np.shape(h)[-1]

        def gate(name: str) -> Array:
            x = _dense(self, f"i{name}", features, self.kernel_init, None)(inputs)
            init = self.recurrent_kernel_init
            return x + _dense(self, f"h{name}", features, init, self.bias_init)(h)

        i = self.gate_fn(gate("i"))
        f = self.gate_fn(gate("f"))
        g = self.activation_fn(gate("g"))
        o = self.gate_fn(gate("o"))
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
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry()
    _make_carry = staticmethod(pair_of_arrays)

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
          ValueError: the carry has other features than the cell.
        """
        check_carry(self, carry, located(self))
        c, h = carry
        features = self.features or np.shape(h)[-1]
        input_kernels, hidden_kernels, biases = [], [], []
        for gate in "ifgo":
            kernel, _ = DenseParams(
                features,
                use_bias=False,
                param_dtype=self.param_dtype,
                kernel_init=self.kernel_init,
                name=f"i{gate}",
            )(inputs)
            input_kernels.append(kernel)
            kernel, bias = DenseParams(
                features,
                param_dtype=self.param_dtype,
                kernel_init=self.recurrent_kernel_init,
                bias_init=self.bias_init,
                name=f"h{gate}",
            )(h)
            hidden_kernels.append(kernel)
            biases.append(bias)

        hidden = _concatenated_dense(h, hidden_kernels, biases, self.dtype)
        x = _concatenated_dense(inputs, input_kernels, None, self.dtype)
        i = self.gate_fn(hidden[0] + x[0])
        f = self.gate_fn(hidden[1] + x[1])
        g = self.activation_fn(hidden[2] + x[2])
        o = self.gate_fn(hidden[3] + x[3])
        new_c = f * c + i * g
        new_h = o * self.activation_fn(new_c)
        return (new_c, new_h), new_h


def _concatenated_dense(
    x: Array, kernels: list[Array], biases: list[Array] | None, dtype: Dtype | None
) -> list[Array]:
    sizes = tuple(np.shape(kernel)[-1] for kernel in kernels)
    kernel = lax.concatenate(kernels, 1)
    bias = None if biases is None else lax.concatenate(biases, 0)
    x, kernel, bias = promote_dtype(x, kernel, bias, dtype=dtype)
    y = lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))
    if bias is not None:
        y = add_bias(y, bias)
    return list(lax.split(y, sizes, axis=y.ndim - 1))


class SimpleCell(RNNCellBase):
    r"""One step of a simple recurrent network.

    .. math::
        h' = \tanh(W_i x + b_i + W_h h)

    With `residual`, h is added before the activation. The carry is h. Submodules: `i`
    and `h` (a kernel only).

    Attributes:
      features: the number of features of the carry; those of the carry that is passed
        if None.
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
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    residual: bool = False

    initialize_carry: ClassVar[Any] = InitializeCarry()

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the carry has other features than the cell.
        """
        check_carry(self, carry, located(self))
        features = self.features or np.shape(carry)[-1]
        x = _dense(self, "i", features, self.kernel_init, self.bias_init)(inputs)
        h = x + _dense(self, "h", features, self.recurrent_kernel_init, None)(carry)
        if self.residual:
            h = h + carry
        h = self.activation_fn(h)
        return h, h


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
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()

    initialize_carry: ClassVar[Any] = InitializeCarry()

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the carry has other features than the cell.
        """
        check_carry(self, carry, located(self))
        h = carry
        features = self.features or np.shape(h)[-1]

        def from_input(name: str) -> Array:
            return _dense(self, name, features, self.kernel_init, self.bias_init)(
                inputs
            )

        def from_hidden(name: str, bias_init: Initializer | None = None) -> Array:
            init = self.recurrent_kernel_init
            return _dense(self, name, features, init, bias_init)(h)

        r = self.gate_fn(from_input("ir") + from_hidden("hr"))
        z = self.gate_fn(from_input("iz") + from_hidden("hz"))
        n = self.activation_fn(from_input("in") + r * from_hidden("hn", self.bias_init))
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
      features: the number of features of the carry; those of the carry that is passed
        if None.
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
    gate_fn: Callable[..., Any] = sigmoid
    activation_fn: Callable[..., Any] = tanh
    kernel_init: Initializer = default_kernel_init
    recurrent_kernel_init: Initializer = default_recurrent_kernel_init
    forget_bias_init: Initializer = initializers.ones_init()
    activation_bias_init: Initializer = initializers.zeros_init()
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32
    carry_init: Initializer = initializers.zeros_init()
    reset_gate: bool = True

    initialize_carry: ClassVar[Any] = InitializeCarry()

    @compact
    def __call__(self, carry: Array, inputs: Array) -> tuple[Array, Array]:
        """Does one step.

        Args:
          carry: array of shape (*batch, features).
          inputs: array of shape (*batch, in_features).

        Returns:
          The new carry, twice: the second is the output.

        Raises:
          ValueError: the carry has other features than the cell.
        """
        check_carry(self, carry, located(self))
        h = carry
        features = self.features or np.shape(h)[-1]

        def dense(name: str, kernel_init: Initializer, bias_init: Any) -> Dense:
            return _dense(self, name, features, kernel_init, bias_init)

        recurrent_init, bias_init = (
            self.recurrent_kernel_init,
            self.activation_bias_init,
        )
        f = self.gate_fn(
            dense("if", self.kernel_init, self.forget_bias_init)(inputs)
            + dense("hf", recurrent_init, None)(h)
        )
        hidden = dense("hn", recurrent_init, bias_init if self.reset_gate else None)(h)
        if self.reset_gate:
            hidden = hidden * f
        n = self.activation_fn(
            dense("in", self.kernel_init, bias_init)(inputs) + hidden
        )
        new_h = (1.0 - f) * n + f * h
        return new_h, new_h
