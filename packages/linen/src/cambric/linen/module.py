"""Modules: layers and models as dataclasses whose methods use variables."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Self, TypeVar, dataclass_transform

import jax
from jax import numpy as jnp

from cambric.core import DenyList, Scope, Variable, errors
from cambric.core import scope as core_scope
from cambric.core.scope import CollectionFilter
from cambric.core.traceback_util import api_boundary

from . import functional
from .base import ModuleBase, ModuleState, SetupState
from .class_info import make_dataclass, make_module_class
from .context import context
from .functional import CaptureFilter
from .module_repr import module_repr
from .submodules import adopt, attach, contains_module, map_modules

__all__ = ["Module", "merge_param"]

T = TypeVar("T")

_INTERMEDIATES: Final = DenyList("intermediates")
_NO_TABLE_OPTIONS: Mapping[str, Any] = MappingProxyType({})


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


def _tuple_init() -> tuple:
    return ()


def _tuple_append(xs: tuple, x: Any) -> tuple:
    return (*xs, x)


@dataclass_transform(kw_only_default=False, field_specifiers=(dataclasses.field,))
class Module(ModuleBase, metaclass=abc.ABCMeta):
    """The base class of all layers and models.

    A subclass is a dataclass: annotated attributes become arguments of its
    constructor, followed by the keywords `name` and `parent`. Submodules and
    variables are declared in `setup`, or in the one method decorated with
    `compact`. A module holds no arrays; they live in the variables that `init`
    returns and `apply` takes.

    >>> import jax, jax.numpy as jnp
    >>> import cambric.linen as nn
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
        attributes = self.__dict__
        state = attributes["_state"] = ModuleState(
            SetupState.NEW if type(self)._has_setup else SetupState.DONE
        )
        attributes["scope"] = None
        parent = attributes["parent"]
        if parent is _unspecified_parent:
            modules = context.modules
            parent = attributes["parent"] = modules[-1] if modules else None
        if parent is None:
            return
        if isinstance(parent, Module):
            parent_state = parent._state
            name = attributes["name"]
            if name is None:
                if parent_state.in_setup:
                    return  # until it is assigned to an attribute
                if not parent_state.in_compact:
                    raise errors.AssignSubModuleError(type(self).__name__)
                prefix = type(self).__name__
                index = parent_state.cursors.get(prefix, 0)
                parent_state.cursors[prefix] = index + 1
                attributes["name"] = f"{prefix}_{index}"
            elif not parent_state.in_compact and not parent_state.in_setup:
                raise errors.AssignSubModuleError(type(self).__name__)
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
        attributes = self.__dict__
        for name in type(self)._own_fields:
            value = attributes.get(name)
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
        try:
            self.setup()
        except BaseException:
            state.setup = SetupState.NEW
            raise

    # Attributes.

    def __setattr__(self, name: str, val: Any) -> None:
        """Sets an attribute, within `setup`.

        Modules, also those within nested containers, become submodules under the
        attribute's name (and `name_0`, `name_key`, ... within lists and dicts).

        Raises:
          SetAttributeFrozenModuleError: the module is bound, outside of `setup`.
          SetAttributeInModuleSetupError: the attribute is a constructor argument.
        """
        attributes = self.__dict__
        state = attributes.get("_state")
        if state is None or not state.attached:
            attributes[name] = val
            return
        if not state.in_setup:
            raise errors.SetAttributeFrozenModuleError(type(self).__name__, name, val)
        if name in type(self)._init_field_set:
            raise errors.SetAttributeInModuleSetupError()
        attributes[name] = adopt(self, name, val)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there: perhaps `setup` is yet to define it.
        if name == "_state":
            raise errors.IncorrectPostInitOverrideError()
        if not name.startswith("__") and "_state" in self.__dict__:
            self._try_setup()
            if name in self.__dict__:
                return self.__dict__[name]
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

    @property
    def _initialization_allowed(self) -> bool:
        return self._state.in_compact or self._state.in_setup

    def _bound_scope(self, purpose: str) -> Scope:
        scope = self.scope
        if scope is None:
            raise ValueError(
                f"Can't {purpose} on unbound modules. Use {type(self).__name__}.init, "
                f".apply or .bind."
            )
        return scope

    # Copies.

    def clone(
        self,
        *,
        parent: Any = None,
        _deep_clone: bool = False,
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
        attributes = self.__dict__
        arguments = {name: attributes[name] for name in type(self)._init_fields}
        if _deep_clone:
            copies: dict[int, Module] = {}

            def copy(name: str, module: Module) -> Module:
                if module.parent is None and not _reset_names:
                    return module  # adoption will copy it
                if id(module) not in copies:
                    changes = {"name": None} if _reset_names else {}
                    copies[id(module)] = module.clone(
                        _deep_clone=True, _reset_names=_reset_names, **changes
                    )
                return copies[id(module)]

            for name in type(self)._own_fields:
                if contains_module(arguments[name]):
                    arguments[name] = map_modules(copy, arguments[name], name)
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

    # Variables.

    def variable(
        self,
        col: str,
        name: str,
        init_fn: Callable[..., T] | None = None,
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> Variable[T]:
        """Declares a variable and returns a handle with a `value` to read and set.

        Args:
          col: the variable's collection.
          name: the variable's name.
          init_fn: makes the first value, from `init_args` and `init_kwargs`. None if
            there must be a value already.
          unbox: whether the handle hides `AxisMetadata` boxes.

        Raises:
          NameInUseError: the module has something of the same name.
          ScopeCollectionNotFound: there is no value, none can be made, and the
            collection is empty.
          ScopeVariableNotFoundError: there is no value and none can be made.
          ValueError: outside of `setup` and `compact`, or the module is unbound.
        """
        scope = self._bound_scope("declare variables")
        if not self._initialization_allowed:
            raise ValueError(
                f'The variable "{name}" of {type(self).__name__} must be initialized '
                f"in `setup()` or in a method wrapped in `@compact`."
            )
        if scope.name_reserved(name, col):
            raise errors.NameInUseError("variable", name, type(self).__name__)
        return scope.variable(
            col, name, init_fn, *init_args, unbox=unbox, **init_kwargs
        )

    def param(
        self,
        name: str,
        init_fn: Callable[..., T],
        *init_args: Any,
        unbox: bool = True,
        **init_kwargs: Any,
    ) -> T:
        """Declares a parameter and returns its value.

        Args:
          name: the parameter's name.
          init_fn: makes the first value, from a fresh key of the stream "params",
            `init_args` and `init_kwargs`.
          unbox: whether to return the value without its `AxisMetadata` box.

        Raises:
          NameInUseError: the module has something of the same name.
          ScopeCollectionNotFound: there are no parameters at all.
          ScopeParamNotFoundError: there is no value and "params" is immutable.
          ScopeParamShapeError: the value has another shape than `init_fn` makes.
          InvalidRngError: there is no stream "params" to make a value from.
          ValueError: outside of `setup` and `compact`, or the module is unbound.
        """
        scope = self.scope
        if scope is None:
            scope = self._bound_scope("declare parameters")
        state = self._state
        if not state.in_compact and not state.in_setup:
            raise ValueError(
                f'The parameter "{name}" of {type(self).__name__} must be initialized '
                f"in `setup()` or in a method wrapped in `@compact`."
            )
        if name in scope.reservations and scope.name_reserved(name, "params"):
            raise errors.NameInUseError("param", name, type(self).__name__)
        return scope.param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)

    def has_variable(self, col: str, name: str) -> bool:
        """Whether the collection has a variable of this name in this module."""
        return self._bound_scope("access variables").has_variable(col, name)

    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """The value of a variable of this module, or `default` if there is none."""
        return self._bound_scope("access variables").get_variable(col, name, default)

    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets a variable of this module.

        Raises:
          ModifyScopeVariableError: the collection is not mutable.
        """
        self._bound_scope("access variables").put_variable(col, name, value)

    def is_mutable_collection(self, col: str) -> bool:
        """Whether variables of the collection may be made and changed."""
        return self._bound_scope("check mutability").is_mutable_collection(col)

    @property
    def variables(self) -> Mapping[str, Any]:
        """This module's part of all collections."""
        return self._bound_scope("access variables").variables()

    @property
    def path(self) -> tuple[str, ...]:
        """The names from the root module to this one, empty at the root."""
        return self._bound_scope("access module paths").path

    # PRNG streams.

    def has_rng(self, name: str) -> bool:
        """Whether there is a PRNG stream of this name."""
        return self._bound_scope("query for RNGs").has_rng(name)

    def make_rng(self, name: str = "params") -> jax.Array:
        """Draws a fresh PRNG key from a stream.

        Keys are determined by the key that the call was given for the stream, the
        path of the module, and the number of keys it has drawn. A stream that was
        not given falls back to "params".

        Raises:
          InvalidRngError: there is no such stream, nor a stream "params".
        """
        return self._bound_scope("use RNGs").make_rng(name)

    def is_initializing(self) -> bool:
        """Whether the module runs under `init`."""
        scope = self._bound_scope("check if running under init()")
        return scope.get_flag("initializing", False)

    # Collecting values.

    def sow(
        self,
        col: str,
        name: str,
        value: Any,
        reduce_fn: Callable[[Any, Any], Any] = _tuple_append,
        init_fn: Callable[[], Any] = _tuple_init,
    ) -> bool:
        """Stores a value in a collection, if the collection is mutable.

        Args:
          col: the collection, for example "intermediates".
          name: the name to store under.
          value: the value.
          reduce_fn: combines what is stored with the value; by default values are
            gathered in a tuple.
          init_fn: makes what the first value is combined with.

        Returns:
          Whether the value was stored.

        Raises:
          NameInUseError: the module has something else of the same name.
        """
        scope = self._bound_scope("store variables")
        if not scope.is_mutable_collection(col):
            return False
        if scope.has_variable(col, name):
            stored = scope.get_variable(col, name)
        else:
            if scope.name_reserved(name, col):
                raise errors.NameInUseError("variable", name, type(self).__name__)
            scope.reserve(name, col)
            stored = init_fn()
        scope.put_variable(col, name, reduce_fn(stored, value))
        return True

    def perturb(self, name: str, value: T, collection: str = "perturbations") -> T:
        """Adds a zero to an intermediate value, to differentiate by.

        At initialization a zero of the value's shape is stored in the collection.
        The gradient of a loss with respect to it is that with respect to the
        value. When `apply` is not given the collection, nothing is added or stored.

        Args:
          name: the perturbation's name.
          value: the intermediate value, an array or a tree of arrays.
          collection: where the zero is kept.

        Returns:
          The value plus the stored perturbation.

        Raises:
          ValueError: the collection was given but lacks this perturbation.
        """
        scope = self._bound_scope("store variables")
        if scope.is_mutable_collection(collection):
            if not scope.has_variable(collection, name):
                scope.reserve(name, collection)
                zeros = jax.tree.map(jnp.zeros_like, value)
                scope.put_variable(collection, name, zeros)
        if collection in scope.root._variables:
            if not scope.has_variable(collection, name):
                raise ValueError(
                    f'The collection "{collection}" was given but has no perturbation '
                    f'"{name}" at "{scope.path_text}". Make it with init.'
                )
            stored = scope.get_variable(collection, name)
            value = jax.tree.map(jnp.add, value, stored)
        return value

    # Running.

    @api_boundary
    def bind(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Any = None,
        mutable: CollectionFilter = False,
    ) -> Self:
        """A copy of the module bound to variables, for interactive use.

        Args:
          variables: the collections.
          *args: not used.
          rngs: a PRNG key for each stream.
          mutable: a filter that selects the collections that may change.

        Raises:
          InvalidInstanceModuleError: called on the class.
          As `apply`, for its arguments.

        >>> import jax, jax.numpy as jnp
        >>> import cambric.linen as nn
        >>> dense = nn.Dense(3)
        >>> variables = dense.init(jax.random.key(0), jnp.ones((1, 2)))
        >>> dense.bind(variables)(jnp.ones((1, 2))).shape
        (1, 3)
        """
        _check_instance(self)
        scope = core_scope.bind(variables, rngs=rngs, mutable=mutable)
        return self.clone(parent=scope, _deep_clone=True)

    def unbind(self) -> tuple[Self, Mapping[str, Any]]:
        """An unbound copy of a bound module, and its variables.

        Raises:
          CallUnbindOnUnboundModuleError: the module is not bound.
        """
        if self.scope is None:
            raise errors.CallUnbindOnUnboundModuleError()
        return (
            self.clone(_deep_clone=True, _reset_names=True, name=None),
            self.variables,
        )

    @api_boundary
    def apply(
        self,
        variables: Mapping[str, Any],
        *args: Any,
        rngs: Any = None,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = False,
        capture_intermediates: CaptureFilter = False,
        **kwargs: Any,
    ) -> Any:
        """Runs a method on the given variables.

        Args:
          variables: the collections, a mapping from collection names to nested dicts.
          *args: positional arguments of the method.
          rngs: a PRNG key for each stream, or one key for the stream "params".
          method: the method, by default `__call__`. A method, its name, the name of
            a submodule, or any function whose first argument is a module.
          mutable: a filter that selects the collections that may change.
          capture_intermediates: whether to store what methods return in the
            collection "intermediates". True for all `__call__`s; a function
            `(module, method_name) -> bool` for a choice.
          **kwargs: keyword arguments of the method.

        Returns:
          What the method returns; if `mutable` is not False (or intermediates are
          captured), that and the mutable collections.

        Raises:
          ApplyModuleInvalidMethodError: `method` is not callable.
          ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
          ApplyScopeInvalidVariablesStructureError: it has "params" within "params".
          InvalidRngError: `rngs` is neither a key nor a dict of keys.
          InvalidInstanceModuleError: called on the class.
        """
        _check_instance(self)
        run = functional.apply(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(variables, *args, **kwargs, rngs=rngs)

    @api_boundary
    def init_with_output(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _INTERMEDIATES,
        capture_intermediates: CaptureFilter = False,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """As `init`, but returns the method's output and the variables."""
        _check_instance(self)
        run = functional.init_with_output(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(rngs, *args, **kwargs)

    @api_boundary
    def init(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _INTERMEDIATES,
        capture_intermediates: CaptureFilter = False,
        **kwargs: Any,
    ) -> Any:
        """Runs a method to make the variables that it declares.

        Under `jax.jit` only the shapes of the arguments matter, and nothing but the
        variables is computed.

        Args:
          rngs: one PRNG key, for the stream "params", or a dict of them by stream.
          *args: positional arguments of the method.
          method: as for `apply`.
          mutable: a filter that selects the collections to initialize.
          capture_intermediates: as for `apply`.
          **kwargs: keyword arguments of the method.

        Returns:
          The variables, a mapping from collection names to nested dicts.

        Raises:
          InvalidRngError: `rngs` is neither a key nor a dict of keys.
          InvalidInstanceModuleError: called on the class.
        """
        _check_instance(self)
        run = functional.init_with_output(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(rngs, *args, **kwargs)[1]

    @api_boundary
    def lazy_init(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _INTERMEDIATES,
        **kwargs: Any,
    ) -> Any:
        """As `init`, but computes nothing that the variables do not need.

        Arguments may be `jax.ShapeDtypeStruct`s.

        Raises:
          LazyInitError: a variable depends on the value of such an argument.

        >>> import jax
        >>> import cambric.linen as nn
        >>> x = jax.ShapeDtypeStruct((1024, 2), "float32")
        >>> variables = nn.Dense(3).lazy_init(jax.random.key(0), x)
        >>> variables["params"]["kernel"].shape
        (2, 3)
        """
        from cambric.core import partial_eval

        _check_instance(self)

        def run(rngs: Any, *args: Any) -> Any:
            run_init = functional.init(self._method(method), self, mutable)
            return run_init(rngs, *args, **kwargs)

        return partial_eval.lazy_init(run)(rngs, *args)

    def _method(self, method: Callable[..., Any] | str | None) -> Callable[..., Any]:
        """The function of a bound module that `method` stands for."""
        if method is None:
            return type(self).__call__  # type: ignore[attr-defined]
        if isinstance(method, str):
            return _NamedMethod(method)
        return getattr(method, "__func__", method)

    # Looking at modules.

    def tabulate(
        self,
        rngs: Any,
        *args: Any,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = _INTERMEDIATES,
        console_kwargs: Mapping[str, Any] | None = None,
        table_kwargs: Mapping[str, Any] = _NO_TABLE_OPTIONS,
        column_kwargs: Mapping[str, Any] = _NO_TABLE_OPTIONS,
        compute_flops: bool = False,
        compute_vjp_flops: bool = False,
        **kwargs: Any,
    ) -> str:
        """A table of the module's submodules, their inputs, outputs and variables.

        The module runs abstractly: nothing is computed or allocated.

        Args:
          rngs: PRNG keys, as for `init`.
          *args: positional arguments of `__call__`; arrays or their shapes.
          depth: how many levels of submodules to show; all by default.
          show_repeated: whether to show later calls of the same module, too.
          mutable: a filter that selects the collections to show.
          console_kwargs: options of `rich.console.Console`.
          table_kwargs: options of `rich.table.Table`.
          column_kwargs: options of each column of the table.
          compute_flops: whether to show the cost of each call, in floating point
            operations.
          compute_vjp_flops: whether to show the cost of each call's gradient.
          **kwargs: keyword arguments of `__call__`.
        """
        from . import summary

        return summary.tabulate(
            self,
            rngs,
            depth=depth,
            show_repeated=show_repeated,
            mutable=mutable,
            console_kwargs=console_kwargs,
            table_kwargs=table_kwargs,
            column_kwargs=column_kwargs,
            compute_flops=compute_flops,
            compute_vjp_flops=compute_vjp_flops,
        )(*args, **kwargs)

    def module_paths(
        self,
        rngs: Any,
        *args: Any,
        show_repeated: bool = False,
        mutable: CollectionFilter = _INTERMEDIATES,
        **kwargs: Any,
    ) -> dict[str, Module]:
        """The submodules that a call of `__call__` uses, by their paths.

        Arguments as for `tabulate`. The root's path is the empty string; the modules
        are unbound copies.
        """
        from . import summary

        return summary.module_paths(
            self, rngs, show_repeated=show_repeated, mutable=mutable
        )(*args, **kwargs)


class _NamedMethod:
    """A function of a bound module: its method, or submodule, of a given name."""

    def __init__(self, name: str):
        self.__name__ = name

    def __call__(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(module, self.__name__)
        if not callable(method):
            raise TypeError(
                f"'{type(module).__name__}.{self.__name__}' must be a callable, got "
                f"{type(method)}."
            )
        return method(*args, **kwargs)


def _check_instance(module: Any) -> None:
    if not isinstance(module, Module):
        raise errors.InvalidInstanceModuleError()


def merge_param(name: str, a: T | None, b: T | None) -> T:
    """The one of two values, a constructor's and a call's argument, that is given.

    Args:
      name: the argument's name, for the message.
      a: the constructor's argument, or None.
      b: the call's argument, or None.

    Raises:
      ValueError: both are given, or neither.

    >>> merge_param("deterministic", None, True)
    True
    """
    if a is None and b is None:
        raise ValueError(
            f'Parameter "{name}" must be passed to the constructor or at call time.'
        )
    if a is not None and b is not None:
        raise ValueError(
            f'Parameter "{name}" was passed to the constructor and at call time. '
            f"Should be passed just once."
        )
    return b if a is None else a  # type: ignore[return-value]


make_dataclass(Module)
