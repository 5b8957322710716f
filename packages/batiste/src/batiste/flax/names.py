"""Where the names of flax are in Batiste.

An alias module has no contents of its own. A name is looked for in the modules listed
here, in their order, when it is first used.
"""

from __future__ import annotations

__all__ = ["ABSENT", "LIVE", "MODULES", "RENAMED", "SHOWN", "absence", "children"]

_TYPES = "batiste.flax.typing"
_TRANSFORMS = "batiste.linen.transforms"

MODULES: dict[str, tuple[str, ...]] = {
    "flax": (),
    "flax.configurations": (
        "batiste.flax.configurations",
        "batiste.flax.nnx_flags",
        "batiste.core.config",
    ),
    "flax.core": ("batiste.core", "batiste.core.lift"),
    "flax.core.axes_scan": ("batiste.core.axes_scan",),
    "flax.core.frozen_dict": (
        "batiste.core.frozen_dict",
        "batiste.flax.inner.frozen_dict",
    ),
    "flax.core.lift": (
        "batiste.core.lift",
        "batiste.core.scope",
        "batiste.core.scope.filters",
        "batiste.core.lift.axes",
        "batiste.core.frozen_dict",
        _TYPES,
    ),
    "flax.core.meta": ("batiste.core.meta", "batiste.spmd"),
    "flax.core.nn": ("batiste.core.nn", "batiste.linen.pooling"),
    "flax.core.nn.activation": ("batiste.core.nn.activation",),
    "flax.core.nn.attention": ("batiste.core.nn.attention", "batiste.core.scope"),
    "flax.core.nn.linear": (
        "batiste.core.nn.linear",
        "batiste.core.scope",
        "batiste.flax.inner.linear",
    ),
    "flax.core.nn.normalization": (
        "batiste.core.nn.normalization",
        "batiste.core.scope",
    ),
    "flax.core.nn.stochastic": ("batiste.core.nn.stochastic",),
    "flax.core.partial_eval": ("batiste.core.partial_eval",),
    "flax.core.scope": (
        "batiste.core.scope",
        "batiste.core.scope.filters",
        "batiste.core.frozen_dict",
        _TYPES,
    ),
    "flax.core.spmd": ("batiste.spmd",),
    "flax.core.tracers": ("batiste.core.tracers",),
    "flax.core.variables": ("batiste.core.scope.variables",),
    "flax.cursor": ("batiste.core.cursor", "batiste.core.errors"),
    "flax.errors": ("batiste.errors", "batiste.flax.trace_errors"),
    "flax.ids": ("batiste.flax.ids",),
    "flax.io": ("batiste.flax.io",),
    "flax.jax_utils": ("batiste.training.jax_utils",),
    "flax.linen": ("batiste.linen",),
    "flax.linen.activation": (
        "batiste.linen.activation",
        "batiste.linen.linear",
        "batiste.linen.module",
        _TYPES,
    ),
    "flax.linen.attention": (
        "batiste.linen.attention",
        "batiste.linen.linear",
        "batiste.linen.dtypes",
        _TYPES,
    ),
    "flax.linen.batch_apply": ("batiste.linen.batch_apply",),
    "flax.linen.combinators": ("batiste.linen.combinators", "batiste.linen.module"),
    "flax.linen.dotgetter": ("batiste.flax.dotgetter",),
    "flax.linen.dtypes": ("batiste.linen.dtypes", _TYPES),
    "flax.linen.fp8_ops": ("batiste.linen.fp8_ops",),
    "flax.linen.initializers": ("batiste.linen.initializers",),
    "flax.linen.kw_only_dataclasses": ("dataclasses",),
    "flax.linen.linear": (
        "batiste.linen.linear",
        "batiste.linen.linear.conv",
        "batiste.linen.linear.conv_transpose",
        "batiste.linen.linear.conv_shapes",
        "batiste.linen.linear.embed",
        "batiste.linen.linear.einsum",
        "batiste.linen.initializers",
        "batiste.linen.dtypes",
        "batiste.linen.module",
        _TYPES,
        "batiste.flax.inner.linear",
    ),
    "flax.linen.module": (
        "batiste.linen.module",
        "batiste.linen.module.state",
        "batiste.linen.module.context",
        "batiste.linen.module.methods",
        "batiste.linen.module.running",
        "batiste.linen.module.submodules",
        "batiste.flax.linen_module",
        "batiste.core",
        "batiste.core.scope.filters",
        "batiste.flax.ids",
        _TYPES,
        "batiste.flax.inner.module",
    ),
    "flax.linen.normalization": (
        "batiste.linen.normalization",
        "batiste.linen.normalization.weights",
        "batiste.linen.dtypes",
        "batiste.linen.module",
        _TYPES,
        "batiste.flax.inner.normalization",
    ),
    "flax.linen.partitioning": (
        "batiste.linen.partitioning",
        "batiste.spmd",
        "batiste.core.lift",
        "batiste.core.frozen_dict",
        "batiste.traverse",
        _TYPES,
    ),
    "flax.linen.pooling": ("batiste.linen.pooling",),
    "flax.linen.recurrent": (
        "batiste.linen.recurrent",
        "batiste.linen.recurrent.rnn",
        "batiste.linen.recurrent.cells",
        "batiste.linen.activation",
        "batiste.linen.linear.conv",
        "batiste.linen.module",
        "batiste.linen.dtypes",
        _TYPES,
    ),
    "flax.linen.spmd": ("batiste.linen.spmd", "batiste.spmd", _TYPES),
    "flax.linen.stochastic": ("batiste.linen.stochastic", _TYPES),
    "flax.linen.summary": (
        "batiste.linen.summary",
        "batiste.core.scope",
        "batiste.core.frozen_dict",
        _TYPES,
    ),
    "flax.linen.transforms": (
        _TRANSFORMS,
        "batiste.linen.module.methods",
        "batiste.linen.module",
        "batiste.core",
        "batiste.core.scope",
        "batiste.flax.ids",
        _TYPES,
    ),
    "flax.metrics": (),
    "flax.metrics.tensorboard": ("batiste.training.tensorboard",),
    "flax.serialization": ("batiste.serialization", "batiste.flax.inner.serialization"),
    "flax.struct": ("batiste.core.struct",),
    "flax.testing": ("batiste.flax.testing",),
    "flax.testing.benchmark": ("batiste.flax.testing",),
    "flax.traceback_util": ("batiste.core.traceback_util",),
    "flax.training": ("batiste.training",),
    "flax.training.checkpoints": (
        "batiste.training.checkpoints",
        "batiste.flax.inner.checkpoints",
        _TYPES,
    ),
    "flax.training.common_utils": ("batiste.training.common_utils",),
    "flax.training.dynamic_scale": ("batiste.training.dynamic_scale", _TYPES),
    "flax.training.early_stopping": ("batiste.training.early_stopping",),
    "flax.training.lr_schedule": ("batiste.training.lr_schedule",),
    "flax.training.orbax_utils": ("batiste.training.orbax_utils", _TYPES),
    "flax.training.prefetch_iterator": ("batiste.training.prefetch_iterator",),
    "flax.training.train_state": ("batiste.training.train_state",),
    "flax.traverse_util": ("batiste.traverse",),
    "flax.typing": (_TYPES,),
    "flax.version": (),
}

