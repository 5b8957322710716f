"""Tests of batiste.linen.spmd: the names that users of it know."""

import pytest

from batiste import spmd as package
from batiste.linen import spmd


@pytest.mark.parametrize("name", spmd.__all__)
def test_every_name_is_that_of_the_package(name):
    assert getattr(spmd, name) is getattr(package, name)


def test_rules_that_are_set_here_are_in_force_there():
    with spmd.logical_axis_rules((("embed", "data"),)):
        assert tuple(package.logical_to_mesh_axes(("embed",))) == ("data",)
    assert package.get_logical_axis_rules() == ()
