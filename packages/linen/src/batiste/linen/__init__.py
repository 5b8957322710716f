"""Neural network modules: layers, models, and transforms of them.

What a model needs first is imported at once; attention, recurrent layers,
normalization, transforms and partitioning when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from batiste.core import DenyList as DenyList
from batiste.core import FrozenDict as FrozenDict
from batiste.core import Variable as Variable
from batiste.core.meta import unbox as unbox

from . import activation as activation
from . import combinators as combinators
from . import dtypes as dtypes
from . import initializers as initializers
from . import linear as linear
from . import module as module
from . import pooling as pooling
from . import stochastic as stochastic
from .activation import PReLU as PReLU
from .activation import celu as celu
from .activation import elu as elu
from .activation import gelu as gelu
from .activation import glu as glu
from .activation import hard_sigmoid as hard_sigmoid
from .activation import hard_silu as hard_silu
from .activation import hard_swish as hard_swish
from .activation import hard_tanh as hard_tanh
from .activation import leaky_relu as leaky_relu
from .activation import log_sigmoid as log_sigmoid
from .activation import log_softmax as log_softmax
from .activation import logsumexp as logsumexp
from .activation import normalize as normalize
from .activation import one_hot as one_hot
from .activation import relu as relu
from .activation import relu6 as relu6
from .activation import selu as selu
from .activation import sigmoid as sigmoid
from .activation import silu as silu
from .activation import soft_sign as soft_sign
from .activation import softmax as softmax
from .activation import softplus as softplus
from .activation import standardize as standardize
from .activation import swish as swish
from .activation import tanh as tanh
from .combinators import Sequential as Sequential
from .initializers import ones as ones
from .initializers import ones_init as ones_init
from .initializers import zeros as zeros
from .initializers import zeros_init as zeros_init
from .linear import Conv as Conv
from .linear import ConvLocal as ConvLocal
from .linear import ConvTranspose as ConvTranspose
from .linear import Dense as Dense
from .linear import DenseGeneral as DenseGeneral
from .linear import Embed as Embed
from .module import InterceptorContext as InterceptorContext
from .module import Module as Module
from .module import SetupState as SetupState
from .module import apply as apply
from .module import compact as compact
from .module import compact_name_scope as compact_name_scope
from .module import disable_named_call as disable_named_call
from .module import enable_named_call as enable_named_call
from .module import init as init
from .module import init_with_output as init_with_output
from .module import intercept_methods as intercept_methods
from .module import merge_param as merge_param
from .module import nowrap as nowrap
from .module import override_named_call as override_named_call
from .module import share_scope as share_scope
from .pooling import avg_pool as avg_pool
from .pooling import max_pool as max_pool
from .pooling import min_pool as min_pool
from .pooling import pool as pool
from .stochastic import Dropout as Dropout

if TYPE_CHECKING:
    from batiste.core import broadcast as broadcast
    from batiste.spmd import PARTITION_NAME as PARTITION_NAME
    from batiste.spmd import LogicallyPartitioned as LogicallyPartitioned
    from batiste.spmd import Partitioned as Partitioned
    from batiste.spmd import get_logical_axis_rules as get_logical_axis_rules
    from batiste.spmd import get_partition_spec as get_partition_spec
    from batiste.spmd import get_sharding as get_sharding
    from batiste.spmd import logical_axis_rules as logical_axis_rules
    from batiste.spmd import logical_to_mesh as logical_to_mesh
    from batiste.spmd import logical_to_mesh_axes as logical_to_mesh_axes
    from batiste.spmd import logical_to_mesh_sharding as logical_to_mesh_sharding
    from batiste.spmd import set_logical_axis_rules as set_logical_axis_rules
    from batiste.spmd import with_logical_constraint as with_logical_constraint
    from batiste.spmd import with_logical_partitioning as with_logical_partitioning
    from batiste.spmd import with_partitioning as with_partitioning

    from . import attention as attention
    from . import batch_apply as batch_apply
    from . import meta as meta
    from . import normalization as normalization
    from . import partitioning as partitioning
    from . import recurrent as recurrent
    from . import spmd as spmd
    from . import summary as summary
    from . import transforms as transforms
    from .attention import MultiHeadAttention as MultiHeadAttention
    from .attention import MultiHeadDotProductAttention as MultiHeadDotProductAttention
    from .attention import SelfAttention as SelfAttention
    from .attention import combine_masks as combine_masks
    from .attention import dot_product_attention as dot_product_attention
    from .attention import (
        dot_product_attention_weights as dot_product_attention_weights,
    )
    from .attention import make_attention_mask as make_attention_mask
    from .attention import make_causal_mask as make_causal_mask
    from .batch_apply import BatchApply as BatchApply
    from .linear import Einsum as Einsum
    from .normalization import BatchNorm as BatchNorm
    from .normalization import GroupNorm as GroupNorm
    from .normalization import InstanceNorm as InstanceNorm
    from .normalization import LayerNorm as LayerNorm
    from .normalization import RMSNorm as RMSNorm
    from .normalization import SpectralNorm as SpectralNorm
    from .normalization import WeightNorm as WeightNorm
    from .recurrent import RNN as RNN
    from .recurrent import Bidirectional as Bidirectional
    from .recurrent import ConvLSTMCell as ConvLSTMCell
    from .recurrent import GRUCell as GRUCell
    from .recurrent import LSTMCell as LSTMCell
    from .recurrent import MGUCell as MGUCell
    from .recurrent import OptimizedLSTMCell as OptimizedLSTMCell
    from .recurrent import RNNCellBase as RNNCellBase
    from .recurrent import SimpleCell as SimpleCell
    from .summary import tabulate as tabulate
    from .transforms import add_metadata_axis as add_metadata_axis
    from .transforms import checkpoint as checkpoint
    from .transforms import cond as cond
    from .transforms import custom_jvp as custom_jvp
    from .transforms import custom_vjp as custom_vjp
    from .transforms import fold_rngs as fold_rngs
    from .transforms import grad as grad
    from .transforms import jit as jit
    from .transforms import jvp as jvp
    from .transforms import linearize as linearize
    from .transforms import map_variables as map_variables
    from .transforms import named_call as named_call
    from .transforms import pmap as pmap
    from .transforms import remat as remat
    from .transforms import remat_scan as remat_scan
    from .transforms import scan as scan
    from .transforms import shard_map as shard_map
    from .transforms import switch as switch
    from .transforms import value_and_grad as value_and_grad
    from .transforms import vjp as vjp
    from .transforms import vmap as vmap
    from .transforms import while_loop as while_loop

# Where to find what is imported when it is first used; "." holds submodules.
_LATER = {
    "batiste.core": ("broadcast",),
    "batiste.spmd": (
        "PARTITION_NAME",
        "LogicallyPartitioned",
        "Partitioned",
        "get_logical_axis_rules",
        "get_partition_spec",
        "get_sharding",
        "logical_axis_rules",
        "logical_to_mesh",
        "logical_to_mesh_axes",
        "logical_to_mesh_sharding",
        "set_logical_axis_rules",
        "with_logical_constraint",
        "with_logical_partitioning",
        "with_partitioning",
    ),
    ".": (
        "attention",
        "batch_apply",
        "meta",
        "normalization",
        "partitioning",
        "recurrent",
        "spmd",
        "summary",
        "transforms",
    ),
    ".attention": (
        "MultiHeadAttention",
        "MultiHeadDotProductAttention",
        "SelfAttention",
        "combine_masks",
        "dot_product_attention",
        "dot_product_attention_weights",
        "make_attention_mask",
        "make_causal_mask",
    ),
    ".batch_apply": ("BatchApply",),
    ".linear": ("Einsum",),
    ".normalization": (
        "BatchNorm",
        "GroupNorm",
        "InstanceNorm",
        "LayerNorm",
        "RMSNorm",
        "SpectralNorm",
        "WeightNorm",
    ),
    ".recurrent": (
        "RNN",
        "Bidirectional",
        "ConvLSTMCell",
        "GRUCell",
        "LSTMCell",
        "MGUCell",
        "OptimizedLSTMCell",
        "RNNCellBase",
        "SimpleCell",
    ),
    ".summary": ("tabulate",),
    ".transforms": (
        "add_metadata_axis",
        "checkpoint",
        "cond",
        "custom_jvp",
        "custom_vjp",
        "fold_rngs",
        "grad",
        "jit",
        "jvp",
        "linearize",
        "map_variables",
        "named_call",
        "pmap",
        "remat",
        "remat_scan",
        "scan",
        "shard_map",
        "switch",
        "value_and_grad",
        "vjp",
        "vmap",
        "while_loop",
    ),
}
_HOME = {name: home for home, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if home == ".":
        value = importlib.import_module(f".{name}", __name__)
    else:
        value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
