"""What is recorded of every layer, and how: for `record.py` and `test_golden.py`.

`FAMILIES` maps the name of a file in this folder to its cases. A case is a function
that, given a library, returns a module, the positional inputs of its call, and the
keyword arguments. Most are those that `tests/parity` compares.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

Case = Callable[[Any], tuple[Any, tuple[Any, ...], dict[str, Any]]]

FOLDER = Path(__file__).parent
MUTABLE = ["batch_stats", "cache", "intermediates", "state"]


def _parity(name: str) -> Any:
    """A table of cases of the parity tests; this also runs as a part of a script."""
    path = FOLDER.parent / "parity" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


dense_conv_norm, attention_rnn = (
    _parity("cases_dense_conv_norm"),
    _parity("cases_attention_rnn"),
)
normal, values = dense_conv_norm.normal, dense_conv_norm.values


def _function(name: str, *args: Any, **kwargs: Any) -> Case:
    """A case of a function, called within a module."""

    def build(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        class Function(nn.Module):
            def __call__(self, *args, **kwargs):
                places = (nn, nn.activation, nn.pooling)
                (place, *_) = (each for each in places if hasattr(each, name))
                return getattr(place, name)(*args, **kwargs)

        return Function(), args, kwargs

    return build


def _initializer(name: str, *args: Any) -> Case:
    """A case of an initializer: a parameter that it makes."""

    def build(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        class Parameter(nn.Module):
            @nn.compact
            def __call__(self):
                initializer = getattr(nn.initializers, name)
                initializer = initializer if name in PLAIN else initializer(*args)
                return self.param("w", initializer, (3, 2, 4, 4))

        return Parameter(), (), {}

    return build


X = values(3, 4)
IMAGE = values(2, 6, 7, 2)
HEADS = [values(2, 5, 2, 3, seed=seed) for seed in "qkv"]
ACTIVATIONS = """
    celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    log_sigmoid log_softmax logsumexp normalize relu relu6 selu sigmoid silu soft_sign
    softmax softplus standardize swish tanh
