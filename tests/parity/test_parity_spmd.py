"""Partitioning metadata against the released flax, on generated inputs.

Where the released package is left behind on purpose: `with mesh:` is a mesh in force;
eager values are not constrained by the mesh in force, nor refused; and the axis that
`vmap` adds at a negative index is named where it is.
"""

import contextlib
import importlib
import inspect
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from batiste import spmd as ours

# By name, as the type checker runs where flax is not installed.
linen: Any = importlib.import_module("flax.linen")
theirs: Any = importlib.import_module("flax.linen.spmd")

many = settings(max_examples=200, deadline=None)
X = np.ones((8, 8), np.float32)

logical = st.sampled_from(["batch", "embed", "hidden", "heads", "vocab", None])
distinct = st.lists(logical, max_size=4, unique_by=lambda name: name or object())
axes = st.sampled_from(["data", "model", None, ("data", "model"), ("model",), ()])
rule_lists = st.lists(
    st.tuples(st.sampled_from(["batch", "embed", "hidden", "heads"]), axes), max_size=6
).map(tuple)
mesh_axes = st.sampled_from(["data", "model", None, ("data",)])


def outcome(fn, *args, **kwargs):
    """The result of a call, or that it fails: their errors are those of JAX."""
    try:
        return fn(*args, **kwargs)
    except Exception:
        return "fails"


@pytest.fixture(scope="module")
def mesh():
    # The layouts of one device are written down as those of many are.
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))


@many
@given(distinct, rule_lists)
def test_logical_to_mesh_axes(names, rules):
    expected = theirs.logical_to_mesh_axes(tuple(names), rules)
    assert ours.logical_to_mesh_axes(tuple(names), rules) == expected
    with ours.logical_axis_rules(rules), linen.logical_axis_rules(rules):
        assert ours.get_logical_axis_rules() == linen.get_logical_axis_rules()
        assert ours.logical_to_mesh_axes(tuple(names)) == expected
        assert theirs.logical_to_mesh_axes(tuple(names)) == expected


@many
@given(st.lists(logical, max_size=4), rule_lists)
def test_repeated_names(names, rules):
    a = outcome(ours.logical_to_mesh_axes, tuple(names), rules)
    assert a == outcome(theirs.logical_to_mesh_axes, tuple(names), rules)


@many
@given(st.dictionaries(st.sampled_from("abc"), distinct), rule_lists)
def test_trees_of_specs(tree, rules):
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    tree = {key: P(*names) for key, names in tree.items()} | {"none": None}
    assert ours.logical_to_mesh(tree, rules) == theirs.logical_to_mesh(tree, rules)
    a = ours.logical_to_mesh_sharding(tree, mesh, rules)
    assert a == theirs.logical_to_mesh_sharding(tree, mesh, rules)


def trees(spmd, names):
    return {
        "boxed": spmd.Partitioned(X, names),
        "logical": spmd.LogicallyPartitioned(X, names, rules=(("data", "model"),)),
        "bare": X,
        "shape": jax.ShapeDtypeStruct((3,), "float32"),
        "key": jax.random.key(0),
        "other": [3, None, "text"],
    }


@many
@given(st.lists(mesh_axes, max_size=2, unique_by=lambda name: name or object()))
def test_specs_and_shardings_of_variables(names):
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    a, b = trees(ours, tuple(names)), trees(linen, tuple(names))
    assert ours.get_partition_spec(a) == linen.get_partition_spec(b)
    # The logical box of the released package does not look up its rules here.
    del a["logical"], b["logical"]
    duplicate = outcome(linen.get_sharding, b, mesh)
    assert outcome(ours.get_sharding, a, mesh) == duplicate


@many
@given(st.lists(mesh_axes, max_size=3).map(tuple), st.integers(0, 4), mesh_axes)
def test_adding_and_removing_axes(names, index, name):
    params = {ours.PARTITION_NAME: name}
    a, b = ours.Partitioned(1, names), linen.Partitioned(1, names)
    a, b = a.add_axis(index, params), b.add_axis(index, params)
    assert repr(a) == repr(b)
    assert repr(a.remove_axis(index, params)) == repr(b.remove_axis(index, params))


