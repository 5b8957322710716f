"""The flags that only NNX reads. They are defined when this module is imported.

>>> nnx_graph_mode.value
True
"""

from __future__ import annotations

from batiste.core.config import bool_flag, int_flag, static_bool_env

__all__ = [
    "flax_always_shard_variable",
    "flax_array_ref",
    "flax_hijax_variable",
    "flax_max_repr_depth",
    "flax_pytree_module",
    "flax_use_flaxlib",
    "nnx_graph_mode",
    "nnx_graph_updates",
]

flax_use_flaxlib = bool_flag(
    "use_flaxlib", default=False, help="NNX uses flaxlib, which is written in C++."
)
flax_array_ref = bool_flag(
    "array_ref", default=False, help="Variables of NNX hold references to arrays."
)
flax_pytree_module = bool_flag(
    "pytree_module", default=True, help="Modules of NNX are pytrees."
)
flax_max_repr_depth = int_flag(
    "max_repr_depth", default=None, help="How deep NNX prints objects."
)
flax_always_shard_variable = bool_flag(
    "always_shard_variable",
    default=True,
    help="Variables of NNX that have axis names are laid out when they are made.",
)
flax_hijax_variable = bool_flag(
    "hijax_variable", default=False, help="Variables of NNX are types of JAX."
)
nnx_graph_mode = bool_flag(
    "nnx_graph_mode",
    default=static_bool_env("NNX_GRAPH_MODE", True),
    help="NNX follows shared references.",
)
nnx_graph_updates = bool_flag(
    "nnx_graph_updates",
    default=static_bool_env("NNX_GRAPH_UPDATES", True),
    help="NNX propagates changes of structure.",
)
