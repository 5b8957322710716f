"""Runs clients' programs and tests with the released flax and with Batiste.

    python run_clients.py FOLDER [client ...]

FOLDER holds, for each client, the environments CLIENT-flax and CLIENT-batiste. Prints
a table, and exits with 1 if anything failed or any two numbers differ. Needs numpy.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from clients import CLIENTS, Client

HERE = Path(__file__).resolve().parent
KINDS = ("flax", "batiste")

# XLA may order the sums of the two programs differently, so numbers that are computed
# may differ by rounding, which adds up over the steps of a training. One of float64
# goes through a linear system in each step, whose condition multiplies rounding.
TOLERANCE = {4: 64 * float(np.finfo(np.float32).eps), 8: 1e-12}

# A number that is nought but for rounding has no size of its own: a difference of one
# rounding of the largest number of its tree is none, whatever the array.
TREE_SHARE = 1 / 64

PROBE = """
import importlib.util, sys, flax, batiste.linen
assert flax.linen.Dense is batiste.linen.Dense
from importlib.machinery import PathFinder
assert (PathFinder.find_spec("flax") is not None) == (sys.argv[1] == "kept")
"""


class Failure(Exception):
    """What the two runs of a client do not have in common, or do not do."""


@dataclass
class Row:
    """A line of the table."""

    client: str
    version: str
    what: str
    compared: str
    difference: str
    seconds: tuple[float, float]


def python_of(folder: Path, client: Client, kind: str) -> str:
    """The interpreter of one environment of a client."""
    scripts = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return str(folder / f"{client.module}-{kind}" / scripts)


def run(*command: str, log: Path, may_fail: bool = False) -> float:
    """Runs a command, with what it prints in a file; how long it took, in seconds."""
    env = dict(os.environ, JAX_PLATFORMS="cpu", TF_CPP_MIN_LOG_LEVEL="3")
    env.pop("PYTHONPATH", None)
    start = time.perf_counter()
    with log.open("w") as file:
        done = subprocess.run(
            command, env=env, cwd=log.parent, stdout=file, stderr=subprocess.STDOUT
        )
    seconds = time.perf_counter() - start
    if done.returncode and not may_fail:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-30:])
        raise Failure(f"{' '.join(command)} exited with {done.returncode}:\n{tail}")
    return seconds


def largest_difference(
    expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> float:
    """The largest difference between arrays, relative to their sizes.

    Raises:
      Failure: an array is only in one of the two, has another shape or dtype, has
        other bits where it is exact, or differs by more than the tolerance.
    """
    if expected.keys() != found.keys():
        names = sorted(expected.keys() ^ found.keys())
        raise Failure(f"only one of the two runs has {names[:9]}")
    sizes: dict[str, float] = {}
    for name, array in expected.items():
        if array.dtype.kind in "fc":
            tree = name.partition(":")[0]
            sizes[tree] = max(sizes.get(tree, 0.0), float(np.abs(array).max(initial=0)))
    largest, wrong = 0.0, []
    for name, left in expected.items():
        right = found[name]
        if (left.dtype, left.shape) != (right.dtype, right.shape):
            wrong.append(
                f"{name}: {left.dtype}{left.shape}, {right.dtype}{right.shape}"
            )
        elif left.tobytes() != right.tobytes():
            if name.startswith("exact/") or left.dtype.kind not in "fc":
                wrong.append(f"{name}: not the same bits")
                continue
            tree = sizes[name.partition(":")[0]]
            size = max(float(np.abs(left).max()), tree * TREE_SHARE)
            difference = float(np.abs(left - right).max()) / size
            largest = max(largest, difference)
            # Written so that nan does not pass.
            if not difference <= TOLERANCE[np.finfo(left.dtype).dtype.itemsize]:
                wrong.append(f"{name}: differs by {difference:.1e} of {size:.1e}")
    if wrong:
        raise Failure("\n".join(wrong[:20]))
    return largest


def run_program(folder: Path, client: Client) -> list[Row]:
    """Runs one client's program with flax and in each generation, and compares."""
    script = str(HERE / "programs" / client.program)

    def once(kind: str, name: str, *drop_in: str) -> tuple[float, dict[str, Any]]:
        out = folder / f"{client.module}-{name}.npz"
        python = python_of(folder, client, kind)
        command = (python, *drop_in, script, str(out))
        seconds = run(*command, log=out.with_suffix(".log"))
        with np.load(out) as file:
            return seconds, dict(file)

    rows = []
    before, expected = once("flax", "flax")
    exact = sum(name.startswith("exact/") for name in expected)
    compared = f"{len(expected)} arrays, {exact} exact"
    for generation in client.generations:
        drop_in = ("-m", "batiste.flax", "--generation", generation)
        after, found = once("batiste", f"batiste-{generation}", *drop_in)
        difference = f"{largest_difference(expected, found):.1e}"
        what = f"program, {generation}"
        rows.append(_row(folder, client, what, compared, difference, [before, after]))
    return rows


