import io
import sys

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    msgpack_restore,
    msgpack_serialize,
    restore,
    to_bytes,
)
from batiste.serialization.dtypes import dtype_from_name, dtype_name, unprintable


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


@pytest.mark.parametrize("unit", ["Y", "D", "h", "s", "ns", "as"])
@pytest.mark.parametrize("kind", ["datetime64", "timedelta64"])
@pytest.mark.parametrize("multiple", ["0", "00", "07", "-1", "+1"])
def test_units_that_numpy_would_divide_by_are_refused(kind, unit, multiple):
    with pytest.raises(SerializationError, match="not one that can be restored here"):
        dtype_from_name(f"{kind}[{multiple}{unit}]")


def test_dates_in_units_of_nothing_are_not_written():
    with pytest.raises(SerializationError, match="cannot be serialized"):
        msgpack_serialize({"a": np.zeros(2, "M8[0s]")})


def test_dates_without_a_unit():
    array = np.full(2, np.iinfo(np.int64).min).view("M8")
    assert unprintable(array) == ""
    assert np.isnat(msgpack_restore(msgpack_serialize({"a": array}))["a"]).all()
    array = np.array([5, 6], "i8").view("M8")
    with pytest.raises(SerializationError, match=r"dates have no unit, .*astype"):
        msgpack_serialize({"a": array})
    data = msgpack_serialize({"a": np.array([5], "M8[s]")})
    data = data.replace(b"datetime64[s]", b"<M8").replace(b"\xad<M8", b"\xa3<M8")
    data = data.replace(bytes([0x18]), bytes([0x0E]), 1)
    for function in (msgpack_restore, lambda d: restore(io.BytesIO(d), copy=True)):
        with pytest.raises(SerializationError):
            function(data)


def test_text_that_is_none_is_not_written():
    array = np.array([0x110000], "u4").view("U1")
    with pytest.raises(SerializationError, match="what are no characters"):
        msgpack_serialize({"a": array})


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="needs NumPy 2")
def test_strings_of_any_width_are_refused():
    array = np.array(["a", "bc"], np.dtypes.StringDType())
    for tree in ({"a": array}, [array], {"a": array[:0]}):
        with pytest.raises(SerializationError, match="cannot be serialized: only") as e:
            to_bytes(tree)
        assert e.value.path in ("a", "0")


NAMES = (
    "complex32 bcomplex32 bfloat16 float4_e2m1fn float6_e2m3fn float6_e3m2fn "
    "float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn float8_e4m3fnuz "
    "float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int2 int4 uint1 uint2 uint4"
)


@pytest.mark.parametrize("name", NAMES.split())
def test_types_of_ml_dtypes(name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    if not hasattr(ml_dtypes, name):
        pytest.skip(f"this ml_dtypes has no {name}")
    array = np.array([1, 0, 1]).astype(getattr(ml_dtypes, name))
    found = msgpack_restore(msgpack_serialize({"a": array, "s": array[0]}))
    assert found["a"].dtype == array.dtype
    assert found["a"].tobytes() == array.tobytes()
    assert found["s"] == array[0]
