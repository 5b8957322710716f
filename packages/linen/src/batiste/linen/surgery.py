"""Model surgery: list the submodules of a model, take one out, exchange one.

All of it works on what a model does, not on how it is written: submodules that `setup`
declares, that a compact method makes, that come in fields, that are transformed. The
model runs once, abstractly, on example inputs, whose shapes suffice.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from batiste.core.frozen_dict import FrozenDict, freeze
from batiste.core.types import Key, Keys, Path, Tree, Variables

from .errors import SurgeryError
from .flags import config
from .module import Module, share_scope
from .module.context import context, intercept_methods
from .module.outline import Undefined
from .module.running import ALL_BUT_INTERMEDIATES
from .module.state import own_fields
from .module.submodules import map_modules
from .summary.calls import Call, is_array, is_opaque, record_calls

__all__ = ["Replaced", "Submodule", "extract", "replace", "submodules"]


@dataclasses.dataclass(frozen=True)
class Submodule:
    """What one submodule is, and what it is first called with.

    Attributes:
      path: the names from the model to the submodule, with slashes between.
      module: an unbound module of the same class and configuration.
      method: the method that is called.
      args: the positional arguments, with shapes in place of arrays. Of a transformed
        class, here and below, those within the transform, as of one step of a scan.
      kwargs: the keyword arguments, likewise.
      outputs: what is returned, likewise.
      params: the shapes of its parameters, those of its own submodules included, as
        they are within the model.
      calls: how many calls there are.

    >>> import jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> model = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)])
    >>> found = submodules(model, jnp.ones((1, 3)))["layers_2"]
    >>> found.module.features, found.args[0].shape, found.params["kernel"].shape
    (2, (1, 4), (4, 2))
    """

    path: str
    module: Any
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: Any
    params: Mapping[str, Any]
    calls: int

    @property
    def module_type(self) -> type:
        """The submodule's class."""
        return type(self.module)


def submodules(
    model: Any,
    *inputs: Any,
    rngs: Key | Keys | None = None,
    **kwargs: Any,
) -> dict[str, Submodule]:
    """Lists every submodule that a model calls, by path.

    Nothing is computed. Modules that share one place are one.

    Args:
      model: an unbound module.
      *inputs: positional arguments of `__call__`; shapes suffice.
      rngs: PRNG keys, as for `Module.init`; by default one for every stream.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of `__call__`.

    Returns:
      What each is, in the order of the first calls. The model itself is not among them.

    Raises:
      As `Module.init`.

    >>> import jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class MLP(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         x = nn.relu(nn.Dense(4)(x))
    ...         return nn.Dense(2)(x)
    >>> for path, found in submodules(MLP(), jnp.ones((1, 3))).items():
    ...     print(path, found.module_type.__name__, found.outputs.shape)
    Dense_0 Dense (1, 4)
    Dense_1 Dense (1, 2)
    """
    calls, variables = _calls(model, inputs, rngs, kwargs)
    params = variables.get("params", {})
    found: dict[str, Submodule] = {}
    for call in calls:
        if not call.path:
            continue
        path = "/".join(call.path)
        if path in found:
            before = found[path]
            found[path] = dataclasses.replace(before, calls=before.calls + 1)
            continue
        found[path] = Submodule(
            path,
            _from_outside(calls, call)[0],
            call.method,
            call.args,
            call.kwargs,
            call.outputs,
            _at(params, call.path),
            1,
        )
    return found


