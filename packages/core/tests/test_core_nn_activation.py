"""Tests of cambric.core.nn.activation."""

import jax

from cambric.core import nn


def test_activations_are_those_of_jax():
    for name in ("celu", "elu", "gelu", "glu", "relu", "sigmoid", "softmax", "swish"):
        assert getattr(nn, name) is getattr(jax.nn, name)
        assert getattr(nn.activation, name) is getattr(jax.nn, name)
    assert nn.tanh is jax.numpy.tanh
