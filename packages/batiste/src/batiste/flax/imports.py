"""The modules that modules of flax import, and so have as attributes.

A program may reach through one: `flax.linen.linear.lax`, or a test that replaces
`flax.training.checkpoints.io`. They are no public names of it.
"""

from __future__ import annotations

__all__ = ["imported"]

# What is behind a name, where it is not the module of that name.
_FULL = {
    "axes_scan": "flax.core.axes_scan",
    "core": "jax.core",
    "dtypes": "flax.linen.dtypes",
    "errors": "flax.errors",
    "glob_module": "glob",
    "initializers": "flax.linen.initializers",
    "jex_core": "jax.extend.core",
    "jnp": "jax.numpy",
    "jtu": "jax.tree_util",
    "kw_only_dataclasses": "flax.linen.kw_only_dataclasses",
    "lax": "jax.lax",
    "lift": "flax.core.lift",
    "linen_module": "flax.linen.module",
    "logging": "absl.logging",
    "lu": "jax.extend.linear_util",
    "meta": "flax.core.meta",
    "module": "flax.linen.module",
    "module_lib": "flax.linen.module",
    "monitoring": "jax.monitoring",
    "nn": "flax.linen",
    "np": "numpy",
    "ocp": "orbax.checkpoint",
    "orbax_utils": "flax.training.orbax_utils",
    "partial_eval": "flax.core.partial_eval",
    "pe": "jax.interpreters.partial_eval",
    "random": "jax.random",
    "serialization": "flax.serialization",
    "source_info_util": "jax.extend.source_info_util",
    "struct": "flax.struct",
    "thread": "concurrent.futures.thread",
    "traceback_util": "flax.traceback_util",
    "tracers": "flax.core.tracers",
    "transforms": "flax.linen.transforms",
    "traverse_util": "flax.traverse_util",
    "tree_util": "jax.tree_util",
}

# The names of the modules, by module; where one name means two, after an equals sign.
_IMPORTS = {
    "flax.configurations": "os",
    "flax.core.axes_scan": "core functools jax jnp lax lu np pe",
    "flax.core.frozen_dict": "collections jax serialization",
    "flax.core.lift": (
        "axes_scan collections contextlib dataclasses functools jax meta random "
        "threading traceback_util traverse_util warnings"
    ),
    "flax.core.meta": "abc dataclasses errors functools jax struct",
    "flax.core.nn.attention": "functools initializers jax jnp lax np random struct",
    "flax.core.nn.linear": "initializers jnp lax np struct",
    "flax.core.nn.normalization": "initializers jnp lax",
    "flax.core.nn.stochastic": "jnp lax random",
    "flax.core.partial_eval": "core errors functools jax lu pe",
    "flax.core.scope": (
        "collections contextlib dataclasses errors functools hashlib jax jnp meta "
        "np partial_eval random struct traceback_util tracers tree_util typing"
    ),
    "flax.core.spmd": "contextlib dataclasses jax meta threading",
    "flax.core.tracers": "jax jex_core",
    "flax.cursor": "dataclasses enum",
    "flax.ids": "threading",
    "flax.io": "contextlib errors glob_module importlib logging os shutil",
    "flax.jax_utils": "collections core itertools jax jnp lax lu np pe warnings",
    "flax.linen.activation": "jnp",
    "flax.linen.attention": (
        "functools initializers inspect jax jnp lax random warnings"
    ),
    "flax.linen.batch_apply": "jax jnp np",
    "flax.linen.dtypes": "jnp",
    "flax.linen.kw_only_dataclasses": "dataclasses flax functools inspect sys",
    "flax.linen.linear": "initializers jax jnp lax meta module np opt_einsum",
    "flax.linen.module": (
        "contextlib core=flax.core dataclasses enum errors flax functools inspect "
        "jax jnp kw_only_dataclasses meta nn partial_eval serialization sys threading "
        "traceback_util traverse_util typing weakref"
    ),
    "flax.linen.normalization": (
        "dataclasses dtypes functools initializers=jax.nn.initializers jax jnp lax "
        "module transforms"
    ),
    "flax.linen.partitioning": "flax functools jax nn re struct",
    "flax.linen.pooling": "jnp lax np",
    "flax.linen.recurrent": "initializers jax jnp logging np random transforms",
    "flax.linen.spmd": "collections dataclasses enum functools jax lax meta struct",
    "flax.linen.stochastic": "jnp lax random",
    "flax.linen.summary": "dataclasses enum io jax jnp meta module_lib np rich",
    "flax.linen.transforms": (
        "contextlib core=flax.core dataclasses errors functools inspect jax lift "
        "linen_module meta serialization struct traceback_util weakref"
    ),
    "flax.serialization": "enum jax msgpack np threading",
    "flax.struct": "dataclasses functools jax serialization",
    "flax.traceback_util": "source_info_util",
    "flax.training.checkpoints": (
        "core=flax.core errors functools io=flax.io jax jtu logging monitoring ocp "
        "orbax_utils os pathlib re serialization thread time traverse_util warnings"
    ),
    "flax.training.common_utils": "jax jnp lax",
    "flax.training.dynamic_scale": "functools jax jnp lax struct",
    "flax.training.early_stopping": "math struct",
    "flax.training.lr_schedule": "jnp logging np",
    "flax.training.orbax_utils": "jax np ocp warnings",
    "flax.training.prefetch_iterator": "threading warnings",
    "flax.training.train_state": "core=flax.core jax optax struct",
    "flax.traverse_util": "abc copy dataclasses flax jax struct warnings",
    "flax.typing": "abc dataclasses functools jax jnp jtu np",
}


def imported(module: str, name: str) -> str | None:
    """Returns the whole name of a module that a module of flax has imported, or None.

    >>> imported("flax.linen.linear", "jnp"), imported("flax.linen.linear", "os")
    ('jax.numpy', None)
    """
    for entry in _IMPORTS.get(module, "").split():
        short, _, full = entry.partition("=")
        if short == name:
            return full or _FULL.get(name, name)
    return None
