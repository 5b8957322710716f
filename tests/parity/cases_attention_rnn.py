"""Attention and recurrent layers in many configurations, for either library.

`CASES` maps a name to a function of a layer namespace (`flax.linen` or
`batiste.linen`) that returns `(module, args, kwargs)`. The inputs come from NumPy, so
that the two libraries get the same. `attention`, `cell` and `rnn` make such functions
from generated configurations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Case = Callable[[Any], tuple[Any, tuple[Any, ...], dict[str, Any]]]


def normal(seed: int, *shape: int, dtype: Any = np.float32) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def attention(
    layer: str = "MultiHeadDotProductAttention",
    inputs: str = "q",
    batch: tuple[int, ...] = (2,),
    lengths: tuple[int, int] = (5, 7),
    in_features: int = 8,
    in_dtype: Any = np.float32,
    mask: str | None = None,
    call: dict[str, Any] | None = None,
    **fields: Any,
) -> Case:
    """A case of an attention layer.

    `inputs` says which are passed: "q", "qk" or "qkv". `mask` is None, "causal",
    "random" or "heads" (a mask of the full shape).
    """
    fields.setdefault("num_heads", 2)

    def make(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        q_length, kv_length = lengths
        if inputs == "q":
            kv_length = q_length
        arrays = [normal(0, *batch, q_length, in_features, dtype=in_dtype)]
        if "k" in inputs:
            arrays.append(normal(1, *batch, kv_length, in_features, dtype=in_dtype))
        if "v" in inputs:
            arrays.append(normal(2, *batch, kv_length, in_features, dtype=in_dtype))
        kwargs = dict(call or {})
        rng = np.random.default_rng(3)
        if mask == "causal":
            kwargs["mask"] = nn.make_causal_mask(arrays[0][..., 0])
        elif mask == "random":
            kwargs["mask"] = rng.random((*batch, 1, q_length, kv_length)) > 0.4
        elif mask == "heads":
            shape = (*batch, fields["num_heads"], q_length, kv_length)
            kwargs["mask"] = jnp.asarray(rng.random(shape) > 0.4, jnp.float32)
        return getattr(nn, layer)(**fields), tuple(arrays), kwargs

    return make


def cell(
    layer: str,
    batch: tuple[int, ...] = (2,),
    in_features: int = 3,
    in_dtype: Any = np.float32,
    **fields: Any,
) -> Case:
    """A case of a recurrent cell, with a carry that is not zero."""
    fields.setdefault("features", 4)

    def make(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        spatial = (6, 5)[: len(fields.get("kernel_size", ()))]
        x = normal(0, *batch, *spatial, in_features, dtype=in_dtype)
        shape = (*batch, *spatial, fields["features"])
        carry: Any = normal(1, *shape)
        if "LSTM" in layer:
            carry = (carry, normal(2, *shape))
        return getattr(nn, layer)(**fields), (carry, x), {}

    return make


def rnn(
    layer: str = "LSTMCell",
    batch: tuple[int, ...] = (2,),
    time: int = 5,
    lengths: tuple[int, ...] | None = None,
    in_dtype: Any = np.float32,
    bidirectional: bool = False,
    cell_fields: dict[str, Any] | None = None,
    call: dict[str, Any] | None = None,
    **fields: Any,
) -> Case:
    """A case of `RNN`, or of `Bidirectional` around two of them."""

    def make(nn: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        own = {"features": 4, **(cell_fields or {})}
        spatial = (6, 5)[: len(own.get("kernel_size", ()))]
        kwargs = dict(call or {})
        time_major = kwargs.get("time_major", fields.get("time_major", False))
        lead = (time, *batch) if time_major else (*batch, time)
        x = normal(0, *lead, *spatial, 3, dtype=in_dtype)
        if lengths is not None:
            kwargs["seq_lengths"] = jnp.asarray(lengths)
        make_cell = getattr(nn, layer)
        if not bidirectional:
            return nn.RNN(make_cell(**own), **fields), (x,), kwargs
        layers = nn.RNN(make_cell(**own)), nn.RNN(make_cell(**own))
        return nn.Bidirectional(*layers, **fields), (x,), kwargs

    return make


DROPOUT = {"dropout_rate": 0.3, "deterministic": False}

CASES: dict[str, Case] = {
    "attention": attention(),
    "attention_cross": attention(inputs="qk"),
    "attention_values": attention(inputs="qkv"),
    "attention_causal": attention(mask="causal"),
    "attention_random_mask": attention(inputs="qk", mask="random"),
    "attention_mask_of_heads": attention(inputs="qkv", mask="heads"),
    "attention_without_batch": attention(batch=()),
    "attention_two_batch_axes": attention(batch=(2, 3), mask="random"),
    "attention_empty_batch": attention(batch=(0,)),
    "attention_features": attention(qkv_features=6, out_features=5),
    "attention_without_bias": attention(use_bias=False),
    "attention_bfloat16": attention(dtype=jnp.bfloat16, mask="causal"),
    "attention_float16_inputs": attention(in_dtype=np.float16),
    "attention_half_parameters": attention(param_dtype=jnp.bfloat16),
    "attention_integer_inputs": attention(in_dtype=np.int32),
    "attention_dropout": attention(**DROPOUT),
    "attention_dropout_of_each": attention(broadcast_dropout=False, **DROPOUT),
    "attention_dropout_off": attention(dropout_rate=0.3, call={"deterministic": True}),
    "attention_normalized": attention(normalize_qk=True),
    "attention_normalized_bfloat16": attention(
        normalize_qk=True, dtype=jnp.bfloat16, use_bias=False
    ),
    "attention_float32_softmax": attention(
        dtype=jnp.bfloat16, force_fp32_for_softmax=True
    ),
    "attention_decode": attention(decode=True),
    "attention_decode_bfloat16": attention(decode=True, dtype=jnp.bfloat16),
    "attention_sow": attention(call={"sow_weights": True}),
    "attention_precision": attention(precision="highest"),
    "multi_head_attention": attention("MultiHeadAttention", inputs="qk"),
    "self_attention": attention("SelfAttention", mask="causal"),
    "self_attention_dropout": attention("SelfAttention", **DROPOUT),
    "lstm": cell("LSTMCell"),
    "lstm_without_batch": cell("LSTMCell", batch=()),
    "lstm_two_batch_axes": cell("LSTMCell", batch=(2, 3)),
    "lstm_empty_batch": cell("LSTMCell", batch=(0,)),
    "lstm_bfloat16": cell("LSTMCell", dtype=jnp.bfloat16),
    "lstm_half_parameters": cell(
        "LSTMCell",
        param_dtype=jnp.float16,
        recurrent_kernel_init=jax.nn.initializers.normal(),
    ),
    "optimized_lstm": cell("OptimizedLSTMCell"),
    "optimized_lstm_bfloat16": cell("OptimizedLSTMCell", dtype=jnp.bfloat16),
    "optimized_lstm_two_batch_axes": cell("OptimizedLSTMCell", batch=(2, 3)),
    "gru": cell("GRUCell"),
    "gru_bfloat16": cell("GRUCell", dtype=jnp.bfloat16),
    "simple_cell": cell("SimpleCell"),
    "simple_cell_residual": cell("SimpleCell", residual=True, dtype=jnp.float16),
    "mgu": cell("MGUCell"),
    "mgu_without_reset_gate": cell("MGUCell", reset_gate=False),
    "conv_lstm": cell("ConvLSTMCell", kernel_size=(3, 3)),
    "conv_lstm_1d": cell("ConvLSTMCell", kernel_size=(3,), use_bias=False),
    "conv_lstm_bfloat16": cell("ConvLSTMCell", kernel_size=(3, 2), dtype=jnp.bfloat16),
    "rnn": rnn(),
    "rnn_carry": rnn(return_carry=True),
    "rnn_gru": rnn("GRUCell"),
    "rnn_optimized_lstm": rnn("OptimizedLSTMCell"),
    "rnn_simple": rnn("SimpleCell", reverse=True),
    "rnn_mgu": rnn("MGUCell", reverse=True, keep_order=True),
    "rnn_conv_lstm": rnn("ConvLSTMCell", cell_fields={"kernel_size": (3, 3)}),
    "rnn_time_major": rnn(time_major=True, return_carry=True),
    "rnn_lengths": rnn(lengths=(3, 5), return_carry=True),
    "rnn_lengths_reversed": rnn(
        lengths=(3, 5), return_carry=True, reverse=True, keep_order=True
    ),
    "rnn_lengths_time_major": rnn(
        "GRUCell", lengths=(1, 4), call={"time_major": True, "return_carry": True}
    ),
    "rnn_without_batch": rnn(batch=()),
    "rnn_two_batch_axes": rnn(batch=(2, 3)),
    "rnn_no_steps": rnn(time=0),
    "rnn_unrolled": rnn(unroll=2),
    "rnn_own_parameters_at_each_step": rnn(
        "GRUCell",
        variable_axes={"params": 0},
        variable_broadcast=False,
        split_rngs={"params": True},
    ),
    "bidirectional": rnn(bidirectional=True),
    "bidirectional_lengths": rnn(
        "GRUCell", bidirectional=True, lengths=(3, 5), return_carry=True
    ),
    "bidirectional_time_major": rnn(bidirectional=True, time_major=True),
}
