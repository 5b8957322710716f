"""Tests of batiste.linen.transforms.fingerprint."""

from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.linen.transforms.fingerprint import fingerprint
from batiste.linen.transforms.module_map import ModuleMap

KEY = jax.random.key(0)
X = jnp.ones((3, 2))

traced = []


class Layer(nn.Module):
    extra: Any = None

    @nn.compact
    def __call__(self, x):
        traced.append(self.name)
        return nn.Dense(2)(x)


class Stack(nn.Module):
    layer: Any
    extras: Any

    @nn.compact
    def __call__(self, x):
        for i, extra in enumerate(self.extras):
            x = self.layer(extra=extra, name=f"layer{i}")(x)
        return x


def of(module, *args):
    module_map = ModuleMap(module)
    module_map.add_args(args)
    return fingerprint(module_map, module_map.add_target())


def bound(extra=None, name=None):
    return Layer(extra, name=name).bind({})


def test_the_name_is_no_part():
    assert of(bound(name="a")) == of(bound(name="b")) == of(bound())


def test_values_that_are_equal_but_of_another_type_differ():
    extras = [1, 1.0, True, 0.0, -0.0, "a", b"a", (1,), None, {"a": 1}, jnp.tanh]
    assert len({of(bound(extra)) for extra in extras}) == len(extras)
    assert of(bound({"a": 1})) == of(bound({"a": 1}))
    assert of(bound((1, 2))) == of(bound((1, 2)))


def closure(x):
    return lambda: x


@pytest.mark.parametrize(
    "extra", [X, np.ones(2), closure(X), (X,), {"a": X}, X.sum, {1, 2}]
)
def test_there_is_none_for_what_may_hold_arrays(extra):
    assert of(bound(extra)) is None


def test_a_closure_without_arrays_goes_by_identity():
    one, other = closure(1), closure(1)
    assert of(bound(one)) == of(bound(one)) != of(bound(other))


def test_arguments_that_are_modules_are_a_part():
    module = bound()
    assert of(module) != of(module, module)
    assert of(module, module) == of(module, module)
    assert of(module, bound(1)) != of(module, bound(2))


def test_code_is_shared_by_equal_modules_alone():
    traced.clear()
    stack = Stack(nn.jit(Layer, variables=True), (1, 1.0, True, 0.0, -0.0, "a", (1,)))
    stack.init(KEY, X)
    assert len(traced) == 7
    stack.init(KEY, X)
    assert len(traced) == 7
    traced.clear()
    # Arrays are no key to find anything by, but they work.
    stack = Stack(nn.jit(Layer, variables=True), (X, np.ones(2), jnp.tanh, jnp.tanh))
    variables = stack.init(KEY, X)
    stack.apply(variables, X)
    assert len(traced) == 2 * 3
