"""Initializers, whose two own ones make constants."""

import jax
import pytest
from jax import numpy as jnp

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


@pytest.mark.parametrize("name", NAMES)
def test_those_of_jax(name):
    assert getattr(initializers, name) is getattr(jax.nn.initializers, name)


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
