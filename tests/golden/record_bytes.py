"""Writes the bytes that a version of batiste-serialization makes of one tree.

`nox -s release` calls it with the version that is released, and keeps what it writes
beside the record of its public names, for every later version to read.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from batiste.serialization import msgpack_serialize

DTYPES = """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32
    float64 complex64 complex128""".split()


def tree() -> dict[str, Any]:
    """What is written. It is recorded with released versions, so it never changes."""
    return {
        "arrays": {name: np.arange(6).reshape(2, 3).astype(name) for name in DTYPES},
        "shapes": {
            "scalar": np.array(2.5),
            "empty": np.zeros((0, 3), "int32"),
            "deep": np.arange(8, dtype="int16").reshape(2, 1, 4),
            "fortran": np.asfortranarray(np.arange(6, dtype="uint8").reshape(2, 3)),
        },
        "leaves": {
            "none": None,
            "true": True,
            "int": -(2**40),
            "float": 0.1,
            "complex": 1 - 2j,
            "text": "größe",
            "bytes": b"\x00\xff",
            "numpy": np.float32(1.5),
        },
        "nested": {"a": {"b": {}}, "0": {"1": 1}},
    }


def main(path: str) -> None:
    """Writes the file."""
    Path(path).write_bytes(msgpack_serialize(tree()))


if __name__ == "__main__":
    main(*sys.argv[1:])
