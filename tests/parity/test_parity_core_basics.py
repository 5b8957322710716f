"""The leaves of the core against the released flax, on generated inputs."""

import importlib
import inspect
import pickle
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batiste import errors
from batiste.core import frozen_dict as ours
from batiste.core import meta, struct

# By name, as the type checker runs where flax is not installed.
theirs: Any = importlib.import_module("flax.core.frozen_dict")
their_errors: Any = importlib.import_module("flax.errors")
their_meta: Any = importlib.import_module("flax.core.meta")
their_serialization: Any = importlib.import_module("flax.serialization")
their_struct: Any = importlib.import_module("flax.struct")

keys = st.text("abcAB_0.", max_size=3)
leaves = st.integers() | st.lists(st.integers(), max_size=2) | st.none() | st.text()
trees = st.recursive(
    st.dictionaries(keys, leaves, max_size=3),
    lambda inner: st.dictionaries(keys, inner | leaves | st.tuples(inner), max_size=4),
    max_leaves=15,
)
many = settings(max_examples=200, deadline=None)


@many
@given(trees, trees)
def test_frozen_dict(tree, other):
    a, b = ours.freeze(tree), theirs.freeze(tree)
    assert repr(a) == repr(b)
    assert a.pretty_repr(2) == b.pretty_repr(2)
    assert repr(ours.unfreeze(a)) == repr(theirs.unfreeze(b))
    assert repr(ours.unfreeze(tree)) == repr(theirs.unfreeze(tree))
    assert repr(a.copy(other)) == repr(b.copy(other))
    assert repr(ours.copy(tree, other)) == repr(theirs.copy(tree, other))
    assert list(a) == list(b)
    assert len(a) == len(b)
    assert repr(a.keys()) == repr(b.keys())
    assert repr(a.values()) == repr(b.values())
    assert repr(list(a.items())) == repr(list(b.items()))
    assert repr(pickle.loads(pickle.dumps(a))) == repr(pickle.loads(pickle.dumps(b)))
    for key in tree:
        assert repr(a.pop(key)) == repr(b.pop(key))
        assert repr(ours.pop(tree, key)) == repr(theirs.pop(tree, key))
        assert repr(a[key]) == repr(b[key])
        assert repr(a.get(key)) == repr(b.get(key))
    assert ours.pretty_repr(tree) == theirs.pretty_repr(tree)
    assert a == tree
    assert (a == ours.freeze(other)) == (b == theirs.freeze(other))


@many
@given(trees)
def test_frozen_dict_as_a_pytree(tree):
    a, b = ours.freeze(tree), theirs.freeze(tree)
    flat_a, structure_a = jax.tree_util.tree_flatten_with_path(a)
    flat_b, structure_b = jax.tree_util.tree_flatten_with_path(b)
    assert flat_a == flat_b
    assert str(structure_a) == str(structure_b)
    assert repr(jax.tree.map(str, a)) == repr(jax.tree.map(str, b))


@many
@given(trees, trees)
def test_state_dict_of_a_frozen_dict(tree, other):
    a, b = ours.freeze(tree), theirs.freeze(tree)
    state = their_serialization.to_state_dict(b)
    shallow = a.__to_state_dict__()
    assert list(shallow) == list(state)
    assert repr(a.__from_state_dict__(shallow)) == repr(
        their_serialization.from_state_dict(b, state)
    )


def test_state_dict_of_other_keys():
    tree = {1: {2: 3}, "a": 4, (0, 1): 5, None: 6}
    a, b = ours.freeze(tree), theirs.freeze(tree)
    assert list(a.__to_state_dict__()) == list(their_serialization.to_state_dict(b))
    for frozen, save in (
        (ours.freeze({1: 0, "1": 0}), lambda x: x.__to_state_dict__()),
        (theirs.freeze({1: 0, "1": 0}), their_serialization.to_state_dict),
    ):
        with pytest.raises(ValueError):
            save(frozen)


