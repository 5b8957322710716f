import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from batiste import spmd

RULES = (("batch", "data"), ("hid", "model"))
X = np.ones((8, 8), np.float32)


def test_logical_to_mesh():
    tree = {"a": P("batch", None), "b": [P(), None], "c": P("hid", "other")}
    assert spmd.logical_to_mesh(tree, RULES) == {
        "a": P("data", None),
        "b": [P(), None],
        "c": P("model", None),
    }
    with spmd.logical_axis_rules(RULES):
        assert spmd.logical_to_mesh((P("batch"), P("hid"))) == (P("data"), P("model"))
    assert spmd.logical_to_mesh(P("batch")) == P(None)


def test_logical_to_mesh_keeps_boxes():
    boxed = spmd.LogicallyPartitioned(P("batch"), ("x",))
    assert spmd.logical_to_mesh(boxed, RULES) == boxed.replace_boxed(P("data"))


def test_logical_to_mesh_sharding(mesh):
    tree = {"a": P("batch", "other"), "b": None}
    assert spmd.logical_to_mesh_sharding(tree, mesh, RULES) == {
        "a": NamedSharding(mesh, P("data", None)),
        "b": None,
    }


def test_errors_in_a_tree_of_specs_have_the_path(mesh):
    with pytest.raises(spmd.DuplicateAxisError, match='In "a/w": .batch.'):
        spmd.logical_to_mesh({"a": {"w": P("batch", "batch")}}, RULES)
    with pytest.raises(spmd.AxisRulesError, match='In "a/0": Expected a PartitionSpec'):
        spmd.logical_to_mesh({"a": ("batch",)}, RULES)
    with pytest.raises(spmd.UnknownAxisError, match='In "a": Axis .dat.*: .data.'):
        spmd.logical_to_mesh_sharding({"a": P("batch")}, mesh, (("batch", "dat"),))


def constrained(names, x=X, rules=RULES, **kwargs):
    return lambda: spmd.with_logical_constraint(x, names, rules, **kwargs)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("batch", "hid"), ("data", "model")),
        (P("hid"), ("model",)),
        (("batch", P.UNCONSTRAINED), ("data", P.UNCONSTRAINED)),
        (("other", None), (None, None)),
        ((), ()),
    ],
)
def test_with_logical_constraint(names, expected, enter_mesh, mesh, layouts):
    def f(x):
        return spmd.with_logical_constraint(x, names, RULES)

    def under_rules(x):
        with spmd.logical_axis_rules(RULES):
            return spmd.with_logical_constraint(x, names)

    assert layouts(f, X) == []
    with enter_mesh(mesh):
        assert layouts(f, X) == [expected]
        assert layouts(under_rules, X) == [expected]
        assert layouts(lambda x: spmd.with_logical_constraint(x, names), X) == []
        assert layouts(lambda x: spmd.with_logical_constraint(x, None, RULES), X) == []


def test_with_logical_constraint_on_trees(enter_mesh, mesh, layouts):
    def f(x):
        one = spmd.with_logical_constraint({"a": x, "b": {"c": x}}, ("batch",), RULES)
        names = [("batch", None), None, P("hid"), (("hid",), ("batch",))]
        each = spmd.with_logical_constraint([x, x, x, (x, x)], names, RULES)
        return one, each

    with enter_mesh(mesh):
        assert layouts(f, X) == [
            ("data",),
            ("data",),
            ("data", None),
            ("model",),
            ("model",),
            ("data",),
        ]


def test_with_logical_constraint_and_a_given_mesh(mesh):
    y = spmd.with_logical_constraint(X, ("batch", "hid"), RULES, mesh=mesh)
    assert y.sharding == NamedSharding(mesh, P("data", "model"))


def test_eager_values_are_left_alone(enter_mesh, mesh):
    x = jnp.asarray(X)
    with enter_mesh(mesh):
        assert spmd.with_logical_constraint(x, ("batch", "hid"), RULES) is x
        assert spmd.LogicallyPartitioned(x, ("batch",), rules=RULES).unbox() is x


