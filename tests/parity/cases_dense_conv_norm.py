"""Layers, each with an input: what parity and recorded parameters are made of.

`CASES` maps a name to a factory: given a library (`batiste.linen` or `flax.linen`), it
returns a module, the positional inputs of its call, and the keyword arguments.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

__all__ = ["CASES", "MUTABLE", "normal", "values"]

Case = Callable[[Any], tuple[Any, tuple[Any, ...], dict[str, Any]]]

# Collections that the layers here may change when they are applied.
MUTABLE = ["batch_stats", "state"]

CASES: dict[str, Case] = {}

# Zeros and ones would hide the order in which parameters draw their keys.
normal = jax.nn.initializers.normal(1.0)
BIAS = {"bias_init": normal}
NORM = {"bias_init": normal, "scale_init": normal}


def values(*shape: int, dtype: Any = jnp.float32, seed: str = "") -> Any:
    """Numbers around zero, the same wherever and whenever they are made."""
    rng = np.random.default_rng(zlib.crc32(f"{shape}{seed}".encode()))
    x = np.round(rng.normal(0.3, 1.5, shape), 3).astype(np.float32)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return jnp.asarray(x + 1j * np.flip(x), dtype)
    return jnp.asarray(x).astype(dtype)


def case(name: str, layer: str, *args: Any, x: Any = None, call: Any = None, **fields):
    """Adds a case of one layer, whose class has the name `layer`."""

    def build(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        module = getattr(nn, layer)(*args, **fields)
        return module, (x,), dict(call or {})

    assert name not in CASES, name
    CASES[name] = build


def add(build: Case) -> Case:
    """Adds the case that the function builds, under the function's name."""
    CASES[build.__name__] = build
    return build


ROWS = values(5, 4)
IMAGES = values(2, 6, 7, 4)
TEXT = values(2, 9, 4)
# Where a mask hides all that a moment is of, Flax makes NaN, and Batiste does not.
MASK = np.array(values(2, 6, 7, 4, seed="mask") > 0)
MASK[..., 0] = True
HALF, BRAIN = jnp.float16, jnp.bfloat16

# Dense
case("dense", "Dense", 3, x=ROWS, **BIAS)
case("dense_no_bias", "Dense", 3, x=ROWS, use_bias=False)
case("dense_vector", "Dense", 3, x=ROWS[0], **BIAS)
case("dense_many_axes", "Dense", 3, x=IMAGES, **BIAS)
case("dense_no_rows", "Dense", 3, x=ROWS[:0], **BIAS)
case("dense_integers", "Dense", 3, x=values(5, 4, dtype=jnp.int32), **BIAS)
case("dense_numpy", "Dense", 3, x=np.ones((2, 3), np.float32), **BIAS)
case("dense_bfloat16_input", "Dense", 3, x=ROWS.astype(BRAIN), **BIAS)
case("dense_bfloat16", "Dense", 3, x=ROWS, dtype=BRAIN, **BIAS)
case("dense_float16_params", "Dense", 3, x=ROWS, param_dtype=HALF, **BIAS)
case("dense_complex", "Dense", 3, x=ROWS, param_dtype=jnp.complex64, **BIAS)
case("dense_complex_dtype", "Dense", 3, x=ROWS, dtype=jnp.complex64, **BIAS)
case("dense_highest", "Dense", 3, x=ROWS, precision="highest", **BIAS)
case("dense_large", "Dense", 65, x=values(33, 129), **BIAS)
case("dense_dot_general", "Dense", 3, x=ROWS, dot_general=jax.lax.dot_general, **BIAS)
case(
    "dense_dot_general_cls",
    "Dense",
    3,
    x=ROWS,
    dot_general_cls=lambda: jax.lax.dot_general,
    **BIAS,
)

# DenseGeneral
case("dense_general", "DenseGeneral", (3, 2), x=IMAGES, axis=(-1, -2), **BIAS)
case("dense_general_order", "DenseGeneral", 3, x=IMAGES, axis=(-1, 1), **BIAS)
case("dense_general_all", "DenseGeneral", 3, x=IMAGES, axis=(0, 1, 2, 3), **BIAS)
case("dense_general_batch", "DenseGeneral", (3, 2), x=IMAGES, batch_dims=(0,), **BIAS)
case("dense_general_batches", "DenseGeneral", 3, x=IMAGES, batch_dims=(0, 1), **BIAS)
case("dense_general_bfloat16", "DenseGeneral", 3, x=IMAGES, dtype=BRAIN, **BIAS)
case("dense_general_no_bias", "DenseGeneral", 3, x=IMAGES, use_bias=False)

