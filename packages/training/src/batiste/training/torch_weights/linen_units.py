"""The layers of a Linen model that have variables, in the order in which they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from batiste.core.meta import AxisMetadata

from .names import words
from .stacks import Stack, find_stacks

__all__ = [
    "Key",
    "LinenUnit",
    "Model",
    "linen_triples",
    "read_model",
    "spelled",
    "unboxed",
]

Key = tuple[str, ...]  # The collection of a variable, and its path.

# Layers that PyTorch has, by the class that they are of or derived from.
_KINDS = {
    "Dense": "dense",
    "DenseGeneral": "dense",
    "Conv": "conv",
    "ConvTranspose": "conv_transpose",
    "Embed": "embed",
    "BatchNorm": "norm",
    "LayerNorm": "norm",
    "RMSNorm": "norm",
    "GroupNorm": "norm",
    "InstanceNorm": "norm",
    "LSTMCell": "lstm",
    "OptimizedLSTMCell": "lstm",
    "GRUCell": "gru",
    "SimpleCell": "rnn",
}
_CELLS = ("lstm", "gru", "rnn")
_ROLES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass
class LinenUnit:
    """The variables of one layer.

    Attributes:
      path: its path, with slashes between.
      kind: "dense", "conv", "norm" and so on; "value" for a variable by itself; "mixed"
        where a transform stacks some of its variables only.
      variables: its variables by the roles that PyTorch's tensors have.
      shapes: their shapes.
      module: the unbound module; None for a variable by itself.
      channels: of a dense layer that follows the flattening of an array with more than
        one channel, their number, else 0.
      parts: the layers that this one joins: query, key and value.
      whole: of one of the layers that a transform stacks, all of them together.

    >>> LinenUnit("fc", "dense", {"weight": ("params", "fc", "kernel")}, {}).names
    ['fc', 'fc/kernel']
    """

    path: str
    kind: str
    variables: dict[str, Key]
    shapes: dict[str, tuple[int, ...]]
    module: Any = None
    channels: int = 0
    parts: tuple[LinenUnit, ...] = ()
    whole: LinenUnit | None = None

    @property
    def names(self) -> list[str]:
        """What a rule may call it."""
        own = ["/".join(key[1:]) for key in self.variables.values()]
        inner = [name for part in self.parts for name in part.names]
        return [self.path, *own, *inner, *(self.whole.names if self.whole else ())]

    @property
    def inner(self) -> int:
        """Over how many of the first axes of its kernel a dense layer sums."""
        axis = getattr(self.module, "axis", -1)
        return len(axis) if isinstance(axis, tuple | list) else 1

    @property
    def stacked(self) -> bool:
        """Whether a transform gives its variables an axis, which is still there."""
        if self.kind == "mixed":
            return True
        rank = {"dense": 2, "embed": 2, "norm": 1}.get(self.kind, 0)
        general = hasattr(self.module, "batch_dims")
        return rank > 0 and not general and len(self.shapes.get("weight", ())) > rank

    @property
    def signature(self) -> tuple[Any, ...]:
        """What layers have alike that fit the same tensors."""
        flips = getattr(self.module, "transpose_kernel", False)
        inner = tuple(part.signature for part in self.parts)
        shapes = tuple(sorted(self.shapes.items()))
        return (self.kind, shapes, self.inner, flips, self.channels, inner)


@dataclasses.dataclass
class Model:
    """A Linen model that was looked at.

    Attributes:
      units: its layers, in the order in which they are first called.
      shapes: the shapes of all its variables, as `init` gives them.
      by_key: each of its variables, perhaps in a box, by collection and path.
      image_rank: the rank of what the first convolution takes, 0 without any.
      stacks: the axes that transforms give to variables, the outermost first.
      unknown: why these are not known, where they are not.
    """

    units: list[LinenUnit]
    shapes: Any
    by_key: dict[Key, Any]
    image_rank: int
    stacks: dict[Key, tuple[Stack, ...]]
    unknown: str = ""


def read_model(
    module: Any, inputs: tuple[Any, ...], rngs: Any, kwargs: dict[str, Any]
) -> Model:
    """Looks at a model without computing anything.

    Args:
      module: the unbound module.
      inputs: example inputs; shapes suffice.
      rngs: PRNG keys, as for `Module.init`.
      kwargs: keyword arguments of `Module.init` and of `__call__`.

    Raises:
      As `Module.init`.

    >>> import numpy as np
    >>> import batiste.linen as nn
    >>> read_model(nn.Dense(2), (np.ones((1, 3)),), None, {}).units[0].shapes
    {'bias': (2,), 'weight': (3, 2)}
    """
    import batiste.linen as nn

    classes = {getattr(nn, name): kind for name, kind in _KINDS.items()}
    keys = jax.random.key(0) if rngs is None else rngs
    found = nn.submodules(module, *inputs, rngs=keys, **kwargs)
    shapes = _init_shapes(module, keys, inputs, kwargs)
    by_key = dict(_variables(shapes))
    try:
        stacks = _find_stacks(module, keys, inputs, kwargs, by_key)
        unknown = ""
    except Exception as error:
        # It may be made for calls of another kind than `init`'s. Most have no stacks.
        stacks, unknown = {}, f"{type(error).__name__}: {error}"
    below: dict[str, list[Key]] = {}
    for key in by_key:
        for end in range(1, len(key)):
            below.setdefault("/".join(key[1:end]), []).append(key)
    units: list[LinenUnit] = []
    taken: set[Key] = set()
    channels = image_rank = 0
    for path, module_, args, outputs in [
        ("", module, inputs, None),
        *((p, s.module, s.args, s.outputs) for p, s in found.items()),
    ]:
        kind = next((classes[c] for c in type(module_).__mro__ if c in classes), "")
        depth = len(path.split("/")) if path else 0
        own = [
            k for k in below.get(path, []) if k not in taken and k[0] in _COLLECTIONS
        ]
        if kind not in _CELLS:
            own = [key for key in own if len(key) == depth + 2]
        if not own:
            continue
        taken.update(own)
        if kind in _CELLS:
            roles = {"/".join(key[depth + 1 :]): key for key in own}
        else:
            roles = {_ROLES.get(key[-1], ""): key for key in own}
        if not kind or getattr(module_, "batch_dims", ()):
            kind = "value"
            # Of an own kind of layer, perhaps: then they belong together.
            if not path or set(roles) != {"weight", "bias"} or len(own) != 2:
                units += [
                    LinenUnit(
                        "/".join(key[1:]),
                        "value",
                        {"weight": key},
                        {"weight": _shape(by_key[key])},
                    )
                    for key in own
                ]
                continue
        unit = LinenUnit(
            path, kind, roles, {r: _shape(by_key[k]) for r, k in roles.items()}, module_
        )
        units.append(unit)
        rank = len(getattr(args[0], "shape", ())) if args else 0
        if kind in ("conv", "conv_transpose"):
            image_rank = image_rank or rank
            channels = (getattr(outputs, "shape", None) or (0,))[-1]
        elif kind == "dense":
            stacked = {s.axis for s in stacks.get(roles.get("weight", ()), ())}
            own_axes = [
                n for i, n in enumerate(unit.shapes["weight"]) if i not in stacked
            ]
            size = own_axes[0]
            if rank == 2 and channels > 1 and size > channels and not size % channels:
                unit.channels = channels
            channels = 0
    return Model(units, shapes, by_key, image_rank, stacks, unknown)


_COLLECTIONS = ("params", "batch_stats")


def _init_shapes(
    module: Any, keys: Any, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The shapes of the variables; flags among the arguments stay as they are."""
    arrays, mixed = _arrays(inputs, kwargs)

    def init(arrays: list[Any]) -> Any:
        args, keywords = mixed(arrays)
        return module.init(keys, *args, **keywords)

    return jax.eval_shape(init, arrays)


