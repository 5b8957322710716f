"""The environments of the sessions: what is built for them and put into them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from workspace import ROOT, closure, project

PYTHONS = ("3.11", "3.12", "3.13")
CLEAN_ENV = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}
# What XLA compiles for a test is kept for the next test, process and session that has
# the same program: a sixth less processor time in a first run, two thirds in a second.
TESTS_ENV = {
    **CLEAN_ENV,
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".nox" / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def offer_pyenv_versions() -> None:
    """Lets the `python3.x` shims of pyenv run every version that is installed.

    Without it only the selected one answers, and the matrix would shrink to that.
    """
    if shutil.which("pyenv") is None or "PYENV_VERSION" in os.environ:
        return
    listing = subprocess.run(
        ["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False
    ).stdout.split()
    current = subprocess.run(
        ["pyenv", "version-name"], capture_output=True, text=True, check=False
    ).stdout.strip()
    found = [v for v in listing if re.fullmatch(r"3\.\d+\.\d+", v) and v != current]
    wanted = [v for v in found if v.startswith(tuple(f"{p}." for p in PYTHONS))]
    os.environ["PYENV_VERSION"] = ":".join([*current.split(":"), *wanted])


def wheel_requirements(
    session: nox.Session, names: list[str], extras: dict[str, str]
) -> list[str]:
    """Builds the wheels of local packages; returns what to install them by.

    These are requirements such as `batiste[orbax] @ file:...`, with the extras that are
    given for a package. The tests run against these wheels, as a user gets them, never
    against an index's copy or the source folders.
    """
    folder = Path(session.create_tmp()).resolve() / "wheels"
    shutil.rmtree(folder, ignore_errors=True)
    for name in names:
        source = str(ROOT / "packages" / name)
        if session.venv_backend == "uv":
            command = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(folder)]
        else:
            command = ["python", "-m", "pip", "wheel", "--quiet", "--no-deps"]
            command += ["--wheel-dir", str(folder)]
        session.run(*command, source, silent=True, external=True)
    found = []
    for name in names:
        distribution = project(name)["name"]
        (wheel,) = folder.glob(f"{distribution.replace('-', '_')}-[0-9]*.whl")
        found.append(f"{distribution}{extras.get(name, '')} @ {wheel.as_uri()}")
    return found


def install(
    session: nox.Session,
    *chosen: str,
    extras: str = "",
    args: tuple[str, ...] = (),
    from_index: tuple[str, ...] = (),
) -> list[str]:
    """Installs local packages with what they declare; returns all local ones put in.

    Those `from_index` are not built here, but taken from where they were published.
    """
    names = closure(*chosen, extras=bool(extras))
    built = [name for name in names if name not in from_index]
    wanted = wheel_requirements(session, built, dict.fromkeys(chosen, extras))
    session.install(*wanted, *args)
    return names


def show(session: nox.Session, title: str) -> None:
    """Prints which environment this is and all that it holds."""
    line = "=" * 88
    print(f"\n{line}\n{title}: {session.virtualenv.location}\n{line}", flush=True)
    uv = session.venv_backend == "uv"
    session.run(*(["uv"] if uv else ["python", "-m"]), "pip", "list", external=True)


def fresh_environment(session: nox.Session, name: str) -> Path:
    """Makes an empty environment inside the session's; returns its interpreter."""
    folder = Path(session.create_tmp()).resolve() / name
    shutil.rmtree(folder, ignore_errors=True)
    if session.venv_backend == "uv":
        session.run(
            "uv",
            "venv",
            "-q",
            "-p",
            session.virtualenv.location,
            str(folder),
            external=True,
        )
    else:
        session.run("python", "-m", "venv", str(folder))
    return environment_python(session, name)


def environment_python(session: nox.Session, name: str) -> Path:
    """The interpreter of an environment that `fresh_environment` made."""
    folder = Path(session.create_tmp()).resolve() / name
    scripts = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return folder / scripts


def install_into(session: nox.Session, python: Path, what: list[str]) -> None:
    """Installs into another environment than the session's own."""
    if session.venv_backend == "uv":
        command = ["uv", "pip", "install", "-q", "-p", str(python)]
    else:
        command = [str(python), "-m", "pip", "install", "-q"]
    session.run(*command, *what, external=True)


def uninstall_from(session: nox.Session, python: Path, name: str) -> None:
    """Takes a distribution out of another environment than the session's own."""
    if session.venv_backend == "uv":
        command = ["uv", "pip", "uninstall", "-q", "-p", str(python)]
    else:
        command = [str(python), "-m", "pip", "uninstall", "-q", "-y"]
    session.run(*command, name, external=True)