# Names of an alias module that are not in the modules above under that name.
RENAMED: dict[tuple[str, str], tuple[str, str | None]] = {
    ("flax", "config"): ("batiste.core.config", "config"),
    ("flax.io", "NotFoundError"): ("batiste.flax.io", "NotFoundError"),
    ("flax.io", "gfile"): ("batiste.flax.io", "gfile"),
    ("flax.linen", "meta"): ("batiste.linen.meta", None),
    ("flax.core", "Array"): (_TYPES, "Array"),
    ("flax.core.nn", "initializers"): ("batiste.linen.initializers", None),
    ("flax.core.scope", "config"): ("batiste.core.config", "config"),
    ("flax.core.scope", "no_flag"): ("batiste.core.scope.scope", "no_flag"),
    ("flax.linen.partitioning", "ScanIn"): ("batiste.core.lift", "In"),
    ("flax.linen.partitioning", "ScanOut"): ("batiste.core.lift", "Out"),
    ("flax.linen.partitioning", "axis_rules"): ("batiste.spmd", "logical_axis_rules"),
    ("flax.linen.partitioning", "get_axis_rules"): (
        "batiste.spmd",
        "get_logical_axis_rules",
    ),
    ("flax.linen.partitioning", "set_axis_rules"): (
        "batiste.spmd",
        "set_logical_axis_rules",
    ),
    ("flax.linen.partitioning", "with_sharding_constraint"): (
        "batiste.spmd",
        "with_logical_constraint",
    ),
    ("flax.struct", "TNode"): ("batiste.core.struct", "T"),
    ("flax.traverse_util", "_EmptyNode"): ("batiste.traverse.flatten", "_EmptyNode"),
    ("flax.training.checkpoints", "process_index"): ("jax", "process_index"),
    ("flax.linen.normalization", "map_variables"): (_TRANSFORMS, "map_variables"),
    ("flax.linen.recurrent", "CarryHistory"): ("typing", "Any"),
    ("flax.linen.recurrent", "Output"): ("typing", "Any"),
    ("flax.linen.transforms", "C"): ("batiste.flax.inner.transforms", "C"),
    ("flax.linen.transforms", "Target"): ("batiste.flax.inner.transforms", "Target"),
    ("flax.linen.transforms", "TransformTarget"): (
        "batiste.flax.inner.transforms",
        "TransformTarget",
    ),
    **{
        ("flax.linen.transforms", name): ("batiste.flax.inner.transforms", name)
        for name in (
            "decorator_lift_transform_cached",
            "lift_transform_cached",
            "module_class_lift_transform_cached",
        )
    },
    ("flax.linen.module", "run_interceptors"): (
        "batiste.flax.inner.module",
        "run_interceptors",
    ),
    ("flax.training.checkpoints", "MultiprocessArrayType"): ("typing", "Any"),
    ("flax.training.checkpoints", "PyTree"): ("typing", "Any"),
    ("flax.training.orbax_utils", "PyTree"): ("typing", "Any"),
}

