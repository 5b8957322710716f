import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import msgpack_serialize, to_bytes
from batiste.serialization.magic import MAX_HEADER, looks_like_safetensors


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\2\0\0\0\0\0\0\0{}", True),
        (b"\2\0\0\0\0\0\0\0{", False),
        (b"\xff\0\0\0\0\0\0\0{\n", True),  # cut short, and still one
        (MAX_HEADER.to_bytes(8, "little") + b'{"', True),
        ((MAX_HEADER + 1).to_bytes(8, "little") + b'{"', False),
        (b"\2\0\0\0\0\0\0\0[]", False),
        (b"\2\0\0\0\0\0\0\0{\0", False),
        (b"", False),
    ],
)
def test_how_files_begin(data, expected):
    assert looks_like_safetensors(memoryview(data)) is expected


scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
trees = st.recursive(
    scalars, lambda t: st.dictionaries(st.text(), t) | st.lists(t), max_leaves=20
)


@given(st.dictionaries(st.text(), trees))
def test_no_msgpack_dict_looks_like_one(tree):
    assert not looks_like_safetensors(memoryview(msgpack_serialize(tree)))
    assert not looks_like_safetensors(memoryview(to_bytes(tree)))
