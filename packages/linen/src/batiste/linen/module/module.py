"""Module: layers and models as dataclasses whose methods use variables."""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import jax

from batiste.core import Scope, Variable
from batiste.core import errors as core_errors
from batiste.core import scope as core_scope
from batiste.core.scope import CollectionFilter, union_filters
from batiste.core.traceback_util import api_boundary, hide_frames, register_exclusion
from batiste.core.types import Function, Path, Tree, Variables

from .. import errors
from ..flags import config
from . import own_constructors
from . import variables as of_variables
from .classes import make_dataclass, make_module_class
from .context import context
from .methods import compact
from .outline import MISSING, declared, declared_names, place_of
from .running import (
    ALL_BUT_INTERMEDIATES,
    CaptureFilter,
    check_instance,
    function_of,
    run,
)
from .state import ModuleBase, ModuleState, SetupState, state_of
from .submodules import (
    PLAIN_TYPES,
    adopt,
    adopt_fields,
    attach,
    clone_within,
    contains_module,
)
from .text import module_repr, too_deep
from .variables import bound_scope

if TYPE_CHECKING:
    from ..summary import TableText

__all__ = ["CompactNameScope", "Module"]

T = TypeVar("T")

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})

_OF_NOTEBOOKS = ("_repr_", "_ipython_")

register_exclusion(os.path.dirname(os.path.dirname(__file__)))


class _UnspecifiedParent:
    """The default of `parent`: whichever module is running."""

    def __repr__(self) -> str:
        return "<unspecified parent>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> str:
        return "_unspecified_parent"


_unspecified_parent = _UnspecifiedParent()


