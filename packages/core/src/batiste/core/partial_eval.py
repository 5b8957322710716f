"""Running only the part of a function that does not depend on given values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.core
import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr

from .errors import LazyInitError

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr

__all__ = ["Staged", "jaxpr_types", "lazy_init", "partial_eval_by_shape"]

# They do not count as a use of their inputs, and would print nothing of interest.
_DEBUG_PRIMITIVES = frozenset({"debug_callback", "debug_print"})
_CUSTOM_PRIMITIVES = frozenset({"custom_jvp_call", "custom_vjp_call"})


def lazy_init(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Makes a function that computes no more than the outputs of `fn` need.

    Args:
      fn: a function whose outputs do not depend on the values of those arguments
        that will be given as `jax.ShapeDtypeStruct`.

    Returns:
      A function of the same arguments, with `jax.ShapeDtypeStruct` in place of any
      array. Arrays that the outputs do not need are not computed.

    Raises:
      LazyInitError: an output depends on the value of a `jax.ShapeDtypeStruct`.

    >>> import jax.numpy as jnp
    >>> init = lazy_init(lambda x: jnp.ones(x.shape[-1]) + (x @ x.T).shape[0])
    >>> init(jax.ShapeDtypeStruct((7, 2), jnp.float32))
    Array([8., 8.], dtype=float32)
    """

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        staged = _stage_call(fn, args, kwargs)
        unknown = staged.unknown_outputs()
        if unknown:
            names = [staged.name(place) for place in unknown]
            raise LazyInitError(staged.abstract(unknown[0]), names=names)
        return staged.evaluate()

    return wrapper


def partial_eval_by_shape(
    fn: Callable[..., Any], input_spec: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """Evaluates a function as far as the shapes of its inputs allow.

    Args:
      fn: the function.
      input_spec: for each leading argument of `fn` its shape, or a pair of its shape
        and its dtype (float32 if not given), or anything with a shape and dtype.
      *args: further arguments of `fn`, as they are.
      **kwargs: keyword arguments of `fn`, as they are.

    Returns:
      What `fn` returns, with a `jax.ShapeDtypeStruct` for each array that depends on
      the values of the inputs.

    Raises:
      TypeError: an entry of `input_spec` is no shape.

    >>> import jax.numpy as jnp
    >>> fn = lambda x, scale: {"y": x * scale, "b": jnp.zeros(x.shape[1]) + scale}
    >>> out = partial_eval_by_shape(fn, [((8, 2), jnp.float32)], 3)
    >>> out["y"].shape, out["b"]
    ((8, 2), Array([3., 3.], dtype=float32))
    """
    specs = [_parse_spec(spec) for spec in input_spec]
    staged = _stage_call(fn, (*specs, *args), kwargs)
    return staged.evaluate(staged.unknown_outputs())


def _parse_spec(spec: Any) -> jax.ShapeDtypeStruct:
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        return jax.ShapeDtypeStruct(spec.shape, spec.dtype)
    spec = tuple(spec)
    if len(spec) == 2 and isinstance(spec[0], Sequence):
        return jax.ShapeDtypeStruct(tuple(spec[0]), spec[1])
    if all(isinstance(dim, (int, np.integer)) for dim in spec):
        return jax.ShapeDtypeStruct(spec, np.float32)
    raise TypeError(
        f"{spec!r} is no input specification. Give a shape, such as (8, 2), or a "
        "shape and a dtype, such as ((8, 2), jnp.float32)."
    )


def _is_unknown(leaf: Any) -> bool:
    return isinstance(leaf, jax.ShapeDtypeStruct)


def _stage_call(fn: Callable[..., Any], args: tuple, kwargs: dict) -> Staged:
    """Traces a call with its `jax.ShapeDtypeStruct`s as unknown inputs."""
    leaves, treedef = jax.tree.flatten((args, kwargs))

    def run(*inputs: Any) -> Any:
        remaining = iter(inputs)
        filled = [next(remaining) if _is_unknown(x) else x for x in leaves]
        args, kwargs = jax.tree.unflatten(treedef, filled)
        return fn(*args, **kwargs)

    return Staged(run, *(leaf for leaf in leaves if _is_unknown(leaf)))


class Staged:
    """One call of a function, traced, with inputs whose values must not matter.

    Args:
      fn: the function.
      *inputs: its arguments, of which only shapes and dtypes are looked at. All other
        values are to be closed over by `fn`.

    Attributes:
      outputs: what `fn` returned, with None for what was traced: a Python number say,
        or an array that was made before, comes out as it is.
      paths: the paths of the outputs.
      places: the places in `outputs` of the jaxpr's own outputs.
      treedef: the structure of what `fn` returned.
      jaxpr: the traced program.
      consts: the arrays that it closes over.

    >>> staged = Staged(lambda x: {"x": x + 1, "size": x.size}, np.ones(3))
    >>> [staged.name(place) for place in staged.unknown_outputs()], staged.outputs
    (['x'], [3, None])
    """

    def __init__(self, fn: Callable[..., Any], *inputs: Any):
        self.outputs: list[Any] = []
        self.paths: list[Any] = []
        self.places: list[int] = []
        self.treedef: Any = None

        def run(*inputs: Any) -> list[Any]:
            found, self.treedef = jax.tree_util.tree_flatten_with_path(fn(*inputs))
            self.paths = [path for path, _ in found]
            outputs = [leaf for _, leaf in found]
            traced = [isinstance(leaf, jax.core.Tracer) for leaf in outputs]
            self.places = [i for i, is_traced in enumerate(traced) if is_traced]
            self.outputs = [
                None if is_traced else leaf
                for leaf, is_traced in zip(outputs, traced, strict=True)
            ]
            return [outputs[place] for place in self.places]

        closed = jax.make_jaxpr(run)(*inputs)
        self.consts = closed.consts
        self.jaxpr = closed.jaxpr
        if self.jaxpr.effects:
            self.jaxpr = _simplified(self.jaxpr, keep_custom=True)

    def name(self, place: int) -> str:
        """Returns the name of an output: its path with slashes."""
        return jax.tree_util.keystr(self.paths[place], simple=True, separator="/")

    def abstract(self, place: int) -> jax.ShapeDtypeStruct:
        """Returns the shape and dtype of a traced output."""
        aval = self.jaxpr.outvars[self.places.index(place)].aval
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype)  # type: ignore

    def unknown_outputs(self) -> list[int]:
        """Returns the places of the outputs that depend on an unknown input."""
        count = len(self.places)
        if not any(dce_jaxpr(self.jaxpr, [True] * count)[1]):
            return []
        jaxpr = _simplified(self.jaxpr, keep_custom=False)
        return [
            place
            for index, place in enumerate(self.places)
            if any(dce_jaxpr(jaxpr, [i == index for i in range(count)])[1])
        ]

    def evaluate(self, unknown: Iterable[int] = ()) -> Any:
        """Returns the outputs, with shape and dtype alone for the unknown ones.

        Args:
          unknown: their places.
        """
        outputs = list(self.outputs)
        for place in unknown:
            outputs[place] = self.abstract(place)
        wanted = [place not in set(unknown) for place in self.places]
        jaxpr, used = dce_jaxpr(self.jaxpr, wanted)
        if any(used):
            simplified = _simplified(self.jaxpr, keep_custom=False)
            jaxpr, used = dce_jaxpr(simplified, wanted)
            assert not any(used)
        values = jax.core.eval_jaxpr(jaxpr, self.consts)
        known = [p for p, want in zip(self.places, wanted, strict=True) if want]
        for place, value in zip(known, values, strict=True):
            outputs[place] = value
        return jax.tree.unflatten(self.treedef, outputs)


