"""Layers of stacks, one by one."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import batiste.linen as nn
from batiste.training.torch_weights.linen_units import read_model
from batiste.training.torch_weights.unstacking import Slice, joined, unstacked

from .cases import Layer, Members, Stack, scanned

X = jnp.ones((2, 5, 4))


def _apart(model):
    return unstacked(read_model(model, (X,), None, {}))


def test_layers_come_one_after_the_other():
    units, slices = _apart(Stack(scanned(Layer, 2, params=1)))
    assert [unit.path for unit in units] == [
        "layers[0]/scale",
        "layers[0]/bn",
        "layers[0]/fc",
        "layers[1]/scale",
        "layers[1]/bn",
        "layers[1]/fc",
    ]
    fc = units[5]
    assert fc.variables["weight"] == ("params", "layers", "fc", "kernel[:, 1]")
    assert fc.shapes == {"weight": (4, 4), "bias": (4,)}
    assert units[4].variables["running_mean"][-1] == "mean[1]"
    kernel = ("params", "layers", "fc", "kernel")
    assert slices[fc.variables["weight"]] == Slice(kernel, (slice(None), 1), (4, 2, 4))
    assert len(slices) == 2 * 7
    assert fc.whole is not None
    assert fc.names == [
        "layers[1]/fc",
        "layers/fc/bias[:, 1]",
        "layers/fc/kernel[:, 1]",
        "layers/fc",
        "layers/fc/bias",
        "layers/fc/kernel",
    ]


def test_the_inner_ones_of_a_layer_come_before_the_next():
    units, _ = _apart(Stack(scanned(scanned(Layer, 2, params=1), 3, params=2)))
    assert [unit.path for unit in units if unit.path.endswith("fc")] == [
        f"layers[{i}][{j}]/fc" for i in range(3) for j in range(2)
    ]
    assert units[5].variables["weight"][-1] == "kernel[:, 1, 0]"


def test_those_that_run_backward_count_from_the_end():
    units, _ = _apart(Stack(scanned(Layer, 3, reverse=True)))
    assert [unit.path for unit in units][::3] == [
        "layers[-1]/scale",
        "layers[-2]/scale",
        "layers[-3]/scale",
    ]


def test_a_layer_that_is_stacked_itself_has_the_index():
    both = nn.vmap(nn.Dense, {"params": 0}, {"params": True})(4)
    units, _ = unstacked(read_model(both, (X,), None, {}))
    assert [unit.path for unit in units] == ["[0]", "[1]"]
    assert units[1].variables["weight"] == ("params", "kernel[1]")


def test_what_a_function_stacks_has_the_index_in_front():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            def body(model, carry, _):
                carry = nn.Dense(4)(carry)
                return nn.Dense(4)(carry), None

            scan = nn.scan(
                body, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
            )
            return scan(self, x, None)[0]

    assert [unit.path for unit in _apart(Model())[0]] == [
        "[0]/Dense_0",
        "[0]/Dense_1",
        "[1]/Dense_0",
        "[1]/Dense_1",
    ]


def test_others_stay_where_they_run():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(4, name="first")(x)
            x = Members(name="members")(Stack(scanned(Layer, 1), name="stack")(x))[0]
            return nn.Dense(4, name="last")(x)

    paths = [unit.path for unit in _apart(Model())[0] if "fc" in unit.path]
    assert paths == [
        "stack/layers[0]/fc",
        *(f"members/members[{i}]/fc" for i in range(3)),
    ]
    ends = [unit.path for unit in _apart(Model())[0]]
    assert (ends[0], ends[-1]) == ("first", "last")


def test_what_is_stacked_in_part_only_is_mixed():
    cls = nn.scan(
        Layer,
        variable_axes={"params": 0},
        variable_broadcast="batch_stats",
        split_rngs={"params": True},
        length=2,
    )
    kinds = {unit.path: (unit.kind, unit.stacked) for unit in _apart(Stack(cls))[0]}
    assert kinds == {
        "layers[0]/scale": ("value", False),
        "layers[1]/scale": ("value", False),
        "layers[0]/fc": ("dense", False),
        "layers[1]/fc": ("dense", False),
        "layers/bn": ("mixed", True),
    }


@given(st.integers(1, 4), st.integers(0, 2), st.data())
def test_parts_are_put_together(count, axis, data):
    whole = np.arange(24.0 * count).reshape(
        tuple(np.insert([2, 3, 4], axis, count).tolist())
    )
    slices, parts = {}, {}
    for i in data.draw(st.permutations(range(count))):
        part = Slice(("params", "x"), (slice(None),) * axis + (i,), whole.shape)
        slices[part.spelled] = part
        parts[part.spelled] = whole[part.index]
    assert len(slices) == count
    other = {("params", "y"): np.ones(3)}
    found = joined({**parts, **other}, slices)
    assert set(found) == {("params", "x"), ("params", "y")}
    np.testing.assert_array_equal(found["params", "x"], whole)
    parts.popitem()
    assert set(joined({**parts, **other}, slices)) == {("params", "y")}
