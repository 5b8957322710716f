"""Versions of packages, and the bounds that packages set to each other's versions."""

import re
from pathlib import Path

__all__ = [
    "PARTS",
    "ReleaseError",
    "bounds",
    "bump",
    "declared",
    "distribution",
    "next_series",
    "older",
    "same_series",
    "set_bounds",
    "set_version",
    "tag",
    "untag",
]

PARTS = ("major", "minor", "patch")

_VERSION = r"\d+\.\d+\.\d+"


class ReleaseError(Exception):
    """Why a release cannot be made of what is here."""


def _numbers(version: str) -> tuple[int, int, int]:
    if re.fullmatch(_VERSION, version) is None:
        raise ReleaseError(f"{version!r} is no version such as 0.1.0.")
    major, minor, patch = map(int, version.split("."))
    return major, minor, patch


def older(version: str, other: str) -> bool:
    """Whether a version comes before another one."""
    return _numbers(version) < _numbers(other)


def bump(version: str, part: str) -> str:
    """The version that comes after another one, with one of its parts one higher."""
    major, minor, patch = _numbers(version)
    if part == "major":
        return f"{major + 1}.0.0"
    if part == "minor":
        return f"{major}.{minor + 1}.0"
    if part == "patch":
        return f"{major}.{minor}.{patch + 1}"
    raise ReleaseError(f"{part!r} is no part of a version: {', '.join(PARTS)}.")


def next_series(version: str) -> str:
    """The first version that may break what works with this one: 0.1.3 -> 0.2."""
    major, minor, _ = _numbers(version)
    return f"{major + 1}" if major else f"0.{minor + 1}"


def same_series(version: str, other: str) -> bool:
    """Whether neither of two versions may break what works with the other."""
    return next_series(version) == next_series(other)


def distribution(package: str) -> str:
    """The name that a package has in an index."""
    return package if package == "batiste" else f"batiste-{package}"


def tag(package: str, version: str) -> str:
    """The tag of a package's release: batiste-linen-v0.2.0."""
    return f"{distribution(package)}-v{version}"


def untag(text: str) -> tuple[str, str]:
    """The package and the version that a tag is of."""
    match = re.fullmatch(rf"batiste(?:-([a-z]+))?-v({_VERSION})", text)
    if match is None:
        raise ReleaseError(f"{text!r} is no tag such as {tag('linen', '0.2.0')}.")
    return match[1] or "batiste", match[2]


def _pyproject(root: Path, package: str) -> Path:
    path = root / "packages" / package / "pyproject.toml"
    if not path.is_file():
        raise ReleaseError(f"there is no package {package!r}.")
    return path


def declared(root: Path, package: str) -> str:
    """The version in a package's pyproject.toml."""
    text = _pyproject(root, package).read_text("utf-8")
    match = re.search(rf'^version = "({_VERSION})"$', text, re.M)
    if match is None:
        raise ReleaseError(f"packages/{package}/pyproject.toml has no version.")
    return match[1]


def set_version(root: Path, package: str, version: str) -> None:
    """Writes a package's version."""
    path = _pyproject(root, package)
    text = path.read_text("utf-8")
    new = re.sub(
        rf'^version = "{_VERSION}"$', f'version = "{version}"', text, flags=re.M
    )
    path.write_text(new, "utf-8")


def _requirement(package: str) -> re.Pattern[str]:
    name = rf"{distribution(package)}(?:\[[\w,-]+\])?"
    return re.compile(rf'"({name})>=({_VERSION}),<([\d.]+)"')


def bounds(root: Path, package: str, of: str) -> tuple[str, str] | None:
    """The lowest version that a package takes of another, and the first too high.

    None if it does not need the other one.
    """
    text = _pyproject(root, package).read_text("utf-8")
    found = {(match[2], match[3]) for match in _requirement(of).finditer(text)}
    if len(found) > 1:
        raise ReleaseError(f"{package} sets several bounds to {of}: {sorted(found)}.")
    return found.pop() if found else None


def set_bounds(root: Path, package: str, of: str, lowest: str, too_high: str) -> None:
    """Writes the bounds that a package sets to another one, in its extras, too."""
    path = _pyproject(root, package)
    text = path.read_text("utf-8")
    new = _requirement(of).sub(rf'"\1>={lowest},<{too_high}"', text)
    path.write_text(new, "utf-8")
