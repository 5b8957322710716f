"""How modules become submodules: names, adoption of attributes, one scope for two."""

from __future__ import annotations

import contextlib
import enum
import types
import weakref
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from batiste.core import Scope
from batiste.core.errors import InvalidArgumentError, short_repr
from batiste.core.frozen_dict import FrozenDict, entries_of
from batiste.core.traceback_util import api_boundary

from .. import errors
from ..flags import config
from .state import ModuleBase, own_fields, state_of

__all__ = [
    "PLAIN_TYPES",
    "adopt",
    "adopt_fields",
    "attach",
    "clone_within",
    "contains_module",
    "is_plain",
    "map_modules",
    "names_kept",
    "share_scope",
]

# Values of exactly these types hold no modules: the common ones, found by one look.
PLAIN_TYPES: frozenset[type] = frozenset(
    {
        bool,
        bytes,
        complex,
        float,
        int,
        str,
        type(None),
        np.dtype,
        np.ndarray,
        types.FunctionType,
        types.BuiltinFunctionType,
        type,
        type(jnp.float32),
        type(jnp.tanh),  # compiled functions
        range,
        slice,
    }
)

# Modules that came from outside, and their copies inside, for each running tree: the
# same object given in two places is one submodule. The copies know their scopes, so a
# strong reference to one would keep its own key alive.
_Copies = dict[int, tuple[ModuleBase, weakref.ref[ModuleBase]]]
_adopted: weakref.WeakKeyDictionary[Scope, _Copies] = weakref.WeakKeyDictionary()

_all_kept: ContextVar[bool] = ContextVar("batiste_names_kept", default=False)


def is_plain(value: Any) -> bool:
    """Whether a value that is no module cannot hold any, and needs no freezing.

    A dict that is frozen, with nothing in it but plain values, is such a value.

    >>> is_plain(3), is_plain([3]), is_plain(FrozenDict(params=True))
    (True, False, True)
    """
    kind = type(value)
    if kind is FrozenDict:
        return PLAIN_TYPES.issuperset(map(type, entries_of(value).values()))
    return kind in PLAIN_TYPES or isinstance(
        value, (type, jax.Array, enum.Enum, str, np.generic)
    )


def map_modules(
    fn: Callable[[str, Any], Any],
    value: Any,
    name: str,
    freeze: bool = False,
    kinds: Any = ModuleBase,
) -> Any:
    """Replaces each module in a nested container by `fn(name, module)`.

    Names are `name` for the value itself and `name_key`, `name_0` and so on within
    it, and are taken in the order of sorted texts. With `freeze`, dicts become
    `FrozenDict`s and lists tuples. What is replaced is of `kinds`, a class or several,
    as `isinstance` takes them.

    >>> import batiste.linen as nn
    >>> map_modules(lambda name, module: name, {"a": [nn.Dense(3)], "b": 4}, "layers")
    {'a': ['layers_a_0'], 'b': 4}
    """
    if isinstance(value, kinds):
        return fn(name, value)
    if is_plain(value):
        return value
    if isinstance(value, (dict, FrozenDict)):
        # The first place of a module that has several names it.
        made = {
            key: map_modules(fn, value[key], f"{name}_{key}", freeze, kinds)
            for key in sorted(value, key=str)
        }
        items = {key: made[key] for key in value}
        if freeze or isinstance(value, FrozenDict):
            return FrozenDict(items)
        return items
    if isinstance(value, (list, tuple)):
        if hasattr(value, "_fields"):
            named: Any = value
            made = map_modules(fn, named._asdict(), name, freeze, kinds)
            return type(named)(**made)
        parts = list(value)
        for key in sorted(range(len(parts)), key=str):
            parts[key] = map_modules(fn, parts[key], f"{name}_{key}", freeze, kinds)
        return parts if isinstance(value, list) and not freeze else tuple(parts)
    if jax.tree_util.all_leaves((value,)):
        return value

    def is_one(value: Any) -> bool:
        return isinstance(value, kinds)

    paths, treedef = jax.tree_util.tree_flatten_with_path(value, is_leaf=is_one)
    leaves = [leaf for _, leaf in paths]
    found = [index for index, leaf in enumerate(leaves) if is_one(leaf)]
    if not found:
        return value
    names = [
        [name, *(jax.tree_util.keystr((key,), simple=True) for key in path)]
        for path, _ in paths
    ]
    for index in sorted(found, key=names.__getitem__):
        leaves[index] = fn("_".join(names[index]), leaves[index])
    return jax.tree.unflatten(treedef, leaves)


