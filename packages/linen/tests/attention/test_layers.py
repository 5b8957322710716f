"""Tests of batiste.linen.attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import batiste.linen as nn
from batiste.core import errors
from batiste.linen.attention import (
    MultiHeadAttention,
    MultiHeadDotProductAttention,
    SelfAttention,
    dot_product_attention,
    make_causal_mask,
)

KEY = jax.random.key(0)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X, Y, Z = normal(1, 2, 5, 8), normal(2, 2, 7, 8), normal(3, 2, 7, 6)
MASK = normal(4, 2, 1, 5, 7) > 0


@functools.cache
def variables_of(*shapes):
    layer = MultiHeadDotProductAttention(num_heads=2)
    return jax.jit(layer.init)(KEY, *map(jnp.ones, shapes))


def call(*args, layer=None, variables=None, **kwargs):
    layer = layer or MultiHeadDotProductAttention(num_heads=2)
    return layer.apply(variables or variables_of(X.shape, Y.shape), *args, **kwargs)


def shapes(variables):
    return {
        "/".join(str(key.key) for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(variables))
    }


def init_shapes(layer, *args, **kwargs):
    return shapes(jax.eval_shape(functools.partial(layer.init, **kwargs), KEY, *args))


def test_parameters():
    layer = MultiHeadDotProductAttention(num_heads=2, qkv_features=6, out_features=3)
    assert init_shapes(layer, X, Y, Z) == {
        "params/query/kernel": (8, 2, 3),
        "params/query/bias": (2, 3),
        "params/key/kernel": (8, 2, 3),
        "params/key/bias": (2, 3),
        "params/value/kernel": (6, 2, 3),
        "params/value/bias": (2, 3),
        "params/out/kernel": (2, 3, 3),
        "params/out/bias": (3,),
    }
    layer = MultiHeadDotProductAttention(num_heads=2, use_bias=False, normalize_qk=True)
    names = {path.removeprefix("params/") for path in init_shapes(layer, X)}
    assert names == {
        "query/kernel",
        "key/kernel",
        "value/kernel",
        "out/kernel",
        "query_ln/scale",
        "key_ln/scale",
    }


def test_output_equals_the_formula():
    params = variables_of(X.shape, Y.shape)["params"]
    q, k, v = (
        np.einsum("btf,fhd->bthd", inputs, params[name]["kernel"])
        for name, inputs in (("query", X), ("key", Y), ("value", Y))
    )
    attended = dot_product_attention(q, k, v, mask=MASK)
    expected = np.einsum("bqhd,hdf->bqf", attended, params["out"]["kernel"])
    np.testing.assert_allclose(call(X, Y, mask=MASK), expected, rtol=1e-4, atol=1e-5)


def test_both_generations_of_arguments():
    expected = call(X, Y, mask=MASK)
    for y in (
        call(X, Y, MASK),
        call(X, Y, MASK, True),
        call(X, Y, MASK.astype(np.float32)),
        call(X, Y, None, True, mask=MASK),
        call(X, inputs_kv=Y, mask=MASK),
        call(inputs_q=X, inputs_kv=Y, mask=MASK, deterministic=True),
        call(X, Y, Y, mask=MASK),
        call(X, inputs_k=Y, inputs_v=Y, mask=MASK),
    ):
        np.testing.assert_array_equal(y, expected)
    variables = variables_of(X.shape, Y.shape, Z.shape)
    assert call(X, Y, Z, variables=variables).shape == X.shape
    own = variables_of(X.shape)
    np.testing.assert_array_equal(call(X, variables=own), call(X, X, X, variables=own))


@pytest.mark.parametrize(
    "shape", [(5, 7), (1, 1, 7), (2, 2, 5, 7), (1, 2, 5, 7), (2, 1, 1, 7)]
)
def test_a_third_argument_shaped_as_a_mask_is_one(shape):
    mask = (normal(5, *shape) > 0).astype(np.float32)
    np.testing.assert_array_equal(call(X, Y, mask), call(X, Y, mask=mask))


def test_a_boolean_third_argument_is_a_mask():
    x = normal(1, 5, 5)
    layer = MultiHeadDotProductAttention(num_heads=1)
    variables = layer.init(KEY, x)
    causal = np.tri(5, dtype=bool)
    np.testing.assert_array_equal(
        layer.apply(variables, x, x, causal), layer.apply(variables, x, mask=causal)
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((X, Y), {"inputs_kv": Y}, "inputs_kv was given together with inputs_k"),
        ((X,), {"inputs_kv": Y, "inputs_v": Y}, "inputs_kv was given together"),
        ((X, None, Y), {}, "inputs_v was given without inputs_k"),
        ((X, Y, MASK), {"mask": MASK}, r"of shape \(2, 1, 5, 7\), was taken for a ma"),
        ((X, Y, Z[:, 1:]), {"mask": MASK}, r"was taken for a mask.*\(2, 7, 8\)"),
    ],
)
def test_ambiguous_inputs_are_refused(args, kwargs, message):
    with pytest.raises(ValueError, match="^MultiHeadDotProductAttention: .*" + message):
        call(*args, **kwargs)


def test_heads_must_divide_the_features():
    class Block(nn.Module):
        @nn.compact
        def __call__(self, x):
            return MultiHeadDotProductAttention(num_heads=3)(x)

    with pytest.raises(ValueError, match=r"Attention_0': 8 features cannot .* 3 heads"):
        Block().init(KEY, X)


def test_self_attention_and_the_short_name():
    variables, causal = variables_of(X.shape), make_causal_mask(X[..., 0])
    expected = call(X, mask=causal, variables=variables)
    for y in (
        call(X, causal, layer=SelfAttention(num_heads=2), variables=variables),
        call(X, causal, True, layer=SelfAttention(num_heads=2), variables=variables),
        call(X, mask=causal, layer=MultiHeadAttention(2), variables=variables),
    ):
        np.testing.assert_array_equal(y, expected)


def test_dropout():
    layer = MultiHeadDotProductAttention(num_heads=2, dropout_rate=0.5)
    rngs = {"dropout": KEY}
    whole = call(X, Y)
    np.testing.assert_array_equal(call(X, Y, layer=layer, deterministic=True), whole)
    dropped = call(X, Y, layer=layer, deterministic=False, rngs=rngs)
    assert not np.allclose(dropped, whole)
    trained = layer.clone(deterministic=False)
    np.testing.assert_array_equal(call(X, Y, layer=trained, rngs=rngs), dropped)
    own = call(X, Y, layer=trained, dropout_rng=jax.random.key(1))
    assert not np.allclose(own, dropped)
    with pytest.raises(ValueError, match="deterministic"):
        call(X, Y, layer=layer)
    with pytest.raises(errors.InvalidRngError, match="dropout"):
        call(X, Y, layer=trained)


def test_sowing_the_weights():
    _, state = call(X, Y, mask=MASK, sow_weights=True, mutable="intermediates")
    (weights,) = state["intermediates"]["attention_weights"]
    assert weights.shape == (2, 2, 5, 7)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)
    assert (weights[~np.broadcast_to(MASK, weights.shape)] == 0).all()


def test_an_attention_function_gets_the_arguments_that_it_has():
    seen = {}

    def newer(query, key, value, *, mask=None, module=None, dropout_rate):
        seen.update(mask=mask, module=module, dropout_rate=dropout_rate)
        return query

    def older(query, key, value, **kwargs):
        seen.update(kwargs)
        return query

    def bare(query, key, value):
        return query

    kwargs = {"mask": MASK, "sow_weights": True}
    layer = MultiHeadDotProductAttention(num_heads=2, attention_fn=newer)
    call(X, Y, layer=layer, **kwargs)
    assert seen["mask"] is MASK
    assert seen["dropout_rate"] == 0.0
    assert isinstance(seen["module"], MultiHeadDotProductAttention)
    seen.clear()
    call(X, Y, layer=layer.clone(attention_fn=older))
    assert sorted(seen) == [
        "broadcast_dropout",
        "deterministic",
        "dropout_rate",
        "dropout_rng",
        "dtype",
        "mask",
        "precision",
    ]
    call(X, Y, layer=layer.clone(attention_fn=bare))


def test_injected_operations():
    calls = []

    def make(name, fn):
        def operation(*args, **kwargs):
            calls.append(name)
            return fn(*args, **kwargs)

        return operation

    dot_general, einsum = jax.lax.dot_general, jnp.einsum
    layer = MultiHeadDotProductAttention(
        num_heads=2,
        qkv_dot_general=make("qkv", dot_general),
        out_dot_general_cls=lambda: make("out", dot_general),
        qk_attn_weights_einsum_cls=lambda: make("qk", einsum),
        attn_weights_value_einsum_cls=lambda: make("av", einsum),
    )
    np.testing.assert_allclose(
        call(X, Y, layer=layer), call(X, Y), rtol=1e-4, atol=1e-5
    )
    assert calls == ["qkv", "qkv", "qkv", "qk", "av", "out"]


def test_initializers_of_the_output():
    ones = jax.nn.initializers.ones
    layer = MultiHeadDotProductAttention(
        num_heads=2, out_kernel_init=ones, out_bias_init=ones
    )
    out = layer.init(KEY, X)["params"]["out"]
    assert (out["kernel"] == 1).all()
    assert (out["bias"] == 1).all()


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_decoding_step_by_step_gives_what_causal_attention_gives(batch):
    x = normal(1, *batch, 4, 8)
    layer = SelfAttention(num_heads=2, decode=True)
    variables = dict(jax.jit(layer.init)(KEY, x))
    assert shapes({"cache": variables["cache"]}) == {
        "cache/cached_key": (*batch, 4, 2, 4),
        "cache/cached_value": (*batch, 4, 2, 4),
        "cache/cache_index": (),
    }
    expected = SelfAttention(num_heads=2).apply(
        variables, x, make_causal_mask(x[..., 0])
    )
    step = jax.jit(functools.partial(layer.apply, mutable=["cache"]))
    outputs = []
    for i in range(4):
        y, updates = step(variables, x[..., i : i + 1, :])
        variables.update(updates)
        outputs.append(y)
    y = np.concatenate(outputs, -2)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert variables["cache"]["cache_index"] == 4


def test_a_mask_narrows_what_decoding_sees():
    layer = MultiHeadDotProductAttention(num_heads=2, decode=True)
    variables = layer.init(KEY, X)
    nothing = layer.apply(variables, X[:, :1], mutable=["cache"])[0]
    mask = np.ones((2, 1, 1, 5), np.float32)
    masked = layer.apply(variables, X[:, :1], mask=mask, mutable=["cache"])[0]
    np.testing.assert_array_equal(masked, nothing)


def test_decoding_errors():
    layer = MultiHeadDotProductAttention(num_heads=2, decode=True)
    variables = layer.init(KEY, X)
    message = r"shape \(2, 1, 2, 4\) by its cache, but .* has shape \(2, 5, 2, 4\)"
    with pytest.raises(ValueError, match="decoding step takes one .* of " + message):
        layer.apply(variables, X, mutable=["cache"])
    with pytest.raises(errors.ModifyScopeVariableError, match="cached_key"):
        layer.apply(variables, X[:, :1])


def test_half_precision_and_zero_sizes():
    layer = MultiHeadDotProductAttention(num_heads=2, dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(KEY, X)
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    assert layer.apply(variables, X[:0]).shape == (0, 5, 8)
    assert layer.apply(variables, X[:, :0]).shape == (2, 0, 8)
