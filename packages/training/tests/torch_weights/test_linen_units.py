"""Layers of Linen models."""

import jax
import jax.numpy as jnp
import numpy as np

import batiste.linen as nn
from batiste.training.torch_weights.linen_units import (
    linen_triples,
    read_model,
    spelled,
)

X = jax.ShapeDtypeStruct((2, 6, 6, 4), jnp.float32)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        scale = self.param("scale", nn.initializers.ones, (4,))
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(3, (3, 3))(x * scale))
        return nn.Dense(2, name="head")(x.reshape(len(x), -1))


def test_layers_come_in_the_order_in_which_they_run():
    model = read_model(Net(), (X,), None, {})
    assert [(unit.path, unit.kind) for unit in model.units] == [
        ("scale", "value"),
        ("Conv_0", "conv"),
        ("BatchNorm_0", "norm"),
        ("head", "dense"),
    ]
    norm, head = model.units[2:]
    assert norm.variables["running_var"] == ("batch_stats", "BatchNorm_0", "var")
    assert head.names == ["head", "head/bias", "head/kernel"]
    assert head.channels == 3
    assert model.image_rank == 4
    assert set(model.by_key) == {
        key for unit in model.units for key in unit.variables.values()
    }


def test_where_there_is_nothing_to_reorder_there_are_no_channels():
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(3, (3, 3))(x).mean((1, 2))
            return nn.Dense(12)(nn.Dense(6)(x))

    units = read_model(Mean(), (X,), None, {}).units
    assert [unit.channels for unit in units] == [0, 0, 0]


def test_a_cell_is_one_layer():
    model = nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.LSTMCell(3)))
    units = read_model(model, (jnp.ones((1, 2, 4)),), None, {}).units
    assert [unit.kind for unit in units] == ["gru", "lstm"]
    assert units[0].shapes["in/kernel"] == (4, 3)
    assert "hf/bias" in units[1].shapes


def test_derived_layers_are_of_their_kind():
    class Own(nn.Dense):
        pass

    unit = read_model(Own(2), (jnp.ones((1, 3)),), None, {}).units[0]
    assert (unit.path, unit.kind) == ("", "dense")


def test_variables_in_other_collections_are_not_layers():
    class Cached(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.variable("cache", "last", jnp.zeros, (3,))
            return nn.Dense(2)(x)

    model = read_model(Cached(), (jnp.ones((1, 3)),), None, {})
    assert [unit.path for unit in model.units] == ["Dense_0"]


def test_an_axis_of_a_transform_is_told():
    stack = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})
    units = read_model(stack(2), (jnp.ones((5, 3)),), None, {}).units
    assert [unit.stacked for unit in units] == [True]
    general = read_model(nn.DenseGeneral((2, 2)), (jnp.ones((1, 3)),), None, {})
    assert not general.units[0].stacked
    assert general.units[0].inner == 1
    two = nn.DenseGeneral(2, axis=(-2, -1))
    assert read_model(two, (jnp.ones((1, 2, 3)),), None, {}).units[0].inner == 2


def test_query_key_and_value_side_by_side_are_found():
    model = nn.MultiHeadDotProductAttention(2)
    units = read_model(model, (np.ones((1, 3, 4)), np.ones((1, 3, 4))), None, {}).units
    (found,) = linen_triples(units)
    assert found.path == "{query,key,value}"
    assert [part.path for part in found.parts] == ["query", "key", "value"]
    assert linen_triples(units[:2]) == []


def test_variables_are_spelled_with_their_collection():
    assert spelled(("params", "a", "kernel")) == "params/a/kernel"