# Einsum
for equation, shape in [
    ("nta,hab->nthb", (2, 4, 5)),
    ("nta,hab->nbht", (2, 4, 5)),
    ("nta,hab->hb", (2, 4, 5)),
    ("nta,ab->nt", (4, 5)),
    ("nta,nab->ntb", (2, 4, 5)),
    ("...a,ab->...b", (4, 5)),
    ("...a,ab->b...", (4, 5)),
    ("...a,...ab->...b", (9, 4, 5)),
    ("nta , ab -> nt b", (4, 5)),
]:
    case(f"einsum {equation}", "Einsum", shape, equation, x=TEXT, **BIAS)
case("einsum_call", "Einsum", (4, 5), x=TEXT, call={"einsum_str": "nta,ab->ntb"})
case("einsum_no_bias", "Einsum", (4, 5), "nta,ab->ntb", x=TEXT, use_bias=False)
case("einsum_bfloat16", "Einsum", (4, 5), "nta,ab->ntb", x=TEXT, dtype=BRAIN, **BIAS)
case(
    "einsum_preferred",
    "Einsum",
    (4, 5),
    "nta,ab->ntb",
    x=TEXT,
    preferred_element_type=BRAIN,
    **BIAS,
)

# Conv, ConvLocal, ConvTranspose
for layer in ("Conv", "ConvLocal", "ConvTranspose"):
    for name, fields in {
        "plain": {},
        "valid": {"padding": "VALID"},
        "stride": {"strides": (2, 1), "padding": "VALID"},
        "stride_same": {"strides": (2, 3)},
        "pads": {"padding": ((1, 2), 0)},
        "pad": {"padding": 1},
        "circular": {"padding": "CIRCULAR"},
        "circular_even": {"padding": "CIRCULAR", "kernel_dilation": (2, 1)},
        "dilated": {"kernel_dilation": (1, 2)},
        "none": {"strides": None, "kernel_dilation": None},
        "no_bias": {"use_bias": False},
        "bfloat16": {"dtype": BRAIN},
        "complex": {"param_dtype": jnp.complex64},
        "precision": {"precision": ("highest", "default")},
    }.items():
        fields = fields if "use_bias" in fields else {**BIAS, **fields}
        case(f"{layer}_{name}", layer, 5, (3, 2), x=IMAGES, **fields)
    case(f"{layer}_int_kernel", layer, 5, 3, x=TEXT, **BIAS)
    case(f"{layer}_no_batch", layer, 5, (3, 3), x=IMAGES[0], **BIAS)
    case(f"{layer}_batches", layer, 5, (3,), x=IMAGES, **BIAS)
    case(f"{layer}_no_examples", layer, 5, (3, 3), x=IMAGES[:0], **BIAS)
    case(f"{layer}_3d", layer, 3, (2, 2, 2), x=values(1, 3, 4, 3, 2), **BIAS)
for layer in ("Conv", "ConvLocal"):
    case(f"{layer}_reflect", layer, 5, (3, 3), x=IMAGES, padding="REFLECT", **BIAS)
    case(f"{layer}_causal", layer, 5, (3,), x=TEXT, padding="CAUSAL", **BIAS)
    case(
        f"{layer}_causal_dilated",
        layer,
        5,
        (3,),
        x=TEXT,
        padding="CAUSAL",
        kernel_dilation=2,
        strides=2,
        **BIAS,
    )
    case(
        f"{layer}_input_dilation",
        layer,
        5,
        (3, 3),
        x=IMAGES,
        input_dilation=2,
        padding=((1, 1), (2, 0)),
        **BIAS,
    )
case("conv_groups", "Conv", 6, (3, 3), x=IMAGES, feature_group_count=2, **BIAS)
case("conv_depthwise", "Conv", 8, (3, 3), x=IMAGES, feature_group_count=4, **BIAS)
KERNEL_MASK = np.asarray(values(3, 3, 4, 5) > 0)
case("conv_mask", "Conv", 5, (3, 3), x=IMAGES, mask=KERNEL_MASK, **BIAS)
case(
    "conv_function",
    "Conv",
    5,
    (3, 3),
    x=IMAGES,
    conv_general_dilated=jax.lax.conv_general_dilated,
    **BIAS,
)
case("conv_transpose_mask", "ConvTranspose", 5, (3, 3), x=IMAGES, mask=KERNEL_MASK)
for name, fields in {
    "flip": {"strides": (2, 2)},
    "flip_circular": {"strides": (3, 2), "padding": "CIRCULAR"},
}.items():
    case(
        f"conv_transpose_{name}",
        "ConvTranspose",
        5,
        (4, 5),
        x=IMAGES,
        transpose_kernel=True,
        **BIAS,
        **fields,
    )
