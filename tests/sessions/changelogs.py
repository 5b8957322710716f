"""Changelogs in the format of Keep a Changelog."""

import re

from versions import ReleaseError

__all__ = ["SECTIONS", "add_line", "dated", "headings", "last_release", "unreleased"]

SECTIONS = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")

_UNRELEASED = "## [Unreleased]\n"
_HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.M)


def _parts(text: str) -> tuple[str, str, str]:
    """What comes before the heading, below it, and from the next one on."""
    before, heading, rest = text.partition(_UNRELEASED)
    if not heading:
        raise ReleaseError("the changelog has no heading '## [Unreleased]'.")
    body, following, after = rest.partition("\n## ")
    return before, body.strip("\n"), f"## {after}" if following else ""


def headings(text: str) -> list[tuple[str, str]]:
    """The released versions with their days, the newest first."""
    return [(match[1], match[2]) for match in _HEADING.finditer(text)]


def last_release(text: str) -> str | None:
    """The newest version that was released, if any was."""
    found = headings(text)
    return found[0][0] if found else None


def unreleased(text: str) -> str:
    """What was changed since the last release."""
    return _parts(text)[1]


def _joined(before: str, *sections: str) -> str:
    return before + "\n\n".join(s.strip("\n") for s in sections if s) + "\n"


def dated(text: str, version: str, day: str) -> str:
    """The changelog once what is unreleased is released as a version."""
    before, body, after = _parts(text)
    if not body:
        raise ReleaseError("the changelog has nothing under '## [Unreleased]'.")
    released = f"## [{version}] - {day}\n\n{body}"
    return _joined(before, _UNRELEASED, released, after)


def add_line(text: str, section: str, line: str) -> str:
    """The changelog with one more line about what is unreleased."""
    before, body, after = _parts(text)
    item = f"- {line}"
    if item in body.splitlines():
        return text
    start, heading, rest = body.partition(f"### {section}\n")
    if heading:
        # Behind the last line of its section.
        own, following, others = rest.partition("\n### ")
        own = f"{own.rstrip()}\n{item}"
        body = start + heading + own + (f"\n\n### {others}" if following else "")
    else:
        body = f"{body}\n\n### {section}\n\n{item}".lstrip("\n")
    return _joined(before, f"{_UNRELEASED}\n{body}", after)
