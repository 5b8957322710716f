"""Layers under meshes with explicit axes, where the sharding is a part of types."""

from typing import Any

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
VIDEO = numbers(8, 3, 6, 6, 4)
ROW = numbers(8, 8)
IDS = np.arange(48).reshape(8, 6) % 5
LENGTHS = np.arange(8) % 6 + 1


class Of(nn.Module):
    """A function of a module and arrays, as a layer."""

    fn: Any

    @nn.compact
    def __call__(self, *args):
        return self.fn(self, *args)


def of(fn, *args, **kwargs):
    """A function of arrays, as a layer with a parameter in front."""
    return Of(
        lambda module, x: fn(
            x * module.param("scale", nn.initializers.ones, x.shape[-1:]),
            *args,
            **kwargs,
        )
    )


def attends(module, ids):
    embed = nn.Embed(5, 6, name="embed")
    return embed.attend(embed(ids))


def spectral(module, x):
    return nn.SpectralNorm(nn.Dense(6))(x, update_stats=True)


class Step(nn.Module):
    """A cell alone, from the carry that it makes for a shape."""

    cell: nn.RNNCellBase

    def __call__(self, x):
        return self.cell(self.cell.initialize_carry(KEY, x.shape), x)


ACTIVATIONS = (
    nn.celu,
    nn.elu,
    nn.gelu,
    nn.glu,
    nn.hard_sigmoid,
    nn.hard_silu,
    nn.hard_tanh,
    nn.leaky_relu,
    nn.log_sigmoid,
    nn.log_softmax,
    lambda x: nn.logsumexp(x, axis=-1),
    nn.normalize,
    nn.relu,
    nn.relu6,
    nn.selu,
    nn.sigmoid,
    nn.silu,
    nn.soft_sign,
    nn.softmax,
    nn.softplus,
    nn.standardize,
    nn.tanh,
    lambda x: nn.one_hot((4 * x).astype(int) % 5, 5),
)
DROPPED = {"dropout_rate": 0.5, "deterministic": False}
CELLS = {
    cls.__name__: cls(4)
    for cls in (
        nn.SimpleCell,
        nn.GRUCell,
        nn.MGUCell,
        nn.LSTMCell,
        nn.OptimizedLSTMCell,
    )
}
IMAGE_CELL = nn.ConvLSTMCell(4, (3, 3))
H, CARRY = numbers(8, 4), (numbers(8, 4), numbers(8, 4))
IMAGE_CARRY = (numbers(8, 6, 6, 4), numbers(8, 6, 6, 4))
LAYERS = {
    "Dense": (nn.Dense(6), SEQUENCE),
    "DenseGeneral": (nn.DenseGeneral((2, 3)), SEQUENCE),
    "DenseGeneral, two axes": (nn.DenseGeneral(6, axis=(-2, -1)), SEQUENCE),
    "DenseGeneral, inner axis": (nn.DenseGeneral((3, 2), axis=1), SEQUENCE),
    "DenseGeneral, batch": (nn.DenseGeneral(6, batch_dims=(0,)), SEQUENCE),
    "DenseGeneral, batches": (nn.DenseGeneral(6, batch_dims=(0, 1)), SEQUENCE),
    "Einsum": (nn.Einsum((8, 6), "bti,io->bto"), SEQUENCE),
    "Einsum, any batch": (nn.Einsum((8, 2, 3), "...i,iho->...ho"), SEQUENCE),
    "Einsum, no bias": (nn.Einsum((6, 8, 5), "bti,tio->bo", False), SEQUENCE),
    "Embed": (nn.Embed(5, 6), IDS),
    "Embed, rows": (nn.Embed(5, 6), IDS[:, 0]),
    "Embed.attend": (Of(attends), IDS),
    "Dropout": (nn.Dropout(0.5, deterministic=False), SEQUENCE),
    "Dropout along": (nn.Dropout(0.5, (1,), deterministic=False), SEQUENCE),
    "Conv": (nn.Conv(6, (3, 3)), IMAGE),
    "Conv, 1 axis": (nn.Conv(6, (3,), strides=2, padding="CAUSAL"), SEQUENCE),
    "Conv, 3 axes": (nn.Conv(6, (2, 3, 3)), VIDEO),
    "Conv, circular": (nn.Conv(6, (3, 3), padding="CIRCULAR"), IMAGE),
    "Conv, reflect": (nn.Conv(6, (3, 3), padding="REFLECT"), IMAGE),
    "Conv, groups": (nn.Conv(6, (3, 3), feature_group_count=2), IMAGE),
    "Conv, batches": (nn.Conv(6, (3, 3)), VIDEO),
    "ConvLocal": (nn.ConvLocal(6, (3, 3)), IMAGE),
    "ConvLocal, 1 axis": (nn.ConvLocal(6, (3,), strides=2), SEQUENCE),
    "ConvTranspose": (nn.ConvTranspose(6, (3, 3), strides=(2, 2)), IMAGE),
    "ConvTranspose, 1 axis": (nn.ConvTranspose(6, (3,), strides=(2,)), SEQUENCE),
    "ConvTranspose, circular": (
        nn.ConvTranspose(6, (3, 3), strides=(2, 2), padding="CIRCULAR"),
        IMAGE,
    ),
    "BatchNorm": (nn.BatchNorm(use_running_average=False), SEQUENCE),
    "BatchNorm of images": (nn.BatchNorm(use_running_average=False), IMAGE),
    "BatchNorm, running": (nn.BatchNorm(use_running_average=True), SEQUENCE),
    "LayerNorm": (nn.LayerNorm(), SEQUENCE),
    "LayerNorm, two axes": (
        nn.LayerNorm(reduction_axes=(-2, -1), feature_axes=(-2, -1)),
        SEQUENCE,
    ),
    "RMSNorm": (nn.RMSNorm(), SEQUENCE),
    "GroupNorm": (nn.GroupNorm(2), IMAGE),
    "GroupNorm, sizes": (nn.GroupNorm(None, group_size=2), SEQUENCE),
    "InstanceNorm": (nn.InstanceNorm(), IMAGE),
    "WeightNorm": (nn.WeightNorm(nn.Dense(6)), SEQUENCE),
    "WeightNorm of Conv": (nn.WeightNorm(nn.Conv(6, (3, 3))), IMAGE),
    "SpectralNorm": (Of(spectral), SEQUENCE),
    "PReLU": (nn.PReLU(), SEQUENCE),
    "attention": (nn.MultiHeadDotProductAttention(2), SEQUENCE),
    "attention to others": (
        nn.MultiHeadAttention(2),
        SEQUENCE,
        numbers(8, 5, 8),
        numbers(8, 5, 8),
    ),
    "attention, masked": (
        Of(
            lambda module, x, ids: nn.SelfAttention(2, normalize_qk=True)(
                x, nn.make_attention_mask(ids > 0, ids > 0)
            )
        ),
        SEQUENCE,
        IDS,
    ),
    "attention that drops": (nn.SelfAttention(2, **DROPPED), SEQUENCE),
    "Bidirectional": (
        nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.GRUCell(3))),
        SEQUENCE,
    ),
    "Bidirectional, lengths": (
        Of(
            lambda module, x, lengths: nn.Bidirectional(
                nn.RNN(nn.LSTMCell(4)), nn.RNN(nn.LSTMCell(4)), return_carry=True
            )(x, seq_lengths=lengths)
        ),
        SEQUENCE,
        LENGTHS,
    ),
    "RNN, reversed": (
        nn.RNN(nn.GRUCell(4), reverse=True, keep_order=True, return_carry=True),
        SEQUENCE,
    ),
    "RNN of images": (nn.RNN(IMAGE_CELL), VIDEO),
    "ConvLSTMCell": (IMAGE_CELL, IMAGE_CARRY, IMAGE),
    "ConvLSTMCell, own carry": (Step(IMAGE_CELL), IMAGE),
    **{f"RNN of {name}": (nn.RNN(cell), SEQUENCE) for name, cell in CELLS.items()},
    **{
        name: (cell, CARRY if "LSTM" in name else H, ROW)
        for name, cell in CELLS.items()
    },
    **{f"{name}, own carry": (Step(cell), ROW) for name, cell in CELLS.items()},
    "Sequential": (nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(4)]), SEQUENCE),
    "BatchApply": (
        Of(lambda module, x: nn.BatchApply(nn.Dense(6, name="dense"))(x)),
        SEQUENCE,
    ),
    "pooling": (
        of(
            lambda x: (
                nn.avg_pool(x, (2, 2), (2, 2)),
                nn.avg_pool(x, (3, 3), None, "SAME"),
                nn.avg_pool(x, (3, 3), None, "SAME", count_include_pad=False),
                nn.max_pool(x, (2, 2), (2, 2)),
                nn.min_pool(x, (3, 3), None, "SAME"),
                nn.pool(x, 0.0, jax.lax.add, (2, 2), None, "VALID"),
            )
        ),
        IMAGE,
    ),
    "activations": (of(lambda x: tuple([fn(x) for fn in ACTIVATIONS])), SEQUENCE),
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


