"""What each device of a mesh will hold, before there is such a mesh."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core.types import Tree

from .axis_names import (
    AnyMesh,
    AxisEntry,
    LogicalRules,
    check_mesh_axes,
    check_rank,
    mesh_axes_of,
    path_text,
)
from .axis_rules import match_rules
from .errors import PartitioningError
from .hlo_collectives import Collective, Step, collectives
from .logical import LogicallyPartitioned
from .partitioned import Partitioned
from .plan_table import Table, entries_text, plain_text, rich_tables, size_text

if TYPE_CHECKING:  # rich is optional.
    from rich.console import Group

__all__ = [
    "ParameterPlan",
    "Plan",
    "plan",
]


@dataclasses.dataclass(frozen=True)
class ParameterPlan:
    """The layout of one array.

    Attributes:
      path: where the array is in the tree, as in `params/Dense_0/kernel`.
      shape: the whole array's shape.
      dtype: its dtype's name.
      axes: the names in its box, logical or mesh; None where it has no box.
      spec: the mesh axes of its dimensions.
      shards: into how many parts it is split; the devices beyond that hold copies.
      shard_shape: the shape of the part on one device.
      bytes: the bytes of one whole copy.
      bytes_per_device: the bytes of the part on one device.
      unmatched: the logical names that no rule applied to.
      uneven: `(dimension, size, parts)` where `parts` do not divide the dimension.
        `jax.jit` does not accept such a layout for its arguments and results; the
        part's size is then that of the largest part.

    >>> import jax
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
    >>> w = spmd.Partitioned(jax.ShapeDtypeStruct((6, 8), "float32"), ("model",))
    >>> spmd.plan({"w": w}, mesh).parameters[0].uneven
    ((0, 6, 4),)
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[AxisEntry, ...] | None
    spec: PartitionSpec
    shards: int
    shard_shape: tuple[int, ...]
    bytes: int
    bytes_per_device: int
    unmatched: tuple[Hashable, ...] = ()
    uneven: tuple[tuple[int, int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Plan:
    """The layout of a tree of arrays over a mesh, and the traffic of a step.

    `print(plan)` shows it as plain text; `rich.print(plan)` as tables, where rich is
    installed.

    Attributes:
      mesh_shape: the size of each mesh axis.
      parameters: one entry per array, in the order of the tree.
      bytes_by_device: the bytes that each device holds, by device id (by place in the
        mesh where it is abstract).
      collectives: those of the step; None if no step was given.

    >>> import jax
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((4,), ("model",))
    >>> w = spmd.Partitioned(jax.ShapeDtypeStruct((8, 8), "float32"), ("model",))
    >>> plan = spmd.plan({"w": w}, mesh)
    >>> plan.total_bytes, plan.bytes_per_device
    (256, 64)
    """

    mesh_shape: dict[str, int]
    parameters: tuple[ParameterPlan, ...]
    bytes_by_device: dict[int, int]
    collectives: tuple[Collective, ...] | None = None

    @property
    def total_bytes(self) -> int:
        """The bytes of one whole copy of everything.

        >>> from batiste import spmd
        >>> spmd.Plan({}, (), {}).total_bytes
        0
        """
        return sum(parameter.bytes for parameter in self.parameters)

    @property
    def bytes_per_device(self) -> int:
        """The bytes on the device that holds most.

        >>> from batiste import spmd
        >>> spmd.Plan({}, (), {0: 4, 1: 8}).bytes_per_device
        8
        """
        return max(self.bytes_by_device.values(), default=0)

    @property
    def unmatched(self) -> dict[Hashable, tuple[str, ...]]:
        """The logical names that no rule applied to, with the paths they are at.

        >>> from batiste import spmd
        >>> spmd.Plan({}, (), {}).unmatched
        {}
        """
        paths: dict[Hashable, list[str]] = {}
        for parameter in self.parameters:
            for name in parameter.unmatched:
                paths.setdefault(name, []).append(parameter.path)
        return {name: tuple(where) for name, where in paths.items()}

    @property
    def uneven(self) -> tuple[ParameterPlan, ...]:
        """The arrays with a dimension that its mesh axes do not divide.

        >>> from batiste import spmd
        >>> spmd.Plan({}, (), {}).uneven
        ()
        """
        return tuple(parameter for parameter in self.parameters if parameter.uneven)

    def __str__(self) -> str:
        return plain_text(*_tables(self))

    def __rich__(self) -> Group:
        return rich_tables(*_tables(self))


def plan(
    abstract_variables: Tree,
    mesh: AnyMesh,
    rules: LogicalRules | None = None,
    *,
    step: Step | None = None,
    step_args: Sequence[Any] = (),
) -> Plan:
    """Works out what each device of a mesh holds of a model, without allocating it.

    Args:
      abstract_variables: a pytree of arrays or `jax.ShapeDtypeStruct`s, boxed or not,
        for example `jax.eval_shape` of a module's `init` or of the creation of a
        `TrainState`. What has no box lies as its own `NamedSharding` says, and is
        replicated if it has none. Leaves that are no arrays are left out.
      mesh: the mesh; a `jax.sharding.AbstractMesh` needs no devices.
      rules: the logical axis rules to use, in place of the boxes' own ones and of
        those in force.
      step: a step to list the collectives of: a function made by `jax.jit`, its
        `Lowered` or `Compiled` form, or HLO text. Compiling needs a real mesh.
      step_args: the arguments to lower a jitted `step` for; abstract ones, with
        shardings, will do.

    Returns:
      The plan. It is data, and it prints as a table.

    Raises:
      RankMismatchError: a box has more names than its value dimensions.
      UnknownAxisError: the mesh does not have an axis that a box or a rule names.
      DuplicateAxisError: one axis is on two dimensions of one value. All three have
        the value's path in their messages.
      AxisRulesError: a rule is not a pair.
      TypeError: `step` is none of the above.

    >>> import jax
    >>> from batiste import spmd
    >>> mesh = jax.sharding.AbstractMesh((2, 4), ("data", "model"))
    >>> w = spmd.LogicallyPartitioned(
    ...     jax.ShapeDtypeStruct((16, 64), "float32"), ("embed", "hidden"))
    >>> print(spmd.plan({"w": w}, mesh, (("hidden", "model"),)))
    mesh: data=2, model=4 (8 devices)
    array  shape  dtype    axes           spec        shards  per device
    w      16x64  float32  embed, hidden  -, model         4    1.00 KiB
    total: 4.00 KiB, 1.00 KiB per device
    no rule applied to: embed (w)
    """
    leaves = jax.tree_util.tree_leaves_with_path(
        abstract_variables, is_leaf=lambda node: isinstance(node, Partitioned)
    )
    parameters = []
    for path, leaf in leaves:
        try:
            parameters.extend(_plan_leaf(path_text(path), leaf, mesh, rules))
        except PartitioningError as error:
            raise error.at(path_text(path)) from None
    held = sum(parameter.bytes_per_device for parameter in parameters)
    if isinstance(mesh, Mesh):
        devices = [device.id for device in mesh.devices.flat]
    else:
        devices = range(math.prod(mesh.axis_sizes))
    return Plan(
        mesh_shape=dict(zip(mesh.axis_names, mesh.axis_sizes)),
        parameters=tuple(parameters),
        # A NamedSharding gives every device one part, all of one size.
        bytes_by_device=dict.fromkeys(devices, held),
        collectives=None if step is None else collectives(step, step_args, mesh),
    )


def _plan_leaf(
    path: str, leaf: Any, mesh: AnyMesh, rules: LogicalRules | None
) -> Iterator[ParameterPlan]:
    axes: tuple[AxisEntry, ...] | None = None
    unmatched: tuple[Hashable, ...] = ()
    if isinstance(leaf, Partitioned):
        axes = spec = tuple(leaf.names)
        if isinstance(leaf, LogicallyPartitioned):
            chosen = leaf.rules if rules is None else rules
            spec, unmatched = match_rules(axes, chosen)
        values = jax.tree.leaves(leaf.value)
    else:
        sharding = getattr(leaf, "sharding", None)
        spec = tuple(sharding.spec) if isinstance(sharding, NamedSharding) else ()
        values = [leaf]
    for value in values:
        if hasattr(value, "shape") and hasattr(value, "dtype"):
            yield _plan_array(path, value, axes, tuple(spec), unmatched, mesh)


def _plan_array(
    path: str,
    value: Any,
    axes: tuple[AxisEntry, ...] | None,
    spec: tuple[AxisEntry, ...],
    unmatched: tuple[Hashable, ...],
    mesh: AnyMesh,
) -> ParameterPlan:
    check_rank(spec, value)
    check_mesh_axes(mesh, spec)
    sizes = dict(zip(mesh.axis_names, mesh.axis_sizes))
    parts = [math.prod(sizes[axis] for axis in mesh_axes_of((e,))) for e in spec]
    parts += [1] * (len(value.shape) - len(parts))
    shard_shape = tuple(-(-size // part) for size, part in zip(value.shape, parts))
    item = value.dtype.itemsize  # Those of typed PRNG keys have one too.
    return ParameterPlan(
        path=path,
        shape=tuple(value.shape),
        dtype=str(value.dtype),
        axes=axes,
        spec=PartitionSpec(*spec),
        shards=math.prod(parts),
        shard_shape=shard_shape,
        bytes=math.prod(value.shape) * item,
        bytes_per_device=math.prod(shard_shape) * item,
        unmatched=unmatched,
        uneven=tuple(
            (dim, size, part)
            for dim, (size, part) in enumerate(zip(value.shape, parts))
            if size % part
        ),
    )


def _tables(plan: Plan) -> tuple[Table, list[str], Table | None]:
    """The plan as `plan_table` shows it: arrays, notes, and the step's collectives."""
    axes = ", ".join(f"{name}={size}" for name, size in plan.mesh_shape.items())
    arrays = Table(
        title=f"mesh: {axes} ({len(plan.bytes_by_device)} devices)",
        columns=("array", "shape", "dtype", "axes", "spec", "shards", "per device"),
        rows=[_parameter_row(parameter) for parameter in plan.parameters],
        numbers={"shards", "per device"},
    )
    if not plan.collectives:
        return arrays, _notes(plan), None
    traffic = Table(
        title="collectives of the step",
        columns=("collective", "over", "arrays", "bytes", "runs", "total"),
        rows=_collective_rows(plan.collectives),
        numbers={"bytes", "runs", "total"},
    )
    return arrays, _notes(plan), traffic


def _parameter_row(parameter: ParameterPlan) -> tuple[str, ...]:
    return (
        parameter.path,
        "x".join(map(str, parameter.shape)) or "scalar",
        parameter.dtype,
        "" if parameter.axes is None else entries_text(parameter.axes),
        entries_text(tuple(parameter.spec)),
        str(parameter.shards),
        size_text(parameter.bytes_per_device),
    )


def _notes(plan: Plan) -> list[str]:
    held = size_text(plan.bytes_per_device)
    notes = [f"total: {size_text(plan.total_bytes)}, {held} per device"]
    for name, paths in plan.unmatched.items():
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        notes.append(f"no rule applied to: {name} ({', '.join(paths[:3])}{more})")
    notes += [
        f"does not divide: {parameter.path} has {size} in dimension {dim}, "
        f"for {parts} parts"
        for parameter in plan.uneven
        for dim, size, parts in parameter.uneven
    ]
    if plan.collectives is not None:
        total = size_text(sum(each.total_bytes for each in plan.collectives))
        notes.append(
            f"collectives: {len(plan.collectives)}, {total} per step and device"
        )
    return notes


def _collective_rows(found: Sequence[Collective]) -> list[tuple[str, ...]]:
    """One row for all collectives that differ in nothing but their place."""
    counted = Counter(
        (each.kind, each.axes, each.group_size, each.arrays, each.bytes, each.times)
        for each in found
    )
    rows = []
    for (kind, axes, group_size, arrays, size, times), count in counted.items():
        everyone = f"{group_size or 'all'} devices"  # HLO says 0 for all of them.
        over = everyone if axes is None else "+".join(axes) or "-"
        runs = "?" if times is None else str(times * count)
        total = size_text(size * count * (1 if times is None else times))
        shown = ", ".join(arrays[:3]) + (", ..." if len(arrays) > 3 else "")
        rows.append((kind, over, shown, size_text(size), runs, total))
    return rows
