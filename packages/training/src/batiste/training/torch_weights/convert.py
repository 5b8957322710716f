"""Variables of a Linen model from the weights of a PyTorch model, and back."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from batiste.core.frozen_dict import FrozenDict, freeze
from batiste.core.meta import AxisMetadata

from ..errors import TorchWeightsError, UnmatchedTorchWeightsError
from .assign import Match, assign
from .conversions import Piece, conversions
from .linen_units import (
    Key,
    LinenUnit,
    Model,
    linen_triples,
    read_model,
    spelled,
    unboxed,
)
from .names import Rule, parse_rules
from .report import Plan, TorchReport, pair_of
from .torch_units import Source, TorchUnit, as_array, fused_triples, read_source
from .unstacking import joined, unstacked
from .verify import compare

__all__ = ["from_torch", "to_torch"]

Rules = Mapping[str, str | None]


def from_torch(
    module: Any,
    source: Any,
    *inputs: Any,
    rules: Rules | None = None,
    verify: Any = False,
    torch_inputs: Callable[..., Any] | None = None,
    tolerance: float = 1e-5,
    strict: bool = True,
    rngs: Any = None,
    **kwargs: Any,
) -> tuple[Any, TorchReport]:
    """Makes the variables of a Linen model of the weights of a PyTorch model.

    Layers are matched by kind and shape, by the order in which the model runs, and by
    names. Kernels are transposed, heads and gates taken apart, biases of recurrent
    layers summed. PyTorch is only needed for `verify`.

    Args:
      module: an unbound module.
      source: a state dict, which maps names to arrays (of NumPy, or anything with
        `__array__`); a torch module; or the path of a `.safetensors` file. Files and
        other dicts in alphabetical order do not have the order of the layers.
      *inputs: example inputs of `module`; shapes suffice.
      rules: for what is not clear: patterns of names of tensors or torch modules, as
        `"h.*.attn.c_proj"`, to patterns of paths of modules or variables, as
        `"h_*/attention/out"`; with " as " behind it and a conversion as the report
        names it, where that is the question; or to None, to leave tensors out.
      verify: whether to compare outputs on random inputs with those of `source`, which
        then has to be a torch module; or the torch module to compare with.
      torch_inputs: makes the arguments for the torch module (a tuple, or a dict of
        keywords) of the arrays for `module`. By default images get their channels
        first, and integers are int64.
      tolerance: how far outputs may differ, relative to the largest or to 1.
      strict: whether everything on both sides must have a counterpart. If not, the
        report has what is missing and left over.
      rngs: PRNG keys, as for `Module.init`; by default one for every stream.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of `__call__`.

    Returns:
      The variables, in the collections `params` and `batch_stats`; and a report, which
      prints as a table of every pair.

    Raises:
      AmbiguousTorchWeightsError: two answers are possible. It says which, and the rule
        that would tell.
      UnmatchedTorchWeightsError: variables are missing, or tensors left over.
      TorchRuleError: a rule is about nothing.
      TorchOutputsDifferError: the outputs differ. It names the first layer that does.
      TorchWeightsError: the source is none, or there is nothing to verify with.
      As `Module.init`.

    >>> import batiste.linen as nn
    >>> state_dict = {"fc.weight": np.ones((2, 3), "f4"), "fc.bias": np.zeros(2, "f4")}
    >>> model, x = nn.Sequential([nn.Dense(2)]), np.ones((1, 3))
    >>> variables, report = from_torch(model, state_dict, x)
    >>> print(report)
    PyTorch           Linen                          how
    fc.weight (2, 3)  params/layers_0/kernel (3, 2)  transpose
    fc.bias (2,)      params/layers_0/bias (2,)      as it is
    """
    read, parsed = read_source(source), parse_rules(rules)
    torch_module = read.module if verify is True else verify
    if verify and not callable(getattr(torch_module, "state_dict", None)):
        raise TorchWeightsError(
            "There is nothing to verify with: pass the torch module as the source, or "
            "as `verify`."
        )
    model = read_model(module, inputs, rngs, kwargs)
    matches, report = _match(model, read, parsed, strict)
    parts: dict[Key, Any] = {}
    for piece in _pieces(matches):
        arrays = piece.to_linen([as_array(read.tensors[n]) for n in piece.tensors])
        parts.update(zip(piece.variables, arrays, strict=True))
    made = joined(parts, report.plan.slices if report.plan else {})
    variables = _nested({k: _like(model.by_key[k], x) for k, x in made.items()})
    if isinstance(model.shapes, FrozenDict):
        variables = freeze(variables)
    if verify:
        report.difference = compare(
            module,
            variables,
            inputs,
            kwargs,
            torch_module,
            None,
            [(m.linen, m.torch) for m in matches],
            model.image_rank,
            torch_inputs,
            tolerance,
        )
    return variables, report


def to_torch(
    module: Any,
    variables: Any,
    *inputs: Any,
    like: Any,
    rules: Rules | None = None,
    verify: bool = False,
    torch_inputs: Callable[..., Any] | None = None,
    tolerance: float = 1e-5,
    strict: bool = True,
    rngs: Any = None,
    **kwargs: Any,
) -> tuple[dict[str, Any], TorchReport]:
    """Makes the state dict of a PyTorch model of the variables of a Linen model.

    It undoes `from_torch`, bit for bit, except for what that sums: of the two biases of
    an LSTM's layer, and of the first two gates of a GRU's, one gets the sum and the
    other zeros. What Linen has not, such as `num_batches_tracked`, is as in `like`.

    Args:
      module: an unbound module.
      variables: its variables.
      *inputs: example inputs of `module`; shapes suffice.
      like: what has the names, shapes and dtypes of the tensors: a state dict, torch
        module or path, as for `from_torch`, whose numbers are not used; or the report
        of `from_torch`, with which nothing has to be matched again.
      rules: as for `from_torch`.
      verify: whether to compare outputs on random inputs with those of the torch module
        `like`, run with the new weights; its own stay as they are.
      torch_inputs: as for `from_torch`.
      tolerance: as for `from_torch`.
      strict: as for `from_torch`.
      rngs: PRNG keys, as for `Module.init`; by default one for every stream.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of `__call__`.

    Returns:
      The state dict, of torch tensors if `like` has such, else of NumPy arrays; and the
      report.

    Raises:
      As `from_torch`; and TorchWeightsError where `variables` lack one, or it has
      another shape.

    >>> import jax
    >>> import batiste.linen as nn
    >>> x = np.ones((1, 3))
    >>> variables = nn.Dense(2).init(jax.random.key(0), x)
    >>> like = {"fc.weight": np.ones((2, 3)), "fc.bias": np.zeros(2)}
    >>> state_dict, _ = to_torch(nn.Dense(2), variables, x, like=like)
    >>> state_dict["fc.weight"].shape
    (2, 3)
    """
    torch_module, matches, image_rank = None, [], 0
    if isinstance(like, TorchReport):
        report = dataclasses.replace(like, difference=None)
    else:
        read = read_source(like)
        torch_module = read.module
        model = read_model(module, inputs, rngs, kwargs)
        matches, report = _match(model, read, parse_rules(rules), strict)
        image_rank = model.image_rank
    if verify and torch_module is None:
        raise TorchWeightsError(
            "There is nothing to verify with: pass the torch module as `like`."
        )
    plan = report.plan
    if plan is None:
        raise TorchWeightsError("This report is not one that from_torch returned.")
    made: dict[str, Any] = {name: np.asarray(x) for name, x in plan.kept.items()}
    wanted = {k: s for pair in report.pairs for k, s in pair.variables.items()}

    @functools.cache
    def variable(key: Key, shape: tuple[int, ...]) -> Any:
        return _variable(variables, key, shape)

    def part(key: Key) -> Any:
        if of := plan.slices.get(key):
            return variable(of.key, of.shape)[of.index]
        return _variable(variables, key, wanted[spelled(key)])

    for piece in plan.pieces:
        found = [part(key) for key in piece.variables]
        for name, array in zip(piece.tensors, piece.to_torch(found), strict=True):
            made[name] = np.array(array.astype(plan.dtypes[name]), order="C")
    made |= {name: made[other].copy() for name, other in plan.ties.items()}
    state_dict = {name: made[name] for name in plan.dtypes if name in made}
    if plan.as_torch:
        state_dict = {name: _tensor(array) for name, array in state_dict.items()}
    if verify:
        report.difference = compare(
            module,
            variables,
            inputs,
            kwargs,
            torch_module,
            state_dict,
            [(m.linen, m.torch) for m in matches],
            image_rank,
            torch_inputs,
            tolerance,
        )
    return state_dict, report


def _pieces(matches: list[Match]) -> list[Piece]:
    return [piece for match in matches for piece in match.conversion.pieces]


def _match(
    model: Model, source: Source, rules: list[Rule], strict: bool
) -> tuple[list[Match], TorchReport]:
    """Finds what belongs together, and says it."""
    left_out = dict(source.left_out)
    units = []
    for unit in source.units:
        if any(rule.path is None and rule.of_torch(unit.names) for rule in rules):
            left_out |= dict.fromkeys(unit.tensors.values(), "by a rule")
        else:
            units.append(unit)

    def same(one: TorchUnit, other: TorchUnit) -> bool:
        return _tie(source, one, other) is not None

    layers, slices = unstacked(model)
    layers = _whole_where_that_is_there(layers, units)
    linen, torch = _merged(layers, units)
    matches, missing, left_over = assign(linen, torch, rules, source.in_order, same)
    ties: dict[str, str] = {}
    over: list[TorchUnit] = []
    for unit in left_over:
        tied = (_tie(source, match.torch, unit) for match in matches)
        found = next((tie for tie in tied if tie), None)
        if found is None:
            over.append(unit)
            continue
        ties |= found
        left_out |= {name: f"the same as {other}" for name, other in found.items()}
    missing_shapes = {
        spelled(key): unit.shapes[role]
        for top in missing
        for unit in (top.parts or (top,))
        for role, key in unit.variables.items()
    }
    over_shapes = {
        name: unit.shapes[role]
        for top in over
        for unit in (top.parts or (top,))
        for role, name in unit.tensors.items()
    }
    if strict and (missing_shapes or over_shapes):
        hint = _hint(missing, model.unknown)
        raise UnmatchedTorchWeightsError(missing_shapes, over_shapes, hint)
    pieces = _pieces(matches)
    shapes = {
        key: unit.shapes[role]
        for unit in layers
        for role, key in unit.variables.items()
    }
    tensors = source.tensors
    plan = Plan(
        pieces,
        {name: as_array(tensor).dtype for name, tensor in tensors.items()},
        {n: as_array(tensors[n]) for n in left_out if n not in ties},
        ties,
        any(hasattr(tensor, "detach") for tensor in tensors.values()),
        slices,
    )
    pairs = [
        pair_of(piece, tensors, shapes, _cast(piece, plan, model)) for piece in pieces
    ]
    report = TorchReport(pairs, left_out, missing_shapes, over_shapes, plan=plan)
    return matches, report


def _hint(missing: list[LinenUnit], unknown: str) -> str:
    """What to do about layers that a transform stacks."""
    for unit in missing:
        if unit.kind == "mixed":
            return (
                f'Of the variables of "{unit.path}", a transform stacks some, and its '
                f"layers share the others, so that none of them is a layer of PyTorch: "
                f"put all of its collections into variable_axes."
            )
        if unit.stacked:
            return (
                f'The variables of "{unit.path}" have an axis more than its layer, as '
                f"nn.scan and nn.vmap give them. Which axis that is, a call with "
                f"variables would tell, which failed ({unknown or 'it has others'}): "
                f"convert to a model that has these layers in a loop, and stack the "
                f"variables."
            )
        if unit.whole is not None:
            return (
                f'"{unit.whole.path}" is stacked: make it of as many layers as the '
                f"state dict has."
            )
    return ""


def _cast(piece: Piece, plan: Plan, model: Model) -> str:
    """What is said where numbers change their type."""
    if not piece.tensors:
        return ""
    key = piece.variables[0]
    whole = plan.slices[key].key if key in plan.slices else key
    one, other = plan.dtypes[piece.tensors[0]], unboxed(model.by_key[whole]).dtype
    return "" if one == other else f", {one} to {other}"


def _tie(source: Source, one: TorchUnit, other: TorchUnit) -> dict[str, str] | None:
    """The names of a layer's tensors with those of the same numbers in another."""
    if one.shapes != other.shapes or not one.tensors:
        return None
    for role, name in other.tensors.items():
        a, b = source.tensors[one.tensors[role]], source.tensors[name]
        if not np.array_equal(as_array(a), as_array(b)):
            return None
    return {name: one.tensors[role] for role, name in other.tensors.items()}


