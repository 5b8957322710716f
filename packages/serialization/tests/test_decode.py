import tracemalloc

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import (
    SerializationError,
    msgpack_restore,
    msgpack_serialize,
    to_bytes,
)
from batiste.serialization.decode import Views, decode


def ext(code, *items) -> bytes:
    return pack(msgpack.ExtType(code, pack(items)))


def pack(tree) -> bytes:
    return msgpack.Packer().pack(tree)


def array(shape, dtype, data):
    return ext(1, shape, dtype, data)


def chunked(**parts):
    return pack({"__msgpack_chunked_array__": True, **parts})


FLOATS = np.arange(2, dtype="f4").tobytes()
OTHER_PIECE = msgpack.ExtType(1, pack(([1], "float64", FLOATS)))
PIECE = msgpack.ExtType(1, pack(([2], "float32", FLOATS)))


@pytest.mark.parametrize(
    ("data", "text", "path", "offset"),
    [
        (b"", r"The data ends .* at least 1\)", "", 0),
        (b"\x92\x02", "The data ends", "", 0),
        (b"\x81\xa1a\xcb\0", r"at least 7\)", "a", 3),
        (b"\x81\xa1a\xda\0", r"at least 1\)", "a", 3),
        (b"\x81\xa5ab", r"at least 3\)", "", 1),
        (b"\xdf\xff\xff\xff\xff", r"at least 8589934590\)", "", 0),
        (b"\xdd\xff\xff\xff\xff\x01", r"at least 4294967294\)", "", 0),
        (b"\xc6\xff\xff\xff\xff\x01", r"at least 4294967294\)", "", 0),
        (b"\x91\xc1", "The byte 0xc1 begins nothing", "0", 1),
        (b"\x01\x02\x03", "but 2 more bytes follow", "", 1),
        (b"\x91\xa2\xff\xfe", "not UTF-8", "0", 1),
        (b"\x82\xa1a\x01\xa1a\x02", "The key 'a' appears twice", "", 4),
        (b"\x81\x90\x01", "A key of a dict here is of type 'list'", "", 1),
        (b"\x81\x81\x01\x02\x01", "A key of a dict here is of type 'dict'", "", 1),
        (b"\x81" + array([2], "float32", FLOATS) + b"\x01", "'ndarray'", "", 1),
        (b"\xd4\x05a", "The extension type 5 is not", "", 0),
        (b"\x91\xd6\xff\0\0\0\x01", "The extension type -1 is not", "0", 1),
        (b"\x91" * 1001 + b"\x01", "deeper than 1000 levels", None, 1000),
        (array([3], "float32", FLOATS), "3 elements of 4 bytes, but 8", "", 0),
        (array([-2], "float32", FLOATS), "A length in the shape", "", 0),
        (array([2.0], "float32", FLOATS), "A length in the shape", "", 0),
        (array([True], "uint8", b"a"), "A length in the shape", "", 0),
        (array(2, "float32", FLOATS), "shape of an array is not a list", "", 0),
        (array([1] * 65, "uint8", b"a"), "shape of an array is not a list", "", 0),
        (array([2**63, 0], "uint8", b""), "No array can have the shape", "", 0),
        (array([2**62, 4, 0], "uint8", b""), "No array can have the shape", "", 0),
        (array([[2]], "float32", FLOATS), "This array has a wrong item", "", 0),
        (array([2], 5, FLOATS), "The dtype of an array is not a string", "", 0),
        (array([2], "float32", 5), "The elements of an array are not bytes", "", 0),
        (array([1], "object", FLOATS), "element type 'object' is not one", "", 0),
        (array([1], b"\xff", FLOATS), "not UTF-8", "", 0),
        (array([1], "str32", b"\0\0\x11\0"), "what are no characters", "", 0),
        (ext(1, [2], "float32", FLOATS, 1), "not a list of 3 items", "", 0),
        (ext(3, [2], "float32", FLOATS), "A NumPy scalar here has a shape", "", 0),
        (ext(2, 1.0), "not a list of 2 items", "", 0),
        (ext(2, 1.0, "2"), "parts of a complex number are not numbers", "", 0),
        (ext(2, 1.0, True), "parts of a complex number are not numbers", "", 0),
        (b"\xd5\x02\x92\x01", "The data ends", "", 2),
        (b"\xc7\x04\x02\x92\x01\x02\x03", "followed by 1 bytes within", "", 0),
        (chunked(), "must hold the shape and the pieces", "", 0),
        (chunked(shape={}, chunks={}), "must hold the shape and the pieces", "", 0),
        (chunked(shape={"0": 2}, chunks={"1": PIECE}), "must hold the sha", "", 0),
        (chunked(shape={"0": -2}, chunks={"0": PIECE}), "must hold the sha", "", 0),
        (chunked(shape={"0": 2}, chunks={"0": b"ab"}), "must hold the sha", "", 0),
        (chunked(shape={"0": 3}, chunks={"0": PIECE}), "have 2 elements in all", "", 0),
        (
            chunked(shape={"0": 4}, chunks={"0": PIECE, "1": OTHER_PIECE}),
            "differ in their dtype",
            "",
            0,
        ),
    ],
)  # fmt: skip
def test_errors_name_path_and_offset(data, text, path, offset):
    with pytest.raises(SerializationError, match=text) as info:
        msgpack_restore(data)
    assert info.value.offset == offset
    assert path is None or info.value.path == path
    assert len(str(info.value)) < 3000


