"""The networks written by hand in JAX: what a module should cost no more than."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

__all__ = ["init_mlp", "lstm", "mlp", "resnet50", "transformer"]

Params = dict[str, Any]


def linear(params: Params, x: jax.Array) -> jax.Array:
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, params["kernel"], axes) + params["bias"]


def mlp(params: Params, x: jax.Array) -> jax.Array:
    """Dense and relu, as often as there are parameters (in order of their names)."""
    for index in range(len(params)):
        x = jax.nn.relu(linear(params[f"Dense_{index}"], x))
    return x


def init_mlp(key: jax.Array, x: jax.Array, depth: int, width: int) -> Params:
    """Parameters for `mlp`, with the forward pass that `init` runs, too."""
    kernel_init = jax.nn.initializers.lecun_normal()
    params = {}
    for index in range(depth):
        layer_key = jax.random.fold_in(key, index)
        params[f"Dense_{index}"] = {
            "kernel": kernel_init(layer_key, (x.shape[-1], width)),
            "bias": jnp.zeros(width),
        }
        x = jax.nn.relu(linear(params[f"Dense_{index}"], x))
    return params


def layer_norm(params: Params, x: jax.Array) -> jax.Array:
    # Squares first: so the gradient has fewer operations.
    mean_square, mean = jnp.mean(lax.square(x), -1), jnp.mean(x, -1)
    variance = lax.max(0.0, mean_square - lax.square(mean))
    factor = lax.rsqrt(lax.expand_dims(variance, (-1,)) + 1e-6) * params["scale"]
    return (x - lax.expand_dims(mean, (-1,))) * factor + params["bias"]


def heads(params: Params, x: jax.Array) -> jax.Array:
    axes = (((x.ndim - 1,), (0,)), ((), ()))
    return lax.dot_general(x, params["kernel"], axes) + params["bias"]


def attention(params: Params, x: jax.Array) -> jax.Array:
    query = heads(params["query"], x)
    key = heads(params["key"], x)
    value = heads(params["value"], x)
    query = query / jnp.sqrt(query.shape[-1]).astype(query.dtype)
    weights = jax.nn.softmax(jnp.einsum("...qhd,...khd->...hqk", query, key))
    y = jnp.einsum("...hqk,...khd->...qhd", weights, value)
    axes = (((y.ndim - 2, y.ndim - 1), (0, 1)), ((), ()))
    return lax.dot_general(y, params["out"]["kernel"], axes) + params["out"]["bias"]


def transformer(params: Params, x: jax.Array) -> jax.Array:
    """Blocks of pre-norm attention and a two-layer MLP."""
    for index in range(len(params)):
        block = params[f"Block_{index}"]
        y = layer_norm(block["LayerNorm_0"], x)
        x = x + attention(block["MultiHeadDotProductAttention_0"], y)
        y = layer_norm(block["LayerNorm_1"], x)
        y = linear(block["Dense_1"], jax.nn.gelu(linear(block["Dense_0"], y)))
        x = x + y
    return x


def conv(params: Params, x: jax.Array, stride: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        params["kernel"],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def batch_norm(params: Params, stats: Params, x: jax.Array) -> jax.Array:
    mean, var = (lax.expand_dims(stats[name], (0, 1, 2)) for name in ("mean", "var"))
    return (x - mean) * (lax.rsqrt(var + 1e-5) * params["scale"]) + params["bias"]


def bottleneck(params: Params, stats: Params, x: jax.Array, stride: int) -> jax.Array:
    y = conv(params["Conv_0"], x)
    y = jax.nn.relu(batch_norm(params["BatchNorm_0"], stats["BatchNorm_0"], y))
    y = conv(params["Conv_1"], y, stride)
    y = jax.nn.relu(batch_norm(params["BatchNorm_1"], stats["BatchNorm_1"], y))
    y = conv(params["Conv_2"], y)
    y = batch_norm(params["BatchNorm_2"], stats["BatchNorm_2"], y)
    if "Conv_3" in params:
        x = conv(params["Conv_3"], x, stride)
        x = batch_norm(params["BatchNorm_3"], stats["BatchNorm_3"], x)
    return jax.nn.relu(x + y)


def resnet50(variables: Params, x: jax.Array) -> jax.Array:
    """The network of He et al. (2015), with stored statistics."""
    params, stats = variables["params"], variables["batch_stats"]
    x = conv(params["Conv_0"], x, 2)
    x = jax.nn.relu(batch_norm(params["BatchNorm_0"], stats["BatchNorm_0"], x))
    x = lax.reduce_window(
        x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding="SAME"
    )
    index = 0
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            name = f"Bottleneck_{index}"
            stride = 2 if stage > 0 and block == 0 else 1
            x = bottleneck(params[name], stats[name], x, stride)
            index += 1
    return linear(params["Dense_0"], jnp.mean(x, (1, 2)))


def lstm(params: Params, x: jax.Array) -> jax.Array:
    """One layer over (batch, time, features), with the gates i, f, g, o."""

    def step(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> Any:
        c, h = carry

        def gate(name: str) -> jax.Array:
            axes = (((1,), (0,)), ((), ()))
            own, hidden = params[f"i{name}"], params[f"h{name}"]
            made = lax.dot_general(x, own["kernel"], axes)
            return made + (lax.dot_general(h, hidden["kernel"], axes) + hidden["bias"])

        i, f, o = (jax.nn.sigmoid(gate(name)) for name in "ifo")
        c = f * c + i * jnp.tanh(gate("g"))
        h = o * jnp.tanh(c)
        return (c, h), h

    zeros = jnp.zeros((x.shape[0], params["hi"]["bias"].shape[0]))
    _, y = lax.scan(step, (zeros, zeros), jnp.moveaxis(x, 1, 0))
    return jnp.moveaxis(y, 0, 1)