def _whole_where_that_is_there(
    layers: list[LinenUnit], units: list[TorchUnit]
) -> list[LinenUnit]:
    """Leaves parameters stacked where PyTorch has one tensor of them, too."""
    one_of = {id(layer.whole): layer for layer in layers if layer.whole}
    kept = {
        number
        for number, layer in one_of.items()
        if layer.whole
        and layer.kind == "value"
        and not any(conversions(layer, unit) for unit in units)
        and any(conversions(layer.whole, unit) for unit in units)
    }
    found = [
        layer.whole if layer.whole and id(layer.whole) in kept else layer
        for layer in layers
    ]
    return list({id(layer): layer for layer in found}.values())


def _merged(
    linen: list[LinenUnit], torch: list[TorchUnit]
) -> tuple[list[LinenUnit], list[TorchUnit]]:
    """Joins query, key and value where the other side has them in one."""
    ways: dict[Any, bool] = {}

    def fits(one: LinenUnit, other: TorchUnit) -> bool:
        key = one.signature, other.signature
        if key not in ways:
            ways[key] = bool(conversions(one, other))
        return ways[key]

    triples = linen_triples(linen)
    fused = [
        unit
        for unit in torch
        if any(fits(triple, unit) for triple in triples)
        and (unit.name.endswith("in_proj") or not any(fits(l, unit) for l in linen))
    ]
    linen = _joined(linen, [t for t in triples if any(fits(t, u) for u in fused)])
    others = fused_triples(torch)
    joint = [
        unit
        for unit in linen
        if any(fits(unit, triple) for triple in others)
        and not any(fits(unit, t) for t in torch)
    ]
    torch = _joined(torch, [t for t in others if any(fits(u, t) for u in joint)])
    return linen, torch


