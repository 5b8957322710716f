"""The rows of a module's table, made from one abstract run.

The run is recorded as calls of methods. Each variable that it leaves belongs to the
module that owns it, and counts for the nearest row above it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from batiste.core.meta import AxisMetadata
from batiste.core.scope import CollectionFilter
from batiste.core.types import Key, Keys, Path, Tree, Variables

from ..module.submodules import names_kept
from .calls import is_array, record_calls
from .costs import Runnable, call_flops, call_vjp_flops
from .text import describe

__all__ = ["Row", "VariableSpec", "make_rows"]


class VariableSpec(NamedTuple):
    """What a row tells of a variable.

    Attributes:
      name: its name, with those of the dicts around it and slashes between.
      shape: its shape, None for a value that is no array.
      dtype: its dtype, or None.
      size: the number of its elements.
      bytes: the number of its bytes.
      names: the names of its axes where it is in a box that has them, or None.

    >>> VariableSpec("bias", (2,), "float32", 2, 8).names is None
    True
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: Any
    size: int
    bytes: int
    names: tuple[Any, ...] | None = None


@dataclasses.dataclass
class Row:
    """One call of one module's method.

    Attributes:
      path: the names from the root to the module.
      module_copy: an unbound copy of the module.
      method: the method's name.
      inputs: a description of the arguments.
      outputs: a description of what was returned.
      module_variables: the module's own variables by collection, without those of
        its submodules.
      counted_variables: the variables that the row's counts are about: its own and
        those of submodules that the table does not show.
      flops: the floating point operations of the call, -1 if not asked for.
      vjp_flops: the same for the call and its gradient.

    >>> import batiste.linen as nn
    >>> shape = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> row = make_rows(nn.Dense(2), jax.random.key(0), (shape,), {})[0]
    >>> row.module_type.__name__, row.method, row.size_and_bytes(["params"])
    ('Dense', '__call__', {'params': (8, 32)})
    """

    path: Path
    module_copy: Any
    method: str
    inputs: Any
    outputs: Any
    module_variables: dict[str, dict[str, Any]]
    counted_variables: dict[str, dict[str, Any]]
    flops: int = -1
    vjp_flops: int = -1

    @property
    def module_type(self) -> type:
        """The module's class."""
        return type(self.module_copy)

    @property
    def module(self) -> str:
        """The name of the module's class."""
        return self.module_type.__name__

    @property
    def variables(self) -> dict[str, list[VariableSpec]]:
        """What the module's own variables are, by collection.

        >>> import batiste.linen as nn
        >>> shape = jax.ShapeDtypeStruct((4, 3), "float32")
        >>> row = make_rows(nn.Dense(2), jax.random.key(0), (shape,), {})[0]
        >>> [(v.name, v.shape, v.bytes) for v in row.variables["params"]]
        [('bias', (2,), 8), ('kernel', (3, 2), 24)]
        """
        return {col: list(_specs(tree)) for col, tree in self.module_variables.items()}

    def size_and_bytes(self, collections: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Counts the elements and the bytes of the row's variables by collection."""
        return {
            col: _size_and_bytes(self.counted_variables.get(col, {}))
            for col in collections
        }


def _specs(tree: Tree, path: Path = ()) -> Iterator[VariableSpec]:
    """Yields what each variable of a nested dict is, by name."""
    if isinstance(tree, Mapping):
        for name in sorted(tree, key=str):
            yield from _specs(tree[name], (*path, str(name)))
        return
    names = getattr(tree, "names", None) if isinstance(tree, AxisMetadata) else None
    size, num_bytes = _size_and_bytes(tree)
    leaves = jax.tree.leaves(tree)
    array = leaves[0] if len(leaves) == 1 and is_array(leaves[0]) else None
    yield VariableSpec(
        "/".join(path),
        None if array is None else tuple(array.shape),
        None if array is None else array.dtype,
        size,
        num_bytes,
        names if isinstance(names, tuple) else None,
    )


def _size_and_bytes(tree: Tree) -> tuple[int, int]:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "size")]
    size = sum(leaf.size for leaf in leaves)
    return size, sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def make_rows(
    module: Runnable,
    rngs: Key | Keys,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    depth: int | None = None,
    show_repeated: bool = False,
    mutable: CollectionFilter = True,
    flops: bool = False,
    vjp_flops: bool = False,
) -> list[Row]:
    """Initializes a module abstractly and notes the calls of its methods.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      args: positional arguments of `Module.init`; shapes suffice.
      kwargs: its keyword arguments.
      depth: how many levels of submodules have rows; all by default.
      show_repeated: whether later calls of the same module have rows, too.
      mutable: a filter that selects the collections.
      flops: whether to count the operations of each call.
      vjp_flops: whether to count those of each call with its gradient.

    Returns:
      The rows, in the order in which the calls began.

    >>> import batiste.linen as nn
    >>> model = nn.Sequential([nn.Dense(2), nn.relu])
    >>> x = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> [row.path for row in make_rows(model, jax.random.key(0), (x,), {})]
    [(), ('layers_0',)]
    """
    calls, variables = record_calls(module, rngs, args, kwargs, mutable)
    shown = [c for c in calls if depth is None or len(c.path) <= depth]
    owned, counted = _assign_variables(
        variables, {call.path for call in calls}, {call.path for call in shown}
    )
    rows: list[Row] = []
    seen: set[Path] = set()
    for call in shown:
        repeated = call.path in seen
        if repeated and not show_repeated:
            continue
        seen.add(call.path)
        row = Row(
            path=call.path,
            module_copy=call.module,
            method=call.method,
            inputs=describe(_as_one_tree(call.args, call.kwargs)),
            outputs=describe(call.outputs),
            module_variables={} if repeated else owned.get(call.path, {}),
            counted_variables={} if repeated else counted.get(call.path, {}),
        )
        cost = (call.module, call.method, call.variables, rngs, call.args, call.kwargs)
        with names_kept():
            if flops:
                row.flops = call_flops(*cost)
            if vjp_flops:
                row.vjp_flops = call_vjp_flops(*cost)
        rows.append(row)
    return rows


