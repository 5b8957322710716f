"""The collectives of a compiled program, read from its HLO text.

The HLO text is the only public account of what XLA's partitioner inserted. See
https://openxla.org/xla/operation_semantics for the operations.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np

from .axis_names import AnyMesh

__all__ = [
    "Collective",
    "Step",
    "collectives",
]

Step: TypeAlias = jax.stages.Wrapped | jax.stages.Lowered | jax.stages.Compiled | str
"""A jitted function, a later stage of it, or the text of a compiled HLO module."""

_COLLECTIVE = re.compile(
    r"^\s*(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<type>.*?) (?P<kind>all-gather|all-reduce"
    r"|reduce-scatter|collective-permute|collective-broadcast|ragged-all-to-all"
    r"|all-to-all)(?P<start>-start)?\("
)
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) .*-> .*\{$")
_CALLED = re.compile(
    r"\b(?P<how>body|condition|calls|to_apply|branch_computations|true_computation"
    r"|false_computation|called_computations)=(?P<names>%?[\w.-]+|\{[^}]*\})"
)
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,<=]*)\]")
_OP_NAME = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation of a compiled program, as one device sees it.

    Attributes:
      kind: the HLO operation, such as `"all-gather"` or `"reduce-scatter"`.
      arrays: the result's arrays, as in `("f32[16,16]",)`.
      bytes: the bytes of the gathered, reduced or exchanged arrays on one device: of
        the result, and for a reduce-scatter of the operand.
      group_size: how many devices take part with one another; 0 means all of them.
      axes: the mesh axes that the devices of a group differ in; None if it is not
        known.
      times: how often it runs in one call of the program, by the trip counts of the
        loops around it; None if a trip count is not known.
      op_name: where in the traced program it comes from.

    >>> from batiste import spmd
    >>> spmd.Collective("all-reduce", ("f32[8]",), 32, 4, ("data",), 3).total_bytes
    96
    """

    kind: str
    arrays: tuple[str, ...]
    bytes: int
    group_size: int
    axes: tuple[str, ...] | None = None
    times: int | None = 1
    op_name: str = ""

    @property
    def total_bytes(self) -> int:
        """The bytes of all its runs; where their number is not known, of one run.

        >>> from batiste import spmd
        >>> spmd.Collective("all-to-all", ("s8[8]",), 8, 2, times=2).total_bytes
        16
        """
        return self.bytes * (1 if self.times is None else self.times)


def collectives(
    step: Step, args: Sequence[Any] = (), mesh: AnyMesh | None = None
) -> tuple[Collective, ...]:
    """Lists the collectives that XLA put into a program.

    Args:
      step: a function made by `jax.jit`, or what its `lower` or `compile` returned, or
        the text of a compiled HLO module.
      args: the arguments to lower a jitted function for; `jax.ShapeDtypeStruct`s with
        shardings will do, so nothing has to be allocated.
      mesh: the mesh of the program, to tell along which axes each collective goes.

    Returns:
      The collectives in the order of the program's text.

    Raises:
      TypeError: `step` is none of these.

    >>> from batiste import spmd
    >>> text = '''ENTRY %main (p: f32[4]) -> f32[8] {
    ...   %p = f32[4] parameter(0)
    ...   ROOT %ag = f32[8] all-gather(%p), replica_groups={{0,1}}, dimensions={0}
    ... }'''
    >>> [(c.kind, c.bytes, c.group_size) for c in spmd.collectives(text)]
    [('all-gather', 32, 2)]
    """
    return tuple(_parse(_compiled_text(step, args), mesh))


def _compiled_text(step: Step, args: Sequence[Any]) -> str:
    if isinstance(step, str):
        return step
    lower = getattr(step, "lower", None)
    if lower is not None:
        step = lower(*args)
    if isinstance(step, jax.stages.Lowered):
        step = step.compile()
    if isinstance(step, jax.stages.Compiled):
        return step.as_text() or ""
    raise TypeError(
        "The step must be a function made by jax.jit, its Lowered or Compiled form, "
        f"or HLO text; got {type(step).__name__}. Wrap the function in jax.jit."
    )


def _parse(text: str, mesh: AnyMesh | None) -> Iterable[Collective]:
    computation, entry = "", ""
    found: list[tuple[str, str, re.Match[str]]] = []
    calls: dict[str, list[tuple[str, int | None]]] = {}
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header["name"]
            entry = computation if header["entry"] else entry
        elif match := _COLLECTIVE.match(line):
            found.append((computation, line, match))
        else:
            for callee, times in _called(line):
                calls.setdefault(callee, []).append((computation, times))
    runs: dict[str, int | None] = {entry: 1}
    for computation, line, match in found:
        op_name = _OP_NAME.search(line)
        groups, group_size = _groups(line, mesh)
        arrays, size = _payload(match, group_size)
        yield Collective(
            kind=match["kind"],
            arrays=arrays,
            bytes=size,
            group_size=group_size,
            axes=_axes(groups, mesh),
            times=_runs(computation, calls, runs),
            op_name=op_name[1] if op_name else "",
        )