def make_classes(module: Any) -> list[Any]:
    @module.dataclass
    class Point:
        x: Any
        y: Any = 0
        label: str = module.field(pytree_node=False, default="p")

    class Node(module.PyTreeNode, kw_only=True):  # type: ignore[misc]
        a: Any = 1
        b: Any

    class Sub(Node):
        c: Any = module.field(pytree_node=False, metadata={"unit": "m"}, default=3)

    return [Point, Node, Sub]


@pytest.mark.parametrize("i", range(3))
def test_struct(i):
    args: tuple[dict[str, Any], ...] = (
        {"x": 1, "y": {"k": 2}},
        {"b": (1, 2)},
        {"b": 2, "c": 7},
    )
    a = make_classes(struct)[i](**args[i])
    b = make_classes(their_struct)[i](**args[i])
    assert repr(a) == repr(b)
    flat_a, structure_a = jax.tree_util.tree_flatten_with_path(a)
    flat_b, structure_b = jax.tree_util.tree_flatten_with_path(b)
    assert flat_a == flat_b
    assert str(structure_a) == str(structure_b)
    assert repr(jax.tree.map(str, a)) == repr(jax.tree.map(str, b))
    assert list(a.__to_state_dict__()) == list(their_serialization.to_state_dict(b))
    for name in args[i]:
        assert repr(a.replace(**{name: 9})) == repr(b.replace(**{name: 9}))
        for value in (a, b):
            with pytest.raises(AttributeError) as caught:
                setattr(value, name, 9)
            assert str(caught.value) == f"cannot assign to field '{name}'"


def error_classes():
    found = dict(inspect.getmembers(their_errors, inspect.isclass))
    # Raised by nnx alone.
    return {name: cls for name, cls in found.items() if name != "TraceContextError"}


@pytest.mark.parametrize("name", error_classes())
def test_errors_have_the_same_parameters(name):
    cls, our_cls = error_classes()[name], getattr(errors, name)
    our_parameters = list(inspect.signature(our_cls.__init__).parameters.values())
    for parameter, our in zip(
        inspect.signature(cls.__init__).parameters.values(),
        our_parameters,
        strict=False,
    ):
        assert (parameter.name, parameter.default) == (our.name, our.default)
    extra = our_parameters[len(inspect.signature(cls.__init__).parameters) :]
    assert all(e.kind is e.KEYWORD_ONLY and e.default is not e.empty for e in extra)


def make_box(struct_module: Any, meta_module: Any) -> Any:
    class Box(struct_module.PyTreeNode, meta_module.AxisMetadata):
        value: Any
        log: tuple = struct_module.field(pytree_node=False, default=())

        def unbox(self):
            return self.value

        def replace_boxed(self, val):
            return self.replace(value=val)

        def add_axis(self, index, params):
            return self.replace(log=(*self.log, index, params["k"]))

        def remove_axis(self, index, params):
            return self.replace(log=(*self.log, -index, params["k"]))

    return Box


def boxed(tree, box):
    """Boxes the values at keys with a capital letter."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: box(boxed(value, box)) if "A" in key or "B" in key else boxed(value, box)
        for key, value in tree.items()
    }


@many
@given(trees)
def test_meta(tree):
    a = boxed(tree, make_box(struct, meta))
    b = boxed(tree, make_box(their_struct, their_meta))
    assert repr(meta.unbox(a)) == repr(their_meta.unbox(b))
    updates = jax.tree.map(str, tree)
    text = repr(meta.replace_boxed(a, updates))
    assert text == repr(their_meta.replace_boxed(b, updates))
    for name in ("add_axis", "remove_axis"):
        text = repr(getattr(meta, name)(a, 1, {"k": "x"}))
        assert text == repr(getattr(their_meta, name)(b, 1, {"k": "x"}))


def test_arrays_in_repr():
    tree = {"a": {"w": np.ones((2, 2, 2), "float32"), "n": jax.numpy.ones((3, 3))}}
    assert repr(ours.freeze(tree)) == repr(theirs.freeze(tree))
