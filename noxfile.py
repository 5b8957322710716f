"""Every check of this repository, each in an environment of its own.

`nox -s tests` is the one to run before proposing anything; `nox --list` shows the
rest. uv builds the environments where present, plain virtualenv and pip otherwise.
"""

import os
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

# What the sessions are made of lies beside the scripts that they run.
sys.path.insert(0, str(Path(__file__).parent / "tests" / "sessions"))

from alone import run_tests_alone
from archives import check_contents
from covering import APART, ON_EIGHT, measure
from environments import (
    CLEAN_ENV,
    PYTHONS,
    TESTS_ENV,
    fresh_environment,
    install,
    install_into,
    offer_pyenv_versions,
    show,
    uninstall_from,
    wheel_requirements,
)
from forking import run_examples
from linting import commands as lint_commands
from programs import find_chromium, offer_dot
from releases import lowest_siblings
from releasing import release as make_release
from vendoring import copy_packages
from workspace import PACKAGES, ROOT, closure, lowest_pins, third_party

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests", "wheels", "vendor", "docs"]
# Where all are to be checked, one that is missing is no reason to check fewer.
nox.options.error_on_missing_interpreters = "CI" in os.environ

VENDORED = ("traverse", "serialization", "core", "spmd", "linen")
SITE = Path("docs") / "_build" / "html"
CACHE = Path("docs").resolve() / "_build" / "jupyter"
GROUPS = nox.project.load_toml("pyproject.toml")
PUBLISHED = GROUPS["tool"]["batiste"]["published"]

packages = nox.parametrize("package", [nox.param(p, id=p) for p in PACKAGES])

offer_pyenv_versions()


@nox.session
@nox.parametrize("package", [nox.param(p, id=p) for p in (*PACKAGES, "integration")])
def tests(session: nox.Session, package: str) -> None:
    """Each package's tests alone, then all together; on another Python with -P 3.13."""
    if package != "integration":
        run_tests_alone(session, package)
        return
    session.env.update(TESTS_ENV)
    install(
        session,
        "batiste",
        extras="[orbax]",
        args=tuple(nox.project.dependency_groups(GROUPS, "integration")),
    )
    show(session, "all packages together")
    ignored = tuple(f"--ignore={folder}" for folder in (*APART, *ON_EIGHT))
    session.run("python", "-m", "pytest", "tests", *ignored, *session.posargs)
    for folder in ON_EIGHT:
        session.run("python", "-m", "pytest", folder, *session.posargs)


@nox.session(python=PYTHONS)
@packages
def package(session: nox.Session, package: str) -> None:
    """One package's own tests on one Python: nox -s "package-3.11(linen)"."""
    run_tests_alone(session, package, warnings="default")


@nox.session(python=PYTHONS)
@packages
def lowest(session: nox.Session, package: str) -> None:
    """One package's own tests with the lowest versions that it declares."""
    siblings = lowest_siblings(ROOT, package) if PUBLISHED else {}
    declared = third_party(closure(package), extras=True)
    pins = Path(session.create_tmp()).resolve() / "lowest.txt"
    lines = [*lowest_pins(declared), *siblings.values()]
    pins.write_text("".join(f"{r}\n" for r in lines), "utf-8")
    run_tests_alone(
        session,
        package,
        *("--constraint", str(pins)),
        warnings="default",
        from_index=tuple(siblings),
    )


@nox.session(python=PYTHONS)
@packages
def newest(session: nox.Session, package: str) -> None:
    """One package's own tests with the newest versions that there are."""
    run_tests_alone(session, package, "--upgrade", warnings="default")


@nox.session
def coverage(session: nox.Session) -> None:
    """Which branches all tests together take: -- traverse core, or nothing for all."""
    session.env.update(TESTS_ENV)
    groups = [
        r
        for group in ("coverage", "integration")
        for r in nox.project.dependency_groups(GROUPS, group)
    ]
    extras = "[test,orbax,tensorboard]"
    install(session, "batiste", "training", extras=extras, args=tuple(groups))
    measure(session, session.posargs)


@nox.session
def quickstart(session: nox.Session) -> None:
    """The main job: trains on handwritten digits, saves, reloads, draws."""
    session.env.update(CLEAN_ENV)
    groups = nox.project.dependency_groups(GROUPS, "examples")
    install(session, "batiste", args=tuple(groups))
    session.run("python", "examples/quickstart/main.py", *session.posargs)


