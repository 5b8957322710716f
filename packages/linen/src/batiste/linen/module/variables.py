"""How a module declares and changes its variables, and draws keys."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from jax import numpy as jnp

from batiste.core import Scope, Variable
from batiste.core import errors as core_errors
from batiste.core.config import config
from batiste.core.errors import InvalidArgumentError
from batiste.core.frozen_dict import FrozenDict, unfreeze
from batiste.core.types import Tree

from .. import errors
from .state import ModuleBase, state_of

__all__ = [
    "append",
    "bound_scope",
    "declare_variable",
    "empty",
    "merge_param",
    "name_in_use",
    "not_declaring",
    "perturb",
    "sow",
]

T = TypeVar("T")


def merge_param(name: str, a: T | None, b: T | None) -> T:
    """Chooses between a module's field and the argument of a call that overrides it.

    Exactly one of the two must be given; None stands for the one that is not.

    Args:
      name: what both are called, for the message.
      a: the field's value.
      b: the argument's value.

    Returns:
      The one that is given.

    Raises:
      ValueError: both are given, or neither.

    >>> merge_param("deterministic", None, True)
    True
    """
    if a is None:
        if b is None:
            raise InvalidArgumentError(
                f"`{name}` is given nowhere. Set it as a field of the module, or pass "
                f"it to the call."
            )
        return b
    if b is None:
        return a
    raise InvalidArgumentError(
        f"`{name}` is given twice: the module has {a!r} as a field, and {b!r} was "
        f"passed to the call. Leave out one of them."
    )


def bound_scope(module: ModuleBase, purpose: str) -> Scope:
    """The module's scope.

    Args:
      module: the module.
      purpose: what it is needed for, as the end of "it can't ...".

    Raises:
      ValueError: the module is not bound.
    """
    scope = module.scope
    if scope is None:
        cls = type(module).__name__
        raise ValueError(
            f"This {cls} is not bound to variables, so it can't {purpose}. Run it by "
            f"{cls}.init or {cls}.apply, or bind it by {cls}.bind."
        )
    return scope


def not_declaring(module: ModuleBase, kind: str, name: str) -> ValueError:
    """The error of a declaration outside of `setup` and of compact methods.

    >>> import batiste.linen as nn
    >>> print(not_declaring(nn.Dense(3), "parameter", "w"))
    The parameter "w" of Dense is declared neither in `setup` nor in a method marked ...
    """
    return ValueError(
        f'The {kind} "{name}" of {type(module).__name__} is declared neither in '
        f"`setup` nor in a method marked @nn.compact. Move the declaration to `setup`, "
        f"or mark the method that makes it."
    )


def name_in_use(module: ModuleBase, scope: Scope, kind: str, name: str) -> Exception:
    """The error of a second thing of one name in a module."""
    return errors.NameInUseError(
        kind, name, type(module).__name__, scope_path=scope.path_text
    )


def declare_variable(
    module: ModuleBase,
    col: str,
    name: str,
    init_fn: Callable[..., T] | None,
    init_args: tuple[Any, ...],
    init_kwargs: Mapping[str, Any],
    unbox: bool,
) -> Variable[T]:
    """`Module.variable`."""
    scope = bound_scope(module, "declare variables")
    state = state_of(module)
    if not state.in_compact and not state.in_setup:
        raise not_declaring(module, "variable", name)
    if scope.name_reserved(name, col):
        raise name_in_use(module, scope, "variable", name)
    return scope.variable(col, name, init_fn, *init_args, unbox=unbox, **init_kwargs)


def empty() -> tuple[Any, ...]:
    """What the values that are sown under a name are appended to at first."""
    return ()


def append(xs: tuple[Any, ...], x: Any) -> tuple[Any, ...]:
    """The tuple with one more value that was sown.

    >>> append((1, 2), 3)
    (1, 2, 3)
    """
    return (*xs, x)


def sow(
    module: ModuleBase,
    col: str,
    name: str,
    value: Any,
    reduce_fn: Callable[[Any, Any], Any] = append,
    init_fn: Callable[[], Any] = empty,
    reports: bool = True,
) -> bool:
    """`Module.sow`; `reports` says whether it is an error that a transform drops it."""
    scope = bound_scope(module, "store variables")
    if not scope.is_mutable_collection(col):
        transform = scope.tree.keeps_changes(col)
        if transform is not None and reports:
            _report_dropped(scope, col, name, transform)
        return False
    if scope.has_variable(col, name):
        stored = scope.get_variable(col, name)
    else:
        if scope.name_reserved(name, col):
            raise name_in_use(module, scope, "variable", name)
        scope.reserve(name, col)
        stored = init_fn()
    scope.put_variable(col, name, reduce_fn(stored, value))
    return True


def _report_dropped(scope: Scope, col: str, name: str, transform: str) -> None:
    error = core_errors.ModifyScopeVariableError(
        col, name, scope.path_text, transform=transform
    )
    if config.documented_checks:
        raise error
    warnings.warn(f"A value that was sown is dropped. {error}", stacklevel=4)


def perturb(module: ModuleBase, name: str, value: Tree, collection: str) -> Tree:
    """`Module.perturb`."""
    scope = bound_scope(module, "store variables")
    known = scope.has_variable(collection, name)
    if not known and scope.is_mutable_collection(collection):
        scope.reserve(name, collection)
        zeros = jax.tree.map(jnp.zeros_like, value)
        scope.put_variable(collection, name, zeros)
        known = True
    if not scope.has_collection(collection):
        return value
    if not known:
        raise ValueError(
            f'The collection "{collection}" was given but has no perturbation '
            f'"{name}" at "{scope.path_text}". Make it with init.'
        )
    stored = scope.get_variable(collection, name)
    leaves, treedef = jax.tree.flatten(value)
    added, structure = jax.tree.flatten(_plain(stored))
    same = jax.tree.structure(_plain(value)) == structure
    if not same or not all(map(_keeps_shape, leaves, added)):
        shapes, own = (jax.tree.map(jnp.shape, _plain(x)) for x in (value, stored))
        raise ValueError(
            f'The perturbation "{name}" at "{scope.path_text}" was made for a value of '
            f"shape {own}, but is added to one of shape {shapes}. Perturbations are of "
            f"one batch: make them anew with inputs of these shapes, as in "
            f'init(key, inputs)["{collection}"].'
        )
    return jax.tree.unflatten(treedef, map(jnp.add, leaves, added))


def _plain(tree: Tree) -> Tree:
    return unfreeze(tree) if isinstance(tree, FrozenDict) else tree


def _keeps_shape(x: Any, added: Any) -> bool:
    shape, other = jnp.shape(x), jnp.shape(added)
    return len(other) <= len(shape) and all(
        size in (1, own) for own, size in zip(reversed(shape), reversed(other))
    )
