"""The whole type of an array: dtype, sharding, and the mapped axes it varies over.

Under a mesh with explicit axes (`jax.sharding.AxisType.Explicit`) the sharding is a
part of it, and within `jax.shard_map` the mesh axes over which devices differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from batiste.core.types import Array

__all__ = [
    "as_type",
    "explicit_spec",
    "laid_out",
    "laid_out_by_compiler",
    "spec_entries",
    "type_parts",
    "varying_axes",
]


def varying_axes(kind: Any) -> frozenset[str]:
    """Returns the axes of a `jax.shard_map` over which a value of a type varies.

    Args:
      kind: what `jax.typeof` returns.

    >>> import jax.numpy as jnp
    >>> varying_axes(jax.typeof(jnp.ones(2)))
    frozenset()
    """
    manual = getattr(kind, "manual_axis_type", None)
    found = getattr(kind, "vma", ()) if manual is None else manual.varying
    return frozenset(found)


def explicit_spec(kind: Any) -> PartitionSpec | None:
    """Returns how a value of a type lies on a mesh with explicit axes.

    None if no axis of it is explicit.

    Args:
      kind: what `jax.typeof` returns.

    >>> import jax.numpy as jnp
    >>> explicit_spec(jax.typeof(jnp.ones(2)))
    """
    sharding: Any = getattr(kind, "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    if mesh is None or mesh.empty or AxisType.Explicit not in (mesh.axis_types or ()):
        return None
    return sharding.spec


def spec_entries(x: Array) -> tuple[Any, ...]:
    """Returns what an explicit sharding says of each axis of an array.

    >>> import jax.numpy as jnp
    >>> spec_entries(jnp.ones((2, 3)))
    (None, None)
    """
    spec = explicit_spec(jax.typeof(x)) or ()
    return (*spec, *[None] * (x.ndim - len(spec)))


def type_parts(x: Array) -> tuple[Any, ...]:
    """Returns the parts of an array's type, to be compared.

    >>> import jax.numpy as jnp
    >>> type_parts(jnp.ones(2))[1]
    dtype('float32')
    """
    kind: Any = jax.typeof(x)
    return kind.shape, kind.dtype, varying_axes(kind), explicit_spec(kind)


def laid_out(x: Array, kind: Any, spec: PartitionSpec) -> Array:
    """Returns an array laid out by a spec, on the explicit mesh of a type.

    >>> import jax.numpy as jnp
    >>> x = jnp.ones(2)
    >>> laid_out(x, jax.typeof(x), PartitionSpec()) is x  # no mesh
    True
    """
    if explicit_spec(kind) is None:
        return x
    return jax.sharding.reshard(x, NamedSharding(kind.sharding.mesh, spec))


def laid_out_by_compiler(
    function: Callable[..., Array], args: Sequence[Any], *entries: Any
) -> Array | None:
    """Calls a function of arrays whose results JAX cannot lay out by itself.

    The compiler decides over all axes of the mesh within, and the result is laid out
    by a spec.

    Args:
      function: the function.
      args: its arguments.
      *entries: what stands in the spec for each axis of the result; each mesh axis is
        used at the first place where it is named.

    Returns:
      The result, or None if no argument lies on a mesh with explicit axes.

    >>> import jax.numpy as jnp
    >>> laid_out_by_compiler(jnp.sin, [jnp.ones(2)], None)
    """
    specs = [explicit_spec(jax.typeof(x)) for x in args]
    if all(spec is None for spec in specs):
        return None
    used: set[str] = set()
    kept: list[Any] = []
    for entry in entries:
        names = (entry,) if isinstance(entry, str) else tuple(entry or ())
        names = tuple([name for name in names if name not in used])
        used.update(names)
        kept.append(names or None)
    spec = PartitionSpec(*kept)
    run: Any = jax.sharding.auto_axes(function, out_sharding=spec)
    return run(*args)


def as_type(x: Array, kind: Any) -> Array:
    """Returns an array converted to a type, apart from its shape.

    Args:
      x: the array.
      kind: what `jax.typeof` returns, of the same shape.

    >>> import jax.numpy as jnp
    >>> as_type(jnp.ones(2), jax.typeof(jnp.ones(2, jnp.complex64))).dtype
    dtype('complex64')
    """
    if x.dtype != kind.dtype:
        x = lax.convert_element_type(x, kind.dtype)
    spec = explicit_spec(kind)
    if spec is not None and explicit_spec(jax.typeof(x)) != spec:
        x = laid_out(x, kind, spec)
    more = tuple(sorted(varying_axes(kind) - varying_axes(jax.typeof(x))))
    if more:
        if hasattr(lax, "pcast"):
            x = lax.pcast(x, more, to="varying")
        else:
            x = getattr(lax, "pvary")(x, more)  # noqa: B009 - before JAX 0.9
    return x
