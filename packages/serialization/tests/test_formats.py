import pathlib
import re

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    from_bytes,
    restore,
    serialize,
    to_bytes,
)
from batiste.serialization.decode import Views
from batiste.serialization.formats import check_format, format_for, parts_of, tree_of

TREE = {"a": {"b": np.arange(3, dtype="u1")}, "step": 7}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.safetensors", "safetensors"),
        (pathlib.Path("A.SafeTensors"), "safetensors"),
        (b"a.safetensors", "msgpack"),  # no path here
        ("safetensors", "msgpack"),
        ("a.msgpack", "msgpack"),
        (None, "msgpack"),
    ],
)
def test_the_format_of_a_name(file, expected):
    assert format_for(file) == expected


@pytest.mark.parametrize("format", ["msgpack", "safetensors"])
def test_the_format_is_seen_or_said(format):
    data = memoryview(b"".join(parts_of(TREE, format)))
    for said in (None, format):
        found = tree_of(data, Views(data), format=said)
        assert found["step"] == 7
        np.testing.assert_array_equal(found["a"]["b"], TREE["a"]["b"])
    assert tree_of(data, Views(data), ("step",)) == 7


def test_another_format_than_it_is():
    data = memoryview(b"".join(parts_of(TREE, "safetensors")))
    with pytest.raises(SerializationError):
        tree_of(data, Views(data), format="msgpack")
    data = memoryview(b"".join(parts_of(TREE, "msgpack")))
    with pytest.raises(SerializationError, match="no safetensors file has one"):
        tree_of(data, Views(data), format="safetensors")


@pytest.mark.parametrize("format", ["npz", "", "MSGPACK", 1])
def test_what_is_no_format(format, tmp_path):
    calls = [
        lambda: check_format(format),
        lambda: to_bytes({}, format=format),
        lambda: from_bytes({}, b"\x80", format=format),
        lambda: serialize({}, tmp_path / "a", format=format),
        lambda: restore(__file__, format=format),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="it has to be 'msgpack' or 'safetensors'"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("separator", ["", 1, b"."])
def test_what_is_no_separator(separator, tmp_path):
    text = re.escape(f"separator is {separator!r}; it has to be a string")
    calls = [
        lambda: to_bytes({}, separator=separator),
        lambda: from_bytes({}, b"\x80", separator=separator),
        lambda: serialize({}, tmp_path / "a", separator=separator),
        lambda: restore(__file__, separator=separator),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=text):
            call()
    assert not list(tmp_path.iterdir())


def test_metadata_is_for_safetensors():
    with pytest.raises(SerializationError, match="A msgpack file has no metadata"):
        to_bytes({}, metadata={"format": "flax"})
    assert to_bytes({}, metadata={}) == b"\x80"


def test_a_zip_archive_is_known_for_what_it_is(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    data = (tmp_path / "a.npz").read_bytes()
    for read in (
        lambda: restore(tmp_path / "a.npz"),
        lambda: restore(tmp_path / "a.npz", copy=True),
        lambda: from_bytes(None, data),
    ):
        with pytest.raises(SerializationError, match="serialization convert`, or") as e:
            read()
        assert e.value.offset == 0
