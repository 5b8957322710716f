"""The methods that run a module on variables, or without any, to look at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Self

from batiste.core import DenyList
from batiste.core import scope as core_scope
from batiste.core.scope import CollectionFilter
from batiste.core.traceback_util import api_boundary

from .. import errors
from . import running as functional
from .running import CaptureFilter
from .state import ModuleBase
from .variables import VariableMethods

__all__ = ["RunningMethods"]

_ALL_BUT_INTERMEDIATES: Final = DenyList("intermediates")
_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


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
    if not isinstance(module, ModuleBase):
        raise errors.InvalidInstanceModuleError()


class RunningMethods(VariableMethods):
    """The part of Module that binds, initializes, applies and tabulates."""

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
        >>> import batiste.linen as nn
        >>> dense = nn.Dense(3)
        >>> variables = dense.init(jax.random.key(0), jnp.ones((1, 2)))
        >>> dense.bind(variables)(jnp.ones((1, 2))).shape
        (1, 3)
        """
        _check_instance(self)
        scope = core_scope.bind(variables, rngs=rngs, mutable=mutable)
        return self.clone(parent=scope, _deep_clone=True)

    @api_boundary
    def unbind(self) -> tuple[Self, Mapping[str, Any]]:
        """An unbound copy of a bound module, and its variables.

        Raises:
          CallUnbindOnUnboundModuleError: the module is not bound.
        """
        if self.scope is None:
            raise errors.CallUnbindOnUnboundModuleError(module_cls=type(self))
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
          ApplyModuleInvalidMethodError: `method` cannot be called with a module.
          ApplyScopeInvalidVariablesTypeError: `variables` is no mapping of mappings.
          ApplyScopeInvalidVariablesStructureError: it has "params" within "params".
          InvalidRngError: `rngs` is neither a key nor a dict of keys.
          InvalidInstanceModuleError: called on the class.
        """
        _check_instance(self)
        run = functional.make_apply(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(variables, *args, **kwargs, rngs=rngs)

    @api_boundary
    def init_with_output(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
        capture_intermediates: CaptureFilter = False,
        **kwargs: Any,
    ) -> tuple[Any, Any]:
        """As `init`, but returns the method's output and the variables."""
        _check_instance(self)
        run = functional.make_init(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(rngs, *args, **kwargs)

    @api_boundary
    def init(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
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
        run = functional.make_init(
            self._method(method), self, mutable, capture_intermediates
        )
        return run(rngs, *args, **kwargs)[1]

    @api_boundary
    def lazy_init(
        self,
        rngs: Any,
        *args: Any,
        method: Callable[..., Any] | str | None = None,
        mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
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
        from batiste.core import partial_eval

        _check_instance(self)

        def run(rngs: Any, *args: Any) -> Any:
            run_init = functional.make_init(self._method(method), self, mutable, False)
            return run_init(rngs, *args, **kwargs)[1]

        return partial_eval.lazy_init(run)(rngs, *args)

    def _method(self, method: Callable[..., Any] | str | None) -> Callable[..., Any]:
        """The function of a bound module that `method` stands for."""
        if isinstance(method, str):
            return _NamedMethod(method)
        # On the class, `__call__` would be found on its metaclass.
        fn: Any = self.__call__ if method is None else method  # type: ignore
        return getattr(fn, "__func__", fn)

    # Looking at modules.

    def tabulate(
        self,
        rngs: Any,
        *args: Any,
        depth: int | None = None,
        show_repeated: bool = False,
        mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
        console_kwargs: Mapping[str, Any] | None = None,
        table_kwargs: Mapping[str, Any] = _NO_OPTIONS,
        column_kwargs: Mapping[str, Any] = _NO_OPTIONS,
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
        mutable: CollectionFilter = _ALL_BUT_INTERMEDIATES,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The submodules that a call of `__call__` uses, by their paths.

        Arguments as for `tabulate`. The root's path is the empty string; the modules
        are unbound copies.
        """
        from .. import summary

        return summary.module_paths(
            self, rngs, show_repeated=show_repeated, mutable=mutable
        )(*args, **kwargs)
