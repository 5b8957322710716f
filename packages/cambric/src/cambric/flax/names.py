"""Where the names of flax are in Cambric.

An alias module has no contents of its own. A name is looked for in the modules listed
here, in their order, when it is first used.
"""

from __future__ import annotations

__all__ = ["ABSENT", "MODULES", "RENAMED", "absence", "children"]

_TYPES = "cambric.core.typing"
_TRANSFORMS = "cambric.linen.transforms"

MODULES: dict[str, tuple[str, ...]] = {
    "flax": (),
    "flax.configurations": ("cambric.flax.configurations", "cambric.core.config"),
    "flax.core": ("cambric.core", "cambric.core.lift"),
    "flax.core.axes_scan": ("cambric.core.axes_scan",),
    "flax.core.frozen_dict": ("cambric.core.frozen_dict",),
    "flax.core.lift": (
        "cambric.core.lift",
        "cambric.core.scope",
        "cambric.core.filters",
        "cambric.core.lift.axes",
        "cambric.core.frozen_dict",
        _TYPES,
    ),
    "flax.core.meta": ("cambric.core.meta", "cambric.spmd"),
    "flax.core.nn": ("cambric.core.nn", "cambric.linen.pooling"),
    "flax.core.nn.activation": ("cambric.core.nn.activation",),
    "flax.core.nn.attention": ("cambric.core.nn.attention", "cambric.core.scope"),
    "flax.core.nn.linear": ("cambric.core.nn.linear", "cambric.core.scope"),
    "flax.core.nn.normalization": (
        "cambric.core.nn.normalization",
        "cambric.core.scope",
    ),
    "flax.core.nn.stochastic": ("cambric.core.nn.stochastic",),
    "flax.core.partial_eval": ("cambric.core.partial_eval",),
    "flax.core.scope": (
        "cambric.core.scope",
        "cambric.core.filters",
        "cambric.core.frozen_dict",
        _TYPES,
    ),
    "flax.core.spmd": ("cambric.spmd",),
    "flax.core.tracers": ("cambric.core.tracers",),
    "flax.core.variables": ("cambric.core.variables",),
    "flax.cursor": ("cambric.core.cursor", "cambric.core.errors"),
    "flax.errors": ("cambric.core.errors",),
    "flax.ids": ("cambric.core.ids",),
    "flax.io": ("cambric.training.io",),
    "flax.jax_utils": ("cambric.training.jax_utils",),
    "flax.linen": ("cambric.linen",),
    "flax.linen.activation": (
        "cambric.linen.activation",
        "cambric.linen.linear",
        "cambric.linen.module",
        _TYPES,
    ),
    "flax.linen.attention": (
        "cambric.linen.attention",
        "cambric.linen.linear",
        "cambric.linen.dtypes",
        _TYPES,
    ),
    "flax.linen.batch_apply": ("cambric.linen.batch_apply",),
    "flax.linen.combinators": ("cambric.linen.combinators", "cambric.linen.module"),
    "flax.linen.dtypes": ("cambric.linen.dtypes", _TYPES),
    "flax.linen.initializers": ("cambric.linen.initializers",),
    "flax.linen.kw_only_dataclasses": ("dataclasses",),
    "flax.linen.linear": (
        "cambric.linen.linear",
        "cambric.linen.conv",
        "cambric.linen.conv_transpose",
        "cambric.linen.conv_shapes",
        "cambric.linen.embed",
        "cambric.linen.einsum",
        "cambric.linen.initializers",
        "cambric.linen.dtypes",
        "cambric.linen.module",
        _TYPES,
    ),
    "flax.linen.module": (
        "cambric.linen.module",
        "cambric.linen.base",
        "cambric.linen.context",
        "cambric.linen.method_call",
        "cambric.linen.functional",
        "cambric.linen.share_scope",
        "cambric.flax.linen_module",
        "cambric.core",
        "cambric.core.filters",
        "cambric.core.ids",
        _TYPES,
    ),
    "flax.linen.normalization": (
        "cambric.linen.normalization",
        "cambric.linen.weight_normalization",
        "cambric.linen.dtypes",
        "cambric.linen.module",
        _TYPES,
    ),
    "flax.linen.partitioning": (
        "cambric.linen.partitioning",
        "cambric.spmd",
        "cambric.core.lift",
        "cambric.core.frozen_dict",
        "cambric.traverse",
        _TYPES,
    ),
    "flax.linen.pooling": ("cambric.linen.pooling",),
    "flax.linen.recurrent": (
        "cambric.linen.recurrent",
        "cambric.linen.rnn",
        "cambric.linen.rnn_cells",
        "cambric.linen.activation",
        "cambric.linen.conv",
        "cambric.linen.module",
        "cambric.linen.dtypes",
        _TYPES,
    ),
    "flax.linen.spmd": ("cambric.linen.spmd", "cambric.spmd", _TYPES),
    "flax.linen.stochastic": ("cambric.linen.stochastic", _TYPES),
    "flax.linen.summary": (
        "cambric.linen.summary",
        "cambric.core.scope",
        "cambric.core.frozen_dict",
        _TYPES,
    ),
    "flax.linen.transforms": (
        _TRANSFORMS,
        "cambric.linen.method_call",
        "cambric.linen.module",
        "cambric.core",
        "cambric.core.scope",
        "cambric.core.ids",
        _TYPES,
    ),
    "flax.metrics": (),
    "flax.metrics.tensorboard": ("cambric.training.tensorboard",),
    "flax.serialization": ("cambric.serialization",),
    "flax.struct": ("cambric.core.struct",),
    "flax.traceback_util": ("cambric.core.traceback_util",),
    "flax.training": ("cambric.training",),
    "flax.training.checkpoints": ("cambric.training.checkpoints", _TYPES),
    "flax.training.common_utils": ("cambric.training.common_utils",),
    "flax.training.dynamic_scale": ("cambric.training.dynamic_scale", _TYPES),
    "flax.training.early_stopping": ("cambric.training.early_stopping",),
    "flax.training.lr_schedule": ("cambric.training.lr_schedule",),
    "flax.training.orbax_utils": ("cambric.training.orbax_utils", _TYPES),
    "flax.training.prefetch_iterator": ("cambric.training.prefetch_iterator",),
    "flax.training.train_state": ("cambric.training.train_state",),
    "flax.traverse_util": ("cambric.traverse",),
    "flax.typing": (_TYPES,),
    "flax.version": (),
}

