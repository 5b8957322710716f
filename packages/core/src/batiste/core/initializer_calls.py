"""Calls of JAX's own initializers, by programs that are kept.

An initializer of `jax.nn.initializers` is traced once for each shape and dtype, not
at each call. Within `jax.jit` and the like its call leaves the equations that it always
leaves: as an equation of its own, XLA would round what surrounds it otherwise. Eagerly
it is a compiled program for each step, and gives the numbers that its operations give
one by one: what does not depend on the key is computed in advance by those operations,
and goes in at run time, so that no compiler can fold it into something else.

All other functions may do what no program keeps, and are simply called.
"""

from __future__ import annotations

import functools
import operator
import types
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple

import jax
import numpy as np
from jax import numpy as jnp
from jax.core import Tracer
from jax.nn import initializers

from .tracers import jit_is_inlined, staged_type
from .types import Function, Key

__all__ = ["ignores_key", "initialize"]

_MOST: Final = 4096
_OF_JAX: Final = initializers.variance_scaling.__globals__
_INT: Final = frozenset({int})
_DATA: Final = frozenset({int, str, bool, type(None)})

# What an eager call depends on apart from its arguments.
_settings = operator.attrgetter(
    *[
        name
        for name in (
            "jax_default_device",
            "jax_default_matmul_precision",
            "jax_default_prng_impl",
            "jax_enable_custom_prng",
            "jax_enable_x64",
            "jax_error_checking_behavior_nan",
            "jax_explicit_x64_dtypes",
            "jax_legacy_prng_key",
            "jax_numpy_dtype_promotion",
            "jax_numpy_rank_promotion",
            "jax_threefry_partitionable",
        )
        if hasattr(jax.config, name)
    ]
)
# Where one of these is set, operations are looked at one by one.
_watching = operator.attrgetter(
    "jax_check_tracer_leaks",
    "jax_debug_infs",
    "jax_debug_key_reuse",
    "jax_debug_nans",
    "jax_disable_jit",
)

# A `constant` is a function of its own each time, of one code.
_IGNORE_KEY: Final = tuple(
    map(
        operator.attrgetter("__code__"),
        (initializers.zeros, initializers.ones, initializers.constant(0)),
    )
)

_parts: weakref.WeakKeyDictionary[Function, Hashable] = weakref.WeakKeyDictionary()
_kept: dict[Hashable, _Kept | None] = {}


