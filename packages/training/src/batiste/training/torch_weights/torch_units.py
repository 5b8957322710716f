"""The layers of a PyTorch state dict: tensors that belong together, by their names."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import TorchWeightsError
from .names import natural, pattern, words

__all__ = ["Source", "TorchUnit", "as_array", "fused_triples", "read_source"]

_RECURRENT = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(?:_reverse)?)?")
_LAYER = {
    "weight": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}


@dataclasses.dataclass
class TorchUnit:
    """The tensors of one layer.

    Attributes:
      name: the layer's name in the state dict.
      tensors: the names of its tensors by their roles.
      shapes: their shapes.
      layout: of a matrix: "linear" (out, in), "conv1d" (in, out), or "" if not known.
      kind: the class of the torch module, where that is known.
      alone: whether it is a parameter by itself.
      parts: the layers that this one joins: query, key and value.

    >>> TorchUnit("fc", {"weight": "fc.weight"}, {"weight": (2, 3)}).names
    ['fc', 'fc.weight']
    """

    name: str
    tensors: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    layout: str = "linear"
    kind: str = ""
    alone: bool = False
    parts: tuple[TorchUnit, ...] = ()

    @property
    def names(self) -> list[str]:
        """What a rule may call it."""
        return [self.name, *self.tensors.values()] + [
            name for part in self.parts for name in part.names
        ]

    @property
    def signature(self) -> tuple[Any, ...]:
        """What layers have alike that fit the same modules."""
        shapes = tuple(sorted(self.shapes.items()))
        inner = tuple(part.signature for part in self.parts)
        fused = "query_key_value" in self.name
        return (shapes, self.layout, self.kind, inner, fused)


@dataclasses.dataclass
class Source:
    """A state dict that was read.

    Attributes:
      tensors: the tensors by name.
      units: the layers, in order.
      in_order: whether the order is that of the model's definition.
      left_out: the tensors that no model of Linen has, with the reason.
      module: the torch module, where one was given.

    >>> source = read_source({"fc.weight": np.ones((2, 3)), "fc.bias": np.ones(2)})
    >>> [unit.name for unit in source.units], source.in_order
    (['fc'], True)
    """

    tensors: dict[str, Any]
    units: list[TorchUnit]
    in_order: bool
    left_out: dict[str, str]
    module: Any = None


def read_source(source: Any) -> Source:
    """Reads the layers of a state dict, of a torch module or of a `.safetensors` file.

    Args:
      source: a mapping from names to arrays, a torch module, or the path of a file.

    Raises:
      TorchWeightsError: it is none of these, or what it holds are no arrays.

    >>> list(read_source({"x": np.zeros(3)}).tensors)
    ['x']
    """
    module, kinds = None, {}
    if isinstance(source, str | os.PathLike):
        tensors, in_order = _read_file(source), False
    elif callable(getattr(source, "state_dict", None)):
        module, tensors, in_order = source, dict(source.state_dict()), True
        kinds = {name: type(layer).__name__ for name, layer in source.named_modules()}
    elif isinstance(source, Mapping):
        tensors = dict(source)
        in_order = list(tensors) != sorted(map(str, tensors)) or len(tensors) < 2
    else:
        raise TorchWeightsError(
            f"A state dict is a mapping from names to arrays, a torch module, or the "
            f"path of a .safetensors file; this is a {type(source).__name__}."
        )
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not hasattr(tensor, "shape"):
            raise TorchWeightsError(
                f"The state dict has {type(tensor).__name__} at {name!r}, where an "
                f"array belongs. Of a checkpoint that holds more than weights, pass "
                f'the state dict alone, as checkpoint["state_dict"].'
            )
    left_out = {}
    for name, tensor in tensors.items():
        if name.endswith("num_batches_tracked"):
            left_out[name] = "counts batches; Linen's momentum needs none"
        elif not _is_float(tensor):
            left_out[name] = f"no weights: {_dtype_name(tensor)}"
    names = list(tensors) if in_order else sorted(tensors, key=natural)
    units = _units({n: tensors[n] for n in names if n not in left_out}, kinds)
    return Source(tensors, units, in_order, left_out, module)


def _read_file(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The tensors of a file, each read when it is used."""
    if not os.fspath(path).endswith(".safetensors"):
        raise TorchWeightsError(
            f'"{os.fspath(path)}" is not a .safetensors file. Read others with torch '
            f'(torch.load(path, weights_only=True, map_location="cpu")) and pass what '
            f"that gives."
        )
    from batiste import serialization

    tree = serialization.restore(path, format="safetensors", separator=None, copy=False)
    return {name: x for name, x in tree.items() if hasattr(x, "shape")}