# Names whose value can change: to read and to set one is to read and set the other.
LIVE: dict[tuple[str, str], tuple[str, str]] = {
    ("flax.io", "io_mode"): ("batiste.flax.io", "io_mode"),
    ("flax.serialization", "MAX_CHUNK_SIZE"): (
        "batiste.serialization.encode",
        "MAX_CHUNK_SIZE",
    ),
}

# Modules that a module of Batiste gives out as its own, where there are any.
SHOWN = {("flax.io", "tf_errors")}

_NNX = (
    "NNX is not part of this system, which is Flax Linen. Code that needs it needs the "
    "released flax: install that beside Batiste, and `flax.nnx` comes from it."
)

# What is left out on purpose, with all that is below it.
ABSENT = {
    "flax.nnx": _NNX,
    "flax.experimental.nnx": _NNX,
}


def absence(name: str) -> str | None:
    """Returns why a module or attribute of flax is left out on purpose, or None.

    >>> absence("flax.nnx.Linear").partition(",")[0]
    'NNX is not part of this system'
    >>> absence("flax.linen.Dense") is None
    True
    """
    for absent, reason in ABSENT.items():
        if name == absent or name.startswith(absent + "."):
            return reason
    return None


def children(module: str) -> list[str]:
    """The names of the modules right below one, without its own.

    >>> children("flax.metrics")
    ['tensorboard']
    """
    start = module + "."
    found = [name.removeprefix(start) for name in MODULES if name.startswith(start)]
    return sorted(name for name in found if "." not in name)
