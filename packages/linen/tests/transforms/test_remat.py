"""Tests of batiste.linen.transforms.remat."""

from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn

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
