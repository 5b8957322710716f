"""Linen models of single kinds of layers, whose counterparts in PyTorch are recorded.

`record.py` has those counterparts, and writes `data/layers.npz`.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

import batiste.linen as nn

FILE = Path(__file__).parent / "data" / "layers.npz"


class Attention(nn.Module):
    """Attention whose query, key and value are one layer, as in GPT-2."""

    heads: int

    @nn.compact
    def __call__(self, x):
        n = x.shape[-1]
        q, k, v = jnp.split(nn.Dense(3 * n, name="qkv")(x), 3, -1)
        q, k, v = (a.reshape(*a.shape[:-1], self.heads, -1) for a in (q, k, v))
        y = nn.dot_product_attention(q, k, v)
        return nn.Dense(n, name="out")(y.reshape(x.shape))


class Separate(nn.Module):
    """Attention of four dense layers."""

    heads: int

    @nn.compact
    def __call__(self, x):
        q, k, v = (nn.Dense(x.shape[-1], name=n)(x) for n in ("query", "key", "value"))
        q, k, v = (a.reshape(*a.shape[:-1], self.heads, -1) for a in (q, k, v))
        y = nn.dot_product_attention(q, k, v)
        return nn.Dense(x.shape[-1], name="out")(y.reshape(x.shape))


class SelfAttention(nn.Module):
    """The layer of Linen."""

    heads: int

    @nn.compact
    def __call__(self, x):
        return nn.MultiHeadDotProductAttention(self.heads, name="attention")(x, x)


class Values(nn.Module):
    """Parameters of its own, and a layer that is no module of Linen's."""

    @nn.compact
    def __call__(self, x):
        x = x + self.param("position", nn.initializers.zeros, (1, *x.shape[1:]))
        x = x @ self.param("mix", nn.initializers.zeros, (x.shape[-1], 5))
        return Scaled(name="scaled")(x)


class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        return x * scale + self.param("bias", nn.initializers.zeros, x.shape[-1:])


class Flattened(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), padding="VALID", name="conv")(x)
        return nn.Dense(5, name="fc")(x.reshape(len(x), -1))


class Layer(nn.Module):
    """One of the layers that `nn.scan` stacks."""

    @nn.compact
    def __call__(self, x, _):
        y = nn.BatchNorm(use_running_average=True, name="bn")(x)
        y = y * self.param("scale", nn.initializers.ones, (4,))
        return x + nn.tanh(nn.Dense(4, name="fc")(y)), None


class RecurrentLayer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.RNN(nn.OptimizedLSTMCell(4), name="rnn")(x), None


class Stack(nn.Module):
    """Layers that are one class, scanned."""

    cls: type

    @nn.compact
    def __call__(self, x):
        return self.cls(name="layers")(x, None)[0]


class Members(nn.Module):
    """Layers side by side, on the same input."""

    @nn.compact
    def __call__(self, x):
        both = nn.vmap(
            Layer,
            variable_axes={"params": 1, "batch_stats": 0},
            split_rngs={"params": True},
            in_axes=None,
            axis_size=3,
        )
        return both(name="members")(x, None)[0]


def scanned(cls, length, params=0, batch_stats=0, **options):
    """A class whose layers `nn.scan` stacks."""
    return nn.scan(
        cls,
        variable_axes={"params": params, "batch_stats": batch_stats},
        split_rngs={"params": True},
        length=length,
        **options,
    )


def _norm(layer):
    return nn.Sequential([nn.Conv(4, (1, 1)), layer])


def _both(cell):
    return nn.Bidirectional(nn.RNN(cell(4)), nn.RNN(cell(4)))


MODELS = {
    "attention_fused": SelfAttention(2),
    "attention_separate": SelfAttention(2),
    "attention_qkv": SelfAttention(2),
    "attention_of_heads": SelfAttention(2),
    "attention_conv1d": SelfAttention(2),
    "attention_conv1d_dense": Attention(2),
    "attention_joined": Attention(2),
    "attention_dense": Separate(2),
    "batch_norm": _norm(nn.BatchNorm(use_running_average=True)),
    "batch_norm_plain": _norm(
        nn.BatchNorm(use_running_average=True, use_scale=False, use_bias=False)
    ),
    "conv": nn.Conv(4, (3, 3), 2, padding=1),
    "conv_1d": nn.Conv(4, (3,), padding="VALID", use_bias=False),
    "conv_as_dense": nn.Dense(4),
    "conv_grouped": nn.Conv(4, (3, 3), padding="VALID", feature_group_count=2),
    "conv_transpose": nn.ConvTranspose(4, (3, 3), (2, 2), padding=((2, 2), (2, 2))),
    "conv_transpose_flipped": nn.ConvTranspose(
        4, (3, 3), (2, 2), padding=((2, 2), (2, 2)), transpose_kernel=True
    ),
    "dense": nn.Dense(4),
    "dense_general": nn.DenseGeneral((2, 2), axis=(-2, -1)),
    "embed": nn.Embed(7, 4),
    "flatten": Flattened(),
    "group_norm": _norm(nn.GroupNorm(2, epsilon=1e-5)),
    "gru": _both(nn.GRUCell),
    "gru_without_bias": nn.RNN(nn.GRUCell(4)),
    "instance_norm": _norm(nn.InstanceNorm(epsilon=1e-5)),
    "layer_norm": nn.LayerNorm(epsilon=1e-5),
    "lstm": _both(nn.OptimizedLSTMCell),
    "lstm_cell": nn.RNN(nn.LSTMCell(4)),
    "prelu": nn.PReLU(),
    "rms_norm": nn.RMSNorm(),
    "rnn": nn.RNN(nn.SimpleCell(4)),
    "values": Values(),
    "scan": Stack(scanned(Layer, 6)),
    "scan_axes": Stack(scanned(Layer, 6, params=-1, batch_stats=1)),
    "scan_backward": Stack(scanned(Layer, 6, reverse=True)),
    "scan_in_scan": Stack(scanned(scanned(Layer, 2, params=1), 3, params=2)),
    "scan_lstm": Stack(scanned(RecurrentLayer, 3)),
    "vmap": Members(),
}
RULES = {
    "attention_of_heads": {
        "query_key_value": "attention/{query,key,value} as split in three within each "
        "head"
    },
    "flatten": {"fc": "fc as transpose, flattened channels first"},
}
SHAPES = {
    "dense_general": (2, 3, 4),
    "embed": (2, 3),
    "flatten": (2, 6, 5, 4),
    "conv_as_dense": (2, 4, 4, 4),
}


def input_of(name):
    """The input of a case, for the model of Linen."""
    rng = np.random.default_rng(0)
    if name == "embed":
        return rng.integers(0, 7, (2, 3)).astype(np.int32)
    image = name.startswith(("conv", "batch", "group", "instance"))
    default = (2, 6, 6, 4) if image and name != "conv_1d" else (2, 5, 4)
    return rng.standard_normal(SHAPES.get(name, default)).astype(np.float32)


def recorded(name):
    """The state dict of a case, in its order, and what PyTorch computed."""
    with np.load(FILE) as file:
        start = f"{name}:"
        state = {n[len(start) :]: file[n] for n in file.files if n.startswith(start)}
    return state, state.pop("output")
