"""The function that is exported: a model's call, of plain trees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax import export as jax_export
from jax import numpy as jnp
from jax.core import Tracer

from batiste.core.errors import quoted, short_repr
from batiste.core.types import Tree

from ..errors import ExportError
from ..orbax_utils import is_multiprocess_array
from .inputs import (
    Inputs,
    Shapes,
    argument_names,
    first_line,
    is_array,
    open_sizes,
    split_inputs,
)
from .trees import leaf_paths, plain, rebuilder

__all__ = [
    "CALLBACKS",
    "Program",
    "make_program",
    "trace",
]

# What a message says where they may be the reason.
CALLBACKS: Final = (
    "What calls back into Python has no place in a file: leave out `jax.debug.print`, "
    "`pure_callback` and `io_callback`."
)
# What JAX's documentation calls the platforms of an export.
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


class Program(NamedTuple):
    """A model's call as a function of plain trees.

    Attributes:
      name: of the model.
      function: takes the weights as a list, then the inputs.
      weights: arrays; those that are keys of random numbers as their data.
      keys: the implementations of those, by their number.
      variables: the plain tree of the weights' numbers.
      example: the inputs, with the sizes that they were given with.
      inputs: the inputs, with open sizes.
    """

    name: str
    function: Callable[..., Tree]
    weights: list[Any]
    keys: dict[int, str]
    variables: Tree
    example: Inputs
    inputs: Inputs

    def plain_inputs(self) -> tuple[tuple[Tree, ...], dict[str, Tree]]:
        """Returns the inputs, positional and by keyword, as plain trees.

        >>> import jax.numpy as jnp
        >>> program = make_program(lambda w, x: w + x, jnp.ones(2), (jnp.ones(2),), {})
        >>> program.plain_inputs()
        ((ShapeDtypeStruct(shape=(batch,), dtype=float32),), {})
        """
        positional = tuple(plain(tree) for tree in self.inputs.positional)
        return positional, {n: plain(t) for n, t in self.inputs.keyword.items()}

    def specs(self) -> list[jax.ShapeDtypeStruct]:
        """Returns the shapes and dtypes of the weights.

        >>> import jax.numpy as jnp
        >>> make_program(lambda w, x: w + x, jnp.ones(2), (jnp.ones(2),), {}).specs()
        [ShapeDtypeStruct(shape=(2,), dtype=float32)]
        """
        return [
            jax.ShapeDtypeStruct(
                w.shape, w.dtype, weak_type=getattr(w, "weak_type", False)
            )
            for w in self.weights
        ]


def make_program(
    model: Any,
    variables: Tree,
    args: Sequence[Tree],
    kwargs: Mapping[str, Tree],
    *,
    rngs: Tree = None,
    method: Callable[..., Any] | str | None = None,
    mutable: Any = False,
    shapes: Shapes = "batch, ...",
) -> Program:
    """Makes a function of plain trees of a model's call.

    Args:
      model: a module, whose `apply` is called; or a function of variables and inputs.
      variables: what it is applied to.
      args: positional arguments of the call.
      kwargs: its arguments by keyword.
      rngs: a key or keys of random numbers, which are an input like others.
      method: as for `apply`.
      mutable: as for `apply`.
      shapes: see `open_sizes`.

    Raises:
      ExportError: a variable has no value here, or an argument is neither an input nor
        fixed.

    >>> import jax.numpy as jnp
    >>> program = make_program(lambda w, x: w + x, jnp.ones(2), (jnp.ones(2),), {})
    >>> program.function(program.weights, 2.0).tolist()
    [3.0, 3.0]
    """
    call = model.apply if hasattr(model, "apply") else model
    options = {"method": method, "mutable": mutable}
    options = {k: v for k, v in options.items() if v is not None and v is not False}
    if not callable(call) or not hasattr(model, "apply") and options:
        raise ExportError(
            f"The model is {short_repr(model)}. It must be a module, or a function of "
            "variables and inputs (without `method` and `mutable`, which are "
            "arguments of `Module.apply`)."
        )
    names = argument_names(model, method, len(args))
    given = {**kwargs, **({} if rngs is None else {"rngs": rngs})}
    example = split_inputs(names, args, given)
    weights, keys, wrap = _weights(variables)
    positional = [rebuilder(tree) for tree in example.positional]
    keyword = {name: rebuilder(tree) for name, tree in example.keyword.items()}
    whole = functools.partial(call, **options, **example.fixed)

    def function(weights: Sequence[Any], *args: Tree, **kwargs: Tree) -> Tree:
        args = tuple(rebuild(arg) for rebuild, arg in zip(positional, args))
        kwargs = {name: keyword[name](arg) for name, arg in kwargs.items()}
        return plain(whole(wrap(weights), *args, **kwargs))

    numbers = jax.tree.structure(variables).unflatten(range(len(weights)))
    name = type(model).__name__ if hasattr(model, "apply") else _name(model)
    function.__name__ = name  # which the program has, too
    opened = open_sizes(example, shapes)
    return Program(name, function, weights, keys, plain(numbers), example, opened)


def _name(function: Any) -> str:
    owner = getattr(function, "__self__", None)
    if owner is not None:
        return type(owner).__name__
    return getattr(function, "__name__", type(function).__name__)


def _weights(
    variables: Tree,
) -> tuple[list[Any], dict[int, str], Callable[[Sequence[Any]], Tree]]:
    """The leaves of variables, the keys among them, and the way back."""
    structure = jax.tree.structure(variables)
    weights, keys = [], {}
    for number, (path, leaf) in enumerate(leaf_paths(variables)):
        if isinstance(leaf, Tracer):
            why = "is traced: export outside of functions that JAX transforms"
        elif isinstance(leaf, jax.ShapeDtypeStruct):
            why = "has no value: give the variables themselves, not their shapes"
        elif not is_array(leaf):
            why = "is no array: make it one, with its dtype (np.float32(...))"
        elif is_multiprocess_array(leaf):
            why = "is split over several processes: gather it first"
        else:
            if isinstance(leaf, jax.Array) and jnp.issubdtype(
                leaf.dtype, jax.dtypes.prng_key
            ):
                keys[number] = str(jax.random.key_impl(leaf))
                leaf = jax.random.key_data(leaf)
            if not isinstance(leaf, jax.Array):
                leaf = np.asarray(leaf, jax.eval_shape(jnp.asarray, leaf).dtype)
            weights.append(leaf)
            continue
        raise ExportError(f'The variable "{path}", {short_repr(leaf)}, {why}.')

    def wrap(weights: Sequence[Any]) -> Tree:
        leaves = list(weights)
        for number, impl in keys.items():
            leaves[number] = jax.random.wrap_key_data(leaves[number], impl=impl)
        return structure.unflatten(leaves)

    return weights, keys, wrap


def trace(
    program: Program,
    platforms: Sequence[str] | str | None = None,
    disabled_checks: Sequence[jax_export.DisabledSafetyCheck] = (),
) -> jax_export.Exported:
    """Exports a function with JAX.

    Args:
      program: the function with its inputs.
      platforms: what it is to run on; None for what JAX runs on here.
      disabled_checks: as for `jax.export.export`.

    Raises:
      ExportError: JAX cannot export it, or a platform is none. What the model raises
        with the sizes of the example is raised as it is.

    >>> import jax.numpy as jnp
    >>> program = make_program(lambda w, x: w + x, jnp.ones(2), (jnp.ones((3, 2)),), {})
    >>> trace(program, ['cpu']).out_avals
    (ShapedArray(float32[batch,2]),)
    """
    if isinstance(platforms, str):
        platforms = (platforms,)
    known = [*_PLATFORMS, jax_export.default_export_platform()]
    unknown = [p for p in platforms or () if p not in known]
    if unknown:
        raise ExportError(
            f"There is no platform {quoted(unknown)}; JAX has {quoted(_PLATFORMS)} "
            '("cuda" and "rocm" for what it otherwise calls "gpu").'
        )
    exporting = jax_export.export(
        jax.jit(program.function),
        platforms=platforms,
        disabled_checks=disabled_checks,
    )
    specs = program.specs()
    positional, keyword = program.plain_inputs()
    try:
        return exporting(specs, *positional, **keyword)
    except Exception as error:  # of JAX or the model, of whatever type
        failed = error
    positional, keyword = program._replace(inputs=program.example).plain_inputs()
    jax.eval_shape(program.function, specs, *positional, **keyword)
    hint = f" {CALLBACKS}"
    if program.example != program.inputs:
        hint = (
            " With the sizes of the example the model runs. A size that was left open "
            "may be in the way: the model has to take it from the shape (`x.shape[0]`, "
            "not `len(x)`) and not to decide by it. Pass `shapes=None` for a program "
            "of the example's sizes only."
        )
    raise ExportError(
        f"JAX cannot export {program.name}: {type(failed).__name__}: "
        f"{first_line(failed)}.{hint}"
    ) from failed
