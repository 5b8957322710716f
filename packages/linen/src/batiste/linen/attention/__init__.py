"""Attention layers, which project their inputs to several heads."""

from .layers import MultiHeadAttention, MultiHeadDotProductAttention, SelfAttention
from .masks import combine_masks, make_attention_mask, make_causal_mask
from .weights import dot_product_attention, dot_product_attention_weights

__all__ = [
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "SelfAttention",
    "combine_masks",
    "dot_product_attention",
    "dot_product_attention_weights",
    "make_attention_mask",
    "make_causal_mask",
]
