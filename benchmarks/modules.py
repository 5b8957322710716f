"""What modules cost, as ratios to the same networks written by hand in JAX.

    python benchmarks/modules.py [--rounds 7]

Everything is measured in one process, round by round in turn, and the fastest round
of each counts: these machines are noisy, but they are so for all alike. Prints tables;
fails only if a network of Batiste computes something else than the hand-written one.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import bars
import equinox as eqx
import flax.linen as flax_nn
import jax
import numpy as np
from jax import numpy as jnp
from networks import by_hand, in_equinox, in_haiku
from networks.in_linen import networks
from rich.console import Console
from rich.table import Table

import batiste.linen as nn

KEY = jax.random.key(0)
DEPTH, WIDTH = 100, 8
SHALLOW = 20  # deep enough to compare programs, which take long to compile
BLOCKS, HEADS, EMBED = 24, 4, 64
FRAMEWORKS = ("batiste", "flax", "haiku", "equinox")
BAR = {
    ("mlp", "trace apply"): 1.1,
    ("mlp", "eager apply"): 1.5,
    ("mlp", "trace init"): 0.5,
    ("mlp", "eager init"): 0.5,
    ("transformer", "trace apply"): 1.3,
}
STEP_BAR = {"bind Dense": 8.0, "call a method": 1.5}
IMPORTS = {
    "batiste.linen": 30,
    "batiste.training.checkpoints": 50,
    "batiste.flax; batiste.flax.install(); import flax.linen": 60,
    "flax.linen": None,
    "haiku": None,
    "equinox": None,
}
# Jobs that take long are done less often than others, but twice at least.
MOST_SECONDS = 20
# Chains of this many layers, and chains of as many with a module around each.
DEPTHS, SIBLINGS, NESTED = (100, 1_000, 10_000), (200, 2_000, 20_000), (15, 150)


def fastest(
    fns: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Seconds of each function's fastest call, the functions taking turns."""
    best = dict.fromkeys(fns, float("inf"))
    for fn in fns.values():
        fn()  # compiles what is compiled once
    begin = time.perf_counter()
    for index in range(rounds):
        if index > 1 and time.perf_counter() - begin > MOST_SECONDS:
            break
        for name, fn in fns.items():
            start = clock()
            fn()
            best[name] = min(best[name], clock() - start)
    return best


class Network:
    """One network in all frameworks: functions of parameters, and of keys."""

    def __init__(self, x: jax.Array):
        self.x = x
        self.apply: dict[str, Callable[[Any, jax.Array], Any]] = {}
        self.params: dict[str, Any] = {}
        self.init: dict[str, Callable[[jax.Array, jax.Array], Any]] = {}

    def add(self, name: str, apply, params, init) -> None:
        self.apply[name], self.params[name], self.init[name] = apply, params, init

    def add_equinox(self, make: Callable[[jax.Array], Any]) -> None:
        params, static = eqx.partition(make(KEY), eqx.is_array)

        def apply(params, x):
            return eqx.combine(params, static)(x)

        def init(key, x):
            return eqx.filter(make(key), eqx.is_array)

        self.add("equinox", apply, params, init)

    def jobs(self) -> dict[str, dict[str, Callable[[], Any]]]:
        """The measured jobs: for each, a function for each framework."""

        def trace(fn, *args):
            # A new function each time: JAX would remember the last trace.
            return lambda: jax.make_jaxpr(lambda *args: fn(*args))(*args)

        def loss(fn):
            return lambda params, x: jnp.sum(fn(params, x))

        x = self.x
        return {
            "trace apply": {
                k: trace(fn, self.params[k], x) for k, fn in self.apply.items()
            },
            "trace gradient": {
                k: trace(jax.grad(loss(fn)), self.params[k], x)
                for k, fn in self.apply.items()
            },
            "trace init": {k: trace(fn, KEY, x) for k, fn in self.init.items() if fn},
            "eager apply": {
                k: lambda fn=fn, k=k: jax.block_until_ready(fn(self.params[k], x))
                for k, fn in self.apply.items()
            },
            "eager init": {
                k: lambda fn=fn: jax.block_until_ready(fn(KEY, x))
                for k, fn in self.init.items()
                if fn
            },
        }

    def check(self) -> None:
        """Batiste's parameters in the hand-written network give the same output."""
        y = self.apply["batiste"](self.params["batiste"], self.x)
        expected = self.apply["hand"](self.params["hand"], self.x)
        np.testing.assert_allclose(y, expected, rtol=2e-4, atol=2e-4)


