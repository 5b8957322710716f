"""Adding a bias on the last axes, or where it is told to."""

import jax
from jax import numpy as jnp

from batiste.linen.linear.bias import add_bias


def test_last_axes():
    y = add_bias(jnp.zeros((2, 3, 2)), jnp.arange(6.0).reshape(3, 2))
    assert y[1].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_given_shape():
    y = add_bias(jnp.zeros((2, 3)), jnp.arange(2.0), (2, 1))
    assert y.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_different_dtypes_are_promoted():
    assert add_bias(jnp.zeros(2, jnp.bfloat16), jnp.ones(2)).dtype == jnp.float32


def test_jaxpr():
    jaxpr = jax.make_jaxpr(add_bias)(jnp.zeros(3), jnp.zeros(3))
    assert [e.primitive.name for e in jaxpr.eqns] == ["add"]
    jaxpr = jax.make_jaxpr(add_bias)(jnp.zeros((2, 3)), jnp.zeros(3))
    assert [e.primitive.name for e in jaxpr.eqns] == ["reshape", "add"]
