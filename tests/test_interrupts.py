"""An interrupt at any line of ours leaves no state: what is run next runs as ever.

An exception is raised at one line of our files after the other, as `Ctrl-C` may raise
one anywhere, also before the first line of a `try` and within a `finally`.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

import batiste
from batiste import linen as nn
from batiste import serialization, spmd, struct
from batiste.core import config as core_config
from batiste.training import io

FOLDERS = tuple(f"{path}/" for path in batiste.__path__)
KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}
X = np.ones((2, 3), np.float32)
MOST = 40  # points of one program, spread over all of it

# An interrupt may come while a weak reference is called back, where Python prints it.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


class Interrupts:
    """Counts the lines of ours that are run, and interrupts at one of them."""

    def __init__(self, at: int = 0):
        self.at, self.count = at, 0

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(FOLDERS):
            return None
        if event in ("call", "line"):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self

    @contextmanager
    def armed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


def states() -> dict[str, Any]:
    """What our modules remember for the running thread, and the flags."""
    found: dict[str, Any] = {"config": None}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "batiste":
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, threading.local):
                found[f"{name}.{attribute}"] = {
                    key: list(item) if isinstance(item, list) else item
                    for key, item in vars(value).items()
                }
    flags = vars(core_config.config)
    found["config"] = {
        name: {
            key: set(item) if isinstance(item, set) else item
            for key, item in value.items()
        }
        if name == "_flips"
        else value
        for name, value in flags.items()
    }
    found["flips"] = {
        name: flip for name, flip in flags["_local"].get().items() if flip is not None
    }
    found["io"] = io.io_mode
    found["rules"] = spmd.get_logical_axis_rules()
    return found


class Compact(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4)(x)
        x = nn.Dropout(0.5, deterministic=False)(x)
        self.sow("intermediates", "x", x)
        bias = self.variable("state", "bias", jnp.zeros, (4,))
        return x + bias.value


class SetUp(nn.Module):
    inner: nn.Module

    def setup(self):
        self.layers = [nn.Dense(4), nn.Dense(3)]

    @property
    def last(self):
        return self.layers[-1]

    def __call__(self, x):
        return self.last(self.inner(self.layers[0](x)))


class Scopes(nn.Module):
    @nn.compact_name_scope
    def encode(self, x):
        return nn.Dense(2)(x)

    def __call__(self, x):
        return self.encode(x)


class Loops(nn.Module):
    @nn.compact
    def __call__(self, x):
        def step(layer, carry, x):
            return layer(carry), x

        scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False})
        x, _ = scan(nn.Dense(3), x, jnp.ones((2, 1)))
        layer = nn.Dense(3, name="shared")
        x = layer(x)
        x = nn.while_loop(
            lambda layer, c: c[1] < 2,
            lambda layer, c: (layer(c[0]), c[1] + 1),
            layer,
            (x, 0),
        )[0]
        return nn.cond(True, lambda layer, x: layer(x), lambda layer, x: x, layer, x)


class Lifted(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True})(
            3
        )(x)
        x = nn.remat(nn.Dense)(3)(x)
        x = nn.map_variables(
            nn.Dense, "params", lambda v: jax.tree.map(jnp.tanh, v), init=True
        )(3)(x)
        loss, grads = nn.value_and_grad(lambda layer, x: layer(x).sum(), nn.Dense(2), x)
        return x + loss


def run(layer, x=X):
    """Initializes and applies, with shapes alone: nothing is compiled."""

    def both(x):
        y, variables = layer.init_with_output(RNGS, x)
        z = layer.apply(variables, x, rngs=RNGS, mutable=["state"])
        return y, variables, z

    return jax.eval_shape(both, x)


def eagerly(layer):
    return lambda: jax.device_get(layer.init_with_output(RNGS, X))


def captured():
    layer = Compact()
    variables = layer.init(RNGS, X)

    def call():
        return layer.apply(
            variables, X, rngs=RNGS, capture_intermediates=True, mutable=["state"]
        )

    return lambda: jax.eval_shape(call)


def bound(layer):
    """A module that stays bound to its variables through all interrupts."""
    variables = layer.init(RNGS, X)
    module = layer.bind(variables)
    return lambda: jax.device_get(module(X))


def with_hooks():
    layer = Compact()

    def twice(next_fun, args, kwargs, context):
        return next_fun(*args, **kwargs)

    def call():
        with (
            nn.intercept_methods(twice),
            nn.override_named_call(False),
            nn.logical_axis_rules([("a", None)]),
            core_config.config.temp_flip_flag("return_frozendict", False),
            io.override_mode(io.BackendMode.DEFAULT),
        ):
            return jax.eval_shape(lambda: layer.init(RNGS, X))

    return call


@struct.dataclass
class Point:
    x: Any
    y: Any


def state_dict():
    tree = {"a": [Point(1, 2.0)], "b": (3, {"c": None})}
    state = serialization.to_state_dict(tree)
    return lambda: serialization.from_state_dict(tree, state)


PROGRAMS = {
    "compact": lambda: lambda: run(Compact()),
    "setup": lambda: lambda: run(SetUp(nn.Dense(4))),
    "name scopes": lambda: lambda: run(Scopes()),
    "eager": lambda: eagerly(SetUp(nn.Dense(4))),
    "captured": captured,
    "loops": lambda: lambda: run(Loops()),
    "lifted": lambda: lambda: run(Lifted()),
    "jit": lambda: lambda: run(nn.jit(Compact)()),
    "RNN": lambda: lambda: run(nn.RNN(nn.GRUCell(2)), jnp.ones((1, 2, 3))),
    "tabulate": lambda: lambda: Compact().tabulate(RNGS, X),
    "bound, compact": lambda: bound(nn.Dense(4)),
    "bound, setup": lambda: bound(SetUp(nn.Dense(4))),
    "hooks": with_hooks,
    "state dict": state_dict,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_interrupt_at_any_line_leaves_no_state(name):
    program = PROGRAMS[name]()
    expected = program()
    program()
    before = states()
    counting = Interrupts()
    with counting.armed():
        program()
    step = max(1, counting.count // MOST)
    for at in range(1, counting.count + 1, step):
        interrupts = Interrupts(at)
        try:
            with interrupts.armed():
                program()
        except KeyboardInterrupt:
            pass
        except ValueError as error:
            # JAX asked whether static data are equal.
            assert "KeyboardInterrupt" in str(error)
        assert states() == before, f"line {at} of {counting.count}"
        if at % (7 * step) == 1:
            found = program()
            assert jax.tree.structure(found) == jax.tree.structure(expected)
            assert all(map(_same, jax.tree.leaves(found), jax.tree.leaves(expected)))


def _same(a, b):
    if isinstance(a, jax.ShapeDtypeStruct):
        return a == b
    return bool(np.all(a == b)) if isinstance(a, np.ndarray) else a == b