def make_mlp(depth: int = DEPTH) -> Network:
    network = Network(jnp.ones((1, WIDTH)))
    for name, namespace in (("batiste", nn), ("flax", flax_nn)):
        model = networks(namespace).MLP(depth, WIDTH)
        network.add(name, model.apply, model.init(KEY, network.x), model.init)
    params = network.params["batiste"]["params"].unfreeze()

    def init(key, x):
        return by_hand.init_mlp(key, x, depth, WIDTH)

    network.add("hand", by_hand.mlp, params, init)
    haiku = in_haiku.mlp(depth, WIDTH)
    network.add("haiku", haiku.apply, haiku.init(KEY, network.x), haiku.init)
    network.add_equinox(lambda key: in_equinox.MLP(depth, WIDTH, key))
    return network


def make_transformer() -> Network:
    network = Network(jnp.ones((1, 8, EMBED)) * jnp.arange(EMBED) / EMBED)
    for name, namespace in (("batiste", nn), ("flax", flax_nn)):
        model = networks(namespace).Transformer(BLOCKS, HEADS)
        network.add(name, model.apply, model.init(KEY, network.x), model.init)
    params = network.params["batiste"]["params"].unfreeze()
    network.add("hand", by_hand.transformer, params, None)
    haiku = in_haiku.transformer(BLOCKS, HEADS)
    network.add("haiku", haiku.apply, haiku.init(KEY, network.x), haiku.init)
    network.add_equinox(lambda key: in_equinox.Transformer(BLOCKS, EMBED, HEADS, key))
    return network


def make_resnet50() -> Network:
    network = Network(jnp.ones((1, 32, 32, 3)))
    for name, namespace in (("batiste", nn), ("flax", flax_nn)):
        model = networks(namespace).ResNet50()
        variables = jax.jit(model.init)(KEY, network.x)
        network.add(name, model.apply, variables, model.init)
    variables = network.params["batiste"].unfreeze()
    network.add("hand", by_hand.resnet50, variables, None)
    haiku = in_haiku.resnet50()

    params, state = jax.jit(haiku.init)(KEY, network.x)

    def apply(params, x):
        return haiku.apply(params, state, x)[0]

    network.add("haiku", apply, params, haiku.init)
    network.add_equinox(in_equinox.ResNet50)
    network.apply["equinox"] = _channels_first(network.apply["equinox"])
    return network


def _channels_first(apply):
    return lambda params, x: apply(params, jnp.transpose(x, (0, 3, 1, 2)))


def measure_networks(rounds: int, console: Console) -> None:
    table = Table(title="Time as a multiple of hand-written JAX")
    for name in ("network", "job", "by hand, ms", *FRAMEWORKS, "bar"):
        table.add_column(
            name, justify="left" if name in ("network", "job") else "right"
        )
    for name, make in (
        ("mlp", make_mlp),
        ("transformer", make_transformer),
        ("resnet50", make_resnet50),
    ):
        network = make()
        network.check()
        for job, fns in network.jobs().items():
            times = fastest(fns, rounds)
            # Where no one writes an init by hand, Batiste's own is the unit.
            unit = times.get("hand")
            shown = "-" if unit is None else f"{1e3 * unit:.1f}"
            unit = times["batiste"] if unit is None else unit
            bar = BAR.get((name, job))
            if bar is not None:
                number = 1 if "init" in job else 2
                bars.note(
                    number, f"{name}: {job}, of by hand", times["batiste"] / unit, bar
                )
            table.add_row(
                name,
                job,
                shown,
                *(f"{times[k] / unit:.2f}" for k in FRAMEWORKS),
                "" if bar is None else f"{bar:.1f}",
            )
        table.add_section()
    console.print(table)