def _called(line: str) -> Iterable[tuple[str, int | None]]:
    """The computations that an instruction runs, and how often it runs each."""
    for call in _CALLED.finditer(line):
        times: int | None = 1
        if call["how"] in ("body", "condition"):
            count = _TRIP_COUNT.search(line)
            times = int(count[1]) if count else None
        for name in re.findall(r"[\w.-]+", call["names"]):
            yield name, times


def _runs(
    computation: str,
    calls: dict[str, list[tuple[str, int | None]]],
    runs: dict[str, int | None],
) -> int | None:
    """How often a computation runs in one call of the program."""
    if computation not in runs:
        total: int | None = 0
        for caller, times in calls.get(computation, ()):
            outer = _runs(caller, calls, runs)
            if total is None or outer is None or times is None:
                total = None
            else:
                total += outer * times
        runs[computation] = total
    return runs[computation]


def _payload(match: re.Match[str], group_size: int) -> tuple[tuple[str, ...], int]:
    arrays = _ARRAY.findall(match["type"])
    if match["start"]:  # The result of these starts with the operands.
        if match["kind"] == "all-gather":
            arrays = arrays[len(arrays) // 2 :]
        elif match["kind"] == "collective-permute":
            arrays = arrays[:1]
    size = sum(_array_bytes(dtype, dims) for dtype, dims in arrays)
    if match["kind"] == "reduce-scatter":
        size *= max(group_size, 1)
    return tuple(f"{dtype}[{dims}]" for dtype, dims in arrays), size


def _array_bytes(dtype: str, dims: str) -> int:
    width = re.search(r"\d+", dtype)
    bits = int(width[0]) if width else 8 * (dtype == "pred")
    sizes = (int(size) for size in re.findall(r"\d+", dims))
    return math.ceil(math.prod(sizes) * bits / 8)


def _groups(line: str, mesh: AnyMesh | None) -> tuple[list[list[int]] | None, int]:
    """The groups of devices, by their place in the mesh, and the size of a group.

    XLA writes groups as lists, `{{0,1},{2,3}}`, as a reshaped and transposed range,
    `[4,2]<=[2,4]T(1,0)`, or as the axes of a mesh, `mesh['a'=2,'b'=4] {'a'}`. That has
    `, device_ids=([4,2]T(1,0))` after its axes if its devices are in another order.
    """
    if match := re.search(r"source_target_pairs=\{(\{.*?\})\}", line):
        return _lists(match[1]), 2
    if match := re.search(r"replica_groups=\{(\{.*?\})?\}", line):
        groups = _lists(match[1] or "")
        if groups:
            return groups, max(map(len, groups))
        count = math.prod(mesh.axis_sizes) if mesh is not None else 0
        return [list(range(count))], count
    if match := re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line
    ):
        shape, source = _ints(match[1]), _ints(match[2])
        ids = _transposed_range(source, match[3])
        return ids.reshape(shape).tolist(), shape[-1]
    if match := re.search(
        r"replica_groups=mesh\[(.*?)\](?:, *device_ids=\((.*?\)?)\))? *\{(.*?)\}", line
    ):
        return _mesh_groups(match[1], match[2], match[3])
    return None, 0


def _transposed_range(shape: list[int], order: str | None) -> np.ndarray:
    ids = np.arange(math.prod(shape)).reshape(shape)
    return ids.transpose(_ints(order)) if order else ids


def _mesh_groups(
    axes: str, devices: str | None, over: str
) -> tuple[list[list[int]] | None, int]:
    sizes = {name: int(size) for name, size in re.findall(r"'(.*?)'=(\d+)", axes)}
    # A part of an axis is written 'name':(parts before)size.
    chosen = re.findall(r"'(.*?)'(?::\(\d+\)(\d+))?", over)
    group_size = math.prod(int(part or sizes.get(name, 1)) for name, part in chosen)
    names = [name for name, part in chosen]
    if any(part for _, part in chosen) or "device_ids" in axes:
        return None, group_size
    order = re.fullmatch(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", devices or "")
    if devices and not order:
        return None, group_size
    shape = list(sizes.values())
    ids = _transposed_range(_ints(order[1]) if order else shape, order and order[2])
    ids = ids.reshape(shape)
    places = [list(sizes).index(name) for name in names]
    ids = np.moveaxis(ids, places, range(-len(places), 0))
    return ids.reshape(-1, group_size).tolist(), group_size


def _lists(text: str) -> list[list[int]]:
    return [_ints(group) for group in re.findall(r"\{([\d,]*)\}", text)]


def _ints(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _axes(
    groups: list[list[int]] | None, mesh: AnyMesh | None
) -> tuple[str, ...] | None:
    """The mesh axes in which devices of one group differ."""
    if groups is None or mesh is None:
        return None
    count = math.prod(mesh.axis_sizes)
    if any(device >= count for group in groups for device in group):
        return None  # The program is of another mesh.
    differ: set[int] = set()
    for group in groups:
        places = np.stack(np.unravel_index(np.array(group, int), mesh.axis_sizes))
        differ.update(np.flatnonzero((places != places[:, :1]).any(axis=1)).tolist())
    return tuple(mesh.axis_names[dim] for dim in sorted(differ))
