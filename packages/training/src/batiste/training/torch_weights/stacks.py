"""Which axes of variables are there for layers that a transform stacks.

`nn.scan` and `nn.vmap` tell boxes around variables which axis they take away, as they
do to those of partitioned variables. Here every variable is put in a box that takes
note of it, and the model runs once, abstractly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from batiste.core.meta import AxisMetadata

__all__ = ["Stack", "find_stacks"]

Path = tuple[str, ...]
Loops = tuple[bool, ...]  # Whether each begins at the end.


@dataclasses.dataclass(frozen=True)
class Stack:
    """An axis along which a variable has those of equal layers.

    Attributes:
      axis: the axis, in the variable as `init` makes it.
      size: how many layers there are.
      transform: a number that variables have alike which one transform stacks.
      backward: whether the last layer runs first.

    >>> Stack(0, 12, 1).backward
    False
    """

    axis: int
    size: int
    transform: int
    backward: bool = False


def find_stacks(
    run: Callable[[Any, Any], Any], variables: Mapping[Path, Any], arrays: Any
) -> dict[Path, tuple[Stack, ...]]:
    """Finds the axes that transforms take away from variables, the outermost first.

    Args:
      run: runs the model with a tree of variables, each of them in a box, and arrays.
      variables: the shape of each variable by its collection and path.
      arrays: arrays, or their shapes, in any tree.

    Raises:
      As `run`.

    >>> import jax.numpy as jnp, batiste.linen as nn
    >>> Pair = nn.vmap(nn.Dense, {"params": 1}, {"params": True})
    >>> model, x = Pair(4), jnp.ones((3, 2))
    >>> shapes = {("params", "kernel"): jax.ShapeDtypeStruct((2, 3, 4), "float32"),
    ...           ("params", "bias"): jax.ShapeDtypeStruct((4, 3), "float32")}
    >>> found = find_stacks(model.apply, shapes, x)
    >>> found["params", "kernel"][0].axis, found["params", "kernel"][0].size
    (1, 3)
    """
    notes = _Notes()
    boxes = [
        _Noting(shape, path, len(shape.shape), (), notes)
        for path, shape in variables.items()
    ]

    def with_boxes(boxes: list[_Noting], arrays: Any) -> None:
        tree: dict[str, Any] = {}
        for box in boxes:
            inner = tree
            for step in box.path[:-1]:
                inner = inner.setdefault(step, {})
            inner[box.path[-1]] = box
        run(tree, arrays)

    jaxpr = jax.make_jaxpr(with_boxes)(boxes, arrays).jaxpr
    loops: dict[Path, Loops] = {}
    if notes.taken:
        known = {v: (path, ()) for v, path in zip(jaxpr.invars, variables)}
        _follow(jaxpr, known, loops)
    found = {}
    for path, taken in notes.taken.items():
        backward = loops.get(path, ())
        if len(backward) != len(taken):
            # A vmap has no direction, and is none of the loops.
            if any(backward):
                continue
            backward = (False,) * len(taken)
        found[path] = tuple(
            Stack(axis, variables[path].shape[axis], transform, last_first)
            for (axis, transform), last_first in zip(taken, backward, strict=True)
        )
    return found


@dataclasses.dataclass(eq=False)
class _Notes:
    """What boxes were told.

    Attributes:
      reads: how often a box was opened. Between two transforms there is a reading, so
        that the number tells which of them it was.
      taken: the axes that were taken from a variable, with those numbers.
    """

    reads: int = 0
    taken: dict[Path, tuple[tuple[int, int], ...]] = dataclasses.field(
        default_factory=dict
    )


@dataclasses.dataclass(frozen=True)
class _Noting(AxisMetadata[Any]):
    """A box that takes note of what transforms do to its variable."""

    value: Any
    path: Path
    rank: int
    taken: tuple[tuple[int, int], ...]
    notes: _Notes

    def unbox(self) -> Any:
        self.notes.reads += 1
        return self.value

    def replace_boxed(self, val: Any) -> _Noting:
        return dataclasses.replace(self, value=val)

    def remove_axis(self, index: int, params: Mapping[Any, Any]) -> _Noting:
        before = {axis for axis, _ in self.taken}
        left = [axis for axis in range(self.rank) if axis not in before]
        taken = (*self.taken, (left[index], self.notes.reads))
        # The first time counts, as that is when the order of layers is found.
        if len(taken) > len(self.notes.taken.get(self.path, ())):
            self.notes.taken[self.path] = taken
        return dataclasses.replace(self, taken=taken)

    def add_axis(self, index: int, params: Mapping[Any, Any]) -> _Noting:
        return dataclasses.replace(self, taken=self.taken[:-1])


jax.tree_util.register_dataclass(
    _Noting,
    data_fields=["value"],
    meta_fields=["path", "rank", "taken", "notes"],
)


def _follow(
    jaxpr: Jaxpr, known: dict[Any, tuple[Path, Loops]], loops: dict[Path, Loops]
) -> list[tuple[Path, Loops] | None]:
    """Notes which loops go along variables, from the outermost to the innermost.

    Args:
      jaxpr: a program.
      known: the names in it of variables, with the loops so far.
      loops: gets the loops of each variable.

    Returns:
      For each result of the program, which variable it is.
    """
    for eqn in jaxpr.eqns:
        of = [None if isinstance(v, Literal) else known.get(v) for v in eqn.invars]
        if not any(of):
            continue
        inner = [p for p in eqn.params.values() if isinstance(p, ClosedJaxpr | Jaxpr)]
        if eqn.primitive.name == "scan":
            outside: Any = eqn.invars
            within = _plain(inner[0]).invars
            for i, each in enumerate(of):
                # What a loop goes along has an axis more than its slices.
                if each and outside[i].aval.ndim > within[i].aval.ndim:
                    path, along = each[0], (*each[1], bool(eqn.params["reverse"]))
                    of[i] = path, along
                    if len(along) > len(loops.get(path, ())):
                        loops[path] = along
            _within(inner[0], of, loops)
        elif len(inner) == 1:
            results = _within(inner[0], of, loops)
            known |= {v: r for v, r in zip(eqn.outvars, results, strict=False) if r}
        elif len(eqn.invars) == len(eqn.outvars) == 1 and of[0]:
            known[eqn.outvars[0]] = of[0]
    return [None if isinstance(v, Literal) else known.get(v) for v in jaxpr.outvars]


def _within(
    inner: ClosedJaxpr | Jaxpr,
    of: list[tuple[Path, Loops] | None],
    loops: dict[Path, Loops],
) -> list[tuple[Path, Loops] | None]:
    jaxpr = _plain(inner)
    if len(jaxpr.invars) != len(of):
        return []
    pairs = zip(jaxpr.invars, of, strict=True)
    return _follow(jaxpr, {var: each for var, each in pairs if each}, loops)


def _plain(jaxpr: ClosedJaxpr | Jaxpr) -> Any:
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
