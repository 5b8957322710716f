"""Tests of batiste.core.nn.normalization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.core import apply, errors, init, nn

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(2, 3, (6, 5, 4)).astype(np.float32)


def standardized(x, axes, epsilon):
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(var + epsilon)


@pytest.mark.parametrize(
    ("axis", "reduced"), [(-1, (0, 1)), ((1, -1), (0,)), (0, (1, 2)), ((), (0, 1, 2))]
)
def test_batch_norm_normalizes_over_the_other_axes(axis, reduced):
    y, variables = init(nn.batch_norm)(KEY, X, axis=axis)
    np.testing.assert_allclose(y, standardized(X, reduced, 1e-5), atol=1e-4)
    kept = tuple(n for ax, n in enumerate(X.shape) if ax not in reduced)
    for col, names in (("batch_stats", "mean var"), ("params", "scale bias")):
        assert {n: v.shape for n, v in variables[col].items()} == dict.fromkeys(
            names.split(), kept
        )


def test_batch_norm_updates_and_uses_the_moving_averages():
    _, variables = init(nn.batch_norm)(KEY, X)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], jnp.zeros(4))
    _, updates = apply(nn.batch_norm, mutable=["batch_stats"])(
        variables, X, momentum=0.5
    )
    stats = updates["batch_stats"]
    np.testing.assert_allclose(stats["mean"], X.mean((0, 1)) / 2, rtol=1e-4)
    np.testing.assert_allclose(stats["var"], (1 + X.var((0, 1))) / 2, rtol=1e-3)
    y = apply(nn.batch_norm)({**variables, **updates}, X, use_running_average=True)
    expected = (X - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_averages_over_a_mapped_axis():
    _, variables = init(nn.batch_norm)(KEY, X[0])

    def run(x):
        return apply(nn.batch_norm, mutable=["batch_stats"])(
            variables, x, axis_name="batch"
        )

    y, updates = jax.vmap(run, axis_name="batch")(X)
    np.testing.assert_allclose(y, standardized(X, (0, 1), 1e-5), atol=1e-4)
    mean = updates["batch_stats"]["mean"]
    np.testing.assert_allclose(mean, np.tile(X.mean((0, 1)) * 0.01, (6, 1)), rtol=1e-3)


def test_batch_norm_keeps_statistics_in_the_collection_asked_for():
    _, variables = init(nn.batch_norm)(KEY, X, kind="stats")
    assert set(variables) == {"params", "stats"}


def test_batch_norm_needs_a_mutable_collection_to_update():
    _, variables = init(nn.batch_norm)(KEY, X)
    with pytest.raises(errors.ModifyScopeVariableError, match="batch_stats"):
        apply(nn.batch_norm)(variables, X)


@pytest.mark.parametrize("axis", [3, (1, -2)])
def test_batch_norm_refuses_bad_axes(axis):
    with pytest.raises(ValueError, match="do not name distinct axes"):
        init(nn.batch_norm)(KEY, X, axis=axis)


def test_layer_norm_normalizes_vectors():
    y, variables = init(nn.layer_norm)(KEY, X)
    np.testing.assert_allclose(y, standardized(X, -1, 1e-6), atol=1e-4)
    assert variables["params"]["scale"].shape == (4,)


def test_layer_norm_has_no_parameters_when_told_so():
    y, variables = init(nn.layer_norm)(KEY, jnp.bfloat16(X), scale=False, bias=False)
    assert not variables.get("params")
    assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "kwargs", [dict(num_groups=2), dict(num_groups=None, group_size=2)]
)
def test_group_norm_normalizes_groups(kwargs):
    y, variables = init(nn.group_norm)(KEY, X, **kwargs)
    grouped = np.asarray(X).reshape(6, 5, 2, 2)
    expected = standardized(grouped, (1, 3), 1e-6).reshape(X.shape)
    np.testing.assert_allclose(y, expected, atol=1e-4)
    assert variables["params"]["scale"].shape == (1, 1, 4)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(num_groups=2, group_size=2), "num_groups=2 and group_size=2. Give one"),
        (dict(num_groups=None), "num_groups=None and group_size=None. Give one"),
        (dict(num_groups=3), 'in "/" cannot divide the 4 channels .* num_groups=3'),
        (dict(), "cannot divide the 4 channels .* with num_groups=32"),
        (dict(num_groups=None, group_size=3), "the 4 channels .* with group_size=3"),
        (dict(num_groups=0), "cannot divide the 4 channels .* with num_groups=0"),
    ],
)
def test_group_norm_refuses_bad_groups(kwargs, message):
    with pytest.raises(ValueError, match=message):
        init(nn.group_norm)(KEY, X, **kwargs)


@pytest.mark.parametrize("layer", [nn.batch_norm, nn.group_norm])
def test_dtype_is_that_of_the_result(layer):
    kwargs = {"num_groups": 2} if layer is nn.group_norm else {}
    y, variables = init(layer)(KEY, jnp.bfloat16(X), dtype=jnp.bfloat16, **kwargs)
    assert y.dtype == jnp.bfloat16
    assert all(v.dtype == jnp.float32 for v in jax.tree.leaves(variables))


@pytest.mark.parametrize("layer", [nn.batch_norm, nn.layer_norm, nn.group_norm])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_scale_and_bias_are_optional(layer, scale, bias):
    arguments = {"num_groups": 2} if layer is nn.group_norm else {}
    whole, _ = init(layer)(KEY, X, **arguments)
    y, variables = init(layer)(KEY, X, scale=scale, bias=bias, **arguments)
    wanted = {name for name, is_there in (("scale", scale), ("bias", bias)) if is_there}
    assert set(variables.get("params", ())) == wanted
    np.testing.assert_array_equal(y, whole)
