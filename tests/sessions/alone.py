"""The tests of one package, where there is nothing but it and what it declares."""

import platform

import nox
from environments import TESTS_ENV, install, show
from workspace import PACKAGES, project

# Modules that the environment of a package alone must not hold. Batiste's own packages
# are added to it from the declarations.
HEAVY = {"flax", "jax", "ml_dtypes", "msgpack", "numpy", "optax", "orbax", "rich"}
PRESENT = {
    "traverse": set(),
    "serialization": {"ml_dtypes", "msgpack", "numpy"},  # the first for its tests
    "core": {"jax", "ml_dtypes", "numpy"},
    "spmd": {"jax", "ml_dtypes", "numpy", "rich"},
    "linen": {"jax", "ml_dtypes", "numpy", "rich"},
    "training": HEAVY - {"flax"},
    "batiste": HEAVY - {"flax"},
}


def run_tests_alone(
    session: nox.Session,
    package: str,
    *install_args: str,
    warnings: str = "error",
    from_index: tuple[str, ...] = (),
) -> None:
    """Runs one package's own tests with nothing but it and what it declares.

    With versions that are not the usual ones, of Python or of what is installed,
    `warnings` are not to be errors: what others deprecate differs from one to the next.
    Those `from_index` are installed as they were published, not as they are here.
    """
    session.env.update(TESTS_ENV)
    names = install(
        session, package, extras="[test]", args=install_args, from_index=from_index
    )
    python = session.python or platform.python_version()
    show(session, f"{project(package)['name']} alone, Python {python}")
    foreign = [f"batiste.{p}" for p in PACKAGES if p not in (*names, "batiste")]
    session.run(
        "python",
        "tests/sessions/check_isolation.py",
        package,
        *sorted(foreign),
        *sorted(HEAVY - PRESENT[package]),
    )
    # pytest exits with 5 where it collects nothing, and that fails the session too.
    also = () if warnings == "error" else ("-W", warnings)
    folder = f"packages/{package}"
    session.run("python", "-m", "pytest", folder, *also, *session.posargs)
