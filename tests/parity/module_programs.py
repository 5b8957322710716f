"""Programs that run with either library: Batiste or the released flax.

Each case is a function of a library `l`. It must return the same tree
(values bit for bit), or raise an error of the same type, with both libraries. Where
they differ for a reason, `differs` holds the reason and what Batiste gives.
"""

import importlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

KEY = jax.random.key(3)
X = jnp.arange(6.0).reshape(2, 3)
ones = jax.nn.initializers.ones
normal = jax.nn.initializers.normal()


def library(nn: str, errors: str, struct: str, core: str) -> Any:
    # By name, as the type checker runs where flax is not installed.
    modules = [importlib.import_module(name) for name in (nn, errors, struct, core)]
    names = ("nn", "errors", "struct", "core")
    l = types.SimpleNamespace(**dict(zip(names, modules)))
    nn_module: Any = l.nn

    class Linear(nn_module.Module):
        features: int = 2

        @nn_module.compact
        def __call__(self, x):
            return x @ self.param("kernel", normal, (x.shape[-1], self.features))

    class Pair(nn_module.Module):
        def setup(self):
            self.a = Linear(4)
            self.b = Linear(3)

        def __call__(self, x):
            return self.b(self.a(x))

        def encode(self, x):
            return self.a(x)

    class Count(nn_module.Module):
        @nn_module.compact
        def __call__(self, x):
            count = self.variable("state", "count", lambda: jnp.zeros(()))
            count.value += x.sum()
            return count.value

    l.Linear, l.Pair, l.Count = Linear, Pair, Count
    return l


ours = library(
    "batiste.linen", "batiste.core.errors", "batiste.core.struct", "batiste.core"
)
theirs = library("flax.linen", "flax.errors", "flax.struct", "flax.core")

CASES: list[Callable[[Any], Any]] = []
DIFFERENT: list[tuple[Callable[[Any], Any], Any]] = []


def case(fn):
    CASES.append(fn)
    return fn


def differs(reason: str, gives: Any):
    def register(fn):
        DIFFERENT.append((fn, gives))
        return fn

    return register


def plain(tree: Any) -> Any:
    """A tree as plain containers of printable values and bytes of arrays."""
    if isinstance(tree, Mapping):
        return {key: plain(tree[key]) for key in sorted(tree, key=str)}
    if isinstance(tree, (list, tuple)):
        return [plain(item) for item in tree]
    if isinstance(tree, (np.ndarray, np.generic, jax.Array)):
        if isinstance(tree, jax.Array) and jnp.issubdtype(
            tree.dtype, jax.dtypes.prng_key
        ):
            tree = jax.random.key_data(tree)
        tree = np.asarray(tree)
        return str(tree.dtype), tree.shape, tree.tobytes()
    return tree


class ErrorName(str):
    """The name of an error's type.

    One that names a wrong argument is caught as either of Python's two types.
    """

    def __eq__(self, other: object) -> bool:
        names = {str(self), str(other)}
        return len(names) == 1 or (
            "InvalidArgumentError" in names and names <= _OF_ARGUMENTS
        )

    __hash__ = str.__hash__


_OF_ARGUMENTS = {"InvalidArgumentError", "TypeError", "ValueError"}


def outcome(fn: Callable[[Any], Any], l: Any) -> Any:
    try:
        return "value", plain(fn(l))
    except Exception as error:
        return "error", ErrorName(type(error).__name__)


def caught(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The type of the error that a call raises, or what it returns."""
    try:
        return fn(*args, **kwargs)
    except Exception as error:
        return ErrorName(type(error).__name__)
