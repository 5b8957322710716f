"""Whether the archives that are built of a package hold what they should."""

import tarfile
import zipfile
from pathlib import Path

import nox
from workspace import ROOT


def check_contents(
    session: nox.Session, package: str, files: list[str], root: Path = ROOT
) -> None:
    """Fails unless the two archives of a package hold it whole, and nothing else."""
    inside = "batiste/" if package == "batiste" else f"batiste/{package}/"
    source = root / "packages" / package / "src"
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