def run_suites(folder: Path, client: Client) -> list[Row]:
    """Runs one client's own tests in both environments: the outcomes must agree."""
    seconds, outcomes = [], []
    for kind in KINDS:
        python = python_of(folder, client, kind)
        report = folder / f"{client.module}-{kind}-tests.xml"
        report.unlink(missing_ok=True)
        plugin = ("-p", "batiste.flax.pytest") if kind == "batiste" else ()
        packages = _packages(python)
        files = [str(packages / each) for each in client.suites]
        # Of the folders above the environment, no configuration and no conftest.py.
        files += [f"--deselect={each}" for each in client.left_out]
        settings = (
            "-c",
            os.devnull,
            f"--rootdir={packages}",
            f"--confcutdir={packages}",
        )
        command = ("-m", "pytest", "-p", "no:cacheprovider", *settings, *plugin, *files)
        log = report.with_suffix(".log")
        # Of what fails with the released flax too, the table tells.
        took = run(
            *(python, *command, f"--junitxml={report}"),
            log=log,
            may_fail=True,
        )
        seconds.append(took)
        if not report.exists():
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-30:])
            raise Failure(f"pytest made no report:\n{tail}")
        outcomes.append(_outcomes(report))
    before, after = outcomes
    if not before:
        raise Failure("no test was collected")
    changed = [
        f"{name}: {before.get(name, 'absent')} with flax, "
        f"{after.get(name, 'absent')} with Batiste"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise Failure("\n".join(changed))
    counts = Counter(after.values())
    compared = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    return [_row(folder, client, "own tests", compared, "none", seconds)]


def _row(
    folder: Path,
    client: Client,
    what: str,
    compared: str,
    difference: str,
    seconds: list[float],
) -> Row:
    code = "import importlib.metadata as m; print(m.version({!r}), m.version('jax'))"
    versions = subprocess.run(
        [
            python_of(folder, client, "batiste"),
            "-c",
            code.format(client.distribution or client.name),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    version = f"{versions[0]} (JAX {versions[1]})"
    pair = (seconds[0], seconds[1])
    return Row(client.name, version, what, compared, difference, pair)


def _packages(python: str) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return Path(done.stdout.strip())


def _outcomes(report: Path) -> dict[str, str]:
    """By name of the test, whether it passed, failed or was skipped."""
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome = {"failure": "failed", "error": "failed"}.get(
            next(iter(kinds), ""), "skipped" if kinds else "passed"
        )
        # Tests with parts are reported more than once: one bad part is enough.
        if found.get(name) != "failed":
            found[name] = outcome
    return found


def table(rows: list[Row]) -> str:
    """The rows as a table of the README's."""
    lines = [
        "| client | version | run | compared | largest difference | flax | Batiste |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        flax, batiste = row.seconds
        lines.append(
            f"| {row.client} | {row.version} | {row.what} | {row.compared} | "
            f"{row.difference} | {flax:.1f} s | {batiste:.1f} s |"
        )
    return "\n".join(lines)


def main(folder: Path, names: list[str]) -> int:
    """Runs the named clients, or all; see the module's docstring."""
    chosen = [each for each in CLIENTS if not names or each.name in names]
    rows, failures = [], []
    for client in chosen:
        kept = "kept" if client.keep_flax else "absent"
        python = python_of(folder, client, "batiste")
        parts = [run_program, *([run_suites] if client.suites else [])]
        for part in parts:
            print(f"{client.name}: {part.__name__}", flush=True)
            try:
                log = folder / f"{client.module}-probe.log"
                run(python, "-m", "batiste.flax", "-c", PROBE, kept, log=log)
                rows += part(folder, client)
            except Failure as error:
                failures.append(f"{client.name}: {error}")
                print(f"FAILED {failures[-1]}", flush=True)
    print(f"\n{table(rows)}\n")
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{len(rows)} passed, {len(failures)} failed")
    return 1 if failures or not rows else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