@functools.cache
def jaxpr_types() -> tuple[type, type]:
    """Returns the classes of jaxprs, without and with the arrays they close over.

    The module that has them takes longer to import than this whole package.

    Since JAX 0.11 they are one.

    >>> isinstance(jax.make_jaxpr(abs)(1.0), jaxpr_types())
    True
    """
    from jax.extend.core import ClosedJaxpr, Jaxpr

    return Jaxpr, ClosedJaxpr


def _simplified(jaxpr: Jaxpr, keep_custom: bool) -> Jaxpr:
    """The same program in terms that show better which output needs which input.

    Without `jax.debug` printing and calling back and, unless they are kept, without
    custom derivatives, which count as if every output needed every input.
    """
    gone: set[Any] = set()
    kept = []
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in _DEBUG_PRIMITIVES:
            gone |= set(eqn.effects)
            continue
        if eqn.primitive.name in _CUSTOM_PRIMITIVES and not keep_custom:
            from jax.extend.core.primitives import closed_call_p

            closed = jaxpr_types()[1]
            (body,) = (p for p in eqn.params.values() if isinstance(p, closed))
            eqn = eqn.replace(primitive=closed_call_p, params={"call_jaxpr": body})
        before = {effect for j in _jaxprs(eqn.params) for effect in j.effects}
        params = _map_jaxprs(eqn.params, keep_custom)
        after = {effect for j in _jaxprs(params) for effect in j.effects}
        gone |= before - after
        effects = set(eqn.effects) - (before - after)
        kept.append(eqn.replace(params=params, effects=effects))
    still = {effect for eqn in kept for effect in eqn.effects}
    return jaxpr.replace(eqns=kept, effects=set(jaxpr.effects) - (gone - still))


def _jaxprs(param: Any) -> list[Any]:
    if isinstance(param, jaxpr_types()):
        return [param]
    if isinstance(param, dict):
        return _jaxprs(tuple(param.values()))
    if isinstance(param, (tuple, list)):
        return [j for part in param for j in _jaxprs(part)]
    return []


def _map_jaxprs(param: Any, keep_custom: bool) -> Any:
    bare, closed = jaxpr_types()
    if isinstance(param, bare):  # since JAX 0.11 every jaxpr is
        return _simplified(param, keep_custom)
    if isinstance(param, closed):
        return param.replace(jaxpr=_simplified(param.jaxpr, keep_custom))
    if type(param) is dict:
        return {name: _map_jaxprs(part, keep_custom) for name, part in param.items()}
    if type(param) in (tuple, list) and _jaxprs(param):
        return type(param)(_map_jaxprs(part, keep_custom) for part in param)
    return param
