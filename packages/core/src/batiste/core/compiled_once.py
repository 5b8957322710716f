"""Eager loops and branches, compiled once for all calls that trace to one program.

JAX keeps what it compiled by the identity of the traced body, and a lifted body is
traced anew at each call. Here the program that was traced is compared instead: it is
all that the compiled code depends on, so Python of the body runs at each call, as ever.
"""

from __future__ import annotations

import enum
import functools
import types
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
_ARRAYS: Final = (jax.Array, np.ndarray, np.generic, bool, int, float, complex)
_PLAIN: Final = frozenset({str, bytes, int, bool, type(None), type})

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
    for leaf in leaves:
        if not isinstance(leaf, _ARRAYS):
            return fn(*args)
    if is_staging() or jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        return fn(*args)
    closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*args)
    jaxpr = closed.jaxpr
    if jaxpr is closed:  # since JAX 0.11: what is kept must not keep the arrays
        jaxpr = jaxpr.replace(consts=())
    try:
        key = program_key(jaxpr)
        program = _programs.get(key)
    except TypeError:
        key = program = None
    if program is None:
        program = jax.jit(functools.partial(_evaluate, jaxpr))
        if key is not None:
            if len(_programs) >= _CACHE_SIZE:
                _programs.pop(next(iter(_programs)), None)
            _programs[key] = program
    values = program(closed.consts, leaves)
    return jax.tree.unflatten(jax.tree.structure(shapes), values)


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    return jax.core.eval_jaxpr(jaxpr, consts, *args)


def program_key(jaxpr: Jaxpr) -> Hashable:
    """Returns a key that two traced programs share only if they compute the same.

    It has all that is compiled: operations with their parameters and contexts, types,
    constants that are written into it. Names of variables and places in the source
    are not in it.

    It is made without calls, as they would cost more than all else.

    Args:
      jaxpr: a program, with the arrays that it closes over as inputs.

    Raises:
      TypeError: an operation has a parameter for which there is no key.

    >>> key = lambda fn: program_key(jax.make_jaxpr(fn)(2.0).jaxpr)
    >>> key(lambda x: x * 2) == key(lambda y: y * 2), key(lambda x: x * 3) == key(abs)
    (True, False)
    """
    bare, closed = jaxpr_types()
    numbers: dict[Any, int] = {}
    count = 0
    key: list[Any] = []
    # What is left to be put into the key: programs, and parameters of operations.
    pending: list[Any] = [jaxpr]
    for part in pending:  # which grows
        kind = type(part)
        if kind in _PLAIN or isinstance(part, (np.dtype, enum.Enum)):
            key += kind, part
        elif kind is float:
            key += kind, part.hex()  # as 0.0 == -0.0
        elif isinstance(part, tuple) or kind is list:
            key += kind, len(part)
            pending += part
        elif kind is frozenset and not part:
            key.append(kind)  # each context has one, since JAX 0.12
        elif kind is dict:
            for name in sorted(part):
                key.append(name)
                pending.append(part[name])
            key += kind, len(part)
        elif isinstance(part, closed) and part.jaxpr is not part:
            key.append(len(part.consts))
            pending.append(part.jaxpr)
            pending += part.consts
        elif isinstance(part, bare):
            # Since JAX 0.11 there is one class, which may hold arrays.
            consts = getattr(part, "consts", ())
            key.append(len(consts))
            pending += consts
            key += len(part.constvars), len(part.invars), len(part.eqns)
            key.append(len(part.outvars))
            for variable in (*part.constvars, *part.invars):
                numbers[variable] = count = count + 1
                key.append(variable.aval)
            read = [part.outvars]
            for equation in part.eqns:
                key += equation.primitive, len(equation.invars), len(equation.outvars)
                read.append(equation.invars)
                for variable in equation.outvars:
                    numbers[variable] = count = count + 1
                    key.append(variable.aval)
                params = equation.params
                for name in sorted(params):
                    key.append(name)
                    pending.append(params[name])
                # What was set around it as it was traced, as by `compute_on`.
                context = getattr(equation, "ctx", None)
                for name in getattr(type(context), "__slots__", ()):
                    if not name.startswith("__"):
                        pending.append(getattr(context, name, None))
            for atoms in read:
                for atom in atoms:
                    if not hasattr(atom, "val"):
                        key.append(numbers[atom])
                        continue
                    value = np.asarray(atom.val)
                    if value.dtype.hasobject or value.nbytes > _MOST_BYTES:
                        raise TypeError(f"{atom} is no number.")
                    key += value.dtype, value.tobytes(), atom.aval
        elif kind is np.ndarray and part.nbytes <= _MOST_BYTES and part.dtype != object:
            key += kind, part.dtype, part.shape, part.tobytes()
        elif isinstance(part, (jax.Array, np.ndarray, types.FunctionType)):
            key.append(static_key(part))
        elif kind.__module__.partition(".")[0] in ("jax", "jaxlib"):
            key += kind, part  # shardings, meshes, tables: equal is the same
        else:
            key.append(static_key(part))
    return tuple(key)
