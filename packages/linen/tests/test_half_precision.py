"""Reductions of half-precision numbers, and of nothing at all."""

import jax
import numpy as np
import pytest
from jax import lax
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
HALVES = [jnp.bfloat16, jnp.float16]
DTYPES = [*HALVES, jnp.float32]
INTEGERS = [jnp.int8, jnp.uint8, jnp.int16, jnp.int32, jnp.bool_]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", ["VALID", "SAME"])
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("value", [1, 100, 1e-4])
def test_average_pooling(dtype, padding, count_include_pad, value):
    x = jnp.full((1, 32, 32, 1), value, dtype)
    y = nn.avg_pool(x, (32, 32), None, padding, count_include_pad)
    assert y.dtype == dtype
    if padding == "VALID" or not count_include_pad:
        np.testing.assert_allclose(
            *np.float32([y.ravel(), x.ravel()[: y.size]]), rtol=3e-5
        )


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_average_pooling_of_integers(dtype, count_include_pad):
    x = jnp.full((1, 4, 4, 1), 100, dtype)
    y = nn.avg_pool(x, (2, 2), count_include_pad=count_include_pad)
    assert y.dtype == jnp.float32
    assert (y == x[0, 0, 0, 0]).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("init", [0.0, jnp.zeros(())], ids=["number", "array"])
@pytest.mark.parametrize("add", [lax.add, jnp.add])
def test_sums_of_windows(dtype, init, add):
    x = jnp.ones((1, 32, 32, 1), dtype)
    y = nn.pool(x, init, add, (32, 32), None, "VALID")
    assert y.dtype == dtype
    assert y.ravel().tolist() == [1024.0]


@pytest.mark.parametrize("dtype", HALVES)
def test_gradients_of_average_pooling(dtype):
    x = jnp.ones((1, 32, 32, 1), dtype)
    grad = jax.grad(lambda x: nn.avg_pool(x, (32, 32)).sum().astype(jnp.float32))(x)
    assert grad.dtype == dtype
    assert (grad == dtype(1 / 1024)).all()


NORMS = [
    nn.BatchNorm(use_running_average=False),
    nn.LayerNorm(),
    nn.RMSNorm(),
    nn.GroupNorm(num_groups=2),
    nn.InstanceNorm(),
]


@pytest.mark.parametrize("layer", NORMS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("own_dtype", [False, True])
def test_norms_of_large_numbers(layer, dtype, own_dtype):
    scale = jnp.float32(300)
    x = (scale * jax.random.normal(KEY, (64, 8, 4))).astype(dtype)
    if own_dtype:
        layer = layer.clone(dtype=dtype, param_dtype=dtype)
    y, _ = layer.init_with_output(KEY, x)
    expected, _ = layer.clone(
        dtype=jnp.float32, param_dtype=jnp.float32
    ).init_with_output(KEY, x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), expected, atol=0.02)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("layer", [nn.WeightNorm, nn.SpectralNorm])
@pytest.mark.parametrize("size", [1e-4, 300])
def test_weights_that_are_normalized(dtype, layer, size):
    kwargs = {} if layer is nn.WeightNorm else {"update_stats": True}

    def run(dtype):
        def init(*args):
            return (size * nn.initializers.normal(1.0)(args[0], args[1])).astype(dtype)

        dense = nn.Dense(6, kernel_init=init, dtype=jnp.float32, use_bias=False)
        options = {} if layer is nn.WeightNorm else {"n_steps": 50}
        wrapped = layer(dense, **options)
        return wrapped.init_with_output(KEY, jnp.eye(5), **kwargs)[0]

    np.testing.assert_allclose(run(dtype), run(jnp.float32), atol=0.02)


@pytest.mark.parametrize("dtype", HALVES)
def test_moving_averages_are_rounded_once(dtype):
    layer = nn.BatchNorm(
        use_running_average=False, force_float32_reductions=False, param_dtype=dtype
    )
    x = jnp.array([[1.0, 4.0], [3.0, 8.0]], dtype)
    variables = layer.init(KEY, x)
    for _ in range(3):
        before = variables["batch_stats"]
        _, updates = layer.apply(variables, x, mutable=["batch_stats"])
        variables = {**variables, **updates}
        for name, new in (("mean", [2, 6]), ("var", [1, 4])):
            average = variables["batch_stats"][name]
            exact = 0.99 * np.float64(before[name]) + 0.01 * np.float64(new)
            assert average.dtype == dtype
            assert (average == jnp.asarray(exact, dtype)).all()


@pytest.mark.parametrize("dtype", HALVES)
def test_attention_weights_sum_to_one(dtype):
    q = 4 * jax.random.normal(KEY, (1, 8, 2, 16))
    k = 4 * jax.random.normal(jax.random.key(1), (1, 1024, 2, 16))
    v = jnp.ones((1, 1024, 2, 16))
    y = nn.dot_product_attention(*[x.astype(dtype) for x in (q, k, v)])
    np.testing.assert_allclose(y.astype(jnp.float32), 1, atol=0.02)


