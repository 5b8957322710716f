"""What became of what: the table of a conversion."""

from __future__ import annotations

import dataclasses
from typing import Any

from .conversions import Piece
from .linen_units import Key, spelled
from .unstacking import Slice

__all__ = ["Pair", "TorchReport"]

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Tensors of PyTorch, and the variables that they are here.

    Attributes:
      tensors: the tensors' shapes by name.
      variables: the variables' shapes by path, the collection first.
      how: what is done to the tensors.

    >>> print(Pair({"fc.weight": (2, 3)}, {"params/fc/kernel": (3, 2)}, "transpose"))
    fc.weight (2, 3) -> params/fc/kernel (3, 2): transpose
    """

    tensors: dict[str, Shape]
    variables: dict[str, Shape]
    how: str

    def __str__(self) -> str:
        one, other = _named(self.tensors), _named(self.variables)
        return f"{one} -> {other}: {self.how}"


@dataclasses.dataclass
class TorchReport:
    """What `from_torch` and `to_torch` did; its text is a table.

    Attributes:
      pairs: every tensor with its variable, in the order in which the model runs.
      left_out: the tensors that have no place in Linen, and why.
      missing: variables without a tensor, with their shapes (`strict=False`).
      left_over: tensors without a variable, with their shapes (`strict=False`).
      difference: the largest difference of outputs, where they were compared.

    >>> report = TorchReport([Pair({"w": (2,)}, {"params/w": (2,)}, "as it is")])
    >>> print(report)
    PyTorch  Linen          how
    w (2,)   params/w (2,)  as it is
    """

    pairs: list[Pair]
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    missing: dict[str, Shape] = dataclasses.field(default_factory=dict)
    left_over: dict[str, Shape] = dataclasses.field(default_factory=dict)
    difference: float | None = None
    plan: Plan | None = dataclasses.field(default=None, repr=False)

    def __str__(self) -> str:
        rows = [("PyTorch", "Linen", "how")]
        rows += [(_named(p.tensors), _named(p.variables), p.how) for p in self.pairs]
        rows += [(name, "left out", why) for name, why in self.left_out.items()]
        rows += [
            (f"{name} {shape}", "left over", "")
            for name, shape in self.left_over.items()
        ]
        rows += [("missing", f"{n} {shape}", "") for n, shape in self.missing.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = [f"{a:{widths[0]}}  {b:{widths[1]}}  {c}".rstrip() for a, b, c in rows]
        if self.difference is not None:
            lines.append(f"largest difference of outputs: {self.difference:.1e}")
        return "\n".join(lines)


@dataclasses.dataclass
class Plan:
    """What it takes to go back.

    Attributes:
      pieces: the conversions.
      dtypes: the dtypes of the tensors by name, in the order of the state dict.
      kept: the tensors that Linen has not.
      ties: the tensors that are others once more, with the others' names.
      as_torch: whether they were torch tensors.
      slices: what stacked layers have of variables.
    """

    pieces: list[Piece]
    dtypes: dict[str, Any]
    kept: dict[str, Any]
    ties: dict[str, str]
    as_torch: bool
    slices: dict[Key, Slice]


def pair_of(piece: Piece, tensors: Any, shapes: dict[Key, Shape], note: str) -> Pair:
    """A row of the table.

    >>> piece = Piece(("w",), (("params", "w"),), "as it is", list, list)
    >>> import numpy as np
    >>> print(pair_of(piece, {"w": np.ones(2)}, {("params", "w"): (2,)}, ""))
    w (2,) -> params/w (2,): as it is
    """
    return Pair(
        {name: tuple(tensors[name].shape) for name in piece.tensors},
        {spelled(key): shapes[key] for key in piece.variables},
        piece.how + note,
    )


def _named(shapes: dict[str, Shape]) -> str:
    """Names with a shape, those that only end differently in braces."""
    if not shapes:
        return "(none)"
    names = list(shapes)
    if len(names) == 1 or len(set(shapes.values())) > 1:
        return ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    start = _common(names)
    end = _common([name[len(start) :][::-1] for name in names])[::-1]
    inner = ",".join(name[len(start) : len(name) - len(end) or None] for name in names)
    return f"{start}{{{inner}}}{end} {shapes[names[0]]}"


def _common(names: list[str]) -> str:
    """What all begin with, up to the last separator in it."""
    end = 0
    for at, letters in enumerate(zip(*names, strict=False), start=1):
        if len(set(letters)) > 1:
            break
        if letters[0] in "./_":
            end = at
    return names[0][:end]
