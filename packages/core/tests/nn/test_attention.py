"""Tests of batiste.core.nn.attention."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, nn
from batiste.core.nn.attention import CacheEntry, make_padding_mask

KEY = jax.random.key(0)
multi_head = nn.multi_head_dot_product_attention


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def attend(*args, rngs=None, **kwargs):
    # Compiled as a whole, which is faster than operation by operation.
    return jax.jit(
        lambda: apply(nn.dot_product_attention)({}, *args, rngs=rngs, **kwargs)
    )()


def init_multi_head(*args, **kwargs):
    return jax.jit(lambda: init(multi_head)(KEY, *args, **kwargs))()


def reference(q, k, v, bias: Any = 0.0):
    weights = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(weights - weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


def test_attention_equals_its_formula():
    q, k, v = normal(1, 2, 5, 3, 4), normal(2, 2, 7, 3, 4), normal(3, 2, 7, 3, 6)
    bias = normal(4, 2, 3, 5, 7)
    np.testing.assert_allclose(
        attend(q, k, v, bias=bias), reference(q, k, v, bias), rtol=1e-4, atol=1e-5
    )


def test_attention_along_one_of_two_axes():
    x = normal(1, 2, 5, 6, 3, 4)
    along_second = np.stack([reference(y, y, y) for y in x.swapaxes(0, 1)], 1)
    np.testing.assert_allclose(
        attend(x, x, x, axis=2), along_second, rtol=1e-4, atol=1e-5
    )


def test_attention_along_two_axes_is_attention_along_the_flattened_axis():
    x = normal(1, 2, 3, 4, 2, 5)
    flat = x.reshape(2, 12, 2, 5)
    expected = reference(flat, flat, flat).reshape(x.shape)
    np.testing.assert_allclose(attend(x, x, x), expected, rtol=1e-4, atol=1e-5)


def test_dropout_is_shared_by_batch_and_heads_unless_told_otherwise():
    zeros, eye = np.zeros((2, 9, 3, 1)), np.eye(9)[None, :, None]
    value = np.broadcast_to(eye, (2, 9, 3, 9))
    rngs = {"dropout": KEY}
    shared = attend(zeros, zeros, value, dropout_rate=0.5, rngs=rngs)
    shared = np.asarray(shared) != 0
    assert (shared == shared[:1, :, :1]).all()
    assert 0 < shared.mean() < 1
    own = attend(
        zeros, zeros, value, dropout_rate=0.5, rngs=rngs, broadcast_dropout=False
    )
    own = np.asarray(own) != 0
    assert not (own == own[:1, :, :1]).all()


def test_dropping_every_weight_gives_zeros():
    x = normal(1, 2, 5, 3, 4)
    y = attend(x, x, x, dropout_rate=1.0, dropout_rng=KEY)
    np.testing.assert_array_equal(y, jnp.zeros_like(y))


def test_dropout_needs_a_key():
    x = normal(1, 2, 5, 3, 4)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        attend(x, x, x, dropout_rate=0.5)


@pytest.mark.parametrize("axis", [0, 2, (1, 3), -3, ()])
def test_attention_refuses_bad_axes(axis):
    x = normal(1, 2, 5, 3, 4)
    with pytest.raises(ValueError, match='axes .* in "/" are not all between'):
        attend(x, x, x, axis=axis)


def test_attention_refuses_shapes_that_do_not_match():
    x = normal(1, 2, 5, 3, 4)
    with pytest.raises(ValueError, match=r"\(2, 5, 3, 4\) \(query\).*\(2, 4, 3, 4\)"):
        attend(x, x, x[:, 1:])


def test_multi_head_attention_projects_and_attends():
    x, y = normal(1, 2, 5, 6), normal(2, 2, 7, 6)
    out, variables = init_multi_head(x, y, num_heads=2, qkv_features=8, out_features=3)
    params = variables["params"]
    assert params["query"]["kernel"].shape == (6, 2, 4)
    assert params["out"]["kernel"].shape == (2, 4, 3)
    q, k, v = (
        np.einsum("btf,fhd->bthd", inputs, params[name]["kernel"])
        for name, inputs in (("query", x), ("key", y), ("value", y))
    )
    expected = np.einsum("bqhd,hdf->bqf", reference(q, k, v), params["out"]["kernel"])
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def depends_on(x, **kwargs):
    """For each position of the output, the positions of the input that it sees."""
    _, variables = init_multi_head(x, None, num_heads=2, **kwargs)

    def run(inputs):
        return apply(multi_head)(variables, x, inputs, num_heads=2, **kwargs)

    jac = jax.jit(jax.jacobian(run))(x)
    n = x.ndim - 1
    jac = np.abs(jac).sum((n, jac.ndim - 1)) > 1e-12
    return jac[(0, *[slice(None)] * (n - 1), 0)]


def test_causal_mask_hides_the_future():
    x = normal(1, 1, 4, 6)
    np.testing.assert_array_equal(
        depends_on(x, causal_mask=True), np.tri(4, dtype=bool)
    )


def test_causal_mask_along_two_axes_is_in_row_major_order():
    x = normal(1, 1, 2, 3, 4)
    seen = depends_on(x, causal_mask=True).reshape(6, 6)
    np.testing.assert_array_equal(seen, np.tri(6, dtype=bool))


def test_padding_and_segments_hide_positions():
    x = normal(1, 1, 4, 6)
    valid = jnp.array([True, True, True, False])[None, :, None]
    segments = jnp.array([0, 0, 1, 1])[None, :, None]
    seen = depends_on(x, padding_mask=valid, segmentation=segments)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]]
    # The last row is padding: it sees nothing, so that all weights are equal.
    np.testing.assert_array_equal(seen, np.array(expected, bool))


def test_a_mask_of_keys_alone_hides_keys():
    x = normal(1, 1, 3, 6)
    valid = jnp.array([True, False, True])[None, :, None]
    seen = depends_on(x, key_padding_mask=valid)
    np.testing.assert_array_equal(seen, np.tile(valid[0, :, 0], (3, 1)))


def test_padding_mask_along_one_of_two_axes():
    valid = np.random.default_rng(0).random((2, 3, 4, 1)) > 0.5
    mask = make_padding_mask(valid, valid, (2, 3, 4, 5, 6), (2, 3, 4, 5, 6), 2)
    assert mask.shape == (2, 3, 1, 4, 4)
    expected = valid[..., 0][:, :, None, :, None] & valid[..., 0][:, :, None, None]
    np.testing.assert_array_equal(mask, expected)


def test_padding_mask_defaults_to_all_valid():
    mask = make_padding_mask(None, None, (2, 3, 5, 6), (2, 4, 5, 6))
    np.testing.assert_array_equal(mask, np.ones((2, 1, 3, 4)))


@pytest.mark.parametrize("dims", [(5,), (2, 3)])
def test_decoding_step_by_step_gives_what_causal_attention_gives(dims):
    x = normal(1, 2, *dims, 8)
    kwargs = dict(num_heads=2, causal_mask=True)
    expected, _ = init_multi_head(x, None, **kwargs)
    _, variables = init_multi_head(x, None, cache=True, **kwargs)
    assert isinstance(variables["cache"]["entry"], CacheEntry)
    variables = dict(variables)
    step = jax.jit(
        lambda variables, x: apply(multi_head, mutable=["cache"])(
            variables, x, None, cache=True, **kwargs
        )
    )
    flat = x.reshape(2, -1, 8)
    outputs = []
    for i in range(flat.shape[1]):
        one = flat[:, i].reshape(2, *[1] * len(dims), 8)
        y, updates = step(variables, one)
        variables.update(updates)
        outputs.append(y.reshape(2, 8))
    y = jnp.stack(outputs, 1).reshape(x.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert variables["cache"]["entry"].i == flat.shape[1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(num_heads=4), "cannot divide 6 features among 4 heads"),
        (dict(num_heads=2, cache=True), "only for causal attention"),
        (dict(num_heads=2, attention_axis=2), "are not all between"),
        (
            dict(num_heads=2, padding_mask=jnp.ones((1, 3, 1))),
            r"\(1, 3, 1\), but the inputs need one that broadcasts to \(2, 5, 1\)",
        ),
    ],
)
def test_multi_head_attention_refuses(kwargs, message):
    with pytest.raises(ValueError, match=message):
        init(multi_head)(KEY, jnp.ones((2, 5, 6)), None, **kwargs)


def test_causal_cross_attention_is_refused():
    x, y = jnp.ones((2, 5, 6)), jnp.ones((2, 4, 6))
    with pytest.raises(ValueError, match="is for self-attention"):
        init(multi_head)(KEY, x, y, num_heads=2, causal_mask=True)


def test_a_decoding_step_takes_one_position():
    x = jnp.ones((2, 5, 6))
    kwargs = dict(num_heads=2, causal_mask=True, cache=True)
    _, variables = init_multi_head(x, None, **kwargs)
    with pytest.raises(ValueError, match=r"takes one position, .* \(2, 1, 2, 3\)"):
        apply(multi_head, mutable=["cache"])(variables, x, None, **kwargs)