# What counts nothing.


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("hidden", ["all", "one feature", "empty batch"])
def test_batches_of_nothing_leave_running_averages(fast, hidden):
    layer = nn.BatchNorm(
        use_running_average=False, use_fast_variance=fast, momentum=0.5
    )
    x = jax.random.normal(KEY, (6, 3))
    variables = layer.init(KEY, x)
    _, updates = layer.apply(variables, x, mutable=["batch_stats"])
    variables = {**variables, **updates}
    before = variables["batch_stats"]
    mask = np.ones((6, 3), bool)
    if hidden == "empty batch":
        x, mask = x[:0], None
    elif hidden == "all":
        mask[...] = False
    else:
        mask[:, 1] = False

    def run(variables, x):
        return layer.apply(variables, x, mask=mask, mutable=["batch_stats"])

    y, updates = run(variables, x)
    after = updates["batch_stats"]
    same = {
        "mean": after["mean"] == before["mean"],
        "var": after["var"] == before["var"],
    }
    for kept in same.values():
        assert kept.tolist() == (
            [False, True, False] if hidden == "one feature" else [True] * 3
        )
    assert jnp.isfinite(y).all()
    # Where nothing counts the averages are used.
    by_averages = layer.clone(use_running_average=True).apply(variables, x)
    if hidden != "one feature":
        np.testing.assert_allclose(y, by_averages, rtol=1e-6)
    else:
        np.testing.assert_allclose(y[:, 1], by_averages[:, 1], rtol=1e-6)
    grads = jax.grad(lambda v, x: (run(v, x)[0] ** 2).sum(), argnums=(0, 1))(
        {"params": variables["params"], "batch_stats": before}, x
    )
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("layer", NORMS[1:], ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("fast", [True, False])
def test_an_example_of_nothing_is_finite(layer, fast):
    layer = layer.clone(use_fast_variance=fast)
    x = jax.random.normal(KEY, (3, 5, 4))
    mask = np.ones((3, 5, 4), bool)
    mask[1] = False
    variables = layer.init(KEY, x)
    y = layer.apply(variables, x, mask=mask)
    assert jnp.isfinite(y).all()
    # The others are as ever.
    seen = layer.apply(variables, x[jnp.array([0, 2])])
    np.testing.assert_allclose(y[jnp.array([0, 2])], seen, rtol=1e-5, atol=1e-6)
    grad = jax.grad(lambda x: (layer.apply(variables, x, mask=mask) ** 2).sum())(x)
    assert jnp.isfinite(grad).all()


@pytest.mark.parametrize("fast", [True, False])
def test_devices_on_which_nothing_counts_do_not_count(fast):
    layer = nn.BatchNorm(
        use_running_average=False, axis_name="i", use_fast_variance=fast
    )
    x = jax.random.normal(KEY, (3, 4, 2))
    variables = layer.init(KEY, x[0])
    mask = np.ones((3, 4, 2), bool)
    mask[1] = False

    def run(x, mask):
        return layer.apply(variables, x, mask=mask, mutable=["batch_stats"])[1]

    updates = jax.vmap(run, axis_name="i")(x, mask)
    others = jnp.array([0, 2])
    expected = jax.vmap(run, axis_name="i")(x[others], mask[others])
    for name in ("mean", "var"):
        found = updates["batch_stats"][name]
        np.testing.assert_allclose(
            found[0], expected["batch_stats"][name][0], rtol=1e-5
        )
        assert (found == found[0]).all()
    none = jax.vmap(run, axis_name="i")(x, np.zeros_like(mask))["batch_stats"]
    assert (none["mean"] == 0).all()
    assert (none["var"] == 1).all()


# Rates.


def attention(rate):
    return nn.MultiHeadDotProductAttention(2, dropout_rate=rate, deterministic=False)


def self_attention(rate):
    return nn.SelfAttention(2, dropout_rate=rate, deterministic=False)


def weights(rate):
    x = jnp.ones((1, 2, 2, 4))
    return nn.dot_product_attention_weights(x, x, dropout_rate=rate, dropout_rng=KEY)


def mixed(rate):
    x = jnp.ones((1, 2, 2, 4))
    return nn.dot_product_attention(x, x, x, dropout_rate=rate, dropout_rng=KEY)


@pytest.mark.parametrize("rate", [-0.1, float("nan"), 1.5, float("inf"), -1])
@pytest.mark.parametrize("use", [attention, self_attention, weights, mixed, nn.Dropout])
@pytest.mark.parametrize("deterministic", [False, True])
def test_rates_are_probabilities(rate, use, deterministic):
    with pytest.raises(ValueError, match=f"{rate}"):
        layer = use(rate)
        if isinstance(layer, nn.Module):
            layer.clone(deterministic=deterministic).init(
                {"params": KEY, "dropout": KEY}, jnp.ones((1, 2, 4))
            )
