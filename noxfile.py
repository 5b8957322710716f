"""Every check of this repository, each in an environment of its own.

``nox -s tests`` is the one to run before proposing anything; ``nox --list`` shows the
rest. uv builds the environments where present, plain virtualenv and pip otherwise.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests", "wheels", "vendor"]
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
PYTHONS = ("3.11", "3.12", "3.13")

# From the bottom up, so that the first failure names the package at fault.
PACKAGES = ("traverse", "serialization", "core", "spmd", "linen", "training", "batiste")
VENDORED = ("traverse", "serialization", "core", "spmd", "linen")

# Modules that the environment of a package alone must not hold. Batiste's own packages
# are added to it from the declarations.
HEAVY = {"flax", "jax", "ml_dtypes", "msgpack", "numpy", "optax", "orbax", "rich"}
PRESENT = {
    "traverse": set(),
    "serialization": {"msgpack", "numpy"},
    "core": {"jax", "ml_dtypes", "numpy"},
    "spmd": {"jax", "ml_dtypes", "numpy", "rich"},
    "linen": {"jax", "ml_dtypes", "numpy", "rich"},
    "training": HEAVY - {"flax"},
    "batiste": HEAVY - {"flax"},
}

GROUPS = nox.project.load_toml("pyproject.toml")
CLEAN_ENV = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": None, "PYTHONDONTWRITEBYTECODE": "1"}

packages = nox.parametrize("package", [nox.param(p, id=p) for p in PACKAGES])


def _offer_pyenv_versions() -> None:
    """Lets the ``python3.x`` shims of pyenv run every version that is installed.

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


_offer_pyenv_versions()


def _project(package: str) -> dict:
    text = (ROOT / "packages" / package / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["project"]


def _requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return match.group()


def _requirements(package: str, extras: tuple[str, ...] = ()) -> list[str]:
    """The declared requirements of one package, with those of the named extras."""
    project = _project(package)
    optional = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(r for e in extras for r in optional[e])]


def _local(requirement: str) -> str | None:
    """The package of this repository that a requirement names, or None."""
    name = _requirement_name(requirement)
    if name == "batiste":
        return name
    folder = name.removeprefix("batiste-")
    return folder if folder != name and folder in PACKAGES else None


def _closure(*chosen: str) -> list[str]:
    """The chosen packages and the local ones that they declare, from the bottom up."""
    found: set[str] = set()
    queue = list(chosen)
    while queue:
        package = queue.pop()
        if package not in found:
            found.add(package)
            queue += [p for p in map(_local, _requirements(package)) if p]
    return [p for p in PACKAGES if p in found]


def _third_party(names: list[str] | tuple[str, ...], extras: bool = False) -> list[str]:
    """What the packages need beside each other; with ``extras``, also for those."""
    found = set()
    for package in names:
        optional = _project(package).get("optional-dependencies", {})
        wanted = tuple(e for e in optional if e != "test") if extras else ()
        found |= {r for r in _requirements(package, wanted) if not _local(r)}
    return sorted(found)


def _wheels(session: nox.Session, names: list[str]) -> dict[str, str]:
    """Builds the wheels of local packages; maps each to its `file:` address.

    The tests run against these, as a user gets them, never against an index's copy or
    the source folders.
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
    found = {}
    for name in names:
        distribution = _project(name)["name"].replace("-", "_")
        (wheel,) = folder.glob(f"{distribution}-[0-9]*.whl")
        found[name] = wheel.as_uri()
    return found


def _install(
    session: nox.Session, *chosen: str, extras: str = "", args: tuple[str, ...] = ()
) -> list[str]:
    """Installs local packages with what they declare; returns all local ones put in."""
    names = _closure(*chosen)
    wheels = _wheels(session, names)
    session.install(
        *(
            f"{_project(p)['name']}{extras if p in chosen else ''} @ {wheels[p]}"
            for p in names
        ),
        *args,
    )
    return names


def _show(session: nox.Session, title: str) -> None:
    """Prints which environment this is and all that it holds."""
    line = "=" * 88
    print(f"\n{line}\n{title}: {session.virtualenv.location}\n{line}", flush=True)
    uv = session.venv_backend == "uv"
    session.run(*(["uv"] if uv else ["python", "-m"]), "pip", "list", external=True)


def _test_alone(
    session: nox.Session, package: str, *install_args: str, warnings: str = "error"
) -> None:
    """Runs one package's own tests with nothing but it and what it declares.

    With versions that are not the usual ones, ``warnings`` are not to be errors: what
    other packages deprecate differs from one to the next.
    """
    session.env.update(CLEAN_ENV)
    names = _install(session, package, extras="[test]", args=install_args)
    python = session.python or platform.python_version()
    _show(session, f"{_project(package)['name']} alone, Python {python}")
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


@nox.session
@nox.parametrize("package", [nox.param(p, id=p) for p in (*PACKAGES, "integration")])
def tests(session: nox.Session, package: str) -> None:
    """Each package's tests alone, then the integration tests with everything."""
    if package != "integration":
        _test_alone(session, package)
        return
    session.env.update(CLEAN_ENV)
    _install(
        session,
        "batiste",
        extras="[orbax]",
        args=tuple(nox.project.dependency_groups(GROUPS, "integration")),
    )
    _show(session, "all packages together")
    # The specification's programs and the tests of sharding want eight devices, which
    # one process cannot get once another test has started JAX.
    on_eight = ("tests/specification", "tests/sharding")
    ignored = tuple(f"--ignore={folder}" for folder in ("tests/parity", *on_eight))
    session.run("python", "-m", "pytest", "tests", *ignored, *session.posargs)
    for folder in on_eight:
        session.run("python", "-m", "pytest", folder, *session.posargs)


