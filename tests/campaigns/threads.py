"""Sixteen threads at once: each gets what it gets alone.

    python tests/campaigns/threads.py [--rounds 20] [--threads 16] [--seed 0]

What is run: one module for all, bound modules, lifted transforms and their caches,
scopes, hooks and flags that hold in one thread, a manager of background saves, files,
bytes, and errors. Each thread does all of it in an order of its own, while Python
changes threads as often as it can. Each result has to equal the one without threads,
and afterwards nothing is left. A finding says what was run.
"""

import argparse
import faulthandler
import random
import shutil
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from shared.reporting import Report, add_options, command

import batiste.linen as nn
from batiste import serialization, spmd
from batiste.core import apply as core_apply
from batiste.core import errors, freeze, struct
from batiste.core import init as core_init
from batiste.core.config import config
from batiste.linen.module.context import context
from batiste.training import checkpoints

KEY = jax.random.key(0)
PATIENCE = 300  # seconds; whoever waits longer waits for another thread for ever

Work = Callable[[int], Any]
"""Does something that depends on a small number alone, and returns what came of it."""


class Block(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=False)(nn.Dense(self.width)(x))
        self.sow("intermediates", "mean", x.mean())
        return nn.Dropout(0.5, deterministic=False)(x)


class Net(nn.Module):
    width: int = 4

    def setup(self):
        self.blocks = [Block(self.width) for _ in range(2)]

    @nn.compact_name_scope
    def top(self, x):
        return nn.Dense(2)(x)

    def __call__(self, x):
        for block in self.blocks:
            x = block(x)
        return self.top(x)


class Lifted(nn.Module):
    """A stack of transforms, whose programs are cached by what they depend on."""

    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.jit(nn.remat(nn.Dense))(self.width)(x)
        many = nn.vmap(
            nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}
        )
        return many(self.width)(x)


@struct.dataclass
class State:
    params: Any
    step: int = struct.field(pytree_node=False, default=0)


def inputs(number: int) -> np.ndarray:
    """An input of its own for each number; the shapes differ, too."""
    return np.full((2 + number % 3, 3), number / 7, np.float32)


def digest(tree: Any) -> Any:
    """What is compared of a result: structure, dtypes and bytes."""
    leaves, structure = jax.tree.flatten(tree)
    return str(structure), [
        x if isinstance(x, str) else (str(np.asarray(x).dtype), np.asarray(x).tobytes())
        for x in leaves
    ]


