import numpy as np
import pytest

from batiste.serialization import SerializationError, UnserializableTypeError
from batiste.serialization.elements import Elements, elements_of, native


def described(found):
    return found.dtype, found.shape, found.nbytes


def test_arrays_and_scalars():
    found = elements_of(np.arange(6, dtype=">i2").reshape(2, 3))
    assert described(found) == ("int16", (2, 3), 12)
    assert b"".join(found.parts()) == np.arange(6, dtype="<i2").tobytes()
    found = elements_of(np.float32(1))
    assert described(found) == ("float32", (), 4)
    assert b"".join(found.parts()) == b"\0\0\x80?"


def test_parts_can_be_asked_for_again():
    found = elements_of(np.arange(6).reshape(2, 3).T)
    assert b"".join(found.parts()) == b"".join(found.parts()) != b""


def test_elements_are_their_own():
    given = Elements("uint8", (1,), 1, lambda: iter([memoryview(b"a")]))
    assert elements_of(given) is given


@pytest.mark.parametrize("value", [1, "a", None, b"a", [np.zeros(1)], {}, 1j])
def test_what_is_no_array(value):
    assert elements_of(value) is None


def test_what_no_file_gives_back():
    with pytest.raises(SerializationError, match="Arrays of dtype object cannot be"):
        elements_of(np.array([None]))
    with pytest.raises(UnserializableTypeError, match="its mask would be lost"):
        elements_of(np.ma.array([1], mask=[True]))
    with pytest.raises(SerializationError, match="nobody could show its elements"):
        native(np.array([5]).view("datetime64"))
