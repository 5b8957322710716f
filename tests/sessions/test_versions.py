"""Versions and bounds, read and written."""

import pytest
from versions import (
    ReleaseError,
    bounds,
    bump,
    declared,
    next_series,
    older,
    same_series,
    set_bounds,
    set_version,
    tag,
    untag,
)

PYPROJECT = """\
[project]
name = "batiste-linen"
version = "0.1.0"
dependencies = [
    "batiste-core>=0.1.0,<0.2",
    "batiste-spmd>=0.1.2,<0.2",
    "jax>=0.7.0",
]
[project.optional-dependencies]
more = ["batiste-core[rich]>=0.1.0,<0.2"]
"""


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "packages" / "linen"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


@pytest.mark.parametrize(
    ("part", "after"), [("major", "1.0.0"), ("minor", "0.10.0"), ("patch", "0.9.8")]
)
def test_bump(part, after):
    assert bump("0.9.7", part) == after
    assert older("0.9.7", after)
    assert not older(after, "0.9.7")


def test_what_is_no_version_and_no_part_are_errors():
    for text in ("1.0", "1.0.0rc1", "v1.0.0", ""):
        with pytest.raises(ReleaseError, match="is no version such as 0.1.0"):
            bump(text, "minor")
    with pytest.raises(ReleaseError, match="'tiny' is no part of a version: major"):
        bump("1.0.0", "tiny")


def test_a_series_ends_where_something_may_break():
    assert next_series("0.1.3") == "0.2"
    assert next_series("2.1.3") == "3"
    assert same_series("0.1.3", "0.1.0")
    assert not same_series("0.1.3", "0.2.0")
    assert same_series("1.1.3", "1.9.0")


@pytest.mark.parametrize("package", ["linen", "batiste"])
def test_tags_name_the_distribution(package):
    assert untag(tag(package, "1.2.3")) == (package, "1.2.3")


def test_names_of_tags():
    assert tag("linen", "0.2.0") == "batiste-linen-v0.2.0"
    assert tag("batiste", "0.2.0") == "batiste-v0.2.0"
    for text in ("linen-v0.2.0", "batiste-linen-0.2.0", "batiste-linen-v0.2", "main"):
        with pytest.raises(
            ReleaseError, match="is no tag such as batiste-linen-v0.2.0"
        ):
            untag(text)


def test_a_version_is_read_and_written(root):
    assert declared(root, "linen") == "0.1.0"
    set_version(root, "linen", "0.2.0")
    assert declared(root, "linen") == "0.2.0"
    text = (root / "packages/linen/pyproject.toml").read_text()
    assert text == PYPROJECT.replace('version = "0.1.0"', 'version = "0.2.0"')


def test_bounds_are_read_and_written_everywhere(root):
    assert bounds(root, "linen", "core") == ("0.1.0", "0.2")
    assert bounds(root, "linen", "spmd") == ("0.1.2", "0.2")
    assert bounds(root, "linen", "traverse") is None
    set_bounds(root, "linen", "core", "0.2.1", "0.3")
    text = (root / "packages/linen/pyproject.toml").read_text()
    assert '"batiste-core>=0.2.1,<0.3"' in text
    assert '"batiste-core[rich]>=0.2.1,<0.3"' in text
    assert bounds(root, "linen", "spmd") == ("0.1.2", "0.2")


def test_bounds_that_differ_are_an_error(root):
    path = root / "packages/linen/pyproject.toml"
    path.write_text(PYPROJECT.replace("core[rich]>=0.1.0", "core[rich]>=0.1.1"))
    with pytest.raises(ReleaseError, match="linen sets several bounds to core"):
        bounds(root, "linen", "core")


def test_a_package_that_is_not_there_is_an_error(root):
    with pytest.raises(ReleaseError, match="there is no package 'lunen'"):
        declared(root, "lunen")
