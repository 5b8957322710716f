"""Tests of batiste.linen.transforms.autodiff."""

from typing import Any

import jax
import numpy as np
import pytest
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


def test_vjp():
    def fn(mdl, a, b, x):
        y, backward, aux = nn.vjp(lambda m, x: (call(m, x), 3 * x), a, x, has_aux=True)
        return (*backward(y), aux)

    (variables_bar, x_bar, aux), params = run(fn)
    y, backward = jax.vjp(dense, dict(params["a"]), X)
    assert_close([variables_bar["params"], x_bar], backward(y))
    assert_close(aux, 3 * X)


def test_vjp_of_several_modules():
    def fn(mdl, a, b, x):
        stack = nn.Sequential([a, b])
        y, backward = nn.vjp(call, stack, x, multi_scope=True)
        with pytest.raises(ValueError, match="/a, /b"):
            nn.vjp(call, stack, x)
        return backward(y)

    (variables_bar, x_bar), params = run(fn)
    assert len(variables_bar) == 3
    y, backward = jax.vjp(
        lambda a, b, x: jnp.tanh(
            nn.Dense(2).apply({"params": b}, nn.Dense(2).apply({"params": a}, x))
        ),
        dict(params["a"]),
        dict(params["b"]),
        X,
    )
    assert_close([variables_bar, x_bar], backward(y))


def test_vjp_of_a_module_that_holds_the_others():
    def fn(mdl, a, b, x):
        stack = nn.Sequential([nn.Dense(2, parent=None), nn.Dense(2, parent=None)])
        stack(x)
        y, backward = nn.vjp(call, stack, x)
        return backward(y)[0]

    variables_bar, _ = run(fn)
    assert sorted(variables_bar["params"]) == ["layers_0", "layers_1"]
    assert all(jnp.any(part["kernel"]) for part in variables_bar["params"].values())


def test_gradients():
    def energy(mdl, x):
        return jnp.sum(call(mdl, x) ** 2)

    def fn(mdl, a, b, x):
        return (
            nn.value_and_grad(energy, a, x),
            nn.grad(energy, a, x),
            nn.value_and_grad(lambda m, x: (energy(m, x), x), a, x, has_aux=True),
            nn.grad(lambda m, x: (energy(m, x), x), a, x, has_aux=True),
            nn.value_and_grad(energy, nn.Sequential([a, b]), x)[0],
        )

    (both, alone, with_aux, alone_with_aux, _), params = run(fn)
    y, g = jax.value_and_grad(lambda x: jnp.sum(dense(dict(params["a"]), x) ** 2))(X)
    assert_close(both, (y, (g,)))
    assert_close(alone, (g,))
    assert_close(with_aux, ((y, X), (g,)))
    assert_close(alone_with_aux, ((g,), X))
    with pytest.raises(TypeError, match="scalar"):
        run(lambda mdl, a, b, x: nn.grad(call, a, x))


@pytest.mark.parametrize("along_variables", [False, True])
def test_jvp(along_variables):
    def fn(mdl, a, b, x):
        ones = jax.tree.map(jnp.ones_like, a.variables["params"])
        along = {"params": ones} if along_variables else {}
        return nn.jvp(call, a, (x,), (jnp.cos(x),), variable_tangents=along)

    found, params = run(fn)
    params = dict(params["a"])
    tangents = jax.tree.map(jnp.ones_like if along_variables else jnp.zeros_like,
                            params)  # fmt: skip
    assert_close(found, jax.jvp(dense, (params, X), (tangents, jnp.cos(X))))


def test_jvp_of_several_modules():
    def fn(mdl, a, b, x):
        stack = nn.Sequential([a, b])
        ones = [{"params": jax.tree.map(jnp.ones_like, m.variables["params"])}
                for m in (a, b)]  # fmt: skip
        with pytest.raises(ValueError, match="list of tangents"):
            nn.jvp(call, stack, (x,), (x,), ones[0])
        still = nn.jvp(call, stack, (x,), (x,), {})
        moving = nn.jvp(call, stack, (x,), (x,), [*ones, {"params": {}}])
        return still, moving

    (still, moving), _ = run(fn)
    assert_close(still[0], moving[0])
    assert not np.allclose(still[1], moving[1])


def test_linearize():
    def fn(mdl, a, b, x):
        y, forward = nn.linearize(call, a, x)
        ones = jax.tree.map(jnp.ones_like, a.variables["params"])
        return y, forward({"params": ones}, jnp.cos(x))

    found, params = run(fn)
    params = dict(params["a"])
    ones = jax.tree.map(jnp.ones_like, params)
    assert_close(found, jax.jvp(dense, (params, X), (ones, jnp.cos(X))))


@pytest.mark.parametrize("transform", ["vjp", "value_and_grad"])
def test_gradients_are_summed_over_axes_that_are_reduced(transform):
    class Net(nn.Module):
        reduce_axes: tuple[str, ...] = ()

        @nn.compact
        def __call__(self, x):
            options = {"reduce_axes": self.reduce_axes}
            layer = nn.Dense(3)
            if transform == "vjp":
                y, backward = nn.vjp(lambda m, x: m(x), layer, x, **options)
                return backward(jnp.ones_like(y))[0]
            # The loss is of the parameters: what is differentiated is the input.
            _, grads = nn.value_and_grad(lambda m, x: m(x).sum(), layer, x, **options)
            return grads

    x = jnp.arange(8.0).reshape(4, 2)
    variables = Net().init(jax.random.key(0), x[0])

    def run(net):
        return jax.vmap(lambda x: net.apply(variables, x), axis_name="batch")(x)

    own, reduced = run(Net()), run(Net(("batch",)))
    if transform == "vjp":
        summed = jax.tree.map(lambda a: jnp.broadcast_to(a.sum(0), a.shape), own)
        jax.tree.map(np.testing.assert_allclose, reduced, summed)
    else:
        assert jax.tree.structure(reduced) == jax.tree.structure(own)
