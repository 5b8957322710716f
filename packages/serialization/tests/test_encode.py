import collections
import types
import typing

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import (
    SerializationError,
    UnserializableTypeError,
    elements,
    msgpack_serialize,
    to_bytes,
)
from batiste.serialization import encode as encode_module
from batiste.serialization.decode import Views, decode
from batiste.serialization.encode import CHUNKED, MAX_DEPTH, encode


def packed(tree, **options):
    return b"".join(encode(tree, **options))


def unpacked(data):
    return decode(memoryview(data), Views(memoryview(data)))


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"b": 1, "a": {}}, b"\x82\xa1b\x01\xa1a\x80"),
        ([1, (2, [])], b"\x92\x01\x92\x02\x90"),
        (2**64 - 1, b"\xcf" + b"\xff" * 8),
        (-(2**63), b"\xd3\x80" + b"\0" * 7),
        (1.5, b"\xcb?\xf8" + b"\0" * 6),
        (b"ab", b"\xc4\x02ab"),
        (bytearray(b"ab"), b"\xc4\x02ab"),
        (memoryview(b"abcd")[::2], b"\xc4\x02ac"),
        (b"", b"\xc4\x00"),
        (1 + 2j, b"\xc7\x13\x02\x92\xcb?\xf0" + b"\0" * 6 + b"\xcb@" + b"\0" * 7),
        (np.float32(1), b"\xd8\x03\x93\x90\xa7float32\xc4\x04\x00\x00\x80?"),
        (np.array(1, "f4"), b"\xd8\x01\x93\x90\xa7float32\xc4\x04\x00\x00\x80?"),
        (np.zeros((0, 3)), b"\xc7\x0e\x01\x93\x92\x00\x03\xa7float64\xc4\x00"),
        ({1: 1, None: 2, b"x": 3}, b"\x83\x01\x01\xc0\x02\xc4\x01x\x03"),
    ],
)
def test_bytes(tree, expected):
    assert packed(tree) == expected


@pytest.mark.parametrize("size", [1, 255, 256, 65535, 65536])
def test_lengths_use_the_shortest_header(size):
    data = bytes(size)
    assert unpacked(packed(data)) == data
    array = np.zeros(size, np.uint8)
    message = packed(array)
    np.testing.assert_array_equal(unpacked(message), array)
    assert len(message) <= size + 32


def test_sort_keys_sorts_at_every_level():
    tree = {"b": [{"d": 1, "c": 2}], "a": 0}
    assert packed(tree, sort_keys=True) == packed({"a": 0, "b": [{"c": 2, "d": 1}]})
    with pytest.raises(SerializationError, match="no order among them") as info:
        packed({"a": {1: 0, "1": 0}}, sort_keys=True)
    assert info.value.path == "a"


def test_arrays_are_handed_out_as_views():
    array = np.arange(6.0).reshape(2, 3)
    parts = list(encode({"a": array}))
    assert any(
        isinstance(p, memoryview) and np.shares_memory(np.asarray(p), array)
        for p in parts
    )


@pytest.mark.parametrize("limit", [1, 3, 8, 10, 16])
def test_large_arrays_are_split(limit):
    arrays = {
        "plain": np.arange(11, dtype="f4"),
        "square": np.arange(12, dtype="f8").reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
        "scalar": np.array(1 + 2j),
        "small": np.zeros(1, "i1"),
    }
    message = packed(arrays, max_chunk_size=limit)
    found = unpacked(message)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, strict=True)
        assert not found[name].flags.writeable
    assert CHUNKED.encode() in message


def test_arrays_in_lists_are_not_split_unless_they_must_be(monkeypatch):
    tree = [{"a": np.arange(100, dtype="u1")}]
    assert CHUNKED.encode() not in packed(tree, max_chunk_size=8)
    monkeypatch.setattr(encode_module, "_MAX_ARRAY", 30)
    message = packed(tree)
    assert CHUNKED.encode() in message
    np.testing.assert_array_equal(unpacked(message)[0]["a"], tree[0]["a"])