def contains_module(value: Any, kinds: Any = ModuleBase) -> bool:
    """Whether a value is a module or a container with one somewhere in it.

    With `kinds` it is about what is of these classes, as in `map_modules`.

    >>> import batiste.linen as nn
    >>> contains_module({"a": [nn.Dense(3)]}), contains_module({"a": [3]})
    (True, False)
    """
    if isinstance(value, kinds):
        return True
    if is_plain(value):
        return False
    if isinstance(value, (dict, FrozenDict)):
        return any(contains_module(item, kinds) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(contains_module(item, kinds) for item in value)

    def is_one(value: Any) -> bool:
        return isinstance(value, kinds)

    return any(map(is_one, jax.tree.leaves(value, is_leaf=is_one)))


def clone_within(value: Any, copies: dict[int, Any], reset_names: bool) -> Any:
    """Replaces the modules in a value by copies, one for each.

    Args:
      value: a module, or a container with modules in it.
      copies: the copies made so far, by the `id` of what they are copies of.
      reset_names: whether the copies have no names, and modules without a parent are
        copied too. Adoption will copy these anyway.

    >>> import batiste.linen as nn
    >>> layer = nn.Dense(3)
    >>> one, two = clone_within([layer, layer], {}, reset_names=True)
    >>> one is two, one is layer
    (True, False)
    """

    def copy(name: str, module: ModuleBase) -> ModuleBase:
        if module.parent is None and not reset_names:
            return module
        if id(module) not in copies:
            changes = {"name": None} if reset_names else {}
            copies[id(module)] = module.clone(
                _deep_clone=copies, _reset_names=reset_names, **changes
            )
        return copies[id(module)]

    return map_modules(copy, value, "")


def attach(child: ModuleBase, parent: ModuleBase) -> None:
    """Makes `child`, which has its name, a submodule of a bound module.

    Args:
      child: a module without a scope.
      parent: a bound module.

    Raises:
      InvalidScopeError: the call that the parent is bound for has ended.
      JaxTransformError: the parent comes from outside of a JAX transformation.
      NameInUseError: the parent has something of this name.
      TypeError: the name is not a string.
    """
    name: Any = child.name
    scope: Any = parent.scope
    try:
        taken = scope.reservations.get(name)
    except TypeError:  # it has no hash, and so is no string
        taken = None
    if taken:
        raise errors.NameInUseError(
            "submodule", name, type(parent).__name__, scope_path=scope.path_text
        )
    child.__dict__["parent"] = parent
    try:
        child.__dict__["scope"] = scope.push(name)
    except InvalidArgumentError:
        raise InvalidArgumentError(
            f'{type(child).__name__} in "{scope.path_text}": name={short_repr(name)} '
            f"(of type {type(name).__name__}) cannot be used; a scope or variable name "
            "must be a string, or None for one that is made from the class.",
            argument="name",
        ) from None
    state_of(parent).children[name] = child


def adopt_fields(module: ModuleBase) -> None:
    """Adopts what the fields of a bound module hold; see `adopt`.

    Raises:
      NameInUseError: the module has something of one of the names.
    """
    attributes = vars(module)
    for name in own_fields(module):
        value = attributes.get(name)
        if type(value) not in PLAIN_TYPES:
            frozen = adopt(module, name, value)
            if frozen is not value:
                attributes[name] = frozen


def adopt(parent: ModuleBase, name: str, value: Any) -> Any:
    """Binds the modules in a value that becomes the attribute `name` of `parent`.

    Modules without a parent came from outside the running call: a copy is bound, one
    for each object. Modules that wait for a name get one. Others stay where they are.
    Dicts and lists are frozen.

    Args:
      parent: a bound module.
      name: the attribute's name.
      value: the value, of any kind.

    Returns:
      The value to keep in the attribute.

    Raises:
      NameInUseError: the parent has something of one of the names.
    """
    if is_plain(value):
        return value
    waiting: list[ModuleBase] = []

    def adopt_one(name: str, module: ModuleBase) -> ModuleBase:
        own_name = module.name
        if module.parent is None:
            module = _copy_inside(parent, module)
        if module.name is None and module.scope is None:
            if not own_name or not _keeps_names(parent):
                own_name = name
            module.__dict__["name"] = own_name
            waiting.append(module)
        return module

    value = map_modules(adopt_one, value, name, freeze=True)
    for module in waiting:
        attach(module, parent)
        adopt_fields(module)
        state_of(module).attached = True
    return value


def _keeps_names(parent: ModuleBase) -> bool:
    # What the class says counts for more, where it says something.
    default = config.preserve_adopted_names
    return _all_kept.get() or getattr(type(parent), "preserve_adopted_names", default)


@contextlib.contextmanager
def names_kept() -> Iterator[None]:
    """Lets all submodules keep the names that they have, whatever their class says.

    For a part of a model that is run once more by itself, outside of the whole.

    >>> with names_kept():
    ...     pass
    """
    token = _all_kept.set(True)
    try:
        yield
    finally:
        _all_kept.reset(token)


def _copy_inside(parent: ModuleBase, module: ModuleBase) -> ModuleBase:
    """The copy within the tree of `parent` of a module that came from outside."""
    scope: Any = parent.scope
    copies = _adopted.setdefault(scope.root, {})
    _, reference = copies.get(id(module), (None, None))
    copy = reference and reference()
    if copy is None:
        copy = module.clone(name=None)
        copies[id(module)] = (module, weakref.ref(copy))
    return copy


@api_boundary
def share_scope(module: ModuleBase, other: ModuleBase, /) -> None:
    """Puts the variables of two modules side by side, under one name.

    A module that wraps another, such as an adapter that adds parameters of its own
    to a layer, then has the parameters of that layer where they are without the
    wrapper: checkpoints of the one load into the other. Usually called as
    `nn.share_scope(self, self.layer)` in `setup`.

    Args:
      module: a bound module. It moves to the place of `other`, unless `other` is a
        submodule of it (also of its submodules): then that one moves.
      other: a bound module.

    Raises:
      CallShareScopeOnUnboundModuleError: one of the modules is not bound.
      NameInUseError: later, where both declare something of one name.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class LowRank(nn.Module):
    ...     layer: nn.Dense
    ...     def setup(self):
    ...         nn.share_scope(self, self.layer)
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         init = nn.initializers.normal()
    ...         a = self.param("a", init, (x.shape[-1], 2))
    ...         b = self.param("b", init, (2, self.layer.features))
    ...         return self.layer(x) + x @ a @ b
    >>> variables = LowRank(nn.Dense(3)).init(jax.random.key(0), jnp.ones((1, 4)))
    >>> sorted(variables["params"])
    ['a', 'b', 'bias', 'kernel']
    """
    if module.scope is None:
        raise errors.CallShareScopeOnUnboundModuleError(module_cls=type(module))
    if other.scope is None:
        raise errors.CallShareScopeOnUnboundModuleError(module_cls=type(other))
    if _is_below(other.scope, module.scope):
        _move(other, module.scope)
    else:
        _move(module, other.scope)
    state_of(module).shares_scope = state_of(other).shares_scope = True


def _is_below(scope: Scope, other: Scope) -> bool:
    above: Scope | None = scope
    by_handle = config.share_scope_keeps_paths
    while above is not None:
        # Places that a transform was given one by one have handles of their own.
        if above is other or (not by_handle and above == other):
            return True
        above = above.parent
    return False


def _move(module: ModuleBase, scope: Scope) -> None:
    """Gives a module, and what is bound below it, a place elsewhere in the tree."""
    before = module.scope
    module.__dict__["scope"] = scope
    for child in state_of(module).children.values():
        if child.scope is not None and child.scope.parent == before:
            place = scope.push(child.name, reuse=True)
            if config.share_scope_keeps_paths:
                place = place.moved_from(child.scope)
            _move(child, place)
