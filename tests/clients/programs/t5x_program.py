"""A transformer as T5X has it: named axes on every parameter, layers in a scan.

`param_with_axes` and `scan_with_axes` name the axes, `with_sharding_constraint` those
of activations, and the trainer turns the `params_axes` collection into partition specs.
"""

from __future__ import annotations

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.core import freeze
from flax.linen import partitioning
from flax.training.train_state import TrainState
from record import Record

param_with_axes = partitioning.param_with_axes
with_sharding_constraint = partitioning.with_sharding_constraint
RULES = (
    ("batch", "data"),
    ("vocab", "model"),
    ("embed", None),
    ("mlp", "model"),
    ("heads", "model"),
    ("kv", None),
    ("layers", None),
    ("length", None),
)
VOCAB, EMBED, MLP, HEADS, KV = 32, 16, 24, 2, 8


class DenseGeneral(nn.Module):
    features: tuple[int, ...]
    kernel_axes: tuple[str, ...]
    contracted: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (*x.shape[-self.contracted :], *self.features)
        kernel = param_with_axes(
            "kernel",
            nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
            shape,
            jnp.float32,
            axes=self.kernel_axes,
        )
        return jnp.tensordot(x, jnp.asarray(kernel, x.dtype), self.contracted)


class LayerNorm(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = param_with_axes(
            "scale", nn.initializers.ones, (x.shape[-1],), axes=("embed",)
        )
        mean2 = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
        return x * jax.lax.rsqrt(mean2 + 1e-6) * scale


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        axes = ("embed", "heads", "kv")
        query, key, value = (
            DenseGeneral((HEADS, KV), axes, name=name)(x)
            for name in ("query", "key", "value")
        )
        query = with_sharding_constraint(query, ("batch", "length", "heads", "kv"))
        y = nn.dot_product_attention(query / KV**0.5, key, value, mask=mask)
        return DenseGeneral((EMBED,), ("heads", "kv", "embed"), 2, name="out")(y)


class Layer(nn.Module):
    dropout: float
    train: bool

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> Any:
        x = with_sharding_constraint(x, ("batch", "length", "embed"))
        y = Attention(name="attention")(LayerNorm(name="pre_attention")(x), mask)
        still = not self.train
        x = x + nn.Dropout(self.dropout, broadcast_dims=(-2,))(y, deterministic=still)
        y = LayerNorm(name="pre_mlp")(x)
        y = nn.gelu(DenseGeneral((MLP,), ("embed", "mlp"), name="wi")(y))
        y = DenseGeneral((EMBED,), ("mlp", "embed"), name="wo")(y)
        return x + nn.Dropout(self.dropout)(y, deterministic=still), None


class Decoder(nn.Module):
    scanned: bool
    dropout: float = 0.1

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        table = param_with_axes(
            "embedding",
            nn.initializers.normal(1.0),
            (VOCAB, EMBED),
            axes=("vocab", "embed"),
        )
        x = jnp.take(table, tokens, axis=0)
        mask = nn.make_causal_mask(tokens)
        layer = partitioning.remat(Layer, prevent_cse=False)
        if self.scanned:
            layers = partitioning.scan_with_axes(
                layer,
                variable_axes={"params": 1},
                split_rngs={"params": True, "dropout": True},
                in_axes=nn.broadcast,
                length=3,
                axis_name="layers",
                axes_collections=("params", "params_axes"),
            )
            x, _ = layers(self.dropout, train, name="decoder")(x, mask)
        else:
            for index in range(2):
                x, _ = layer(self.dropout, train, name=f"layers_{index}")(x, mask)
        return jnp.dot(LayerNorm(name="last")(x), table.T) / EMBED**0.5


def text_of(tree: Any) -> str:
    flat = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec)
    )[0]
    return "\n".join(
        f"{jax.tree_util.keystr(path)} {tuple(leaf)}" for path, leaf in flat
    )


def main(out: str) -> None:
    record = Record()
    tokens = np.random.default_rng(0).integers(1, VOCAB, (4, 9)).astype(np.int32)
    for scanned in (True, False):
        name = "scanned" if scanned else "plain"
        model = Decoder(scanned)
        variables = jax.jit(model.init)(jax.random.PRNGKey(0), tokens)
        record.exact(f"{name}/initial", variables["params"])
        axes = partitioning.get_axis_names(freeze(dict(variables["params_axes"])))
        record.exact(f"{name}/axes", text_of(jax.tree.map(tuple, axes)))
        with partitioning.axis_rules(RULES):
            specs = jax.tree.map(
                lambda each: partitioning.logical_to_mesh_axes(tuple(each)),
                axes,
                is_leaf=lambda each: isinstance(each, jax.sharding.PartitionSpec),
            )
        record.exact(f"{name}/specs", text_of(specs))
        state = TrainState.create(
            apply_fn=model.apply, params=variables["params"], tx=optax.adafactor(0.01)
        )

        @jax.jit
        def step(state: TrainState, key: jax.Array) -> Any:
            def loss_fn(params: Any) -> jax.Array:
                logits = state.apply_fn(
                    {"params": params}, tokens[:, :-1], True, rngs={"dropout": key}
                )
                losses = optax.softmax_cross_entropy_with_integer_labels(
                    logits, tokens[:, 1:]
                )
                return losses.mean()

            loss, grads = jax.value_and_grad(loss_fn)(state.params)
            return state.apply_gradients(grads=grads), loss

        losses = []
        with partitioning.axis_rules(RULES):
            record.close(
                f"{name}/output",
                jax.jit(model.apply)({"params": state.params}, tokens),
            )
            for index in range(3):
                state, loss = step(state, jax.random.PRNGKey(index))
                losses.append(loss)
        record.close(f"{name}/losses", jnp.stack(losses))
    record.save(out)


if __name__ == "__main__":
    main(sys.argv[1])
