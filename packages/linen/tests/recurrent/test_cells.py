"""Tests of batiste.linen.recurrent.cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.linen.recurrent import (
    DenseParams,
    GRUCell,
    LSTMCell,
    MGUCell,
    OptimizedLSTMCell,
    SimpleCell,
)

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, H, C = normal(1, 2, 3), normal(2, 2, 4), normal(3, 2, 4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def run(cell, carry):
    """The cell's parameters, with biases that are not 0, and its new carry."""
    # The default recurrent initializer takes long to compile.
    cell = cell.clone(recurrent_kernel_init=jax.nn.initializers.normal(0.5))
    ones = jax.nn.initializers.constant(0.3)
    if isinstance(cell, MGUCell):
        cell = cell.clone(forget_bias_init=ones, activation_bias_init=ones)
    else:
        cell = cell.clone(bias_init=ones)
    (carry, y), variables = jax.jit(cell.init_with_output)(KEY, carry, X)
    hidden = carry[1] if isinstance(carry, tuple) else carry
    np.testing.assert_array_equal(y, hidden)
    params = jax.tree.map(np.asarray, dict(variables["params"]))

    def dense(name):
        x = X if name.startswith("i") else H
        return x @ params[name]["kernel"] + params[name].get("bias", 0.0)

    return params, dense, carry


@pytest.mark.parametrize("cell", [LSTMCell, OptimizedLSTMCell])
@pytest.mark.parametrize("features", [4, None])
def test_lstm(cell, features):
    params, dense, carry = run(cell(features), (C, H))
    assert set(params) == {a + b for a in "ih" for b in "ifgo"}
    assert set(params["ii"]) == {"kernel"}
    assert set(params["hi"]) == {"kernel", "bias"}
    i, f, o = (sigmoid(dense("i" + g) + dense("h" + g)) for g in "ifo")
    g = np.tanh(dense("ig") + dense("hg"))
    c = f * C + i * g
    np.testing.assert_allclose(carry[0], c, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(carry[1], o * np.tanh(c), rtol=1e-4, atol=1e-5)


def test_the_two_lstms_have_the_same_parameters():
    init = jax.nn.initializers.normal(0.5)
    a = LSTMCell(4, recurrent_kernel_init=init).init(KEY, (C, H), X)
    b = OptimizedLSTMCell(4, recurrent_kernel_init=init).init(KEY, (C, H), X)
    jax.tree.map(np.testing.assert_array_equal, dict(a), dict(b))


@pytest.mark.parametrize("features", [4, None])
def test_gru(features):
    params, dense, h = run(GRUCell(features), H)
    assert {name for name in params if "bias" in params[name]} == {
        "ir",
        "iz",
        "in",
        "hn",
    }
    r, z = (sigmoid(dense("i" + g) + dense("h" + g)) for g in "rz")
    n = np.tanh(dense("in") + r * dense("hn"))
    np.testing.assert_allclose(h, (1 - z) * n + z * H, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_simple_cell(residual):
    params, dense, h = run(SimpleCell(4, residual=residual), H)
    assert set(params["h"]) == {"kernel"}
    expected = np.tanh(dense("i") + dense("h") + residual * H)
    np.testing.assert_allclose(h, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("reset_gate", [False, True])
def test_mgu(reset_gate):
    params, dense, h = run(MGUCell(4, reset_gate=reset_gate), H)
    assert ("bias" in params["hn"]) == reset_gate
    f = sigmoid(dense("if") + dense("hf"))
    n = np.tanh(dense("in") + (f if reset_gate else 1) * dense("hn"))
    np.testing.assert_allclose(h, (1 - f) * n + f * H, rtol=1e-4, atol=1e-5)


def test_mgu_forgets_little_at_first():
    cell = MGUCell(4, recurrent_kernel_init=jax.nn.initializers.normal())
    params = cell.init(KEY, H, X)["params"]
    assert (params["if"]["bias"] == 1).all()
    assert (params["in"]["bias"] == 0).all()


@pytest.mark.parametrize("cell", [LSTMCell, OptimizedLSTMCell, GRUCell, SimpleCell])
@pytest.mark.parametrize("batch", [(), (0,), (2, 3)])
def test_any_batch_axes(cell, batch):
    x = jnp.ones((*batch, 3))
    layer = cell(4)
    carry = layer.initialize_carry(KEY, x.shape)
    new_carry, y = jax.eval_shape(layer.init_with_output, KEY, carry, x)[0]
    assert y.shape == (*batch, 4)
    assert jax.tree.map(jnp.shape, new_carry) == jax.tree.map(jnp.shape, carry)


def test_activations_and_dtypes():
    init = jax.nn.initializers.normal()
    cell = LSTMCell(4, jnp.ones_like, lambda x: x, recurrent_kernel_init=init)
    ((c, h), _), _ = cell.init_with_output(KEY, (C, jnp.zeros_like(H)), X)
    np.testing.assert_array_equal(c, h)
    half = SimpleCell(4, dtype=jnp.bfloat16)
    (h, _), variables = jax.eval_shape(half.init_with_output, KEY, H, X)
    assert h.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


def test_dense_params_without_a_bias():
    (kernel, bias), variables = DenseParams(4, use_bias=False).init_with_output(KEY, X)
    assert kernel.shape == (3, 4)
    assert bias is None
    assert set(variables["params"]) == {"kernel"}


@pytest.mark.parametrize("features", [None, 5, 7, 15])
@pytest.mark.parametrize(
    "name", ["LSTMCell", "OptimizedLSTMCell", "SimpleCell", "GRUCell", "MGUCell"]
)
def test_a_cell_takes_the_width_of_the_carry(name, features):
    cell = getattr(nn, name)(features)
    h = jnp.full((2, 16), 0.3)
    carry = (h, h) if "LSTM" in name else h
    x = jnp.ones((2, 3))
    (new_carry, y), variables = cell.init_with_output(jax.random.key(0), carry, x)
    assert y.shape == (2, 16)
    assert jax.tree.map(jnp.shape, new_carry) == jax.tree.map(jnp.shape, carry)
    same = getattr(nn, name)(16)
    expected = same.init_with_output(jax.random.key(0), carry, x)
    found = ((new_carry, y), variables)
    assert all(map(jnp.array_equal, *map(jax.tree.leaves, (found, expected))))
    layer = nn.RNN(getattr(nn, name)(features or 15))
    ys, _ = layer.init_with_output(
        jax.random.key(0), jnp.ones((2, 4, 3)), initial_carry=carry
    )
    assert ys.shape == (2, 4, 16)


def test_a_convolutional_cell_takes_the_channels_of_the_carry():
    carry = (jnp.ones((2, 5, 6)), jnp.ones((2, 5, 6)))
    cell = nn.ConvLSTMCell(4, kernel_size=(3,))
    (_, y), _ = cell.init_with_output(jax.random.key(0), carry, jnp.ones((2, 5, 3)))
    assert y.shape == (2, 5, 6)
