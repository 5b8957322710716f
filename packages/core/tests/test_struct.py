"""Pytree dataclasses."""

import copy
import dataclasses
import functools
import pickle
from typing import Any, Generic, TypeVar

import jax
import numpy as np
import pytest
from jax.tree_util import GetAttrKey

from batiste.core import struct

T = TypeVar("T")


@struct.dataclass
class Point:
    x: Any
    y: Any = 0
    label: str = struct.field(pytree_node=False, default="")


class Node(struct.PyTreeNode):
    a: Any
    fn: Any = struct.field(pytree_node=False, default=None)


def test_children_and_static_fields():
    point = Point(1, Point(2, 3), "p")
    leaves, structure = jax.tree.flatten(point)
    assert leaves == [1, 2, 3]
    assert jax.tree.unflatten(structure, leaves) == point
    assert structure != jax.tree.structure(Point(1, Point(2, 3), "q"))
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(point)[0]]
    assert paths[1] == (GetAttrKey("y"), GetAttrKey("x"))


def test_transforms():
    traces = []

    @jax.jit
    def double(node):
        traces.append(node.fn)
        return jax.tree.map(lambda v: v * 2, node)

    out = double(Node(np.ones(2), fn="f"))
    assert type(out) is Node
    assert out.fn == "f"
    np.testing.assert_array_equal(out.a, [2.0, 2.0])
    double(Node(np.ones(2), fn="f"))
    double(Node(np.ones(2), fn="g"))
    assert traces == ["f", "g"]
    assert jax.grad(lambda n: n.a**2)(Node(3.0)).a == 6.0


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError, match="assign to field 'x'"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="delete field 'a'"):
        del Node(1).a  # type: ignore[misc]


def test_replace():
    point = Point(1, label="p")
    assert point.replace(x=2) == Point(2, label="p")  # type: ignore[attr-defined]
    assert Node(1).replace(a=2, fn=print) == Node(2, print)
    assert point == Point(1, label="p")
    expected = r'Point has no field "lable" to replace\..*did you mean "label"\?'
    with pytest.raises(TypeError, match=expected):
        point.replace(lable="q")  # type: ignore[attr-defined]


def test_equality_hash_repr_pickle():
    assert Point(1) == Point(1) != Point(2)
    assert hash(Point(1)) == hash(Point(1))
    assert repr(Point(1)) == "Point(x=1, y=0, label='')"
    for value in (Point(1, 2, "p"), Node(1)):
        assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value)


def test_decorating_twice_changes_nothing():
    assert struct.dataclass(Point) is Point
    assert struct.dataclass(Node) is Node


def test_inheritance():
    @struct.dataclass
    class Sub(Point):  # type: ignore[misc]
        z: Any = 5

    class SubNode(Node):
        b: Any = 7

    class Plain(SubNode):
        pass

    assert jax.tree.leaves(Sub(1)) == [1, 0, 5]
    assert jax.tree.leaves(SubNode(1)) == [1, 7] == jax.tree.leaves(Plain(1))
    assert type(jax.tree.map(lambda v: v, Plain(1))) is Plain
    assert isinstance(Plain(1), struct.PyTreeNode)
    assert Plain(1).replace(b=2) == Plain(1, b=2)
    assert Plain(1).__to_state_dict__() == {"a": 1, "b": 7}  # type: ignore


def test_own_methods_are_kept():
    class Logged(struct.PyTreeNode):
        a: Any

        def replace(self, **overrides):
            return super().replace(**{"a": 0, **overrides})

    class SubLogged(Logged):
        b: Any = 1

    assert SubLogged(5).replace(b=2) == SubLogged(0, 2)


