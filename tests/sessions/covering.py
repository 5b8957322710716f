"""Which lines and branches the tests take: what `nox -s coverage` does."""

import nox
from workspace import PACKAGES

__all__ = ["APART", "ON_EIGHT", "measure", "runs"]

# These want eight devices, which one process cannot get once another test has started
# JAX; so each has a process of its own.
ON_EIGHT = ("tests/specification", "tests/sharding")
# These want flax, or the book and a browser, and have sessions of their own.
APART = ("tests/parity", "tests/site")


def runs(chosen: list[str]) -> list[list[str]]:
    """The arguments of each run of pytest: those of packages, or of everything."""
    unknown = sorted({*chosen} - {*PACKAGES})
    if unknown:
        raise ValueError(f"no package {', '.join(unknown)}: {', '.join(PACKAGES)}")
    found = [[f"packages/{package}"] for package in chosen or PACKAGES]
    if not chosen:
        ignored = [f"--ignore={folder}" for folder in (*APART, *ON_EIGHT)]
        found += [["tests", *ignored], *([folder] for folder in ON_EIGHT)]
    return found


def measure(session: nox.Session, chosen: list[str]) -> None:
    """Runs the tests of the chosen packages, or all, and reports on them together."""
    try:
        wanted = runs(chosen)
    except ValueError as error:
        session.error(str(error))
    coverage = ("python", "-m", "coverage")
    session.run(*coverage, "erase")
    for arguments in wanted:
        # A test that fails is told by `nox -s tests`; what it took still counts.
        session.run(
            *(*coverage, "run", "-m", "pytest", "-q", *arguments), success_codes=[0, 1]
        )
    session.run(*coverage, "combine")
    files = ",".join(f"packages/{p}/src/*" for p in chosen or PACKAGES)
    session.run(*coverage, "report", f"--include={files}")
    session.run(*coverage, "html", "--quiet", f"--include={files}")