case(
    "conv_transpose_preferred",
    "ConvTranspose",
    5,
    (3, 3),
    x=IMAGES,
    dtype=BRAIN,
    preferred_element_type=jnp.float32,
)

# Embed
IDS = np.array([[0, 1, -1], [3, 9, 2]], np.int32)
case("embed", "Embed", 7, 3, x=IDS)
case("embed_unsigned", "Embed", 300, 3, x=np.abs(IDS).astype(np.uint8))
case("embed_one", "Embed", 1, 3, x=IDS)
case("embed_bfloat16", "Embed", 7, 3, x=IDS, dtype=BRAIN)
case("embed_float16_table", "Embed", 7, 3, x=IDS, param_dtype=HALF)
case("embed_no_ids", "Embed", 7, 3, x=IDS[:0])


@add
def embed_attend(nn):
    class Tied(nn.Module):
        @nn.compact
        def __call__(self, ids, query):
            embed = nn.Embed(7, 3)
            return embed(ids), embed.attend(query)

    return Tied(), (IDS, values(2, 5, 3, dtype=BRAIN)), {}


# Normalization
for layer, fields in {
    "BatchNorm": {"use_running_average": False, "momentum": 0.8},
    "LayerNorm": {},
    "RMSNorm": {},
    "GroupNorm": {"num_groups": 2},
    "InstanceNorm": {},
}.items():
    init = {"scale_init": normal} if layer == "RMSNorm" else NORM
    fields = {**init, **fields}
    for name, x in {
        "plain": IMAGES,
        "float16": IMAGES.astype(HALF),
        "bfloat16": IMAGES.astype(BRAIN),
        "complex": values(2, 6, 7, 4, dtype=jnp.complex64),
        "integers": values(2, 6, 7, 4, dtype=jnp.int32),
        "no_examples": IMAGES[:0],
        "rows": ROWS,
    }.items():
        # The averages of an empty batch are NaN in Flax.
        if (layer, name) != ("BatchNorm", "no_examples"):
            case(f"{layer}_{name}", layer, x=x, **fields)
    case(f"{layer}_dtype", layer, x=IMAGES, dtype=BRAIN, **fields)
    case(f"{layer}_params", layer, x=IMAGES, param_dtype=BRAIN, **fields)
    case(
        f"{layer}_half_statistics",
        layer,
        x=IMAGES.astype(BRAIN),
        force_float32_reductions=False,
        **fields,
    )
    case(f"{layer}_exact", layer, x=IMAGES, use_fast_variance=False, **fields)
    case(f"{layer}_epsilon", layer, x=IMAGES, epsilon=0.1, **fields)
    case(f"{layer}_no_scale", layer, x=IMAGES, use_scale=False, **fields)
    if layer != "RMSNorm":
        case(f"{layer}_no_bias", layer, x=IMAGES, use_bias=False, **fields)
    case(f"{layer}_mask", layer, x=IMAGES, call={"mask": MASK}, **fields)
    case(
        f"{layer}_mask_exact",
        layer,
        x=IMAGES,
        call={"mask": MASK},
        use_fast_variance=False,
        **fields,
    )
case("batch_norm_eval", "BatchNorm", True, x=IMAGES, **NORM)
case(
    "batch_norm_call",
    "BatchNorm",
    x=IMAGES,
    call={"use_running_average": False},
    **NORM,
)
case("batch_norm_axis", "BatchNorm", False, 1, x=IMAGES, **NORM)
case(
    "batch_norm_mask_rows",
    "BatchNorm",
    False,
    x=IMAGES,
    call={"mask": MASK[..., 1:2]},
    **NORM,
)
case(
    "layer_norm_axes",
    "LayerNorm",
    x=IMAGES,
    reduction_axes=(1, 2),
    feature_axes=(-1, 1),
    **NORM,
)
case("rms_norm_axes", "RMSNorm", x=IMAGES, reduction_axes=(1, 2), feature_axes=(1, 3))
case("group_norm_size", "GroupNorm", None, 1, x=IMAGES, **NORM)
case("group_norm_axes", "GroupNorm", 2, x=IMAGES, reduction_axes=(2, 3), **NORM)
case("instance_norm_axes", "InstanceNorm", x=IMAGES, feature_axes=(1, -1), **NORM)