def test_arguments_of_dataclass():
    class Kw(struct.PyTreeNode, kw_only=True):
        x: Any = 1
        z: Any

    class Mixed(Kw):
        y: Any

    @struct.dataclass(kw_only=True)
    class Decorated:
        x: Any

    @struct.dataclass(slots=True)
    class Slots:
        x: Any
        y: Any = 2

    assert jax.tree.leaves(Mixed(2, z=4)) == [1, 4, 2]
    assert jax.tree.map(lambda v: v, Mixed(2, z=4)) == Mixed(2, z=4)
    with pytest.raises(TypeError):
        Decorated(1)  # type: ignore[misc]
    assert jax.tree.map(lambda v: v + 1, Slots(1)) == Slots(2, 3)
    assert not hasattr(Slots(1), "__dict__")
    with pytest.raises(TypeError, match=r"Use the decorator"):

        class SlotsNode(struct.PyTreeNode, slots=True):
            x: Any


def test_derived_fields_are_computed_again():
    @struct.dataclass
    class Derived:
        x: Any
        twice: Any = dataclasses.field(init=False)

        def __post_init__(self):
            object.__setattr__(self, "twice", (self.x, self.x))

    mapped = jax.tree.map(lambda v: v + 1, Derived(1))
    assert mapped.twice == (2, 2)
    assert jax.tree.leaves(Derived(1)) == [1]


def test_generic():
    class Box(struct.PyTreeNode, Generic[T]):
        value: T

    assert jax.tree.leaves(Box[int](3)) == [3]
    assert jax.tree.map(lambda v: v + 1, Box("a" and 1)) == Box(2)


def test_field_keeps_metadata():
    assert struct.field().metadata == {"pytree_node": True}
    static = struct.field(pytree_node=False, metadata={"unit": "m"})
    assert static.metadata == {"unit": "m", "pytree_node": False}
    assert struct.field(default_factory=list).default_factory is list

    @struct.dataclass
    class Fields:
        a: Any = dataclasses.field(default=1)
        b: Any = dataclasses.field(default=2, metadata={"pytree_node": False})

    assert jax.tree.leaves(Fields()) == [1]


def test_base_class_has_no_instances():
    with pytest.raises(TypeError, match="make a subclass"):
        struct.PyTreeNode()


def test_closures_as_pytrees():
    class Partial(struct.PyTreeNode):
        fn: Any = struct.field(pytree_node=False)
        args: Any

        def __call__(self, *args):
            return self.fn(*self.args, *args)

    call = jax.jit(lambda f, x: f(x))
    assert call(Partial(fn=lambda a, b: a - b, args=(3.0,)), 1.0) == 2.0
    assert functools.reduce(lambda f, x: f(x), [Partial(max, (1,)), 2]) == 2  # type: ignore


def test_state_dict_protocol():
    node = Node({"w": 1}, fn=print)
    state = node.__to_state_dict__()  # type: ignore[attr-defined]
    assert state == {"a": {"w": 1}}
    restored = node.__from_state_dict__({"a": 5})  # type: ignore[attr-defined]
    assert restored == Node(5, fn=print)

    @struct.dataclass
    class Own:
        a: Any

        def __to_state_dict__(self):
            return {"A": self.a}

    assert Own(1).__to_state_dict__() == {"A": 1}

    @struct.dataclass
    class Deeper(Own):
        b: Any

    assert Deeper(1, 2).__to_state_dict__() == {"A": 1}


def test_each_struct_dataclass_has_the_protocol_itself():
    class Between(Node):
        pass

    @struct.dataclass
    class Last(Between):
        c: Any = 3

    # So that what is registered for `Between` does not stand in for `Last`.
    assert "__to_state_dict__" in vars(Last)
    assert "__from_state_dict__" in vars(Last)
    assert Last(1).__to_state_dict__() == {"a": 1, "c": 3}  # type: ignore


def test_programs_know_such_classes_by_an_attribute():
    @struct.dataclass
    class Point:
        x: float

    class Node(struct.PyTreeNode):
        x: float

    assert all(hasattr(cls, "_flax_dataclass") for cls in (Point, Node, Point(1.0)))
    assert not hasattr(struct.PyTreeNode, "_flax_dataclass")
