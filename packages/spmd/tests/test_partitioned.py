from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from batiste import spmd
from batiste.core import meta
from batiste.spmd.errors import PartitioningError

NAME = spmd.PARTITION_NAME


def box(names=("data", None), value=None, mesh=None):
    return spmd.Partitioned(jnp.ones((8, 8)) if value is None else value, names, mesh)


def test_the_box_is_a_pytree_with_one_child():
    leaves, treedef = jax.tree_util.tree_flatten_with_path(box())
    assert [jax.tree_util.keystr(path) for path, _ in leaves] == [".value"]
    assert treedef == jax.tree.structure(box(value=1.0))
    assert treedef != jax.tree.structure(box(("model", None)))
    doubled = jax.tree.map(lambda x: x * 2, {"w": box()})["w"]
    assert isinstance(doubled, spmd.Partitioned)
    assert doubled.names == ("data", None)


def test_the_box_passes_through_jit_and_is_printed(mesh):
    out = jax.jit(lambda b: b)(box(mesh=mesh))
    assert (out.names, out.mesh) == (("data", None), mesh)
    shown = jax.tree.map(jnp.shape, box())
    assert repr(shown) == "Partitioned(value=(8, 8), names=('data', None), mesh=None)"


def test_only_the_value_is_state():
    stateful: Any = box()
    assert list(stateful.__to_state_dict__()) == ["value"]
    assert stateful.__from_state_dict__({"value": 3}).value == 3


def test_boxes_are_axis_metadata():
    assert meta.is_axis_metadata(box())
    tree = {"a": box(value=1.0), "b": 2.0}
    assert meta.unbox(tree) == {"a": 1.0, "b": 2.0}
    assert meta.replace_boxed(tree, {"a": 3.0, "b": 4.0})["a"].value == 3.0
    named = meta.add_axis(tree, 0, {NAME: "layers"})
    assert named["a"].names == ("layers", "data", None)
    assert meta.remove_axis(named, 0, {NAME: "layers"}) == tree


def test_names_of_other_sequences_become_a_tuple():
    assert box(["data", ["model"]]).names == ("data", ("model",))
    assert hash(jax.tree.structure(box(P("data"))))
    assert box(P("data", None)).names == ("data", None)


@pytest.mark.parametrize("names", ["data", None, 3])
def test_names_that_are_no_sequence_are_an_error(names):
    with pytest.raises(spmd.AxisRulesError, match="Axis names are one name or None"):
        spmd.Partitioned(1.0, names)
    with pytest.raises(spmd.AxisRulesError, match="Axis names are one name or None"):
        spmd.with_partitioning(jax.nn.initializers.ones, names)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, ("new", "data", None)),
        (1, ("data", "new", None)),
        (2, ("data", None, "new")),
        (4, ("data", None, None, None, "new")),
        (-1, ("data", None, "new")),
        (-2, ("data", "new", None)),
        (-3, ("new", "data", None)),
    ],
)
def test_add_axis(index, expected):
    assert box().add_axis(index, {NAME: "new"}).names == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", None]), max_size=4),
    st.data(),
    st.sampled_from(["new", None]),
)
def test_remove_axis_undoes_add_axis(names, data, name):
    rank = len(names)
    index = data.draw(st.integers(-rank - 1, rank))
    added = spmd.Partitioned(None, tuple(names)).add_axis(index, {NAME: name})
    # The new axis is where NumPy would put it.
    dims = np.expand_dims(np.empty((2,) * rank), index).shape
    assert added.names[dims.index(1)] == name
    assert added.remove_axis(index, {NAME: name}).names == tuple(names)


def test_an_unnamed_trailing_axis_can_be_removed():
    assert box(("data",)).remove_axis(3, {NAME: None}).names == ("data",)


def test_removing_an_axis_of_another_name_is_an_error():
    with pytest.raises(spmd.UnknownAxisError, match="That dimension is named 'data'"):
        box().remove_axis(0, {NAME: "layers"})
    with pytest.raises(spmd.UnknownAxisError, match="'layers' is not among"):
        box().remove_axis(7, {NAME: "layers"})


@pytest.mark.parametrize("method", ["add_axis", "remove_axis"])
def test_a_transform_without_a_partition_name_is_an_error(method):
    with pytest.raises(spmd.PartitioningUnspecifiedError, match="'partition_name'"):
        getattr(box(), method)(0, {})


def test_unbox(enter_mesh, mesh, layouts):
    def unbox(x):
        return box(value=x).unbox()

    def raw(x):
        return box(value=x).unbox(apply_constraint=False)

    x = jnp.ones((8, 8))
    assert layouts(unbox, x) == []
    with enter_mesh(mesh):
        assert layouts(unbox, x) == [("data", None)]
        assert layouts(raw, x) == []
        assert box(value=x).unbox() is x
    own = box(mesh=mesh).unbox()
    assert own.sharding == NamedSharding(mesh, P("data", None))


