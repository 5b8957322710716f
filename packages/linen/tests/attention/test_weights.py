"""Tests of batiste.linen.attention.weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import errors
from batiste.linen.attention.weights import (
    dot_product_attention,
    dot_product_attention_weights,
)

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(*batch):
    return (
        normal(1, *batch, 5, 3, 4),
        normal(2, *batch, 7, 3, 4),
        normal(3, *batch, 7, 3, 6),
    )


def reference(q, k, v, bias: Any = 0.0, mask: Any = True):
    weights = np.einsum("...qhd,...khd->...hqk", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = np.where(mask, weights, np.finfo(np.float32).min)
    weights = np.exp(weights - weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("...hqk,...khd->...qhd", weights, v)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_attention_equals_its_formula(batch):
    q, k, v = inputs(*batch)
    bias, mask = normal(4, 3, 5, 7), normal(5, *batch, 1, 5, 7) > 0
    y = dot_product_attention(q, k, v, bias, mask)
    np.testing.assert_allclose(y, reference(q, k, v, bias, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("q_length", "kv_length"), [(0, 3), (3, 0), (0, 0)])
def test_zero_sizes(q_length, kv_length):
    q, kv = jnp.ones((2, q_length, 3, 4)), jnp.ones((2, kv_length, 3, 4))
    y = dot_product_attention(q, kv, kv)
    np.testing.assert_array_equal(y, np.zeros(q.shape))


def test_a_mask_may_be_of_any_type_and_broadcast():
    q, k, v = inputs(2)
    mask = normal(5, 7) > 0
    expected = dot_product_attention(q, k, v, mask=mask)
    for other in (mask.astype(np.float32), mask.astype(np.int32), mask[None, None]):
        np.testing.assert_array_equal(
            dot_product_attention(q, k, v, mask=other), expected
        )


def test_dtypes():
    q, k, v = inputs(2)
    assert dot_product_attention(q, k, v, dtype=jnp.bfloat16).dtype == jnp.bfloat16
    q, k = q.astype(jnp.bfloat16), k.astype(jnp.bfloat16)
    weights = dot_product_attention_weights(q, k, force_fp32_for_softmax=True)
    assert weights.dtype == jnp.float32
    assert dot_product_attention_weights(q, k).dtype == jnp.bfloat16
    ints = jnp.ones((2, 5, 3, 4), int)
    assert dot_product_attention(ints, ints, ints).dtype == jnp.float32


def test_there_are_only_the_equations_of_hand_written_code():
    def by_hand(q, k, v, mask):
        weights = jnp.einsum("bqhd,bkhd->bhqk", q / np.float32(2), k)
        weights = jnp.where(mask, weights, np.finfo(np.float32).min)
        return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(weights), v)

    def count(fn):
        args = *inputs(2), np.ones((2, 3, 5, 7), bool)
        return str(jax.make_jaxpr(fn)(*args)).count(" = ")

    def ours(q, k, v, mask):
        return dot_product_attention(q, k, v, mask=mask)

    assert count(ours) <= count(by_hand)


def test_dropout_is_shared_by_batch_and_heads_unless_told_otherwise():
    q, k, _ = inputs(2)
    options: dict[str, Any] = {"dropout_rng": KEY, "dropout_rate": 0.5}
    kept = dot_product_attention_weights(q, k, **options) != 0
    assert (kept == kept[:1, :1]).all()
    assert 0 < kept.mean() < 1
    own = dot_product_attention_weights(q, k, broadcast_dropout=False, **options) != 0
    assert not (own == own[:1, :1]).all()
    whole = dot_product_attention_weights(q, k)
    np.testing.assert_allclose(
        dot_product_attention_weights(q, k, **options)[kept], 2 * whole[kept], rtol=1e-5
    )
    np.testing.assert_array_equal(
        dot_product_attention_weights(q, k, deterministic=True, **options), whole
    )


def test_dropping_every_weight_gives_zeros_and_finite_gradients():
    def loss(q, k, v):
        return dot_product_attention(q, k, v, dropout_rng=KEY, dropout_rate=1.0).sum()

    value, grads = jax.value_and_grad(loss, (0, 1, 2))(*inputs(2))
    assert value == 0.0
    assert all(np.isfinite(g).all() for g in grads)


def test_injected_operations_are_used():
    q, k, v = inputs(2)
    expected = dot_product_attention(q, k, v)
    specs, shapes = [], []

    def einsum(spec, *args):
        specs.append(spec)
        return jnp.einsum(spec, *args)

    def dot_general(x, y, *args, **kwargs):
        shapes.append((x.shape, y.shape))
        return jax.lax.dot_general(x, y, *args, **kwargs)

    y = dot_product_attention(
        q, k, v, qk_attn_weights_einsum=einsum, attn_weights_value_einsum=einsum
    )
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    assert specs == ["...qhd,...khd->...hqk", "...hqk,...khd->...qhd"]
    y = dot_product_attention(q, k, v, einsum_dot_general=dot_general)
    np.testing.assert_array_equal(y, expected)
    assert shapes == [(q.shape, k.shape), (v.shape, (2, 3, 5, 7))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), "equally many axes, at least 3: the"),
        (
            lambda q, k, v: (q[0, 0], k[0, 0], v[0, 0]),
            r"at least 3: the shapes are \(3, 4\)",
        ),
        (lambda q, k, v: (q, k[:1], v), "different batch axes"),
        (lambda q, k, v: (q, k[:, :, :1], v), "different numbers of heads"),
        (
            lambda q, k, v: (q, k[..., :1], v),
            "query and the key .* differ in their depth",
        ),
        (
            lambda q, k, v: (q, k, v[:, :2]),
            r"value .* differ in their length.*\(2, 2, 3, 6\) \(val",
        ),
    ],
)
def test_shapes_that_do_not_match(change, message):
    with pytest.raises(ValueError, match=message):
        dot_product_attention(*change(*inputs(2)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dropout_rate": 0.5}, errors.InvalidRngError, "pass dropout_rng=key"),
        ({"dropout_rate": 1.5, "dropout_rng": KEY}, ValueError, "1.5 is not a proba"),
        ({"dropout_rate": -1.0, "dropout_rng": KEY}, ValueError, "-1.0 is not a proba"),
        (
            {"qk_attn_weights_einsum": jnp.einsum},
            ValueError,
            "one was given and attn_weights_value_einsum was not",
        ),
        (
            {"attn_weights_value_einsum": jnp.einsum},
            ValueError,
            "one was given and qk_attn_weights_einsum was not",
        ),
    ],
)
def test_options_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        dot_product_attention(*inputs(2), **options)


def test_einsum_excludes_precision():
    q, k, _ = inputs(2)
    with pytest.raises(ValueError, match="no product to hand precision=highest"):
        dot_product_attention_weights(q, k, precision="highest", einsum=jnp.einsum)
