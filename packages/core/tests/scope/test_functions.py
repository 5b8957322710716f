"""Tests of batiste.core.scope.functions: bind, apply and init."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import (
    DenyList,
    FrozenDict,
    apply,
    bind,
    errors,
    init,
    unfreeze,
)
from batiste.core.config import config

KEY = jax.random.key(0)


def ones(key, shape=()):
    return jnp.ones(shape)


def state_of(scope):
    """Everything of a scope that can change."""
    reserved = {n: set(c) for n, c in scope.reservations.items() if c}
    return unfreeze(scope.variables()), scope.rng_counters, reserved


def unchanged_by(scope, error, match, fn):
    before = state_of(scope)
    with pytest.raises(error, match=match):
        fn()
    assert state_of(scope) == before


def test_init_and_apply():
    def fn(scope, x, *, n):
        return scope.param("w", ones, (n,)) * x

    y, variables = init(fn)(KEY, 2.0, n=3)
    np.testing.assert_array_equal(y, [2, 2, 2])
    assert isinstance(variables, FrozenDict)
    np.testing.assert_array_equal(apply(fn)(variables, 3.0, n=3), [3, 3, 3])


def test_plain_dicts_if_so_configured():
    with config.temp_flip_flag("return_frozendict", False):
        _, variables = init(lambda s: s.param("w", ones))(KEY)
    assert type(variables) is dict
    assert type(variables["params"]) is dict


def test_only_mutable_collections_come_out():
    def fn(scope):
        for col in ("a", "b"):
            if scope.is_mutable_collection(col):
                scope.put_variable(col, "x", 2)

    given = {"a": {"x": 1}, "b": {"x": 1}}
    for mutable, expected in [
        ("a", {"a": {"x": 2}}),
        (["a", "b"], {"a": {"x": 2}, "b": {"x": 2}}),
        (DenyList("a"), {"b": {"x": 2}}),
        ([], {}),
    ]:
        assert apply(fn, mutable=mutable)(given)[1] == expected
    assert apply(fn)(given) is None
    assert given == {"a": {"x": 1}, "b": {"x": 1}}


def test_initializing_flag():
    fn = init(lambda s: (s.get_flag("initializing"), s.get_flag("x")), flags={"x": 1})
    assert fn(KEY)[0] == (True, 1)


@pytest.mark.parametrize("bad", [None, 3, [("a", {})], {"a": 3}, {1: {}}])
def test_variables_of_a_wrong_type(bad):
    for call in (bind, apply(lambda scope: None)):
        with pytest.raises(errors.ApplyScopeInvalidVariablesTypeError):
            call(bad)


def test_variables_of_a_wrong_structure():
    with pytest.raises(errors.ApplyScopeInvalidVariablesStructureError, match="params"):
        bind({"params": {"params": {"w": 1}}})
    assert bind({"params": {"params": 1}}).get_variable("params", "params") == 1


@pytest.mark.parametrize(
    ("bad", "match"),
    [(3, "type int"), ({"a": 3}, "entry 'a' of type int"), ("k", "str")],
)
def test_keys_of_a_wrong_type(bad, match):
    for call in (lambda: init(ones)(bad), lambda: bind({}, rngs=bad)):
        with pytest.raises(errors.InvalidRngError, match=match):
            call()


def test_init_without_keys():
    with pytest.raises(errors.InvalidRngError, match="init needs a PRNG key"):
        init(ones)(None)
    assert init(lambda s: 1)({}) == (1, {})


def test_a_wrong_filter():
    for call in (lambda: bind({}, mutable=3), lambda: apply(ones, mutable=3)({})):
        with pytest.raises(errors.InvalidFilterError, match="3"):
            call()