STATS = ["batch_stats"]


def functions(layer):
    def run(params, args, stats):
        variables = {"params": params, **stats}
        return layer.apply(variables, *args, rngs=RNGS, mutable=STATS)

    def loss(params, args, stats):
        y, _ = run(params, args, stats)
        return sum([(x.astype(jnp.float32) ** 2).sum() for x in jax.tree.leaves(y)])

    def grad(params, args, stats):
        floats = [
            x for x in jax.tree.leaves(args) if jnp.issubdtype(x.dtype, np.floating)
        ]
        treedef = jax.tree.structure(args)

        def of_floats(params, floats):
            left = iter(floats)
            leaves = [
                next(left) if jnp.issubdtype(x.dtype, np.floating) else x
                for x in jax.tree.leaves(args)
            ]
            return loss(params, jax.tree.unflatten(treedef, leaves), stats)

        return jax.grad(of_floats, argnums=(0, 1))(params, floats)

    return run, grad


def no_mesh():
    return jax.set_mesh(jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,)))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_forwards_and_gradients(name, explicit):
    if name == "Conv, groups" and explicit.shape["model"] > 1:
        pytest.skip("XLA multiplies the gradient by the axis along which nothing lies")
    layer, *args = LAYERS[name]
    run, grad = (jax.jit(fn) for fn in functions(layer))
    with no_mesh():
        variables = dict(jax.device_get(layer.init(RNGS, *args)))
        params = variables.pop("params", {})
        expected = jax.device_get(
            (run(params, args, variables), grad(params, args, variables))
        )
    args = jax.device_put(args, NamedSharding(explicit, PartitionSpec("data")))
    params, stats = jax.device_put(
        (params, variables), NamedSharding(explicit, PartitionSpec())
    )
    y = run(params, args, stats)
    close((y, grad(params, args, stats)), expected)
    for x in jax.tree.leaves(y[0]):
        assert x.sharding.spec[0] == "data"
    made = jax.jit(layer.init)(RNGS, *args)
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

    with no_mesh():
        variables = jax.device_get(layer.init(RNGS, x))
        expected = jax.device_get(jax.jit(decode)(variables, x))
    x = jax.device_put(x, NamedSharding(explicit, PartitionSpec("data")))
    params = jax.device_put(
        variables["params"], NamedSharding(explicit, PartitionSpec())
    )
    cache = jax.jit(layer.init)(RNGS, x)["cache"]
    close(jax.jit(decode)({"params": params, "cache": cache}, x), expected)
