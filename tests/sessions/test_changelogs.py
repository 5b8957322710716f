"""Changelogs, read and written."""

from pathlib import Path

import pytest
from changelogs import SECTIONS, add_line, dated, headings, last_release, unreleased
from versions import ReleaseError
from workspace import PACKAGES, ROOT, project

START = "# Changelog\n\nFormat.\n\n"
OLDER = "## [0.1.0] - 2026-01-02\n\n### Added\n\n- a\n"
TEXT = f"{START}## [Unreleased]\n\n### Added\n\n- b\n\n{OLDER}"


def test_what_is_unreleased_gets_a_version_and_a_day():
    after = dated(TEXT, "0.2.0", "2026-03-04")
    new = "## [Unreleased]\n\n## [0.2.0] - 2026-03-04\n\n### Added\n\n- b\n\n"
    assert after == START + new + OLDER
    assert headings(after) == [("0.2.0", "2026-03-04"), ("0.1.0", "2026-01-02")]
    assert unreleased(after) == ""


def test_the_first_release():
    text = f"{START}## [Unreleased]\n\n- b\n"
    assert last_release(text) is None
    assert last_release(dated(text, "0.1.0", "2026-03-04")) == "0.1.0"


def test_nothing_to_release_and_no_heading_are_errors():
    with pytest.raises(ReleaseError, match="has nothing under"):
        dated(dated(TEXT, "0.2.0", "2026-03-04"), "0.3.0", "2026-03-05")
    with pytest.raises(ReleaseError, match="has no heading"):
        unreleased(START)


def test_a_line_goes_to_its_section():
    assert unreleased(add_line(TEXT, "Added", "c")) == "### Added\n\n- b\n- c"
    changed = add_line(TEXT, "Changed", "c")
    assert unreleased(changed) == "### Added\n\n- b\n\n### Changed\n\n- c"
    both = add_line(changed, "Added", "d")
    assert unreleased(both) == "### Added\n\n- b\n- d\n\n### Changed\n\n- c"
    assert both.endswith(OLDER)


def test_a_line_is_added_once_and_to_nothing():
    once = add_line(TEXT, "Changed", "c")
    assert add_line(once, "Changed", "c") == once
    released = dated(TEXT, "0.2.0", "2026-03-04")
    assert unreleased(add_line(released, "Fixed", "c")) == "### Fixed\n\n- c"


@pytest.mark.parametrize("package", PACKAGES)
def test_our_changelogs_keep_the_format(package):
    text = Path(ROOT, "packages", package, "CHANGELOG.md").read_text("utf-8")
    unreleased(text)
    found = [line for line in text.splitlines() if line.startswith("## ")]
    assert len(found) == 1 + len(headings(text))
    assert text.startswith(f"# Changelog of {project(package)['name']}\n")
    sections = {line[4:] for line in text.splitlines() if line.startswith("### ")}
    assert sections <= set(SECTIONS)
    days = [day for _, day in headings(text)]
    assert days == sorted(days, reverse=True)
