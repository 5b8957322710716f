"""Attention layers, which project their inputs to several heads."""

from .layers import MultiHeadAttention as MultiHeadAttention
from .layers import MultiHeadDotProductAttention as MultiHeadDotProductAttention
from .layers import SelfAttention as SelfAttention
from .masks import combine_masks as combine_masks
from .masks import make_attention_mask as make_attention_mask
from .masks import make_causal_mask as make_causal_mask
from .weights import dot_product_attention as dot_product_attention
from .weights import dot_product_attention_weights as dot_product_attention_weights
