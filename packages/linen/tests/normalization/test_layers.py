"""Tests of batiste.linen.normalization.layers."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from batiste import linen as nn
from batiste.core import errors
from batiste.linen.normalization import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    RMSNorm,
)

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (4, 5, 6)) * 3 + 2
normal = jax.nn.initializers.normal(1.0)
PLAIN = [
    BatchNorm(use_running_average=False),
    LayerNorm(),
    RMSNorm(),
    GroupNorm(2),
    InstanceNorm(),
]


def normalized(x, axes):
    x = np.asarray(x, np.float64)
    return (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-9)


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (BatchNorm(use_running_average=False), (0, 1)),
        (BatchNorm(use_running_average=False, axis=1), (0, 2)),
        (BatchNorm(use_running_average=False, axis=(1, -1)), (0,)),
        (LayerNorm(), (2,)),
        (LayerNorm(reduction_axes=(1, 2), feature_axes=(1, 2)), (1, 2)),
        (GroupNorm(1), (1, 2)),
        (GroupNorm(6), (1,)),
        (GroupNorm(None, 1), (1,)),
        (GroupNorm(6, reduction_axes=(0, 1, 2)), (0, 1)),
        (InstanceNorm(), (1,)),
        (InstanceNorm(feature_axes=1), (2,)),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_moments_of_the_result(layer, axes, fast):
    layer = layer.clone(use_fast_variance=fast)
    y, _ = layer.init_with_output(KEY, X)
    np.testing.assert_allclose(y, normalized(X, axes), rtol=1e-3, atol=1e-4)


def test_group_norm_groups_channels():
    y, _ = GroupNorm(3).init_with_output(KEY, X)
    expected = normalized(X.reshape(4, 5, 3, 2), (1, 3)).reshape(X.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_rms_norm():
    y, variables = RMSNorm(scale_init=normal).init_with_output(KEY, X)
    rms = np.sqrt((np.asarray(X) ** 2).mean(-1, keepdims=True))
    expected = X / rms * variables["params"]["scale"]
    np.testing.assert_allclose(y, expected, rtol=1e-4)


@pytest.mark.parametrize("layer", PLAIN)
def test_scale_and_bias(layer):
    plain, variables = layer.init_with_output(KEY, X)
    scale, bias = jnp.arange(6.0), jnp.arange(6.0)[::-1]
    params = {"scale": scale, "bias": bias}
    if isinstance(layer, RMSNorm):
        del params["bias"]
        bias = 0
    y, _ = layer.apply({**variables, "params": params}, X, mutable=["batch_stats"])
    np.testing.assert_allclose(y, plain * scale + bias, rtol=1e-4, atol=1e-5)
    bare = layer.clone(use_scale=False)
    if not isinstance(layer, RMSNorm):
        bare = bare.clone(use_bias=False)
    assert "params" not in bare.init(KEY, X)


@pytest.mark.parametrize("layer", PLAIN)
def test_masks(layer):
    mask = np.ones(X.shape, bool)
    mask[:, 3:] = False
    if isinstance(layer, (LayerNorm, RMSNorm)):
        mask = np.broadcast_to([True] * 4 + [False] * 2, X.shape)
    variables = layer.init(KEY, X)
    apply = dict(mutable=["batch_stats"], mask=mask)
    y, _ = layer.apply(variables, X, **apply)
    # What is masked out does not change the rest.
    z, _ = layer.apply(variables, jnp.where(mask, X, 1000.0), **apply)
    np.testing.assert_allclose(z[mask], y[mask], rtol=1e-5)
    with pytest.raises(ValueError, match=r"mask of shape \(5, 4\) does not broadcast"):
        layer.apply(variables, X, mask=np.ones((5, 4)), mutable=["batch_stats"])


def test_a_mask_may_have_ones_and_other_dtypes():
    mask = jnp.array([1.0, 1, 0, 0, 1]).reshape(5, 1)
    for layer in (InstanceNorm(), GroupNorm(2)):
        variables = layer.init(KEY, X)
        y = layer.apply(variables, X, mask=mask)
        whole = jnp.broadcast_to(mask > 0, X.shape)
        expected = layer.apply(variables, X, mask=whole)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_running_averages():
    layer = BatchNorm(momentum=0.75)
    variables = layer.init(KEY, X, use_running_average=False)
    stats = variables["batch_stats"]
    assert stats["mean"].tolist() == [0] * 6
    assert stats["var"].tolist() == [1] * 6
    _, updated = layer.apply(
        variables, X, use_running_average=False, mutable=["batch_stats"]
    )
    stats = updated["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.25 * X.mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.75 + 0.25 * X.var((0, 1)), rtol=1e-4)
    y = layer.apply({**variables, **updated}, X, use_running_average=True)
    expected = (X - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("of_averages", ["float32", "float16"])
@pytest.mark.parametrize("in_float32", [True, False])
def test_averages_of_which_nothing_counts_stay_to_the_bit(
    dtype, of_averages, in_float32
):
    layer = BatchNorm(
        use_running_average=False,
        momentum=0.9,
        dtype=dtype,
        force_float32_reductions=in_float32,
    )
    variables = layer.init(KEY, X)
    stats = jax.tree.map(
        lambda a: jax.random.uniform(KEY, a.shape, of_averages, 0.1, 3),
        variables["batch_stats"],
    )
    mask = np.ones(X.shape, bool)
    mask[..., 2:] = False
    _, updated = layer.apply(
        {**variables, "batch_stats": stats},
        X.astype(dtype),
        mask=mask,
        mutable=["batch_stats"],
    )
    for name, new in updated["batch_stats"].items():
        np.testing.assert_array_equal(new[2:], stats[name][2:])
        assert (new[:2] != stats[name][:2]).all()


def test_batch_norm_over_devices():
    layer = BatchNorm(use_running_average=False, axis_name="batch")
    # The axis need not exist while initializing.
    variables = layer.init(KEY, X[0])
    y, updated = jax.vmap(
        lambda x: layer.apply(variables, x, mutable=["batch_stats"]),
        axis_name="batch",
    )(X)
    whole = layer.clone(axis_name=None)
    expected, expected_stats = whole.apply(variables, X, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        updated["batch_stats"]["mean"][0],
        expected_stats["batch_stats"]["mean"],
        rtol=1e-5,
    )


@pytest.mark.parametrize("layer", PLAIN)
@pytest.mark.parametrize(
    ("input_dtype", "fields", "expected"),
    [
        (jnp.bfloat16, {}, jnp.float32),
        (jnp.bfloat16, {"param_dtype": jnp.bfloat16}, jnp.bfloat16),
        (jnp.float32, {"dtype": jnp.float16}, jnp.float16),
        (jnp.int32, {}, jnp.float32),
        (jnp.complex64, {}, jnp.complex64),
    ],
)
def test_dtypes(layer, input_dtype, fields, expected):
    x = X.astype(input_dtype)
    y, variables = layer.clone(**fields).init_with_output(KEY, x)
    assert y.dtype == expected
    param_dtype = fields.get("param_dtype", jnp.float32)
    assert {p.dtype for p in variables["params"].values()} == {jnp.dtype(param_dtype)}


@pytest.mark.parametrize(
    ("force", "expected"), [(True, "float32"), (False, "bfloat16")]
)
def test_batch_norm_keeps_averages_in(force, expected):
    layer = nn.BatchNorm(
        False,
        dtype=jnp.bfloat16,
        param_dtype=jnp.bfloat16,
        force_float32_reductions=force,
    )
    variables = layer.init(KEY, X)
    _, updated = layer.apply(variables, X, mutable=["batch_stats"])
    for averages in (variables["batch_stats"], updated["batch_stats"]):
        assert {name: a.dtype.name for name, a in averages.items()} == {
            "mean": expected,
            "var": expected,
        }


@pytest.fixture
def wide():
    """Lets arrays be of 64 bits."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("layer", PLAIN)
