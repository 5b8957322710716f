"""`init` and `apply` for functions of a module."""

import jax
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core import config
from batiste.core.frozen_dict import FrozenDict
from batiste.linen import errors

KEY = jax.random.key(0)
X = jnp.ones((2, 3))


def twice(model, x, scale=2):
    return scale * model(x)


def test_init_and_apply():
    model = nn.Dense(2)
    y, variables = nn.init_with_output(twice, model)(KEY, X)
    alone = nn.init(twice, model)({"params": KEY}, X, scale=3)
    assert isinstance(variables, FrozenDict)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), variables, alone))
    assert (nn.apply(twice, model)(variables, X) == y).all()
    assert (jax.jit(nn.apply(twice, model))(variables, X) == y).all()
    z, changed = nn.apply(twice, model, mutable=["params"])(variables, X, scale=2)
    assert (z == y).all() and set(changed) == {"params"}
    assert model.scope is None


def test_plain_dicts():
    config.update("return_frozendict", False)
    try:
        assert type(nn.Dense(2).init(KEY, X)) is dict
    finally:
        config.update("return_frozendict", True)


def test_capture():
    run = nn.apply(twice, nn.Dense(2), capture_intermediates=True)
    variables = nn.Dense(2).init(KEY, X)
    y, state = run(variables, X)
    assert (state["intermediates"]["__call__"][0] * 2 == y).all()
    made = nn.init(twice, nn.Dense(2), capture_intermediates=lambda m, name: True)
    assert set(made(KEY, X)) == {"params", "intermediates"}


def test_wrong_arguments():
    with pytest.raises(errors.InvalidInstanceModuleError, match="need an instance"):
        nn.apply(twice, nn.Dense)
    for method in (3, lambda: 3):
        with pytest.raises(
            errors.ApplyModuleInvalidMethodError, match="Cannot call method .* of Dense"
        ):
            nn.init(method, nn.Dense(2))


def test_calls_within_calls_are_separate():
    inner = nn.Dense(2)

    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            variables = inner.init(KEY, x)
            assert self.is_initializing()
            assert not inner.bind(variables).is_initializing()
            return inner.apply(variables, x)

    assert not Model().init(KEY, X)


def test_errors_leave_no_trace():
    def fail(model, x):
        model(x)
        raise KeyError

    model = nn.Dense(2)
    before = model.init(KEY, X)
    with pytest.raises(KeyError):
        nn.init(fail, model)(KEY, X)
    with pytest.raises(KeyError):
        nn.apply(fail, model, capture_intermediates=True)(before, X)
    # The stack is empty: a module made now has no parent.
    assert nn.Dense(2).parent is None
    assert jax.tree.all(
        jax.tree.map(lambda a, b: (a == b).all(), before, model.init(KEY, X))
    )
    assert (model.apply(before, X) == model.apply(before, X)).all()
