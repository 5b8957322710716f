"""Tests of batiste.core.nn.activation."""

import jax

from batiste.core import nn


def test_activations_are_those_of_jax():
    for name in ("celu", "elu", "gelu", "glu", "relu", "sigmoid", "softmax", "swish"):
        assert getattr(nn, name) is getattr(jax.nn, name)
        assert getattr(nn.activation, name) is getattr(jax.nn, name)
    assert nn.tanh is jax.numpy.tanh
