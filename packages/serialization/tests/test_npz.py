"""Archives of NumPy: the same in both directions, and hostile ones."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import SerializationError, npz
from batiste.serialization.dtypes import dtype_from_name
from batiste.serialization.elements import Elements
from batiste.serialization.npz import MEMBER, read_npz, write_npz


def written(tree):
    file = io.BytesIO()
    write_npz(tree, file)
    return file.getvalue()


def read(data):
    """The tree with arrays, all of whose parts were read."""
    with read_npz(io.BytesIO(data)) as tree:
        return arrays(tree)


def arrays(tree):
    if isinstance(tree, dict):
        return {name: arrays(item) for name, item in tree.items()}
    if not isinstance(tree, Elements):
        return tree
    data = b"".join(tree.parts())
    assert len(data) == tree.nbytes
    dtype = dtype_from_name(tree.dtype)
    return np.frombuffer(data, np.uint8).view(dtype).reshape(tree.shape)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(found[name], value)
        elif isinstance(value, np.ndarray):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert found[name].tobytes() == value.tobytes()
        else:
            assert found[name] == value
            assert type(found[name]) is type(value)


TREE = {
    "params": {"kernel": np.arange(6, dtype="f4").reshape(2, 3), "0d": np.array(2j)},
    "empty": {},
    "zero": np.zeros((0, 3), "?"),
    "text": np.array(["ab", "c"]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "step": 7,
    "none": None,
}


def test_numpy_reads_what_is_written():
    data = written(TREE)
    assert data == written(TREE)  # with no time in it
    found = np.load(io.BytesIO(data))
    names = ["params/kernel", "params/0d", "zero", "text", "dates"]
    assert found.files == [*names, MEMBER]
    for name in names:
        value = TREE
        for key in name.split("/"):
            value = value[key]
        np.testing.assert_array_equal(found[name], value, strict=True)
    assert_same(read(data), TREE)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(save):
    file = io.BytesIO()
    tree = {"a": np.arange(24).reshape(2, 3, 4), "b": np.float32(3)}
    save(file, **tree, **{"c/d": np.ones(2), "f": np.asfortranarray(np.eye(3, 2))},
         big=np.arange(5, dtype=">i2"))  # fmt: skip
    expected = {
        "a": tree["a"],
        "b": np.array(3, "f4"),
        "c": {"d": np.ones(2)},
        "f": np.eye(3, 2),
        "big": np.arange(5, dtype="<i2"),
    }
    assert_same(read(file.getvalue()), expected)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "int4"])
def test_dtypes_that_npy_files_lack(name):
    tree = {"a": {"b": np.arange(4).reshape(2, 2).astype(dtype_from_name(name))}}
    data = written(tree)
    assert_same(read(data), tree)
    assert np.load(io.BytesIO(data))["a/b"].dtype.kind == "V"


leaves = st.builds(
    lambda d, s: np.ones(s, d),
    st.sampled_from("f4 i8 u1 ? c16 S3 U2 M8[s]".split()),
    st.lists(st.integers(0, 2), max_size=3),
) | st.integers(-(2**63), 2**63)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0\\"), min_size=1
).filter(lambda n: n not in (".", ".."))
trees = st.dictionaries(
    names, leaves | st.dictionaries(names, leaves, max_size=3), max_size=4
)


@given(trees)
def test_trees_there_and_back(tree):
    assert_same(read(written(tree)), tree)


@given(trees, st.data())
def test_what_is_damaged_is_read_or_refused(tree, data):
    whole = bytearray(written({"a": np.arange(9), **tree}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole)))
        much = data.draw(st.integers(0, 4))
        whole[at : at + much] = data.draw(st.binary(max_size=4))
    try:
        read(bytes(whole))
    except SerializationError as error:
        assert str(error).isprintable()


def archive(compression=zipfile.ZIP_STORED, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
    return file.getvalue()


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


ONE = npy(np.arange(3.0))
LARGE = bytearray(archive(**{"a.npy": ONE}))
LARGE[LARGE.index(b"PK\1\2") + 23] = 0x7D  # how much the list says there is
BROKEN = bytearray(archive(**{"a.npy": ONE}))
BROKEN[BROKEN.index(ONE) + len(ONE) - 1] ^= 1  # the last element
WRONG = {
    "no archive": (b"PK\3\4 and nothing", "no zip archive", None),
    "cut short": (archive(**{"a.npy": ONE})[:-5], "no zip archive", None),
    "objects": (
        archive(**{"a.npy": npy(np.array([{}]), allow_pickle=True)}),
        "pickled objects, which run code",
        "a.npy",
    ),
    "records": (
        archive(**{"a.npy": npy(np.zeros(2, "i4,f4"))}),
        "cannot be serialized",
        "a.npy",
    ),
    "another file": (archive(**{"a.txt": b"x"}), "does not end in .npy", "a.txt"),
    "no array": (archive(**{"a.npy": b"x"}), "cannot be read", "a.npy"),
    "no header": (
        archive(**{"a.npy": ONE.replace(b"(3,)", b"(3,(").replace(b"}", b" ")}),
        "its header is damaged",
        "a.npy",
    ),
    "header of a later kind": (
        archive(**{"a.npy": ONE.replace(b"NUMPY\1", b"NUMPY\3")}),
        "version 3.0 of the format is for records",
        "a.npy",
    ),
    "too short": (archive(**{"a.npy": ONE[:-1]}), "has 24 bytes, and there", "a.npy"),
    "too long": (archive(**{"a.npy": ONE + b"x"}), "has 24 bytes, and there", "a.npy"),
    "more than the file": (
        bytes(LARGE),
        "would have 20971.* bytes from 35 on, and the file has 2",
        "a.npy",
    ),
    "flipped": (bytes(BROKEN), "Bad CRC", "a.npy"),
    "member": (archive(**{MEMBER: b"{}"}), "cannot be read", MEMBER),
    "no JSON": (archive(**{MEMBER: b"{"}), "not an object of", MEMBER),
    "dtypes": (
        archive(**{MEMBER: json.dumps({"dtypes": '{"a":1}', "values": "{}"})}),
        "a dtype has no name",
        MEMBER,
    ),
    "dtype of nothing": (
        archive(**{MEMBER: json.dumps({"dtypes": '{"a":"int4"}', "values": "{}"})}),
        "does not fit the arrays: 'a'",
        "a",
    ),
    "dtype of another size": (
        archive(
            **{
                "a.npy": npy(np.zeros(1, "V4")),
                MEMBER: json.dumps({"dtypes": '{"a":"bfloat16"}', "values": "{}"}),
            }
        ),
        "its elements are not bfloat16",
        "a.npy",
    ),
    "value and array": (
        archive(
            **{
                "a.npy": ONE,
                MEMBER: json.dumps({"dtypes": "{}", "values": '{"a":1}'}),
            }
        ),
        "does not fit the arrays: 'a'",
        "a",
    ),
    "a newer form of npy": (
        archive(**{"a.npy": b"\x93NUMPY\3\0" + ONE[8:]}),
        "version 3.0 of the format is for records",
        "a.npy",
    ),
    "long member": (
        archive(**{MEMBER: b" " * (2**26 + 1)}, compression=zipfile.ZIP_DEFLATED),
        "it has 67108865 bytes",
        MEMBER,
    ),
    "leaf and branch": (
        archive(**{"a.npy": ONE, "a/b.npy": ONE}),
        "are an array and the branch",
        "a/b",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_refused(case):
    data, text, path = WRONG[case]
    with pytest.raises(SerializationError, match=text) as info:
        read(data)
    assert info.value.path == path


def test_what_a_list_says_is_not_asked_for():
    large = bytes(LARGE)
    tracemalloc.start()
    with pytest.raises(SerializationError):
        read(large)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2**20, dtype=">f8").reshape(1, -1),
        np.asfortranarray(np.arange(2**20, dtype=">i8").reshape(1, -1, 1)),
        np.array(["ab", "c"] * 2**19),
        np.asfortranarray(np.zeros(2**23, "u1")),
    ],
)
def test_orders_of_bytes_and_axes_are_read_in_blocks(array, monkeypatch):
    monkeypatch.setattr(npz, "_BLOCK", 2**16)
    file = io.BytesIO()
    np.savez_compressed(file, a=array)
    with read_npz(file) as tree:
        elements = tree["a"]
        tracemalloc.start()
        for number, part in enumerate(elements.parts()):
            assert len(part) <= 2**16
            size = len(part) // array.dtype.itemsize
            expected = array.ravel()[number * size : (number + 1) * size]
            found = np.frombuffer(part, array.dtype.newbyteorder("<"))
            np.testing.assert_array_equal(found, expected)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 2**21 < array.nbytes


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("a.npy", ONE)
        opened.writestr("a.npy", ONE)
    with pytest.raises(SerializationError, match="it is there twice") as info:
        read(file.getvalue())
    assert info.value.path == "a.npy"
    assert info.value.offset > 0


@pytest.mark.parametrize(
    ("tree", "text", "path"),
    [
        ({"a": {"..": np.ones(1)}}, "where archives are unpacked", "a/.."),
        ({"": np.ones(1)}, "where archives are unpacked", ""),
        ({"a/b": np.ones(1)}, "holds '/', which joins", "a/b"),
        ({"a/b": np.ones(1)}, "Rename it, or write another format", "a/b"),
        ({"a": {"b\0": np.ones(1)}}, "a character of the number 0", r"a/b\x00"),
        ({"a": [b"x"]}, "'bytes' has no place", "a/0"),
        ({"a": np.array([None])}, "dtype object cannot be", "a"),
        (np.ones(1), "Put it into a dict", None),
    ],
)
def test_what_has_no_place(tree, text, path):
    with pytest.raises(SerializationError, match=text) as info:
        written(tree)
    assert info.value.path == path


def test_files_that_cannot_seek():
    class Pipe(io.RawIOBase):
        def __init__(self):
            self.data = b""

        def writable(self):
            return True

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    write_npz(TREE, pipe)
    assert_same(read(pipe.data), TREE)
