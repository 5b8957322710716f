"""The mesh that the caller put in force, by `with mesh:` or by `jax.set_mesh`.

`jax.set_mesh` (`jax.sharding.use_mesh` on JAX 0.7) has a public reader,
`jax.sharding.get_abstract_mesh`. `with mesh:` has none that is not deprecated, but it
has a public effect: a sharding constraint given as a bare `PartitionSpec` resolves
against it. So the mesh is read off the jaxpr of such a constraint.
"""

import threading

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

from .axis_names import AnyMesh

__all__ = [
    "explicit_axes",
    "get_global_mesh",
    "global_mesh_defined",
    "manual_axes",
]


# `_entered_mesh` encodes its answer as a shape, which indexes this list; 0 is "none".
_seen: list[AnyMesh | None] = [None]
_seen_lock = threading.Lock()


@jax.jit
def _entered_mesh() -> np.ndarray:
    # Never executed, only traced: the tracing cache of `jax.jit` has the context mesh
    # in its key, so a repeated question costs a cache look-up and no tracing.
    def constrained(x):
        return jax.lax.with_sharding_constraint(x, PartitionSpec())

    try:
        jaxpr = jax.make_jaxpr(constrained)(np.float32(0))
        mesh = jaxpr.jaxpr.eqns[0].params["sharding"].mesh
    except RuntimeError:  # JAX's answer where no mesh is in force.
        mesh = None
    with _seen_lock:
        if mesh not in _seen:
            _seen.append(mesh)
        return np.zeros((_seen.index(mesh),), np.int8)


def get_global_mesh() -> AnyMesh | None:
    """Returns the mesh in force here, or None.

    Returns:
      Under `jax.set_mesh(mesh)`, the abstract mesh (axis names and sizes, no devices),
      inside and outside `jax.jit`. Under `with mesh:`, that mesh. Else None.

    >>> import jax
    >>> from batiste.spmd import get_global_mesh
    >>> print(get_global_mesh())
    None
    >>> with jax.set_mesh(jax.make_mesh((1,), ("data",))):
    ...   get_global_mesh().axis_names
    ('data',)
    """
    abstract = jax.sharding.get_abstract_mesh()
    if abstract is not None and not abstract.empty:
        return abstract
    return _seen[jax.eval_shape(_entered_mesh).shape[0]]


def global_mesh_defined() -> bool:
    """Tells whether a mesh is in force here, by `with mesh:` or by `jax.set_mesh`.

    >>> from batiste.spmd import global_mesh_defined
    >>> global_mesh_defined()
    False
    """
    return get_global_mesh() is not None


def manual_axes(mesh: AnyMesh) -> frozenset[str]:
    """Returns the axes of `mesh` that an enclosing `jax.shard_map` maps by hand.

    >>> manual_axes(jax.sharding.AbstractMesh((2,), ("data",)))
    frozenset()
    """
    return _axes_of_type(mesh, AxisType.Manual)


def explicit_axes(mesh: AnyMesh) -> frozenset[str]:
    """Returns the axes of `mesh` over which shardings are part of an array's type.

    >>> types = (AxisType.Explicit, AxisType.Auto)
    >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"), axis_types=types)
    >>> explicit_axes(mesh)
    frozenset({'data'})
    """
    return _axes_of_type(mesh, AxisType.Explicit)


def _axes_of_type(mesh: AnyMesh, kind: AxisType) -> frozenset[str]:
    return frozenset(
        name for name, type_ in zip(mesh.axis_names, mesh.axis_types) if type_ == kind
    )