@nox.session(python=PYTHONS)
@packages
def package(session: nox.Session, package: str) -> None:
    """One package's own tests on one Python: nox -s "package-3.11(linen)"."""
    _test_alone(session, package)


def _lowest(requirements: list[str]) -> list[str]:
    """Turns lower bounds into pins: 'jax>=0.7.0' becomes 'jax==0.7.0'."""
    return [
        re.sub(r">=\s*([^,;\s]+)(,[^;]*)?", r"==\1", r, count=1) for r in requirements
    ]


@nox.session(python=PYTHONS[0])
@packages
def lowest(session: nox.Session, package: str) -> None:
    """One package's own tests with the lowest versions that it declares."""
    declared = _third_party(_closure(package), extras=True)
    pins = Path(session.create_tmp()).resolve() / "lowest.txt"
    pins.write_text("".join(f"{r}\n" for r in _lowest(declared)), "utf-8")
    _test_alone(session, package, "--constraint", str(pins), warnings="default")


@nox.session(python=PYTHONS[-1])
@packages
def newest(session: nox.Session, package: str) -> None:
    """One package's own tests with the newest versions that there are."""
    _test_alone(session, package, "--upgrade", warnings="default")


@nox.session
def quickstart(session: nox.Session) -> None:
    """The main job: trains on handwritten digits, saves, reloads, draws."""
    session.env.update(CLEAN_ENV)
    groups = nox.project.dependency_groups(GROUPS, "examples")
    _install(session, "batiste", args=tuple(groups))
    session.run("python", "examples/quickstart/main.py", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and the direction of imports; no finding is tolerated."""
    groups = ("lint", "integration", "bench")
    wanted = [r for g in groups for r in nox.project.dependency_groups(GROUPS, g)]
    session.install(*wanted, *_third_party(PACKAGES, extras=True))
    sources = [str(ROOT / "packages" / p / "src") for p in PACKAGES]
    failed = []
    # All four, so that one run shows every finding.
    for command in ("ruff check .", "ruff format --check .", "lint-imports", "pyright"):
        try:
            session.run(*command.split(), env={"PYTHONPATH": os.pathsep.join(sources)})
        except CommandFailed:
            failed.append(command)
    if failed:
        session.error(f"findings of: {', '.join(failed)}")


def _check_contents(session: nox.Session, package: str, files: list[str]) -> None:
    """Fails unless the two archives of a package hold it whole, and nothing else."""
    inside = "batiste/" if package == "batiste" else f"batiste/{package}/"
    source = ROOT / "packages" / package / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if f"{inside}py.typed" not in expected:
        session.error(f"{package}: {inside}py.typed is missing")
    (wheel,) = (f for f in files if f.endswith(".whl"))
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {n for n in names if ".dist-info/" not in n}
    if code != expected:
        session.error(f"{wheel}: differs from the source: {sorted(code ^ expected)}")
    if any(not n.startswith(inside) or "tests" in n.split("/") for n in code):
        session.error(f"{wheel}: holds files outside {inside}")
    if not any(n.endswith("licenses/LICENSE") for n in names):
        session.error(f"{wheel}: holds no licence")
    (sdist,) = (f for f in files if f.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        members = {n.partition("/")[2] for n in archive.getnames()}
    whole = {f"src/{n}" for n in expected} | {"LICENSE", "README.md", "CHANGELOG.md"}
    if not whole <= members or any(n.startswith("tests") for n in members):
        session.error(f"{sdist}: lacks {sorted(whole - members)} or holds tests")


@nox.session
def wheels(session: nox.Session) -> None:
    """Builds the archives, checks them, installs each alone, imports what is public."""
    session.env.update(CLEAN_ENV)
    session.install(*nox.project.dependency_groups(GROUPS, "wheels"))
    dist = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        # The wheel is built from the sdist, so the sdist is known to be enough.
        out = str(dist / package)
        session.run(
            *("python", "-m", "build", "--no-isolation", "--outdir", out),
            f"packages/{package}",
            silent=True,
        )
        files = [str(f) for f in sorted((dist / package).iterdir())]
        session.run("twine", "check", "--strict", *files)
        _check_contents(session, package, files)
    for package in PACKAGES:
        session.log(f"{package}: installed alone, without extras")
        clean = _fresh_environment(session, f"wheels-{package}")
        found = [str(next((dist / p).glob("*.whl"))) for p in _closure(package)]
        _install_into(session, clean, found)
        session.run(
            str(clean), "tests/sessions/import_public.py", package, external=True
        )


def _fresh_environment(session: nox.Session, name: str) -> Path:
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
    scripts = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return folder / scripts


def _install_into(session: nox.Session, python: Path, what: list[str]) -> None:
    """Installs into another environment than the session's own."""
    if session.venv_backend == "uv":
        command = ["uv", "pip", "install", "-q", "-p", str(python)]
    else:
        command = [str(python), "-m", "pip", "install", "-q"]
    session.run(*command, *what, external=True)


def _uninstall_from(session: nox.Session, python: Path, name: str) -> None:
    """Takes a distribution out of another environment than the session's own."""
    if session.venv_backend == "uv":
        command = ["uv", "pip", "uninstall", "-q", "-p", str(python)]
    else:
        command = [str(python), "-m", "pip", "uninstall", "-q", "-y"]
    session.run(*command, name, external=True)


@nox.session
def vendor(session: nox.Session) -> None:
    """Copies packages into a made-up project, and uses them there, uninstalled."""
    session.env.update(CLEAN_ENV)
    session.install("hypothesis>=6.100", "pytest>=8.0", *_third_party(VENDORED))
    project = Path(session.create_tmp()).resolve() / "made-up"
    shutil.rmtree(project, ignore_errors=True)
    rubbish = shutil.ignore_patterns("__pycache__")
    for package in VENDORED:
        source = ROOT / "packages" / package / "src" / "batiste" / package
        # Under its own name, with `_vendor` on the path: any package can be there.
        target = project / "_vendor" / "batiste" / package
        shutil.copytree(source, target, ignore=rubbish)
    for package in VENDORED:
        if _closure(package) == [package]:
            # As a part of the project's own package: one that needs no other.
            source = ROOT / "packages" / package / "src" / "batiste" / package
            target = project / "madeup" / "_vendor" / package
            shutil.copytree(source, target, ignore=rubbish)
    for name in ("namespace", "nested"):
        script = ROOT / "tests" / "sessions" / f"vendor_{name}.py"
        shutil.copy(script, project / f"{name}.py")
        with session.chdir(project):
            session.run("python", f"{name}.py")
    # The small packages are cheap enough to be tested whole where they were copied.
    for package in ("traverse", "serialization"):
        session.run(
            *("python", "-m", "pytest", "-q", f"packages/{package}"),
            env={"PYTHONPATH": str(project / "_vendor")},
        )


@nox.session(python="3.11")
def parity(session: nox.Session) -> None:
    """Compares with the released flax, bit by bit."""
    session.env.update(CLEAN_ENV)
    groups = nox.project.dependency_groups(GROUPS, "parity")
    _install(session, "batiste", extras="[orbax]", args=tuple(groups))
    session.run("python", "-m", "pytest", "tests/parity", *session.posargs)


@nox.session(python="3.11")
def clients(session: nox.Session) -> None:
    """Runs libraries written for flax with it and with Batiste: -- brax numpyro."""
    session.env.update(CLEAN_ENV)
    session.install("numpy>=2.0")
    sys.path.insert(0, str(ROOT / "tests" / "clients"))
    from clients import CLIENTS

    unknown = set(session.posargs) - {client.name for client in CLIENTS}
    if unknown:
        session.error(f"there is no client {', '.join(sorted(unknown))}")
    wheels = _wheels(session, list(PACKAGES))
    ours = [
        f"{_project(p)['name']}{'[orbax]' if p == 'batiste' else ''} @ {wheels[p]}"
        for p in PACKAGES
    ]
    for client in CLIENTS:
        if session.posargs and client.name not in session.posargs:
            continue
        released = _fresh_environment(session, f"{client.module}-flax")
        _install_into(session, released, [*client.requirements])
        dropped_in = _fresh_environment(session, f"{client.module}-batiste")
        _install_into(session, dropped_in, [*client.requirements, *ours])
        if not client.keep_flax:
            _uninstall_from(session, dropped_in, "flax")
    folder = str(Path(session.create_tmp()).resolve())
    session.run("python", "tests/clients/run_clients.py", folder, *session.posargs)


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Runs the benchmarks, or those named: nox -s bench -- benchmarks/core.py."""
    session.env.update(CLEAN_ENV)
    groups = nox.project.dependency_groups(GROUPS, "bench")
    _install(session, "batiste", args=tuple(groups))
    chosen = session.posargs or sorted(map(str, Path("benchmarks").glob("*.py")))
    if not chosen:
        session.error("there is no benchmark in benchmarks/")
    for script in chosen:
        session.run("python", script)
