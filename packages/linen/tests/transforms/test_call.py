"""Tests of batiste.linen.transforms.call."""

import gc
from typing import Any

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors as core_errors
from batiste.linen import errors

KEY = jax.random.key(0)
KEYS = {"params": KEY, "dropout": jax.random.key(1)}
X = jnp.ones((3, 2))


class Net(nn.Module):
    """Runs a function of itself."""

    fn: Any

    @nn.compact
    def __call__(self, x):
        return self.fn(self, x)


def params(fn):
    return dict(Net(fn).init(KEYS, X)["params"])


def same(found, expected):
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    return len(found) == len(expected) and all(map(jnp.allclose, found, expected))


def test_names_go_on():
    def program(mdl, x):
        x = nn.Dense(2)(x)
        for transform in (nn.jit, nn.remat, nn.fold_rngs):
            x = transform(lambda mdl, x: nn.Dense(3)(nn.Dense(3)(x)))(mdl, x)
        branch = lambda mdl, x: nn.Dense(3)(x)  # noqa: E731
        x = nn.cond(True, branch, branch, mdl, x)
        return nn.Dense(4)(x)

    assert sorted(params(program)) == [f"Dense_{i}" for i in range(9)]


def test_returned_modules_and_variables():
    def variable(mdl, x):
        return mdl.variable("state", "v", jnp.zeros, ())

    for fn in (lambda mdl, x: [mdl], variable):
        for transform in (nn.jit, nn.remat, nn.fold_rngs):
            with pytest.raises(errors.TransformedMethodReturnValueError):
                params(lambda mdl, x, t=transform, fn=fn: t(fn)(mdl, x))
    with pytest.raises(errors.TransformedMethodReturnValueError, match="named"):

        def named(mdl, x):
            return mdl

        params(lambda mdl, x: nn.cond(True, named, named, mdl, x))


@pytest.mark.parametrize("transform", [nn.jit, nn.remat])
def test_closing_over_a_module(transform):
    def program(mdl, x):
        outer = nn.Dense(2)
        if mdl.is_initializing() and mdl.has_variable("safe", "yes"):
            outer(x)
        return transform(lambda mdl, x: outer(x))(mdl, x)

    with pytest.raises(core_errors.JaxTransformError, match="Dense_0"):
        Net(program).init(KEY, X)
    variables = {"params": {"Dense_0": nn.Dense(2).init(KEY, X)["params"]}}
    with pytest.raises(core_errors.JaxTransformError, match="Dense_0"):
        Net(program).apply(variables, X)


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        return x + nn.Dropout(0.5, deterministic=False)(nn.Dense(2)(x)), None


PROGRAMS = {
    "vmap": lambda mdl, x: nn.vmap(
        Layer, {"params": 0}, {"params": True, "dropout": True}, out_axes=(0, None)
    )()(x)[0],
    "scan": lambda mdl, x: nn.scan(
        nn.remat(Layer), {"params": 0}, split_rngs={"params": True, "dropout": True},
        length=2)()(x, None)[0],
    "jit": lambda mdl, x: nn.jit(Layer)()(x)[0],
    "remat": lambda mdl, x: nn.remat(Layer)()(x)[0],
    "fold_rngs": lambda mdl, x: nn.fold_rngs(Layer)()(x)[0],
    "map_variables": lambda mdl, x: nn.map_variables(Layer, init=True)()(x)[0],
    "cond": lambda mdl, x: nn.cond(
        x[0, 0] > 0, lambda m, x: m(x)[0], lambda m, x: -m(x)[0], Layer(), x),
    "vjp": lambda mdl, x: nn.vjp(lambda m, x: m(x)[0], Layer(), x)[1](x)[1],
    "custom_vjp": lambda mdl, x: nn.custom_vjp(
        lambda m, x: m(x), lambda m, x: nn.vjp(lambda m, x: m(x), m, x),
        lambda vjp_fn, y_bar: vjp_fn(y_bar))(nn.Dense(2), x),
    "arguments": lambda mdl, x: nn.jit(lambda m, d, x: d[0](x) + nn.Dense(2)(x))(
        mdl, [nn.Dense(2)], x),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_nothing_is_kept(name):
    net = Net(PROGRAMS[name])

    def apply(variables):
        return net.apply(variables, X, rngs=KEYS)

    with jax.checking_leaks():
        variables = jax.jit(net.init)(KEYS, X)
        jax.jit(jax.grad(lambda v: apply(v).sum()))(variables)
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(o, nn.Module) for o in gc.get_objects())
        apply(variables)
        after = sum(isinstance(o, nn.Module) for o in gc.get_objects())
    finally:
        gc.enable()
    # Modules are freed at once, without the collector.
    assert after == before


@pytest.mark.parametrize("name", ["jit", "remat", "custom_vjp", "arguments", "cond"])
def test_gradients_are_those_without(name):
    plain = {
        "jit": lambda mdl, x: Layer(name="JitLayer_0")(x)[0],
        "remat": lambda mdl, x: Layer(name="CheckpointLayer_0")(x)[0],
        "custom_vjp": lambda mdl, x: nn.Dense(2)(x),
        "arguments": lambda mdl, x: nn.Dense(2)(x) + nn.Dense(2)(x),
        "cond": lambda mdl, x: Layer()(x)[0],
    }
    variables = Net(plain[name]).init(KEYS, X)
    assert same(Net(PROGRAMS[name]).init(KEYS, X), variables)
    found, expected = (
        jax.grad(lambda v, p=p: jnp.sum(Net(p).apply(v, X, rngs=KEYS) ** 2))(variables)
        for p in (PROGRAMS[name], plain[name])
    )
    assert same(found, expected)
