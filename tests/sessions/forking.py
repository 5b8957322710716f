"""The examples, each copied out as someone does who makes it their own, and tested."""

import datetime
import shutil
import tempfile
import time
from pathlib import Path

import nox
from environments import fresh_environment, install_into, wheel_requirements
from nox.command import CommandFailed
from workspace import PACKAGES, ROOT

__all__ = ["OF_THE_DAY", "choose", "example_names", "of_the_day", "run_examples"]

OF_THE_DAY = "--of-the-day"
# What runs leave behind, and what a copy to start from does not have.
_LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".*", "runs", "*.egg-info")


def example_names(folder: Path = ROOT / "examples") -> list[str]:
    """The examples that have requirements of their own, and so an environment."""
    return sorted(path.parent.name for path in folder.glob("*/requirements.txt"))


def of_the_day(names: list[str], day: datetime.date) -> list[str]:
    """Two neighbours in the list, the next two on the next day."""
    number = day.timetuple().tm_yday
    return sorted({names[(2 * number + k) % len(names)] for k in range(2)})


def choose(names: list[str], arguments: list[str], day: datetime.date) -> list[str]:
    """The examples that the arguments of the session ask for: all, two or some."""
    if arguments == [OF_THE_DAY]:
        return of_the_day(names, day)
    unknown = sorted({*arguments} - {*names})
    if unknown:
        raise ValueError(
            f"no example {', '.join(unknown)}: give {OF_THE_DAY} or some of "
            f"{', '.join(names)}"
        )
    return list(arguments) or names


def _copy(name: str, folder: Path) -> Path:
    copy = folder / name
    shutil.copytree(ROOT / "examples" / name, copy, ignore=_LEFT_BEHIND)
    return copy


def _test_one(session: nox.Session, name: str, wheels: list[str]) -> None:
    """Installs what the example names beside the wheels, and runs its tests."""
    with tempfile.TemporaryDirectory(prefix=f"example-{name}-") as folder:
        copy = _copy(name, Path(folder))
        python = fresh_environment(session, f"example-{name}")
        install_into(session, python, [*wheels, "-r", str(copy / "requirements.txt")])
        with session.chdir(copy):
            session.run(str(python), "-m", "pytest", external=True)


def run_examples(session: nox.Session, arguments: list[str]) -> None:
    """Tests the chosen examples, all of them even where one fails."""
    try:
        chosen = choose(example_names(), arguments, datetime.date.today())
    except ValueError as error:
        session.error(str(error))
    session.log(f"examples: {', '.join(chosen)}")
    wheels = wheel_requirements(session, list(PACKAGES), {})
    lines, failed = [], []
    for name in chosen:
        start = time.monotonic()
        try:
            _test_one(session, name, wheels)
        except CommandFailed:
            failed.append(name)
        seconds = time.monotonic() - start
        result = "FAILED" if name in failed else "passed"
        lines.append(f"{name:<16} {result} {seconds:6.0f} s")
        session.log(lines[-1])
    session.log("\n".join(["all examples:", *lines]))
    if failed:
        session.error(f"tests failed of: {', '.join(failed)}")
