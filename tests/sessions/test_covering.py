"""Which tests are run to measure what they take."""

import pytest
from covering import APART, ON_EIGHT, runs
from workspace import PACKAGES


def test_without_a_name_everything_is_run_but_parity():
    found = runs([])
    assert found[: len(PACKAGES)] == [[f"packages/{p}"] for p in PACKAGES]
    assert found[-2:] == [[folder] for folder in ON_EIGHT]
    (whole,) = (run for run in found if run[0] == "tests")
    assert {f"--ignore={f}" for f in (*APART, *ON_EIGHT)} == set(whole[1:])


def test_named_packages_are_run_alone():
    assert runs(["core", "traverse"]) == [["packages/core"], ["packages/traverse"]]


def test_an_unknown_package_is_an_error():
    with pytest.raises(ValueError, match="no package lunen: traverse, "):
        runs(["core", "lunen"])
