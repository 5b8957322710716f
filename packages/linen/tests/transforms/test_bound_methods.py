"""Tests of batiste.linen.transforms.bound_methods."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import errors as core_errors
from batiste.core.config import config
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((3, 2))
ALL = {"variable_axes": {"params": None}, "split_rngs": {"params": False}}
SHARED = {"variable_broadcast": "params", "split_rngs": {"params": False}}


def twice(f):
    return lambda mdl, x: nn.custom_vjp(
        f, mdl.forward, lambda residuals, y_bar: residuals(y_bar)
    )(mdl, x)


# What is done with a method `f` of the module `mdl`.
USES = {
    "cond": lambda mdl, f, x: nn.cond(True, f, f, mdl, x),
    "switch": lambda mdl, f, x: nn.switch(1, [f, f, f], mdl, x),
    "while_loop": lambda mdl, f, x: nn.while_loop(mdl.small, f, mdl, x),
    "scan": lambda mdl, f, x: nn.scan(mdl.step, **SHARED, length=1)(mdl, x, None)[0],
    "vjp": lambda mdl, f, x: nn.vjp(f, mdl, x)[0],
    "jvp": lambda mdl, f, x: nn.jvp(f, mdl, (x,), (x,), {})[0],
    "linearize": lambda mdl, f, x: nn.linearize(f, mdl, x)[0],
    "grad": lambda mdl, f, x: nn.grad(mdl.total, mdl, x)[0],
    "value_and_grad": lambda mdl, f, x: nn.value_and_grad(mdl.total, mdl, x)[1][0],
    "custom_vjp": lambda mdl, f, x: twice(f)(mdl, x),
    "vmap": lambda mdl, f, x: nn.vmap(f, **ALL)(mdl, x),
    "jit": lambda mdl, f, x: nn.jit(f)(mdl, x),
    "remat": lambda mdl, f, x: nn.remat(f)(mdl, x),
    "fold_rngs": lambda mdl, f, x: nn.fold_rngs(f)(mdl, x),
    "map_variables": lambda mdl, f, x: nn.map_variables(f, "params")(mdl, x),
}


class Model(nn.Module):
    use: str

    def setup(self):
        self.dense = nn.Dense(2)
        self.other = nn.Dense(2)

    def half(self, x):
        return self.dense(x) / 2

    def small(self, x):
        return jnp.sum(x) < -1e9

    def step(self, x, _):
        return self.half(x), None

    def total(self, x):
        return jnp.sum(self.half(x))

    def forward(self, x):
        return nn.vjp(Model.half, self, x)

    def __call__(self, x):
        if self.is_initializing():
            return self.half(x)
        return USES[self.use](self, self.half, x)


@pytest.mark.parametrize("use", USES)
def test_methods_of_the_module_as_functions_of_it(use):
    y, variables = Model(use).init_with_output(KEY, X)
    expected = {
        "while_loop": X,
        "grad": jax.grad(lambda x: jnp.sum(x @ kernel(variables) / 2))(X),
    }
    expected["value_and_grad"] = expected["grad"]
    found = Model(use).apply(variables, X)
    assert jnp.allclose(found, expected.get(use, y))


def kernel(variables):
    return variables["params"]["dense"]["kernel"]


@pytest.mark.parametrize("documented", [True, False])
@pytest.mark.parametrize("use", ["cond", "jit", "remat", "vjp"])
def test_methods_of_another_module(use, documented):
    class Mixed(nn.Module):
        def setup(self):
            self.one, self.two = nn.Dense(2), nn.Dense(2)

        def __call__(self, x):
            if self.is_initializing():
                return self.one(x), self.two(x)
            return USES[use](self.one, self.two.__call__, x)

    (one, _), variables = Mixed().init_with_output(KEY, X)
    if documented:
        with pytest.raises(
            core_errors.JaxTransformError,
            match="the function uses `two` of the enclosing module; use the module "
            "that it gets as its first argument",
        ):
            Mixed().apply(variables, X)
        return
    config.update("documented_checks", False)
    try:
        # What the released package does: the module is that which is given.
        assert jnp.allclose(Mixed().apply(variables, X), one)
    finally:
        config.update("documented_checks", True)


def test_methods_within_transforms():
    class Nested(nn.Module):
        def setup(self):
            self.dense = nn.Dense(2)

        def plain(self, x):
            return self.dense(x)

        def outer(self, x):
            return nn.cond(True, self.plain, self.plain, self, x)

        def __call__(self, x):
            return nn.remat(self.outer)(self, x)

    y, variables = Nested().init_with_output(KEY, X)
    assert jnp.allclose(y, X @ kernel(variables))


def test_a_method_needs_its_module():
    class Forgets(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.remat(self.plain)(x)

        def plain(self, x):
            return x

    with pytest.raises(errors.TransformTargetError, match="first argument"):
        Forgets().init(KEY, X)


@pytest.mark.parametrize("transform", [nn.jit, nn.remat, nn.vmap, nn.scan])
def test_methods_of_unbound_modules_cannot_be_transformed(transform):
    with pytest.raises(errors.TransformTargetError):
        transform(nn.Dense(2).__call__)