# Names of an alias module that are not in the modules above under that name.
RENAMED: dict[tuple[str, str], tuple[str, str | None]] = {
    ("flax", "config"): ("cambric.core.config", "config"),
    ("flax.linen", "meta"): ("cambric.linen.meta", None),
    ("flax.core.nn", "initializers"): ("jax.nn.initializers", None),
    ("flax.core.scope", "config"): ("cambric.core.config", "config"),
    ("flax.core.scope", "no_flag"): ("cambric.core.scope_tree", "no_flag"),
    ("flax.linen.partitioning", "ScanIn"): ("cambric.core.lift", "In"),
    ("flax.linen.partitioning", "ScanOut"): ("cambric.core.lift", "Out"),
    ("flax.linen.partitioning", "axis_rules"): ("cambric.spmd", "logical_axis_rules"),
    ("flax.linen.partitioning", "get_axis_rules"): (
        "cambric.spmd",
        "get_logical_axis_rules",
    ),
    ("flax.linen.partitioning", "set_axis_rules"): (
        "cambric.spmd",
        "set_logical_axis_rules",
    ),
    ("flax.linen.partitioning", "with_sharding_constraint"): (
        "cambric.spmd",
        "with_logical_constraint",
    ),
    ("flax.struct", "TNode"): ("cambric.core.struct", "T"),
    ("flax.training.checkpoints", "process_index"): ("jax", "process_index"),
    ("flax.linen.normalization", "map_variables"): (_TRANSFORMS, "map_variables"),
    ("flax.linen.recurrent", "CarryHistory"): ("typing", "Any"),
    ("flax.linen.recurrent", "Output"): ("typing", "Any"),
    ("flax.linen.transforms", "decorator_lift_transform_cached"): (
        _TRANSFORMS,
        "decorator_lift_transform",
    ),
    ("flax.linen.transforms", "lift_transform_cached"): (_TRANSFORMS, "lift_transform"),
    ("flax.linen.transforms", "module_class_lift_transform_cached"): (
        _TRANSFORMS,
        "module_class_lift_transform",
    ),
    ("flax.training.checkpoints", "MultiprocessArrayType"): ("typing", "Any"),
    ("flax.training.checkpoints", "PyTree"): ("typing", "Any"),
    ("flax.training.orbax_utils", "PyTree"): ("typing", "Any"),
}

_NNX = (
    "NNX is not part of this system, which is Flax Linen. Code that needs it needs the "
    "released flax: run it without cambric.flax."
)
_FP8 = "fp8 operations are not part of this system."

# What is left out on purpose, with all that is below it.
ABSENT = {
    "flax.nnx": _NNX,
    "flax.experimental.nnx": _NNX,
    "flax.linen.fp8_ops": _FP8,
}


def absence(name: str) -> str | None:
    """Return why a module or attribute of flax is left out on purpose, or None.

    >>> absence("flax.linen.Fp8Einsum")
    'fp8 operations are not part of this system.'
    >>> absence("flax.linen.Dense") is None
    True
    """
    for absent, reason in ABSENT.items():
        if name == absent or name.startswith(absent + "."):
            return reason
    last = name.rpartition(".")[2]
    if last.lower().startswith(("fp8", "nanoofp8")):
        return _FP8
    return None


def children(module: str) -> list[str]:
    """The names of the modules right below one, without its own.

    >>> children("flax.metrics")
    ['tensorboard']
    """
    start = module + "."
    found = [name.removeprefix(start) for name in MODULES if name.startswith(start)]
    return sorted(name for name in found if "." not in name)
