"""Paddings, batches and sizes around convolutions."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste import linen as nn
from batiste.linen.linear.conv import Conv
from batiste.linen.linear.conv_shapes import (
    Window,
    canonicalize_padding,
    named_padding,
    one_batch_axis,
    output_positions,
    per_dimension,
    restore_batch,
    spatial_sizes,
)


@pytest.mark.parametrize(
    ("padding", "rank", "expected"),
    [
        ("SAME", 3, "SAME"),
        (1, 2, [(1, 1), (1, 1)]),
        (np.int64(1), 1, [(1, 1)]),
        ((1, 2), 2, [(1, 1), (2, 2)]),
        ([1, (2, 3)], 2, [(1, 1), (2, 3)]),
        ([[1, 2], [3, 4]], 2, [(1, 2), (3, 4)]),
        ((), 0, []),
    ],
)
def test_canonicalize_padding(padding, rank, expected):
    assert canonicalize_padding(padding, rank) == expected


@pytest.mark.parametrize(
    "padding", [None, 1.5, (1,), (1, 2, 3), ((1, 2, 3), 3), ((1, "a"), 3), (None, 1)]
)
def test_invalid_padding(padding):
    with pytest.raises(
        ValueError, match="padding .* does not say how much to add to 2 spatial"
    ):
        canonicalize_padding(padding, 2)


sizes = st.integers(1, 3)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.tuples(sizes, sizes, sizes, st.integers(0, 2)), min_size=1, max_size=2),
)
def test_any_batch_axes(batch, dims):
    kernel, strides, dilation, padding = zip(*dims)
    layer = Conv(2, kernel, strides, padding, kernel_dilation=dilation)
    x = jnp.ones((*batch, *[9] * len(dims), 3))
    y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    spatial = [(9 + 2 * p - (k - 1) * d - 1) // s + 1 for k, s, d, p in dims]
    assert y.shape == (*batch, *spatial, 2)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(sizes, sizes, sizes, sizes), min_size=1, max_size=2),
    st.sampled_from(["SAME", "SAME_LOWER", "VALID"]),
)
def test_output_positions_are_the_shape_of_the_output(dims, padding):
    window = Window(*zip(*dims))
    if window.input_dilation != (1,) * len(dims):
        padding = [(2, 1)] * len(dims)  # `lax` knows no names of padding then
    layer = Conv(2, window.kernel_size, window.strides, padding)
    layer = layer.clone(
        input_dilation=window.input_dilation, kernel_dilation=window.kernel_dilation
    )
    x = jnp.ones((1, *[9] * len(dims), 3))
    y, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    spatial = output_positions(x.shape[1:-1], window, padding)
    assert y.shape == (1, *spatial, 2)


def test_one_number_or_none_is_for_every_dimension():
    assert spatial_sizes(3) == (3,)
    assert per_dimension(nn.Module(), "strides", 2, (3, 3)) == (2, 2)
    assert per_dimension(nn.Module(), "strides", None, (3, 3)) == (1, 1)
    assert per_dimension(nn.Module(), "strides", [1, 2], (3, 3)) == (1, 2)


def test_a_name_of_padding_is_one_that_the_layer_knows():
    assert named_padding(nn.Module(), "same", 2, ("SAME",)) == "SAME"
    assert named_padding(nn.Module(), 1, 2, ("SAME",)) == ((1, 1), (1, 1))
    bound = nn.Module().bind({})
    with pytest.raises(ValueError, match="unknown padding 'VALID'; use one of SAME"):
        named_padding(bound, "valid", 2, ("SAME",))


def test_one_batch_axis_is_undone():
    x = jnp.arange(24.0).reshape(2, 3, 4, 1)
    flat, batch = one_batch_axis(nn.Module(), x, (3,))
    assert flat.shape == (6, 4, 1)
    assert batch == (2, 3)
    assert np.array_equal(restore_batch(flat, batch), x)