def of_modules() -> dict[str, Work]:
    """Modules that all threads share, and classes and functions that they do not."""
    net, rngs, mutable = Net(), {"params": KEY, "dropout": KEY}, ["batch_stats"]
    variables = net.init(rngs, inputs(0))
    layer = nn.Dense(3)
    bound = nn.Dense(3).bind(layer.init(KEY, inputs(0)))
    compiled = jax.jit(lambda v, x: layer.apply(v, x))
    memo = nn.Dense(5, kernel_init=lambda key, *a: nn.initializers.ones(key, *a))

    def lifted(number: int) -> Any:
        model = Lifted(3 + number % 4)
        return model.apply(model.init(KEY, inputs(number)), inputs(number))

    def fresh(number: int) -> Any:
        class Fresh(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.jit(lambda m, x: m(x) * number)(nn.Dense(2), x)

        model = Fresh()
        return model.init_with_output(KEY, inputs(number))

    def loops(number: int) -> Any:
        model = nn.RNN(nn.GRUCell(2 + number % 3), return_carry=True)
        x = np.ones((1, 4, 3), np.float32) * number
        return model.init_with_output(KEY, x)

    def hooks(number: int) -> Any:
        def scale(next_fun, args, kwargs, info):
            return jax.tree.map(lambda y: y * number, next_fun(*args, **kwargs))

        with (
            nn.intercept_methods(scale),
            nn.override_named_call(bool(number % 2)),
            config.temp_flip_flag("return_frozendict", bool(number % 2)),
            spmd.logical_axis_rules((("batch", f"axis{number}"),)),
        ):
            y, changed = net.apply(
                variables,
                inputs(number),
                rngs=rngs,
                mutable=mutable,
                capture_intermediates=bool(number % 3),
            )
            axes = spmd.logical_to_mesh_axes(("batch", None))
        return y, changed, str(axes), type(changed).__name__

    def wrong(number: int) -> Any:
        try:
            net.apply(variables, np.ones((2, 4 + number), np.float32), rngs=rngs)
        except errors.FlaxError as error:
            return f"{type(error).__name__}: {error}"
        return "no error"

    return {
        "apply": lambda n: net.apply(variables, inputs(n), rngs=rngs, mutable=mutable),
        "init": lambda n: net.init(
            {"params": jax.random.key(n), "dropout": KEY}, inputs(n)
        ),
        "bound": lambda n: bound(inputs(n)),
        "jit": lambda n: compiled(bound.variables, inputs(n)),
        "grad": lambda n: jax.grad(lambda x: layer.apply(bound.variables, x).sum())(
            inputs(n)
        ),
        "memo": lambda n: memo.init(KEY, inputs(n)),
        "lifted": lifted,
        "fresh class": fresh,
        "loops": loops,
        "hooks": hooks,
        "errors": wrong,
        "tabulate": lambda n: Lifted(2 + n % 3).tabulate(
            KEY, inputs(n), console_kwargs={"width": 200}
        ),
    }


def of_core() -> dict[str, Work]:
    """Scopes, flags, containers."""

    def scoped(scope, x):
        w = scope.param("w", nn.initializers.ones, (3,))
        scope.variable("state", "n", jnp.zeros, ()).value += 1
        inner = scope.child(
            lambda s, x: s.param("b", nn.initializers.zeros, (3,)) + x * w, "c"
        )
        return inner(x)

    def scopes(number: int) -> Any:
        y, variables = core_init(scoped)(KEY, inputs(number))
        return y, core_apply(scoped, mutable=["state"])(variables, inputs(number))

    def flags(number: int) -> Any:
        seen = []
        for _ in range(20):
            with config.temp_flip_flag("return_frozendict", bool(number % 2)):
                seen.append(config.return_frozendict)
                with config.temp_flip_flag("profile", False):
                    config.update("return_frozendict", not number % 2)
                    seen.append(config.return_frozendict)
                    seen.append(config.profile)
            seen.append(config.return_frozendict)
        return seen

    def containers(number: int) -> Any:
        frozen = freeze({"a": {"b": number}, "c": np.arange(number + 1)})
        state = State({"w": frozen}, step=number)
        data = serialization.to_bytes(state)
        return serialization.from_bytes(state, data), hash(freeze({"a": number}))

    return {"scopes": scopes, "flags": flags, "containers": containers}


def of_files(folder: Path) -> dict[str, Work]:
    """Bytes, files, checkpoints, one manager for all."""
    manager = checkpoints.AsyncManager()

    def tree(number: int) -> Any:
        return {"w": np.full(2000, number), "step": number, "name": f"n{number}"}

    def place() -> Path:
        return folder / str(threading.get_ident())

    def files(number: int) -> Any:
        path = place().with_suffix(".msgpack")
        serialization.serialize(tree(number), path)
        return serialization.restore(path, tree(0), verify=True, copy=True)

    def shared_file(number: int) -> Any:
        # The file of all threads holds what one of them has written, whole.
        path = folder / "shared.msgpack"
        serialization.serialize(tree(number), path)
        found = serialization.restore(path)
        return bool((found["w"] == found["step"]).all())

    def saves(number: int) -> Any:
        checkpoints.save_checkpoint(place(), tree(number), 1, overwrite=True)
        return checkpoints.restore_checkpoint(place(), None)

    def managed(number: int) -> Any:
        target = place() / "managed"
        for step in range(2):
            checkpoints.save_checkpoint(
                target, tree(number), step, overwrite=True, async_manager=manager
            )
        steps = checkpoints.available_steps(target)
        return checkpoints.restore_checkpoint(target, tree(0)), steps

    def common(number: int) -> Any:
        # All threads save to one folder, and each reads something whole from it.
        checkpoints.save_checkpoint(
            folder / "common", tree(number), number % 3, keep=2, overwrite=True
        )
        found = checkpoints.restore_checkpoint(folder / "common", None)
        return bool((found["w"] == found["step"]).all())

    return {
        "bytes": lambda n: serialization.from_bytes(
            tree(0), serialization.to_bytes(tree(n))
        ),
        "files": files,
        "one file": shared_file,
        "saves": saves,
        "manager": managed,
        "one folder": common,
    }


def left() -> dict[str, Any]:
    """What threads could leave behind in the one that started them."""
    return {
        "modules": list(context.modules),
        "interceptors": list(context.interceptors),
        "flags": {name: getattr(config, name) for name in sorted(config._globals)},
        "flags that are flipped": {n: k for n, k in config._flips.items() if k},
        "axis rules": spmd.get_logical_axis_rules(),
    }


def one_round(
    works: dict[str, Work],
    expected: dict[tuple[str, int], Any],
    threads: int,
    report: Report,
    rng: random.Random,
) -> Counter[str]:
    """Has all threads do everything; the names of what went wrong."""
    together = threading.Barrier(threads)
    wrong: list[tuple[str, int, str]] = []

    def run(seed: int) -> None:
        tasks = list(expected)
        random.Random(seed).shuffle(tasks)
        together.wait()
        for name, number in tasks:
            try:
                found = digest(works[name](number))
            except BaseException:
                wrong.append((name, number, traceback.format_exc()))
                continue
            if found != expected[name, number]:
                text = f"alone: {expected[name, number]!s:.2000}\nhere: {found!s:.2000}"
                wrong.append((name, number, text))

    running = [
        threading.Thread(target=run, args=(rng.randrange(2**32),))
        for _ in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    report.count("results", threads * len(expected))
    for name, number, text in wrong[:20]:
        report.found(f"{name}({number})", f"{text}\n{command('--seed', report.seed)}")
    return Counter(name for name, _, _ in wrong)


def main() -> int:
    """Runs everything alone, then in threads, and prints what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--numbers", type=int, default=6, help="inputs of each kind")
    parser.add_argument("--only", metavar="NAME", help="one kind of work")
    options = parser.parse_args()
    report, rng = Report("threads", options), random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="threads-"))
    interval, failures = sys.getswitchinterval(), Counter()
    try:
        works = of_modules() | of_core() | of_files(folder)
        works = {k: w for k, w in works.items() if options.only in (None, k)}
        expected = {
            (name, number): digest(work(number))
            for name, work in works.items()
            for number in range(1, options.numbers + 1)
        }
        before = left()
        sys.setswitchinterval(1e-5)
        for _ in range(options.rounds):
            faulthandler.dump_traceback_later(PATIENCE, exit=True)
            failures += one_round(works, expected, options.threads, report, rng)
            # What is cached would be found rather than made.
            jax.clear_caches()
        faulthandler.cancel_dump_traceback_later()
        if left() != before:
            report.found("something is left", f"{before}\n{left()}\n{command()}")
    finally:
        sys.setswitchinterval(interval)
        shutil.rmtree(folder, ignore_errors=True)
    each = options.rounds * options.threads * options.numbers
    rows = [(name, each, failures[name]) for name in works]
    return report.end(("work", "results", "wrong"), rows)


if __name__ == "__main__":
    sys.exit(main())
