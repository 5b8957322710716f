"""What can be transformed: module classes, their methods, functions of modules."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final, TypeAlias, TypeVar, cast

import jax

from batiste.core import lift
from batiste.core.static_key import static_key
from batiste.core.types import Axis, Function

from .. import errors
from ..module.methods import wrap_method_once
from ..module.state import ModuleBase
from .bound_methods import check_owner, without_module
from .call import LiftedCall
from .module_map import is_within, mark_within

__all__ = ["MakesCall", "MappedAxis", "Methods", "Target", "lift_target"]

_MEMO_SIZE: Final = 128

_ATOMS: Final = frozenset({bool, int, str, type(None)})

Target = TypeVar("Target", bound=Function)
"""A module class, or a function whose first argument is a module."""

T = TypeVar("T")

Methods: TypeAlias = (
    list[str]
    | tuple[str, ...]
    | set[str]
    | frozenset[str]
    | Mapping[str, Mapping[str, Any]]
    | None
)
"""Names of methods, or a dict of them with options of their own."""

MakesCall: TypeAlias = Callable[[Function, Mapping[str, Any]], LiftedCall]
"""Makes what runs calls through a transform, of the transform and its options."""

MappedAxis: TypeAlias = Axis | lift.In[Any] | lift.Out[Any]
"""An axis of the variables of a collection, in and out or in one direction alone."""


def lift_target(
    transform: Function,
    remake: Function,
    target: Target,
    options: Mapping[str, Any],
    methods: Methods = None,
    prefix: str | None = None,
    call_type: MakesCall = LiftedCall,
) -> Target:
    """Transforms a module class, or a function whose first argument is a module.

    A `functools.partial` of a class becomes one of the transformed class. A method of
    a bound module stands for its function, which is given the module inside.

    Args:
      transform: the transform of functions of scopes, one of `batiste.core.lift`.
      remake: the public transform, which names the class and makes it again when it
        is unpickled.
      target: what to transform.
      options: the keyword arguments of both.
      methods: for a class, the names of the methods to transform, or a dict of them
        with options of their own. By default `__call__`.
      prefix: what the class's name starts with, by default the transform's name.
      call_type: what runs the calls through the transform.

    Raises:
      AttributeError: the class has no method of one of the names.
      TransformTargetError: the target can not be transformed.
      ValueError: `methods` is neither a list, a tuple, a set nor a dict.
    """
    if isinstance(target, functools.partial) and isinstance(target.func, type):
        new = lift_target(
            transform, remake, target.func, options, methods, prefix, call_type
        )
        return cast(Target, functools.partial(new, *target.args, **target.keywords))
    if isinstance(target, type) and issubclass(target, ModuleBase):
        prefix = prefix or remake.__name__.capitalize()
        new = _lift_class(
            transform, remake, target, options, methods, prefix, call_type
        )
        return cast(Target, new)
    owner = getattr(target, "__self__", None)
    if (
        not callable(target)
        or isinstance(target, ModuleBase)
        or (isinstance(owner, ModuleBase) and owner.scope is None)
    ):
        raise errors.TransformTargetError(target)
    return cast(Target, _lift_function(call_type(transform, options), target))


# Functions.


def _lift_function(call: LiftedCall, fn: Function) -> Function:
    fn, owner = without_module(fn)
    method = wrap_method_once(fn)
    if call.argnums:
        call.name_static(fn)

    @functools.wraps(fn)
    def wrapper(module: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal method
        if owner is not None:
            check_owner(owner, module)
        if not getattr(method, "compact", False) and _is_compact(wrapper):
            # Decorated with `compact` after it was transformed.
            method = _as_compact(fn, wrapper)
        return call(method, module, args, kwargs)

    # What happens around a method happens within the transform.
    wrapper.method_handler_wrapped = True  # type: ignore[attr-defined]
    return wrapper


def _is_compact(fn: Function) -> bool:
    return getattr(fn, "compact", False) or getattr(fn, "compact_name_scope", False)


def _as_compact(fn: Function, like: Function) -> Function:
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


def _lift_class(
    transform: Function,
    remake: Function,
    cls: type[ModuleBase],
    options: Mapping[str, Any],
    methods: Methods,
    prefix: str,
    call_type: MakesCall,
) -> type[ModuleBase]:
    memo, key = _memo(cls), _memo_key(remake, options, methods)
    if key in memo:
        return memo[key]
    name = prefix + cls.__name__
    given = {} if methods is None else {"methods": methods}
    again = functools.partial(remake, cls, **options, **given)

    def reduce_ex(self: Any, protocol: Any) -> tuple[Any, ...]:
        return _unpickle, (again,), dict(vars(self))

    namespace: dict[str, Any] = {
        "__module__": cls.__module__,
        "__qualname__": name,
        "__doc__": cls.__doc__,
        # It has no fields or methods to process.
        "_is_transformed_class": True,
        "__reduce_ex__": reduce_ex,
    }
    new: type[ModuleBase]

    def lift_method(method_name: str, call: LiftedCall) -> Function:
        @functools.wraps(getattr(cls, method_name))
        def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
            fn = getattr(cls, method_name)
            if is_within(self, new):
                return fn(self, *args, **kwargs)
            if type(self) is new:
                return call(fn, self, args, kwargs, cls)
            # A subclass: its own methods are to be found inside, too.
            return call(_marking(fn, new), self, args, kwargs)

        wrapper.method_handler_wrapped = True  # type: ignore[attr-defined]
        return wrapper

    for method_name, own_options in _method_options(methods, options, cls).items():
        call = call_type(transform, own_options)
        if call.argnums:
            call.name_static(getattr(cls, method_name))
        namespace[method_name] = lift_method(method_name, call)
    metaclass = cast(Function, type(cls))
    new = metaclass(name, (cls,), namespace)
    if key is not None:
        if len(memo) >= _MEMO_SIZE:
            memo.pop(next(iter(memo)))
        memo[key] = new
    return new


def _method_options(
    methods: Methods, options: Mapping[str, Any], cls: type
) -> dict[str, Mapping[str, Any]]:
    if methods is None:
        has_call = any("__call__" in base.__dict__ for base in cls.__mro__)
        return {"__call__": options} if has_call else {}
    if isinstance(methods, Mapping):
        return {name: {**options, **own} for name, own in methods.items()}
    if isinstance(methods, (list, tuple, set, frozenset)):
        return dict.fromkeys(methods, options)
    raise ValueError(
        f"The methods to transform must be given as a list, tuple, set or dict of "
        f"their names, but are {methods!r}."
    )


@functools.lru_cache(maxsize=256)
def _marking(fn: Function, cls: type) -> Function:
    """`fn` on a module that is marked to be within the transform of `cls`."""

    @functools.wraps(fn)
    def marking(self: Any, *args: Any, **kwargs: Any) -> Any:
        mark_within(self, cls)
        return fn(self, *args, **kwargs)

    return marking


def _unpickle(again: Callable[[], type[T]]) -> T:
    return object.__new__(again())


def _memo(cls: type) -> dict[Any, type[ModuleBase]]:
    """The classes that were made of a class, kept as long as it is."""
    memo = cls.__dict__.get("_transformed_classes")
    if memo is None:
        memo = {}
        type.__setattr__(cls, "_transformed_classes", memo)
    return memo


def _memo_key(
    remake: Function, options: Mapping[str, Any], methods: Methods
) -> Hashable:
    """A key for a transformed class, or None if there is none.

    There is none for what may hold values of a running call, which must not outlive it.
    """
    try:
        key = (remake, _static_key(options), _static_key(methods))
        hash(key)
    except TypeError:
        return None
    return key


def _static_key(value: Any) -> Hashable:
    """A hashable key that is equal for options of equal effect.

    Raises:
      TypeError: there is none, or what it is made of may hold arrays.
    """
    kind = type(value)
    if kind in _ATOMS:
        return kind, value
    if isinstance(value, Mapping):
        items = [
            (
                name if type(name) is str else _static_key(name),
                (type(x), x) if type(x) in _ATOMS else _static_key(x),
            )
            for name, x in value.items()
        ]
        return Mapping, frozenset(items)
    if isinstance(value, (list, tuple)):
        return kind, tuple(map(_static_key, value))
    if isinstance(value, types.FunctionType):
        if value.__closure__ and not value.__module__.startswith("jax"):
            raise TypeError("A closure may hold anything.")
        return value
    if isinstance(value, (types.MethodType, functools.partial, jax.Array)):
        raise TypeError("It may hold arrays.")
    return static_key(value)
