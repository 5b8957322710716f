"""The programs of "setup vs compact" and of "Dealing with Flax Module arguments"."""

from functools import partial

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn


class SetupMLP(nn.Module):
    def setup(self):
        self.dense1 = nn.Dense(32)
        self.dense2 = nn.Dense(32)

    def __call__(self, x):
        x = self.dense1(x)
        x = nn.relu(x)
        return self.dense2(x)


class CompactMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(32, name="dense1")(x)
        x = nn.relu(x)
        return nn.Dense(32, name="dense2")(x)


def test_setup_and_compact_define_the_same_model():
    x = jax.random.normal(jax.random.PRNGKey(1), (4, 7))
    by_setup = SetupMLP().init(jax.random.PRNGKey(0), x)
    by_compact = CompactMLP().init(jax.random.PRNGKey(0), x)
    assert list(by_setup["params"]) == ["dense1", "dense2"]
    jax.tree.map(np.testing.assert_array_equal, by_setup, by_compact)
    np.testing.assert_array_equal(
        SetupMLP().apply(by_setup, x), CompactMLP().apply(by_compact, x)
    )


class ResidualBlock(nn.Module):
    """The guide leaves the block open; this one uses the layer that it is given."""

    dropout: type[nn.Module] | partial

    @nn.compact
    def __call__(self, x):
        return self.dropout()(nn.Dense(x.shape[-1])(x))


class ResidualModel(nn.Module):
    drop_rate: float

    @nn.compact
    def __call__(self, x, *, train):
        dropout = partial(nn.Dropout, rate=self.drop_rate, deterministic=not train)
        for _ in range(10):
            x += ResidualBlock(dropout=dropout)(x)
        return x


def test_a_layer_with_its_mode_is_passed_to_submodules():
    x = jnp.ones((3, 8))
    model = ResidualModel(drop_rate=0.5)
    variables = model.init(jax.random.PRNGKey(0), x, train=False)
    assert len(variables["params"]) == 10
    evaluated = model.apply(variables, x, train=False)
    drawn = [
        model.apply(variables, x, train=True, rngs={"dropout": jax.random.PRNGKey(k)})
        for k in (0, 0, 1)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], evaluated)


class SomeModule(nn.Module):
    drop_rate: float

    def setup(self):
        self.dropout = nn.Dropout(rate=self.drop_rate)

    @nn.compact
    def __call__(self, x, *, train):
        return self.dropout(x, deterministic=not train)


def test_a_mode_is_an_argument_of_the_call_where_setup_is_used():
    x = jnp.ones((100,))
    model = SomeModule(drop_rate=0.5)
    np.testing.assert_array_equal(model.apply({}, x, train=False), x)
    rngs = {"dropout": jax.random.PRNGKey(0)}
    y = model.apply({}, x, train=True, rngs=rngs)
    assert set(np.unique(y)) == {0.0, 2.0}


class MyDropout(nn.Module):
    drop_rate: float
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x, deterministic=None):
        return nn.merge_param("deterministic", self.deterministic, deterministic)


def test_an_argument_is_a_field_or_of_the_call():
    x = jnp.ones(3)
    assert MyDropout(0.5, deterministic=True).apply({}, x) is True
    assert MyDropout(0.5).apply({}, x, deterministic=False) is False
    with pytest.raises(ValueError, match="deterministic"):
        MyDropout(0.5).apply({}, x)
    with pytest.raises(ValueError, match="deterministic"):
        MyDropout(0.5, deterministic=True).apply({}, x, deterministic=True)
