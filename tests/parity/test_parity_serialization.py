"""State dicts and bytes, compared with the released flax."""

import collections
import json
from pathlib import Path

import flax
import flax.serialization as theirs
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import linen as flax_linen
from flax import struct as flax_struct
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import batiste.serialization as ours
from batiste.core import frozen_dict, struct
from batiste.spmd import Partitioned

Point = collections.namedtuple("Point", "x y")
OLD_POINT = {"name": "P", "fields": {"0": "x", "1": "y"}, "values": {"0": 5, "1": 6}}

RECORDED = (
    Path(__file__)
    .parents[2]
    .joinpath("packages/serialization/tests/data/recorded.json")
)
FLOATS = ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "int4"]


def assert_same_tree(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same_tree(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_tree(one, other)
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    else:
        assert repr(found) == repr(expected)


arrays = hnp.arrays(
    st.sampled_from("? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split()),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
leaves = (
    arrays
    | arrays.filter(lambda a: a.dtype.itemsize <= 4).map(jnp.asarray)
    | arrays.map(lambda a: a.T)
    | arrays.filter(lambda a: a.size).map(lambda a: a.reshape(-1)[0])
    | st.sampled_from(FLOATS).map(lambda n: np.ones(3, getattr(ml_dtypes, n)))
    | st.sampled_from(FLOATS).map(lambda n: getattr(ml_dtypes, n)(1))
    | st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.complex_numbers()
    | st.text(max_size=40)
    | st.binary(max_size=40)
)
keys = st.text(max_size=5) | st.integers(0, 20)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(keys, inner, max_size=4)
        | st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.builds(Point, inner, inner)
    ),
    max_leaves=12,
)
plain_trees = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.lists(inner, max_size=4)
    ),
    max_leaves=12,
)


def unique_keys(tree):
    if isinstance(tree, dict):
        return len({str(k) for k in tree}) == len(tree) and all(
            unique_keys(v) for v in tree.values()
        )
    return not isinstance(tree, (list, tuple)) or all(map(unique_keys, tree))


@settings(max_examples=400, deadline=None)
@given(trees.filter(unique_keys))
def test_states_and_bytes(tree):
    data = theirs.to_bytes(tree)
    assert ours.to_bytes(tree) == data
    assert_same_tree(ours.to_state_dict(tree), theirs.to_state_dict(tree))
    assert_same_tree(ours.msgpack_restore(data), theirs.msgpack_restore(data))
    assert_same_tree(ours.from_bytes(tree, data), theirs.from_bytes(tree, data))


@settings(max_examples=200, deadline=None)
@given(plain_trees, st.booleans())
def test_msgpack_serialize(tree, in_place):
    # Theirs changes the tree when in_place.
    data = ours.msgpack_serialize(tree, in_place)
    assert data == theirs.msgpack_serialize(tree, in_place)
    assert_same_tree(ours.msgpack_restore(data), theirs.msgpack_restore(data))


@settings(max_examples=200, deadline=None)
@given(plain_trees, st.integers(1, 40))
def test_chunks(tree, limit):
    old, theirs.MAX_CHUNK_SIZE = theirs.MAX_CHUNK_SIZE, limit
    try:
        stated = theirs.to_bytes(tree)
        plain = theirs.msgpack_serialize(tree)
    finally:
        theirs.MAX_CHUNK_SIZE = old
    assert ours.to_bytes(tree, max_chunk_size=limit) == stated
    assert ours.msgpack_serialize(tree, max_chunk_size=limit) == plain
    assert_same_tree(ours.msgpack_restore(stated), theirs.msgpack_restore(stated))


def test_the_chunk_limit_is_theirs():
    assert ours.MAX_CHUNK_SIZE == theirs.MAX_CHUNK_SIZE


def test_containers_of_linen():
    theirs_tree = flax.core.freeze({"params": {"b": jnp.ones(2), "a": {"c": 1}}})
    ours_tree = frozen_dict.freeze({"params": {"b": jnp.ones(2), "a": {"c": 1}}})
    assert ours.to_bytes(ours_tree) == theirs.to_bytes(theirs_tree)
    restored = ours.from_bytes(ours_tree, theirs.to_bytes(theirs_tree))
    assert isinstance(restored, frozen_dict.FrozenDict)
    expected = theirs.from_bytes(theirs_tree, theirs.to_bytes(theirs_tree))
    assert restored.unfreeze().keys() == expected.unfreeze().keys()

    @flax_struct.dataclass
    class Theirs:
        b: object
        a: object
        name: str = flax_struct.field(pytree_node=False, default="x")

    @struct.dataclass
    class Ours:
        b: object
        a: object
        name: str = struct.field(pytree_node=False, default="x")

    data = theirs.to_bytes({"s": Theirs([jnp.ones(2)], np.float32(1))})
    assert ours.to_bytes({"s": Ours([jnp.ones(2)], np.float32(1))}) == data
    found = ours.from_bytes({"s": Ours([0], 0, name="mine")}, data)["s"]
    assert type(found) is Ours
    assert found.name == "mine"
    assert found.a == 1

    box = flax_linen.Partitioned(jnp.ones((2, 2)), ("x", None))
    data = theirs.to_bytes({"w": box})
    assert ours.to_bytes({"w": Partitioned(jnp.ones((2, 2)), ("x", None))}) == data


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adamw(1e-3),
        optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(1.0, 10))),
        optax.masked(optax.rmsprop(0.1), {"a": True, "b": False}),
        optax.multi_transform(
            {"x": optax.adam(1e-3), "y": optax.set_to_zero()}, {"a": "x", "b": "y"}
        ),
        optax.inject_hyperparams(optax.adam)(learning_rate=1e-3),
        optax.MultiSteps(optax.adafactor(1e-3), 2).gradient_transformation(),
    ],
    ids=str,
)
def test_states_of_optax(optimizer):
    state = optimizer.init({"a": jnp.ones((3, 2)), "b": jnp.zeros(2)})
    data = theirs.to_bytes(state)
    assert ours.to_bytes(state) == data
    found = ours.from_bytes(state, data)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


