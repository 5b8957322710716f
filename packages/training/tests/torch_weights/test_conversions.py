"""Each way of a tensor to a variable, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import batiste.linen as nn
from batiste.training.torch_weights.conversions import conversions
from batiste.training.torch_weights.linen_units import LinenUnit
from batiste.training.torch_weights.torch_units import TorchUnit


def _linen(kind, module=None, channels=0, **shapes):
    keys = {role: ("params", "l", role) for role in shapes}
    return LinenUnit("l", kind, keys, shapes, module, channels)


def _torch(name="t", layout="linear", kind="", **shapes):
    return TorchUnit(name, {r: f"{name}.{r}" for r in shapes}, shapes, layout, kind)


def _hows(linen, torch):
    return [way.how for way in conversions(linen, torch)]


def _there_and_back(linen, torch):
    """The variables of numbered tensors; the way back gives the same tensors."""
    (way,) = conversions(linen, torch)
    found = []
    for piece in way.pieces:
        shapes = [torch.shapes[n.rpartition(".")[2]] for n in piece.tensors]
        tensors = [np.arange(np.prod(s), dtype="f4").reshape(s) for s in shapes]
        variables = piece.to_linen(tensors)
        for tensor, back in zip(tensors, piece.to_torch(variables), strict=True):
            np.testing.assert_array_equal(back, tensor)
        found += variables
    return found


SIZES = st.integers(1, 4)


@given(SIZES, SIZES, SIZES, SIZES)
def test_heads_of_dense_layers(n_in, heads, depth, more):
    dense = _linen(
        "dense", nn.DenseGeneral((heads, depth)), weight=(n_in, heads, depth)
    )
    (kernel,) = _there_and_back(dense, _torch(weight=(heads * depth, n_in)))
    tensor = np.arange(kernel.size).reshape(heads * depth, n_in)
    assert kernel[-1, -1, 0] == tensor[(heads - 1) * depth, -1]
    both = nn.DenseGeneral(more, axis=(-2, -1))
    out = _linen("dense", both, weight=(heads, depth, more))
    _there_and_back(out, _torch(weight=(more, heads * depth)))


@given(st.lists(st.integers(2, 4), min_size=1, max_size=3), SIZES, SIZES)
def test_convolutions(spatial, n_in, n_out):
    x = np.arange(np.prod(spatial) * n_in * n_out).reshape(n_out, n_in, *spatial)
    unit = _linen("conv", weight=(*spatial, n_in, n_out))
    (kernel,) = _there_and_back(unit, _torch(weight=x.shape))
    zeros, last = (0,) * len(spatial), tuple(n - 1 for n in spatial)
    assert kernel[(*zeros, n_in - 1, 0)] == x[(0, n_in - 1, *zeros)]

    unit = _linen("conv_transpose", nn.ConvTranspose(1, 1), weight=kernel.shape)
    (kernel,) = _there_and_back(unit, _torch(weight=(n_in, n_out, *spatial)))
    x = x.reshape(n_in, n_out, *spatial)
    assert kernel[(*zeros, n_in - 1, 0)] == x[(n_in - 1, 0, *last)]


def test_a_flattened_array_has_its_channels_first():
    unit = _linen("dense", channels=2, weight=(6, 1))
    found = conversions(unit, _torch(weight=(1, 6)))
    assert [way.how for way in found] == [
        "transpose",
        "transpose, flattened channels first",
    ]
    piece = found[1].pieces[0]
    (kernel,) = piece.to_linen([np.arange(6).reshape(1, 6)])
    assert kernel[:, 0].tolist() == [0, 3, 1, 4, 2, 5]
    np.testing.assert_array_equal(piece.to_torch([kernel])[0], [np.arange(6)])


def test_layouts_decide_whether_a_matrix_is_transposed():
    dense = _linen("dense", nn.Dense(2), weight=(2, 2))
    assert _hows(dense, _torch(weight=(2, 2))) == ["transpose"]
    assert _hows(dense, _torch(layout="conv1d", weight=(2, 2))) == ["as it is"]
    assert _hows(dense, _torch(layout="", weight=(2, 2))) == ["transpose", "as it is"]


@pytest.mark.parametrize(
    ("linen", "torch"),
    [
        (_linen("dense", nn.Dense(2), weight=(3, 2)), _torch(weight=(3, 2))),
        (_linen("dense", nn.Dense(2), weight=(3, 2)), _torch(weight=(2, 3), bias=(2,))),
        (_linen("norm", weight=(3,), bias=(3,)), _torch(weight=(3,), bias=(4,))),
        (_linen("embed", weight=(3, 2)), _torch(weight=(3, 2), kind="Linear")),
        (_linen("conv", weight=(3, 2, 2)), _torch(weight=(2, 2))),
        (_linen("dense", nn.Dense(2), weight=(2, 2)), _torch(weight=(2,))),
        (_linen("gru", **{"ir/kernel": (3, 2)}), _torch(weight=(2,))),
        (_linen("triple"), _torch(weight=(2,))),
        (_linen("dense", nn.Dense(2), weight=(2,)), _torch(weight=(2,))),
    ],
)
def test_what_does_not_fit(linen, torch):
    assert conversions(linen, torch) == []


def test_the_class_of_a_torch_module_decides():
    table = _linen("embed", weight=(3, 3))
    assert _hows(table, _torch(weight=(3, 3), kind="Embedding")) == ["as it is"]
    matrix = _linen("value", weight=(3, 3))
    assert _hows(matrix, _torch(weight=(3, 3), kind="Embedding")) == ["as it is"]
    assert _hows(matrix, _torch(weight=(3, 3), kind="Linear")) == [
        "as it is",
        "transpose",
    ]


def test_axes_of_one_do_not_count_in_values():
    unit = _linen("value", weight=(1, 3, 2))
    assert _hows(unit, _torch(weight=(3, 2))) == ["reshape"]
    assert _hows(unit, _torch(weight=(2, 3))) == []
    (kernel,) = _there_and_back(
        _linen("conv", weight=(1, 1, 3, 2)), _torch(weight=(2, 3))
    )
    assert kernel.shape == (1, 1, 3, 2)


def _parts(make, **shapes):
    return tuple(make(**shapes) for _ in range(3))


@given(SIZES, SIZES, SIZES)
def test_three_layers_of_one(n_in, heads, depth):
    n = heads * depth
    one = _linen("dense", nn.DenseGeneral((heads, depth)), weight=(n_in, heads, depth))
    triple = LinenUnit("a", "triple", {}, {}, parts=(one, one, one))
    for layout, shape in (("linear", (3 * n, n_in)), ("conv1d", (n_in, 3 * n))):
        q, k, v = _there_and_back(triple, _torch(layout=layout, weight=shape))
        x = np.arange(3 * n * n_in).reshape(shape)
        x = x if layout == "conv1d" else x.T
        np.testing.assert_array_equal(k.reshape(n_in, n), x[:, n : 2 * n])
        assert q.shape == v.shape == (n_in, heads, depth)


def test_three_layers_of_one_within_each_head():
    one = _linen("dense", nn.DenseGeneral((2, 1)), weight=(1, 2, 1), bias=(2, 1))
    triple = LinenUnit("a", "triple", {}, {}, parts=(one, one, one))
    torch = _torch("query_key_value", weight=(6, 1), bias=(6,))
    apart, within = conversions(triple, torch)
    assert (apart.how, within.how) == (
        "split in three",
        "split in three within each head",
    )
    for piece in within.pieces:
        x = np.arange(6.0).reshape((6, 1) if "weight" in piece.tensors[0] else 6)
        q, k, v = piece.to_linen([x])
        assert (q.ravel().tolist(), v.ravel().tolist()) == ([0, 3], [2, 5])
        np.testing.assert_array_equal(piece.to_torch([q, k, v])[0], x)


def test_one_layer_of_three():
    torch = TorchUnit("a", {}, {}, parts=_parts(_torch, weight=(2, 3), bias=(2,)))
    dense = _linen("dense", nn.Dense(6), weight=(3, 6), bias=(6,))
    (way,) = conversions(dense, torch)
    parts = [np.full((2, 3), i) for i in range(3)]
    (kernel,) = way.pieces[0].to_linen(parts)
    assert kernel[0].tolist() == [0, 0, 1, 1, 2, 2]
    for back, part in zip(way.pieces[0].to_torch([kernel]), parts, strict=True):
        np.testing.assert_array_equal(back, part)
    assert conversions(_linen("dense", nn.Dense(6), weight=(3, 6)), torch) == []
    other = _linen("dense", nn.Dense(9), weight=(3, 9), bias=(9,))
    assert conversions(other, torch) == []
