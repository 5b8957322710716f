"""Single bits that flip in checkpoints: each is found, none is restored.

    python tests/campaigns/flips.py [--flips 3000] [--orbax 300] [--seed 0]

In a file each flip has to be an error of restoring it: as a checkpoint, with and
without a target, and mapped or copied where that is asked for. Flips in the check that
is recorded with a file may not do harm either. In a folder of Orbax a flip is an error,
or what is restored is right nevertheless: not every bit there means something. A
finding is the file and the bit.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from shared.reporting import Report, add_options, command

from batiste import serialization
from batiste.serialization import SerializationError
from batiste.training import checkpoints
from batiste.training.errors import DamagedCheckpointError


def trees() -> dict[str, Any]:
    """Checkpoints of several kinds, which are all small enough to read often."""
    rng = np.random.default_rng(0)
    layers = {
        f"Dense_{i}": {
            "kernel": rng.normal(size=(40, 40)).astype("f4"),
            "bias": rng.normal(size=40).astype(ml_dtypes.bfloat16),
        }
        for i in range(4)
    }
    return {
        "params": {"params": layers, "step": np.int32(7)},
        "numbers": {str(i): i * 1.5 for i in range(300)},
        "zeros": {"w": np.zeros(20_000, np.int8), "name": "zeros"},
        "odd": {
            "long": np.arange(30, dtype=np.longdouble),
            "texts": np.array(["a", "bcd"]),
            "dates": np.array(["2020-01-01", "NaT"], "M8[D]"),
            "pair": (1, 2j, None, b"\x00\xff", True),
        },
        "large": {"w": rng.normal(size=100_000)},
    }


def flip(path: Path, bit: int) -> None:
    """Changes one bit of a file in place; twice is not at all."""
    with open(path, "r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def same(found: Any, expected: Any) -> bool:
    """Whether a restored tree is what was saved, to the bit."""
    return serialization.to_bytes(found) == serialization.to_bytes(expected)


def in_files(flips: int, report: Report, rng: random.Random, place: Path) -> list[Any]:
    """Flips bits of checkpoint files, and of their checks."""
    rows = []
    saved = trees()
    for name, tree in saved.items():
        folder = place / name
        path = Path(checkpoints.save_checkpoint(folder, tree, 1))
        readers: list[Callable[[], Any]] = [
            lambda folder=folder: checkpoints.restore_checkpoint(folder, None),
            lambda folder=folder, tree=tree: checkpoints.restore_checkpoint(
                folder, tree
            ),
            lambda path=path: serialization.restore(path, verify=True),
            lambda path=path: serialization.restore(path, verify=True, copy=True),
        ]
        size = 8 * path.stat().st_size
        count, found = max(1, flips // len(saved)), 0
        for number in range(count):
            bit = rng.randrange(size)
            reader = number % len(readers)
            flip(path, bit)
            try:
                readers[reader]()
            except SerializationError:
                found += 1
            except Exception:
                report.crashed(f"{name}: bit {bit}, another error", command())
            else:
                data = {path.name: path.read_bytes()}
                text = f"bit {bit} of {name}, reader {reader}\n{command()}"
                report.found(f"{name}: bit {bit} is not found", text, data)
            flip(path, bit)
            report.count("flips")
        assert same(readers[1](), tree)
        rows.append((f"file: {name}", size // 8, count, found, count - found))
    rows.append(in_checks(place / "params", saved["params"], report))
    return rows


def in_checks(folder: Path, tree: Any, report: Report) -> tuple[Any, ...]:
    """Flips each bit of the check of a file: an error, or what was saved."""
    path = folder / "checkpoint_1"
    if not hasattr(os, "getxattr"):
        return ("checks", 0, 0, 0, 0)
    check = os.getxattr(path, "user.batiste.check")
    found = 0
    for bit in range(8 * len(check)):
        flipped = bytearray(check)
        flipped[bit // 8] ^= 1 << bit % 8
        os.setxattr(path, "user.batiste.check", bytes(flipped))
        try:
            if not same(checkpoints.restore_checkpoint(folder, tree), tree):
                report.found(f"check: bit {bit} restores another tree", command())
        except SerializationError:
            found += 1
        except Exception:
            report.crashed(f"check: bit {bit}, another error", command())
        report.count("flips of checks")
    os.setxattr(path, "user.batiste.check", check)
    return ("checks", len(check), 8 * len(check), found, 8 * len(check) - found)


def in_folders(
    flips: int, report: Report, rng: random.Random, place: Path
) -> list[Any]:
    """Flips bits of all files of Orbax, the small ones as often as the large ones."""
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        print("Orbax is not installed: its folders are left out")
        return []
    tree = {**trees()["params"], "large": trees()["large"]}
    folder = place / "orbax"
    saver = ocp.PyTreeCheckpointer()
    path = Path(checkpoints.save_checkpoint(folder, tree, 1, orbax_checkpointer=saver))
    expected = checkpoints.restore_checkpoint(folder, None)
    files = sorted(f for f in path.rglob("*") if f.is_file() and f.stat().st_size)
    counts: dict[str, Counter[str]] = {}
    for number in range(flips):
        file = files[number % len(files)]
        bit = rng.randrange(8 * file.stat().st_size)
        name = str(file.relative_to(path))
        kind = "data" if "/d/" in f"/{name}" else file.name
        count = counts.setdefault(kind, Counter())
        flip(file, bit)
        try:
            if same(checkpoints.restore_checkpoint(folder, None), expected):
                count["harmless"] += 1
            else:
                report.found(
                    f"orbax: bit {bit} of {kind} is not found",
                    f"{name}, bit {bit}\n{command()}",
                    {file.name: file.read_bytes()},
                )
        except DamagedCheckpointError:
            count["found"] += 1
        except Exception:
            report.crashed(f"orbax: bit {bit} of {name}, another error", command())
        flip(file, bit)
        count["flips"] += 1
        report.count("flips of Orbax")
    sizes = Counter()
    for file in files:
        name = str(file.relative_to(path))
        sizes["data" if "/d/" in f"/{name}" else file.name] += file.stat().st_size
    return [
        (f"orbax: {kind}", sizes[kind], c["flips"], c["found"], c["harmless"])
        for kind, c in sorted(counts.items())
    ]


def main() -> int:
    """Flips bits in files and in folders of Orbax, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--flips", type=int, default=3000, help="in files")
    parser.add_argument("--orbax", type=int, default=300, help="in folders of Orbax")
    options = parser.parse_args()
    report, rng = Report("flips", options), random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="flips-"))
    try:
        rows = in_files(options.flips, report, rng, place)
        if options.orbax:
            rows += in_folders(options.orbax, report, rng, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return report.end(("what", "bytes", "flips", "found", "harmless"), rows)


if __name__ == "__main__":
    sys.exit(main())
