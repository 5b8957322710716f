"""Bytes that releases of flax wrote: read all of them, and write the newest's.

The bytes lie in data/recorded.json, with the versions that wrote them.
"""

import collections
import json
from pathlib import Path

import numpy as np
import pytest

from batiste.serialization import from_bytes, msgpack_restore, to_bytes

Moments = collections.namedtuple("Moments", "count mu")

RECORDED = json.loads(
    Path(__file__).with_name("data").joinpath("recorded.json").read_text("utf-8")
)["recorded"]
NEWEST = [r for r in RECORDED if "0.12.8" in r["versions"]]
CHUNKED = "chunked"  # written with pieces of at most 16 bytes
DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64
    float16 float32 float64 complex64 complex128"""

TREES = {
    "params": {
        "params": {
            "Dense_0": {
                "kernel": np.arange(6, dtype="float32").reshape(2, 3),
                "bias": np.zeros(3, "float32"),
            }
        }
    },
    "dtypes": {name: np.array([0, 1, 1], name) for name in DTYPES.split()},
    "shapes": {
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), "int32"),
        "deep": np.arange(8, dtype="int16").reshape(2, 1, 4),
        "fortran": np.asfortranarray(np.arange(6, dtype="uint8").reshape(2, 3)),
        "strided": np.arange(6, dtype="int8")[::2],
        "long": np.full(300, 7, "uint8"),
    },
    "scalars": {
        "half": np.float16(0.5),
        "single": np.float32(-1),
        "int": np.int64(-3),
        "truth": np.bool_(True),
        "pair": np.complex64(1 + 2j),
    },
    "python": {
        "none": None,
        "no": False,
        "small": 7,
        "negative": -200,
        "wide": 2**40,
        "float": 0.1,
        "complex": 1 - 2j,
        "text": "hé",
        "raw": b"\x00\xff",
    },
    "containers": {
        "list": [1, [2, {}]],
        "tuple": (3, ()),
        "fields": Moments(np.int32(4), {"w": None}),
    },
    "numbered": {2: "b", 10: "a"},
    CHUNKED: {
        "flat": np.arange(11, dtype="float32"),
        "square": np.arange(9, dtype="int16").reshape(3, 3),
    },
}


def _id(record):
    return f"{record['tree']}-{record['versions'][-1]}"


def _assert_same(found, expected):
    if isinstance(expected, dict):
        assert type(found) is dict
        assert list(found) == list(expected)
        for key in expected:
            _assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_same(one, other)
    elif isinstance(expected, (np.ndarray, np.generic)):
        assert type(found) is type(expected)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, strict=True)
    else:
        assert found == expected


def test_every_tree_is_recorded():
    assert {r["tree"] for r in NEWEST} == {*TREES, "bfloat16"}
    assert {"0.3.0", "0.4.1", "0.6.9", "0.8.5", "0.12.8"} == {
        version for r in RECORDED for version in r["versions"]
    }


@pytest.mark.parametrize(
    "record", [r for r in NEWEST if r["tree"] in TREES], ids=lambda r: r["tree"]
)
def test_writes_the_bytes_of_the_newest(record):
    limit = 16 if record["tree"] == CHUNKED else None
    found = to_bytes(TREES[record["tree"]], max_chunk_size=limit)
    assert found == bytes.fromhex(record["bytes"])


@pytest.mark.parametrize("record", [r for r in RECORDED if r["tree"] in TREES], ids=_id)
def test_reads_the_bytes_of_every_version(record):
    tree = TREES[record["tree"]]
    _assert_same(from_bytes(tree, bytes.fromhex(record["bytes"])), tree)


def test_named_tuples_of_old_releases_read_without_a_target():
    (old,) = (r for r in RECORDED if r["versions"] == ["0.3.0"] and "cont" in r["tree"])
    found = msgpack_restore(bytes.fromhex(old["bytes"]))
    assert found["fields"] == {
        "name": "Moments",
        "fields": {"0": "count", "1": "mu"},
        "values": {"0": 4, "1": {"w": None}},
    }
