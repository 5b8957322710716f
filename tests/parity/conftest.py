"""Counts what the parity tests compare, and demands that it is enough.

One comparison is one case in one configuration, run by both libraries without a
difference: a test that passes, or each generated example of one that Hypothesis runs.
"""

from __future__ import annotations

import collections
import functools
import itertools
from pathlib import Path
from typing import Any

import jax
import pytest

from batiste.core.config import config
from batiste.flax.generations import FLAGS

# What generation 0.12 of the drop-in sets, and what decides numbers, keys or names.
OTHERS = {
    "return_frozendict",
    "use_orbax_checkpointing",
    "early_stopping_pair",
    "documented_checks",
    "tabulate_intermediates",
}
for name, value in FLAGS["0.12"].items():
    if name not in OTHERS:
        config.update(name, value)

# At least so many when all files run whole, in all and in those about Linen alone.
MINIMUM = 2000
LINEN = ("test_parity_layers", "test_parity_module", "test_parity_transforms")
FOLDER = Path(__file__).parent
MOST_TESTS = 50  # between which compiled programs are kept
KEY = "parity comparisons"

_chosen = pytest.StashKey[bool]()
_counts: collections.Counter[str] = collections.Counter()
_numbers = itertools.count(1)


def counted(inner: Any, item: pytest.Item) -> Any:
    """The body of a generated test; counts the examples that it finishes."""

    @functools.wraps(inner)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = inner(*args, **kwargs)
        item.user_properties[-1] = (KEY, item.user_properties[-1][1] + 1)
        return result

    return run


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    test = getattr(item, "obj", None)
    if not getattr(test, "is_hypothesis_test", False):
        item.user_properties.append((KEY, 1))
        yield
        return
    item.user_properties.append((KEY, 0))
    # Hypothesis lets plugins replace the body of a test; other items may share it.
    handle: Any = test.hypothesis  # type: ignore[union-attr]
    inner = handle.inner_test
    handle.inner_test = counted(inner, item)
    yield
    handle.inner_test = inner


def pytest_runtest_teardown() -> None:
    # Compiled programs stay in memory, 4 GB of 150 of the larger tests. With those of
    # all files XLA crashed as it compiled one more.
    if next(_numbers) % MOST_TESTS == 0:
        jax.clear_caches()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    # Read from the report, so that it may come from another process, too.
    if report.when == "call" and report.passed:
        count = dict(report.user_properties).get(KEY, 0)
        _counts[Path(report.nodeid.partition("::")[0]).stem] += int(str(count))


def pytest_deselected(items: list[pytest.Item]) -> None:
    if items:
        items[0].config.stash[_chosen] = True


def _whole(config: pytest.Config) -> bool:
    """Whether all the files ran, and all the tests in them."""
    files = {path.stem for path in FOLDER.glob("test_*.py")}
    parts = any("::" in argument for argument in config.args)
    chosen = config.stash.get(_chosen, False) or config.getoption("keyword", "")
    return files <= _counts.keys() and not (parts or chosen)


def _too_few(config: pytest.Config) -> list[str]:
    if not _whole(config):
        return []
    linen = sum(n for name, n in _counts.items() if name.startswith(LINEN))
    found = {"in all": _counts.total(), "of Linen": linen}
    return [f"{n:,} {where}" for where, n in found.items() if n < MINIMUM]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    if session.exitstatus == pytest.ExitCode.OK and _too_few(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.section("comparisons with the released package")
    for name in sorted(_counts):
        terminalreporter.write_line(f"{_counts[name]:7,}  {name}")
    terminalreporter.write_line(f"parity: {_counts.total():,} comparisons")
    for few in _too_few(config):
        terminalreporter.write_line(f"ERROR: only {few}; at least {MINIMUM:,} are due.")
