"""Tests of batiste.core.nn.activation."""

import jax

from batiste.core import nn, softmax


def test_activations_are_those_of_jax():
    for name in ("celu", "elu", "gelu", "glu", "relu", "sigmoid", "swish"):
        assert getattr(nn, name) is getattr(jax.nn, name)
        assert getattr(nn.activation, name) is getattr(jax.nn, name)
    assert nn.tanh is jax.numpy.tanh


def test_those_that_take_more():
    for name in ("softmax", "log_softmax"):
        assert getattr(nn, name) is getattr(softmax, name)
        assert getattr(nn.activation, name) is getattr(softmax, name)