def _joined(units: list[Any], triples: list[Any]) -> list[Any]:
    of = {id(part): triple for triple in triples for part in triple.parts}
    found: list[Any] = []
    for unit in units:
        whole = of.get(id(unit), unit)
        if not any(whole is other for other in found[-3:]):
            found.append(whole)
    return list({id(unit): unit for unit in found}.values())


def _like(variable: Any, array: Any) -> Any:
    """The numbers with the dtype, and in the box, of a variable."""
    made = jnp.asarray(np.ascontiguousarray(array), unboxed(variable).dtype)
    made = made.reshape(unboxed(variable).shape)
    return variable.replace_boxed(made) if isinstance(variable, AxisMetadata) else made


def _nested(made: dict[Key, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, array in made.items():
        inner = tree
        for step in key[:-1]:
            inner = inner.setdefault(step, {})
        inner[key[-1]] = array
    return tree


def _variable(variables: Any, key: Key, shape: tuple[int, ...]) -> Any:
    found = variables
    for step in key:
        if not isinstance(found, Mapping) or step not in found:
            raise TorchWeightsError(
                f'The variables have nothing at "{spelled(key)}". Pass all of the '
                f"model's, with their collections, as `init` returns them."
            )
        found = found[step]
    array = np.asarray(unboxed(found))
    if array.shape != shape:
        raise TorchWeightsError(
            f'The variable "{spelled(key)}" has the shape {array.shape}, and the model '
            f"makes {shape} of it. Pass the variables of this model."
        )
    return array


def _tensor(array: np.ndarray[Any, Any]) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    if array.dtype == jnp.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
