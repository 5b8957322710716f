"""What releases change, in copies of this repository's own files."""

import shutil
import tomllib

import changelogs
import pytest
from public_names import recorded, released
from releases import check_tagged, lowest_siblings, prepare, prepare_all
from versions import ReleaseError, bounds, bump, declared, set_bounds, set_version
from workspace import PACKAGES, ROOT

DAY = "2026-12-24"


@pytest.fixture
def root(tmp_path):
    """A copy of what a release reads; as before the first release."""
    for package in PACKAGES:
        folder = tmp_path / "packages" / package
        rubbish = shutil.ignore_patterns("__pycache__")
        shutil.copytree(
            ROOT / "packages" / package / "src", folder / "src", ignore=rubbish
        )
        for name in ("pyproject.toml", "CHANGELOG.md"):
            shutil.copy(ROOT / "packages" / package / name, folder / name)
        set_version(tmp_path, package, "0.1.0")
        (folder / "CHANGELOG.md").write_text("# C\n\n## [Unreleased]\n\n- new\n")
        for other in PACKAGES:
            set_bounds(tmp_path, package, other, "0.1.0", "0.2")
    shutil.copy(ROOT / "CITATION.cff", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.batiste]\nrepository = ""\n')
    return tmp_path


def changelog(root, package):
    return (root / "packages" / package / "CHANGELOG.md").read_text()


def write_line(root, package):
    path = root / "packages" / package / "CHANGELOG.md"
    path.write_text(changelogs.add_line(path.read_text(), "Fixed", "that"))


def test_the_first_release_of_all(root):
    found = prepare_all(root, "minor", DAY)
    assert [each.package for each in found] == list(PACKAGES)
    assert {each.version for each in found} == {"0.1.0"}
    assert found[-1].tag == "batiste-v0.1.0"
    for package in PACKAGES:
        assert changelogs.headings(changelog(root, package)) == [("0.1.0", DAY)]
        assert released(root, package) == ["0.1.0"]
        assert "Needs" not in changelog(root, package)
    citation = (root / "CITATION.cff").read_text()
    assert "version: 0.1.0\n" in citation
    assert citation.endswith(f"date-released: {DAY}\n")


def test_what_it_needs_and_was_not_released_is_released_with_it(root):
    found = prepare(root, "linen", "minor", DAY)
    assert [each.package for each in found] == ["core", "spmd", "linen"]
    assert released(root, "core") == released(root, "spmd") == ["0.1.0"]
    assert not released(root, "training")


def test_a_need_that_neither_was_released_nor_comes_next_is_an_error(root):
    set_bounds(root, "linen", "core", "0.0.9", "0.2")
    before = changelog(root, "linen")
    with pytest.raises(ReleaseError, match=r"core>=0\.0\.9, which was never released"):
        prepare(root, "linen", "minor", DAY)
    assert changelog(root, "linen") == before


def test_a_patch_changes_no_bounds(root):
    prepare_all(root, "minor", DAY)
    write_line(root, "core")
    assert prepare(root, "core", "patch", DAY)[-1].version == "0.1.1"
    assert declared(root, "core") == "0.1.1"
    assert bounds(root, "linen", "core") == ("0.1.0", "0.2")
    assert not changelogs.unreleased(changelog(root, "linen"))


def test_dependents_take_the_next_series_and_say_so(root):
    prepare_all(root, "minor", DAY)
    write_line(root, "core")
    assert prepare(root, "core", "minor", DAY)[-1].version == "0.2.0"
    for package in ("spmd", "linen", "training", "batiste"):
        assert bounds(root, package, "core") == ("0.1.0", "0.3")
        line = "- Needs batiste-core 0.1.0 or later, before 0.3."
        assert line in changelogs.unreleased(changelog(root, package))
    assert bounds(root, "linen", "spmd") == ("0.1.0", "0.2")
    # And these are what is released next, of all.
    found = [each.package for each in prepare_all(root, "patch", DAY)]
    assert found == ["spmd", "linen", "training", "batiste"]


