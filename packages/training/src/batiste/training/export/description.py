"""What the file of an exported model says of it."""

from __future__ import annotations

import platform
from importlib import metadata as distributions
from typing import Any

import jax
from jax import export as jax_export

from batiste.core.config import config

from .archive import FORMAT, FORMAT_VERSION
from .devices import mesh_of, split_of
from .program import Program

__all__ = ["array_text", "describe", "fixed_value"]

# Of JAX's settings, those that decide what a program computes.
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
_VERSIONS = (
    "batiste-training",
    "batiste-linen",
    "batiste-core",
    "jax",
    "jaxlib",
    "numpy",
)


def describe(
    program: Program,
    exported: jax_export.Exported,
    method: str | None,
    mutable: Any,
    vjp_order: int,
) -> dict[str, Any]:
    """Returns what a file says of its program, in types that JSON has.

    Raises:
      ExportError: the program is for several devices, and its mesh is not known.

    >>> import jax.numpy as jnp
    >>> from .program import make_program, trace
    >>> call = lambda w, x: w + x
    >>> program = make_program(call, jnp.ones(2), (jnp.ones((3, 2)),), {})
    >>> found = describe(program, trace(program), None, False, 0)
    >>> found["positional"], found["outputs"], found["variables"]
    ({'x': 'float32[batch, 2]'}, 'float32[batch, 2]', 0)
    """
    inputs = program.inputs
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    mesh = mesh_of(exported, program.name)
    splits = [split_of(weight, mesh) for weight in program.weights]
    fixed = {**inputs.fixed, **({"mutable": mutable} if mutable else {})}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": program.name,
        "method": method or "__call__",
        "positional": {
            name: jax.tree.map(array_text, tree)
            for name, tree in zip(inputs.names, program.plain_inputs()[0])
        },
        "keyword": {
            name: jax.tree.map(array_text, tree)
            for name, tree in program.plain_inputs()[1].items()
        },
        "fixed": {name: fixed_value(value) for name, value in fixed.items()},
        "outputs": jax.tree.map(array_text, outputs),
        "variables": program.variables,
        "keys": {str(number): impl for number, impl in program.keys.items()},
        "platforms": list(exported.platforms),
        "mesh": mesh,
        "splits": splits if any(splits) else None,
        "vjp_order": vjp_order,
        "calling_convention_version": exported.calling_convention_version,
        "versions": {
            **{name: _version(name) for name in _VERSIONS},
            "python": platform.python_version(),
        },
        "config": {
            **{name: getattr(jax.config, name, None) for name in _SETTINGS},
            **{f"batiste_{name}": getattr(config, name) for name in config.sources()},
        },
    }


def array_text(array: Any) -> str:
    """Writes an array's dtype and shape.

    >>> array_text(jax.ShapeDtypeStruct((2, 3), 'float32'))
    'float32[2, 3]'
    """
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def fixed_value(value: Any) -> Any:
    """Returns what a file says of an argument that is fixed.

    >>> fixed_value((1, None)), fixed_value(len)
    ([1, None], {'of': 'builtins.len'})
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [fixed_value(item) for item in value]
    kind = value if hasattr(value, "__qualname__") else type(value)
    return {"of": f"{kind.__module__}.{kind.__qualname__}"}


def _version(name: str) -> str | None:
    try:
        return distributions.version(name)
    except distributions.PackageNotFoundError:
        return None