@pytest.mark.parametrize(
    "array",
    [
        np.arange(120).reshape(4, 5, 6).T,
        np.arange(120).reshape(4, 5, 6)[::2, ::-1, 1:5:3],
        np.broadcast_to(np.arange(3.0), (7, 2, 3)),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.array(["2020-01-01", "NaT"], "M8[D]"),
        np.array([["a", "bcd"]]),
        np.array([b"x", b"yz"]),
        np.array([b"\x00\x01"], "V2"),
        np.arange(6).reshape(2, 3).view(np.matrix),
    ],
)
@pytest.mark.parametrize("copy_size", [8, 64, 2**24])
def test_any_layout_is_written_in_c_order(monkeypatch, array, copy_size):
    monkeypatch.setattr(elements, "_COPY_SIZE", copy_size)
    expected = np.array(array, array.dtype.newbyteorder("<"), order="C")
    for limit in (None, 5, 40):
        found = unpacked(packed({"a": array}, max_chunk_size=limit))["a"]
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize(
    ("tree", "text", "path"),
    [
        ({"a": [set()]}, "A value of type 'set' cannot be serialized.", "a/0"),
        ({(1,): 0}, "A key of type 'tuple' cannot be serialized", "(1,)"),
        ({"a": {CHUNKED: 1}}, "marks arrays that were split", "a"),
        ([2**64], "This int does not fit into the format", "0"),
        (["\ud800"], "This str does not fit into the format", "0"),
        ({"a": np.array([None])}, "Arrays of dtype object cannot be", "a"),
        ({"a": np.zeros(1, "i4,i4")}, "Save the fields of a record as arrays", "a"),
        ({"a": np.ma.array([1], mask=[True])}, "its mask would be lost", "a"),
    ],
)
def test_refuses_what_has_no_place(tree, text, path):
    with pytest.raises(SerializationError, match=text) as info:
        packed(tree)
    assert info.value.path == path
    assert info.value.offset is None


def test_types_that_are_refused_are_type_errors():
    class Text(str):
        __slots__ = ()

    for value in ({1}, object(), range(3), Text("a"), np.ndarray, type):
        with pytest.raises(UnserializableTypeError):
            packed(value)


def test_depth_is_limited():
    tree = []
    for _ in range(MAX_DEPTH - 1):
        tree = [tree]
    assert packed(unpacked(packed(tree))) == packed(tree)
    with pytest.raises(SerializationError, match="deeper than 1000 levels"):
        packed([tree])
    endless = {}
    endless["a"] = endless
    with pytest.raises(SerializationError, match="or contains itself"):
        packed(endless)


def test_chunk_size_is_checked():
    with pytest.raises(ValueError, match="above 0, not 0"):
        packed({}, max_chunk_size=0)


def test_bytes_too_long_for_the_format(monkeypatch):
    monkeypatch.setattr(encode_module, "_MAX_EXT", 10)
    with pytest.raises(SerializationError, match="11 bytes do not fit"):
        packed({"a": bytes(11)})


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=15,
)


@given(trees)
def test_trees_are_read_back(tree):
    assert unpacked(packed(tree)) == tree


@given(
    st.sampled_from(["?", "i1", "u4", "i8", "f2", "f4", "f8", "c8", "M8[s]", "S3"]),
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(1, 50),
)
def test_arrays_are_read_back(code, shape, limit):
    array = np.arange(np.prod(shape, dtype=int)).astype("i8").reshape(shape)
    array = array.astype(code)
    found = unpacked(packed({"a": array}, max_chunk_size=limit))["a"]
    np.testing.assert_array_equal(found, array, strict=True)


class Words(collections.UserDict):
    pass


@pytest.mark.parametrize(
    "kind",
    [collections.OrderedDict, types.MappingProxyType, Words, collections.ChainMap]
    + [lambda items: collections.defaultdict(int, items)],
)
@pytest.mark.parametrize("in_place", [False, True])
def test_plain_trees_take_mappings_of_all_types(kind, in_place):
    items = {"b": 1, "a": {"c": 2}}
    for wrap in (lambda x: x, lambda x: {"x": x}, lambda x: [x]):
        expected = msgpack_serialize(wrap(items), in_place)
        assert msgpack_serialize(wrap(kind(items)), in_place) == expected


def test_a_mapping_that_cannot_be_read_is_named():
    class Broken(collections.UserDict):
        def __getitem__(self, key):
            raise OSError("gone")

    with pytest.raises(SerializationError, match="'Broken' cannot be read: OSE") as e:
        msgpack_serialize({"x": Broken(a=1)})
    assert e.value.path == "x"


class Point(typing.NamedTuple):
    x: int


class Listed(list):
    pass


@pytest.mark.parametrize("value", [Point(1), Listed([1])])
def test_what_has_a_state_is_sent_to_to_bytes(value):
    assert to_bytes({"a": value})
    with pytest.raises(UnserializableTypeError, match="save it with to_bytes") as e:
        msgpack_serialize({"a": value})
    assert "register" not in str(e.value)
    assert e.value.path == "a"


@pytest.mark.parametrize("value", [{1}, object(), range(3), Words])
def test_only_to_bytes_speaks_of_registering(value):
    with pytest.raises(UnserializableTypeError, match="takes mappings, lists") as e:
        msgpack_serialize({"a": value})
    assert "register" not in str(e.value)
    with pytest.raises(UnserializableTypeError, match="register the type"):
        to_bytes({"a": value})


