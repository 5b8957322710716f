"""How far a call travels: the files and functions of ours that it enters.

    python benchmarks/trips.py [--route "Dense apply"] [--route all] [--package NAME]

Each program runs once to compile and to fill what is remembered, and a second time
under `sys.setprofile`, which counts every Python call into a file of this project;
calls within jax, and C functions, are not ours and do not count. Prints a table, and
for the programs named by `--route` the calls in their order, indented by depth.

To compare with another checkout, put its packages first on the path, and say what the
namespace is called there if it has another name:

    PYTHONPATH=$(ls -d OTHER/packages/*/src | paste -sd:) python benchmarks/trips.py
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jax import numpy as jnp
from rich.console import Console
from rich.table import Table

KEY = jax.random.key(0)


class Call(NamedTuple):
    """One call of ours: how many calls of ours it is within, and what is called."""

    depth: int
    file: str
    function: str


def programs(nn: Any) -> dict[str, Callable[[], Any]]:
    """The programs to count, each a function without arguments."""

    class MLP(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(4)(nn.relu(nn.Dense(8)(x)))

    class Step(nn.Module):
        @nn.compact
        def __call__(self, carry, _):
            return nn.Dense(4)(carry), None

    layers = nn.scan(
        Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=5
    )()
    cells = nn.scan(
        nn.GRUCell,
        variable_broadcast="params",
        split_rngs={"params": False},
        in_axes=1,
        out_axes=1,
    )(4)
    dense, mlp, rnn = nn.Dense(4), MLP(), nn.RNN(nn.GRUCell(4))
    x, sequence = jnp.ones((2, 4)), jnp.ones((2, 5, 4))
    in_dense, in_mlp = dense.init(KEY, x), mlp.init(KEY, x)
    in_layers = layers.init(KEY, x, None)
    in_cells, in_rnn = cells.init(KEY, x, sequence), rnn.init(KEY, sequence)
    return {
        "Dense apply": lambda: dense.apply(in_dense, x),
        "Dense init": lambda: dense.init(KEY, x),
        "MLP apply": lambda: mlp.apply(in_mlp, x),
        "nn.scan of Dense apply": lambda: layers.apply(in_layers, x, None),
        "nn.scan of GRU apply": lambda: cells.apply(in_cells, x, sequence),
        "nn.RNN of GRU apply": lambda: rnn.apply(in_rnn, sequence),
    }


def calls_of(program: Callable[[], Any], roots: tuple[str, ...]) -> list[Call]:
    """The calls into files below the folders `roots` of the program's second run.

    The functions that a class body or a comprehension is compiled to count, as any
    other: they are calls to Python.
    """
    program()
    calls: list[Call] = []
    depth = 0
    ours: dict[CodeType, str | None] = {}

    def relative(code: CodeType) -> str | None:
        for root in roots:
            if code.co_filename.startswith(root):
                return code.co_filename[len(root) :]
        return None

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal depth
        if event not in ("call", "return"):
            return
        code = frame.f_code
        if code not in ours:
            ours[code] = relative(code)
        file = ours[code]
        if file is None:
            return
        if event == "call":
            calls.append(Call(depth, file, code.co_qualname))
            depth += 1
        else:
            depth -= 1

    sys.setprofile(profile)
    try:
        program()
    finally:
        sys.setprofile(None)
    return calls


def route(calls: list[Call]) -> Iterator[str]:
    """The calls as indented lines; what repeats at once is folded into one line.

    What repeats is a call together with all that it calls.
    """
    trees = _subtrees(calls)
    index = 0
    while index < len(trees):
        tree = trees[index]
        times = 1
        while index + times < len(trees) and trees[index + times] == tree:
            times += 1
        first = tree[0]
        repeated = f"  x {times}" if times > 1 else ""
        yield f"{'  ' * first.depth}{first.file}:{first.function}{repeated}"
        yield from route(tree[1:])
        index += times


def _subtrees(calls: list[Call]) -> list[list[Call]]:
    """The calls cut before each of the outermost ones."""
    trees: list[list[Call]] = []
    for call in calls:
        if trees and call.depth > trees[-1][0].depth:
            trees[-1].append(call)
        else:
            trees.append([call])
    return trees


def main() -> None:
    """Prints the table, and the routes that were asked for."""
    parser = argparse.ArgumentParser(description="Counts the calls of ours.")
    parser.add_argument("--package", default="batiste", help="the namespace to count")
    parser.add_argument(
        "--route", action="append", default=[], help="a program's name, or all"
    )
    options = parser.parse_args()
    nn = importlib.import_module(f"{options.package}.linen")
    namespace = importlib.import_module(options.package)
    roots = tuple(os.path.join(path, "") for path in namespace.__path__)

    table = Table(title="Trips of one call through our own code")
    table.add_column("program")
    for name in ("files", "functions", "calls"):
        table.add_column(name, justify="right")
    for name, program in programs(nn).items():
        calls = calls_of(program, roots)
        files = {call.file for call in calls}
        functions = {(call.file, call.function) for call in calls}
        table.add_row(name, *(str(len(xs)) for xs in (files, functions, calls)))
        if name in options.route or "all" in options.route:
            print(f"{name}\n", *route(calls), sep="\n  ", end="\n\n")
    Console(width=88).print(table)


if __name__ == "__main__":
    main()
