"""What initialization, fresh classes and saving keep in memory, beside their arrays.

    python benchmarks/memory.py [--mib 1024] [--classes 10000] [--layers 96]

Each case runs in a process of its own. What is printed is the peak of its resident
memory beyond that before the case, as a multiple of the bytes of the parameters, or in
MiB. Hand-written JAX is measured beside it: what XLA needs to draw numbers, nobody
spares. Asynchronous saves copy NumPy arrays, once, since anybody may change them while
they are written; JAX arrays on a CPU are held instead.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bars
from rich.console import Console
from rich.table import Table

MIB = 2**20
IN_SEQUENCE = "--xla_cpu_enable_concurrency_optimized_scheduler=false"
# What, and the bar that it is to keep: a multiple of the parameters, or MiB.
CASES = {
    "init, jitted, in sequence": 1.05,
    "init, jitted": None,
    "init, jitted, by hand": None,
    "init, eager": 1.05,
    "init, eager, by hand": None,
    "fresh classes": 16,
    "serialize NumPy": 64,
    "serialize JAX": 64,
    "save asynchronously NumPy": 1.05,
    "save asynchronously JAX": 0.05,
}


def resident(line: str = "VmRSS") -> float:
    """MiB of memory of this process: now, or with `VmHWM` at most so far."""
    for text in Path("/proc/self/status").read_text("utf-8").splitlines():
        if text.startswith(line):
            return int(text.split()[1]) / 1024
    raise OSError("this system does not tell how much memory a process has")


def peak(fn: Callable[[], Any]) -> tuple[float, Any]:
    """MiB that a call has at most, beyond what there is before it; and its result."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = resident()
    result = fn()
    return resident("VmHWM") - before, result


def measure_init(case: str, mib: int, layers: int, classes: int) -> float:
    import jax
    from jax import numpy as jnp

    import batiste.linen as nn

    width = int((mib * MIB / 4 / layers) ** 0.5)
    x, key = jnp.ones((1, width)), jax.random.key(0)

    class Model(nn.Module):
        depth: int

        @nn.compact
        def __call__(self, x):
            for _ in range(self.depth):
                x = nn.Dense(width, use_bias=False)(x)
            return x

    def by_hand(key: jax.Array, x: jax.Array, depth: int) -> Any:
        kernel_init, params = nn.initializers.lecun_normal(), {}
        for i in range(depth):
            params[f"{i}"] = kernel_init(jax.random.fold_in(key, i), (width, width))
            x = x @ params[f"{i}"]
        return params

    def make(depth: int) -> Callable[..., Any]:
        run = Model(depth).init
        if "by hand" in case:
            run = lambda key, x: by_hand(key, x, depth)  # noqa: E731
        return jax.jit(run) if "jitted" in case else run

    if "jitted" in case:
        # What is compiled is not what is measured.
        program = jax.jit(make(layers)).lower(key, x).compile()
        run: Callable[[], Any] = lambda: program(key, x)  # noqa: E731
    else:
        jax.block_until_ready(make(1)(key, x))
        run = lambda: make(layers)(key, x)  # noqa: E731
    used, variables = peak(lambda: jax.block_until_ready(run()))
    return used * MIB / sum(leaf.nbytes for leaf in jax.tree.leaves(variables))


def measure_classes(case: str, mib: int, layers: int, classes: int) -> float:
    import jax
    from jax import numpy as jnp

    import batiste.linen as nn

    key, x = jax.random.key(0), jnp.ones((1, 2))

    def run(count: int) -> float:
        for _ in range(count):

            class Fresh(nn.Module):
                width: int = 2

                @nn.compact
                def __call__(self, x):
                    return nn.Dense(self.width)(x)

            Fresh().apply(Fresh().init(key, x), x)
        gc.collect()
        return resident()

    # A tenth first, for what is remembered of any program.
    before = run(classes // 10)
    return run(classes) - before


def make_tree(case: str, mib: int, layers: int) -> dict[str, Any]:
    import numpy as np

    size = mib * MIB // 4 // layers
    if "JAX" not in case:
        return {str(i): np.full(size, i, np.float32) for i in range(layers)}
    import jax
    from jax import numpy as jnp

    arrays = {str(i): jnp.full(size, i, jnp.float32) for i in range(layers)}
    return jax.block_until_ready(arrays)


def measure_serialize(case: str, mib: int, layers: int, classes: int) -> float:
    from batiste import serialization

    tree = make_tree(case, mib, layers)
    with tempfile.TemporaryDirectory() as folder:
        serialization.serialize({"a": tree["0"]}, Path(folder, "first"))
        return peak(lambda: serialization.serialize(tree, Path(folder, "tree")))[0]


def measure_async(case: str, mib: int, layers: int, classes: int) -> float:
    from batiste.training import checkpoints

    tree = make_tree(case, mib, layers)
    manager = checkpoints.AsyncManager()
    with tempfile.TemporaryDirectory() as folder:

        def save() -> None:
            checkpoints.save_checkpoint(folder, tree, 1, async_manager=manager)
            manager.wait_previous_save()

        checkpoints.save_checkpoint(folder, {"a": tree["0"]}, 0)
        return peak(save)[0] / mib


MEASURES = {
    "init": measure_init,
    "fresh": measure_classes,
    "serialize": measure_serialize,
    "save": measure_async,
}


def unit(case: str) -> str:
    return "MiB" if case.split()[0] in ("fresh", "serialize") else "x parameters"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures peaks of memory.")
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=96)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--case", help="only this one, in this process")
    options = parser.parse_args()
    sizes = (options.mib, options.layers, options.classes)
    if options.case:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        if "in sequence" in options.case:
            # On a CPU, XLA draws many layers at once for speed, unless told not to.
            os.environ["XLA_FLAGS"] = IN_SEQUENCE
        print(MEASURES[options.case.split()[0].strip(",")](options.case, *sizes))
        return
    table = Table(title=f"Memory beside what there was: {options.mib} MiB of arrays")
    for name in ("case", "reached", "bar", "unit"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for case, bar in CASES.items():
        command = [sys.executable, *sys.argv, "--case", case]
        found = subprocess.run(command, capture_output=True, check=True, text=True)
        shown = f"{float(found.stdout):.2f}"
        if bar is not None:
            bars.note(5, case, float(found.stdout), bar, unit(case))
        table.add_row(case, shown, "" if bar is None else str(bar), unit(case))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