def extract(
    model: Any,
    variables: Variables,
    path: str | Sequence[str],
    *inputs: Any,
    rngs: Key | Keys | None = None,
    **kwargs: Any,
) -> tuple[Any, Variables]:
    """Takes a submodule out of a model, with the variables that it needs to run alone.

    Args:
      model: an unbound module.
      variables: the model's variables.
      path: the submodule, as `"encoder/block_3"` or `("encoder", "block_3")`.
      *inputs: positional arguments of the model; shapes suffice.
      rngs: PRNG keys, as for `Module.init`; by default one for every stream.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of `__call__`.

    Returns:
      An unbound module, and its variables. Modules that are given to its fields from
      elsewhere in the model are below it, under the names of those fields.

    Raises:
      SurgeryError: there is no such submodule, or it cannot run alone: its variables
        are slices of those of a transform around it, or its fields hold arrays that the
        model computes. The message says what can be taken out instead.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> model, x = nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)]), jnp.ones((1, 3))
    >>> variables = model.init(jax.random.key(0), x)
    >>> layer, its_variables = extract(model, variables, "layers_2", x)
    >>> layer.apply(its_variables, jnp.ones((5, 4))).shape
    (5, 2)
    """
    steps = _steps(path)
    calls, _ = _calls(model, inputs, rngs, kwargs)
    call = _call_of(calls, steps, model)
    module, seen = _from_outside(calls, call)
    for field in own_fields(module):
        values = jax.tree.leaves(vars(module).get(field), is_leaf=is_opaque)
        if any(isinstance(value, Undefined) for value in values):
            raise SurgeryError(
                f'cannot be taken out: its field "{field}" holds an array that the '
                f"model makes of its variables or keys. Take out the module around it"
                f"{_above(calls, steps)}.",
                path=steps,
            )
    taken: dict[str, Any] = {}
    for col, tree in variables.items():
        own = _at(tree, steps)
        for name, place in call.fields.items():
            if below := _at(tree, place):
                own = {**own, name: below}
        if own:
            taken[col] = own
    for leaf_path, leaf in _leaves(seen):
        below = _at(taken.get("params", {}), leaf_path, None)
        inner = getattr(leaf, "shape", None)
        outer = getattr(below, "shape", inner)
        if below is not None and inner != outer:
            raise SurgeryError(
                f'cannot be taken out alone: its parameter "{"/".join(leaf_path)}" has '
                f"the shape {inner} where it is used and {outer} in the variables, as "
                f"a transform (scan, vmap) around it gives it a slice of that. Take "
                f"out the transformed module around it"
                f"{_above(calls, steps, leaf_path, outer)}; or slice the variables "
                f"of that one first.",
                path=steps,
            )
    kind = freeze if isinstance(variables, FrozenDict) else dict
    return module.clone(name=None), kind(taken)


def replace(
    model: Any,
    variables: Variables,
    path: str | Sequence[str],
    module: Module,
    *inputs: Any,
    rngs: Key | Keys | None = None,
    **kwargs: Any,
) -> tuple[Any, Variables]:
    """Exchanges one submodule of a model, and keeps the variables that still fit.

    Args:
      model: an unbound module; it is not changed.
      variables: the model's variables.
      path: the submodule, as `"encoder/block_3"` or `("encoder", "block_3")`.
      module: the unbound module to call in its place, by the same methods.
      *inputs: positional arguments of the model; shapes suffice.
      rngs: PRNG keys, as for `Module.init`; by default one for every stream.
      **kwargs: keyword arguments of `Module.init`, such as `method`, and of `__call__`.

    Returns:
      A model that does the same but for this submodule, and has its variables in the
      same places; and those of `variables` that it has, too, with the same shapes and
      dtypes. Its `init` makes the others. Where the submodule is in a field, the model
      is of the class that it was of, else it is a `Replaced`.

    Raises:
      SurgeryError: there is no such submodule.
      As `Module.init`, of the new model.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Classifier(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return nn.Dense(2, name="head")(nn.Dense(4, name="body")(x))
    >>> x = jnp.ones((1, 3))
    >>> variables = Classifier().init(jax.random.key(0), x)
    >>> model, kept = replace(Classifier(), variables, "head", nn.Dense(10), x)
    >>> sorted(kept["params"]), model.init(jax.random.key(1), x)["params"].keys()
    (['body'], frozen_dict_keys(['body', 'head']))
    """
    steps = _steps(path)
    calls, _ = _calls(model, inputs, rngs, kwargs)
    _call_of(calls, steps, model)
    changed = _exchanged(model, steps, module)
    _, expected = _calls(changed, inputs, rngs, kwargs)
    kept: dict[str, Any] = {}
    for col, tree in variables.items():
        for leaf_path, leaf in _leaves(tree):
            # What `init` does not make, such as a cache, is as it was.
            wanted = _at(expected[col], leaf_path, None) if col in expected else leaf
            if _same_type(leaf, wanted):
                inner = kept.setdefault(col, {})
                for step in leaf_path[:-1]:
                    inner = inner.setdefault(step, {})
                inner[leaf_path[-1]] = leaf
    kind = freeze if isinstance(variables, FrozenDict) else dict
    return changed, kind(kept)


