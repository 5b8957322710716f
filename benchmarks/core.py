"""What scopes cost, next to the same thing written by hand in JAX.

    python benchmarks/core.py [--rounds 7]

Times are of one operation in microseconds, the fastest of some rounds in which all
take turns. The last table shows that deep and wide trees cost in proportion.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jax import numpy as jnp
from rich.console import Console
from rich.table import Table

from batiste.core import Scope, apply, bind, init, lift

KEY = jax.random.key(0)
REPEAT = 100
ONES = jax.nn.initializers.ones

Pair = tuple[Callable[[], Any], Callable[[], Any]]


def fastest(fns: list[Callable[[], Any]], rounds: int, repeat: int) -> list[float]:
    """Microseconds of each function's fastest round, the functions taking turns."""
    best = [float("inf")] * len(fns)
    for fn in fns:
        fn()
    for _ in range(rounds):
        for i, fn in enumerate(fns):
            start = time.perf_counter()
            for _ in range(repeat):
                fn()
            seconds = (time.perf_counter() - start) / repeat
            best[i] = min(best[i], seconds * 1e6)
    return best


def operations() -> dict[str, Pair]:
    """Each operation on a scope, and by hand what it does."""
    params = {"layer": {"kernel": jnp.ones((3, 3))}}
    scope = bind({"params": params}, rngs=KEY)
    layer = scope.push("layer")

    def push() -> Scope:
        return scope.push("child", reuse=True)

    def read() -> Any:
        layer.reservations.clear()
        return layer.param("kernel", ONES, (3, 3))

    return {
        "bind and push": (
            lambda: bind({"params": params}).push("layer"),
            lambda: params["layer"],
        ),
        "push a scope": (push, lambda: {}),
        "read a parameter": (read, lambda: params["layer"]["kernel"]),
        "draw a key": (
            lambda: layer.make_rng("params"),
            lambda: jax.random.fold_in(KEY, 7),
        ),
    }


def transforms() -> dict[str, Pair]:
    """Tracing a call of a lifted transform, and that of the transform itself."""
    w = jnp.ones(3)
    x = jnp.ones((2, 3))
    variables = {"params": {"w": w}}

    def layer(scope: Scope, x: jax.Array) -> jax.Array:
        return x * scope.get_variable("params", "w")

    def plain(w: jax.Array, x: jax.Array) -> jax.Array:
        return x * w

    def step(scope: Scope, carry: jax.Array, x: jax.Array) -> Any:
        return layer(scope, carry) + x, None

    loop = lift.scan(step, variable_broadcast="params")
    jitted, plain_jitted = lift.jit(layer), jax.jit(plain)
    pairs = {
        "vmap": (
            lift.vmap(layer, {"params": None}, {}),
            lambda w, x: jax.vmap(lambda x: plain(w, x))(x),
        ),
        "scan": (
            lambda scope, x: loop(scope, x[0], x),
            lambda w, x: jax.lax.scan(lambda c, x: (plain(w, c) + x, None), x[0], x),
        ),
        "checkpoint": (
            lambda scope, x: lift.checkpoint(layer)(scope, x),
            lambda w, x: jax.checkpoint(lambda w, x: plain(w, x))(w, x),
        ),
        "jit": (jitted, plain_jitted),
        "vjp": (
            lambda scope, x: lift.vjp(layer, scope, x)[0],
            lambda w, x: jax.vjp(plain, w, x)[0],
        ),
        "cond": (
            lambda scope, x: lift.cond(True, layer, layer, scope, x),
            lambda w, x: jax.lax.cond(
                True, lambda w, x: plain(w, x), lambda w, x: plain(w, x), w, x
            ),
        ),
    }
    return {
        f"trace {name}": (
            lambda fn=fn: jax.make_jaxpr(lambda v, x: apply(fn)(v, x))(variables, x),
            lambda fn=by_hand: jax.make_jaxpr(lambda w, x: fn(w, x))(w, x),
        )
        for name, (fn, by_hand) in pairs.items()
    }


def wide(scope: Scope, count: int) -> None:
    """`count` scopes: a hundred below each of `count` / 100 below each other."""
    for i in range(count // 100):
        for j in range(99):
            scope.push(f"leaf{j}").put_variable("state", "x", j)
        scope = scope.push(f"next{i}")


def show(title: str, pairs: dict[str, Pair], rounds: int, repeat: int) -> None:
    table = Table(title=title)
    for column in ("operation", "batiste µs", "by hand µs", "difference µs"):
        table.add_column(column, justify="left" if column == "operation" else "right")
    for name, pair in pairs.items():
        ours, by_hand = fastest(list(pair), rounds, repeat)
        table.add_row(name, f"{ours:.1f}", f"{by_hand:.1f}", f"{ours - by_hand:.1f}")
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    show("Scopes", operations(), rounds, REPEAT)
    show("Lifted transforms", transforms(), rounds, 5)
    table = Table(title="Making many scopes, each with a variable")
    table.add_column("scopes", justify="right")
    table.add_column("ms", justify="right")
    table.add_column("µs for each", justify="right")
    counts = (1_000, 10_000)
    runs = [init(lambda scope, n=count: wide(scope, n)) for count in counts]
    totals = fastest([lambda run=run: run(KEY) for run in runs], 5 * rounds, 1)
    for count, total in zip(counts, totals, strict=True):
        table.add_row(f"{count}", f"{total / 1000:.1f}", f"{total / count:.2f}")
    Console().print(table)
    print(f"10,000 scopes cost {totals[1] / totals[0]:.1f} times what 1,000 cost.")


if __name__ == "__main__":
    main()
