"""Tests of batiste.linen.summary.calls."""

import jax
import jax.numpy as jnp

import batiste.linen as nn
from batiste.linen.summary.calls import abstract, record_calls

KEY = jax.random.key(0)
X = jnp.ones((2, 4))


class Tied(nn.Module):
    layer: nn.Module

    def __call__(self, x):
        return self.layer(x)


class Model(nn.Module):
    @nn.compact
    def __call__(self, x):
        layer = nn.Dense(4, name="own")
        return Tied(layer, name="tied")(layer(x))


def test_calls_in_their_order_with_shapes_for_arrays():
    calls, variables = record_calls(Model(), KEY, (X,), {}, True)
    assert [call.path for call in calls] == [(), ("own",), ("tied",), ("own",)]
    assert [call.method for call in calls] == ["__call__"] * 4
    assert calls[1].args == (jax.ShapeDtypeStruct((2, 4), jnp.float32),)
    assert calls[1].outputs == jax.ShapeDtypeStruct((2, 4), jnp.float32)
    assert variables["params"]["own"]["kernel"].shape == (4, 4)


def test_unbound_modules_are_one_for_each():
    calls, _ = record_calls(Model(), KEY, (X,), {}, True)
    own, tied = calls[1].unbound, calls[2].unbound
    assert own.scope is tied.scope is None
    assert tied.layer is own
    assert own.path == ("own",)


def test_fields_that_have_their_places_elsewhere():
    calls, _ = record_calls(Model(), KEY, (X,), {}, True)
    assert calls[2].fields == {"layer": ("own",)}
    assert calls[1].fields == {}


def test_abstract_keeps_what_is_no_array():
    assert abstract((3, "a", None)) == (3, "a", None)