def test_a_lower_bound_is_raised_where_a_name_is_needed(root):
    prepare_all(root, "minor", DAY)
    module = root / "packages/core/src/batiste/core/brand_new.py"
    module.write_text('__all__ = ["thing"]\nthing = 1\n')
    user = root / "packages/linen/src/batiste/linen/pooling.py"
    user.write_text(f"from batiste.core.brand_new import thing\n{user.read_text()}")
    write_line(root, "linen")
    with pytest.raises(
        ReleaseError, match=r"linen uses batiste\.core\.brand_new\.thing"
    ):
        prepare(root, "linen", "patch", DAY)
    write_line(root, "core")
    prepare(root, "core", "patch", DAY)
    assert bounds(root, "linen", "core") == ("0.1.1", "0.2")
    assert bounds(root, "spmd", "core") == ("0.1.0", "0.2")
    assert prepare(root, "linen", "patch", DAY)[-1].version == "0.1.1"


def test_no_version_is_lower_than_the_declared_one(root):
    prepare_all(root, "minor", DAY)
    write_line(root, "core")
    set_version(root, "core", "0.2.0")
    with pytest.raises(ReleaseError, match=r"a patch release after 0\.1\.0 is 0\.1\.1"):
        prepare(root, "core", "patch", DAY)
    assert prepare(root, "core", "minor", DAY)[-1].version == bump("0.1.0", "minor")


def test_nothing_to_release_is_an_error(root):
    prepare_all(root, "minor", DAY)
    with pytest.raises(ReleaseError, match="nothing to release is listed"):
        prepare(root, "core", "minor", DAY)
    assert prepare_all(root, "minor", DAY) == []
    with pytest.raises(ReleaseError, match="there is no package 'lunen'"):
        prepare(root, "lunen", "minor", DAY)


def test_a_tag_is_of_what_the_files_say(root):
    prepare_all(root, "minor", DAY)
    assert check_tagged(root, "batiste-linen-v0.1.0").package == "linen"
    with pytest.raises(ReleaseError, match=r"pyproject\.toml says 0\.1\.0"):
        check_tagged(root, "batiste-linen-v0.2.0")
    set_version(root, "linen", "0.2.0")
    with pytest.raises(ReleaseError, match="last release is another one"):
        check_tagged(root, "batiste-linen-v0.2.0")


def test_the_record_has_the_names_of_the_version(root):
    prepare_all(root, "minor", DAY)
    names = recorded(root, "traverse", "0.1.0")["names"]
    assert "flatten_dict" in names["batiste.traverse"]


def test_the_lowest_siblings_are_those_that_were_released(root):
    assert lowest_siblings(root, "linen") == {}
    prepare(root, "spmd", "minor", DAY)
    pins = {"core": "batiste-core==0.1.0", "spmd": "batiste-spmd==0.1.0"}
    assert lowest_siblings(root, "linen") == pins
    set_version(root, "core", "0.1.1")
    set_bounds(root, "linen", "core", "0.1.1", "0.2")
    assert lowest_siblings(root, "linen") == {"spmd": "batiste-spmd==0.1.0"}
    assert lowest_siblings(root, "traverse") == {}


def test_addresses_are_those_of_the_repository(root):
    (root / "pyproject.toml").write_text(
        '[tool.batiste]\nrepository = "https://example.org/b/"\n'
    )
    path = root / "packages/core/pyproject.toml"
    before = tomllib.loads(path.read_text())["project"]
    for part in ("minor", "patch"):
        prepare(root, "core", part, DAY)
        write_line(root, "core")
        project = tomllib.loads(path.read_text())["project"]
        assert project["urls"] == {
            "Homepage": "https://example.org/b/tree/main/packages/core",
            "Source": "https://example.org/b/tree/main/packages/core",
            "Changelog": "https://example.org/b/tree/main/packages/core/CHANGELOG.md",
            "Issues": "https://example.org/b/issues",
        }
        assert project["dependencies"] == before["dependencies"]
        assert project["optional-dependencies"] == before["optional-dependencies"]


def test_without_an_address_there_are_none(root):
    prepare(root, "core", "minor", DAY)
    assert "urls" not in (root / "packages/core/pyproject.toml").read_text()