class _Held:
    """A module that is no submodule of the one whose field it is in."""

    def __init__(self, module: Module):
        self.module = module

    def __repr__(self) -> str:
        return repr(self.module)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.module == other.module

    def __hash__(self) -> int:
        return hash(self.module)


class Replaced(Module):
    """A model in which another module is called in place of one submodule.

    `replace` makes it. Its variables are those of the model, in the same places. The
    model's other methods are called by name, as `model.apply(..., method="encode")`.

    Attributes:
      base: the model.
      at: the path of the submodule.
      replacement: what is called in its place.

    >>> import jax, jax.numpy as jnp
    >>> import batiste.linen as nn
    >>> class Twice(nn.Module):
    ...     @nn.compact
    ...     def __call__(self, x):
    ...         return 2 * nn.Dense(3, name="layer")(x)
    >>> x = jnp.ones((1, 3))
    >>> model, _ = replace(Twice(), {}, "layer", nn.Dense(5), x)
    >>> type(model).__name__, model.init_with_output(jax.random.key(0), x)[0].shape
    ('Replaced', (1, 5))
    """

    base: Module
    at: tuple[str, ...]
    replacement: Any

    def setup(self) -> None:
        """Puts the model's variables where this module's are."""
        share_scope(self, self.base)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model."""
        return _call_base(self, "__call__", args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            base = vars(self).get("base")
            if name.startswith("_") or not callable(getattr(type(base), name, None)):
                raise
        return lambda *args, **kwargs: _call_base(self, name, args, kwargs)


def _call_base(
    module: Replaced, method: str, args: tuple[Any, ...], kwargs: Any
) -> Any:
    """Calls a method of the model, in which the other module is called."""
    target = (*module.base.path, *module.at)  # type: ignore[misc]
    made: dict[int, tuple[Any, Module]] = {}
    inside: list[None] = []

    def exchange(
        next_fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        info: Any,
    ) -> Any:
        called = info.module
        # What the other module calls at its own place is its own affair.
        if inside or called.scope is None or called.path != target:
            return next_fun(*args, **kwargs)
        if id(called) not in made:
            other = module.replacement.module.clone(
                parent=called.scope, _deep_clone=True
            )
            made[id(called)] = called, other
        inside.append(None)
        try:
            return getattr(made[id(called)][1], info.method_name)(*args, **kwargs)
        finally:
            inside.pop()

    before = context.replaced
    try:
        context.replaced = before | {target}
        with intercept_methods(exchange):
            return getattr(module.base, method)(*args, **kwargs)
    finally:
        context.replaced = before


def _exchanged(model: Any, steps: Path, module: Module) -> Any:
    """The model with another submodule at a place."""
    keeps = getattr(
        type(model), "preserve_adopted_names", config.preserve_adopted_names
    )
    for field in () if keeps else own_fields(model):
        value = vars(model).get(field)
        places = _modules_in(value, field)
        found = places.get(steps[0])
        if found is None or sum(other is found for other in places.values()) > 1:
            continue
        below = _exchanged(found, steps[1:], module) if steps[1:] else module
        return model.clone(**{field: _with_module(value, field, steps[0], below)})
    return Replaced(model.clone(), steps, _Held(module))


def _modules_in(value: Any, field: str) -> dict[str, Any]:
    """The modules in a field by the names that they get."""
    places: dict[str, Any] = {}

    def note(name: str, found: Any) -> Any:
        places[name] = found
        return found

    map_modules(note, value, field)
    return places


def _with_module(value: Any, field: str, place: str, module: Any) -> Any:
    """The value of a field with another module at a place."""

    def exchange(name: str, found: Any) -> Any:
        return module if name == place else found

    return map_modules(exchange, value, field)


def _calls(
    model: Any, inputs: tuple[Any, ...], rngs: Any, kwargs: dict[str, Any]
) -> tuple[list[Call], Variables]:
    mutable = kwargs.pop("mutable", ALL_BUT_INTERMEDIATES)
    keys = jax.random.key(0) if rngs is None else rngs
    return record_calls(model, keys, inputs, dict(kwargs), mutable)


def _steps(path: str | Sequence[str]) -> Path:
    steps = tuple(path.split("/")) if isinstance(path, str) else tuple(path)
    if not steps or not all(isinstance(step, str) and step for step in steps):
        raise SurgeryError(
            f"has no name: path={path!r} must be names with slashes between, as "
            f'"encoder/block_3", or a tuple of them.',
            path=str(path),
        )
    return steps


def _call_of(calls: list[Call], steps: Path, model: Any) -> Call:
    for call in calls:
        if call.path == steps:
            return call
    paths = list(dict.fromkeys("/".join(call.path) for call in calls if call.path))
    near = difflib.get_close_matches("/".join(steps), paths, 3, 0.4) or paths[:3]
    shown = ", ".join(f'"{path}"' for path in near) or "none"
    raise SurgeryError(
        f"is not among those that {type(model).__name__} calls with these inputs. "
        f"There are {len(paths)}, such as: {shown}. nn.submodules lists them.",
        path=steps,
    )


def _from_outside(calls: list[Call], call: Call) -> tuple[Any, Tree]:
    """The unbound module of a call, and its parameters, as what is around sees them."""
    for outer in calls:
        if outer.path == call.path[:-1] and call.path[-1] in outer.children:
            params = _at(outer.variables.get("params", {}), call.path[-1:])
            return outer.children[call.path[-1]], params
    return call.unbound, call.variables.get("params", {})


def _above(calls: list[Call], steps: Path, leaf: Path = (), shape: Any = None) -> str:
    """The nearest module around whose parameter there has the shape, for a text."""
    for end in range(len(steps) - 1, 0, -1):
        for call in calls:
            if call.path == steps[:end]:
                params = _from_outside(calls, call)[1]
                seen = _at(params, (*steps[end:], *leaf), None)
                if shape is None or getattr(seen, "shape", None) == shape:
                    return f', "{"/".join(steps[:end])}"'
    return ""


_NOTHING: FrozenDict[str, Any] = FrozenDict()


def _at(tree: Any, path: Sequence[str], default: Any = _NOTHING) -> Any:
    """What lies at a path of nested dicts."""
    for step in path:
        if not isinstance(tree, Mapping) or step not in tree:
            return default
        tree = tree[step]
    return tree


def _leaves(tree: Tree, path: Path = ()) -> list[tuple[Path, Any]]:
    """The variables of nested dicts with their paths, boxes as they are."""
    if not isinstance(tree, Mapping):
        return [(path, tree)]
    return [found for name in tree for found in _leaves(tree[name], (*path, name))]


def _same_type(leaf: Any, wanted: Any) -> bool:
    if wanted is leaf:
        return True
    pair = jax.tree.leaves(leaf), jax.tree.leaves(wanted)
    return len(pair[0]) == len(pair[1]) and all(
        is_array(a) and is_array(b) and a.shape == b.shape and a.dtype == b.dtype
        for a, b in zip(*pair, strict=True)
    )
