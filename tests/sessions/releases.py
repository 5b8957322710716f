"""What a release changes in the files of this repository."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import changelogs
import public_names
from versions import (
    ReleaseError,
    bounds,
    bump,
    declared,
    distribution,
    next_series,
    older,
    set_bounds,
    set_version,
    tag,
    untag,
)
from workspace import PACKAGES

__all__ = [
    "Release",
    "check_tagged",
    "lowest_siblings",
    "prepare",
    "prepare_all",
    "repository",
]


@dataclass(frozen=True)
class Release:
    """A version of a package that is released."""

    package: str
    version: str

    @property
    def distribution(self) -> str:
        """The package's name in an index."""
        return distribution(self.package)

    @property
    def tag(self) -> str:
        """The name of the tag."""
        return tag(self.package, self.version)


def _changelog(root: Path, package: str) -> Path:
    return root / "packages" / package / "CHANGELOG.md"


def _next_version(root: Path, package: str, part: str) -> str:
    """The last released version with one part raised; 0.0.0 was before the first."""
    last = changelogs.last_release(_changelog(root, package).read_text("utf-8"))
    version, present = bump(last or "0.0.0", part), declared(root, package)
    if older(version, present):
        raise ReleaseError(
            f"{distribution(package)}: a {part} release after {last or 'none'} is "
            f"{version}, but its pyproject.toml says {present} already, on which "
            "others may depend: choose a higher part."
        )
    return version


def prepare(root: Path, package: str, part: str, day: str) -> list[Release]:
    """Makes the files those of a release: version, changelog, bounds, record.

    Args:
      root: the repository's folder.
      package: what is released.
      part: the part of the last version to raise, `major`, `minor` or `patch`.
      day: the date of the release, as in `2026-11-26`.

    Returns:
      What is released: packages that it needs and that were not released yet, as the
      versions that it needs, and then the package itself.
    """
    if package not in PACKAGES:
        raise ReleaseError(f"there is no package {package!r}: {', '.join(PACKAGES)}.")
    return _prepare(root, package, _next_version(root, package, part), day)


def _prepare(root: Path, package: str, version: str, day: str) -> list[Release]:
    changelog = _changelog(root, package)
    text = changelog.read_text("utf-8")
    if not changelogs.unreleased(text):
        raise ReleaseError(f"{distribution(package)}: nothing to release is listed.")
    found = []
    for other in PACKAGES:
        needed = bounds(root, package, other)
        if needed and needed[0] not in public_names.released(root, other):
            if needed[0] != declared(root, other):
                raise ReleaseError(
                    f"{distribution(package)} needs {distribution(other)}>="
                    f"{needed[0]}, which was never released, nor comes next."
                )
            found += _prepare(root, other, needed[0], day)
    for other in PACKAGES:
        if bounds(root, package, other):
            lacking = public_names.missing_at_lowest(root, package, other)
            if lacking:
                raise ReleaseError(
                    f"{distribution(package)} uses {', '.join(lacking)}, which the "
                    f"lowest {distribution(other)} that it declares lacks: raise that."
                )
    # Its needs may have told it to take them.
    text = changelog.read_text("utf-8")
    changelog.write_text(changelogs.dated(text, version, day), "utf-8")
    set_version(root, package, version)
    public_names.record(root, package, version)
    for other in PACKAGES:
        if other != package:
            _raise_bounds(root, other, package, version)
    address = repository(root)
    if address:
        _set_urls(root, package, address)
    if package == "batiste":
        _cite(root, version, day)
    return [*found, Release(package, version)]


def prepare_all(root: Path, part: str, day: str) -> list[Release]:
    """Prepares all packages that have something to release, from the bottom up."""
    found: list[Release] = []
    # One after the other: a release may give those above it something to release.
    for package in PACKAGES:
        if changelogs.unreleased(_changelog(root, package).read_text("utf-8")):
            found += prepare(root, package, part, day)
    return found


def _raise_bounds(root: Path, package: str, of: str, version: str) -> None:
    """Lets a package take a new version of another, or need it if it has to."""
    declared_bounds = bounds(root, package, of)
    if declared_bounds is None:
        return
    lowest, too_high = declared_bounds
    known = lowest in public_names.released(root, of)
    if not known or public_names.missing(root, package, of, lowest):
        lowest = version
    too_high = next_series(version)
    if (lowest, too_high) == declared_bounds:
        return
    set_bounds(root, package, of, lowest, too_high)
    changelog = _changelog(root, package)
    line = f"Needs {distribution(of)} {lowest} or later, before {too_high}."
    text = changelogs.add_line(changelog.read_text("utf-8"), "Changed", line)
    changelog.write_text(text, "utf-8")


def repository(root: Path) -> str:
    """The address of the repository, "" where pyproject.toml does not say it yet."""
    text = (root / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["tool"]["batiste"]["repository"].rstrip("/")


def _set_urls(root: Path, package: str, address: str) -> None:
    """Writes a package's `[project.urls]` anew."""
    path = root / "packages" / package / "pyproject.toml"
    text = path.read_text("utf-8")
    folder = f"{address}/tree/main/packages/{package}"
    table = (
        "[project.urls]\n"
        f'Homepage = "{folder}"\n'
        f'Source = "{folder}"\n'
        f'Changelog = "{folder}/CHANGELOG.md"\n'
        f'Issues = "{address}/issues"\n\n'
    )
    text = re.sub(r"^\[project\.urls\]\n(?:.+\n)*\n", "", text, flags=re.M)
    before = "[project.optional-dependencies]\n"
    path.write_text(text.replace(before, f"{table}{before}", 1), "utf-8")


def _cite(root: Path, version: str, day: str) -> None:
    path = root / "CITATION.cff"
    text = path.read_text("utf-8")
    text = re.sub(r"^version: .*$", f"version: {version}", text, flags=re.M)
    text = re.sub(r"^date-released: .*\n", "", text, flags=re.M)
    path.write_text(f"{text.rstrip()}\ndate-released: {day}\n", "utf-8")


def check_tagged(root: Path, name: str) -> Release:
    """Returns the release that a tag is of, if the files are those of it."""
    package, version = untag(name)
    found = Release(package, version)
    if declared(root, package) != version:
        raise ReleaseError(f"{name}: pyproject.toml says {declared(root, package)}.")
    text = _changelog(root, package).read_text("utf-8")
    if changelogs.last_release(text) != version:
        raise ReleaseError(f"{name}: the changelog's last release is another one.")
    if version not in public_names.released(root, package):
        raise ReleaseError(f"{name}: there is no record in tests/golden/released.")
    return found


def lowest_siblings(root: Path, package: str) -> dict[str, str]:
    """Pins of the lowest released versions that a package declares of others.

    A version that comes next is not among them: it has what is here.
    """
    found = {}
    for other in PACKAGES:
        needed = bounds(root, package, other)
        if needed and needed[0] in public_names.released(root, other):
            found[other] = f"{distribution(other)}=={needed[0]}"
    return found