class Module(ModuleBase, metaclass=abc.ABCMeta):
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
        guarded = cls.__setattr__ is Module.__setattr__
        make_module_class(cls, kw_only, guarded)
        cls._has_setup = cls.setup is not Module.setup or bool(cls._name_scopes)

    # Construction.

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_parent_ref" not in state:
            vars(self).update(state)
            return
        # Flax has pickled it: the fields are the same, its own attributes are not.
        foreign = ("_parent_ref", "_state", "_id")
        values = {name: x for name, x in state.items() if name not in foreign}
        vars(self).update(values, parent=None)
        Module.__post_init__(self)

    def __post_init__(self) -> None:
        """Finds the module's parent. Overriding methods must call this one.

        Raises:
          AssignSubModuleError: a submodule is made outside of `setup` and `compact`.
          NameInUseError: the parent has something of the same name.
          ValueError: `parent` is no module, scope or None.
        """
        attributes = vars(self)
        cls = type(self)
        state = attributes["_state"] = ModuleState(
            SetupState.NEW if cls._has_setup else SetupState.DONE
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
        if isinstance(parent, Scope):
            attributes["scope"] = parent
        elif isinstance(parent, Module):
            parent_state = state_of(parent)
            if parent_state.in_setup and name is None:
                return  # until it is assigned to an attribute
            if not parent_state.in_compact and not parent_state.in_setup:
                raise errors.AssignSubModuleError(cls, parent=type(parent))
            if name is None:
                index = parent_state.cursors.get(cls.__name__, 0)
                parent_state.cursors[cls.__name__] = index + 1
                attributes["name"] = f"{cls.__name__}_{index}"
            attach(self, parent)
        else:
            raise ValueError(
                f"The parent of a module is a Module, a Scope or None, but this "
                f"{cls.__name__} was given {parent!r}."
            )
        if not PLAIN_TYPES.issuperset(map(type, map(attributes.get, cls._own_fields))):
            adopt_fields(self)
        state.attached = True

    def setup(self) -> None:
        """Declares submodules and variables; to be overridden.

        It runs once on each bound copy of the module, before the first use of its
        methods or attributes. Attributes can be assigned in it, and only in it.
        """

    def _try_setup(self) -> None:
        """Runs `setup`, if that can be done and has not been."""
        state = self._state
        if self.scope is None or state.in_setup or state.setup is SetupState.DONE:
            return
        scope, attributes, children = self.scope, dict(vars(self)), dict(state.children)
        if scope.path in context.replaced and isinstance(self.parent, Module):
            state.setup = SetupState.DONE
            return
        reserved = {name: set(cols) for name, cols in scope.reservations.items()}
        try:
            state.setup = SetupState.DONE
            if self._name_scopes and config.name_scopes_in_caller:
                self._make_name_scopes()
            self.setup()
        except BaseException:
            # Nothing has happened: it may be tried again.
            state.setup, state.children = SetupState.NEW, children
            scope.reservations = reserved
            vars(self).clear()
            vars(self).update(attributes)
            raise
        state.setup_names = frozenset(scope.reservations.keys() - reserved.keys())

    # Attributes.

    @api_boundary
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
        if name in self._init_field_set:
            raise errors.SetAttributeInModuleSetupError(
                module_cls=type(self), attr_name=name
            )
        # A property's setter runs, as anywhere else.
        object.__setattr__(self, name, adopt(self, name, val))

    @api_boundary
    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there: perhaps `setup` is yet to define it.
        if name == "_state":
            raise errors.IncorrectPostInitOverrideError(module_cls=type(self))
        # Notebooks ask each object for many; they are not to run `setup`.
        display = name.endswith("_") and name.startswith(_OF_NOTEBOOKS)
        if not display and not name.startswith("__") and "_state" in vars(self):
            self._try_setup()
            if name in vars(self):
                return vars(self)[name]
            if self.scope is None and (value := declared(self, name)) is not MISSING:
                return value
        # The documentation shows this text.
        raise AttributeError(
            f'"{type(self).__name__}" object has no attribute "{name}". If "{name}" '
            f"is defined in '.setup()', remember these fields are only accessible "
            f"from inside 'init' or 'apply'."
        )

    def __dir__(self) -> list[str]:
        self._try_setup()
        found = declared_names(self) if self.scope is None else ()
        return sorted({*super().__dir__(), *self.__dict__, *found})

    def __repr__(self) -> str:
        try:
            return module_repr(self)
        except RecursionError:
            return f"{type(self).__name__}(...)"  # the rest is shown

    def _repr_html_(self) -> str | None:
        from .notebook import module_html  # only notebooks ask for it

        return module_html(self)

    # Copies.

    def clone(
        self,
        *,
        parent: Any = None,
        _deep_clone: bool | dict[int, Module] = False,
        _reset_names: bool = False,
        **updates: Any,
    ) -> Self:
        """Makes a new module from the same constructor arguments.

        Args:
          parent: the copy's parent; by default none, which leaves it unbound.
          **updates: constructor arguments to change.

        Raises:
          TypeError: there is no such constructor argument.

        >>> import batiste.linen as nn
        >>> nn.Dense(3).clone(features=4).features
        4
        """
        attributes = vars(self)
        names = self._init_fields
        try:
            arguments = {name: attributes[name] for name in names}
        except KeyError as error:
            raise own_constructors.not_set(self, error.args[0]) from None
        if _deep_clone is not False:
            # A module that is given in two places stays one module.
            copies = {} if _deep_clone is True else _deep_clone
            for name in self._own_fields:
                value = arguments[name]
                if type(value) not in PLAIN_TYPES and contains_module(value):
                    arguments[name] = clone_within(value, copies, _reset_names)
        arguments.update(updates, parent=parent)
        if self._own_init:
            return own_constructors.construct(type(self), arguments)
        return type(self)(**arguments)

    def copy(
        self,
        *,
        parent: Any = _unspecified_parent,
        name: str | None = None,
        **updates: Any,
    ) -> Self:
        """Makes a new module from the same constructor arguments but without a name.

        In a compact method the copy is a new submodule.

        Args:
          parent: the copy's parent; by default the module that is running.
          name: the copy's name.
          **updates: constructor arguments to change.

        Raises:
          As `clone`.

        >>> import batiste.linen as nn
        >>> nn.Dense(3, name="layer").copy().name is None
        True
        """
        return self.clone(parent=parent, name=name, **updates)

    # Running.

    # `bind`, `apply`, `init` and `param` are called most: each hides the frames of an
    # error itself, where the others are wrapped in `api_boundary`.

    def bind(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        mutable: CollectionFilter = False,
    ) -> Self:
        """Makes a copy of the module bound to variables, for interactive use.

        Args:
          variables: the collections.
          *args: not used.
          rngs: a PRNG key for each stream.
          mutable: a filter that selects the collections that may change.

        Raises:
          InvalidInstanceModuleError: called on the class.
          As `apply`, for its arguments.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> dense = nn.Dense(3)
        >>> variables = dense.init(jax.random.key(0), jnp.ones((1, 2)))
        >>> dense.bind(variables)(jnp.ones((1, 2))).shape
        (1, 3)
        """
        try:
            check_instance(self)
            root = core_scope.bind(variables, rngs=rngs, mutable=mutable)
            try:
                return self.clone(parent=root, _deep_clone=True)
            except RecursionError as error:
                raise too_deep(error) from None
        except Exception as error:
            hide_frames(error)
            raise

    @api_boundary
    def unbind(self) -> tuple[Self, Variables]:
        """Takes apart: an unbound copy of a bound module, and its variables.

        Raises:
          CallUnbindOnUnboundModuleError: the module is not bound.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> variables = nn.Dense(3).init(jax.random.key(0), jnp.ones((1, 2)))
        >>> module, same_variables = nn.Dense(3).bind(variables).unbind()
        >>> module == nn.Dense(3)
        True
        """
        if self.scope is None:
            raise errors.CallUnbindOnUnboundModuleError(module_cls=type(self))
        module = self.clone(_deep_clone=True, _reset_names=True, name=None)
        return module, self.variables

    def apply(
        self,
        variables: Variables,
        *args: Any,
        rngs: Any = None,
        method: Function | str | None = None,
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
          ApplyModuleInvalidMethodError: `method` cannot be called with a module.
          ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
          ApplyScopeInvalidVariablesStructureError: it has "params" within "params".
          InvalidRngError: `rngs` is neither a key nor a dict of keys.
          InvalidInstanceModuleError: called on the class.
          ModuleDepthError: modules are nested too deep for Python's recursion limit.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> dense = nn.Dense(3)
        >>> variables = dense.init(jax.random.key(0), jnp.ones((1, 2)))
        >>> dense.apply(variables, jnp.ones((1, 2))).shape
        (1, 3)
        """
        try:
            fn = function_of(self, method)
            if capture_intermediates:
                mutable = union_filters(mutable, "intermediates")
            root = core_scope.bind(variables, rngs=rngs, mutable=mutable)
            return run(fn, self, root, args, kwargs, capture_intermediates)
        except Exception as error:
            hide_frames(error)
            raise

    def init_with_output(
        self,
        rngs: Any,
        *args: Any,
        method: Function | str | None = None,
        mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
        capture_intermediates: CaptureFilter = False,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """As `init`, but returns the method's output and the variables.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> y, _ = nn.Dense(3).init_with_output(jax.random.key(0), jnp.ones((1, 2)))
        >>> y.shape
        (1, 3)
        """
        try:
            fn = function_of(self, method)
            if capture_intermediates:
                mutable = union_filters(mutable, "intermediates")
            root = core_scope.empty_scope(rngs, mutable=mutable)
            return run(fn, self, root, args, kwargs, capture_intermediates)
        except Exception as error:
            hide_frames(error)
            raise

    def init(
        self,
        rngs: Any,
        *args: Any,
        method: Function | str | None = None,
        mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
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
          ModuleDepthError: modules are nested too deep for Python's recursion limit.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> variables = nn.Dense(3).init(jax.random.key(0), jnp.ones((1, 2)))
        >>> variables["params"]["kernel"].shape
        (2, 3)
        """
        try:
            fn = function_of(self, method)
            if capture_intermediates:
                mutable = union_filters(mutable, "intermediates")
            root = core_scope.empty_scope(rngs, mutable=mutable)
            return run(fn, self, root, args, kwargs, capture_intermediates)[1]
        except Exception as error:
            hide_frames(error)
            raise

    @api_boundary
    def lazy_init(
        self,
        rngs: Any,
        *args: Any,
        method: Function | str | None = None,
        mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
        **kwargs: Any,
    ) -> Any:
        """As `init`, but computes nothing that the variables do not need.

        Arguments may be `jax.ShapeDtypeStruct`s.

        Raises:
          LazyInitError: a variable depends on the value of such an argument.

        >>> import jax
        >>> import batiste.linen as nn
        >>> x = jax.ShapeDtypeStruct((1024, 2), "float32")
        >>> variables = nn.Dense(3).lazy_init(jax.random.key(0), x)
        >>> variables["params"]["kernel"].shape
        (2, 3)
        """
        from batiste.core import partial_eval  # most programs need it never

        fn = function_of(self, method)

        def run_init(rngs: Any, *args: Any) -> Any:
            root = core_scope.empty_scope(rngs, mutable=mutable)
            return run(fn, self, root, args, kwargs)[1]

        return partial_eval.lazy_init(run_init)(rngs, *args)

    def tabulate(
        self,
        rngs: Any,
        *args: Any,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
        console_kwargs: Mapping[str, Any] | None = None,
        table_kwargs: Mapping[str, Any] = _NO_OPTIONS,
        column_kwargs: Mapping[str, Any] = _NO_OPTIONS,
        compute_flops: bool = False,
        compute_vjp_flops: bool = False,
        **kwargs: Any,
    ) -> TableText:
        """Tabulates the submodules, their inputs, outputs and variables.

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

        Returns:
          The table as text, with its rows as data in the attribute `rows`. Notebooks
          show it as a tree that folds.
        """
        from .. import summary

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
        mutable: CollectionFilter = ALL_BUT_INTERMEDIATES,
        **kwargs: Any,
    ) -> dict[str, Module]:
        """Finds the submodules that a call of `__call__` uses, by their paths.

        Arguments as for `tabulate`. The root's path is the empty string; the modules
        are unbound copies.

        >>> import jax, jax.numpy as jnp
        >>> import batiste.linen as nn
        >>> model = nn.Sequential([nn.Dense(3)])
        >>> list(model.module_paths(jax.random.key(0), jnp.ones((1, 2))))
        ['', 'layers_0']
        """
        from .. import summary

        return summary.module_paths(
            self, rngs, show_repeated=show_repeated, mutable=mutable
        )(*args, **kwargs)

    # Variables.

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
          init_fn: makes the first value, from a fresh key of the stream "params" and
            the arguments that follow: `init_fn(key, *init_args, **init_kwargs)`.
          *init_args: usually the shape and the dtype.
          unbox: whether to return the value without its `AxisMetadata` box.
          **init_kwargs: keyword arguments of `init_fn`.

        Returns:
          The value, an array or whatever `init_fn` makes.

        Raises:
          NameInUseError: the module has something of the same name.
          ScopeCollectionNotFound: there are no parameters at all.
          ScopeParamNotFoundError: there is no value and "params" is immutable.
          ScopeParamShapeError: the value has another shape than `init_fn` makes.
          InvalidRngError: there is no stream "params" to make a value from.
          InvalidScopeError: the call that the module was bound for has ended.
          ValueError: outside of `setup` and `compact`, or the module is unbound.
        """
        try:
            scope = self.scope
            if scope is None:
                scope = bound_scope(self, "declare parameters")
            state = self._state
            if not state.in_compact and not state.in_setup:
                raise of_variables.not_declaring(self, "parameter", name)
            if scope.invalid:
                raise core_errors.InvalidScopeError(scope.path_text)
            if name in scope.reservations and scope.name_reserved(name, "params"):
                raise of_variables.name_in_use(self, scope, "param", name)
            return scope.param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)
        except Exception as error:
            hide_frames(error)
            raise

    @api_boundary
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
          init_fn: makes the first value: `init_fn(*init_args, **init_kwargs)`. None
            if there must be a value already.
          *init_args: arguments of `init_fn`.
          unbox: whether the handle hides `AxisMetadata` boxes.
          **init_kwargs: keyword arguments of `init_fn`.

        Returns:
          The handle.

        Raises:
          NameInUseError: the module has something of the same name.
          ScopeCollectionNotFound: there is no value, none can be made, and the
            collection is empty.
          ScopeVariableNotFoundError: there is no value and none can be made.
          ValueError: outside of `setup` and `compact`, or the module is unbound.
        """
        return of_variables.declare_variable(
            self, col, name, init_fn, init_args, init_kwargs, unbox
        )

    @api_boundary
    def has_variable(self, col: str, name: str) -> bool:
        """Tells whether the collection has a variable of this name in this module."""
        return bound_scope(self, "access variables").has_variable(col, name)

    @api_boundary
    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """Returns the value of a variable of this module, or `default`."""
        return bound_scope(self, "access variables").get_variable(col, name, default)

    @api_boundary
    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets a variable of this module.

        Raises:
          ModifyScopeVariableError: the collection is not mutable.
        """
        bound_scope(self, "access variables").put_variable(col, name, value)

    @api_boundary
    def is_mutable_collection(self, col: str) -> bool:
        """Tells whether variables of the collection may be made and changed."""
        return bound_scope(self, "check mutability").is_mutable_collection(col)

    @property
    @api_boundary
    def variables(self) -> Variables:
        """This module's part of all collections."""
        return bound_scope(self, "access variables").variables()

    @property
    @api_boundary
    def path(self) -> Path:
        """The names from the root module to this one, empty at the root.

        A submodule that was found as an attribute of an unbound model has one, too.

        Raises:
          ValueError: the module is neither bound nor found in such a way.
        """
        if self.scope is None and (place := place_of(self)) is not None:
            return place
        return bound_scope(self, "access module paths").shown_path

    @api_boundary
    def sow(
        self,
        col: str,
        name: str,
        value: Any,
        reduce_fn: Callable[[Any, Any], Any] = of_variables.append,
        init_fn: Callable[[], Any] = of_variables.empty,
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
          ModifyScopeVariableError: the collection is mutable, but a lifted transform
            around the module, such as a scan, does not pass it out. (A warning, without
            config `documented_checks`.)
        """
        return of_variables.sow(self, col, name, value, reduce_fn, init_fn)

    @api_boundary
    def perturb(
        self, name: str, value: Tree, collection: str = "perturbations"
    ) -> Tree:
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
          ValueError: the collection was given but lacks this perturbation, or has it
            for a value of another shape.
        """
        return of_variables.perturb(self, name, value, collection)

    # PRNG streams.

    @api_boundary
    def has_rng(self, name: str) -> bool:
        """Tells whether there is a PRNG stream of this name."""
        return bound_scope(self, "query for RNGs").has_rng(name)

    @api_boundary
    def make_rng(self, name: str = "params") -> jax.Array:
        """Draws a fresh PRNG key from a stream.

        Keys are determined by the key that the call was given for the stream, the
        path of the module, and the number of keys it has drawn. A stream that was
        not given falls back to "params".

        Raises:
          InvalidRngError: there is no such stream, nor a stream "params".
        """
        return bound_scope(self, "use RNGs").make_rng(name)

    @api_boundary
    def is_initializing(self) -> bool:
        """Tells whether the module runs under `init`."""
        scope = bound_scope(self, "check if running under init()")
        return scope.get_flag("initializing", False)

    # Methods with a name scope of their own.

    def _name_scope(self, fn: Function) -> CompactNameScope:
        """The submodule for a method of this bound module, made when first asked.

        Raises:
          NameInUseError: another submodule of the module has the method's name.
        """
        child = self._state.children.get(fn.__name__)
        if not isinstance(child, CompactNameScope):
            child = CompactNameScope(fn, parent=None, name=fn.__name__)
            attach(child, self)
            state_of(child).attached = True
        return child

    def _make_name_scopes(self) -> None:
        """Puts the submodules for methods beside this module, below its first caller.

        Raises:
          AssignSubModuleError: the caller is neither in a compact method nor in setup.
          NameInUseError: a method has the name of something in the caller.
        """
        caller: Any = context.modules[-1] if context.modules else None
        scope: Any = self.scope
        if caller is None or caller.scope is None or caller.scope.tree != scope.tree:
            caller = self  # also where this one alone is within a transform
        state = state_of(caller)
        if caller is not self and not state.in_compact and not state.in_setup:
            raise errors.AssignSubModuleError(CompactNameScope, parent=type(caller))
        for name in self._name_scopes:
            child = CompactNameScope(getattr(type(self), name), parent=None, name=name)
            attach(child, caller)
            # It runs a method of this module.
            vars(child)["parent"] = self
            self._state.children[name] = child
            state_of(child).attached = True


make_dataclass(Module)


class CompactNameScope(Module):
    """Runs a method of its parent so that what it constructs belongs to this module.

    Attributes:
      fn: the method, as a function of the parent.
    """

    fn: Function

    @compact
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls `fn` on the parent."""
        return self.fn(self.parent, *args, **kwargs)
