import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    from_bytes,
    msgpack_restore,
    msgpack_serialize,
    to_bytes,
)


def test_serialize_sorts_unless_in_place():
    tree = {"b": 1, "a": {"z": 1, "c": 2}}
    assert msgpack_serialize(tree) == b"\x82\xa1a\x82\xa1c\x02\xa1z\x01\xa1b\x01"
    expected = b"\x82\xa1b\x01\xa1a\x82\xa1z\x01\xa1c\x02"
    assert msgpack_serialize(tree, in_place=True) == expected
    assert to_bytes(tree) == expected


def test_trees_are_not_changed():
    array = np.arange(10)
    tree = {"b": [array], "a": {"c": array}}
    for in_place in (True, False):
        msgpack_serialize(tree, in_place, max_chunk_size=8)
        assert list(tree) == ["b", "a"]
        assert tree["b"][0] is array
        assert tree["a"]["c"] is array


def test_lists_stay_lists_and_keys_stay_what_they_are():
    tree = {1: [1, [2]], None: {2.5: (3,)}, b"k": {True: {}}}
    found = msgpack_restore(msgpack_serialize(tree, in_place=True))
    assert found == {1: [1, [2]], None: {2.5: [3]}, b"k": {True: {}}}


def test_from_bytes_fits_the_target():
    data = to_bytes({"a": (np.arange(2), 3)})
    found = from_bytes({"a": (0, 0)}, data)
    assert type(found["a"]) is tuple
    assert found["a"][1] == 3
    assert from_bytes(None, data)["a"]["1"] == 3
    with pytest.raises(SerializationError) as info:
        from_bytes({"a": [0, 0, 0]}, data)
    assert info.value.path == "a"
    assert info.value.offset is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_like_inputs(kind):
    data = to_bytes({"a": np.arange(3)})
    assert msgpack_restore(kind(data))["a"].tolist() == [0, 1, 2]


def test_input_that_could_change_is_copied():
    data = bytearray(to_bytes({"a": np.zeros(3, "u1")}))
    found = msgpack_restore(data)["a"]
    data[-3:] = b"\1\1\1"
    assert found.tolist() == [0, 0, 0]
    strided = np.frombuffer(to_bytes([1, 2]), np.uint8).repeat(2)[::2]
    assert msgpack_restore(strided.data) == {"0": 1, "1": 2}


def test_input_that_is_no_bytes_is_a_type_error():
    text: Any = "text"
    with pytest.raises(TypeError, match="bytes-like"):
        msgpack_restore(text)


def test_imports_neither_jax_nor_rich():
    program = (
        "import sys, batiste.serialization; "
        "heavy = {'jax', 'ml_dtypes', 'rich', 'flax', 'optax'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
