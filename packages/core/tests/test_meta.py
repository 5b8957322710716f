"""Boxes: unboxing, replacing, and axes that come and go."""

import jax
import numpy as np
import pytest

from batiste.core import meta, struct
from batiste.core.frozen_dict import FrozenDict, freeze


class Box(struct.PyTreeNode, meta.AxisMetadata):
    value: object
    log: tuple = struct.field(pytree_node=False, default=())

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self.replace(log=(*self.log, ("add", index, params["name"])))

    def remove_axis(self, index, params):
        return self.replace(log=(*self.log, ("remove", index, params["name"])))


TREE = {"a": Box(Box(1)), "b": 2, "c": Box({"q": Box(3)}), "d": None}
UNBOXED = {"a": 1, "b": 2, "c": {"q": 3}, "d": None}


def test_interface_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        meta.AxisMetadata()  # type: ignore[abstract]
    assert meta.is_axis_metadata(Box(1))
    assert not meta.is_axis_metadata({"a": Box(1)})


def test_unbox_and_replace_are_inverse():
    assert meta.unbox(TREE) == UNBOXED
    assert meta.replace_boxed(TREE, UNBOXED) == TREE
    updates = {"a": 5, "b": 6, "c": {"q": 9}, "d": None}
    assert meta.replace_boxed(TREE, updates) == {
        "a": Box(Box(5)),
        "b": 6,
        "c": Box({"q": Box(9)}),
        "d": None,
    }
    frozen = freeze({"z": {"y": Box(2)}})
    assert meta.unbox(frozen) == {"z": {"y": 2}}
    assert type(meta.unbox(frozen)) is FrozenDict


@pytest.mark.parametrize("leaf", [1, 1.5, True, np.ones(2), np.float32(1), "text"])
def test_leaves_pass_unchanged(leaf):
    assert meta.unbox(leaf) is leaf
    assert meta.add_axis(leaf, 0, {}) is leaf
    assert meta.replace_boxed(leaf, 3) == 3
    assert meta.replace_boxed(Box(leaf), 3) == Box(3)


def test_jax_arrays_and_tracers_pass_unchanged():
    array = jax.numpy.ones(2)
    assert meta.unbox(array) is array
    assert meta.unbox(Box(array)) is array

    @jax.jit
    def inside(x):
        assert meta.unbox(x) is x
        assert meta.unbox(Box(x)) is x
        return x

    inside(array)
    jax.grad(lambda x: inside(x).sum())(array)
    assert meta.unbox(None) is None


def test_trees_are_copied():
    tree = {"a": 1}
    assert meta.unbox(tree) == tree
    assert meta.unbox(tree) is not tree


def test_updates_may_have_more_structure_but_no_other():
    assert meta.replace_boxed({"a": Box(1), "b": 2}, {"a": {"z": 1}, "b": [2]}) == {
        "a": Box({"z": 1}),
        "b": [2],
    }
    with pytest.raises(ValueError, match="b"):
        meta.replace_boxed({"a": Box(1), "b": 2}, {"a": 5})


def test_replacing_does_not_unbox_what_is_replaced():
    class Busy(Box):
        def unbox(self):
            raise AssertionError("work on a value that is not needed")

    assert meta.replace_boxed({"a": Busy(1)}, {"a": 2}) == {"a": Busy(2)}
    assert meta.replace_boxed(Busy(Box(1)), 2) == Busy(Box(2))

    class Empty(Box):
        value: object = struct.field(pytree_node=False)

    assert meta.replace_boxed(Empty(1), 2) == Empty(2)


def test_axes():
    added = meta.add_axis(TREE, 0, {"name": "layers"})
    assert added["a"] == Box(Box(1), (("add", 0, "layers"),))
    assert added["b"] == 2
    removed = meta.remove_axis({"a": Box(1)}, -1, {"name": "x"})
    assert removed == {"a": Box(1, (("remove", -1, "x"),))}
    assert meta.map_axis_meta(lambda box: "box", TREE) == {
        "a": "box",
        "b": 2,
        "c": "box",
        "d": None,
    }


def test_boxes_pass_through_transforms():
    doubled = jax.jit(lambda box: box.replace_boxed(box.unbox() * 2))(Box(3.0))
    assert isinstance(doubled, Box)
    assert doubled.unbox() == 6.0
