"""Programs that say how arrays are split over devices."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export as jax_export
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core.types import Tree

from ..errors import ExportedFileError, ExportError

__all__ = ["Placing", "mesh_for", "mesh_of", "split_of"]

Spec = list[str | list[str] | None]

# As the dialect of JAX's programs writes them: sdy.mesh @mesh = <["data"=4, "model"=2]>
_MESH = re.compile(r"sdy\.mesh @\S+ = <\[([^\]]*)\]")
_AXIS = re.compile(r'"([^"]+)"=(\d+)')


def mesh_of(exported: jax_export.Exported, name: str) -> dict[str, int] | None:
    """Finds the mesh that a program splits arrays over.

    Args:
      exported: the program.
      name: what it is called in an error.

    Returns:
      The sizes of its axes by their names; None of a program for one device.

    Raises:
      ExportError: it is one for several, and has not one mesh.

    >>> import jax.numpy as jnp
    >>> print(mesh_of(jax.export.export(jax.jit(jnp.sin))(jnp.ones(2)), "sin"))
    None
    """
    if exported.nr_devices == 1:
        return None
    meshes = [
        {axis: int(size) for axis, size in _AXIS.findall(found)}
        for found in _MESH.findall(exported.mlir_module())
    ]
    whole = [m for m in meshes if m and math.prod(m.values()) == exported.nr_devices]
    if not whole or any(mesh != whole[0] for mesh in whole):
        raise ExportError(
            f"{name} says how arrays are split over {exported.nr_devices} devices, and "
            f"its program has {len(whole)} meshes of them, where one is needed to run "
            f"it again. Constrain it by one mesh, or export it without."
        )
    return whole[0]


def split_of(weight: Any, mesh: Mapping[str, int] | None) -> Spec | None:
    """How a weight is split over a mesh, as JSON has it; None if it is not.

    >>> print(split_of(jax.numpy.ones(2), {"x": 2}))
    None
    """
    sharding = getattr(weight, "sharding", None)
    if mesh is None or not isinstance(sharding, NamedSharding):
        return None
    if tuple(sharding.mesh.shape.items()) != tuple(mesh.items()):
        return None
    return [list(e) if isinstance(e, tuple) else e for e in sharding.spec]


def mesh_for(
    path: str | os.PathLike[str], sizes: Mapping[str, int], mesh: Mesh | None
) -> Mesh:
    """Makes the mesh that a program runs on, or checks the one that is given.

    Args:
      path: the program's file.
      sizes: the axes of the mesh that it was exported with.
      mesh: the mesh to run on; None for one of the first of JAX's devices.

    Raises:
      ExportedFileError: there are not as many devices, or the mesh has other sizes.

    >>> mesh_for("model.zip", {"x": 1}, None).axis_names
    ('x',)
    """
    count = math.prod(sizes.values())
    what = f"its program is one for {count} devices, in a mesh {_text(sizes)}"
    if mesh is None:
        here = jax.devices()
        if len(here) < count:
            raise ExportedFileError(
                path,
                f"{what}, and JAX has {len(here)} here. Load it where there are as "
                "many, or export the model without a mesh.",
            )
        devices = np.array(here[:count]).reshape(tuple(sizes.values()))
        return Mesh(devices, tuple(sizes))
    if tuple(mesh.shape.values()) != tuple(sizes.values()):
        raise ExportedFileError(
            path,
            f"{what}, and the mesh that was given is {_text(mesh.shape)}. Give one of "
            "these sizes, in this order; the names of its axes may be others.",
        )
    return mesh


class Placing:
    """Brings arrays to the devices of a mesh.

    Args:
      mesh: the mesh.
      names: what its axes were called when the program was exported.

    >>> mesh = mesh_for("model.zip", {"x": 1}, None)
    >>> Placing(mesh, ["data"]).weight(np.ones(2), ["data"]).sharding.spec[0]
    'x'
    """

    def __init__(self, mesh: Mesh, names: Iterable[str]):
        self.mesh = mesh
        self._axes = dict(zip(names, mesh.axis_names, strict=True))
        self._devices = set(mesh.devices.flat)

    def weight(self, array: Any, split: Spec | None) -> jax.Array:
        """Splits a weight as it was split when it was saved.

        Raises:
          KeyError: the mesh has no such axis.
        """
        entries = [
            tuple(self._axes[axis] for axis in entry)
            if isinstance(entry, list)
            else entry and self._axes[entry]
            for entry in split or ()
        ]
        return jax.device_put(array, NamedSharding(self.mesh, PartitionSpec(*entries)))

    def call(self, weights: list[Any], inputs: Tree) -> tuple[list[Any], Tree]:
        """Brings what goes into a call to where it runs.

        Args:
          weights: what `weight` returned.
          inputs: arrays, and what stands for them within a transformation.

        Returns:
          Both; an input that is not on the devices in some way is copied to all.
        """
        leaves = jax.tree.leaves(inputs)
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            # So that what JAX makes of it is a program for these devices.
            constrain = jax.lax.with_sharding_constraint
            return [constrain(w, w.sharding) for w in weights], inputs
        everywhere = NamedSharding(self.mesh, PartitionSpec())

        def placed(array: Any) -> Any:
            if array.sharding.device_set == self._devices:
                return array
            return jax.device_put(array, everywhere)

        return weights, jax.tree.map(placed, inputs)


def _text(sizes: Mapping[Any, int]) -> str:
    """The axes of a mesh with their sizes."""
    return f"({', '.join(f'{axis}: {size}' for axis, size in sizes.items())})"
