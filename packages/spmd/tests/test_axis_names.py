import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from batiste import spmd
from batiste.spmd.axis_names import (
    as_axis_names,
    check_mesh_axes,
    check_rank,
    checked_sharding,
    mesh_axes_of,
    path_text,
)

MESH = AbstractMesh((2, 4), ("data", "model"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), ()),
        (["batch", None], ("batch", None)),
        (("batch", ["x", "y"]), ("batch", ("x", "y"))),
        (
            P("batch", ("x", "y"), P.UNCONSTRAINED),
            ("batch", ("x", "y"), P.UNCONSTRAINED),
        ),
        (iter("ab"), ("a", "b")),
    ],
)
def test_names_become_a_tuple_that_can_be_hashed(names, expected):
    result = as_axis_names(names)
    assert result == expected
    assert type(result) is tuple
    assert hash(result) == hash(expected)


@pytest.mark.parametrize("names", ["batch", None, 3])
def test_names_that_are_no_sequence_are_an_error(names):
    with pytest.raises(spmd.AxisRulesError, match=f"in a tuple.*got {names!r}"):
        as_axis_names(names)


@pytest.mark.parametrize(
    "value", [np.zeros((2, 3)), jax.ShapeDtypeStruct((2, 3), "i4")]
)
def test_a_value_may_have_more_dimensions_than_names(value):
    check_rank((), value)
    check_rank(("a", None), value)
    with pytest.raises(spmd.RankMismatchError, match="3 axis names") as caught:
        check_rank(("a", None, "b"), value)
    assert caught.value.shape == (2, 3)


def test_what_has_no_shape_has_no_rank_to_check():
    check_rank(("a", "b"), 3.0)
    check_rank(("a", "b"), None)


def test_the_axes_of_a_mesh_may_each_be_used_once():
    check_mesh_axes(MESH, ())
    check_mesh_axes(MESH, (None, ("model", "data"), P.UNCONSTRAINED))
    with pytest.raises(spmd.DuplicateAxisError, match="'data' occur more") as twice:
        check_mesh_axes(MESH, ("data", ("model", "data")))
    assert twice.value.axes == ("data",)


def test_an_axis_that_the_mesh_does_not_have_is_an_error():
    with pytest.raises(spmd.UnknownAxisError, match="axes of the mesh") as caught:
        check_mesh_axes(MESH, (None, ("data", "modle")))
    assert (caught.value.axis, caught.value.nearest) == ("modle", ("model",))


def test_a_sharding_is_made_of_checked_names(mesh):
    assert checked_sharding(mesh, ("data",)) == NamedSharding(mesh, P("data"))
    assert checked_sharding(MESH, iter((None, "model"))).spec == P(None, "model")
    with pytest.raises(spmd.UnknownAxisError):
        checked_sharding(mesh, ("batch",))


def test_the_mesh_axes_of_a_spec_come_in_order():
    spec = (None, ("b", "a"), "c", P.UNCONSTRAINED, (), "b")
    assert list(mesh_axes_of(spec)) == ["b", "a", "c", "b"]


def test_a_path_is_names_with_slashes_between_them():
    tree = {"params": [spmd.Partitioned(1, ()), 2]}
    paths = [path_text(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert paths == ["params/0/value", "params/1"]
    assert path_text(()) == ""
