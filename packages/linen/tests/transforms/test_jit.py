"""Tests of batiste.linen.transforms.jit."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
KEYS = {"params": KEY, "dropout": jax.random.key(1)}
X = jnp.ones((3, 2))

traced = []


@pytest.fixture(autouse=True)
def forget():
    traced.clear()


class Layer(nn.Module):
    features: int = 2
    extra: object = None

    @nn.compact
    def __call__(self, x):
        traced.append(self.name)
        y = nn.Dense(self.features)(x)
        return nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(y)


class Method(Layer):
    @nn.jit
    @nn.compact
    def __call__(self, x):
        traced.append(self.name)
        y = nn.Dense(self.features)(x)
        return nn.Dropout(0.5, deterministic=not self.has_rng("dropout"))(y)


class Stack(nn.Module):
    layer: type
    extras: tuple = (None, None, None)

    @nn.compact
    def __call__(self, x):
        for i, extra in enumerate(self.extras):
            x = self.layer(extra=extra, name=f"layer{i}")(x)
        return x


@pytest.mark.parametrize("layer", [nn.jit(Layer, rngs=True), Method])
def test_compiled_once_for_equal_modules(layer):
    stack = Stack(layer)
    variables = stack.init(KEY, X)
    assert len(traced) == 1
    for rngs in ({}, {"dropout": KEY}, {"dropout": jax.random.key(5)}):
        for _ in range(3):
            stack.apply(variables, X, rngs=rngs)
    assert len(traced) == 3  # to initialize, to apply, to apply with dropout
    for _ in range(2):
        stack.apply(variables, X, mutable=["params"])
    assert len(traced) == 4
    stack.apply(variables, X[:1])
    assert len(traced) == 5


def test_functions_of_a_file_are_compiled_once():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.jit(_two_layers)(self, x))

    variables = Net().init(KEY, X)
    assert sorted(variables["params"]) == ["Dense_0", "Dense_1", "Dense_2"]
    for _ in range(3):
        assert Net().apply(variables, X).shape == (3, 4)
    assert traced == ["f", "f"]


def _two_layers(mdl, x):
    traced.append("f")
    return nn.Dense(3)(nn.Dense(3)(x))


def test_names_are_given_though_python_does_not_run():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.jit(_two_layers)(self, x)
            return nn.Dense(4)(x)

    for _ in range(2):
        params = Net().init(KEY, X)["params"]
        assert params["Dense_2"]["kernel"].shape == (3, 4)
    assert traced == ["f"]


def test_keys_are_those_without_jit():
    jitted, plain = Stack(nn.jit(Layer)), Stack(Layer)
    variables = jitted.init(KEYS, X)
    expected = plain.init(KEYS, X)
    for found, value in zip(jax.tree.leaves(variables), jax.tree.leaves(expected)):
        np.testing.assert_allclose(found, value, rtol=1e-6)


def test_hooks_run_at_every_call():
    stack = Stack(nn.jit(Layer))
    variables = stack.init(KEY, X)
    del traced[:]
    for _ in range(2):
        _, state = stack.apply(variables, X, capture_intermediates=True)
        assert "__call__" in state["intermediates"]["layer2"]["Dense_0"]
    assert len(traced) == 6


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, negate, *, double=False):
        traced.append(None)
        x = nn.Dense(2)(x)
        x = -x if negate else x
        return 2 * x if double else x


def test_static_arguments():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, negate):
            return nn.jit(Flagged, static_argnums=(2,))(name="a")(x, negate)

    variables = Net().init(KEY, X, False)
    y = Net().apply(variables, X, True)
    np.testing.assert_allclose(y, -Net().apply(variables, X, False), rtol=1e-6)
    with pytest.raises(ValueError, match="Argument 0 is the module"):
        nn.jit(Flagged, static_argnums=0)


def test_static_names():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, double):
            lifted = nn.jit(Flagged, static_argnums=2, static_argnames="double")
            return lifted(name="a")(x, False, double=double)

    variables = Net().init(KEY, X, False)
    y = Net().apply(variables, X, True)
    np.testing.assert_allclose(y, 2 * Net().apply(variables, X, False), rtol=1e-6)


def test_variables_that_are_not_lifted():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(_read, variables="params")(self, x)

    assert not Net().apply({"state": {"v": 1.0}}, X)


def _read(mdl, x):
    return mdl.has_variable("state", "v")