def test_partials():
    partial = jax.tree_util.Partial(max, jnp.ones(2), key=3)
    state = theirs.to_state_dict(partial)
    assert_same_tree(ours.to_state_dict(partial), state)
    new = {"args": {"0": 5}, "keywords": {"key": 6}}
    found, expected = (m.from_state_dict(partial, new) for m in (ours, theirs))
    assert type(found) is type(expected)
    assert found.func is max
    assert (found.args, found.keywords) == (expected.args, expected.keywords)


@pytest.mark.parametrize(
    ("target", "state"),
    [
        ({"a": 1}, {}),
        ({"a": {"b": 1}}, {"a": {}}),
        ([1, 2], {"0": 1}),
        ([1], {"0": 1, "1": 2}),
        ((1, 2), {"0": 1, "1": 2, "2": 3}),
        (Point(1, 2), {"x": 1}),
        (Point(1, 2), {"x": 1, "y": 2, "z": 3}),
        ({1: 0}, {1: 0}),
    ],
)
def test_states_that_both_refuse(target, state):
    for module in (ours, theirs):
        with pytest.raises(ValueError):
            module.from_state_dict(target, state)


@pytest.mark.parametrize(
    ("target", "state"),
    [
        ({"a": 1}, {"a": 2, "b": 3}),
        (1, {"a": 2}),
        (None, 3),
        (np.zeros(2), np.ones(3)),
        (Point(1, 2), OLD_POINT),
        ({2: 0, "b": ()}, {"b": {}, "2": 1}),
    ],
)
def test_states_that_both_take(target, state):
    found, expected = (m.from_state_dict(target, state) for m in (ours, theirs))
    assert_same_tree(found, expected)


def test_paths_and_registration():
    seen = {ours: [], theirs: []}
    for module in (ours, theirs):

        class Probe:
            pass

        def restore(target, state, module=module):
            seen[module].append(module.current_path())
            return module.from_state_dict({"v": 0}, state, name="inner")["v"]

        module.register_serialization_state(Probe, lambda p: {"v": 1}, restore)
        with pytest.raises(ValueError):
            module.register_serialization_state(Probe, lambda p: {}, restore)
        tree = {"a": [Probe()]}
        assert module.to_state_dict(tree) == {"a": {"0": {"v": 1}}}
        assert module.from_state_dict(tree, {"a": {"0": {"v": 5}}}) == {"a": [5]}
        module.from_state_dict(tree, {"a": {"0": {"v": 5}}}, name="root")
        assert module.current_path() == ""
    assert seen[ours] == seen[theirs] == ["./a/0", "root/a/0"]


@pytest.mark.parametrize(
    "value",
    [{}, [], (), Point(1, 2), Point, None, 1, 1.5, "s", b"s", 1j, np.zeros(1), set()]
    + [dict, list, tuple, int, np.ndarray, object, np.float32(1), jnp.ones(1)],
    ids=repr,
)
def test_is_serializable(value):
    assert ours.is_serializable(value) == theirs.is_serializable(value)


def test_recorded_bfloat16():
    records = json.loads(RECORDED.read_text("utf-8"))["recorded"]
    (record,) = (r for r in records if r["tree"] == "bfloat16")
    tree = {
        "array": jnp.array([0.5, 1, -2], jnp.bfloat16),
        "matrix": jnp.ones((1, 2), jnp.bfloat16),
    }
    data = bytes.fromhex(record["bytes"])
    assert ours.to_bytes(tree) == theirs.to_bytes(tree) == data
    assert_same_tree(ours.msgpack_restore(data), theirs.msgpack_restore(data))


def test_each_reads_the_files_of_the_other(tmp_path):
    tree = {"params": {"kernel": jnp.ones((3, 4)), "bias": np.zeros(4)}, "step": 3}
    path = tmp_path / "state.msgpack"
    ours.serialize(tree, path)
    found = theirs.from_bytes(tree, path.read_bytes())
    assert_same_tree(ours.restore(path, tree), found)
    path.write_bytes(theirs.to_bytes(tree))
    assert_same_tree(ours.restore(path, tree), found)
