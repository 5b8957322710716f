"""Every later version reads what a released one wrote, and writes the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from batiste.serialization import msgpack_restore, msgpack_serialize

from .record_bytes import main, tree

RELEASED = sorted((Path(__file__).parent / "released").glob("*.msgpack"))


def check(path: Path) -> None:
    """Compares what a file holds with what it was made of."""
    data = path.read_bytes()
    assert data == msgpack_serialize(tree())
    found, expected = msgpack_restore(data), tree()
    for part in ("arrays", "shapes"):
        assert found[part].keys() == expected[part].keys()
        for name, array in expected[part].items():
            assert found[part][name].dtype == array.dtype
            np.testing.assert_array_equal(found[part][name], array)
    assert found["leaves"] == expected["leaves"]
    assert found["nested"] == expected["nested"]


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_what_was_released_is_read_and_written(path):
    check(path)


def test_what_is_released_next_is_read(tmp_path):
    main(str(tmp_path / "next.msgpack"))
    check(tmp_path / "next.msgpack")


def test_a_changed_byte_is_found(tmp_path):
    path = tmp_path / "next.msgpack"
    main(str(path))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AssertionError):
        check(path)