def measure_programs(console: Console) -> None:
    """What the program of an `init` under `jax.jit` is, and takes to compile."""
    table = Table(title=f"The program of init: {SHALLOW} layers, jitted")
    for name in ("framework", "equations", "lower, ms", "compile, ms"):
        table.add_column(name, justify="left" if name == "framework" else "right")
    network = make_mlp(SHALLOW)
    for name, init in network.init.items():
        jaxpr = jax.make_jaxpr(lambda key, x, init=init: init(key, x))(KEY, network.x)
        times = []
        for _ in range(2):  # the first one pays for what all share
            jitted = jax.jit(lambda key, x, init=init: init(key, x))
            start = time.perf_counter()
            lowered = jitted.lower(KEY, network.x)
            middle = time.perf_counter()
            lowered.compile()
            times = [middle - start, time.perf_counter() - middle]
        table.add_row(name, f"{len(jaxpr.eqns)}", *(f"{1e3 * t:.0f}" for t in times))
    console.print(table)


def measure_growth(console: Console) -> None:
    """How the time of tracing grows with the size of a model: 1 is in proportion."""
    table = Table(title="Tracing larger models")
    for name in ("model", "sizes", "ms", "exponents"):
        table.add_column(name, justify="left" if name == "model" else "right")

    class Chain(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x = nn.Dense(2)(x)
            return x

    class Siblings(nn.Module):
        count: int

        def setup(self):
            self.layers = [nn.Dense(2) for _ in range(self.count)]

        def __call__(self, x):
            return self.layers[-1](x)

    class Nested(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            return Nested(self.depth - 1)(x) if self.depth else nn.Dense(2)(x)

    for cls, sizes in ((Chain, DEPTHS), (Siblings, SIBLINGS), (Nested, NESTED)):
        times = []
        for size in sizes:
            model, x = cls(size), jnp.ones((1, 2))
            variables = jax.eval_shape(model.init, KEY, x)

            def trace(model=model, variables=variables, x=x):
                jax.make_jaxpr(lambda variables: model.apply(variables, x))(variables)

            times.append(fastest({"batiste": trace}, 3)["batiste"])
        exponents = [
            math.log(times[i + 1] / times[i]) / math.log(sizes[i + 1] / sizes[i])
            for i in range(len(sizes) - 1)
        ]
        table.add_row(
            cls.__name__,
            ", ".join(f"{size:,}" for size in sizes),
            ", ".join(f"{1e3 * t:.1f}" for t in times),
            ", ".join(f"{exponent:.2f}" for exponent in exponents),
        )
    console.print(table)


def measure_calls(rounds: int, console: Console) -> None:
    """Single steps of a module's life, in microseconds."""
    table = Table(title="Microseconds for single steps")
    for name in ("step", "batiste", "flax", "bar"):
        table.add_column(name, justify="left" if name == "step" else "right")

    def repeat(step: Callable[[], Any]) -> None:
        for _ in range(1000):
            step()

    def steps(nn: Any) -> dict[str, Callable[[], Any]]:
        class Empty(nn.Module):
            def __call__(self):
                return None

            def many_calls(self):
                for _ in range(1000):
                    self()

        dense, x = nn.Dense(3), jnp.ones((1, 2))
        variables, empty = dense.init(KEY, x), Empty()
        return {
            "construct Dense": lambda: repeat(lambda: nn.Dense(3)),
            "bind Dense": lambda: repeat(lambda: dense.bind(variables)),
            "call a method": lambda: empty.apply({}, method="many_calls"),
        }

    both = {"batiste": steps(nn), "flax": steps(flax_nn)}
    for step in both["batiste"]:
        of_step = {k: fns[step] for k, fns in both.items()}
        # On the processor: there is nothing but Python in it.
        times = fastest(of_step, 5 * rounds, time.process_time)
        # Each function does its step a thousand times.
        shown = [f"{1e3 * times[k]:.1f}" for k in ("batiste", "flax")]
        if step in STEP_BAR:
            bars.note(2, step, 1e3 * times["batiste"], STEP_BAR[step], "µs")
        table.add_row(step, *shown, str(STEP_BAR.get(step, "")))
    console.print(table)


def measure_imports(console: Console) -> None:
    """The time of an import on the processor, beyond that of jax and numpy."""
    table = Table(title="Milliseconds to import, beyond jax")
    for name in ("import", "ms", "bar"):
        table.add_column(name, justify="left" if name == "import" else "right")
    code = (
        "import jax, jax.numpy, time; s = time.process_time(); import {}; "
        "print(time.process_time() - s)"
    )
    # Where Python keeps no bytecode, what is measured is its compiler.
    environment = {k: v for k, v in os.environ.items() if "DONTWRITE" not in k}
    for module, bar in IMPORTS.items():
        command = [sys.executable, "-c", code.format(module)]
        times = [
            float(
                subprocess.run(
                    command, capture_output=True, check=True, env=environment
                ).stdout
            )
            for _ in range(11)
        ]
        fastest = 1e3 * min(times)
        table.add_row(module, f"{fastest:.0f}", "" if bar is None else str(bar))
        if bar is not None:
            bars.note(4, f"import {module}", fastest, bar, "ms")
    console.print(table)


def count_equations(console: Console) -> None:
    """The equations of a layer's program, which no layer should have to spare."""
    table = Table(title="Equations in the jaxpr of one layer")
    for name in ("layer", "batiste", "flax"):
        table.add_column(name, justify="left" if name == "layer" else "right")

    def layers(nn: Any) -> dict[str, tuple[Any, jax.Array]]:
        x, image = jnp.ones((2, 8, 16)), jnp.ones((2, 8, 8, 4))
        return {
            "Dense": (nn.Dense(4), x),
            "Conv": (nn.Conv(4, (3, 3)), image),
            "BatchNorm": (nn.BatchNorm(use_running_average=True), x),
            "LayerNorm": (nn.LayerNorm(), x),
            "GroupNorm": (nn.GroupNorm(4), x),
            "RMSNorm": (nn.RMSNorm(), x),
            "SelfAttention": (nn.SelfAttention(4), x),
            "Embed": (nn.Embed(8, 4), jnp.ones((2, 3), jnp.int32)),
        }

    for name in layers(nn):
        counts = []
        for namespace in (nn, flax_nn):
            layer, x = layers(namespace)[name]
            variables = layer.init(KEY, x)
            jaxpr = jax.make_jaxpr(layer.apply)(variables, x)
            counts.append(_count(jaxpr.jaxpr))
        table.add_row(name, *map(str, counts))
    console.print(table)


def _count(jaxpr: Any) -> int:
    """The equations of a jaxpr, with those of the jaxprs inside."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [p for p in eqn.params.values() if hasattr(p, "jaxpr")]
        total += 1 + sum(_count(p.jaxpr) for p in inner)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description="What modules cost, as ratios to hand-written JAX."
    )
    parser.add_argument("--rounds", type=int, default=7, help="calls of each, in turn")
    rounds = parser.parse_args().rounds
    console = Console(width=100)
    console.print(f"jax {jax.__version__} on {os.cpu_count()} cores")
    measure_networks(rounds, console)
    measure_programs(console)
    measure_calls(rounds, console)
    measure_growth(console)
    count_equations(console)
    measure_imports(console)


if __name__ == "__main__":
    main()
