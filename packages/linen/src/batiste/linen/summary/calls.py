"""The calls of modules' methods in one abstract run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from batiste.core.scope import CollectionFilter, in_filter
from batiste.core.types import Key, Keys, Path, Tree, Variables

from ..module.context import context
from ..module.outline import Opened
from ..module.state import ModuleBase, own_fields, state_of
from ..module.submodules import map_modules
from .costs import Runnable, split_leaves

__all__ = ["Call", "abstract", "is_array", "is_opaque", "record_calls"]


@dataclasses.dataclass
class Call:
    """A call of a method, with shapes in place of arrays.

    Attributes:
      path: the names from the root to the module.
      module: a copy of the module.
      unbound: an unbound module in place of it, as if it had been made alone.
      method: the method's name.
      args: its positional arguments.
      kwargs: its keyword arguments.
      outputs: what it returned.
      variables: the module's variables as the call sees them, with those of its fields.
      fields: for each module in a field that has its place elsewhere, by the name that
        it gets where the module is alone: the path of that place.
      children: unbound modules in place of its submodules, by name. One of a class
        that is transformed is as from outside; its calls are within the transform.

    >>> Call((), None, None, "__call__", (), {}).outputs is None
    True
    """

    path: Path
    module: Any
    unbound: Any
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Tree = None
    variables: Variables = dataclasses.field(default_factory=dict)
    fields: dict[str, Path] = dataclasses.field(default_factory=dict)
    children: dict[str, Any] = dataclasses.field(default_factory=dict)


def record_calls(
    module: Runnable,
    rngs: Key | Keys,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    mutable: CollectionFilter,
) -> tuple[list[Call], Variables]:
    """Runs `init` abstractly: all calls in the order they began, and variables.

    Args:
      module: the module.
      rngs: PRNG keys, as for `Module.init`.
      args: positional arguments of `Module.init`; shapes suffice.
      kwargs: its keyword arguments.
      mutable: a filter that selects the collections.

    Returns:
      The calls, and the shapes of the variables that the run leaves.

    >>> import batiste.linen as nn
    >>> x = jax.ShapeDtypeStruct((4, 3), "float32")
    >>> calls, variables = record_calls(nn.Dense(2), jax.random.key(0), (x,), {}, True)
    >>> calls[0].outputs.shape, variables["params"]["kernel"].shape
    ((4, 2), (3, 2))
    """
    calls: list[Call] = []
    opened = Opened(())
    active: list[ModuleBase] = []

    def record(
        called: Any,
        method: str,
        run: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        # A method that calls another of the same module is one call, and so is a
        # transformed method with the method it transforms. A function that a transform
        # lifts is no method: what is called in it has a row.
        is_method = hasattr(type(called), method)
        if not is_method or any(other is called for other in active):
            return run(*args, **kwargs)
        abstract_args, abstract_kwargs = abstract((args, kwargs))
        path = called.scope.path
        call = Call(
            path,
            called.clone(),
            opened.module(called),
            method,
            abstract_args,
            abstract_kwargs,
            fields=_places_of_fields(called),
        )
        calls.append(call)
        depth = len(active)
        try:
            active.append(called)
            outputs = run(*args, **kwargs)
        finally:
            del active[depth:]
        call.outputs = abstract(outputs)
        for name, child in state_of(called).children.items():
            call.children[name] = opened.module(child)
        # As the call sees them: within a transform they have other shapes than outside.
        call.variables = abstract(_variables_with_fields(called))
        return outputs

    # Flags and functions among the arguments stay as they are.
    arrays, rebuild = split_leaves((rngs, args, kwargs), is_array, is_opaque)

    def run(arrays: list[Any]) -> Variables:
        rngs, args, kwargs = rebuild(arrays)
        recorders = context.recorders
        depth = len(recorders)
        try:
            try:
                recorders.append(record)
                context.refresh()
                return module.init(rngs, *args, mutable=mutable, **kwargs)
            finally:
                opened.made.clear()  # it holds bound modules, and so tracers
                del recorders[depth:]
                context.refresh()
        except BaseException:
            # An interrupt may have come before or within the above.
            del recorders[depth:]
            context.refresh()
            raise

    variables = jax.eval_shape(run, arrays)
    return calls, {
        col: dict(tree) for col, tree in variables.items() if in_filter(mutable, col)
    }


def _variables_with_fields(module: Any) -> dict[str, dict[str, Any]]:
    """A module's variables, and beside them those of its fields.

    A module that was made elsewhere and given to a field has its variables there. In an
    unbound copy that preserves names, they are where this puts them.
    """
    found = {col: dict(tree) for col, tree in module.variables.items()}
    for name in own_fields(module):
        for leaf in jax.tree.leaves(vars(module).get(name), is_leaf=is_opaque):
            if not isinstance(leaf, ModuleBase):
                continue
            layer: Any = leaf
            scope = layer.scope
            if scope is None or scope.path[:-1] == module.scope.path:
                continue
            for col, tree in layer.variables.items():
                found.setdefault(col, {})[layer.name] = dict(tree)
    return found


def _places_of_fields(module: Any) -> dict[str, Path]:
    """Where the modules in fields are that have their places elsewhere."""
    places: dict[str, Path] = {}

    def look(name: str, layer: Any) -> Any:
        scope = layer.scope
        if scope is not None and scope.path[:-1] != module.scope.path:
            places[name] = scope.path
        return layer

    for field in own_fields(module):
        map_modules(look, vars(module).get(field), field)
    return places


def is_array(leaf: Any) -> bool:
    """Whether a leaf has shape and dtype.

    >>> is_array(jax.ShapeDtypeStruct((2,), "float32")), is_array(2)
    (True, False)
    """
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def is_opaque(value: Any) -> bool:
    """Whether a value is to be a leaf though JAX would look into it.

    >>> is_opaque(None), is_opaque({})
    (True, False)
    """
    return value is None or isinstance(value, ModuleBase)


def abstract(tree: Tree) -> Tree:
    """The tree without data and bound modules: tracers must not outlive the trace.

    >>> abstract({"a": jax.numpy.ones(2), "b": "text"})
    {'a': ShapeDtypeStruct(shape=(2,), dtype=float32), 'b': 'text'}
    """

    def one(leaf: Any) -> Any:
        if is_array(leaf):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        return leaf.clone() if isinstance(leaf, ModuleBase) else leaf

    return jax.tree.map(one, tree, is_leaf=is_opaque)
