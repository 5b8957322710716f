"""Tests of batiste.linen.transforms.custom_rules."""

from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.array([[1.0, -2.0], [0.5, 3.0]])


class Net(nn.Module):
    """Runs a function of itself, and of two layers that are initialized."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        a, b = nn.Dense(2, name="a"), nn.Dense(2, name="b")
        b(a(x))
        return self.fn(self, a, b, x)


def run(fn):
    y, variables = Net(fn).init_with_output(KEY, X)
    return y, variables["params"]


def dense(params, x):
    return jnp.tanh(nn.Dense(2).apply({"params": params}, x))


def call(mdl, x):
    return jnp.tanh(mdl(x))


def assert_close(found, expected):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def sign_rule(**options):
    def forward(mdl, x):
        return nn.vjp(call, mdl, x, **options)

    def backward(vjp_fn, y_bar):
        return jax.tree.map(jnp.sign, vjp_fn(y_bar))

    return nn.custom_vjp(call, forward, backward)


def test_custom_vjp():
    def fn(mdl, a, b, x):
        return sign_rule()(a, x).sum()

    y, params = run(fn)
    value, gradients = jax.value_and_grad(Net(fn).apply, argnums=(0, 1))(
        {"params": params}, X
    )
    plain = jax.grad(lambda p, x: dense(p, x).sum(), argnums=(0, 1))(
        dict(params["a"]), X
    )
    assert_close(value, y)
    assert_close([gradients[0]["params"]["a"], gradients[1]], [
        jax.tree.map(jnp.sign, g) for g in plain])  # fmt: skip


def test_custom_vjp_of_several_modules():
    def fn(mdl, a, b, x):
        return sign_rule(multi_scope=True)(nn.Sequential([a, b]), x).sum()

    _, params = run(fn)
    gradients = jax.grad(Net(fn).apply)({"params": params}, X)
    assert set(np.abs(jax.tree.leaves(gradients)[0]).ravel()) <= {0.0, 1.0}


def test_custom_jvp():
    def fn(mdl, a, b, x):
        def rule(mdl, primals, tangents, variable_tangents):
            along = variable_tangents["params"]["bias"]
            return call(mdl, *primals), 3 * tangents[0] + 5 * along

        return nn.custom_jvp(call, rule)(a, x).sum()

    y, params = run(fn)
    assert_close(y, dense(dict(params["a"]), X).sum())
    variables_bar, x_bar = jax.grad(Net(fn).apply, argnums=(0, 1))(
        {"params": params}, X
    )
    assert_close(x_bar, 3 * jnp.ones_like(X))
    assert_close(variables_bar["params"]["a"]["bias"], jnp.array([10.0, 10.0]))