# Weight normalization
def weight_norm(name: str, layer: Callable[[Any], Any], x: Any, **fields: Any) -> None:
    def build(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        class Model(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.WeightNorm(layer(nn), scale_init=normal, **fields)(x)

        return Model(), (x,), {}

    CASES[f"weight_norm_{name}"] = build


def spectral_norm(
    name: str, layer: Callable[[Any], Any], x: Any, update: bool = True, **fields: Any
) -> None:
    def build(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        class Model(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.SpectralNorm(layer(nn), **fields)(x, update_stats=update)

        return Model(), (x,), {}

    CASES[f"spectral_norm_{name}"] = build


def _dense(nn):
    return nn.Dense(3, bias_init=normal)


def _named(nn):
    return nn.Dense(3, bias_init=normal, name="D")


def _conv(nn):
    return nn.Conv(3, (2, 2), bias_init=normal)


def _nested(nn):
    class Nested(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(3, bias_init=normal)(x)
            return nn.DenseGeneral((2, 2), bias_init=normal)(x)

    return Nested()


weight_norm("dense", _dense, ROWS)
weight_norm("named", _named, ROWS)
weight_norm("conv", _conv, IMAGES)
weight_norm("conv_axes", _conv, IMAGES, feature_axes=(-2, -1))
weight_norm("nested", _nested, ROWS)
weight_norm("all", _nested, ROWS, variable_filter=None)
weight_norm("some", _nested, ROWS, variable_filter={"Dense_0"})
weight_norm("whole", _dense, ROWS, feature_axes=None)
weight_norm("no_scale", _dense, ROWS, use_scale=False)
weight_norm("dtype", _dense, ROWS, dtype=BRAIN)
weight_norm("params", _dense, ROWS, param_dtype=BRAIN)
weight_norm("epsilon", _dense, ROWS, epsilon=0.1)
spectral_norm("dense", _dense, ROWS)
spectral_norm("named", _named, ROWS)
spectral_norm("eval", _dense, ROWS, update=False)
spectral_norm("steps", _dense, ROWS, n_steps=3)
spectral_norm("no_steps", _dense, ROWS, n_steps=0)
spectral_norm("conv", _conv, IMAGES)
spectral_norm("nested", _nested, ROWS)
spectral_norm("collection", _dense, ROWS, collection_name="state")
spectral_norm("dtype", _dense, ROWS, dtype=BRAIN)
spectral_norm("params", _dense, ROWS, param_dtype=BRAIN)

# PReLU, Dropout, Sequential, BatchApply
for dtype in (jnp.float32, BRAIN, jnp.int32):
    x = values(5, 4, dtype=dtype)
    case(f"prelu {dtype.__name__}", "PReLU", x=x)
    case(f"prelu_params {dtype.__name__}", "PReLU", BRAIN, 0.3, x=x)
for rate in (0.0, 0.3, 0.5, 1.0):
    case(f"dropout {rate}", "Dropout", rate, x=IMAGES, deterministic=False)
case("dropout_bfloat16", "Dropout", 0.3, x=IMAGES.astype(BRAIN), deterministic=False)
case("dropout_off", "Dropout", 0.3, x=IMAGES, call={"deterministic": True})
case("dropout_axes", "Dropout", 0.3, (0, -1), x=IMAGES, deterministic=False)
case("dropout_stream", "Dropout", 0.3, (), False, "params", x=IMAGES)
case("dropout_complex", "Dropout", 0.3, (), False, x=values(3, 4, dtype=jnp.complex64))


@add
def dropout_key(nn):
    call = {"rng": jax.random.PRNGKey(8)}
    return nn.Dropout(0.3, deterministic=False), (IMAGES,), call


@add
def sequential(nn):
    return nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)]), (ROWS,), {}


@add
def sequential_nested(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Sequential([nn.Dense(3), nn.Sequential((nn.Dense(2),))])(x)

    return Model(), (ROWS,), {}


@add
def sequential_arguments(nn):
    layers = [
        lambda a, b: {"a": a, "b": b},
        lambda a, b: (b, a),
        lambda b, a: a - 2 * b,
        nn.Dense(3),
    ]
    return nn.Sequential(layers), (ROWS, ROWS * 2), {}


@add
def batch_apply(nn):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.BatchApply(nn.Dense(2), 3)(x)

    return Model(), (IMAGES,), {}
