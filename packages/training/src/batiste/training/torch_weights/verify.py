"""Compares what a Linen model and a PyTorch model compute, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from ..errors import TorchOutputsDifferError
from .linen_units import LinenUnit
from .torch_units import TorchUnit, as_array

__all__ = ["compare"]

Calls = dict[str, list[tuple[Any, Any]]]  # What goes in and comes out, by layer.


def compare(
    module: Any,
    variables: Any,
    inputs: tuple[Any, ...],
    kwargs: dict[str, Any],
    torch_module: Any,
    state_dict: dict[str, Any] | None,
    layers: Sequence[tuple[LinenUnit, TorchUnit]],
    image_rank: int,
    torch_inputs: Callable[..., Any] | None,
    tolerance: float,
) -> float:
    """Runs both on the same random inputs.

    Args:
      module: the unbound module.
      variables: its variables.
      inputs: example inputs.
      kwargs: keyword arguments of `__call__`.
      torch_module: the torch module; it is as it was afterwards.
      state_dict: weights to run it with; None for its own.
      layers: which layers belong together, in the order in which they run.
      image_rank: the rank of inputs whose channels come first in PyTorch, or 0.
      torch_inputs: makes the torch module's arguments of the arrays.
      tolerance: how far outputs may differ, relative to the largest or to 1.

    Returns:
      The largest difference of the outputs.

    Raises:
      TorchOutputsDifferError: they differ more. It names the first layer that does.
    """
    arrays = _random(inputs, layers)
    ours, our_calls = _run_linen(module, variables, arrays, kwargs)
    theirs, their_calls = _run_torch(
        torch_module, state_dict, arrays, torch_inputs, image_rank
    )
    pairs = list(zip(jax.tree.leaves(ours), _tensors(theirs), strict=False))
    if not pairs:
        raise TorchOutputsDifferError("There are no outputs to compare.", "", np.inf)
    largest = max(_difference(a, b) for a, b in pairs)
    if all(_close(a, b, tolerance) for a, b in pairs):
        return largest
    if any(linen.whole for linen, _ in layers):
        # Without compilation, layers that are scanned are called one by one.
        with jax.disable_jit():
            _, our_calls = _run_linen(module, variables, arrays, kwargs)
    before = ""
    seen: dict[str, int] = {}
    for linen, torch in layers:
        path = linen.whole.path if linen.whole else linen.path
        number = seen[path] = seen.get(path, -1) + 1
        ours_here = our_calls.get(path, [])[number : number + 1]
        if not ours_here or torch.name not in their_calls:
            continue
        (x, y), (u, v) = ours_here[0], their_calls[torch.name][0]
        if _close(y, v, tolerance):
            before = linen.path
            continue
        text = (
            f"Outputs differ by {largest:.1e}. The first layer that differs is "
            f'"{linen.path}" ("{torch.name}" in PyTorch), by {_difference(y, v):.1e}.'
        )
        if x is not None and u is not None and _close(x, u, tolerance):
            text += f" What goes into it agrees{_settings(linen, torch, torch_module)}."
        else:
            where = f'between "{before}" and it' if before else "before it"
            text += f" What goes into it differs already: look at what is {where}."
        raise TorchOutputsDifferError(text, linen.path, _difference(y, v))
    text = "no layer can be compared, as within nn.vmap"
    if before:
        text = (
            f"all layers that can be compared agree: look at what comes after "
            f'"{before}"'
        )
    raise TorchOutputsDifferError(
        f"Outputs differ by {largest:.1e}, and {text}.", "", largest
    )


def _random(
    inputs: tuple[Any, ...], layers: Sequence[tuple[LinenUnit, TorchUnit]]
) -> list[Any]:
    """Random arrays like the example inputs; what are no numbers, as they are."""
    rng = np.random.default_rng(0)
    rows = [u.shapes["weight"][0] for u, _ in layers if u.kind == "embed"]

    def draw(x: Any) -> Any:
        if not hasattr(x, "shape") or not hasattr(x, "dtype"):
            return x
        if jax.numpy.issubdtype(x.dtype, np.floating):
            return rng.standard_normal(x.shape).astype(x.dtype)
        if not jax.numpy.issubdtype(x.dtype, np.integer):
            return np.zeros(x.shape, x.dtype) if _is_shape(x) else np.asarray(x)
        low, high = 0, min(rows, default=2)
        if not _is_shape(x) and x.size and np.max(x) > 0:
            # Of the examples, which are known to be allowed.
            low, high = int(np.min(x)), int(np.max(x)) + 1
        return rng.integers(low, high, x.shape).astype(x.dtype)

    return [jax.tree.map(draw, x) for x in inputs]


def _is_shape(x: Any) -> bool:
    return isinstance(x, jax.ShapeDtypeStruct)


def _run_linen(
    module: Any, variables: Any, arrays: list[Any], kwargs: dict[str, Any]
) -> tuple[Any, Calls]:
    import batiste.linen as nn

    calls: Calls = {}

    def note(next_fun: Any, args: Any, kwargs: Any, info: Any) -> Any:
        outputs = next_fun(*args, **kwargs)
        path = "/".join(info.module.path)
        first = next((a for a in args if hasattr(a, "shape")), None)
        if hasattr(outputs, "shape") and not _is_traced(first, outputs):
            calls.setdefault(path, []).append((first, outputs))
        return outputs

    with nn.intercept_methods(note):
        outputs = module.apply(variables, *arrays, **kwargs)
    return outputs, calls


def _is_traced(*values: Any) -> bool:
    return any(isinstance(value, Tracer) for value in values)


def _run_torch(
    module: Any,
    state_dict: dict[str, Any] | None,
    arrays: list[Any],
    torch_inputs: Callable[..., Any] | None,
    image_rank: int,
) -> tuple[Any, Calls]:
    import torch  # pyright: ignore[reportMissingImports]

    calls: Calls = {}

    def note(name: str) -> Any:
        def hook(layer: Any, args: Any, outputs: Any) -> None:
            first = next((as_array(a) for a in args if torch.is_tensor(a)), None)
            if torch.is_tensor(outputs):
                calls.setdefault(name, []).append((first, as_array(outputs)))

        return hook

    if torch_inputs is None:
        given: Any = tuple(_channels_first(x, image_rank) for x in arrays)
    else:
        given = torch_inputs(*arrays)
    args, kwargs = ((), given) if isinstance(given, dict) else (given, {})
    args = tuple(_as_tensor(x) for x in (args if isinstance(args, tuple) else (args,)))
    kwargs = {name: _as_tensor(x) for name, x in kwargs.items()}
    training = {layer: layer.training for layer in module.modules()}
    hooks = [
        layer.register_forward_hook(note(name))
        for name, layer in module.named_modules()
    ]
    try:
        module.eval()
        with torch.no_grad():
            if state_dict is None:
                return module(*args, **kwargs), calls
            # All names are given, also those of tensors that are others once more.
            call, given = torch.func.functional_call, (state_dict, args, kwargs)
            return call(module, *given, tie_weights=False), calls
    finally:
        for hook in hooks:
            hook.remove()
        for layer, before in training.items():
            layer.training = before


def _channels_first(x: Any, image_rank: int) -> Any:
    if image_rank and getattr(x, "ndim", 0) == image_rank and x.dtype.kind == "f":
        return np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return x


def _as_tensor(x: Any) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    if not hasattr(x, "__array__") or torch.is_tensor(x):
        return x
    x = np.asarray(x)
    return torch.from_numpy(x.astype(np.int64) if x.dtype.kind in "iu" else x)


def _tensors(outputs: Any) -> list[Any]:
    """The tensors in what a torch module returns."""
    if hasattr(outputs, "detach"):
        return [as_array(outputs)]
    if isinstance(outputs, dict):
        outputs = tuple(outputs.values())
    if isinstance(outputs, tuple | list):
        return [tensor for each in outputs for tensor in _tensors(each)]
    return []


def _difference(ours: Any, theirs: Any) -> float:
    """The largest difference, with axes as they are or channels last."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if a.size != b.size:
        return float("inf")
    found = [b.reshape(a.shape)]
    if b.ndim > 2:
        found.append(np.moveaxis(b, 1, -1).reshape(a.shape))
    if not a.size:
        return 0.0
    return float(min(np.max(np.abs(a - each)) for each in found))


def _close(ours: Any, theirs: Any, tolerance: float) -> bool:
    largest = max(1.0, float(np.max(np.abs(theirs), initial=0.0)))
    return _difference(ours, theirs) <= tolerance * largest


def _settings(linen: LinenUnit, torch: TorchUnit, torch_module: Any) -> str:
    """What may be the reason, where it is the layer itself."""
    layer = dict(torch_module.named_modules()).get(torch.name)
    ours = getattr(linen.module, "epsilon", None)
    theirs = getattr(layer, "eps", getattr(layer, "variance_epsilon", None))
    if ours is not None and theirs is not None and ours != theirs:
        return f": its epsilon is {ours:g} here and {theirs:g} there"
    return f", so it is the layer itself: compare its settings with those of {layer}"
