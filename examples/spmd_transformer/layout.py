"""A layout: the axes of the mesh, and the rules that lay the model over them."""

from __future__ import annotations

import contextlib
import math
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from batiste import spmd

__all__ = ["FOLDER", "Layout", "LayoutError", "load", "names"]

FOLDER = Path(__file__).resolve().parent / "layouts"


class LayoutError(Exception):
    """The layout cannot be read, or does not fit the devices."""


@dataclass(frozen=True)
class Layout:
    """What a file of `layouts/` holds.

    Attributes:
      name: its name, for messages.
      mesh: the size of each mesh axis, in order; one may be -1, which is as many as
        the devices allow.
      rules: pairs of a logical axis and the mesh axis or axes to lay it over.
    """

    name: str
    mesh: dict[str, int]
    rules: tuple[tuple[str, Any], ...]

    def sizes(self, count: int) -> tuple[int, ...]:
        """The sizes of the mesh axes on `count` devices.

        Raises:
          LayoutError: they do not multiply to `count`.
        """
        fixed = math.prod(size for size in self.mesh.values() if size != -1)
        sizes = tuple(count // fixed if s == -1 else s for s in self.mesh.values())
        if math.prod(sizes) != count:
            wanted = ", ".join(f"{name} = {size}" for name, size in self.mesh.items())
            raise LayoutError(
                f"The layout {self.name!r} has the mesh {{ {wanted} }}, which does not "
                f"fit {count} devices. Run on a multiple of {fixed} devices, or change "
                "the sizes in its file."
            )
        return sizes

    def make_mesh(self, devices: Sequence[Any] | None = None) -> Mesh:
        """The mesh over the given devices, or over all there are in all processes."""
        sizes = self.sizes(len(jax.devices() if devices is None else devices))
        return jax.make_mesh(
            sizes,
            tuple(self.mesh),
            # The partitioner of XLA works the layout out, from the rules' constraints.
            axis_types=(AxisType.Auto,) * len(sizes),
            devices=devices,
        )

    @contextlib.contextmanager
    def in_force(self, mesh: Mesh) -> Iterator[None]:
        """Lets models that are traced inside of the block be laid out so."""
        # JAX 0.7 has `jax.set_mesh` under another name.
        set_mesh = getattr(jax, "set_mesh", None) or jax.sharding.use_mesh  # pyright: ignore
        with set_mesh(mesh), spmd.logical_axis_rules(self.rules):
            yield


def names() -> list[str]:
    """The layouts that come with the example."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Layout:
    """Reads a layout: one of `layouts/`, by its name, or any other TOML file.

    Raises:
      LayoutError: there is no such file, or it is not of the form described in the
        README.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise LayoutError(
            f"There is no layout {name!r}. Name a TOML file, or one of: "
            f"{', '.join(names())}."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise LayoutError(f"{path}: {error}") from None
    mesh: Any = table.get("mesh")
    rules: Any = table.get("rules")
    if not _is_mesh(mesh) or not _is_rules(rules):
        raise LayoutError(
            f"{path}: expected mesh = {{ axis = size, ... }}, with at most one size of "
            '-1, and rules = [["logical axis", "mesh axis"], ...].'
        )
    return Layout(path.stem, mesh, tuple((name, axes) for name, axes in rules))


def _is_mesh(mesh: Any) -> bool:
    if not isinstance(mesh, dict) or not mesh:
        return False
    sizes = list(mesh.values())
    whole = all(type(size) is int and (size > 0 or size == -1) for size in sizes)
    return whole and sizes.count(-1) <= 1


def _is_rules(rules: Any) -> bool:
    return isinstance(rules, list) and all(
        isinstance(rule, list) and len(rule) == 2 and isinstance(rule[0], str)
        for rule in rules
    )
