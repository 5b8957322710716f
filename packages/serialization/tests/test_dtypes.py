import sys

import numpy as np
import pytest

from batiste.serialization import SerializationError
from batiste.serialization.dtypes import dtype_from_name, dtype_name


@pytest.mark.parametrize(
    "code",
    "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 M8[D] m8[25ns] U3 S5 V2 M8".split(),
)
def test_names_lead_back(code):
    dtype = np.dtype(code)
    assert dtype_from_name(dtype_name(dtype)) == dtype


@pytest.mark.parametrize("code", ["f4", "<f4", ">i2", "|u1", "?"])
def test_short_codes_are_read(code):
    assert dtype_from_name(code) == np.dtype(code)


@pytest.mark.parametrize(
    "name",
    [
        "O",
        "object",
        "object64",
        "f4,f4",
        "(2,)f4",
        "V",
        "void",
        "void7",
        "str33",
        "bytes0",
        "str99999999999",
        "bytes999999999",
        "int7",
        "float128[s]",
        "datetime64[q]",
        "datetime64[99999999999D]",
        "{'names': ['a']}",
        "",
        "os.system",
        "float32\x00",
        "bool\n",
    ],
)
def test_other_names_are_refused(name):
    with pytest.raises(SerializationError, match="not one that can be restored here"):
        dtype_from_name(name)


@pytest.mark.parametrize("code", ["O", [("a", "i4")], "2f4,i1"])
def test_dtypes_that_would_lose_something_are_refused(code):
    with pytest.raises(SerializationError, match="cannot be serialized: only numbers"):
        dtype_name(np.dtype(code))


def test_ml_dtypes_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    dtype_from_name.cache_clear()
    with pytest.raises(SerializationError, match="pip install ml_dtypes"):
        dtype_from_name("bfloat16")


def test_ml_dtypes_that_is_too_old_is_named(monkeypatch):
    class Old:
        __version__ = "0.1"

    monkeypatch.setitem(sys.modules, "ml_dtypes", Old())
    with pytest.raises(SerializationError, match=r"ml_dtypes 0.1 .* 'float4_e9m9'"):
        dtype_from_name("float4_e9m9")