@pytest.mark.parametrize("kind", ["Partitioned", "LogicallyPartitioned"])
def test_boxes(kind):
    a, b = (
        getattr(ours, kind)(X, ("data", None)),
        getattr(linen, kind)(X, ("data", None)),
    )
    assert repr(a) == repr(b)
    assert repr(jax.tree.map(np.shape, a)) == repr(jax.tree.map(np.shape, b))
    paths = [jax.tree_util.tree_flatten_with_path(each)[0][0][0] for each in (a, b)]
    assert paths[0] == paths[1]
    assert a.get_partition_spec() == b.get_partition_spec()
    assert repr(a.replace_boxed(3)) == repr(b.replace_boxed(3))
    for method in ("add_axis", "remove_axis"):
        messages = []
        for each in (a, b):
            with pytest.raises(Exception, match="partition_name") as caught:
                getattr(each, method)(0, {})
            messages.append(type(caught.value).__name__)
        assert messages == ["PartitioningUnspecifiedError"] * 2


def layouts(fn, *args):
    jaxpr = jax.make_jaxpr(fn)(*args)
    found = [each for each in jaxpr.eqns if "sharding" in each.params]
    return [(each.primitive.name, each.params["sharding"]) for each in found]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(logical, max_size=2),
    rule_lists,
    st.sampled_from(list(ours.RulesFallback)),
    st.sampled_from(["set_mesh", "given", "none"]),
)
def test_constraints(names, rules, fallback, where):
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    context = jax.set_mesh(mesh) if where == "set_mesh" else contextlib.nullcontext()
    given = mesh if where == "given" else None

    def constrained(spmd):
        return lambda x: spmd.with_logical_constraint(
            {"a": x, "b": [x, x]},
            {"a": tuple(names), "b": P(*names)},
            rules,
            given,
            spmd.RulesFallback(fallback.value),
        )

    def unboxed(spmd):
        box = spmd.LogicallyPartitioned
        return lambda x: box(x, tuple(names), mesh=given, rules=rules).unbox()

    with context:
        for of in (constrained, unboxed):
            a = outcome(layouts, of(ours), X)
            assert a == outcome(layouts, of(theirs), X)


@many
@given(st.lists(mesh_axes, max_size=2, unique_by=lambda name: name or object()))
def test_unboxing_under_a_mesh(names):
    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"))
    with jax.set_mesh(mesh):
        a, b = (
            outcome(
                layouts, lambda x, s=spmd: s.Partitioned(x, tuple(names)).unbox(), X
            )
            for spmd in (ours, linen)
        )
    assert a == b
    own = (
        outcome(
            layouts, lambda x, s=spmd: s.Partitioned(x, tuple(names), mesh).unbox(), X
        )
        for spmd in (ours, linen)
    )
    assert len(set(map(str, own))) == 1


def test_a_given_mesh_is_applied_to_eager_values(mesh):
    for spmd in (ours, linen):
        y = spmd.Partitioned(X, ("data", None), mesh).unbox()
        assert y.sharding.spec == P("data", None)


@pytest.mark.parametrize(
    "name",
    [
        "with_partitioning",
        "get_partition_spec",
        "get_sharding",
        "logical_axis_rules",
        "set_logical_axis_rules",
        "get_logical_axis_rules",
        "logical_to_mesh_axes",
        "logical_to_mesh",
        "logical_to_mesh_sharding",
        "with_logical_constraint",
        "with_logical_partitioning",
        "Partitioned",
        "LogicallyPartitioned",
    ],
)
def test_signatures(name):
    a, b = (inspect.signature(getattr(spmd, name)) for spmd in (ours, linen))

    def shape(signature):
        return [(p.name, p.kind, str(p.default)) for p in signature.parameters.values()]

    assert shape(a) == shape(b)


def test_initializers_are_wrapped_the_same():
    key = jax.random.PRNGKey(3)
    init = jax.nn.initializers.lecun_normal()
    for name in ("with_partitioning", "with_logical_partitioning"):
        a = getattr(ours, name)(init, ("data", None))(key, (4, 4))
        b = getattr(linen, name)(init, ("data", None))(key, (4, 4))
        assert repr(a) == repr(b)
        np.testing.assert_array_equal(a.value, b.value)
