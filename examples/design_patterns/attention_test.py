"""Heads by vmap are the attention of the library, and masks hide."""

import attention
import jax
import jax.numpy as jnp
import numpy as np

import batiste.linen as nn


def test_it_is_the_attention_of_the_library():
    x = jax.random.normal(jax.random.key(0), (2, 5, 8))
    memory = jax.random.normal(jax.random.key(1), (2, 6, 8))
    model = attention.MultiHeadAttention(heads=2, depth=3, features=7)
    y, variables = model.init_with_output(jax.random.key(2), x, memory)
    heads = variables["params"]["heads"]
    # There the axis of heads comes before the last, and of the output's kernel first.
    params = {
        name: {"kernel": heads[name]["kernel"].swapaxes(0, 1)}
        for name in ("query", "key", "value")
    }
    params["out"] = {"kernel": heads["out"]["kernel"]}
    theirs = nn.MultiHeadDotProductAttention(
        num_heads=2, qkv_features=6, out_features=7, use_bias=False
    )
    expected = theirs.apply({"params": params}, x, memory)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_heads_have_parameters_of_their_own():
    x = jnp.ones((1, 2, 4))
    model = attention.MultiHeadAttention(heads=3, depth=2, features=4)
    kernel = model.init(jax.random.key(0), x, x)["params"]["heads"]["query"]["kernel"]
    assert kernel.shape == (3, 4, 2)
    assert not np.array_equal(kernel[0], kernel[1])


def test_what_is_hidden_has_no_weight():
    key = jax.random.normal(jax.random.key(0), (4, 3))
    value = jnp.eye(4)
    mask = jnp.array([[True, False, True, False]])
    weights = attention.attend(key[:1], key, value, mask)
    np.testing.assert_array_equal(weights[0, jnp.array([1, 3])], 0)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)


def test_it_runs(capsys):
    attention.main()
    assert "seen at [3, 4]" in capsys.readouterr().out
