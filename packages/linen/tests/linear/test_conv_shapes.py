"""Paddings, batches and sizes around convolutions."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import numpy as jnp

from batiste.linen.linear.conv import Conv
from batiste.linen.linear.conv_shapes import canonicalize_padding


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
