"""What can be transformed: module classes, their methods, functions of modules."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax

from .. import errors
from ..module.methods import wrap_method_once
from ..module.state import ModuleBase

__all__ = ["Call", "lift_target"]

# call(fn, module, args, kwargs, cls) runs fn through the transform.
Call = Callable[..., Any]

_MEMO_SIZE = 128


def lift_target(
    make_call: Callable[..., Call],
    remake: Callable[..., Any],
    target: Any,
    options: Mapping[str, Any],
    methods: Any = None,
    prefix: str | None = None,
) -> Any:
    """Transforms a module class, or a function whose first argument is a module.

    Args:
      make_call: makes of the options of a transform the function that runs a call
        through it, `call(fn, module, args, kwargs, cls)`.
      remake: the public transform, which names the class and makes it again when it
        is unpickled.
      target: what to transform.
      options: the options.
      methods: for a class, the names of the methods to transform, or a dict of them
        with options of their own. By default `__call__`.
      prefix: what the class's name starts with, by default the transform's name.

    Raises:
      AttributeError: the class has no method of one of the names.
      TransformTargetError: the target can not be transformed.
      ValueError: `methods` is neither a list, a tuple, a set nor a dict.
    """
    if isinstance(target, type) and issubclass(target, ModuleBase):
        prefix = prefix or remake.__name__.capitalize()
        return _lift_class(make_call, remake, target, options, methods, prefix)
    if (
        not callable(target)
        or isinstance(target, ModuleBase)
        or isinstance(getattr(target, "__self__", None), ModuleBase)
    ):
        raise errors.TransformTargetError(target)
    return _lift_function(make_call(**options), target)


# Functions.


def _lift_function(call: Call, fn: Callable[..., Any]) -> Callable[..., Any]:
    method = wrap_method_once(fn)

    @functools.wraps(fn)
    def wrapper(module: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal method
        if not getattr(method, "compact", False) and _is_compact(wrapper):
            # Decorated with `compact` after it was transformed.
            method = _as_compact(fn, wrapper)
        return call(method, module, args, kwargs, None)

    # What happens around a method happens within the transform.
    wrapper.method_handler_wrapped = True  # type: ignore[attr-defined]
    return wrapper


def _is_compact(fn: Any) -> bool:
    return getattr(fn, "compact", False) or getattr(fn, "compact_name_scope", False)


def _as_compact(fn: Callable[..., Any], like: Any) -> Callable[..., Any]:
    @functools.wraps(fn)
    def compact_fn(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    compact_fn.__dict__.update(
        compact=getattr(like, "compact", False),
        compact_name_scope=getattr(like, "compact_name_scope", False),
        method_handler_wrapped=False,
    )
    return wrap_method_once(compact_fn)


# Classes.


def _method_options(
    methods: Any, options: Mapping[str, Any], cls: type
) -> dict[str, dict[str, Any]]:
    if methods is None:
        has_call = any("__call__" in base.__dict__ for base in cls.__mro__)
        return {"__call__": dict(options)} if has_call else {}
    if isinstance(methods, Mapping):
        return {name: {**options, **own} for name, own in methods.items()}
    if isinstance(methods, (list, tuple, set, frozenset)):
        return {name: dict(options) for name in methods}
    raise ValueError(
        f"The methods to transform must be given as a list, tuple, set or dict of "
        f"their names, but are {methods!r}."
    )


def _lift_class(
    make_call: Callable[..., Call],
    remake: Callable[..., Any],
    cls: type,
    options: Mapping[str, Any],
    methods: Any,
    prefix: str,
) -> type:
    try:
        key = (remake, _static_key(options), _static_key(methods))
        hash(key)
    except TypeError:
        # It may hold values of a running call, which must not outlive it.
        return _make_class(make_call, remake, cls, options, methods, prefix)
    memo = cls.__dict__.get("_transformed_classes")
    if memo is None:
        memo = {}
        type.__setattr__(cls, "_transformed_classes", memo)
    new = memo.get(key)
    if new is None:
        if len(memo) >= _MEMO_SIZE:
            memo.pop(next(iter(memo)))
        new = memo[key] = _make_class(make_call, remake, cls, options, methods, prefix)
    return new


def _make_class(
    make_call: Callable[..., Call],
    remake: Callable[..., Any],
    cls: type,
    options: Mapping[str, Any],
    methods: Any,
    prefix: str,
) -> type:
    name = prefix + cls.__name__
    new: type
    namespace: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": name,
        "__doc__": cls.__doc__,
        # It has no fields or methods to process.
        "_is_transformed_class": True,
        "_remake": functools.partial(remake, cls, **options, **_given(methods)),
        "__reduce_ex__": _reduce,
    }

    def lift_method(method_name: str, call: Call) -> Callable[..., Any]:
        @functools.wraps(getattr(cls, method_name))
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            fn = getattr(cls, method_name)
            if new in vars(self).get("_lifted_by", ()):
                return fn(self, *args, **kwargs)
            if type(self) is new:
                return call(fn, self, args, kwargs, cls)
            # A subclass: its own methods are to be found inside, too.
            return call(_marking(fn, new), self, args, kwargs, None)

        wrapper.method_handler_wrapped = True  # type: ignore[attr-defined]
        return wrapper

    for method_name, own_options in _method_options(methods, options, cls).items():
        namespace[method_name] = lift_method(method_name, make_call(**own_options))
    new = type(cls)(name, (cls,), namespace)
    return new


def _given(methods: Any) -> dict[str, Any]:
    return {} if methods is None else {"methods": methods}


@functools.lru_cache(maxsize=256)
def _marking(fn: Callable[..., Any], cls: type) -> Callable[..., Any]:
    """`fn` on a module that is marked to be within the transform of `cls`."""

    @functools.wraps(fn)
    def marking(self: Any, *args: Any, **kwargs: Any) -> Any:
        attributes = vars(self)
        attributes["_lifted_by"] = (*attributes.get("_lifted_by", ()), cls)
        return fn(self, *args, **kwargs)

    return marking


def _reduce(self: Any, protocol: Any) -> tuple[Any, ...]:
    return _unpickle, (type(self)._remake,), dict(vars(self))


def _unpickle(remake: Callable[[], type]) -> Any:
    return object.__new__(remake())


def _static_key(value: Any) -> Any:
    """A hashable key that is equal for options of equal effect.

    Raises:
      TypeError: there is none, or what it is made of may hold arrays.
    """
    if isinstance(value, Mapping):
        return Mapping, frozenset(
            (_static_key(key), _static_key(item)) for key, item in value.items()
        )
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_static_key, value))
    if isinstance(value, types.FunctionType):
        if value.__closure__ and not value.__module__.startswith("jax"):
            raise TypeError("A closure may hold anything.")
        return value
    if isinstance(value, (types.MethodType, functools.partial, jax.Array)):
        raise TypeError("It may hold arrays.")
    hash(value)
    return type(value), value
