"""Trees as safetensors, and files of the library."""

import collections
import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import SerializationError, UnserializableTypeError
from batiste.serialization.decode import Views
from batiste.serialization.dtypes import dtype_from_name
from batiste.serialization.elements import Elements
from batiste.serialization.safetensors_codec import (
    VALUES,
    decode_safetensors,
    encode_safetensors,
)
from batiste.serialization.safetensors_header import build_header

ALL = """bool uint8 int8 float8_e5m2 float8_e4m3fn float8_e8m0fnu float8_e4m3fnuz
float8_e5m2fnuz int16 uint16 float16 bfloat16 int32 uint32 float32 complex64 float64
int64 uint64""".split()
# The library's NumPy side reads these.
SHARED = [n for n in ALL if not n.startswith("float8") and n != "bfloat16"]


def written(tree, **options):
    return b"".join(encode_safetensors(tree, **options))


def read(data, path=(), **options):
    view = memoryview(data)
    return decode_safetensors(view, Views(view), path, **options)


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            assert_same(found[name], expected[name])
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    else:
        assert found == expected


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0, 3)])
def test_every_dtype_there_and_back(name, shape):
    count = int(np.prod(shape))
    array = (np.arange(count) % 2).reshape(shape).astype(dtype_from_name(name))
    tree = {"a": {"b": array}, "c": array}
    data = written(tree)
    assert_same(read(data), tree)
    assert data == safetensors.numpy.save({"a.b": array, "c": array})
    if name in SHARED:
        assert_same(safetensors.numpy.load(data), {"a.b": array, "c": array})


def test_layouts_and_byte_orders():
    array = np.arange(24, dtype=">i4").reshape(2, 3, 4)
    for one in (array, array.T, array[:, ::-1], np.broadcast_to(array, (2, 2, 3, 4))):
        expected = np.array(one, "<i4", order="C")
        assert_same(read(written({"a": one}))["a"], expected)
        assert written({"a": one}) == safetensors.numpy.save({"a": expected})


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="."), max_size=5
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.builds(
        lambda d, s: np.ones(s, d),
        st.sampled_from(["f4", "i8", "u1", "?"]),
        st.lists(st.integers(0, 2), max_size=3),
    )
)
trees = st.recursive(
    leaves, lambda t: st.dictionaries(names, t, max_size=4), max_leaves=12
)


@given(st.dictionaries(names.filter(lambda n: n != "__metadata__"), trees))
def test_trees_there_and_back(tree):
    data = written(tree)
    assert_same(read(data), tree)
    for name, part in tree.items():
        assert_same(read(data, (name,)), part)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), leaves))
def test_dicts_without_branches_keep_their_names(tree):
    tree.pop("__metadata__", None)
    data = written(tree, separator=None)
    assert_same(read(data, separator=None), tree)
    for name, part in tree.items():
        assert_same(read(data, (name,), separator=None), part)


def test_lists_and_tuples_are_dicts():
    tree = {"a": [np.zeros(1), (np.ones(2), 3)], "b": [], "c": (), "d": {}}
    expected = {
        "a": {"0": np.zeros(1), "1": {"0": np.ones(2), "1": 3}},
        **{"b": {}, "c": {}, "d": {}},
    }
    assert_same(read(written(tree)), expected)
    assert_same(read(written([np.zeros(1)])), {"0": np.zeros(1)})
    assert read(written({})) == {}


def test_mappings_and_numpy_scalars():
    tree = collections.OrderedDict(a=np.float32(2))
    assert_same(read(written(tree)), {"a": np.array(2, "f4")})


def test_elements_stand_for_arrays():
    parts = [memoryview(b"ab"), memoryview(b"cd")]
    data = written({"a": Elements("uint16", (2,), 4, lambda: iter(parts))})
    assert read(data)["a"].tobytes() == b"abcd"


def test_other_separators():
    data = written({"a.b": {"c": np.ones(1)}}, separator="/")
    assert list(safetensors.numpy.load(data)) == ["a.b/c"]
    assert_same(read(data, separator="/"), {"a.b": {"c": np.ones(1)}})
    assert_same(read(data, ("a.b",), separator="/"), {"c": np.ones(1)})


def test_parts():
    tree = {"a": {"b": np.zeros(1), "c": {"d": 5}}, "ab": np.ones(2)}
    data = written(tree)
    assert_same(read(data, ("a",)), tree["a"])
    assert_same(read(data, ("a", "b")), np.zeros(1))
    assert read(data, ("a", "c", "d")) == 5
    for path in (("a", "x"), ("b",), ("a", "b", "c"), ("",)):
        with pytest.raises(SerializationError, match="There is nothing at") as info:
            read(data, path)
        assert info.value.offset == 8
    with pytest.raises(SerializationError, match="nearest to 'a.bb': 'a.b'"):
        read(data, ("a", "bb"))
    with pytest.raises(SerializationError, match="There is nothing at 'ab/c'"):
        read(data, ("ab", "c"), separator=None)


