"""Saving and restoring 512 arrays, compared with flax, raw writes and safetensors.

And 100,000 arrays of four numbers, compared with flax: there Python is what costs.

Every ratio is of times taken in this run, in turns, each the best of the rounds:

    python benchmarks/serialization.py [--mib 1024] [--rounds 5] [--folder DIR]

Files that are written are new ones; nothing is synced while the time runs, and files
are read while the system still has them in memory. What is measured is thus the work of
the processor, next to which a disk only gets slower.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bars
import numpy as np

from batiste import serialization
from batiste.serialization import integrity

ARRAYS = 512
LEAVES, JAX_LEAVES = 100_000, 2_000
OUT = "out"  # the file that every case writes


def make_tree(mib: int) -> dict[str, Any]:
    """Arrays of one size in 64 layers of eight, like the state of an optimizer."""
    rng = np.random.default_rng(0)
    size = mib * 2**20 // ARRAYS // 4
    return {
        f"layer_{i}": {
            f"array_{j}": rng.random(size, np.float32) for j in range(ARRAYS // 64)
        }
        for i in range(64)
    }


def leaves(tree: dict[str, Any]) -> list[np.ndarray]:
    return [array for layer in tree.values() for array in layer.values()]


def write_raw(tree: dict[str, Any], path: Path) -> None:
    with open(path, "xb", buffering=0) as file:
        for array in leaves(tree):
            file.write(array.data)


def touch(tree: dict[str, Any]) -> float:
    """Reads one element of every array, so that nothing is left undone."""
    return sum(float(array[-1]) for array in leaves(tree))


def cases(tree: dict[str, Any], folder: Path) -> dict[str, Callable[[], Any]]:
    """What is timed, by name. Files that are read are written here."""
    path, out = folder / "batiste.msgpack", folder / OUT
    serialization.serialize(tree, path)
    data = path.read_bytes()
    target = {name: dict.fromkeys(layer) for name, layer in tree.items()}
    found: dict[str, Callable[[], Any]] = {
        "integrity check, bytes": lambda: integrity.check_of(data),
        "integrity check, file": lambda: integrity.check_of_file(path),
        "memcpy": lambda: [array.copy() for array in leaves(tree)],
        "batiste to_bytes": lambda: serialization.to_bytes(tree),
        "batiste from_bytes": lambda: touch(serialization.from_bytes(target, data)),
        "raw write": lambda: write_raw(tree, out),
        "batiste serialize": lambda: serialization.serialize(tree, out),
        "batiste restore": lambda: touch(serialization.restore(path, target)),
        "batiste restore, copy": lambda: touch(
            serialization.restore(path, target, copy=True)
        ),
        "batiste restore, one layer": lambda: serialization.restore(
            path, path="layer_63"
        ),
    }
    if importlib.util.find_spec("flax"):
        from flax import serialization as flax_serialization  # pyright: ignore

        assert flax_serialization.to_bytes(tree) == data
        found["flax to_bytes"] = lambda: flax_serialization.to_bytes(tree)
        found["flax from_bytes"] = lambda: touch(
            flax_serialization.from_bytes(target, data)
        )
        found["flax save"] = lambda: out.write_bytes(flax_serialization.to_bytes(tree))
        found["flax restore"] = lambda: touch(
            flax_serialization.from_bytes(target, path.read_bytes())
        )
    if importlib.util.find_spec("safetensors"):
        from safetensors import numpy as safetensors  # pyright: ignore

        flat = {f"{i}/{j}": a for i, layer in tree.items() for j, a in layer.items()}
        other = folder / "model.safetensors"
        safetensors.save_file(flat, other)
        found["safetensors save"] = lambda: safetensors.save(flat)
        found["safetensors save_file"] = lambda: safetensors.save_file(flat, out)
        found["safetensors load_file"] = lambda: safetensors.load_file(other)
    return found


# What, the slower, the faster, and how many times as fast it should be.
RATIOS = [
    ("check / 3 GiB/s", "3 GiB/s", "integrity check, file", 1.0),
    ("to_bytes / flax", "flax to_bytes", "batiste to_bytes", 5.0),
    ("serialize / raw write", "raw write", "batiste serialize", 0.9),
    ("restore / flax", "flax restore", "batiste restore", 20.0),
    ("from_bytes / flax", "flax from_bytes", "batiste from_bytes", None),
    ("serialize / flax", "flax save", "batiste serialize", None),
    ("restore, copy / flax", "flax restore", "batiste restore, copy", None),
    ("to_bytes / safetensors", "safetensors save", "batiste to_bytes", None),
    ("serialize / safetensors", "safetensors save_file", "batiste serialize", None),
    ("restore / safetensors", "safetensors load_file", "batiste restore", None),
    (
        "restore, copy / safetensors",
        "safetensors load_file",
        "batiste restore, copy",
        None,
    ),
]


def many_leaves(rounds: int, folder: Path) -> None:
    """Times of trees of many small leaves, as ratios to flax."""
    from flax import serialization as flax  # pyright: ignore
    from jax import numpy as jnp

    tree = {
        f"layer_{i}": {f"w{j}": np.full(4, i + j, np.float32) for j in range(100)}
        for i in range(LEAVES // 100)
    }
    of_jax = {
        f"layer_{i}": {f"w{j}": jnp.full(4, i + j, jnp.float32) for j in range(20)}
        for i in range(JAX_LEAVES // 20)
    }
    path = folder / "leaves.msgpack"
    data, state = serialization.to_bytes(tree), serialization.to_state_dict(tree)
    path.write_bytes(data)
    assert flax.to_bytes(tree) == data
    both: dict[str, tuple[Callable[[], Any], Callable[[], Any], float]] = {
        "to_bytes": (
            lambda: serialization.to_bytes(tree),
            lambda: flax.to_bytes(tree),
            0.5,
        ),
        f"to_bytes, {JAX_LEAVES:,} JAX arrays": (
            lambda: serialization.to_bytes(of_jax),
            lambda: flax.to_bytes(of_jax),
            0.8,
        ),
        "from_bytes": (
            lambda: serialization.from_bytes(tree, data),
            lambda: flax.from_bytes(tree, data),
            0.8,
        ),
        "restore": (
            lambda: serialization.restore(path, tree),
            lambda: flax.from_bytes(tree, path.read_bytes()),
            0.8,
        ),
        "to_state_dict": (
            lambda: serialization.to_state_dict(tree),
            lambda: flax.to_state_dict(tree),
            0.5,
        ),
        "from_state_dict": (
            lambda: serialization.from_state_dict(tree, state),
            lambda: flax.from_state_dict(tree, state),
            0.5,
        ),
    }
    print(f"{LEAVES:,} arrays of four numbers, time as a ratio to flax")
    for name, (ours, theirs, wanted) in both.items():
        times = [float("inf")] * 2
        for _ in range(rounds):
            for i, run in enumerate((ours, theirs)):
                gc.collect()
                started = time.perf_counter()
                result = run()
                times[i] = min(times[i], time.perf_counter() - started)
                del result
        ratio = times[0] / times[1]
        print(f"  {name:<28} {ratio:9.2f} (wanted: at most {wanted})")
        bars.note(6, f"{name} of small arrays, of flax", ratio, wanted)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Times saving and restoring, and prints the ratios."
    )
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", help="where files are written; a new one if not given"
    )
    options = parser.parse_args()
    tree = make_tree(options.mib)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        chosen = cases(tree, Path(folder))
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for _ in range(options.rounds):
            for name, run in chosen.items():
                gc.collect()
                Path(folder, OUT).unlink(missing_ok=True)
                os.sync()  # so that nobody pays for what another has written
                started = time.perf_counter()
                result = run()
                times[name].append(time.perf_counter() - started)
                del result
    best = {name: min(values) for name, values in times.items()}
    print(f"{options.mib} MiB in {ARRAYS} arrays, {options.rounds} rounds")
    for name, seconds in best.items():
        speed = options.mib / 1024 / seconds
        print(f"  {name:<28} {seconds:9.4f} s {speed:10.2f} GiB/s")
    print("speed, as a ratio")
    best["3 GiB/s"] = options.mib / 1024 / 3
    for title, slow, fast, wanted in RATIOS:
        if slow in best and fast in best:
            ratio = best[slow] / best[fast]
            goal = f"(wanted: {wanted})" if wanted else ""
            print(f"  {title:<28} {ratio:9.2f} {goal}".rstrip())
    if importlib.util.find_spec("flax"):
        with tempfile.TemporaryDirectory() as folder:
            many_leaves(options.rounds, Path(folder))


if __name__ == "__main__":
    main()
