"""Initializers, whose two own ones make constants."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen import initializers

NAMES = [
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


# Computed in float32 where JAX would have no decomposition in half precision.
ORTHOGONAL = {"delta_orthogonal": (3, 2, 4), "orthogonal": (3, 4)}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ORTHOGONAL])
def test_those_of_jax(name):
    assert getattr(initializers, name) is getattr(jax.nn.initializers, name)


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_orthogonal_ones_are_those_of_jax_in_single_precision(name):
    args = jax.random.key(0), ORTHOGONAL[name], jnp.float32
    ours = getattr(initializers, name)()(*args)
    assert jnp.array_equal(ours, getattr(jax.nn.initializers, name)()(*args))


def test_constants():
    key = jax.random.key(0)
    zeros = initializers.zeros_init()(key, (2, 3), jnp.bfloat16)
    ones = initializers.ones_init()(key, (2, 3), jnp.bfloat16)
    assert zeros.tolist() == [[0, 0, 0]] * 2
    assert zeros.dtype == jnp.bfloat16
    assert ones.tolist() == [[1, 1, 1]] * 2
    assert ones.dtype == jnp.bfloat16


def test_one_object_each_so_that_results_can_be_memoised():
    assert initializers.zeros_init() is initializers.zeros_init()
    assert initializers.ones_init() is initializers.ones_init()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize(
    "make", [nn.initializers.orthogonal, nn.initializers.delta_orthogonal]
)
def test_orthogonal_in_every_precision(dtype, make):
    shape = (5, 4, 4)
    w = make(scale=2.0)(jax.random.key(0), shape, dtype)
    exact = getattr(jax.nn.initializers, make.__name__)(2.0)(jax.random.key(0), shape)
    assert w.dtype == dtype
    assert (w == exact.astype(dtype)).all()
    assert (make(2.0, -1, dtype)(jax.random.key(0), shape) == w).all()


CELLS = [nn.SimpleCell, nn.GRUCell, nn.MGUCell, nn.LSTMCell, nn.OptimizedLSTMCell]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("cell", CELLS)
def test_cells_with_parameters_in_half_precision(cell, dtype):
    layer = nn.RNN(cell(4, param_dtype=dtype))
    y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((2, 3, 5), dtype))
    assert y.dtype == dtype
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(dtype)}