def test_metadata():
    data = written({"a": np.ones(1), "step": 7}, metadata={"format": "flax"})
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"] == {"format": "flax", VALUES: '{"step":7}'}
    assert list(safetensors.numpy.load(data)) == ["a"]


@pytest.mark.parametrize("metadata", [{"a": 1}, {1: "a"}, {VALUES: "{}"}])
def test_metadata_of_other_things(metadata):
    with pytest.raises(SerializationError, match="are strings by strings, without"):
        written({}, metadata=metadata)


CYCLE: dict = {}
CYCLE["a"] = CYCLE


@pytest.mark.parametrize(
    ("tree", "options", "kind", "text", "path"),
    [
        ({"a": {"b.c": np.ones(1)}}, {}, ValueError, "holds '.', which joins", "a/b.c"),
        ({"a": {"b": {1}}}, {}, TypeError, "'set' has no place in this", "a/b"),
        ({"a": b"x"}, {}, TypeError, "'bytes' has no place", "a"),
        ({"a": 1j}, {}, TypeError, "'complex' has no place", "a"),
        ({"a": [2**64]}, {}, ValueError, "This int has 65 bits", "a/0"),
        ({"a": np.zeros(1, "c16")}, {}, ValueError, "Arrays of dtype complex128", "a"),
        ({"a": np.array([None])}, {}, ValueError, "Arrays of dtype object", "a"),
        (np.ones(1), {}, ValueError, "this is a ndarray. Put it into a dict", None),
        (3, {}, ValueError, "this is a int. Put it into a dict", None),
        ({"a": {"b": 1}}, {"separator": None}, ValueError, "one dict of arrays", "a"),
        ({"__metadata__": np.ones(1)}, {}, ValueError, "Rename it", "__metadata__"),
        ({"a": "\ud800"}, {}, ValueError, "half of a character", None),
        (CYCLE, {}, ValueError, "or contains itself", None),
    ],
)
def test_what_has_no_place(tree, options, kind, text, path):
    with pytest.raises(SerializationError, match=text) as info:
        written(tree, **options)
    assert isinstance(info.value, kind)
    assert (kind is TypeError) == isinstance(info.value, UnserializableTypeError)
    assert info.value.path == path


def file_of(arrays, metadata=None, data=b""):
    return build_header(arrays, metadata or {})[0] + data


BYTE = ("uint8", (1,), 1)


@pytest.mark.parametrize("pair", [("a", "a.b"), ("a.b", "a"), ("a.b.c", "a.b")])
def test_names_that_are_no_tree(pair):
    data = file_of(dict.fromkeys(pair, BYTE), data=b"xy")
    with pytest.raises(SerializationError, match="Pass separator=None, which") as info:
        read(data)
    assert info.value.path in pair
    assert sorted(read(data, separator=None)) == sorted(pair)


def test_a_value_where_a_branch_is():
    for name in ("a", "a.b.c"):
        data = file_of({"a.b": BYTE}, {VALUES: json.dumps({name: 1})}, b"x")
        with pytest.raises(SerializationError, match="are an array and the branch"):
            read(data)


def test_a_value_where_an_array_is():
    data = file_of({"a": BYTE}, {VALUES: '{"a":1}'}, b"x")
    with pytest.raises(SerializationError, match="and values in the metadata too: 'a'"):
        read(data)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a":[]}', '{"a":{"b":1}}', "[" * 10**5, "1", "null"]
)
def test_values_that_are_none_of_ours(text):
    with pytest.raises(SerializationError, match="is not an object of numbers") as info:
        read(file_of({}, {VALUES: text}))
    assert (info.value.path, info.value.offset) == (VALUES, 8)


def test_names_that_are_nested_too_deep():
    name = ".".join("a" * 1001)
    data = file_of({name: BYTE}, data=b"x")
    with pytest.raises(SerializationError, match="nested deeper than 1000 levels"):
        read(data)
    assert list(read(data, separator=None)) == [name]
    assert_same(read(file_of({name[2:]: BYTE}, data=b"x"), name[2:-2].split(".")),
                {"a": np.array([120], "u1")})  # fmt: skip


def test_elements_of_less_than_a_byte():
    header = b'{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    data = len(header).to_bytes(8, "little") + header + b"x"
    with pytest.raises(SerializationError, match="F4 have less than a byte") as info:
        read(data)
    assert (info.value.path, info.value.offset) == ("a", 8 + len(header))


def test_shapes_that_no_array_has():
    header = (
        b'{"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}}'
    )
    data = len(header).to_bytes(8, "little") + header
    with pytest.raises(SerializationError, match="No array can have") as info:
        read(data)
    assert (info.value.path, info.value.offset) == ("a", len(data))
