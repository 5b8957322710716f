"""Layers that copy the release's own, on its helpers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def test_a_copied_batch_norm_gives_what_the_layer_gives(flax):
    from flax import linen as nn
    from flax.linen.normalization import (
        _canonicalize_axes,
        _compute_stats,
        _normalize,
    )

    class Renorm(nn.Module):
        use_scale: bool = True

        @nn.compact
        def __call__(self, x):
            axes = _canonicalize_axes(x.ndim, -1)
            others = tuple(i for i in range(x.ndim) if i not in axes)
            mean, var = _compute_stats(x, others, None, axis_name=None)
            ra_mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
            ra_mean.value = 0.99 * ra_mean.value + 0.01 * mean
            return _normalize(
                *(self, x, mean, var, others, axes, None, jnp.float32, 1e-5),
                *(True, self.use_scale, nn.initializers.zeros, nn.initializers.ones),
            )

    x = jax.random.normal(jax.random.key(1), (4, 3, 2))
    key = jax.random.key(0)
    y, variables = Renorm().init_with_output(key, x)
    layer = nn.BatchNorm(use_running_average=False)
    expected, of_layer = layer.init_with_output(key, x)
    np.testing.assert_array_equal(y, expected)
    assert jax.tree.map(jnp.shape, variables["params"]) == (
        jax.tree.map(jnp.shape, of_layer["params"])
    )
    assert list(Renorm(use_scale=False).init(key, x)["params"]) == ["bias"]


@pytest.mark.parametrize("use_fast_variance", [True, False])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.complex64, jnp.int32])
def test_statistics(flax, dtype, use_fast_variance):
    from flax.linen.normalization import _compute_stats

    x = jnp.arange(12).reshape(3, 4).astype(dtype)
    options = {"use_fast_variance": use_fast_variance}
    mean, var = _compute_stats(x, (-1,), None, **options)
    wide = np.asarray(x, np.complex64 if dtype == jnp.complex64 else np.float32)
    np.testing.assert_allclose(mean, wide.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(var, wide.var(-1), rtol=1e-5)
    mask = jnp.array([1, 1, 0, 1])
    mean, var = _compute_stats(x, 1, None, mask=mask, **options)
    np.testing.assert_allclose(mean, wide[:, [0, 1, 3]].mean(-1), rtol=1e-6)
    mean, var = _compute_stats(x, 1, None, use_mean=False, **options)
    np.testing.assert_array_equal(mean, np.zeros(3))
    np.testing.assert_allclose(var, (abs(wide) ** 2).mean(-1), rtol=1e-6)


def test_dtype_without_wider_reductions(flax):
    from flax.linen.normalization import _compute_stats

    x = jnp.ones((2, 3), jnp.bfloat16)
    for force, dtype in ((True, jnp.float32), (False, jnp.bfloat16)):
        for value in _compute_stats(x, 0, None, force_float32_reductions=force):
            assert value.dtype == dtype


def test_axes_squares_and_norms(flax):
    from flax.linen.normalization import _abs_sq, _canonicalize_axes, _l2_normalize

    assert _canonicalize_axes(3, -1) == (2,)
    assert _canonicalize_axes(3, [0, -1, 2]) == (0, 2)
    assert _abs_sq(jnp.array([3.0 + 4j])).tolist() == [25]
    assert _abs_sq(jnp.array([3.0])).tolist() == [9]
    x = jnp.array([[3.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(_l2_normalize(x, axis=-1)[1], [0.6, 0.8])
    norm = jnp.linalg.norm(_l2_normalize(x))
    np.testing.assert_allclose(norm, 1)


# As `inspect.signature` shows them in flax 0.12.8, without annotations.
SIGNATURES = {
    "_canonicalize_axes": "(rank, axes)",
    "_compute_stats": "(x, axes, dtype, axis_name=None, axis_index_groups=None, "
    "use_mean=True, use_fast_variance=True, mask=None, force_float32_reductions=True)",
    "_normalize": "(mdl, x, mean, var, reduction_axes, feature_axes, dtype, "
    "param_dtype, epsilon, use_bias, use_scale, bias_init, scale_init, "
    "force_float32_reductions=True)",
    "_l2_normalize": "(x, axis=None, eps=1e-12)",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(flax, name):
    signature = inspect.signature(getattr(flax.linen.normalization, name))
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]