def _as_one_tree(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tree:
    """Arguments as one tree, no deeper than it needs to be."""
    inputs = [*args, kwargs] if kwargs else [*args]
    return inputs[0] if len(inputs) == 1 else inputs


# Whose a variable is


def _assign_variables(
    variables: Variables, called: Collection[Path], shown: Collection[Path]
) -> tuple[dict[Path, Any], dict[Path, Any]]:
    """Gives each variable to the module that owns it and to the row that counts it.

    Returns dicts from paths to collections to nested dicts.
    """
    scopes = {path[:n] for path in called for n in range(len(path) + 1)}
    owned: dict[Path, Any] = {}
    counted: dict[Path, Any] = {}
    for col, tree in variables.items():
        for scope, name, value in _variables_of(tree, scopes):
            for paths, result in (called, owned), (shown, counted):
                place = _nearest(scope, paths)
                inner = result.setdefault(place, {}).setdefault(col, {})
                for step in scope[len(place) :]:
                    inner = inner.setdefault(step, {})
                inner[name] = value
    return owned, counted


def _variables_of(
    tree: Mapping[str, Any], scopes: Collection[Path], path: Path = ()
) -> Iterator[tuple[Path, str, Any]]:
    """Yields path, name and value of what lies in the scopes, also whole dicts."""
    for name, value in tree.items():
        below = (*path, name)
        if isinstance(value, Mapping) and below in scopes:
            yield from _variables_of(value, scopes, below)
        else:
            yield path, name, value


def _nearest(path: Path, paths: Collection[Path]) -> Path:
    """The longest beginning of `path` that is among `paths`, by default the root."""
    while path and path not in paths:
        path = path[:-1]
    return path
