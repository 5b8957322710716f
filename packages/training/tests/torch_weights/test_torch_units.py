"""Layers of a state dict."""

import jax.numpy as jnp
import numpy as np
import pytest

from batiste.serialization import serialize
from batiste.training.errors import TorchWeightsError
from batiste.training.torch_weights.torch_units import (
    as_array,
    fused_triples,
    read_source,
)


def _state(*shapes, **named):
    return {n: np.ones(shape, np.float32) for n, shape in (*shapes, *named.items())}


def test_tensors_of_a_layer_are_one_unit():
    state = _state(
        ("bn.weight", (3,)),
        ("bn.bias", (3,)),
        ("bn.running_mean", (3,)),
        ("bn.running_var", (3,)),
        ("attn.in_proj_weight", (9, 3)),
        ("attn.in_proj_bias", (9,)),
        ("attn.out_proj.weight", (3, 3)),
        ("rnn.weight_ih_l0", (4, 3)),
        ("rnn.weight_hh_l0", (4, 4)),
        ("rnn.weight_ih_l0_reverse", (4, 3)),
        ("cls_token", (1, 1, 3)),
        ("old.gamma", (3,)),
        ("old.beta", (3,)),
        ("top.weight", (2, 2)),
    )
    units = {unit.name: unit for unit in read_source(state).units}
    assert list(units) == [
        *("bn", "attn.in_proj", "attn.out_proj", "rnn_l0", "rnn_l0_reverse"),
        *("cls_token", "old", "top"),
    ]
    assert set(units["bn"].shapes) == {"weight", "bias", "running_mean", "running_var"}
    assert units["attn.in_proj"].tensors["bias"] == "attn.in_proj_bias"
    assert set(units["rnn_l0"].shapes) == {"weight_ih", "weight_hh"}
    assert units["cls_token"].alone
    assert set(units["old"].shapes) == {"weight", "bias"}
    assert units["top"].names == ["top", "top.weight"]


def test_what_is_no_weight_is_left_out():
    state = _state(("bn.weight", (3,)))
    state["bn.num_batches_tracked"] = np.array(7)
    state["mask"] = np.ones((3, 3), bool)
    source = read_source(state)
    assert [unit.name for unit in source.units] == ["bn"]
    assert source.left_out["mask"] == "no weights: bool"
    assert "counts batches" in source.left_out["bn.num_batches_tracked"]


def test_an_alphabetical_dict_is_in_no_order():
    state = _state(("h.10.w", (1,)), ("h.2.w", (1,)), ("h.9.w", (1,)))
    source = read_source(state)
    assert not source.in_order
    assert [unit.name for unit in source.units] == ["h.2.w", "h.9.w", "h.10.w"]
    assert read_source(_state(("b", (1,)), ("a", (1,)))).in_order


def test_layouts_of_matrices():
    state = _state(
        ("h.attn.c_attn.weight", (4, 12)),
        ("h.attn.c_attn.bias", (12,)),
        ("h.attn.c_proj.weight", (4, 4)),
        ("h.attn.c_proj.bias", (4,)),
        ("fc.weight", (12, 4)),
        ("fc.bias", (12,)),
        ("square.weight", (4, 4)),
        ("square.bias", (4,)),
        ("a.c_attn.weight", (4, 4)),
        ("a.c_attn.bias", (4,)),
        ("mix", (4, 4)),
    )
    layouts = {unit.name: unit.layout for unit in read_source(state).units}
    assert layouts == {
        "h.attn.c_attn": "conv1d",
        "h.attn.c_proj": "conv1d",  # as what is beside it
        "fc": "linear",
        "square": "linear",  # as fc is
        "a.c_attn": "conv1d",  # as the other of that name
        "mix": "",
    }


def test_a_square_matrix_between_both_is_not_known():
    state = _state(
        ("a.weight", (4, 8)),
        ("a.bias", (8,)),
        ("b.weight", (8, 4)),
        ("b.bias", (8,)),
        ("c.weight", (4, 4)),
        ("c.bias", (4,)),
    )
    assert [unit.layout for unit in read_source(state).units] == [
        "conv1d",
        "linear",
        "",
    ]


def test_query_key_and_value_side_by_side_are_found():
    names = [f"h.{i}.{n}_proj.weight" for i in range(2) for n in "kvq"]
    units = read_source(_state(*((name, (4, 4)) for name in names))).units
    found = fused_triples(units)
    assert [unit.name for unit in found] == [
        "h.0.{q_proj,k_proj,v_proj}",
        "h.1.{q_proj,k_proj,v_proj}",
    ]
    assert "h.0.k_proj.weight" in found[0].names
    assert fused_triples(units[:2]) == []


def test_a_file_is_read_lazily_and_without_order(tmp_path):
    state = _state(("fc.weight", (2, 3)), ("fc.bias", (2,)))
    file = tmp_path / "model.safetensors"
    serialize(state, file, format="safetensors", separator=None)
    source = read_source(str(file))
    assert not source.in_order
    assert source.units[0].shapes == {"weight": (2, 3), "bias": (2,)}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (3, "this is a int"),
        ("model.bin", '"model.bin" is not a .safetensors file'),
        ({"epoch": 3}, "has int at 'epoch', where an array belongs"),
        ({1: np.ones(2)}, "has ndarray at 1"),
    ],
)
def test_what_is_no_state_dict_is_refused(source, text):
    with pytest.raises(TorchWeightsError, match=text):
        read_source(source)


def test_anything_with_array_is_an_array():
    class Own:
        shape, dtype = (2,), np.dtype("float32")

        def __array__(self, dtype=None, copy=None):
            return np.ones(2, np.float32)

    assert read_source({"a": Own()}).units[0].shapes == {"weight": (2,)}
    np.testing.assert_array_equal(as_array(Own()), [1, 1])
    assert as_array(jnp.ones(2)).shape == (2,)


def test_torch_tensors_are_arrays():
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.ones(2))
    np.testing.assert_array_equal(as_array(parameter), [1, 1])
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    assert as_array(half).dtype == jnp.bfloat16
    np.testing.assert_array_equal(as_array(half).astype(np.float32), [1.5, -2.0])
