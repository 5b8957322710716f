"""What `setup` declares, of a module that is not bound to variables.

`model.decoder` of an unbound model is the unbound submodule of that name. To find it,
`setup` runs once, on a copy whose variables have shapes only; nothing is computed, and
what it makes of variables or keys stays undefined. Nobody pays for it who never looks.
"""

from __future__ import annotations

import types
import weakref
from typing import Any, NoReturn

import jax
import jax.core

from batiste.core import Variable
from batiste.core import scope as core_scope
from batiste.core.types import Path

from .. import errors
from ..flags import config
from .context import context
from .state import ModuleBase, ModuleState, own_fields, state_of, try_setup
from .submodules import is_plain, map_modules

__all__ = [
    "MISSING",
    "Opened",
    "Undefined",
    "declared",
    "declared_names",
    "place_of",
]

MISSING = object()
"""What `declared` returns where there is no such attribute."""

# By the objects that every module has of its own, so that modules are let go.
_outlines: weakref.WeakKeyDictionary[ModuleState, dict[str, Any]]
_outlines = weakref.WeakKeyDictionary()
_places: weakref.WeakKeyDictionary[ModuleState, Path] = weakref.WeakKeyDictionary()


def declared(module: ModuleBase, name: str) -> Any:
    """What an attribute that `setup` declares is while the module is unbound.

    Submodules are unbound modules with their names, configuration and `path`.

    Args:
      module: an unbound module.
      name: the attribute.

    Returns:
      The attribute's value, or `MISSING` where `setup` declares none of this name,
      where one of the module's methods is running, which needs it bound, or where the
      module has a parent, which will bind it.

    Raises:
      UndefinedUntilBoundError: its value is made of variables or of PRNG keys, or
        `setup` failed on a copy whose variables have shapes only.

    >>> import batiste.linen as nn
    >>> class Pair(nn.Module):
    ...     def setup(self):
    ...         self.first, self.second = nn.Dense(3), [nn.Dense(4)]
    >>> declared(Pair(), "first").path, declared(Pair(), "second")[0].features
    (('first',), 4)
    """
    if not _opens(module):
        return MISSING
    value = _outline(module, name).get(name, MISSING)
    if isinstance(value, Undefined):
        raise errors.UndefinedUntilBoundError(name, module_cls=type(module))
    return value


def declared_names(module: ModuleBase) -> list[str]:
    """The attributes that `declared` finds, none where `setup` fails.

    >>> import batiste.linen as nn
    >>> declared_names(nn.Dense(3))
    []
    """
    if not _opens(module):
        return []
    try:
        return list(_outline(module, ""))
    except errors.UndefinedUntilBoundError:
        return []


def place_of(module: ModuleBase) -> Path | None:
    """The names from the model to a module that `declared` has found in it.

    >>> import batiste.linen as nn
    >>> print(place_of(nn.Dense(3)))
    None
    """
    return _places.get(state_of(module))


class Undefined:
    """Stands for what `setup` makes of variables or keys while a module is unbound.

    Whatever is done with it raises UndefinedUntilBoundError.

    Args:
      name: the attribute or field that it is in.
      module_cls: the module's class.

    >>> Undefined("scale", "Model")
    <undefined until bound>
    """

    def __init__(self, name: str, module_cls: Any):
        vars(self).update(name=name, module_cls=module_cls)

    def __repr__(self) -> str:
        return "<undefined until bound>"

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        where = vars(self)
        raise errors.UndefinedUntilBoundError(
            where["name"], module_cls=where["module_cls"]
        )

    __getattr__ = __setattr__ = __call__ = __getitem__ = __iter__ = __len__ = _refuse
    __bool__ = __float__ = __int__ = __index__ = __array__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __pow__ = _refuse
    __neg__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse


def _opens(module: ModuleBase) -> bool:
    if not config.unbound_submodules or not type(module)._has_setup:  # noqa: SLF001
        return False
    # A module with a parent will be bound under the name that it is given. What was
    # read before that would be other modules, and sharing them would share nothing.
    if isinstance(vars(module).get("parent"), ModuleBase):
        return False
    return all(running is not module for running in context.modules)


def _outline(module: ModuleBase, name: str) -> dict[str, Any]:
    state = state_of(module)
    found = _outlines.get(state)
    if found is not None:
        return found
    try:
        key = jax.eval_shape(lambda: jax.random.key(0))
        made: dict[str, Any] = {}
        jax.eval_shape(lambda key: _declare(module, key, made), key)
    except Exception as error:
        raise errors.UndefinedUntilBoundError(
            name, module_cls=type(module), failed=True
        ) from error
    _outlines[state] = made
    return made


def _declare(module: ModuleBase, key: Any, made: dict[str, Any]) -> None:
    """Runs `setup` of a bound copy, and puts what it declares into `made`."""
    root = core_scope.empty_scope(key)
    modules = context.modules
    depth = len(modules)
    bound: Any = None
    try:
        # The copies must not become submodules of what is running.
        modules.append(None)
        bound = module.clone(parent=root, _deep_clone=True)
        before = set(vars(bound))
        try_setup(bound)
        opened = Opened(place_of(module) or ())
        for name, value in vars(bound).items():
            if name not in before:
                made[name] = opened.value(value, name, type(module))
    finally:
        del modules[depth:]
        pending = [bound] if bound is not None else []
        while pending:
            for child in state_of(pending.pop()).children.values():
                child.__dict__["parent"] = None
                pending.append(child)
        root.invalidate()


class Opened:
    """Makes unbound modules for bound ones, one for each.

    Args:
      place: the path of the root of those modules.

    >>> import batiste.linen as nn
    >>> layer = nn.Dense(3).bind({})
    >>> Opened(("model",)).module(layer).path
    ('model',)
    """

    def __init__(self, place: Path):
        self.place = place
        self.made: dict[int, tuple[ModuleBase, ModuleBase]] = {}

    def value(self, value: Any, name: str, cls: type) -> Any:
        """The value with unbound modules for bound ones, and without arrays."""

        def one(_: str, found: Any) -> Any:
            if isinstance(found, ModuleBase):
                return self.module(found)
            if isinstance(found, types.MethodType):
                if not isinstance(found.__self__, ModuleBase):
                    return found
                return getattr(self.module(found.__self__), found.__name__)
            return Undefined(name, cls)

        kinds = (ModuleBase, jax.core.Tracer, Variable, types.MethodType)
        return map_modules(one, value, name, kinds=kinds)

    def module(self, bound: ModuleBase) -> ModuleBase:
        """The unbound module in place of a bound one."""
        if bound.scope is None:
            return bound
        if id(bound) not in self.made:
            changes = {
                field: self.value(value, field, type(bound))
                for field in own_fields(bound)
                if not is_plain(value := vars(bound).get(field))
                or isinstance(value, jax.core.Tracer)
            }
            module = bound.clone(**changes)
            _places[state_of(module)] = (*self.place, *bound.path)
            self.made[id(bound)] = bound, module
        return self.made[id(bound)][1]
