"""Functional layers: functions of a scope that declare their own parameters."""

from jax.nn import initializers

from . import activation, attention, linear, normalization, stochastic
from .activation import (
    celu,
    elu,
    gelu,
    glu,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu,
    sigmoid,
    silu,
    soft_sign,
    softmax,
    softplus,
    swish,
    tanh,
)
from .attention import dot_product_attention, multi_head_dot_product_attention
from .linear import Embedding, conv, conv_transpose, dense, dense_general, embedding
from .normalization import batch_norm, group_norm, layer_norm
from .stochastic import dropout

__all__ = [
    "Embedding",
    "activation",
    "attention",
    "batch_norm",
    "celu",
    "conv",
    "conv_transpose",
    "dense",
    "dense_general",
    "dot_product_attention",
    "dropout",
    "elu",
    "embedding",
    "gelu",
    "glu",
    "group_norm",
    "initializers",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "multi_head_dot_product_attention",
    "normalization",
    "relu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "stochastic",
    "swish",
    "tanh",
]
