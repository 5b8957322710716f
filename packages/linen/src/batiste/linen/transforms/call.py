"""One call of a lifted transform, with modules for scopes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

import jax

from batiste.core import Scope
from batiste.core.config import config
from batiste.core.static_args import as_tuple, static_args
from batiste.core.types import Function, Tree

from ..module.state import ModuleBase, state_of
from .folding import FoldedRngs
from .inner_names import Names, commit_names, made_names
from .module_map import ModuleMap, ModuleSlot, Rebuilt, check_output

__all__ = [
    "LiftedBody",
    "LiftedCall",
    "commit_cursors",
    "continues_names",
    "runs_unbound",
]


# Methods of Module that make or take variables, and so are called on unbound modules.
_RUNNERS: Final = frozenset({"apply", "init", "init_with_output", "lazy_init"})

_NONE: Final[Names] = MappingProxyType({})


class LiftedBody:
    """A function of modules as a function of scopes, to give to `batiste.core.lift`.

    It keeps no scope alive, as JAX may keep it for long.

    Args:
      fn: the function; its first argument is a module.
      module_map: the modules of the call, all of them added.
      target: the slot of the first argument, or a tree of slots.
      kwargs: keyword arguments that do not pass through the transform.

    Attributes:
      cursors: after a call, the numbers of the module's next unnamed submodules.
      made: after a call, the names that were given in it; see `made_names`.
      taken: before a call, the names that are taken inside.
    """

    def __init__(
        self,
        fn: Function,
        module_map: ModuleMap,
        target: Tree,
        kwargs: Mapping[str, Tree] | None = None,
        taken: Names = _NONE,
    ):
        self.cursors: dict[str, int] = {}
        self.made: tuple[tuple[str, str], ...] = ()
        self.taken = taken
        self._fn = fn
        self._specs = module_map.specs
        self._has_slots = module_map.has_slots
        self._target = target
        self._kwargs = kwargs
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __call__(self, scopes: list[Scope], *args: Tree, **kwargs: Tree) -> Tree:
        """Makes the modules on lifted scopes, and runs the function on them.

        Raises:
          TransformedMethodReturnValueError: it returns a module or variable.
        """
        rebuilt = Rebuilt(self._specs, scopes, self.taken)
        try:
            target = self._target
            if type(target) is ModuleSlot:
                module = rebuilt.modules[target.index]
            else:
                module = rebuilt.fill(target)
            if self._kwargs:
                kwargs = {**self._kwargs, **kwargs}
            if self._has_slots:
                args = tuple([rebuilt.fill(arg) for arg in args])
                kwargs = {name: rebuilt.fill(value) for name, value in kwargs.items()}
            y = self._fn(module, *args, **kwargs)
            check_output(y, self.__name__)
            if isinstance(module, ModuleBase):
                self.cursors = state_of(module).cursors
                self.made = ()
                if module.scope is not None and module.scope.reservations:
                    self.made = made_names(module, self.taken.get(target.index, {}))
            return y
        finally:
            rebuilt.release()


@dataclasses.dataclass(frozen=True, slots=True)
class _BodyAndScopes:
    """The scopes of one call as a pytree, and what is to be run on them inside."""

    body: LiftedBody
    scopes: list[Scope]


jax.tree_util.register_dataclass(
    _BodyAndScopes, data_fields=["scopes"], meta_fields=["body"]
)


def _run_body(call: _BodyAndScopes, *args: Tree, **kwargs: Tree) -> Tree:
    return call.body(call.scopes, *args, **kwargs)


class LiftedCall:
    """Runs functions of modules through a transform of functions of scopes.

    Args:
      transform: the transform, one of `batiste.core.lift`.
      options: its keyword arguments.
    """

    transforms_kwargs: ClassVar[bool] = False
    """Whether keyword arguments pass through the transform, not around it."""

    argnums: ClassVar[tuple[str, ...]] = ()
    """The options that are positions of arguments, of which the module is number 0."""

    folds_rngs: ClassVar[bool] = False
    """Whether the transform starts the streams of scopes anew."""

    def __init__(self, transform: Function, options: Mapping[str, Any]):
        self.transform = transform
        self._given = options
        self.options = {
            name: _without_module(option) if name in self.argnums else option
            for name, option in options.items()
        }
        # Made once, at the first call, for all bodies.
        self._lifted: Function | None = None

    def name_static(self, fn: Function) -> None:
        """Lets static arguments of a function be passed by position or by keyword.

        To be called before the first call, with the function that is going to be run.

        Raises:
          InvalidArgumentError: it has no such argument.
        """
        if "static_argnums" not in self.argnums:
            return
        numbers, names = static_args(
            self.transform.__name__,
            fn,
            as_tuple(self._given["static_argnums"]),
            as_tuple(self._given.get("static_argnames", ())),
            skipped=0,
        )
        self.options["static_argnums"] = _without_module(numbers)
        self.options["static_argnames"] = names

    def __call__(
        self,
        fn: Function,
        module: Tree,
        args: tuple[Tree, ...],
        kwargs: Mapping[str, Tree],
        cls: type[ModuleBase] | None = None,
    ) -> Tree:
        """Returns `fn(module, *args, **kwargs)`, run through the transform.

        Args:
          fn: the function.
          module: a bound module, or a tree of them.
          args: positional arguments; modules and variables among them are lifted too.
          kwargs: keyword arguments, likewise.
          cls: the class that the module has inside, by default its own.

        Raises:
          CallCompactUnboundModuleError: the module is not bound.
          TransformTargetError: it is no module.
          TransformedMethodReturnValueError: `fn` returns a module or variable.
        """
        if getattr(module, "scope", _NONE) is None and runs_unbound(fn, module):
            return self._run_unbound(fn, module, args, kwargs)
        module_map = ModuleMap(module, cls)
        args = module_map.add_args(args)
        if kwargs:
            kwargs = module_map.add_kwargs(kwargs)
        target = module_map.add_target()
        around = None if self.transforms_kwargs else kwargs
        taken = module_map.taken_names()
        body = LiftedBody(fn, module_map, target, around, taken)
        scopes = module_map.scopes
        folded = None
        if self.folds_rngs and config.jit_folds_rngs:
            folded = FoldedRngs(scopes, module)
            scopes = folded.scopes
        try:
            if folded is not None:
                folded.lend()
            lifted, scope_tree = self._lift(body, scopes)
            if self.transforms_kwargs:
                y = lifted(scope_tree, *args, **kwargs)
            else:
                y = lifted(scope_tree, *args)
        finally:
            if folded is not None:
                folded.give_back()
        if continues_names(module):
            commit_cursors(module, body.cursors)
            if body.made:
                commit_names(module, body.made, {})
        return y

    def _run_unbound(
        self,
        fn: Function,
        module: ModuleBase,
        args: tuple[Tree, ...],
        kwargs: Mapping[str, Tree],
    ) -> Tree:
        """Runs `init` or the like through the transform: there is no variable yet."""
        if self.transforms_kwargs:
            return self.without_scopes(fn, module)(Scope({}), *args, **kwargs)
        fn = functools.partial(fn, **kwargs)
        return self.without_scopes(fn, module)(Scope({}), *args)

    def without_scopes(self, fn: Function, module: ModuleBase) -> Function:
        """Returns the transform of `fn` of an unbound module, a function of a scope."""

        def body(scope: Scope, *args: Tree, **kwargs: Tree) -> Tree:
            return fn(module, *args, **kwargs)

        return self.transform(body, **self.options)

    def _lift(self, body: LiftedBody, scopes: list[Scope]) -> tuple[Function, Tree]:
        """The lifted function of a body, and the tree of scopes to give to it."""
        lifted = self._lifted
        if lifted is None:
            lifted = self._lifted = self.transform(_run_body, **self.options)
        return lifted, _BodyAndScopes(body, scopes)


def _without_module(argnums: int | Iterable[int]) -> tuple[int, ...]:
    """Positions of arguments, counted without the module."""
    argnums = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if 0 in argnums:
        raise ValueError(
            "Argument 0 is the module, which is static by itself. The first argument "
            f"after it is number 1, but static_argnums or donate_argnums is {argnums}."
        )
    return tuple([n - 1 if n > 0 else n for n in argnums])


def runs_unbound(fn: Function, module: Tree) -> bool:
    """Whether `fn` is a method that makes the variables of an unbound module itself."""
    return (
        getattr(fn, "__name__", None) in _RUNNERS
        and isinstance(module, ModuleBase)
        and module.scope is None
    )


def continues_names(module: Tree) -> bool:
    """Whether unnamed submodules of `module` are being made around the call, too."""
    if not isinstance(module, ModuleBase):
        return False
    state = state_of(module)
    return state.in_compact or state.in_setup


def commit_cursors(module: ModuleBase, cursors: Mapping[str, int]) -> None:
    """Lets the names that were given inside be followed by others outside."""
    state_of(module).cursors.update(cursors)