def test_fallbacks(enter_mesh, mesh, layouts):
    def f(fallback):
        return lambda x: spmd.with_logical_constraint(
            x, ("batch", "hidd"), RULES, fallback=fallback
        )

    with enter_mesh(mesh):
        unsharded = f(spmd.RulesFallback.AXIS_IS_UNSHARDED)
        assert layouts(unsharded, X) == [("data", None)]
        assert layouts(f(spmd.RulesFallback.NO_CONSTRAINT), X) == []
    # An unknown name is an error with or without a mesh.
    with pytest.raises(spmd.UnknownAxisError, match="did not match") as caught:
        f(spmd.RulesFallback.RAISE_ERROR)(X)
    assert caught.value.axis == "hidd"
    assert caught.value.nearest == ("hid",)


def test_a_rule_to_none_is_a_match():
    rules = (("batch", "data"), ("hid", None))
    fallback = spmd.RulesFallback.RAISE_ERROR
    assert constrained(("batch", "hid"), rules=rules, fallback=fallback)() is X


def test_a_name_whose_mesh_axis_is_taken_is_no_match():
    rules = (("a", "data"), ("b", "data"))
    with pytest.raises(spmd.UnknownAxisError, match="that the other dimensions leave"):
        constrained(("a", "b"), rules=rules, fallback=spmd.RulesFallback.RAISE_ERROR)()


def test_errors_of_constraints(enter_mesh, mesh):
    with enter_mesh(mesh):
        with pytest.raises(spmd.RankMismatchError, match="3 axis names"):
            jax.jit(lambda x: constrained(("batch", None, None), x)())(X)
        rules = (("batch", "dta"),)
        with pytest.raises(spmd.UnknownAxisError, match="Nearest names: 'data'"):
            jax.jit(lambda x: constrained(("batch",), x, rules)())(X)
    with pytest.raises(spmd.DuplicateAxisError):
        constrained(("batch", "batch"))()


def test_unbox_resolves_logical_names(enter_mesh, mesh, layouts):
    def unboxed(**kwargs):
        # A new function each time: JAX remembers the jaxpr of one it has traced.
        def unbox(x):
            return spmd.LogicallyPartitioned(x, ("batch", "hid"), **kwargs).unbox()

        return layouts(unbox, X)

    with enter_mesh(mesh):
        assert unboxed() == []
        assert unboxed(rules=RULES) == [("data", "model")]
        with spmd.logical_axis_rules(RULES):
            assert unboxed() == [("data", "model")]
            assert unboxed(rules=(("batch", "model"),)) == [("model", None)]
            # The box's own empty rules are rules too.
            assert unboxed(rules=()) == []
    # Names that no mesh could take do not matter where there is none.
    twice = spmd.LogicallyPartitioned(X, ("batch", "batch"), rules=RULES)
    assert twice.unbox() is X
    raw = spmd.LogicallyPartitioned(X, ("batch",), mesh=mesh, rules=RULES)
    assert raw.unbox(apply_constraint=False) is X
    assert raw.unbox().sharding.spec == P("data")


def test_the_box_is_hashable_and_printed(mesh):
    box = spmd.LogicallyPartitioned((2, 2), ["a", None], rules=[["a", ["X", "Y"]]])
    assert repr(box) == (
        "LogicallyPartitioned(value=(2, 2), names=('a', None), mesh=None, "
        "rules=(('a', ('X', 'Y')),))"
    )
    assert hash(jax.tree.structure(box))
    added = box.add_axis(0, {spmd.PARTITION_NAME: "layer"})
    assert type(added) is spmd.LogicallyPartitioned
    assert (added.names, added.rules) == (("layer", "a", None), box.rules)


def test_with_logical_partitioning(mesh):
    init = spmd.with_logical_partitioning(
        jax.nn.initializers.ones, ("embed", "hid"), mesh, [["hid", "model"]]
    )
    box = init(jax.random.key(0), (2, 4))
    assert type(box) is spmd.LogicallyPartitioned
    assert (box.names, box.mesh) == (("embed", "hid"), mesh)
    assert box.rules == (("hid", "model"),)
    assert box.get_partition_spec() == P("embed", "hid")
    assert box.get_sharding(mesh) == NamedSharding(mesh, P(None, "model"))
    with pytest.raises(spmd.AxisRulesError):
        spmd.with_logical_partitioning(jax.nn.initializers.ones, "embed")
    with pytest.raises(spmd.AxisRulesError):
        spmd.with_logical_partitioning(jax.nn.initializers.ones, ("a",), rules=["a"])
