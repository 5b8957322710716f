"""Tests of batiste.linen.attention.masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.linen.attention.masks import (
    combine_masks,
    make_attention_mask,
    make_causal_mask,
)

TRI = np.tri(4)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("extra", [0, 2])
def test_shapes(batch, extra):
    q, k = jnp.ones((*batch, 4)), jnp.ones((*batch, 5))
    ones = (1,) * extra
    mask = make_attention_mask(q, k, extra_batch_dims=extra)
    assert mask.shape == (*ones, *batch, 1, 4, 5)
    assert mask.dtype == jnp.float32
    assert make_causal_mask(q, extra).shape == (*ones, *batch, 1, 4, 4)


def test_attention_mask_compares_every_pair():
    segments = jnp.array([[0, 0, 1]])
    mask = make_attention_mask(segments, segments, jnp.equal, dtype=bool)
    assert mask.dtype == bool
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_array_equal(mask[0, 0], np.array(expected, bool))


@pytest.mark.parametrize("dtype", [jnp.float32, bool, jnp.int32])
def test_causal_mask(dtype):
    mask = make_causal_mask(jnp.ones((2, 4)), dtype=dtype)
    assert mask.dtype == dtype
    np.testing.assert_array_equal(mask, np.tile(TRI, (2, 1, 1, 1)))


def test_causal_mask_takes_anything_with_a_shape():
    abstract = jax.ShapeDtypeStruct((2, 4), jnp.int32)
    assert make_causal_mask(abstract).shape == (2, 1, 4, 4)
    assert make_causal_mask(np.zeros((2, 0))).shape == (2, 1, 0, 0)


def test_combine_masks_is_true_where_all_are():
    causal = make_causal_mask(jnp.ones((1, 4)))
    padding = jnp.array([1, 0, 1, 1])[None, None, None]
    combined = combine_masks(causal, None, padding, dtype=bool)
    assert combined is not None
    assert combined.dtype == bool
    np.testing.assert_array_equal(combined[0, 0], TRI * [1, 0, 1, 1] > 0)


def test_combine_masks_of_none_and_of_one():
    assert combine_masks() is None
    assert combine_masks(None, None) is None
    mask = combine_masks(jnp.array([True, False]), None)
    assert mask is not None
    assert mask.tolist() == [1.0, 0.0]


def test_combine_masks_refuses_other_ranks():
    with pytest.raises(ValueError, match=r"masks of \(2, 1\) axes cannot be combined"):
        combine_masks(jnp.ones((1, 2)), jnp.ones(2))
