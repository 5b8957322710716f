"""The methods by which a module declares, reads and changes its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from jax import numpy as jnp

from batiste.core import Scope, Variable
from batiste.core import errors as core_errors
from batiste.core.traceback_util import api_boundary, hide_frames

from .. import errors
from .state import ModuleBase

__all__ = ["VariableMethods", "merge_param"]

T = TypeVar("T")


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


def _tuple_init() -> tuple:
    return ()


def _tuple_append(xs: tuple, x: Any) -> tuple:
    return (*xs, x)


class VariableMethods(ModuleBase):
    """The part of Module that is about variables and PRNG streams."""

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
            raise errors.NameInUseError(
                "variable", name, type(self).__name__, scope_path=scope.path_text
            )
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
          InvalidScopeError: the call that the module was bound for has ended.
          ValueError: outside of `setup` and `compact`, or the module is unbound.
        """
        try:
            scope = self.scope
            if scope is None:
                scope = self._bound_scope("declare parameters")
            state = self._state
            if not state.in_compact and not state.in_setup:
                raise ValueError(
                    f'The parameter "{name}" of {type(self).__name__} must be '
                    f"initialized in `setup()` or in a method wrapped in `@compact`."
                )
            if scope.invalid:
                raise core_errors.InvalidScopeError(scope.path_text)
            if name in scope.reservations and scope.name_reserved(name, "params"):
                raise errors.NameInUseError(
                    "param", name, type(self).__name__, scope_path=scope.path_text
                )
            return scope.param(name, init_fn, *init_args, unbox=unbox, **init_kwargs)
        except Exception as error:
            hide_frames(error)  # as `api_boundary`, but free where nothing is raised
            raise

    @api_boundary
    def has_variable(self, col: str, name: str) -> bool:
        """Whether the collection has a variable of this name in this module."""
        return self._bound_scope("access variables").has_variable(col, name)

    @api_boundary
    def get_variable(self, col: str, name: str, default: Any = None) -> Any:
        """The value of a variable of this module, or `default` if there is none."""
        return self._bound_scope("access variables").get_variable(col, name, default)

    @api_boundary
    def put_variable(self, col: str, name: str, value: Any) -> None:
        """Sets a variable of this module.

        Raises:
          ModifyScopeVariableError: the collection is not mutable.
        """
        self._bound_scope("access variables").put_variable(col, name, value)

    @api_boundary
    def is_mutable_collection(self, col: str) -> bool:
        """Whether variables of the collection may be made and changed."""
        return self._bound_scope("check mutability").is_mutable_collection(col)

    @property
    @api_boundary
    def variables(self) -> Mapping[str, Any]:
        """This module's part of all collections."""
        return self._bound_scope("access variables").variables()

    @property
    @api_boundary
    def path(self) -> tuple[str, ...]:
        """The names from the root module to this one, empty at the root."""
        return self._bound_scope("access module paths").path

    # PRNG streams.

    @api_boundary
    def has_rng(self, name: str) -> bool:
        """Whether there is a PRNG stream of this name."""
        return self._bound_scope("query for RNGs").has_rng(name)

    @api_boundary
    def make_rng(self, name: str = "params") -> jax.Array:
        """Draws a fresh PRNG key from a stream.

        Keys are determined by the key that the call was given for the stream, the
        path of the module, and the number of keys it has drawn. A stream that was
        not given falls back to "params".

        Raises:
          InvalidRngError: there is no such stream, nor a stream "params".
        """
        return self._bound_scope("use RNGs").make_rng(name)

    @api_boundary
    def is_initializing(self) -> bool:
        """Whether the module runs under `init`."""
        scope = self._bound_scope("check if running under init()")
        return scope.get_flag("initializing", False)

    # Collecting values.

    @api_boundary
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
                raise errors.NameInUseError(
                    "variable", name, type(self).__name__, scope_path=scope.path_text
                )
            scope.reserve(name, col)
            stored = init_fn()
        scope.put_variable(col, name, reduce_fn(stored, value))
        return True

    @api_boundary
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
