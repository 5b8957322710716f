"""Sequential."""

import jax
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.linen.combinators import Sequential

KEY = jax.random.key(0)


def test_layers_in_order():
    model = Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    y, variables = model.init_with_output(KEY, jnp.ones((1, 3)))
    assert y.shape == (1, 2)
    assert set(variables["params"]) == {"layers_0", "layers_2"}


def test_names_within_a_compact_method():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Sequential([nn.Dense(4), nn.Dense(2)])(x)

    variables = Model().init(KEY, jnp.ones((1, 3)))
    assert set(variables["params"]) == {"Dense_0", "Dense_1"}


def test_tuples_and_dicts_are_spread():
    model = Sequential(
        (
            lambda x, y: {"a": x, "b": y},
            lambda a, b: (b, a),
            lambda b, a: [b, a],
            lambda both: both,
        )
    )
    assert model.apply({}, 1, y=2) == [2, 1]


@pytest.mark.parametrize("layers", [None, 3, "ab", nn.Dense(2), (d for d in ())])
def test_layers_must_be_a_sequence(layers):
    kind = type(layers).__name__
    with pytest.raises(ValueError, match=f"'layers' must be a sequence, got '{kind}'"):
        Sequential(layers)


def test_empty():
    with pytest.raises(ValueError, match="Empty Sequential module"):
        Sequential([]).apply({}, 1)


def test_layers_must_be_callable():
    with pytest.raises(TypeError, match="layer 1 is not callable: None"):
        Sequential([lambda x: x, None]).apply({}, 1)