def test_float64(layer, wide):
    y, _ = layer.init_with_output(KEY, np.asarray(X, np.float64))
    assert y.dtype == jnp.float64


@pytest.mark.parametrize("layer", PLAIN)
def test_no_examples(layer):
    variables = layer.init(KEY, X)
    y, _ = layer.apply(variables, X[:0], mutable=["batch_stats"])
    assert y.shape == (0, 5, 6)


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (
            LayerNorm(),
            X,
            "square reduce_sum div reduce_sum div square sub max "
            "broadcast_in_dim add rsqrt reshape mul broadcast_in_dim sub mul "
            "reshape add",
        ),
        (
            RMSNorm(),
            X,
            "square reduce_sum div broadcast_in_dim add rsqrt reshape mul mul",
        ),
        (
            BatchNorm(use_running_average=True),
            X,
            "broadcast_in_dim add rsqrt reshape mul broadcast_in_dim sub mul "
            "reshape add",
        ),
    ],
)
def test_jaxprs(layer, x, expected):
    jaxpr = jax.make_jaxpr(layer.apply)(layer.init(KEY, x), x)
    assert [e.primitive.name for e in jaxpr.eqns] == expected.split()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (BatchNorm(), "`use_running_average` is given nowhere"),
        (BatchNorm(False, axis=3), "'n': axis=3 names axis 3.*shape"),
        (LayerNorm(reduction_axes=(1, -4)), "'n': reduction_axes=.*names axis -4"),
        (LayerNorm(feature_axes=3), "'n': feature_axes=3 names axis 3"),
        (RMSNorm(reduction_axes=3), "'n': reduction_axes=3 names axis 3"),
        (GroupNorm(4), "'n': num_groups=4 does not divide the 6 channels"),
        (GroupNorm(0), "'n': num_groups=0 does not divide"),
        (GroupNorm(None), "'n': .* one of num_groups=None and group_size=None"),
        (
            GroupNorm(2, 3),
            "one of num_groups=2 and group_size=3; set the other to None",
        ),
        (GroupNorm(None, 4), "'n': group_size=4 does not divide the 6 channels"),
        (GroupNorm(2, reduction_axes=1), r"'n': reduction_axes=1 leaves out the last"),
        (InstanceNorm(feature_axes=0), "'n': feature_axes=0 has axis 0, where the"),
    ],
)
def test_errors(layer, message):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return layer.copy(name="n")(x)

    with pytest.raises(ValueError, match=message):
        Model().init(KEY, X)


def test_running_averages_that_cannot_move():
    layer = BatchNorm(use_running_average=False)
    with pytest.raises(errors.ModifyScopeVariableError, match="batch_stats"):
        layer.apply(layer.init(KEY, X), X)