def _units(tensors: Mapping[str, Any], kinds: Mapping[str, str]) -> list[TorchUnit]:
    units: dict[str, TorchUnit] = {}
    for full, tensor in tensors.items():
        prefix, _, leaf = full.rpartition(".")
        recurrent = _RECURRENT.fullmatch(leaf)
        if recurrent:
            name, role = prefix + (recurrent[3] or ""), f"{recurrent[1]}_{recurrent[2]}"
        elif leaf in ("in_proj_weight", "in_proj_bias"):
            name, role = f"{prefix}.in_proj".lstrip("."), leaf.rpartition("_")[2]
        elif leaf in _LAYER:
            name, role = prefix, _LAYER[leaf]
        else:
            name, role = full, "weight"
        unit = units.setdefault(name, TorchUnit(name, {}, {}))
        unit.kind = kinds.get(prefix, "") if name == prefix else ""
        unit.alone = name == full
        unit.tensors[role] = full
        unit.shapes[role] = tuple(tensor.shape)
    _find_layouts(list(units.values()))
    return list(units.values())


def _find_layouts(units: list[TorchUnit]) -> None:
    """Tells matrices that are stored (in, out), as GPT-2 does, from the usual ones.

    The bias tells. Of a square matrix, its neighbours with the same kind of name do.
    """
    square = []
    for unit in units:
        weight, bias = unit.shapes.get("weight", ()), unit.shapes.get("bias")
        if unit.alone:
            unit.layout = ""
            continue
        if len(weight) != 2 or unit.kind:
            unit.layout = "conv1d" if unit.kind == "Conv1D" else "linear"
        elif bias is not None and weight[0] == weight[1] == bias[0]:
            square.append(unit)
        elif bias == weight[1:]:
            unit.layout = "conv1d"
    others = [u for u in units if u not in square and "bias" in u.shapes]
    others = [u for u in others if len(u.shapes.get("weight", ())) == 2]
    if not any(unit.layout == "conv1d" for unit in others):
        return
    for unit in square:
        parent, last = _parent(unit.name), unit.name.rpartition(".")[2]
        near = {u.layout for u in others if _parent(u.name) == parent} or {
            u.layout for u in others if u.name.rpartition(".")[2] == last
        }
        unit.layout = near.pop() if len(near) == 1 else ""


def _parent(name: str) -> str:
    return pattern(name.rpartition(".")[0])


def fused_triples(units: list[TorchUnit]) -> list[TorchUnit]:
    """One unit for each query, key and value that lie side by side.

    >>> source = {f"a.{n}.weight": np.ones((2, 2)) for n in ("q", "k", "v")}
    >>> fused_triples(read_source(source).units)[0].name
    'a.{q,k,v}'
    """
    groups: dict[str, dict[str, TorchUnit]] = {}
    for unit in units:
        parent, _, last = unit.name.rpartition(".")
        for word in ("query", "key", "value"):
            if word in words(last) and len(words(last) - {"proj"}) == 1:
                groups.setdefault(parent, {})[word] = unit
    found = []
    for parent, parts in groups.items():
        if len(parts) == 3 and len({tuple(p.shapes) for p in parts.values()}) == 1:
            q, k, v = (parts[word] for word in ("query", "key", "value"))
            last = ",".join(p.name.rpartition(".")[2] for p in (q, k, v))
            name = f"{parent}.{{{last}}}".lstrip(".")
            found.append(TorchUnit(name, {}, {}, q.layout, q.kind, parts=(q, k, v)))
    return found


def _is_float(tensor: Any) -> bool:
    return "float" in _dtype_name(tensor) or "complex" in _dtype_name(tensor)


def _dtype_name(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def as_array(tensor: Any) -> np.ndarray[Any, Any]:
    """The tensor as a NumPy array, without a copy where that can be.

    >>> as_array([1.0, 2.0]).shape
    (2,)
    """
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        if _dtype_name(tensor) == "bfloat16":
            import jax.numpy as jnp
            import torch  # pyright: ignore[reportMissingImports]

            bits = tensor.contiguous().view(torch.int16).numpy()
            return bits.view(jnp.bfloat16)
    return np.asarray(tensor)
