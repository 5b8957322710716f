"""Eager loops and branches, compiled once for all calls that trace to one program.

JAX keeps what it compiled by the identity of the traced body, and a lifted body is
traced anew at each call. Here the program that was traced is compared instead: it is
all that the compiled code depends on, so Python of the body runs at each call, as ever.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Final

import jax
import jax.core
import numpy as np

from .partial_eval import jaxpr_types
from .static_key import static_key
from .tracers import is_staging
from .types import Function, Tree

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr

__all__ = ["call_compiled_once", "program_key"]

_CACHE_SIZE: Final = 256
_MOST_BYTES: Final = 4096
_NUMBERS: Final = (bool, int, float, complex)

_programs: dict[Hashable, Function] = {}


def call_compiled_once(fn: Function, *args: Tree) -> Tree:
    """Returns `fn(*args)`, compiled once for all functions that trace to the same.

    Within `jax.jit` and the like, `fn` is simply called.

    Args:
      fn: a function of arrays that returns arrays, and runs a loop or branches.
      *args: pytrees of arrays.

    >>> import jax.numpy as jnp
    >>> step = lambda carry, x: (carry + x, carry)
    >>> call_compiled_once(lambda x: jax.lax.scan(step, 0.0, x)[0], jnp.ones(3)).item()
    3.0
    """
    leaves = jax.tree.leaves(args)
    if (
        is_staging()
        or jax.config.jax_disable_jit  # type: ignore[attr-defined]
        or not all(map(_is_array, leaves))
    ):
        return fn(*args)
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    try:
        key = program_key(closed.jaxpr)
        program = _programs.get(key)
    except TypeError:
        key = program = None
    if program is None:
        program = jax.jit(functools.partial(_evaluate, closed.jaxpr))
        if key is not None:
            if len(_programs) >= _CACHE_SIZE:
                _programs.pop(next(iter(_programs)), None)
            _programs[key] = program
    return jax.tree.unflatten(
        jax.tree.structure(shapes), program(closed.consts, leaves)
    )


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    return jax.core.eval_jaxpr(jaxpr, consts, *args)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, *_NUMBERS))


def program_key(jaxpr: Jaxpr) -> Hashable:
    """Returns a key that two traced programs share only if they compute the same.

    It has all that is compiled: operations with their parameters and contexts, types,
    constants that are written into it. Names of variables and places in the source
    are not in it.

    Args:
      jaxpr: a program, with the arrays that it closes over as inputs.

    Raises:
      TypeError: an operation has a parameter for which there is no key.

    >>> key = lambda fn: program_key(jax.make_jaxpr(fn)(2.0).jaxpr)
    >>> key(lambda x: x * 2) == key(lambda y: y * 2), key(lambda x: x * 3) == key(abs)
    (True, False)
    """
    numbers: dict[Any, int] = {}

    def define(variables: Sequence[Any]) -> Hashable:
        for variable in variables:
            numbers[variable] = len(numbers)
        return tuple([variable.aval for variable in variables])

    def refer(atom: Any) -> Hashable:
        if hasattr(atom, "val"):
            return _literal_key(atom.val), atom.aval
        return numbers[atom]

    inputs = define(jaxpr.constvars), define(jaxpr.invars)
    equations = []
    for equation in jaxpr.eqns:
        read = tuple([refer(atom) for atom in equation.invars])
        params = equation.params
        equations.append(
            (
                equation.primitive,
                read,
                define(equation.outvars),
                tuple([(name, _key(params[name])) for name in sorted(params)]),
                _context_key(equation),
            )
        )
    return inputs, tuple(equations), tuple([refer(atom) for atom in jaxpr.outvars])


def _literal_key(value: Any) -> Hashable:
    """A key for a constant that is written into a program: a scalar, of any kind."""
    array = np.asarray(value)
    if array.dtype.hasobject or array.nbytes > _MOST_BYTES:
        raise TypeError("It is no number.")
    return type(value), array.dtype, array.shape, array.tobytes()


def _context_key(equation: Any) -> Hashable:
    """What was set around an operation as it was traced, as by `compute_on`."""
    context = getattr(equation, "ctx", None)
    slots = getattr(type(context), "__slots__", ())
    names = [name for name in slots if not name.startswith("__")]
    return tuple([(name, _key(getattr(context, name, None))) for name in names])


def _key(value: Any) -> Hashable:
    bare, closed = jaxpr_types()
    if isinstance(value, bare):
        return program_key(value)
    if isinstance(value, closed):
        return program_key(value.jaxpr), tuple(map(_key, value.consts))
    kind = type(value)
    if kind in (tuple, list):
        return kind, tuple(map(_key, value))
    if kind is dict:
        return kind, tuple([(name, _key(value[name])) for name in sorted(value)])
    if kind is np.ndarray:
        return _literal_key(value)
    return static_key(value)
