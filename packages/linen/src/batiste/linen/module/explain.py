"""Which field, argument or parameter made a layer fail, in the words of the layer."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import jax
import numpy as np

from batiste.core.arguments import (
    is_explainable,
    with_default,
    wrong_argument,
    wrong_variable,
)
from batiste.core.errors import InvalidArgumentError, short_repr
from batiste.core.rules import (
    ARRAY,
    CALLABLE,
    INEXACT_DTYPE,
    INTEGERS,
    NUMBER,
    PROBABILITY,
    SIZE,
    SIZES,
    Rule,
    is_size,
)
from batiste.core.types import Function

from ..errors import TransformTargetError
from .state import ModuleBase
from .text import located

__all__ = ["explained_failure"]

# `batiste.linen`, under whatever name it was imported.
_LIBRARY: Final = __name__.removesuffix(".module.explain")


# How `located` begins a message, or a functional layer.
_LOCATED: Final = re.compile(r"[A-Z]\w*( '[^']*')?: |\w+ in \"[^\"]*\"")


def _strings(value: Any) -> bool:
    return (
        isinstance(value, Iterable)
        and not isinstance(value, str)
        and all(isinstance(item, str) for item in value)
    )


def _why_no_maker(value: Any) -> str:
    if not callable(value):
        return "it cannot be called"
    try:
        made = value()
    except Exception as error:
        return f"called without arguments it raises {short_repr(error)}"
    if callable(made):
        return ""
    return f"it makes {short_repr(made)}, which cannot be called"


_MAKER = Rule(
    lambda value: not _why_no_maker(value),
    "a class, or another callable without arguments, that makes a function",
    _why_no_maker,
)


def _are_arrays(value: Any) -> bool:
    leaves = jax.tree.leaves(value)
    return bool(leaves) and all(map(ARRAY.accepts, leaves))


_SEQUENCES = Rule(_are_arrays, "an array, or a tree of arrays")
_MODULE = Rule(lambda value: isinstance(value, ModuleBase), "a module")
_STRING = Rule(lambda value: isinstance(value, str), "a string")
_CELL = Rule(
    lambda value: (
        isinstance(value, ModuleBase)
        and hasattr(value, "initialize_carry")
        and hasattr(value, "num_feature_axes")
    ),
    "a cell, such as nn.GRUCell(features), or another module that is called as "
    "cell(carry, inputs) and has initialize_carry and num_feature_axes",
)
_AXES_OF = Rule(
    lambda value: isinstance(value, Mapping),
    "a mapping from collections to axes, such as {'params': 0}",
)
_SPLITS = Rule(
    lambda value: isinstance(value, Mapping),
    "a mapping from PRNG streams to booleans, such as {'params': False}",
)
_NAME = Rule(lambda value: value is None or isinstance(value, str), "a string, or None")

# What a field or an argument of our layers may be, if it is not what one of its name
# usually may be (`batiste.core.arguments`); for all layers, and then for some.
_RULES: Final[dict[str, Rule]] = {
    "activation_fn": CALLABLE,
    "attn_weights_value_einsum_cls": _MAKER,
    "backward_rnn": _MODULE,
    "broadcast_dims": Rule(
        lambda value: not is_size(value, -(2**48)) and INTEGERS.accepts(value),
        "a sequence of integers",
    ),
    "cell": _CELL,
    "cell_size": SIZES,
    "collection_name": _STRING,
    "conv_general_dilated": CALLABLE,
    "conv_general_dilated_cls": _MAKER,
    "dot_general": CALLABLE,
    "dot_general_cls": _MAKER,
    "dtype": INEXACT_DTYPE,
    "einsum_str": Rule(
        lambda value: isinstance(value, str), "a string such as 'ab,bc->ac'"
    ),
    "feature_axes": INTEGERS,
    "forward_rnn": _MODULE,
    "gate_fn": CALLABLE,
    "inputs_k": ARRAY,
    "inputs_v": ARRAY,
    "layer_instance": _MODULE,
    "merge_fn": CALLABLE,
    "n_steps": SIZE,
    "name": _NAME,
    "negative_slope_init": NUMBER,
    "out_dot_general": CALLABLE,
    "out_dot_general_cls": _MAKER,
    "preferred_element_type": INEXACT_DTYPE,
    "promote_dtype": CALLABLE,
    "qk_attn_weights_einsum_cls": _MAKER,
    "qkv_dot_general": CALLABLE,
    "qkv_dot_general_cls": _MAKER,
    "reduction_axes": INTEGERS,
    "rng_collection": _STRING,
    "shape": Rule(
        lambda value: not isinstance(value, (int, np.integer)) and SIZES.accepts(value),
        "a sequence of positive integers",
    ),
    "split_rngs": _SPLITS,
    "unroll": SIZE,
    "variable_axes": _AXES_OF,
    "variable_filter": Rule(_strings, "None, or an iterable of strings"),
}
_RULES_OF: Final[dict[tuple[str, str], Rule]] = {
    ("DenseGeneral", "features"): SIZES,
    ("RNN", "inputs"): _SEQUENCES,
    ("Bidirectional", "inputs"): _SEQUENCES,
    ("Dropout", "rate"): PROBABILITY,
}


def explained_failure(
    module: Any,
    function: Function,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    error: BaseException,
) -> Exception | None:
    """Looks for what made a method of a module fail.

    Args:
      module: the module.
      function: its method.
      args: what the method was called with, the module included.
      kwargs: the same, by keyword.
      error: what it raised.

    Returns:
      An error that names a field of one of our layers, an argument or a parameter that
      cannot be used; or None if there is no such thing, and `error` is to go on.

    >>> import batiste.linen as nn
    >>> layer = nn.Dense(-1)
    >>> print(explained_failure(layer, nn.Dense.__call__, (layer,), {}, TypeError()))
    Dense: features=-1 (of type int) cannot be used; it must be a positive integer.
    """
    if not is_explainable(error) and not isinstance(error, TransformTargetError):
        return None
    where = type(module).__name__ if module.scope is None else located(module)
    cls = type(module)
    arguments = _own_fields(module)
    found = None
    if arguments:
        found = wrong_argument(where, arguments, _rules_of(cls, arguments), error)
    called = {}
    if found is None and _is_ours(function):
        called = _bound(function, args, kwargs)
    if found is not None and _is_zero(arguments.get(found.argument or "")):
        # Arrays of size 0 have their uses: it is not at fault if anything else is.
        called = _bound(function, args, kwargs) if _is_ours(function) else {}
        found = wrong_argument(where, called, _rules_of(cls, called), error) or found
    if isinstance(error, InvalidArgumentError):
        if found is None:
            found = wrong_argument(where, called, _rules_of(cls, called), error)
        # What one of our own layers says of itself is more exact, if it is of the same
        # field.
        if found is not None and _is_said_of(error, where, found):
            return None
        if found is None and error.where is None and not _LOCATED.match(str(error)):
            return InvalidArgumentError(
                f"{where}: {error}", where=where, argument=error.argument
            )
        return found
    if found is None and module.scope is not None:
        found = wrong_variable(where, module.scope.collections())
    if found is None:
        found = wrong_argument(where, called, _rules_of(cls, called), error)
    if found is None and called:
        values = {name: value for name, (value, _) in called.items()}
        try:
            problem = _wrong_shape(module, values)
        except Exception:  # what it asks of the layer cannot be said
            problem = None
        if problem is not None:
            found = InvalidArgumentError(f"{where}: {problem}", where=where)
    return found


def _wrong_shape(module: Any, values: Mapping[str, Any]) -> str | None:
    """Says which argument of a call has not the shape that its layer needs."""
    names = {cls.__name__ for cls in type(module).__mro__ if _is_ours(cls)}
    if "carry" in values and hasattr(module, "initialize_carry"):
        shape = np.shape(values["inputs"])
        return _wrong_carry("carry", values["carry"], module, shape)
    if "RNN" in names and values.get("initial_carry") is not None:
        time_major = values.get("time_major")
        time_major = module.time_major if time_major is None else time_major
        shape = np.shape(jax.tree.leaves(values["inputs"])[0])
        axis = 0 if time_major else len(shape) - 1 - module.cell.num_feature_axes
        shape = (*shape[:axis], *shape[axis + 1 :])
        carry = values["initial_carry"]
        return _wrong_carry("initial_carry", carry, module.cell, shape)
    if "Embed" in names and "query" in values:
        shape = np.shape(values["query"])
        if shape[-1:] != (module.features,):
            return (
                f"query of shape {shape} cannot be used; attend needs a query of shape "
                f"(..., {module.features}), as long as the rows of the table."
            )
    if "MultiHeadDotProductAttention" in names:
        return _wrong_attention(module, values)
    if "Einsum" in names:
        equation = values.get("einsum_str") or module.einsum_str
        return (
            f"einsum_str={equation!r} cannot be used with an input of shape "
            f"{np.shape(values['inputs'])} and a kernel of shape "
            f"{tuple(module.shape)}; it must have a letter for each axis of the two, "
            "and the same size for the same letter."
        )
    return None


def _wrong_carry(
    name: str, carry: Any, cell: Any, shape: tuple[int, ...]
) -> str | None:
    key = jax.random.key(0)
    wanted = jax.eval_shape(lambda key: cell.initialize_carry(key, shape), key)
    found = jax.tree.map(np.shape, carry)
    expected = jax.tree.map(np.shape, wanted)
    if found == expected and all(map(ARRAY.accepts, jax.tree.leaves(carry))):
        return None
    return (
        f"{name}={short_repr(carry)} (of type {type(carry).__name__}) cannot be used "
        f"with an input of shape {shape}; {type(cell).__name__} needs one with arrays "
        f"of the shapes {expected}, as its initialize_carry makes it."
    )


def _wrong_attention(module: Any, values: Mapping[str, Any]) -> str | None:
    query = np.shape(values["inputs_q"])
    if len(query) < 2:
        return (
            f"inputs_q of shape {query} cannot be used; attention needs an array of "
            "shape (*batch, length, features)."
        )
    keys = query
    for name in ("inputs_kv", "inputs_k"):
        if values.get(name) is not None:
            keys = np.shape(values[name])
    mask = values.get("mask")
    wanted = (*query[:-2], module.num_heads, query[-2], keys[-2])
    if mask is None:
        return None
    try:
        fits = np.broadcast_shapes(np.shape(mask), wanted) == wanted
    except ValueError:
        fits = False
    if fits:
        return None
    return (
        f"a mask of shape {np.shape(mask)} cannot be used; it must broadcast to "
        f"(*batch, heads, q_length, kv_length), which is {wanted}."
    )


def _is_zero(argument: tuple[Any, Any] | None) -> bool:
    return argument is not None and is_size(argument[0], 0, 0)


def _is_said_of(
    error: InvalidArgumentError, where: str, found: InvalidArgumentError
) -> bool:
    text = str(error)
    return text.startswith(f"{where}:") and (
        error.argument == found.argument or f"{found.argument}=" in text
    )


def _is_ours(what: Any) -> bool:
    name = getattr(what, "__module__", None) or ""
    return name.startswith(f"{_LIBRARY}.")


def _own_fields(module: Any) -> dict[str, tuple[Any, Any]]:
    """The fields that a class of ours declares, with their values and defaults."""
    ours = {
        name
        for cls in type(module).__mro__
        if _is_ours(cls)
        for name in cls.__dict__.get("__annotations__", ())
    }
    return {
        field.name: with_default(
            getattr(module, field.name, None), field.default, field.type
        )
        for field in dataclasses.fields(module)
        if field.name in ours and field.init
    }


def _rules_of(cls: type, names: Iterable[str]) -> dict[str, Rule]:
    rules = {}
    for name in names:
        for base in cls.__mro__:
            if (base.__name__, name) in _RULES_OF:
                rules[name] = _RULES_OF[base.__name__, name]
                break
        else:
            if name in _RULES:
                rules[name] = _RULES[name]
    return rules


def _bound(
    function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    try:
        signature = inspect.signature(function)
        bound = signature.bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {}
    return {
        name: with_default(
            value,
            signature.parameters[name].default,
            signature.parameters[name].annotation,
        )
        for name, value in list(bound.arguments.items())[1:]
    }