def test_with_partitioning_wraps_an_initializer(mesh):
    init = spmd.with_partitioning(jax.nn.initializers.ones, (None, "model"), mesh)
    made = init(jax.random.key(0), (2, 3), jnp.bfloat16)
    assert type(made) is spmd.Partitioned
    assert (made.names, made.mesh) == ((None, "model"), mesh)
    assert (made.value.shape, made.value.dtype) == ((2, 3), jnp.bfloat16)
    assert init.__name__ == jax.nn.initializers.ones.__name__


@pytest.mark.parametrize(
    "wrap", [spmd.with_partitioning, spmd.with_logical_partitioning]
)
def test_names_may_be_for_a_shape_that_the_value_gets_later(wrap):
    made = wrap(jax.nn.initializers.ones, ("a", "b", "c"))(jax.random.key(0), (2, 6))
    assert made.names == ("a", "b", "c")
    made = made.replace_boxed(made.value.reshape(2, 3, 2))
    assert (made.names, made.value.shape) == (("a", "b", "c"), (2, 3, 2))


VARIABLES = {
    "boxed": spmd.Partitioned(jax.ShapeDtypeStruct((8, 8), "float32"), ("data",)),
    "nested": [spmd.Partitioned(np.ones((2, 4)), (None, ("data", "model")))],
    "array": np.ones(3),
    "key": jax.eval_shape(lambda: jax.random.key(0)),
    "number": 3,
    "text": "t",
    "none": None,
}


def test_get_partition_spec():
    assert spmd.get_partition_spec(VARIABLES) == {
        "boxed": P("data"),
        "nested": [P(None, ("data", "model"))],
        "array": P(),
        "key": P(),
        "number": None,
        "text": None,
        "none": None,
    }


def test_get_partition_spec_keeps_logical_names():
    logical = spmd.LogicallyPartitioned(np.ones(2), ("batch",), rules=(("batch", "X"),))
    assert spmd.get_partition_spec(logical) == P("batch")


def test_get_sharding(mesh):
    shardings = spmd.get_sharding(VARIABLES, mesh)
    assert shardings["boxed"] == NamedSharding(mesh, P("data"))
    assert shardings["array"] == NamedSharding(mesh, P())
    assert shardings["nested"] == [NamedSharding(mesh, P(None, ("data", "model")))]
    assert shardings["number"] is None


def test_get_sharding_of_logical_names_uses_rules(mesh):
    logical = {"w": spmd.LogicallyPartitioned(np.ones((4, 4)), ("embed", "hidden"))}
    with spmd.logical_axis_rules((("hidden", "model"),)):
        assert spmd.get_sharding(logical, mesh)["w"].spec == P(None, "model")
    with pytest.raises(spmd.UnknownAxisError, match='In "w": Axis .embed.'):
        spmd.get_sharding(logical, mesh)


def test_errors_have_the_path(mesh):
    tree = {"params": {"Dense_0": {"kernel": box(("data", None, "x"))}}}
    with pytest.raises(spmd.RankMismatchError, match='In "params/Dense_0/kernel": 3'):
        spmd.get_partition_spec(tree)
    with pytest.raises(spmd.RankMismatchError, match='In "params/Dense_0/kernel": 3'):
        spmd.get_sharding(tree, mesh)
    tree = {"params": {"Dense_0": {"kernel": box(("dat", None))}}}
    with pytest.raises(spmd.UnknownAxisError, match="Nearest names: 'data'") as caught:
        spmd.get_sharding(tree, mesh)
    assert caught.value.path == "params/Dense_0/kernel"


def test_a_model_is_initialized_into_its_shards(mesh):
    init = spmd.with_partitioning(jax.nn.initializers.normal(), ("data", "model"))

    def make(key):
        return {"w": init(key, (16, 16))}

    shardings = spmd.get_sharding(jax.eval_shape(make, jax.random.key(0)), mesh)
    sharded = jax.jit(make, out_shardings=shardings)(jax.random.key(0))["w"]
    assert sharded.value.addressable_shards[0].data.shape == (8, 4)
    np.testing.assert_allclose(
        sharded.value, make(jax.random.key(0))["w"].value, rtol=1e-6
    )


@pytest.mark.parametrize("cls", [spmd.Partitioned, spmd.LogicallyPartitioned])
def test_metadata_of_nnx_and_back(cls):
    mesh = jax.sharding.AbstractMesh((1,), ("a",))
    box = cls(1.0, ("a", None), mesh=mesh)
    metadata = box.to_nnx_metadata()
    assert metadata["out_sharding"] == ("a", None)
    assert ("sharding_rules" in metadata) == (cls is spmd.LogicallyPartitioned)
    before = dict(metadata, eager_sharding=True, hijax=False)
    assert cls.from_nnx_metadata(before) == box
    assert set(before) == {*metadata, "eager_sharding", "hijax"}
    assert cls.from_nnx_metadata({"value": 1, "out_sharding": ()}) == cls(1, ())
    with pytest.raises(
        PartitioningError, match=r"metadata lacks value, out_sharding; it has \['mesh"
    ):
        cls.from_nnx_metadata({"mesh": None})


def test_rules_go_to_nnx_and_back():
    box = spmd.LogicallyPartitioned(1.0, ("in",), rules=(("in", "x"),))
    assert spmd.LogicallyPartitioned.from_nnx_metadata(box.to_nnx_metadata()) == box
