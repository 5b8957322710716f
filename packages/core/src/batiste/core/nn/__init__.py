"""Functional layers: functions of a scope that declare their own parameters."""

from jax.nn import initializers as initializers

from . import activation as activation
from . import attention as attention
from . import linear as linear
from . import normalization as normalization
from . import stochastic as stochastic
from .activation import celu as celu
from .activation import elu as elu
from .activation import gelu as gelu
from .activation import glu as glu
from .activation import leaky_relu as leaky_relu
from .activation import log_sigmoid as log_sigmoid
from .activation import log_softmax as log_softmax
from .activation import relu as relu
from .activation import sigmoid as sigmoid
from .activation import silu as silu
from .activation import soft_sign as soft_sign
from .activation import softmax as softmax
from .activation import softplus as softplus
from .activation import swish as swish
from .activation import tanh as tanh
from .attention import dot_product_attention as dot_product_attention
from .attention import (
    multi_head_dot_product_attention as multi_head_dot_product_attention,
)
from .linear import Embedding as Embedding
from .linear import conv as conv
from .linear import conv_transpose as conv_transpose
from .linear import dense as dense
from .linear import dense_general as dense_general
from .linear import embedding as embedding
from .normalization import batch_norm as batch_norm
from .normalization import group_norm as group_norm
from .normalization import layer_norm as layer_norm
from .stochastic import dropout as dropout