def initialize(init_fn: Callable[..., Any], key: Key, *args: Any) -> Any:
    """Returns `init_fn(key, *args)`, by a program that is kept if that is the same.

    Args:
      init_fn: an initializer.
      key: its key.
      *args: mostly a shape and a dtype.

    >>> key = jax.random.key(0)
    >>> initialize(initializers.ones, key, (2, 3), "float32").tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    if getattr(init_fn, "__globals__", None) is not _OF_JAX or not args:
        return init_fn(key, *args)
    # What is kept is found without calls, as there is one search for each parameter.
    shape = args[0]
    if type(shape) is not tuple or not _INT.issuperset(map(type, shape)):
        return init_fn(key, *args)
    try:
        kept = _kept[_parts[init_fn], args]
    except (KeyError, TypeError):
        kept = _keep(init_fn, args)
    if kept is not None:
        if type(key) is staged_type():
            return kept.staged(key)
        if (
            isinstance(key, jax.Array)
            and not isinstance(key, Tracer)
            and not any(_watching(jax.config))
            and jax.sharding.get_abstract_mesh().empty
        ):
            index = key.dtype, key.shape, _settings(jax.config)
            try:
                calls = kept.eager[index]
            except KeyError:
                calls = kept.eager[index] = _eager_calls(kept.initializer, key)
            if calls is not None:
                value: Any = key
                try:
                    for call, reads, numbers in calls:
                        # What nothing reads would still decide on the device.
                        value = call(value if reads else None, *numbers)
                except Exception:
                    # The initializer says what is wrong, or that nothing is: numbers
                    # are of no use where the devices that they lie on were given up.
                    kept.eager.pop(index, None)
                else:
                    return value
    return init_fn(key, *args)


def ignores_key(init_fn: Callable[..., Any]) -> bool:
    """Whether an initializer is known to make the same of any key.

    Those of JAX that do are known; another one says so by its attribute `ignores_key`.

    Args:
      init_fn: an initializer.

    >>> ignores_key(initializers.zeros), ignores_key(initializers.normal())
    (True, False)
    """
    if type(init_fn) is types.FunctionType:
        code = init_fn.__code__
        zeros, ones, constant = _IGNORE_KEY
        return code is zeros or code is ones or code is constant
    return getattr(init_fn, "ignores_key", False) is True


class _Kept:
    """The programs of an initializer for a shape and a dtype.

    Args:
      init_fn: the initializer, one of JAX.
      args: its arguments after the key.

    Attributes:
      initializer: the initializer as a function of the key alone.
      staged: it, to be called where a jaxpr is written. JAX knows what that depends on.
      eager: for a type of key and settings, the calls of compiled functions that come
        to the same, or None if there are none.
    """

    __slots__ = ("eager", "initializer", "staged")

    def __init__(self, init_fn: Function, args: tuple[Any, ...]):
        def initializer(key: Key) -> jax.Array:
            return init_fn(key, *args)

        self.initializer = initializer
        # A call that stayed a call would change what XLA rounds around it.
        if jit_is_inlined():
            self.staged = jax.jit(initializer, inline=True)
        else:
            self.staged = functools.partial(
                _write_out, initializer, jax.jit(initializer)
            )
        self.eager: dict[Hashable, list[_Call] | None] = {}


def _write_out(initializer: Function, jitted: Any, key: Key) -> Any:
    """What the initializer makes, by the equations that JAX has kept of it.

    For JAX since 0.12, where a call is no longer inlined.
    """
    if any(_watching(jax.config)) or not jax.sharding.get_abstract_mesh().empty:
        return initializer(key)
    # JAX traces anew where something else than the key has changed.
    closed = jitted.trace(jax.ShapeDtypeStruct(key.shape, key.dtype)).jaxpr
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values[jaxpr.invars[0]] = key
    for equation in jaxpr.eqns:
        operands = [x.val if hasattr(x, "val") else values[x] for x in equation.invars]
        made = equation.primitive.bind(*operands, **equation.params)
        results = made if equation.primitive.multiple_results else [made]
        values.update(zip(equation.outvars, results, strict=True))
    (result,) = jaxpr.outvars
    return initializer(key) if hasattr(result, "val") else values[result]


def _keep(init_fn: Function, args: tuple[Any, ...]) -> _Kept | None:
    """What is kept from now on of an initializer for a shape and a dtype, or None."""
    if init_fn not in _parts:
        _parts[init_fn] = _parts_of(init_fn)
    parts = _parts[init_fn]
    arguments = init_fn.__code__.co_varnames[:3]
    if parts is None or arguments != ("key", "shape", "dtype") or len(args) > 2:
        return None
    try:
        if (parts, args) in _kept:  # of an equal one
            return _kept[parts, args]
    except TypeError:
        return None  # the dtype has no hash
    dtype = (*args, *(init_fn.__defaults__ or (None,)))[1]
    if len(_kept) >= _MOST:
        _kept.pop(next(iter(_kept)), None)
    kept = _kept[parts, args] = _Kept(init_fn, args) if _is_narrow(dtype) else None
    return kept


def _parts_of(value: Any) -> Hashable | None:
    """What two initializers share only if they are the same; None if not known.

    That is the code and the plain data that it closes over: `normal(0.1)` is often
    made anew for each call.
    """
    kind = type(value)
    if kind in _DATA or isinstance(value, (type, np.dtype)):
        return kind, value
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    if kind is float:
        return kind, value.hex()  # as 0.0 == -0.0
    if kind is tuple:
        parts = tuple([_parts_of(part) for part in value])
        return None if None in parts else (kind, parts)
    if kind is types.FunctionType and value.__globals__ is _OF_JAX:
        held = tuple([cell.cell_contents for cell in value.__closure__ or ()])
        data = _parts_of(held), _parts_of(value.__defaults__)
        return None if None in data else (value.__code__, *data)
    return None


def _is_narrow(dtype: Any) -> bool:
    """Whether JAX has the dtype under all settings, so that no call warns of it."""
    try:
        return dtype is None or np.dtype(dtype).itemsize < 8
    except TypeError:
        return False


class _Step(NamedTuple):
    """An operation of a chain, and which operands are the result before it.

    `replaces` tells whether its own result takes the place of that in memory.
    """

    primitive: Any
    params: tuple[tuple[str, Any], ...]
    places: tuple[bool, ...]
    replaces: bool


class _Call(NamedTuple):
    """A compiled function, whether it reads its first operand, and the others."""

    function: Function
    reads: bool
    numbers: list[jax.Array]


def _eager_calls(initializer: Function, key: jax.Array) -> list[_Call] | None:
    """The calls that an initializer comes to, each on the result of the one before.

    None if there are none: the initializer is to be called, and says what is wrong.
    """
    try:
        return _chain(jax.make_jaxpr(initializer)(key))
    except Exception:
        return None


def _chain(closed: Any) -> list[_Call] | None:
    """The calls that a program comes to, or None if its operations are no chain.

    Operations on numbers are run here. Each other is compiled alone, as eagerly: two
    together a compiler may round otherwise.
    """
    jaxpr = closed.jaxpr
    numbers = dict(zip(jaxpr.constvars, map(np.asarray, closed.consts), strict=True))
    calls: list[_Call] = []
    (last,) = jaxpr.invars
    for equation in jaxpr.eqns:
        operands = [_number(atom, numbers) for atom in equation.invars]
        (result,) = equation.outvars
        places = tuple([operand is None for operand in operands])
        if not (any(places) or result.aval.shape or result in jaxpr.outvars):
            made = equation.primitive.bind(*operands, **equation.params)
            numbers[result] = np.asarray(made[0] if isinstance(made, list) else made)
            continue
        read = [x for x, place in zip(equation.invars, places, strict=True) if place]
        if equation.effects or read != [last] * (bool(calls) or len(read)):
            return None
        given = [operand for operand in operands if operand is not None]
        params = tuple(equation.params.items())
        # What a step before has made is nobody else's: its place may be taken.
        alike = (last.aval.shape, last.aval.dtype) == (
            result.aval.shape,
            result.aval.dtype,
        )
        step = _Step(equation.primitive, params, places, bool(calls) and alike)
        calls.append(_call(step, given))
        last = result
    return calls if [last] == jaxpr.outvars and 1 <= len(calls) <= 2 else None


def _call(step: _Step, given: list[np.ndarray]) -> _Call:
    """The call of a compiled function that does the step."""
    reads = any(step.places)
    if reads or step.primitive.name != "broadcast_in_dim":
        # As arrays that are there, which need not be brought there at each call.
        with jax.ensure_compile_time_eval():
            return _Call(_compiled(step), reads, [jnp.asarray(x) for x in given])

    # What only copies a number has nothing to calculate, so that it may be constant.
    def initializer(_: None) -> Any:
        return step.primitive.bind(*given, **dict(step.params))

    return _Call(jax.jit(initializer), reads, [])


def _number(atom: Any, numbers: dict[Any, np.ndarray]) -> np.ndarray | None:
    """The value of an atom of a jaxpr that is a number, or None."""
    if hasattr(atom, "val"):
        return np.asarray(atom.val, atom.aval.dtype)
    return numbers.get(atom)


@functools.lru_cache(maxsize=_MOST)
def _compiled(step: _Step) -> Function:
    """The function of the first operand and all numbers that does the step."""

    def initializer(value: Any, *given: Any) -> Any:
        numbers = iter(given)
        operands = [value if place else next(numbers) for place in step.places]
        value = step.primitive.bind(*operands, **dict(step.params))
        return value[0] if isinstance(value, list) else value

    return jax.jit(initializer, donate_argnums=(0,) if step.replaces else ())
