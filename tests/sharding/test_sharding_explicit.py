"""Layers under meshes with explicit axes, where the sharding is a part of types."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from batiste import linen as nn

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}


def numbers(*shape):
    return jax.random.normal(jax.random.key(2), shape)


SEQUENCE = numbers(8, 6, 8)
IMAGE = numbers(8, 6, 6, 4)
IDS = np.arange(48).reshape(8, 6) % 5

DROPPED = {"dropout_rate": 0.5, "deterministic": False}
LAYERS = {
    "Dense": (nn.Dense(6), SEQUENCE),
    "DenseGeneral": (nn.DenseGeneral((2, 3)), SEQUENCE),
    "Einsum": (nn.Einsum((8, 6), "bti,io->bto"), SEQUENCE),
    "Embed": (nn.Embed(5, 6), IDS),
    "Dropout": (nn.Dropout(0.5, deterministic=False), SEQUENCE),
    "Dropout along": (nn.Dropout(0.5, (1,), deterministic=False), SEQUENCE),
    "Conv": (nn.Conv(6, (3, 3)), IMAGE),
    "ConvTranspose": (nn.ConvTranspose(6, (3, 3), strides=(2, 2)), IMAGE),
    "BatchNorm": (nn.BatchNorm(use_running_average=False), SEQUENCE),
    "LayerNorm": (nn.LayerNorm(), SEQUENCE),
    "RMSNorm": (nn.RMSNorm(), SEQUENCE),
    "GroupNorm": (nn.GroupNorm(2), IMAGE),
    "InstanceNorm": (nn.InstanceNorm(), IMAGE),
    "attention": (nn.MultiHeadDotProductAttention(2), SEQUENCE),
    "attention that drops": (nn.SelfAttention(2, **DROPPED), SEQUENCE),
    "SimpleCell": (nn.RNN(nn.SimpleCell(4)), SEQUENCE),
    "GRUCell": (nn.RNN(nn.GRUCell(4)), SEQUENCE),
    "OptimizedLSTMCell": (nn.RNN(nn.OptimizedLSTMCell(4)), SEQUENCE),
}


@pytest.fixture(params=[(2, 1), (4, 2)], ids=["2 devices", "8 devices"])
def explicit(request):
    """A mesh with the axes `data` and `model`, both explicit, in force."""
    if not hasattr(jax, "set_mesh"):
        pytest.skip("this JAX cannot put a mesh in force")
    kinds = (AxisType.Explicit,) * 2
    count = int(np.prod(request.param))
    mesh = jax.make_mesh(
        request.param,
        ("data", "model"),
        axis_types=kinds,
        devices=jax.devices()[:count],
    )
    with jax.set_mesh(mesh):
        yield mesh


def close(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-4)


def functions(layer):
    def run(params, x, stats):
        variables = {"params": params, **stats}
        return layer.apply(variables, x, rngs=RNGS, mutable=["batch_stats"])[0]

    def loss(params, x, stats):
        return (run(params, x, stats) ** 2).sum()

    return run, jax.grad(loss)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_forwards_and_gradients(name, explicit):
    layer, x = LAYERS[name]
    run, grad = (jax.jit(fn) for fn in functions(layer))
    with jax.set_mesh(jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,))):
        variables = dict(jax.device_get(layer.init(RNGS, x)))
        params = variables.pop("params", {})
        expected = jax.device_get(
            (run(params, x, variables), grad(params, x, variables))
        )
    x = jax.device_put(x, NamedSharding(explicit, PartitionSpec("data")))
    params, stats = jax.device_put(
        (params, variables), NamedSharding(explicit, PartitionSpec())
    )
    y = run(params, x, stats)
    close((y, grad(params, x, stats)), expected)
    assert y.sharding.spec[0] == "data"
    made = jax.jit(layer.init)(RNGS, x)
    close(made.get("params", {}), params)


def test_decoding(explicit):
    layer = nn.SelfAttention(2, decode=True)
    x = np.asarray(SEQUENCE)[:, :4]

    def decode(variables, x):
        cache, ys = variables["cache"], []
        for i in range(x.shape[1]):
            y, state = layer.apply(
                {**variables, "cache": cache}, x[:, i : i + 1], mutable=["cache"]
            )
            cache = state["cache"]
            ys.append(y)
        return jnp.concatenate(ys, 1)

    with jax.set_mesh(jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,))):
        variables = jax.device_get(layer.init(RNGS, x))
        expected = jax.device_get(jax.jit(decode)(variables, x))
    x = jax.device_put(x, NamedSharding(explicit, PartitionSpec("data")))
    params = jax.device_put(
        variables["params"], NamedSharding(explicit, PartitionSpec())
    )
    cache = jax.jit(layer.init)(RNGS, x)["cache"]
    close(jax.jit(decode)({"params": params, "cache": cache}, x), expected)
