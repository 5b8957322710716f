"""Layers that a transform stacks, one by one, as PyTorch has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .linen_units import Key, LinenUnit, Model
from .stacks import Stack

__all__ = ["Slice", "joined", "unstacked"]


@dataclasses.dataclass(frozen=True)
class Slice:
    """What one of the layers that a transform stacks has of a variable.

    Attributes:
      key: the variable.
      index: which part of it.
      shape: the shape of all of it.

    >>> Slice(("params", "layers", "scale"), (slice(None), 3), (8, 12)).spelled
    ('params', 'layers', 'scale[:, 3]')
    """

    key: Key
    index: tuple[Any, ...]
    shape: tuple[int, ...]

    @property
    def spelled(self) -> Key:
        """The key by which the part goes."""
        steps = [":" if isinstance(step, slice) else str(step) for step in self.index]
        return (*self.key[:-1], f"{self.key[-1]}[{', '.join(steps)}]")


def unstacked(model: Model) -> tuple[list[LinenUnit], dict[Key, Slice]]:
    """The layers of a model with those apart that a transform stacks.

    Args:
      model: the model.

    Returns:
      The layers, in the order in which they run; and what each has of the variables, by
      the keys that they have for it.

    >>> import jax.numpy as jnp, batiste.linen as nn
    >>> from .linen_units import read_model
    >>> pair = nn.vmap(nn.Dense, {"params": 0}, {"params": True})(4)
    >>> model = read_model(nn.Sequential([pair]), (jnp.ones((2, 3)),), None, {})
    >>> [unit.path for unit in unstacked(model)[0]]
    ['layers_0[0]', 'layers_0[1]']
    """
    slices: dict[Key, Slice] = {}
    places = [_place_of(unit, model.stacks) for unit in model.units]
    return [place.unit_of(slices) for place in _apart(places, 0)], slices


def joined(parts: Mapping[Key, Any], slices: Mapping[Key, Slice]) -> dict[Key, Any]:
    """Puts parts of variables together, those of which all parts are there.

    Args:
      parts: arrays, of variables and of parts of them.
      slices: what the parts are of.

    >>> slices = {(n,): Slice(("x",), (i,), (2,)) for i, n in enumerate("ab")}
    >>> joined({("a",): np.ones(()), ("b",): np.zeros(())}, slices)
    {('x',): array([1., 0.])}
    """
    found: dict[Key, Any] = {}
    filled: dict[Key, int] = {}
    for key, array in parts.items():
        part = slices.get(key)
        if part is None:
            found[key] = array
            continue
        if part.key not in found:
            found[part.key] = np.empty(part.shape, array.dtype)
        found[part.key][part.index] = array
        filled[part.key] = filled.get(part.key, 0) + array.size
    whole = {
        key for key, array in found.items() if filled.get(key, array.size) == array.size
    }
    return {key: array for key, array in found.items() if key in whole}


@dataclasses.dataclass(frozen=True)
class _Place:
    """A layer within transforms.

    Attributes:
      unit: all that are stacked, as one.
      stacks: the axes of each of its variables, by role.
      at: which it is along those axes, and how many names of its path that is about.
    """

    unit: LinenUnit
    stacks: Mapping[str, tuple[Stack, ...]]
    at: tuple[tuple[int, int], ...] = ()

    def level(self, depth: int) -> tuple[int, int, bool] | None:
        """What those have alike that one transform stacks."""
        stack = next(iter(self.stacks.values()), ())[depth : depth + 1]
        return (stack[0].transform, stack[0].size, stack[0].backward) if stack else None

    def unit_of(self, slices: dict[Key, Slice]) -> LinenUnit:
        """One of the stacked layers as a layer."""
        if not self.at:
            return self.unit
        names = ["", *self.unit.path.split("/")]
        for index, depth in self.at:
            names[depth] += f"[{index}]"
        variables, shapes = {}, {}
        for role, key in self.unit.variables.items():
            shape = self.unit.shapes[role]
            steps: list[Any] = [slice(None)] * len(shape)
            for (index, _), stack in zip(self.at, self.stacks[role], strict=True):
                steps[stack.axis] = index
            shapes[role] = tuple(
                n for n, step in zip(shape, steps, strict=True) if step == slice(None)
            )
            while steps[-1] == slice(None):
                steps.pop()
            part = Slice(key, tuple(steps), shape)
            variables[role] = part.spelled
            slices[part.spelled] = part
        return dataclasses.replace(
            self.unit,
            path="/".join(name for name in names if name),
            variables=variables,
            shapes=shapes,
            whole=self.unit,
        )


def _place_of(unit: LinenUnit, stacks: Mapping[Key, tuple[Stack, ...]]) -> _Place:
    found = {role: stacks.get(key, ()) for role, key in unit.variables.items()}
    alike = {
        tuple((s.transform, s.size, s.backward) for s in each)
        for each in found.values()
    }
    if len(alike) > 1:
        # Of what all layers share, and what each has, no layer can be made.
        return _Place(dataclasses.replace(unit, kind="mixed"), {})
    return _Place(unit, found)


def _apart(places: Sequence[_Place], depth: int) -> list[_Place]:
    """Takes apart what is stacked, the outermost axes first: layer after layer."""
    together: dict[Any, list[_Place]] = {}
    for i, place in enumerate(places):
        level = place.level(depth)
        together.setdefault(("alone", i) if level is None else level, []).append(place)
    found: list[_Place] = []
    for level, members in together.items():
        if level[0] == "alone":
            found += members
            continue
        _, size, backward = level
        common = _common([place.unit.path.split("/") for place in members])
        # From the end, so that numbers rise in the order in which layers run.
        for i in range(-1, -size - 1, -1) if backward else range(size):
            inner = [
                dataclasses.replace(place, at=(*place.at, (i, common)))
                for place in members
            ]
            found += _apart(inner, depth + 1)
    return found


def _common(paths: Sequence[Sequence[str]]) -> int:
    """How many names at their beginning paths have alike."""
    for n, names in enumerate(zip(*paths, strict=False)):
        if len(set(names)) > 1:
            return n
    return min(len(path) for path in paths)
