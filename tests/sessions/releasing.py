"""Prepares, builds, checks and tags releases: what `nox -s release` does.

All of it happens in a copy of the tree. The repository is changed when every check has
passed, and in a dry run never.
"""

import argparse
import datetime
import difflib
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import nox
from archives import check_contents
from environments import environment_python, fresh_environment, install_into
from releases import Release, check_tagged, prepare, prepare_all, repository
from versions import PARTS, ReleaseError, distribution
from workspace import PACKAGES, ROOT, closure, third_party

__all__ = ["changes", "copy_tree", "release"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ReleaseError(f"{message}\n{self.format_usage()}")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="nox -s release --")
    # Without any, a dry run of everything.
    parser.add_argument("package", nargs="?", default="all", choices=[*PACKAGES, "all"])
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--dry-run", action="store_true", help="change nothing")
    parser.add_argument("--from-tag", help="only build and check, into dist/")
    options = parser.parse_args(arguments)
    if options.part is None and not (options.dry_run or options.from_tag):
        parser.error(f"name the package and one of {', '.join(PARTS)}")
    return options


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def _files(root: Path) -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    return sorted(
        {f for f in listed.decode().split("\0") if f and (root / f).is_file()}
    )


def copy_tree(root: Path, target: Path) -> None:
    """Copies the files that git knows, and those that it would."""
    shutil.rmtree(target, ignore_errors=True)
    for name in _files(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def changes(root: Path, tree: Path) -> dict[str, str]:
    """The files of a tree that differ from the repository's, each with its diff."""
    found = {}
    for path in sorted(p for p in tree.rglob("*") if p.is_file()):
        name = path.relative_to(tree).as_posix()
        before = (root / name).read_bytes() if (root / name).is_file() else b""
        after = path.read_bytes()
        if before != after:
            try:
                lines = difflib.unified_diff(
                    before.decode().splitlines(keepends=True),
                    after.decode().splitlines(keepends=True),
                    *(f"a/{name}", f"b/{name}"),
                )
                found[name] = "".join(lines)
            except UnicodeDecodeError:
                found[name] = f"+++ b/{name}: {len(after)} bytes\n"
    return found


def release(session: nox.Session, arguments: list[str]) -> None:
    """Does what the arguments say; see CONTRIBUTING.md."""
    try:
        options = _options(arguments)
        if options.from_tag:
            found = [check_tagged(ROOT, options.from_tag)]
            _build_and_check(session, ROOT, found, ROOT / "dist")
            return
        if not options.dry_run:
            if _git("status", "--porcelain"):
                raise ReleaseError("commit first: the release is a commit of its own.")
            if not repository(ROOT):
                raise ReleaseError(
                    "pyproject.toml does not say where the repository is: set "
                    "`repository` in [tool.batiste] to its address, of which the "
                    "[project.urls] of every package are made."
                )
        tmp = Path(session.create_tmp()).resolve()
        tree, day = tmp / "tree", datetime.date.today().isoformat()
        copy_tree(ROOT, tree)
        part = options.part or "minor"
        if options.package == "all":
            found = prepare_all(tree, part, day)
            if not found:
                session.log("no package has anything to release in its changelog")
                return
        else:
            found = prepare(tree, options.package, part, day)
        _build_and_check(session, tree, found, tmp / "dist")
        for each in found:
            if each.package == "serialization":
                _record_bytes(session, tree, each)
        differences = changes(ROOT, tree)
        print("".join(differences.values()), flush=True)
    except ReleaseError as error:
        session.error(str(error))
    tags = [each.tag for each in found]
    if options.dry_run:
        session.log(f"would commit {len(differences)} files, and tag {', '.join(tags)}")
        return
    for name in differences:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / name, ROOT / name)
    _git("add", "--", *differences)
    what = ", ".join(f"{each.distribution} {each.version}" for each in found)
    _git("commit", "--message", f"Release {what}")
    for each in found:
        message = f"{each.distribution} {each.version}"
        _git("tag", "--annotate", each.tag, "--message", message)
    session.log(f"tagged. To publish: git push origin HEAD {' '.join(tags)}")


def _record_bytes(session: nox.Session, tree: Path, each: Release) -> None:
    """Keeps what this version writes, by the package that was built and installed."""
    python = environment_python(session, f"release-{each.package}")
    folder = tree / "tests" / "golden"
    out = folder / "released" / f"{each.distribution}-{each.version}.msgpack"
    script = str(folder / "record_bytes.py")
    session.run(str(python), script, str(out), external=True)


def _build(session: nox.Session, tree: Path, package: str, folder: Path) -> list[str]:
    """Builds a package's archives; the wheel is built from the sdist."""
    session.run(
        *("python", "-m", "build", "--no-isolation", "--outdir", str(folder)),
        str(tree / "packages" / package),
        silent=True,
    )
    pattern = f"{distribution(package).replace('-', '_')}-[0-9]*"
    return sorted(map(str, folder.glob(pattern)))


def _build_and_check(
    session: nox.Session, tree: Path, found: list[Release], dist: Path
) -> None:
    """Builds what is released, looks into it, and installs each package alone.

    An index is made of what is built and of the packages that it needs. Names of ours
    are taken from nowhere else.
    """
    shutil.rmtree(dist, ignore_errors=True)
    index = Path(session.create_tmp()).resolve() / "index"
    shutil.rmtree(index, ignore_errors=True)
    for each in found:
        files = _build(session, tree, each.package, dist)
        session.run("twine", "check", "--strict", *files)
        check_contents(session, each.package, files, tree)
    shutil.copytree(dist, index)
    released = {each.package for each in found}
    for package in closure(*released):
        if package not in released:
            _build(session, tree, package, index)
    for each in found:
        session.log(f"{each.distribution} {each.version}: installed from that index")
        python = fresh_environment(session, f"release-{each.package}")
        others = third_party(closure(each.package))
        if others:
            install_into(session, python, others)
        wanted = f"{each.distribution}=={each.version}"
        ours = ["--no-index", "--find-links", str(index), wanted]
        install_into(session, python, ours)
        script = "tests/sessions/import_public.py"
        session.run(str(python), script, each.package, external=True)