def test_errors_inside_name_the_branch():
    bad = b"\x81\xa6params\x92\x01\x81\xa4bias" + array([3], "float32", FLOATS)
    with pytest.raises(SerializationError) as info:
        msgpack_restore(bad)
    assert info.value.path == "params/1/bias"
    assert info.value.offset == bad.index(array([3], "float32", FLOATS))
    bad = b"\x81\xa6params" + chunked(shape={}, chunks={})
    with pytest.raises(SerializationError) as info:
        msgpack_restore(bad)
    assert (info.value.path, info.value.offset) == ("params", 8)


def test_reads_what_others_may_write():
    assert msgpack_restore(b"\xca?\x80\x00\x00") == 1.0
    assert msgpack_restore(b"\xd9\x01a") == "a"
    assert msgpack_restore(b"\xde\x00\x01\xa1a\xdc\x00\x01\x05") == {"a": [5]}
    assert msgpack_restore(b"\x82\x01\xc0\xc4\x01a\xc2") == {1: None, b"a": False}
    assert msgpack_restore(ext(2, 1, 2)) == 1 + 2j
    for name in ("float32", b"float32", "f4", "<f4"):
        found = msgpack_restore(array([2], name, FLOATS))
        np.testing.assert_array_equal(found, np.arange(2, dtype="f4"))
    big = msgpack_restore(array([1], ">i2", b"\x01\x00"))
    assert big[0] == 256
    listed = chunked(shape=[2], chunks=[PIECE])
    np.testing.assert_array_equal(msgpack_restore(listed), np.arange(2, dtype="f4"))


def test_scalars_do_not_hold_the_input():
    data = memoryview(to_bytes(np.float32(1.5)))
    value = decode(data)
    assert value == np.float32(1.5)
    assert type(value) is np.float32
    assert getattr(value, "base", None) is None


def test_views_and_copies():
    data = to_bytes({"a": np.arange(3)})
    view = msgpack_restore(data)["a"]
    assert np.shares_memory(view, np.frombuffer(data, np.uint8))
    assert not view.flags.writeable
    copy = decode(memoryview(data), Views(memoryview(data), copy=True))["a"]
    assert copy.flags.writeable
    assert copy.flags.owndata
    assert copy.flags.aligned


TREE = {
    "params": {"a": np.arange(4.0), "b/c": [1, {"d": 2}]},
    "step": 7,
    1: {"x": True},
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), None),
        (("step",), 7),
        (("params", "b/c"), {"0": 1, "1": {"d": 2}}),
        (("params", "b/c", "1", "d"), 2),
        (("1", "x"), True),
    ],
)
def test_parts_by_path(path, expected):
    found = decode(memoryview(to_bytes(TREE)), path=path)
    assert found["step"] == 7 if expected is None else found == expected


def test_paths_go_through_lists_and_into_split_arrays():
    assert decode(memoryview(b"\x92\x01\x92\x02\x03"), path=("1", "0")) == 2
    data = memoryview(to_bytes({"z": 0, "a": np.arange(9)}, max_chunk_size=16))
    np.testing.assert_array_equal(decode(data, path=("a",)), np.arange(9))


@pytest.mark.parametrize(
    ("path", "text", "at"),
    [
        (("param",), "nothing at 'param'; the nearest to 'param': 'params'", ""),
        (("params", "q"), "Here are: 'a', 'b/c'", "params"),
        (("step", "q"), "no branch begins here", "step"),
        (("params", "b/c", "0", "q"), "no branch begins here", "params/b/c/0"),
    ],
)
def test_paths_that_are_not_there(path, text, at):
    with pytest.raises(SerializationError, match=text) as info:
        decode(memoryview(to_bytes(TREE)), path=path)
    assert info.value.path == at
    assert info.value.offset is not None


def test_a_part_is_read_although_the_rest_is_damaged():
    data = to_bytes({"a": 1, "b": {"c": 2}, "d": 3})
    damaged = data[:-1] + b"\xc1"
    assert decode(memoryview(damaged), path=("b", "c")) == 2
    with pytest.raises(SerializationError):
        decode(memoryview(data[:6]), path=("b", "c"))


