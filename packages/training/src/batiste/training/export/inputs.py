"""What of a call is an input of the exported program, and with which sizes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export as jax_export
from jax import numpy as jnp

from batiste.core.errors import quoted, short_repr
from batiste.core.types import Tree

from ..errors import ExportError
from .trees import leaf_paths

__all__ = [
    "Inputs",
    "argument_names",
    "first_line",
    "is_array",
    "open_sizes",
    "split_inputs",
]

# In a container with arrays they are arrays, as they are for `jax.jit`.
_NUMBERS = (bool, int, float, complex)

Shapes = str | Mapping[str, str | None] | None


class Inputs(NamedTuple):
    """The arguments of a call: those that hold arrays, and those that are decided.

    Attributes:
      names: the names of the positional ones.
      positional: pytrees of `jax.ShapeDtypeStruct`.
      keyword: the same, by name.
      fixed: arguments by keyword that hold no array.
    """

    names: tuple[str, ...]
    positional: tuple[Tree, ...]
    keyword: dict[str, Tree]
    fixed: dict[str, Any]

    def named(self) -> Iterator[tuple[str, Tree]]:
        """Yields the inputs with their names.

        >>> list(Inputs(('x',), (1,), {'mask': 2}, {}).named())
        [('x', 1), ('mask', 2)]
        """
        yield from zip(self.names, self.positional)
        yield from self.keyword.items()


def first_line(error: BaseException) -> str:
    r"""Returns what an error says first, without the end of the sentence.

    >>> first_line(ValueError('no.\nsee elsewhere'))
    'no'
    """
    return str(error).partition("\n")[0].rstrip(".")


def is_array(leaf: object) -> bool:
    """Tells whether a leaf is an array or describes one.

    >>> import numpy as np
    >>> is_array(np.zeros(2)), is_array(2.0), is_array(np.array(['text']))
    (True, False, False)
    """
    if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
        return True
    return isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype.kind not in "OSUMm"


def argument_names(
    model: Any, method: Callable[..., Any] | str | None, count: int
) -> tuple[str, ...]:
    """Returns the names of the first positional arguments of a model's call.

    Args:
      model: a module, or a function whose first argument are variables.
      method: the method of the module, None for `__call__`.
      count: how many names.

    Returns:
      The names; `arg_0` and so on where there are none.

    >>> argument_names(lambda variables, x, *rest: x, None, 3)
    ('x', 'rest_0', 'rest_1')
    """
    function: Any = method
    if not hasattr(model, "apply"):
        function = model
    elif not callable(function):
        function = getattr(type(model), function or "__call__", None)
    numbered = tuple(f"arg_{i}" for i in range(count))
    try:
        signature = inspect.signature(getattr(function, "__func__", function))
    except (TypeError, ValueError):
        return numbered
    names: list[str] = []
    rest = "arg"
    for name, parameter in list(signature.parameters.items())[1:]:
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = name
        elif parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            names.append(name)
    names += [f"{rest}_{i}" for i in range(count - len(names))]
    names = names[:count]
    return tuple(names) if len(set(names)) == count else numbered


def split_inputs(
    names: tuple[str, ...], args: Sequence[Tree], kwargs: Mapping[str, Tree]
) -> Inputs:
    """Sorts arguments into inputs and fixed ones.

    An argument that holds arrays is an input, with the numbers that are in it. One
    without arrays, given by keyword, is fixed: the program has been traced with it.

    Args:
      names: of the positional arguments.
      args: positional arguments.
      kwargs: arguments by keyword.

    Raises:
      ExportError: an argument holds arrays and something else, or none and is
        positional.

    >>> import numpy as np
    >>> split_inputs(('x',), [np.zeros(2, np.int32)], {'train': False})
    ... # doctest: +NORMALIZE_WHITESPACE
    Inputs(names=('x',), positional=(ShapeDtypeStruct(shape=(2,), dtype=int32),),
           keyword={}, fixed={'train': False})
    """
    positional = []
    for name, arg in zip(names, args):
        if not _is_input(name, arg):
            raise ExportError(
                f'The positional argument "{name}" is {short_repr(arg)}, and no array. '
                f"Give it by keyword ({name}=...) to fix this value in the program, "
                "or as an array to leave it open."
            )
        positional.append(_described(arg))
    keyword = {n: _described(arg) for n, arg in kwargs.items() if _is_input(n, arg)}
    fixed = {n: arg for n, arg in kwargs.items() if n not in keyword}
    return Inputs(names, tuple(positional), keyword, fixed)


def _is_input(name: str, arg: Tree) -> bool:
    leaves = list(leaf_paths(arg, name))
    if not any(is_array(leaf) for _, leaf in leaves):
        return False
    for path, leaf in leaves:
        if not is_array(leaf) and not isinstance(leaf, _NUMBERS):
            raise ExportError(
                f'The argument "{name}" holds arrays, and at "{path}" '
                f"{short_repr(leaf)}, which is none. Give what is to be fixed as an "
                "argument of its own, by keyword."
            )
    return True


def _described(arg: Tree) -> Tree:
    """Arrays as JAX takes them in, without their values and places."""

    def describe(leaf: Any) -> jax.ShapeDtypeStruct:
        weak = isinstance(leaf, _NUMBERS)
        if not isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
            leaf = jax.eval_shape(jnp.asarray, leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=weak)

    return jax.tree.map(describe, arg)


def open_sizes(inputs: Inputs, shapes: Shapes) -> Inputs:
    """Gives names to sizes, which are left open with that.

    Args:
      inputs: with the sizes of an example.
      shapes: sizes in the syntax of `jax.export.symbolic_shape`, such as
        `'batch, ...'`, for all arrays that have an axis; or by the name of the
        argument; None to leave all sizes as they are. Keys of random numbers have no
        open sizes, nor has anything under `rngs`, unless it is named.

    Returns:
      The inputs, with symbolic sizes.

    Raises:
      ExportError: no input has the name; the text is none that JAX takes, or does not
        fit the shape; or a name stands for two sizes of the example.

    >>> import numpy as np
    >>> inputs = split_inputs(('x',), [np.zeros((2, 3), np.float32)], {})
    >>> open_sizes(inputs, 'batch, ...').positional
    (ShapeDtypeStruct(shape=(batch, 3), dtype=float32),)
    """
    named = dict(inputs.named())
    if isinstance(shapes, Mapping):
        unknown = [name for name in shapes if name not in named]
        if unknown:
            raise ExportError(
                f"`shapes` has {quoted(unknown)}, and the inputs are {quoted(named)}."
            )
        texts = shapes
    elif shapes is None or any(
        _is_open(s) for s in jax.tree.leaves(list(named.values()))
    ):
        texts = {}
    else:
        texts = dict.fromkeys((name for name in named if name != "rngs"), shapes)
    scope = jax_export.SymbolicScope()
    seen: dict[str, tuple[int, str]] = {}
    opened = {}
    for name, tree in named.items():
        text = texts.get(name)
        structure = jax.tree.structure(tree)
        leaves = []
        for path, leaf in leaf_paths(tree, name):
            if text is None or (
                isinstance(shapes, str) and (not leaf.shape or _is_key(leaf))
            ):
                leaves.append(leaf)
                continue
            shape = _symbolic(text, leaf.shape, scope, path)
            for size, number in zip(shape, leaf.shape):
                first, where = seen.setdefault(str(size), (number, path))
                if jax_export.is_symbolic_dim(size) and first != number:
                    raise ExportError(
                        f'"{size}" is {first} in "{where}" and {number} in "{path}". '
                        "One name stands for one size: give each input its own with "
                        f'`shapes={{"{name}": ..., ...}}`, where None keeps the sizes '
                        "of the example, or pass `shapes=None`."
                    )
            leaves.append(jax.ShapeDtypeStruct(shape, leaf.dtype))
        opened[name] = jax.tree.unflatten(structure, leaves)
    return inputs._replace(
        positional=tuple(opened[name] for name in inputs.names),
        keyword={name: opened[name] for name in inputs.keyword},
    )


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_open(leaf: Any) -> bool:
    return any(jax_export.is_symbolic_dim(size) for size in leaf.shape)


def _symbolic(
    text: str, like: tuple[int, ...], scope: jax_export.SymbolicScope, path: str
) -> tuple[Any, ...]:
    try:
        shape = tuple(jax_export.symbolic_shape(text, like=like, scope=scope))
        if len(shape) != len(like):
            raise ValueError(f"it has {len(like)} axes, and the text {len(shape)}")
    except Exception as error:  # JAX raises several types, some of them its own
        raise ExportError(
            f'The shape {like} of "{path}" cannot be written as {text!r}: '
            f"{first_line(error)}. A shape is text such as 'batch, ...' or "
            "'batch, 28, _'."
        ) from error
    return shape
