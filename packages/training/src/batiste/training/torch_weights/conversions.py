"""How tensors of PyTorch become variables of Linen, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import TorchWeightsError
from .linen_units import Key, LinenUnit
from .torch_units import TorchUnit

__all__ = ["Conversion", "Piece", "conversions"]

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Arrays = Sequence[Array]

AS_IS = "as it is"
TRANSPOSE = "transpose"


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some tensors that become some variables.

    Attributes:
      tensors: the names of the tensors.
      variables: the variables.
      how: in words.
      to_linen: makes the variables of the tensors.
      to_torch: makes the tensors of the variables.
    """

    tensors: tuple[str, ...]
    variables: tuple[Key, ...]
    how: str
    to_linen: Callable[[Arrays], Arrays]
    to_torch: Callable[[Arrays], Arrays]


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A way to make one layer's variables of another's tensors.

    Attributes:
      how: in words; what a rule has behind "as".
      pieces: its parts, each of which stands alone.
    """

    how: str
    pieces: tuple[Piece, ...]


def conversions(linen: LinenUnit, torch: TorchUnit) -> list[Conversion]:
    """The ways in which a layer's tensors can become a module's variables.

    Args:
      linen: the layer of the Linen model.
      torch: the layer of the state dict.

    Returns:
      None where shapes do not fit, and two where only a rule can tell.

    >>> kernel = {"weight": ("params", "fc", "kernel")}
    >>> module = LinenUnit("fc", "dense", kernel, {"weight": (3, 2)})
    >>> layer = TorchUnit("fc", {"weight": "fc.weight"}, {"weight": (2, 3)})
    >>> [found.how for found in conversions(module, layer)]
    ['transpose']
    """
    if linen.kind == "mixed":
        return []
    if linen.kind == "triple" or torch.parts:
        return _of_triple(linen, torch)
    if linen.kind in _GATES:
        return _of_cell(linen, torch)
    if set(linen.shapes) != set(torch.shapes):
        return []
    if torch.kind and not _may_be(linen.kind, torch.kind):
        return []
    ways = [
        (how, to, back)
        for how, shape, to, back in _MAIN[linen.kind](linen, torch)
        if shape == torch.shapes.get("weight")
    ]
    rest = []
    for role, key in linen.variables.items():
        if role == "weight":
            continue
        shape, other = linen.shapes[role], torch.shapes[role]
        if int(np.prod(shape)) != int(np.prod(other)):
            return []
        rest.append(_reshaped(torch.tensors[role], key, other, shape))
    if "weight" not in linen.variables:
        return [Conversion(AS_IS, tuple(rest))]
    names, keys = (torch.tensors["weight"],), (linen.variables["weight"],)
    return [
        Conversion(how, (Piece(names, keys, how, _single(to), _single(back)), *rest))
        for how, to, back in ways
    ]


_TORCH_KINDS = {
    "Linear": ("dense", "conv", "value"),
    "NonDynamicallyQuantizableLinear": ("dense", "value"),
    "Conv1D": ("dense", "value"),
    "Embedding": ("embed", "value"),
    "Conv1d": ("conv", "dense", "value"),
    "Conv2d": ("conv", "dense", "value"),
    "Conv3d": ("conv", "dense", "value"),
    "ConvTranspose1d": ("conv_transpose", "value"),
    "ConvTranspose2d": ("conv_transpose", "value"),
    "ConvTranspose3d": ("conv_transpose", "value"),
}


def _may_be(kind: str, torch_kind: str) -> bool:
    return kind in _TORCH_KINDS.get(torch_kind, (kind,))


Way = tuple[str, Shape, Callable[[Array], Array], Callable[[Array], Array]]


def _dense_ways(linen: LinenUnit, torch: TorchUnit) -> list[Way]:
    shape = linen.shapes.get("weight", ())
    n_in = int(np.prod(shape[: linen.inner]))
    n_out = int(np.prod(shape[linen.inner :]))
    if len(shape) <= linen.inner:
        return []
    found: list[Way] = []
    flat = len(shape) == 2
    if torch.layout != "conv1d":
        spatial = (1,) * (len(torch.shapes["weight"]) - 2)
        found.append(
            (
                TRANSPOSE if flat else "transpose, heads apart",
                (n_out, n_in, *spatial),
                lambda x: x.reshape(n_out, n_in).T.reshape(shape),
                lambda x: x.reshape(n_in, n_out).T.reshape(n_out, n_in, *spatial),
            )
        )
        if c := linen.channels:
            found.append(
                (
                    "transpose, flattened channels first",
                    (n_out, n_in),
                    lambda x: x.reshape(n_out, c, -1).transpose(2, 1, 0).reshape(shape),
                    lambda x: (
                        x.reshape(-1, c, n_out).transpose(2, 1, 0).reshape(n_out, n_in)
                    ),
                )
            )
    if torch.layout != "linear":
        found.append(
            (
                AS_IS if flat else "reshape, heads apart",
                (n_in, n_out),
                lambda x: x.reshape(shape),
                lambda x: x.reshape(n_in, n_out),
            )
        )
    return found


def _axes_way(how: str, shape: Shape, axes: Shape, flips: Shape = ()) -> Way:
    """What brings the axes of a tensor in the order of those of a variable."""
    back = tuple(int(axis) for axis in np.argsort(axes))
    torch = [0] * len(shape)
    for to, axis in enumerate(axes):
        torch[axis] = shape[to]
    return (
        how,
        tuple(torch),
        lambda x: np.flip(x.transpose(axes), flips),
        lambda x: np.flip(x, flips).transpose(back),
    )


def _conv_ways(linen: LinenUnit, torch: TorchUnit) -> list[Way]:
    shape = linen.shapes.get("weight", (0, 0))
    n = len(shape) - 2
    found = [_axes_way("spatial axes first", shape, (*range(2, n + 2), 1, 0))]
    if all(size == 1 for size in shape[:n]):
        found.append(
            (
                TRANSPOSE,
                shape[:-3:-1],
                lambda x: x.T.reshape(shape),
                lambda x: x.reshape(shape[-2:]).T,
            )
        )
    return found


def _conv_transpose_ways(linen: LinenUnit, torch: TorchUnit) -> list[Way]:
    shape = linen.shapes.get("weight", (0, 0))
    n = len(shape) - 2
    if getattr(linen.module, "transpose_kernel", False):
        return [_axes_way("spatial axes first", shape, (*range(2, n + 2), 1, 0))]
    how = "spatial axes first, flipped"
    return [_axes_way(how, shape, (*range(2, n + 2), 0, 1), tuple(range(n)))]


def _same_ways(linen: LinenUnit, torch: TorchUnit) -> list[Way]:
    shape = linen.shapes.get("weight", ())
    return [(AS_IS, shape, lambda x: x, lambda x: x)]


def _value_ways(linen: LinenUnit, torch: TorchUnit) -> list[Way]:
    shape, other = linen.shapes.get("weight", ()), torch.shapes.get("weight", ())
    found: list[Way] = []
    if [n for n in shape if n != 1] == [n for n in other if n != 1]:
        how = AS_IS if shape == other else "reshape"
        found.append(
            (how, other, lambda x: x.reshape(shape), lambda x: x.reshape(other))
        )
    if len(shape) == 2 and other == shape[::-1] and torch.kind != "Embedding":
        found.append((TRANSPOSE, other, lambda x: x.T, lambda x: x.T))
    return found


_MAIN: dict[str, Callable[[LinenUnit, TorchUnit], list[Way]]] = {
    "dense": _dense_ways,
    "conv": _conv_ways,
    "conv_transpose": _conv_transpose_ways,
    "embed": _same_ways,
    "norm": _same_ways,
    "value": _value_ways,
}


def _reshaped(name: str, key: Key, torch: Shape, linen: Shape) -> Piece:
    return Piece(
        (name,),
        (key,),
        AS_IS if torch == linen else "reshape",
        lambda xs: [xs[0].reshape(linen)],
        lambda xs: [xs[0].reshape(torch)],
    )


def _single(one: Callable[[Array], Array]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: [one(arrays[0])]


def _of_triple(linen: LinenUnit, torch: TorchUnit) -> list[Conversion]:
    """Of query, key and value, which are one layer here or there or in both."""
    if linen.parts and torch.parts:
        inner = [conversions(*pair) for pair in zip(linen.parts, torch.parts)]
        if not all(inner):
            return []
        pieces = tuple(piece for ways in inner for piece in ways[0].pieces)
        return [Conversion(inner[0][0].how, pieces)]
    fused, parts = (torch, linen.parts) if linen.parts else (linen, torch.parts)
    sizes = [part.shapes.get("weight", ()) for part in parts]
    if not parts or not fused.shapes or set(fused.shapes) != set(parts[0].shapes):
        return []
    if linen.parts:
        return _fused_in_torch(linen, torch, sizes)
    return _fused_in_linen(linen, torch)


def _fused_in_torch(
    linen: LinenUnit, torch: TorchUnit, sizes: list[Shape]
) -> list[Conversion]:
    if len(set(sizes)) != 1 or any(part.inner != 1 for part in linen.parts):
        return []
    shape, n_in = sizes[0], sizes[0][0]
    n = int(np.prod(shape[1:]))
    # The axis of the tensor on which the three follow each other.
    axis = 1 if torch.layout == "conv1d" else 0
    if torch.shapes["weight"] != ((n_in, 3 * n) if axis else (3 * n, n_in)):
        return []
    found = []
    orders: list[tuple[str, int]] = [("split in three", 0)]
    # Some models have the three of each head side by side.
    if "query_key_value" in torch.name and len(shape) == 3 and shape[1] > 1:
        orders.append(("split in three within each head", 1))
    for how, of_head in orders:
        heads = shape[1] if of_head else 1

        def to(xs: Arrays, axis: int = axis, heads: int = heads) -> Arrays:
            x = xs[0] if xs[0].ndim == 1 or axis == 1 else xs[0].T
            x = x.reshape(*x.shape[:-1], heads, 3, n // heads)
            return [x[..., i, :].reshape(*x.shape[:-3], *shape[1:]) for i in range(3)]

        def back(xs: Arrays, axis: int = axis, heads: int = heads) -> Arrays:
            lead = xs[0].shape[: xs[0].ndim - len(shape) + 1]
            joined = np.stack([x.reshape(*lead, heads, -1) for x in xs], -2)
            x = joined.reshape(*lead, 3 * n)
            return [x if x.ndim == 1 or axis == 1 else x.T]

        pieces = tuple(
            Piece(
                (torch.tensors[role],),
                tuple(part.variables[role] for part in linen.parts),
                how if role == "bias" or axis == 1 else f"transpose, {how}",
                to,
                back,
            )
            for role in torch.tensors
        )
        found.append(Conversion(how, pieces))
    return found


def _fused_in_linen(linen: LinenUnit, torch: TorchUnit) -> list[Conversion]:
    shape = linen.shapes["weight"]
    n_in = int(np.prod(shape[: linen.inner]))
    n = int(np.prod(shape[linen.inner :])) // 3
    if any(part.shapes["weight"] != (n, n_in) for part in torch.parts):
        return []
    if torch.layout == "conv1d" or linen.kind != "dense":
        return []
    how = "join three"

    def to(xs: Arrays) -> Arrays:
        x = np.concatenate(xs, 0)
        return [x.T.reshape(shape) if x.ndim == 2 else x.reshape(shape[linen.inner :])]

    def back(xs: Arrays) -> Arrays:
        if xs[0].ndim == len(shape):
            return np.split(xs[0].reshape(n_in, -1).T, 3)
        return np.split(xs[0].reshape(-1), 3)

    pieces = tuple(
        Piece(
            tuple(part.tensors[role] for part in torch.parts),
            (linen.variables[role],),
            how if role == "bias" else f"{how}, transpose",
            to,
            back,
        )
        for role in linen.variables
    )
    return [Conversion(how, pieces)]


# In the order in which PyTorch stacks them.
_GATES = {"lstm": "ifgo", "gru": "rzn", "rnn": ("",)}


def _of_cell(linen: LinenUnit, torch: TorchUnit) -> list[Conversion]:
    gates = _GATES[linen.kind]
    names = [(f"i{gate}", f"h{gate}") for gate in gates]
    kernel = linen.shapes[f"{names[0][0]}/kernel"]
    if len(kernel) != 2:
        return []
    n_in, features = kernel
    wanted = {
        "weight_ih": (len(gates) * features, n_in),
        "weight_hh": (len(gates) * features, features),
    }
    if torch.shapes.get("bias_ih") is not None:
        wanted |= {role: (len(gates) * features,) for role in ("bias_ih", "bias_hh")}
    if torch.shapes != wanted:
        return []
    split = f"transpose, {len(gates)} gates apart" if gates[0] else TRANSPOSE

    def apart(xs: Arrays) -> Arrays:
        return [part.T for part in np.split(xs[0], len(gates))]

    def together(xs: Arrays) -> Arrays:
        return [np.concatenate([x.T for x in xs])]

    pieces = [
        Piece(
            (torch.tensors[f"weight_{side}h"],),
            tuple(linen.variables[f"{name[side == 'h']}/kernel"] for name in names),
            split,
            apart,
            together,
        )
        for side in "ih"
    ]
    biases = [
        linen.variables[f"{name}/bias"]
        for pair in names
        for name in pair
        if f"{name}/bias" in linen.variables
    ]
    if "bias_ih" not in wanted:
        zeros = tuple(np.zeros(features, np.float32) for _ in biases)
        how = "zeros: PyTorch's has no bias"
        pieces.append(Piece((), tuple(biases), how, lambda xs: zeros, _nothing))
        return [Conversion("gates apart", tuple(pieces))]
    # Of the GRU's last gate only, both biases are apart here, too.
    own = linen.kind == "gru"
    side = 0 if linen.kind == "gru" or linen.kind == "rnn" else 1

    def sums(xs: Arrays) -> Arrays:
        ih, hh = (np.split(x, len(gates)) for x in xs)
        if own:
            return [ih[0] + hh[0], ih[1] + hh[1], ih[2], hh[2]]
        return [a + b for a, b in zip(ih, hh, strict=True)]

    def halves(xs: Arrays) -> Arrays:
        zeros = np.zeros_like(xs[0])
        if own:
            ih, hh = [xs[0], xs[1], xs[2]], [zeros, zeros, xs[3]]
        else:
            ih = list(xs) if side == 0 else [zeros] * len(gates)
            hh = list(xs) if side == 1 else [zeros] * len(gates)
        return [np.concatenate(ih), np.concatenate(hh)]

    other = "bias_hh" if side == 0 else "bias_ih"
    how = f"sum, gates apart; back: all in one, zeros in {other}"
    if own:
        how = "sum of r and z, gates apart; back: zeros for r and z in bias_hh"
    names_of = (torch.tensors["bias_ih"], torch.tensors["bias_hh"])
    pieces.append(Piece(names_of, tuple(biases), how, sums, halves))
    return [Conversion("gates apart", tuple(pieces))]


def _nothing(arrays: Arrays) -> Arrays:
    """No tensor, of biases that are zero."""
    if any(np.any(x) for x in arrays):
        raise TorchWeightsError(
            "The PyTorch layer has no bias, and the biases of the recurrent cell are "
            "not zero any more: its outputs would change. Make it with bias=True."
        )
    return []