def _arrays(
    inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The arrays among arguments, and what puts others in their places."""
    leaves, structure = jax.tree.flatten((inputs, kwargs))
    dynamic = [hasattr(x, "shape") and hasattr(x, "dtype") for x in leaves]

    def mixed(arrays: list[Any]) -> Any:
        rest = iter(arrays)
        found = [next(rest) if d else x for x, d in zip(leaves, dynamic, strict=True)]
        return jax.tree.unflatten(structure, found)

    return [x for x, d in zip(leaves, dynamic, strict=True) if d], mixed


def _find_stacks(
    module: Any,
    keys: Any,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    by_key: dict[Key, Any],
) -> dict[Key, tuple[Stack, ...]]:
    arrays, mixed = _arrays(inputs, kwargs)

    def run(variables: Any, arrays: list[Any]) -> None:
        args, keywords = mixed(arrays)
        module.apply(variables, *args, rngs=keys, **{**keywords, "mutable": True})

    # The others are made anew, as `init` makes them.
    own = {k: unboxed(x) for k, x in by_key.items() if k[0] in _COLLECTIONS}
    return find_stacks(run, own, arrays)


def _variables(tree: Any, path: Key = ()) -> list[tuple[Key, Any]]:
    if not isinstance(tree, Mapping):
        return [(path, tree)]
    return [found for name in tree for found in _variables(tree[name], (*path, name))]


def _shape(variable: Any) -> tuple[int, ...]:
    return tuple(unboxed(variable).shape)


def unboxed(variable: Any) -> Any:
    """The array of a variable, which may be in a box.

    >>> unboxed(3)
    3
    """
    return variable.unbox() if isinstance(variable, AxisMetadata) else variable


def linen_triples(units: list[LinenUnit]) -> list[LinenUnit]:
    """One unit for each query, key and value that lie side by side."""
    groups: dict[tuple[str, str], dict[str, LinenUnit]] = {}
    for unit in units:
        parent, _, last = unit.path.rpartition("/")
        last, _, index = last.partition("[")
        for word in ("query", "key", "value"):
            telling = words(last) - {"proj"}
            if unit.kind == "dense" and telling == {word}:
                groups.setdefault((parent, index), {})[word] = unit
    found = []
    for (parent, _), parts in groups.items():
        if len(parts) == 3 and len({tuple(p.shapes) for p in parts.values()}) == 1:
            q, k, v = (parts[word] for word in ("query", "key", "value"))
            last = ",".join(p.path.rpartition("/")[2] for p in (q, k, v))
            path = f"{parent}/{{{last}}}".lstrip("/")
            found.append(LinenUnit(path, "triple", {}, {}, parts=(q, k, v)))
    return found


def spelled(key: Key) -> str:
    """A variable's collection and path, as texts have it.

    >>> spelled(("params", "head", "kernel"))
    'params/head/kernel'
    """
    return "/".join(key)
