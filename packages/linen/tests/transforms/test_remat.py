"""Tests of batiste.linen.transforms.remat."""

import functools
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


class Flagged(nn.Module):
    @nn.compact
    def __call__(self, x, negate, *, double=False):
        x = nn.Dense(2)(x)
        x = -x if negate else x
        return 2 * x if double else x


def test_static_arguments():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, negate):
            return nn.remat(Flagged, static_argnums=(2,))(name="a")(x, negate)

    variables = Net().init(KEY, X, False)
    y = Net().apply(variables, X, True)
    np.testing.assert_allclose(y, -Net().apply(variables, X, False), rtol=1e-6)
    with pytest.raises(ValueError, match="Argument 0 is the module"):
        nn.remat(Flagged, static_argnums=0)


def test_variables_that_are_not_lifted():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.remat(_read, variables="params")(self, x)

    assert not Net().apply({"state": {"v": 1.0}}, X)


def _read(mdl, x):
    return mdl.has_variable("state", "v")


def test_checkpoint_saves_what_the_policy_says():
    class Net(nn.Module):
        transform: Any

        @nn.compact
        def __call__(self, x):
            return self.transform(Two)(name="two")(x).sum()

    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sin(nn.Dense(4)(jnp.sin(nn.Dense(4)(x))))

    variables = Net(nn.remat).init(KEY, X)

    def sines(transform):
        grad = jax.grad(Net(transform).apply)
        return str(jax.make_jaxpr(grad)(variables, X)).count(" sin ")

    def saving(cls):
        return nn.remat(cls, policy=jax.checkpoint_policies.everything_saveable)

    assert sines(nn.remat) > sines(saving)


def test_remat_scan_is_a_deep_net():
    stack = nn.remat_scan(nn.Dense, lengths=(2, 3))(2)
    variables = stack.init(KEY, X)
    assert variables["params"]["kernel"].shape == (2, 3, 2, 2)

    def loop(variables, x):
        for i in range(2):
            for j in range(3):
                layer = jax.tree.map(lambda v, i=i, j=j: v[i, j], variables)
                x = nn.Dense(2).apply(layer, x)
        return x

    found, expected = (
        jax.value_and_grad(lambda v, f=f: f(v, X).sum())(variables)
        for f in (stack.apply, loop)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class Layers(nn.Module):
    @nn.compact
    def __call__(self, x, n, train=False, *, scale=1):
        for _ in range(n):
            x = nn.Dense(3)(2 * x if train else x)
        return x * scale


@pytest.mark.parametrize("transform", [nn.remat, nn.jit])
def test_static_arguments_by_keyword(transform):
    layer = transform(Layers, static_argnums=(2, 3))()
    x = jnp.ones((2, 3))
    variables = layer.init(KEY, x, 2)
    once, twice = (
        Layers().apply(variables, x, 2, train, scale=3) for train in (False, True)
    )
    for args, kwargs, expected in [
        ((x, 2), {}, once),
        ((x, 2, True), {}, twice),
        ((x, 2), {"train": True}, twice),
        ((x,), {"n": 2}, once),
        ((x,), {"n": 2, "train": True}, twice),
        ((), {"train": True, "n": 2, "x": x}, twice),
    ]:
        y = layer.apply(variables, *args, **kwargs, scale=3)
        np.testing.assert_allclose(y, expected, rtol=1e-5)
        run = functools.partial(layer.apply, scale=3, **kwargs)
        grads = jax.grad(lambda v, run, args: run(v, *args).sum())(variables, run, args)
        assert jax.tree.structure(grads) == jax.tree.structure(variables)


@pytest.mark.parametrize("transform", [nn.remat, nn.jit])
def test_static_arguments_of_functions_and_methods(transform):
    class Model(nn.Module):
        def setup(self):
            self.dense = nn.Dense(3)

        def run(self, x, train):
            return self.dense(x) if train else x

        def __call__(self, x):
            y = transform(lambda model, x, train: model.run(x, train), static_argnums=2)
            z = transform(Model.run, static_argnums=(2,))
            return y(self, x, train=True) + z(self, x, train=True)

    y, _ = Model().init_with_output(KEY, jnp.ones((2, 3)))
    assert y.shape == (2, 3)


@pytest.mark.parametrize("transform", [nn.remat, nn.jit])
def test_static_arguments_that_there_are_not(transform):
    with pytest.raises(errors.InvalidArgumentError) as raised:
        transform(Layers, static_argnums=(2, 4))
    text = str(raised.value)
    assert "has 4, but Layers.__call__ has no such argument" in text
    assert "{0: self, 1: x, 2: n, 3: train}" in text
    with pytest.raises(ValueError, match="Argument 0 is the module"):
        transform(Layers, static_argnums=0)


def test_static_arguments_by_name():
    layer = nn.jit(Layers, static_argnames=("n", "train"))()
    x = jnp.ones((2, 3))
    for args, kwargs in [((x, 2, True), {}), ((x,), {"n": 2, "train": True})]:
        assert layer.init_with_output(KEY, *args, **kwargs)[0].shape == (2, 3)
    with pytest.raises(errors.InvalidArgumentError, match="static_argnames .* 'm'"):
        nn.jit(Layers, static_argnames="m")
