"""Activations: JAX's own, and PReLU."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste.core import softmax as softmax_of_core
from batiste.linen import activation
from batiste.linen.activation import PReLU

NAMES = [
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
    "logsumexp",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softplus",
    "standardize",
    "swish",
]


@pytest.mark.parametrize("name", NAMES)
def test_those_of_jax(name):
    assert getattr(activation, name) is getattr(jax.nn, name)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_those_that_take_more(name):
    ours, theirs = getattr(activation, name), getattr(jax.nn, name)
    assert ours is getattr(softmax_of_core, name)
    x, where = jnp.asarray([1.0, 3.0, 2.0]), jnp.asarray([True, False, True])
    assert ours(x).tolist() == theirs(x).tolist()
    expected = theirs(x, where=where).tolist()
    assert ours(x, where=where, initial=0.0).tolist() == expected
    assert ours(x, -1, where, 0.0).tolist() == expected


def test_other_names():
    assert activation.tanh is jnp.tanh
    assert activation.normalize is jax.nn.standardize


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32])
def test_prelu_keeps_the_dtype(dtype):
    x = jnp.asarray([-2, 0, 3], dtype)
    y, variables = PReLU(negative_slope_init=2.0).init_with_output(jax.random.key(0), x)
    assert y.dtype == dtype
    assert y.tolist() == [-4, 0, 3]
    assert variables["params"]["negative_slope"].shape == ()


def test_prelu_param_dtype_and_lists():
    y, variables = PReLU(jnp.bfloat16).init_with_output(jax.random.key(0), [-1.0, 1.0])
    assert variables["params"]["negative_slope"].dtype == jnp.bfloat16
    np.testing.assert_allclose(y, [-0.01, 1.0], rtol=1e-2)


def test_prelu_jaxpr():
    layer = PReLU()
    x = jnp.ones(3)
    variables = layer.init(jax.random.key(0), x)
    jaxpr = jax.make_jaxpr(layer.apply)(variables, x)
    assert [e.primitive.name for e in jaxpr.eqns] == ["mul", "ge", "select_n"]
