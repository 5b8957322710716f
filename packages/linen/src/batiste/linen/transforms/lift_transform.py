"""Transforms of functions of scopes, applied to modules: for transforms of your own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batiste.core import Scope
from batiste.core.types import Function, Tree

from .call import LiftedBody, LiftedCall
from .direct_call import DirectCall
from .target import Methods, Target, lift_target

__all__ = [
    "decorator_lift_transform",
    "lift_direct_transform",
    "lift_transform",
    "module_class_lift_transform",
]


def lift_transform(
    transform: Function,
    target: Target,
    *trafo_args: Any,
    methods: Methods = None,
    **trafo_kwargs: Any,
) -> Target:
    """Makes a transform of functions of scopes one of module classes and functions.

    Args:
      transform: called as `transform(fn, *trafo_args, **trafo_kwargs)`, where `fn` is a
        function of a tree of scopes and other arguments. It returns such a function,
        as those of `batiste.core.lift` do.
      target: a module class, or a function whose first argument is a module.
      *trafo_args: passed on to `transform`.
      methods: for a class, the names of the methods to transform, by default
        `__call__`; or a dict of them with keyword arguments of their own.
      **trafo_kwargs: passed on to `transform`.

    Raises:
      TransformTargetError: `target` is neither.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> from batiste.core import lift
    >>> def double_params(fn):
    ...     def twice(variables):
    ...         return jax.tree.map(lambda x: 2 * x, variables)
    ...     return lift.map_variables(fn, 'params', twice, init=True)
    >>> Doubled = lift_transform(double_params, nn.Dense)
    >>> x = jnp.ones((1, 2))
    >>> variables = nn.Dense(3).init(jax.random.key(0), x)
    >>> doubled, once = Doubled(3).apply(variables, x), nn.Dense(3).apply(variables, x)
    >>> bool((doubled == 2 * once).all())
    True
    """
    given = _GivenTransform(transform, trafo_args)
    prefix = getattr(transform, "__name__", "Lifted").capitalize()
    return lift_target(
        given.lift, given, target, trafo_kwargs, methods, prefix, _GivenCall
    )


class _GivenCall(LiftedCall):
    """Makes the transform anew for each call, as its author may count on it."""

    transforms_kwargs = True

    def _lift(self, body: LiftedBody, scopes: list[Scope]) -> tuple[Function, Tree]:
        return self.transform(body, **self.options), scopes


class _GivenTransform:
    """A transform with its positional arguments."""

    # So that no class is kept for a transform that may be made anew for every call.
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, transform: Function, trafo_args: tuple[Any, ...]):
        self._transform = transform
        self._args = trafo_args

    def lift(self, fn: Function, /, **options: Any) -> Function:
        """The transform of functions of scopes."""
        return self._transform(fn, *self._args, **options)

    def __call__(self, target: Target, /, **options: Any) -> Target:
        """The transform of modules, which makes a class again."""
        return lift_transform(self._transform, target, *self._args, **options)


def module_class_lift_transform(
    transform: Function,
    module_class: Target,
    *trafo_args: Any,
    methods: Methods = None,
    **trafo_kwargs: Any,
) -> Target:
    """Does what `lift_transform` does, for a module class.

    Args:
      transform: as for `lift_transform`.
      module_class: the class.
      *trafo_args: passed on to `transform`.
      methods: as for `lift_transform`.
      **trafo_kwargs: passed on to `transform`.

    Raises:
      TransformTargetError: `module_class` is no module class.

    >>> import batiste.linen as nn
    >>> from batiste.core import lift
    >>> module_class_lift_transform(lift.remat, nn.Dense).__name__
    'CheckpointDense'
    """
    return lift_transform(
        transform, module_class, *trafo_args, methods=methods, **trafo_kwargs
    )


def decorator_lift_transform(
    transform: Function,
    class_fn: Target,
    *trafo_args: Any,
    multi_scope: bool = True,
    **trafo_kwargs: Any,
) -> Target:
    """Does what `lift_transform` does, for a function whose first argument is a module.

    Args:
      transform: as for `lift_transform`.
      class_fn: the function, such as a method.
      *trafo_args: passed on to `transform`.
      multi_scope: accepted; scopes of modules outside are always lifted, too.
      **trafo_kwargs: passed on to `transform`.

    Raises:
      TransformTargetError: `class_fn` is no function.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> from batiste.core import lift
    >>> class Model(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         block = decorator_lift_transform(lift.remat, lambda m, x: m(x))
    ...         return block(nn.Dense(3), x)
    >>> Model().init_with_output(jax.random.key(0), jnp.ones((1, 2)))[0].shape
    (1, 3)
    """
    del multi_scope
    return lift_transform(transform, class_fn, *trafo_args, **trafo_kwargs)


def lift_direct_transform(
    transform: Function,
    targets: Sequence[Function],
    mdl: Tree,
    *args: Tree,
    multi_scope: bool = True,
    **kwargs: Any,
) -> Tree:
    """Calls a transform that takes functions of scopes, with functions of a module.

    Args:
      transform: called as `transform(*fns, scopes, *args, **kwargs)`, as
        `batiste.core.lift.vjp` is, with one function of scopes for each of `targets`.
      targets: the functions; their first argument is the module.
      mdl: a bound module.
      *args: other arguments; modules and variables among them are lifted too.
      multi_scope: whether `transform` takes a list of scopes, of all modules that take
        part, or one scope, that of `mdl`.
      **kwargs: passed on to `transform`.

    Raises:
      ValueError: `multi_scope` is False, and the scope of `mdl` does not hold those of
        the other modules.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> from batiste.core import lift
    >>> class Model(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         def branch(fn, scopes, x):
    ...             return lift.cond(True, fn, fn, scopes, x)
    ...         functions = [lambda m, x: m(x)]
    ...         return lift_direct_transform(branch, functions, nn.Dense(3), x)
    >>> Model().init_with_output(jax.random.key(0), jnp.ones((1, 2)))[0].shape
    (1, 3)
    """
    call = DirectCall(mdl, args)
    bodies = [call.body(fn) for fn in targets]
    name = getattr(transform, "__name__", "transform")
    scopes = call.scopes if multi_scope else call.own_scope(name)
    return call.finish(transform(*bodies, scopes, *call.args, **kwargs))