@pytest.mark.parametrize(
    "data",
    [
        b"\xdf\x10\x00\x00\x00" + b"\xa0\x01" * 10,
        b"\xdd\x7f\xff\xff\xff" * 500,
        b"\xc6\xf0\x00\x00\x00abc",
        b"\xc9\xf0\x00\x00\x00\x01abc",
        b"\x91" * 100_000,
        array([2**31, 2**31], "float64", b"\0" * 8),
        array([2**40], "uint8", b""),
        array([1], "str2147483616", b""),
        array([1], "bytes2147483640", b"a"),
        chunked(shape={"0": 2**40}, chunks={"0": PIECE}),
    ],
)
def test_declared_sizes_allocate_nothing(data):
    with pytest.raises(SerializationError):
        msgpack_restore(data)  # imports and caches are made before measuring
    tracemalloc.start()
    try:
        with pytest.raises(SerializationError):
            msgpack_restore(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300_000 + 8 * len(data)


def refusal(function, *arguments):
    """The error with which a function refuses its arguments, or None."""
    try:
        function(*arguments)
    except SerializationError as error:
        return error
    return None


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    error = refusal(msgpack_restore, data)
    if error is not None:
        assert error.path is not None
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)


class Careful(Views):
    """The same leaves; how their arrays begin is not kept."""


def outcome(data, leaves):
    try:
        return listed(decode(data, leaves))
    except SerializationError as error:
        return str(error), error.path, error.offset


def listed(tree):
    if isinstance(tree, dict):
        return [(name, listed(value)) for name, value in tree.items()]
    if isinstance(tree, list):
        return [listed(value) for value in tree]
    if isinstance(tree, np.ndarray):
        return tree.dtype, tree.shape, tree.tobytes(), tree.flags.writeable
    return repr(tree)


LEAVES = [
    np.arange(4, dtype="f4"),
    np.arange(4, 8, dtype="f4"),
    np.ones((2, 1), "f8"),
    np.zeros((0, 2), "f4"),
    np.array(3, "i1"),
    np.array(["2020"], "datetime64[D]"),
    np.array(["ab"]),
    7,
    None,
    [np.arange(4, dtype="f4"), {}],
    {"a": np.arange(4, dtype="f4"), "b": np.ones((2, 1), "f8")},
]
trees = st.lists(st.sampled_from(range(len(LEAVES))), max_size=12).map(
    lambda chosen: {f"n{i}" * (1 + i % 20): LEAVES[n] for i, n in enumerate(chosen)}
)


@given(trees, st.data(), st.booleans())
def test_what_begins_alike_is_read_as_if_it_were_the_first(tree, draw, copy):
    data = bytearray(msgpack_serialize(tree, in_place=True))
    for _ in range(draw.draw(st.integers(0, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = draw.draw(st.integers(0, len(data)) | st.just(len(data)))
    view = memoryview(bytes(data[:cut]))
    assert outcome(view, Views(view, copy)) == outcome(view, Careful(view, copy))


def test_arrays_that_begin_alike_are_views_of_the_input():
    tree = {f"layer_{i}": {"a": np.full(4, i), "b": np.ones(2)} for i in range(3)}
    data = to_bytes(tree)
    view = memoryview(data)
    found = decode(view)
    for i in range(3):
        a = found[f"layer_{i}"]["a"]
        assert a.tolist() == [i] * 4
        assert np.shares_memory(a, np.frombuffer(data, np.uint8))
        assert not a.flags.writeable
    again = decode(view, Views(view, copy=True))
    again["layer_2"]["a"][0] = 7
    assert found["layer_2"]["a"].tolist() == [2] * 4


@pytest.mark.parametrize(
    ("items", "text", "path"),
    [
        (("a", "b", "a"), "The key 'a' appears twice", "."),
        (("a", "b", b"\xff"), "This string is not UTF-8", "."),
    ],
)
def test_keys_are_checked_where_arrays_begin_alike(items, text, path):
    leaf = array([2], "float32", FLOATS)
    keys = [pack(k) if isinstance(k, str) else b"\xa1" + k for k in items]
    data = bytes([0x80 + len(items)]) + b"".join(key + leaf for key in keys)
    with pytest.raises(SerializationError, match=text) as caught:
        msgpack_restore(data)
    assert caught.value.offset == len(data) - len(leaf) - len(keys[-1])
    assert caught.value.path in ("", path)


def test_pieces_that_begin_alike_are_joined():
    pieces = {str(i): PIECE for i in range(5)}
    data = chunked(shape={"0": 10}, chunks=pieces)
    assert msgpack_restore(data).tolist() == [0.0, 1.0] * 5
