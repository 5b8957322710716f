"""Tests of batiste.linen.partitioning.transforms."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste.linen as nn
from batiste.core.errors import InvalidArgumentError
from batiste.linen import partitioning

KEY = jax.random.key(0)
X = jnp.ones((3, 2))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _=None):
        init = nn.initializers.normal()
        w = partitioning.param_with_axes("w", init, (2, 2), axes=("in", "out"))
        bare = partitioning.param_with_axes("bare", init, (2,))
        mean = partitioning.variable_with_axes(
            "state", "mean", jnp.zeros, (2,), axes=("out",)
        )
        y = x @ w + bare
        if mean.is_mutable():
            mean.value = mean.value + y.sum()
        return y, mean.value


def names(tree):
    return {name: axes.names for name, axes in tree.items()}


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_scan(axis):
    scan = partitioning.scan_with_axes(
        Layer,
        {"params": axis if axis != 2 else 1, "state": 0},
        split_rngs={"params": True},
        length=3,
        axis_name="layers",
        axes_collections=("params", "state"),
    )
    variables = scan().init(KEY, X, None)
    expected = ["in", "out"]
    expected.insert({0: 0, 1: 1, 2: 1, -1: 2}[axis], "layers")
    assert names(variables["params_axes"]) == {"w_axes": tuple(expected)}
    assert names(variables["state_axes"]) == {"mean_axes": ("layers", "out")}
    y, _ = scan().apply(variables, X, None)
    assert y.shape == (3, 2)


def test_scan_of_shared_and_carried():
    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            w = partitioning.param_with_axes(
                "w", nn.initializers.ones, (2,), axes=("in",)
            )
            return x * w, None

    scan = partitioning.scan_with_axes(
        Body, variable_broadcast="params", split_rngs={"params": False}, length=3
    )
    variables = scan().init(KEY, X, None)
    assert names(variables["params_axes"]) == {"w_axes": ("in",)}


def test_vmap():
    class Scale(nn.Module):
        @nn.compact
        def __call__(self, x):
            w = partitioning.param_with_axes(
                "w", nn.initializers.ones, (2, 2), axes=("in", "out")
            )
            return x @ w

    vmap = partitioning.vmap_with_axes(
        Scale,
        {"params": 1, "state": None},
        {"params": True},
        partitioning_axis_names={"params": "expert", "state": "unused"},
    )
    variables = vmap().init(KEY, X)
    assert names(variables["params_axes"]) == {"w_axes": ("in", "expert", "out")}
    assert type(vmap()).__name__ == "Map_variablesVmapScale"


def test_remat():
    remat = partitioning.remat(nn.BatchNorm, static_argnums=(1,))
    assert remat.__name__ == "Core_remat_staticBatchNorm"

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return remat(name="norm")(x, not train)

    variables = Net().init(KEY, X, False)
    y, _ = Net().apply(variables, X, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, 0, atol=1e-5)


@pytest.mark.parametrize(
    "lift", [nn.partitioning.scan_with_axes, nn.partitioning.vmap_with_axes]
)
@pytest.mark.parametrize("axes", [None, 0, ["params"], "params"])
def test_variable_axes_that_are_no_mapping(lift, axes):
    with pytest.raises(InvalidArgumentError, match="variable_axes") as info:
        lift(nn.Dense, axes, split_rngs={"params": True})
    assert "mapping" in str(info.value)
