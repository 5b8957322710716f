"""Modules: layers and models as dataclasses whose methods use variables."""

from __future__ import annotations

import abc
import dataclasses
import os
import types
from typing import Any, Self

from batiste.core import Scope, traceback_util

from .. import errors
from .classes import make_dataclass, make_module_class
from .context import context
from .running_methods import RunningMethods
from .state import ModuleState, SetupState
from .submodules import PLAIN_TYPES, adopt, attach, contains_module, map_modules
from .text import module_repr
from .variables import VariableMethods

__all__ = [
    "Module",
]


traceback_util.register_exclusion(os.path.dirname(os.path.dirname(__file__)))


class _UnspecifiedParent:
    """The default of `parent`: whichever module is running."""

    def __repr__(self) -> str:
        return "<unspecified parent>"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return "_unspecified_parent"


_unspecified_parent = _UnspecifiedParent()


class Module(RunningMethods, metaclass=abc.ABCMeta):
    """The base class of all layers and models.

    A subclass is a dataclass: annotated attributes become arguments of its
    constructor, followed by the keywords `name` and `parent`. Submodules and
    variables are declared in `setup`, or in the one method decorated with
    `compact`. A module holds no arrays; they live in the variables that `init`
    returns and `apply` takes.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class MLP(nn.Module):
    ...     hidden: int
    ...     def setup(self):
    ...         self.first = nn.Dense(self.hidden)
    ...         self.second = nn.Dense(1)
    ...     def __call__(self, x):
    ...         return self.second(nn.relu(self.first(x)))
    >>> model = MLP(hidden=4)
    >>> variables = model.init(jax.random.key(0), jnp.ones((2, 3)))
    >>> model.apply(variables, jnp.ones((2, 3))).shape
    (2, 1)
    """

    parent: Any = dataclasses.field(
        default=_unspecified_parent, kw_only=True, repr=False
    )
    name: str | None = dataclasses.field(default=None, kw_only=True)

    def __init_subclass__(cls, kw_only: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        make_module_class(cls, kw_only)

    # Construction.

    def __post_init__(self) -> None:
        """Finds the module's parent. Overriding methods must call this one.

        Raises:
          AssignSubModuleError: a submodule is made outside of `setup` and `compact`.
          NameInUseError: the parent has something of the same name.
          ValueError: `parent` is no module, scope or None.
        """
        attributes = vars(self)
        state = attributes["_state"] = ModuleState(
            SetupState.NEW if type(self)._has_setup else SetupState.DONE
        )
        attributes["scope"] = None
        # A constructor of the user's own need not set the two.
        name = attributes.setdefault("name", None)
        parent = attributes.setdefault("parent", _unspecified_parent)
        if parent is _unspecified_parent:
            modules = context.modules
            parent = attributes["parent"] = modules[-1] if modules else None
        if parent is None:
            return
        if isinstance(parent, Module):
            parent_state = parent._state
            if name is None:
                if parent_state.in_setup:
                    return  # until it is assigned to an attribute
                if not parent_state.in_compact:
                    raise errors.AssignSubModuleError(type(self), parent=type(parent))
                prefix = type(self).__name__
                index = parent_state.cursors.get(prefix, 0)
                parent_state.cursors[prefix] = index + 1
                attributes["name"] = f"{prefix}_{index}"
            elif not parent_state.in_compact and not parent_state.in_setup:
                raise errors.AssignSubModuleError(type(self), parent=type(parent))
            self._bind()
        elif isinstance(parent, Scope):
            attributes["scope"] = parent
            self._adopt_fields()
            state.attached = True
        else:
            raise ValueError(
                f"The parent of a module must be a Module, a Scope or None, but that "
                f"of this {type(self).__name__} is {parent!r}."
            )

    def _bind(self) -> None:
        """Gives a module that has its parent and name a scope."""
        attach(self.parent, self)
        self._adopt_fields()
        self._state.attached = True

    def _adopt_fields(self) -> None:
        attributes = vars(self)
        for name in type(self)._own_fields:
            value = attributes.get(name)
            if type(value) not in PLAIN_TYPES:
                frozen = adopt(self, name, value)
                if frozen is not value:
                    attributes[name] = frozen

    def setup(self) -> None:
        """Declares submodules and variables; to be overridden.

        It runs once on each bound copy of the module, before the first use of its
        methods or attributes. Attributes can be assigned in it, and only in it.
        """

    setup.is_default_setup = True  # type: ignore[attr-defined]

    def _try_setup(self) -> None:
        """Runs `setup`, if that can be done and has not been."""
        state = self._state
        if self.scope is None or state.in_setup or state.setup is SetupState.DONE:
            return
        state.setup = SetupState.DONE
        scope, attributes, children = self.scope, dict(vars(self)), dict(state.children)
        reserved = {name: set(cols) for name, cols in scope.reservations.items()}
        try:
            self.setup()
        except BaseException:
            # Nothing has happened: it may be tried again.
            state.setup, state.children = SetupState.NEW, children
            scope.reservations = reserved
            vars(self).clear()
            vars(self).update(attributes)
            raise

    # Attributes.

    @traceback_util.api_boundary
    def __setattr__(self, name: str, val: Any) -> None:
        """Sets an attribute, within `setup`.

        Modules, also those within nested containers, become submodules under the
        attribute's name (and `name_0`, `name_key`, ... within lists and dicts).

        Raises:
          SetAttributeFrozenModuleError: the module is bound, outside of `setup`.
          SetAttributeInModuleSetupError: the attribute is a constructor argument.
        """
        attributes = vars(self)
        state = attributes.get("_state")
        if state is None or not state.attached:
            object.__setattr__(self, name, val)
            return
        if not state.in_setup:
            raise errors.SetAttributeFrozenModuleError(type(self), name, val)
        if name in type(self)._init_field_set:
            raise errors.SetAttributeInModuleSetupError(
                module_cls=type(self), attr_name=name
            )
        # A property's setter runs, as anywhere else.
        object.__setattr__(self, name, adopt(self, name, val))

    __setattr__.is_default_setattr = True  # type: ignore[attr-defined]

    @traceback_util.api_boundary
    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there: perhaps `setup` is yet to define it.
        if name == "_state":
            raise errors.IncorrectPostInitOverrideError(module_cls=type(self))
        if not name.startswith("__") and "_state" in vars(self):
            self._try_setup()
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(
            f'"{type(self).__name__}" object has no attribute "{name}". If "{name}" '
            f"is defined in '.setup()', remember these fields are only accessible "
            f"from inside 'init' or 'apply'."
        )

    def __dir__(self) -> list[str]:
        self._try_setup()
        return sorted({*super().__dir__(), *self.__dict__})

    def __repr__(self) -> str:
        return module_repr(self)

    # Copies.

    def clone(
        self,
        *,
        parent: Any = None,
        _deep_clone: bool | dict[int, Module] = False,
        _reset_names: bool = False,
        **updates: Any,
    ) -> Self:
        """A new module made from the same constructor arguments.

        Args:
          parent: the copy's parent; by default none, which leaves it unbound.
          **updates: constructor arguments to change.

        Raises:
          TypeError: there is no such constructor argument.
        """
        attributes = vars(self)
        arguments = {name: attributes[name] for name in type(self)._init_fields}
        if _deep_clone is not False:
            # A module that is given in two places stays one module.
            copies = {} if _deep_clone is True else _deep_clone

            def copy(name: str, module: Module) -> Module:
                if module.parent is None and not _reset_names:
                    return module  # adoption will copy it
                if id(module) not in copies:
                    changes = {"name": None} if _reset_names else {}
                    copies[id(module)] = module.clone(
                        _deep_clone=copies, _reset_names=_reset_names, **changes
                    )
                return copies[id(module)]

            for name in type(self)._own_fields:
                value = arguments[name]
                if type(value) not in PLAIN_TYPES and contains_module(value):
                    arguments[name] = map_modules(copy, value, name)
        arguments.update(updates, parent=parent)
        return type(self)(**arguments)

    def copy(
        self,
        *,
        parent: Any = _unspecified_parent,
        name: str | None = None,
        **updates: Any,
    ) -> Self:
        """A new module made from the same constructor arguments but without a name.

        In a compact method the copy is a new submodule. Arguments as for `clone`.
        """
        return self.clone(parent=parent, name=name, **updates)


make_dataclass(Module)
Module._has_setup = False

# Printed train states show the bound method `apply`. To a user it is `Module.apply`,
# whichever file it is written in.
for _part in (RunningMethods, VariableMethods):
    for _method in vars(_part).values():
        if isinstance(_method, types.FunctionType):
            _method.__module__ = __name__
            _method.__qualname__ = f"Module.{_method.__name__}"
