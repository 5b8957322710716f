"""Tests of batiste.linen.transforms.vmap."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn

KEY = jax.random.key(0)
X = jnp.arange(6.0).reshape(3, 2)


def test_stacked_parameters():
    dense = nn.vmap(nn.Dense, {"params": 0}, {"params": True})(4)
    y, variables = dense.init_with_output(KEY, X)
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (3, 2, 4)
    assert not jnp.allclose(kernel[0], kernel[1])
    np.testing.assert_allclose(y, jnp.einsum("bi,bij->bj", X, kernel), rtol=1e-5)


def test_shared_parameters_and_axes():
    dense = nn.vmap(
        nn.Dense, {"params": None}, {"params": False}, in_axes=1, out_axes=-1
    )(4)
    y, variables = dense.init_with_output(KEY, X)
    assert variables["params"]["kernel"].shape == (3, 4)
    assert y.shape == (4, 2)


def test_axis_size_and_name():
    class Centered(nn.Module):
        @nn.compact
        def __call__(self, x):
            y = nn.Dense(4)(x)
            return y - jax.lax.pmean(y, "heads")

    heads = nn.vmap(
        Centered,
        {"params": 0},
        {"params": True},
        in_axes=None,
        axis_size=5,
        axis_name="heads",
    )
    y, _ = heads().init_with_output(KEY, X)
    assert y.shape == (5, 3, 4)
    np.testing.assert_allclose(y.sum(0), 0, atol=1e-5)


def test_keywords_are_passed_as_they_are():
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x, *, train, layer=None):
            assert isinstance(train, bool)
            y = nn.Dense(2)(x)
            return y if layer is None else layer(y)

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            layers = nn.vmap(Layer, {"params": 0}, {"params": True})(name="a")
            return layers(x, train=True, layer=nn.Dense(3))

    variables = Net().init(KEY, X)
    # A module among them is lifted, too.
    assert variables["params"]["Dense_0"]["kernel"].shape == (3, 2, 3)


def test_sizes_that_differ():
    dense = nn.vmap(
        lambda mdl, x, y: x, {"params": 0}, {"params": True}, in_axes=(0, 0)
    )

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return dense(self, x, x[:2])

    with pytest.raises(ValueError, match="size"):
        Net().init(KEY, X)


def test_names_of_axes():
    init = nn.with_partitioning(nn.initializers.ones, ("in", "out"))
    for axis, names in ((0, ("batch", "in", "out")), (1, ("in", "batch", "out"))):
        dense = nn.vmap(
            nn.Dense,
            {"params": axis},
            {"params": True},
            metadata_params={nn.PARTITION_NAME: "batch"},
        )(4, kernel_init=init, use_bias=False)
        assert dense.init(KEY, X)["params"]["kernel"].names == names