@nox.session(python="3.11")
def examples(session: nox.Session) -> None:
    """Tests each example, copied out, in its own environment: -- mnist vae."""
    session.env.update(CLEAN_ENV)
    run_examples(session, session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and the direction of imports; no finding is tolerated."""
    groups = ("lint", "integration", "bench", "docs")
    wanted = [r for g in groups for r in nox.project.dependency_groups(GROUPS, g)]
    session.install(*wanted, *third_party(PACKAGES, extras=True))
    sources = [str(ROOT / "packages" / p / "src") for p in PACKAGES]
    failed = []
    # All of them, so that one run shows every finding.
    for command in lint_commands():
        try:
            session.run(*command.split(), env={"PYTHONPATH": os.pathsep.join(sources)})
        except CommandFailed:
            failed.append(command)
    if failed:
        session.error(f"findings of: {', '.join(failed)}")


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
        check_contents(session, package, files)
    for package in PACKAGES:
        session.log(f"{package}: installed alone, without extras")
        clean = fresh_environment(session, f"wheels-{package}")
        found = [str(next((dist / p).glob("*.whl"))) for p in closure(package)]
        install_into(session, clean, found)
        session.run(
            str(clean), "tests/sessions/import_public.py", package, external=True
        )


@nox.session
def release(session: nox.Session) -> None:
    """Bumps, dates, builds, checks and tags: -- linen minor [--dry-run]."""
    session.env.update(CLEAN_ENV)
    session.install(*nox.project.dependency_groups(GROUPS, "wheels"))
    make_release(session, session.posargs)


@nox.session
def vendor(session: nox.Session) -> None:
    """Copies packages into a made-up project, and uses them there, uninstalled."""
    session.env.update(CLEAN_ENV)
    tools = ("hypothesis>=6.100", "pytest>=8.0", "safetensors>=0.8.0")
    session.install(*tools, *third_party(VENDORED))
    project = Path(session.create_tmp()).resolve() / "made-up"
    copy_packages(VENDORED, project)
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


@nox.session
def docs(session: nox.Session) -> None:
    """Builds the book, running its code: -- serve shows it, -- torch tensorflow."""
    session.env.update(CLEAN_ENV)
    offer_dot(session)
    groups = list(nox.project.dependency_groups(GROUPS, "docs"))
    # Some gigabytes each: cells that need them say so where they are not installed.
    large = sorted({"torch", "tensorflow"}.intersection(session.posargs))
    if large:
        # What was run without them is not what it is with them.
        session.env["BATISTE_DOCS_CACHE"] = str(CACHE.with_name("-".join(large)))
        groups += large
    install(session, "batiste", extras="[orbax,tensorboard]", args=tuple(groups))
    # Pages that are no more would stay. What was run is kept in docs/_build/jupyter,
    # and run again only if it changed.
    shutil.rmtree(SITE, ignore_errors=True)
    options = ("-b", "html", "-E", "-W", "--keep-going", "-q", "-j", "2")
    session.run("python", "-m", "sphinx", *options, "docs", str(SITE))
    session.log(f"The book is in {SITE}")
    if "serve" in session.posargs:
        address = ("--bind", "127.0.0.1", "8000")
        session.run("python", "-m", "http.server", "-d", str(SITE), *address)


@nox.session(name="docs-test")
def docs_test(session: nox.Session) -> None:
    """Opens the book that `nox -s docs` built in Chromium, and tries it."""
    session.env.update(CLEAN_ENV)
    if not (SITE / "index.html").exists():
        session.error(f"there is no book in {SITE}: run `nox -s docs` first")
    session.install(*nox.project.dependency_groups(GROUPS, "docs-test"))
    session.env["BATISTE_CHROMIUM"] = find_chromium(session)
    session.run("python", "-m", "pytest", "tests/site", *session.posargs)


@nox.session(python="3.11")
def parity(session: nox.Session) -> None:
    """Compares with the released flax, bit by bit."""
    session.env.update(CLEAN_ENV)
    groups = nox.project.dependency_groups(GROUPS, "parity")
    install(session, "batiste", extras="[orbax]", args=tuple(groups))
    # What the released package does that others deprecate is not ours to mend.
    session.run(
        *("python", "-m", "pytest", "-W", "default", "tests/parity"), *session.posargs
    )


@nox.session(python="3.11")
def campaign(session: nox.Session) -> None:
    """Attacks Batiste for as long as it is told to: -- fuzz --minutes 10."""
    session.env.update(CLEAN_ENV)
    scripts = {path.stem: path for path in (ROOT / "tests" / "campaigns").glob("*.py")}
    chosen, *options = session.posargs or [""]
    if chosen not in scripts:
        session.error(f"name a campaign: {', '.join(sorted(scripts))}")
    install(session, "batiste", extras="[orbax]", args=("atheris",))
    session.run("python", str(scripts[chosen]), *options)


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
    ours = wheel_requirements(session, list(PACKAGES), {"batiste": "[orbax]"})
    for client in CLIENTS:
        if session.posargs and client.name not in session.posargs:
            continue
        released = fresh_environment(session, f"{client.module}-flax")
        install_into(session, released, [*client.requirements])
        dropped_in = fresh_environment(session, f"{client.module}-batiste")
        install_into(session, dropped_in, [*client.requirements, *ours])
        if not client.keep_flax:
            uninstall_from(session, dropped_in, "flax")
    folder = str(Path(session.create_tmp()).resolve())
    session.run("python", "tests/clients/run_clients.py", folder, *session.posargs)


@nox.session(python="3.11")
def bench(session: nox.Session) -> None:
    """Runs the benchmarks, or some: -- benchmarks/core.py; with newest JAX: -P 3.12."""
    session.env.update(CLEAN_ENV)
    bars = Path(session.create_tmp()).resolve() / "bars.jsonl"
    bars.write_text("", "utf-8")
    session.env["BATISTE_BARS"] = str(bars)
    groups = nox.project.dependency_groups(GROUPS, "bench")
    install(session, "batiste", args=tuple(groups))
    chosen = session.posargs or sorted(map(str, Path("benchmarks").glob("*.py")))
    if not chosen:
        session.error("there is no benchmark in benchmarks/")
    for script in chosen:
        session.run("python", script)
    session.run("python", "benchmarks/bars", str(bars))
