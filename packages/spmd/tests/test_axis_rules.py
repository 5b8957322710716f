import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import PartitionSpec as P

from batiste import spmd

PRECEDENCE = (("batch", "X"), ("features", "X"), ("heads", "Y"), ("batch", "Z"))


@pytest.mark.parametrize(
    ("names", "rules", "expected"),
    [
        (("batch", "length", "heads", "features"), PRECEDENCE, ("X", None, "Y", None)),
        # The second choice of a name is taken if the first is not free.
        (("heads", "batch"), (("heads", "Y"), ("batch", ("X", "Y"))), ("Y", None)),
        (
            ("heads", "batch"),
            (("heads", "Y"), ("batch", ("X", "Y")), ("batch", "X")),
            ("Y", "X"),
        ),
        # None settles that a dimension is unsharded, and takes no mesh axis.
        (
            ("batch", "heads"),
            (("batch", None), ("batch", "X"), ("heads", "X")),
            (None, "X"),
        ),
        (("batch", "heads"), (("batch", ()), ("heads", "X")), (None, "X")),
        (
            ("batch", "heads"),
            (("batch", ["X", "Y"]), ("heads", "Y")),
            (("X", "Y"), None),
        ),
        ((None, None), PRECEDENCE, (None, None)),
        ((), PRECEDENCE, ()),
        (("batch",), (), (None,)),
        # Mesh axes given as a tuple, and UNCONSTRAINED, are passed on.
        (("heads", ("Y",)), PRECEDENCE, (None, ("Y",))),
        (("batch", P.UNCONSTRAINED), PRECEDENCE, ("X", P.UNCONSTRAINED)),
        (P("batch", "heads"), [["batch", "X"], ["heads", "Y"]], ("X", "Y")),
    ],
)
def test_rule_precedence(names, rules, expected):
    assert spmd.logical_to_mesh_axes(names, rules) == P(*expected)


def test_no_names_give_no_spec():
    assert spmd.logical_to_mesh_axes(None, PRECEDENCE) is None


names = st.sampled_from(["a", "b", "c", "d", None])
mesh_axes = st.sampled_from(["X", "Y", "Z", None, ("X", "Y"), ("Y", "Z")])
rule_lists = st.lists(st.tuples(st.sampled_from("abcde"), mesh_axes), max_size=8)


def flat(entries):
    for entry in entries:
        if entry is not None:
            yield from entry if isinstance(entry, tuple) else (entry,)


@settings(max_examples=100, deadline=None)
@given(st.lists(names, max_size=5, unique_by=lambda n: n or object()), rule_lists)
def test_any_rules_give_a_valid_spec(dims, rules):
    spec = tuple(spmd.logical_to_mesh_axes(tuple(dims), rules))
    assert len(spec) == len(dims)
    used = list(flat(spec))
    assert len(used) == len(set(used))
    for name, entry in zip(dims, spec):
        assert entry is None or (name, entry) in rules


@settings(max_examples=100, deadline=None)
@given(st.lists(names, max_size=5, unique_by=lambda n: n or object()), rule_lists)
def test_a_rule_that_did_not_apply_can_be_taken_out(dims, rules):
    spec = spmd.logical_to_mesh_axes(tuple(dims), rules)
    chosen: dict[object, object] = dict(zip(dims, spec))
    applied = [(n, m) for n, m in rules if n in chosen and chosen[n] == m]
    assert spmd.logical_to_mesh_axes(tuple(dims), applied) == spec


def test_a_name_on_two_dimensions_is_an_error():
    with pytest.raises(spmd.DuplicateAxisError, match="'batch' occur more than once"):
        spmd.logical_to_mesh_axes(("batch", "batch"), PRECEDENCE)


def test_a_bare_string_is_an_error():
    with pytest.raises(spmd.AxisRulesError, match=r"in a tuple.*got 'batch'"):
        spmd.logical_to_mesh_axes("batch", PRECEDENCE)


@pytest.mark.parametrize("rule", [("batch",), ("batch", "X", "Y"), "ab", 3])
def test_a_rule_that_is_no_pair_is_an_error(rule):
    with pytest.raises(spmd.AxisRulesError, match="A logical axis rule is a pair"):
        spmd.set_logical_axis_rules((rule,))
    with pytest.raises(spmd.AxisRulesError, match="A logical axis rule is a pair"):
        spmd.logical_to_mesh_axes(("batch",), (rule,))
    assert spmd.get_logical_axis_rules() == ()


def fail_under_no_rules():
    with spmd.logical_axis_rules(None):
        assert spmd.get_logical_axis_rules() == ()
        raise ZeroDivisionError


def test_rules_in_force_are_used_and_restored():
    spmd.set_logical_axis_rules([["a", "X"]])
    try:
        assert spmd.get_logical_axis_rules() == (("a", "X"),)
        with spmd.logical_axis_rules((("a", "Y"),)):
            assert spmd.logical_to_mesh_axes(("a",)) == P("Y")
            assert spmd.logical_to_mesh_axes(("a",), (("a", "Z"),)) == P("Z")
        assert spmd.logical_to_mesh_axes(("a",)) == P("X")
        with pytest.raises(ZeroDivisionError):
            fail_under_no_rules()
        assert spmd.get_logical_axis_rules() == (("a", "X"),)
    finally:
        spmd.set_logical_axis_rules(())


def test_rules_belong_to_a_thread():
    seen = []
    with spmd.logical_axis_rules((("a", "X"),)):
        thread = threading.Thread(
            target=lambda: seen.append(spmd.get_logical_axis_rules())
        )
        thread.start()
        thread.join()
    assert seen == [()]
