"""Tests of batiste.core.scope.tree: what the scopes of one tree share."""

import jax

from batiste.core import Scope, apply, lift
from batiste.core.scope.tree import Origin, Tree


def test_all_scopes_of_a_tree_share_it():
    root = Scope({"params": {}}, rngs={"dropout": jax.random.key(0)}, mutable=True)
    child = root.push("a").push("b")
    assert child.tree is root.tree is root.rewound().tree
    assert child.tree is not Scope({}).tree
    child.put_variable("params", "w", 1)
    assert root.tree.variables == {"params": {"a": {"b": {"w": 1}}}}
    assert list(root.tree.rngs) == ["dropout"]


def test_what_is_mutable_is_found_out_once():
    root = Scope({}, mutable=["state"])
    assert root.push("a").is_mutable_collection("state")
    assert not root.is_mutable_collection("params")
    assert root.tree.mutable == {"state": True, "params": False}


def test_running_lifted_functions_are_counted():
    counts = []

    def model(scope):
        lifted = lift.checkpoint(lambda inner: counts.append(len(scope.tree.lifted)))
        lifted(scope)
        counts.append(len(scope.tree.lifted))

    apply(model)({})
    assert counts == [1, 0]


def test_a_tree_tells_which_transform_keeps_what():
    streams, collections = ("params", "dropout"), ("params", "state")
    outer = Origin("scan", True, streams, collections, ({"batch"},), None)
    inner = Origin("jit", "state", ("params",), ("params",), ({"state"},), outer)
    tree = Tree({"params": {}}, {}, origin=inner)
    assert tree.keeps_changes("state") == "jit"
    assert tree.keeps_changes("cache") == "scan"
    assert tree.keeps_stream("params") == "jit"
    assert tree.keeps_stream("dropout") == "scan"
    assert tree.keeps_stream("noise") is None
    assert tree.keeps_collection("params") == "jit"
    assert tree.keeps_collection("state") == "scan"
    # It could be made outside of the scan; what is let in is kept out by none.
    assert tree.keeps_collection("cache") == "scan"
    assert tree.keeps_collection("batch") is None
    assert tree.given_streams() == ["dropout", "params"]
    assert tree.mutable_outside() == ["state", True]
    root = Tree({}, {"a": None})
    assert root.given_streams() == ["a"]
    assert root.mutable_outside() == []
    assert root.keeps_changes("state") is None
