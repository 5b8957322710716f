"""Lifted functions that use a module by closure in place of their argument.

The released flax takes them, and so does generation 0.12: what it gives at `init` is
given here, also where it is a tracer that leaks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as ours
from batiste.core.config import config

# By name, as the type checker runs where flax is not installed.
theirs: Any = importlib.import_module("flax.linen")

X = jnp.asarray([[0.3, -1.2, 0.5], [0.7, 0.1, 2.0]])
KEYS = {"params": jax.random.key(3), "noise": jax.random.key(4)}
NO_SPLIT = {"params": False, "noise": False}
SPLIT = {"params": True, "noise": True}
TRANSFORMS: dict[str, Callable[..., Any]] = {}


@pytest.fixture(autouse=True)
def generation() -> Iterator[None]:
    with config.temp_flip_flag("documented_checks", False):
        yield


def transform(fn: Callable[..., Any]) -> Callable[..., Any]:
    TRANSFORMS[fn.__name__] = fn
    return fn


@transform
def scan(nn: Any, step: Any, net: Any, x: Any) -> Any:
    loop = nn.scan(
        lambda m, c, _: (step(m, c), None),
        variable_broadcast=["params", "state"],
        split_rngs=NO_SPLIT,
        length=3,
    )
    return loop(net, x, None)[0]


@transform
def scan_with_axes(nn: Any, step: Any, net: Any, x: Any) -> Any:
    loop = nn.scan(
        lambda m, c, _: (step(m, c), None),
        variable_axes={"params": 0},
        split_rngs=SPLIT,
        length=3,
    )
    return loop(net, x, None)[0]


@transform
def scan_with_carry(nn: Any, step: Any, net: Any, x: Any) -> Any:
    loop = nn.scan(
        lambda m, c, _: (step(m, c), None),
        variable_broadcast="params",
        variable_carry="state",
        split_rngs=SPLIT,
        length=3,
    )
    return loop(net, x, None)[0]


@transform
def vmap(nn: Any, step: Any, net: Any, x: Any) -> Any:
    axes = {"params": None, "state": None}
    return nn.vmap(step, variable_axes=axes, split_rngs=NO_SPLIT)(net, x)


@transform
def jit(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.jit(step)(net, x)


@transform
def remat(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.remat(step)(net, x)


@transform
def cond(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.cond(x.sum() > 0, step, step, net, x)


@transform
def switch(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.switch(1, [step, step], net, x)


@transform
def while_loop(nn: Any, step: Any, net: Any, x: Any) -> Any:
    def body(module: Any, carry: Any) -> Any:
        return carry[0] + 1, step(module, carry[1])

    return nn.while_loop(lambda _, c: c[0] < 2, body, net, (0, x))[1]


@transform
def vjp(nn: Any, step: Any, net: Any, x: Any) -> Any:
    y, backward = nn.vjp(step, net, x)
    return y, backward(y)


@transform
def jvp(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.jvp(step, net, (x,), (x,), {})


@transform
def grad(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.grad(lambda m, x: step(m, x).sum(), net, x)


@transform
def value_and_grad(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.value_and_grad(lambda m, x: step(m, x).sum(), net, x)


@transform
def custom_vjp(nn: Any, step: Any, net: Any, x: Any) -> Any:
    fn = nn.custom_vjp(step, lambda m, x: nn.vjp(step, m, x), lambda back, g: back(g))
    return fn(net, x)


@transform
def map_variables(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.map_variables(step, "params", lambda v: v, lambda v: v, init=True)(net, x)


@transform
def add_metadata_axis(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.add_metadata_axis(step, {"params": 0}, {nn.PARTITION_NAME: "l"})(net, x)


@transform
def fold_rngs(nn: Any, step: Any, net: Any, x: Any) -> Any:
    return nn.fold_rngs(step)(net, x)


def model(nn: Any, name: str, kind: str, first: str, used: bool) -> Any:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            if kind == "key":
                return x + jax.random.normal(self.make_rng("noise"), (3,))
            if kind == "state":
                count = self.variable("state", "n", lambda: jnp.zeros(()))
                count.value = count.value + 1
                return x + count.value
            return x * self.param("w", nn.initializers.normal(), (3,))

    class Model(nn.Module):
        def setup(self) -> None:
            self.net, self.other = Net(), Net()

        def __call__(self, x: Any) -> Any:
            if used:
                self.net(x)
            module = {"net": self.net, "self": self, "other": self.other}[first]
            return TRANSFORMS[name](nn, lambda _, x: self.net(x), module, x)

    return Model()


def shown(tree: Any) -> Any:
    """Leaves as numbers, and those that leak as such."""
    if isinstance(tree, (tuple, list)):
        return [shown(part) for part in tree]
    if hasattr(tree, "items"):
        return {name: shown(part) for name, part in tree.items()}
    if isinstance(tree, jax.core.Tracer):
        return "a tracer that leaks"
    return np.asarray(tree).tolist()


def results(nn: Any, *args: Any) -> Any:
    try:
        return shown(model(nn, *args).init_with_output(KEYS, X))
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
@pytest.mark.parametrize("first", ["net", "self", "other"])
@pytest.mark.parametrize("kind", ["param", "state", "key"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_closing_over_a_module(name: str, kind: str, first: str, used: bool) -> None:
    expected = results(theirs, name, kind, first, used)
    assert results(ours, name, kind, first, used) == expected


@pytest.mark.parametrize("name", TRANSFORMS)
def test_values_that_are_there_are_used(name: str) -> None:
    w = {"w": jnp.arange(1.0, 4.0)}
    variables = {"params": {"net": w, "other": w}}

    def apply(nn: Any) -> Any:
        return shown(model(nn, name, "param", "other", True).apply(variables, X))

    if name == "scan_with_axes":
        variables["params"]["other"] = {"w": jnp.ones((3, 3))}
    assert apply(ours) == apply(theirs)