def test_keys_that_cannot_be_sorted():
    tree = {np.timedelta64(1, "as"): 1, np.timedelta64(2, "Y"): 2}
    with pytest.raises(SerializationError, match="no order among them"):
        msgpack_serialize(tree)


def with_garbage(array, garbage):
    """The same extended numbers, with other bytes where memory has any between them."""
    array = array.copy(order="K")
    if np.finfo(np.longdouble).nmant == 63:
        flat = array.reshape(-1, order="A" if array.flags.f_contiguous else "C")
        assert np.shares_memory(flat, array)
        numbers = flat.view(np.uint8).reshape(-1, np.dtype("g").itemsize)
        numbers[:, 10:] = garbage
    return array


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
@pytest.mark.parametrize(
    "shape_of", [lambda a: a, lambda a: a.reshape(3, 4), lambda a: a.reshape(3, 4).T]
)
def test_the_same_extended_numbers_give_the_same_bytes(dtype, shape_of):
    array = shape_of((np.arange(12) / 7).astype(dtype))
    one, other = with_garbage(array, 0xA5), with_garbage(array, 0xDA)
    before = other.tobytes(order="A")
    assert packed({"a": one}) == packed({"a": other})
    found = unpacked(packed({"a": other}))["a"]
    np.testing.assert_array_equal(found, array)
    # What is saved stays as it was.
    assert other.tobytes(order="A") == before


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
def test_the_same_extended_scalar_gives_the_same_bytes(dtype):
    array = np.array([1.5], dtype)
    one, other = (with_garbage(array, garbage)[0] for garbage in (0xA5, 0xDA))
    assert packed({"a": one}) == packed({"a": other})
    assert packed({one: 1}) == packed({other: 1})
    assert packed([with_garbage(array, 0xA5)[0:0]]) == packed([array[0:0]])


def test_chunks_of_extended_numbers_are_the_same(monkeypatch):
    monkeypatch.setattr(encode_module, "MAX_CHUNK_SIZE", 64)
    array = (np.arange(12) / 7).astype(np.longdouble)
    one, other = with_garbage(array, 0xA5), with_garbage(array, 0xDA)
    assert packed({"a": one}) == packed({"a": other})


SHAPES = [(), (4,), (2, 1), (0, 3), (300,)]
DTYPES = "? i1 <i4 >i4 f2 <f4 >f8 F g S3 U2 M8[s] m8[D]".split()
arrays = st.builds(
    lambda dtype, shape, stride, seed: (
        np.random.default_rng(seed)
        .integers(0, 2, tuple(n * stride for n in shape))
        .astype(dtype)[tuple(slice(None, None, stride) for _ in shape)]
    ),
    st.sampled_from(DTYPES),
    st.sampled_from(SHAPES),
    st.integers(1, 2),
    st.integers(0, 9),
)
leaves = arrays | st.sampled_from([7, None, "text", b"bytes", np.float32(1), 1j])
trees_of_arrays = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(trees_of_arrays, st.integers(1, 50) | st.none())
def test_many_arrays_are_written_as_one(tree, limit):
    def pieces(tree, in_list=False):
        if type(tree) is dict:
            header = msgpack.Packer().pack_map_header(len(tree))
            items = [msgpack.packb(k) + pieces(v, in_list) for k, v in tree.items()]
            return b"".join([header, *items])
        if type(tree) is list:
            header = msgpack.Packer().pack_array_header(len(tree))
            return b"".join([header, *(pieces(v, True) for v in tree)])
        return packed([tree])[1:] if in_list else packed(tree, max_chunk_size=limit)

    assert packed(tree, max_chunk_size=limit) == pieces(tree)


def test_small_parts_are_handed_out_together_but_not_all():
    tree = {f"a{i}": np.full(4, i) for i in range(5000)}
    parts = [len(part) for part in encode(tree)]
    assert 0 < len(parts) < 60
    assert min(parts) > 0
    assert max(parts) < 2**17
    assert max(len(part) for part in encode(list(range(10**5)))) < 2**17


def test_errors_behind_small_arrays_name_their_place():
    tree = {"a": {"b": np.zeros(2), "c": np.zeros(2), "d": [1, object()]}}
    with pytest.raises(UnserializableTypeError) as caught:
        packed(tree)
    assert caught.value.path == "a/d/1"
    for key in (object(), "\ud800"):
        with pytest.raises(SerializationError) as caught:
            packed({"a": {"b": np.zeros(2), "c": np.zeros(2), key: np.zeros(2)}})
        assert caught.value.path.startswith("a/")