""".split()
# Those that are initializers, and do not make one.
PLAIN = ("ones", "zeros")
INITIALIZERS = {
    "constant": (2.5,),
    "delta_orthogonal": (),
    "glorot_normal": (),
    "glorot_uniform": (),
    "he_normal": (),
    "he_uniform": (),
    "kaiming_normal": (),
    "kaiming_uniform": (),
    "lecun_normal": (),
    "lecun_uniform": (),
    "normal": (),
    "ones": (),
    "ones_init": (),
    "orthogonal": (),
    "truncated_normal": (),
    "uniform": (),
    "variance_scaling": (2.0, "fan_avg", "truncated_normal"),
    "xavier_normal": (),
    "xavier_uniform": (),
    "zeros": (),
    "zeros_init": (),
}
BIAS = {"bias_init": normal}

FAMILIES: dict[str, dict[str, Case]] = {
    family: {
        name: (dense_conv_norm.CASES | attention_rnn.CASES)[name]
        for name in (each.strip() for each in names.split(";"))
    }
    for family, names in {
        "linear": """
            dense; dense_no_bias; dense_vector; dense_no_rows; dense_bfloat16;
            dense_float16_params; dense_complex; dense_general; dense_general_order;
            dense_general_batches; dense_general_no_bias; einsum nta,hab->nthb;
            einsum ...a,ab->...b; einsum_bfloat16; embed; embed_attend; embed_bfloat16
        """,
        "convolution": """
            Conv_plain; Conv_no_batch; Conv_stride; Conv_circular; Conv_dilated;
            Conv_bfloat16; Conv_complex; Conv_int_kernel; Conv_causal;
            Conv_input_dilation; conv_groups; conv_depthwise; conv_mask;
            ConvLocal_int_kernel; ConvLocal_stride; ConvLocal_causal_dilated;
            ConvTranspose_plain; ConvTranspose_stride; ConvTranspose_int_kernel;
            ConvTranspose_circular; ConvTranspose_dilated; conv_transpose_mask
        """,
        "normalization": """
            BatchNorm_plain; BatchNorm_bfloat16; BatchNorm_exact; BatchNorm_mask;
            batch_norm_eval; batch_norm_axis; LayerNorm_plain; LayerNorm_bfloat16;
            LayerNorm_exact; LayerNorm_mask; layer_norm_axes; RMSNorm_plain;
            RMSNorm_float16; RMSNorm_mask; GroupNorm_plain; GroupNorm_bfloat16;
            GroupNorm_mask_exact; group_norm_size; InstanceNorm_plain;
            InstanceNorm_complex; weight_norm_dense; weight_norm_conv;
            weight_norm_nested; spectral_norm_dense; spectral_norm_conv;
            spectral_norm_eval
        """,
        "combined": """
            prelu float32; prelu_params bfloat16; dropout 0.3; dropout_axes;
            dropout_key; dropout_stream; dropout_off; sequential; sequential_nested;
            sequential_arguments; batch_apply
        """,
        "attention": """
            attention; attention_cross; attention_values; attention_causal;
            attention_mask_of_heads; attention_without_batch; attention_features;
            attention_without_bias; attention_bfloat16; attention_dropout;
            attention_dropout_of_each; attention_normalized; attention_decode;
            attention_sow; multi_head_attention; self_attention
        """,
        "recurrent": """
            lstm; lstm_without_batch; lstm_bfloat16; optimized_lstm; gru; simple_cell;
            simple_cell_residual; mgu; mgu_without_reset_gate; conv_lstm; conv_lstm_1d;
            rnn; rnn_carry; rnn_gru; rnn_mgu; rnn_time_major; rnn_lengths_reversed;
            rnn_own_parameters_at_each_step; bidirectional; bidirectional_lengths
        """,
    }.items()
}
# The biases of those above are zeros.
FAMILIES["attention"]["attention_biases"] = attention_rnn.attention(
    inputs="qkv", **BIAS
)
for _layer in ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell"):
    FAMILIES["recurrent"][f"{_layer}_biases"] = attention_rnn.cell(_layer, **BIAS)
FAMILIES["recurrent"]["MGUCell_biases"] = attention_rnn.cell(
    "MGUCell", forget_bias_init=normal, activation_bias_init=normal
)
FAMILIES["functions"] = {
    **{name: _function(name, X) for name in ACTIVATIONS},
    **{f"init {n}": _initializer(n, *args) for n, args in INITIALIZERS.items()},
    "one_hot": _function("one_hot", np.array([0, 3, 5, -1]), num_classes=5),
    **{
        f"{name} {padding}": _function(name, IMAGE, (2, 3), (2, 1), padding)
        for name in ("avg_pool", "max_pool", "min_pool")
        for padding in ("SAME", "VALID")
    },
    "avg_pool inside": _function(
        "avg_pool", IMAGE, (2, 3), padding="SAME", count_include_pad=False
    ),
    "make_attention_mask": _function("make_attention_mask", X > 0, X < 1),
    "make_causal_mask": _function("make_causal_mask", X),
    "combine_masks": _function("combine_masks", X > 0, None, X < 1),
    "dot_product_attention_weights": _function(
        "dot_product_attention_weights", *HEADS[:2]
    ),
    "dot_product_attention": _function(
        "dot_product_attention",
        *HEADS,
        bias=values(2, 1, 5, 5),
        mask=values(2, 2, 5, 5) > 0,
    ),
}


# Layers that draw all that layers draw, to be recorded with each kind of random keys.
DRAWING = ("dense", "Conv_plain", "embed", "dropout 0.3", "attention_dropout", "rnn")

# The kinds of keys of each file: typed or not, and of which threefry.
KEYS: dict[str, tuple[bool, bool]] = dict.fromkeys(FAMILIES, (True, True))
for _typed, _partitionable in ((True, False), (False, True), (False, False)):
    _name = f"keys_{'typed' if _typed else 'raw'}_{'new' if _partitionable else 'old'}"
    FAMILIES[_name] = {
        n: (dense_conv_norm.CASES | attention_rnn.CASES)[n] for n in DRAWING
    }
    KEYS[_name] = (_typed, _partitionable)


def rngs(family: str) -> dict[str, Any]:
    make = jax.random.key if KEYS[family][0] else jax.random.PRNGKey
    return {"params": make(3), "dropout": make(4)}


def run(
    case: Case, nn: Any, family: str, inputs: Any = None, variables: Any = None
) -> dict[str, Any]:
    """Initializes the module of a case and applies it.

    `inputs` and `variables` are used in place of those that the case gives and those
    that come from `init`. Returns what is recorded: plain dicts with strings for keys.
    """
    with jax.threefry_partitionable(KEYS[family][1]):
        module, args, kwargs = case(nn)
        leaves, structure = jax.tree.flatten((args, kwargs))
        if inputs is None:
            inputs = dict(enumerate(leaves))
        assert len(inputs) == len(leaves), "The case is not the one that is recorded."
        leaves = [inputs[key] for key in inputs]
        args, kwargs = jax.tree.unflatten(structure, leaves)
        layers: set[str] = set()

        def note(call, args, kwargs, context):
            layers.add(type(context.module).__name__)
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            initial = plain(module.init(rngs(family), *args, **kwargs))
        # With a cache, one step of decoding, on what `init` made room for.
        step = tuple(x[:, :1] for x in args) if "cache" in initial else args
        y, changed = module.apply(
            jax.tree.map(jnp.asarray, initial if variables is None else variables),
            *step,
            rngs=rngs(family),
            mutable=MUTABLE,
            **kwargs,
        )
    return {
        "inputs": plain(leaves),
        "variables": initial,
        "output": plain(y),
        "changed": plain(changed),
        "layers": sorted(layers),
    }


def plain(tree: Any) -> Any:
    """The tree with plain dicts for all that holds something, and NumPy's arrays."""
    if isinstance(tree, (tuple, list)):
        tree = {str(i): value for i, value in enumerate(tree)}
    if isinstance(tree, Mapping) or hasattr(tree, "items"):
        return {str(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, (bool, int, float, str)):
        return tree
    return np.asarray(tree)


def arrays(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a plain tree, with their paths."""
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key in sorted(tree):
        yield from arrays(tree[key], f"{path}/{key}" if path else key)


def probe() -> dict[str, Any]:
    """What JAX alone computes here, without a layer.

    A machine on which this is not the recorded result, bit for bit, rounds otherwise
    than the machine that recorded, and so do all layers on it.
    """
    x = values(7, 33)
    image = values(1, 6, 7, 4)
    kernel = values(3, 2, 4, 5)
    results = {
        "product": x @ values(33, 5),
        "convolution": jax.lax.conv_general_dilated(
            image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        "sums": x.sum(0),
        "means": x.mean(-1),
        "rsqrt": jax.lax.rsqrt(jnp.abs(x)),
        "exp": jnp.exp(x),
        "tanh": jnp.tanh(x),
        "softmax": jax.nn.softmax(x),
        "normal": jax.random.normal(jax.random.key(1), (65,)),
        "truncated": jax.random.truncated_normal(jax.random.key(1), -2, 2, (65,)),
        "orthogonal": jax.nn.initializers.orthogonal()(jax.random.key(1), (4, 4)),
    }
    return plain(results)
