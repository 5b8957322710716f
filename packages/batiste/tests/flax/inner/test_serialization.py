"""Programs that write bytes themselves, by the steps of the release's own."""

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import pytest

VALUES = {
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "bfloat16": np.ones(2, jnp.bfloat16),
    "empty": np.zeros((0, 2), np.int8),
    "scalar": np.float32(2),
    "complex": 1 + 2j,
    "of jax": jnp.arange(3),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_metric_writer_packs_as_the_release_does(flax, name):
    from flax.serialization import _msgpack_ext_pack, _msgpack_ext_unpack

    tree = {"step": 3, "value": VALUES[name], "text": "a"}
    packed = msgpack.packb(tree, default=_msgpack_ext_pack, strict_types=True)
    assert packed == flax.serialization.msgpack_serialize(tree, in_place=True)
    again = msgpack.unpackb(packed, ext_hook=_msgpack_ext_unpack, raw=False)
    np.testing.assert_array_equal(again["value"], np.asarray(tree["value"]))
    assert again["step"] == 3


def test_what_is_no_array_stays(flax):
    from flax.serialization import _msgpack_ext_pack, _msgpack_ext_unpack

    for value in (3, "a", (1, 2), object):
        assert _msgpack_ext_pack(value) is value
    assert _msgpack_ext_unpack(77, b"x") == msgpack.ExtType(77, b"x")


@pytest.mark.parametrize("name", ["array", "bfloat16", "empty", "of jax"])
def test_arrays_to_bytes_and_back(flax, name):
    from flax.serialization import _ndarray_from_bytes, _ndarray_to_bytes

    data = _ndarray_to_bytes(VALUES[name])
    again = _ndarray_from_bytes(data)
    np.testing.assert_array_equal(again, np.asarray(VALUES[name]))
    assert again.dtype == VALUES[name].dtype
    assert isinstance(data, bytes)


def test_the_chunk_size_can_be_set_and_has_effect(flax, monkeypatch):
    from flax import serialization

    tree = {"w": np.arange(10.0), "s": np.ones(2)}
    whole = serialization.to_bytes(tree)
    monkeypatch.setattr(serialization, "MAX_CHUNK_SIZE", 16)
    pieces = serialization.to_bytes(tree)
    assert serialization.MAX_CHUNK_SIZE == 16
    stored = msgpack.unpackb(pieces, strict_map_key=False)
    assert stored["w"]["__msgpack_chunked_array__"] is True
    assert len(stored["w"]["chunks"]) == 5
    assert not isinstance(stored["s"], dict)
    again = serialization.from_bytes(tree, pieces)
    np.testing.assert_array_equal(again["w"], tree["w"])
    monkeypatch.undo()
    assert serialization.MAX_CHUNK_SIZE == 2**30
    assert serialization.to_bytes(tree) == whole


def test_leaves_are_cut_and_joined_in_place(flax, monkeypatch):
    from flax.serialization import (
        _chunk_array_leaves_in_place,
        _unchunk_array_leaves_in_place,
    )

    monkeypatch.setattr(flax.serialization, "MAX_CHUNK_SIZE", 16)
    w = np.arange(10, dtype=np.float32).reshape(2, 5)
    tree = {"a": {"w": w}, "small": np.ones(1), "n": 3}
    assert _chunk_array_leaves_in_place(tree) is tree
    cut = tree["a"]["w"]
    assert cut["shape"] == {"0": 2, "1": 5}
    assert [cut["chunks"][str(i)].tolist() for i in range(3)] == (
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    )
    assert tree["small"].shape == (1,)
    _unchunk_array_leaves_in_place(tree)
    np.testing.assert_array_equal(tree["a"]["w"], w)
    assert _chunk_array_leaves_in_place(w)["__msgpack_chunked_array__"] is True


def test_arrays_of_jax_become_arrays_of_numpy(flax):
    tree = flax.serialization._np_convert_in_place({"a": {"b": jnp.ones(2)}, "n": 1})
    assert type(tree["a"]["b"]) is np.ndarray
    assert tree["n"] == 1


def test_the_registry_tells_which_types_have_a_state(flax):
    from flax.serialization import _STATE_DICT_REGISTRY as registry

    class Mine:
        pass

    assert Mine not in registry
    flax.serialization.register_serialization_state(
        Mine, lambda x: {"a": 1}, lambda x, state: x
    )

    @flax.struct.dataclass
    class State:
        step: int

    for ty in (dict, list, tuple, flax.core.FrozenDict, State, Mine):
        assert ty in registry
        assert ty in list(registry)
    assert flax.training.train_state.TrainState in registry
    assert flax.linen.Partitioned in registry
    for ty in (int, np.ndarray, "dict", type("Sub", (dict,), {})):
        assert ty not in registry
    assert len(registry) == len(list(registry)) == len(set(registry))
    to_state, from_state = registry[Mine]
    assert to_state(Mine()) == {"a": 1}
    to_state, from_state = registry[State]
    assert from_state(State(1), to_state(State(2))) == State(2)
    with pytest.raises(KeyError):
        registry[int]


def test_a_writer_flattens_what_has_a_state(flax):
    from flax.serialization import _STATE_DICT_REGISTRY, to_state_dict

    def flatten(tree, path=()):
        if type(tree) in _STATE_DICT_REGISTRY:
            for name, value in to_state_dict(tree).items():
                yield from flatten(value, (*path, name))
        else:
            yield "/".join(path), tree

    params = flax.linen.Dense(1).init(jax.random.key(0), jnp.ones((1, 2)))
    found = dict(flatten({"opt": [params, (1,)]}))
    assert sorted(found) == (["opt/0/params/bias", "opt/0/params/kernel", "opt/1/0"])
