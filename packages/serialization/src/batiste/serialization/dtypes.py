"""Names of element types: what is written for a dtype, and what may be read back."""

from __future__ import annotations

import functools
import re
import sys

import numpy as np

from .errors import SerializationError

__all__ = [
    "dtype_from_name",
    "dtype_name",
    "unprintable",
]


# NumPy understands far more in a dtype string (fields, subarrays, objects) than a file
# of plain arrays has any use for, so that only these names ever reach it. It divides by
# the number before a unit without a look at it.
_NUMPY_NAME = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64|80|96|128)|complex(64|128|160|192|256)"
    r"|(datetime64|timedelta64)(\[([1-9]\d{0,8})?([YMWDhms]|[munpfa]s)\])?"
    r"|[<>=|]?([?bBhHiIlLqQefdFD]|[biufcmM]\d{1,2})"
)
_ML_DTYPES_NAME = re.compile(r"b?complex32|bfloat16|float[468]_[a-z0-9]+|u?int[124]")
# `dtype.name` of fixed-width text and raw bytes counts bits.
_SIZED_NAME = re.compile(r"(str|bytes|void)([1-9]\d{0,9})")
_SIZED_CODES = {"str": ("U", 32), "bytes": ("S", 8), "void": ("V", 8)}


def dtype_name(dtype: np.dtype) -> str:
    """Gives the name under which arrays of a dtype are written.

    Raises:
      SerializationError: the name would not lead back to the dtype, as for objects,
        records and variable-width strings.

    >>> dtype_name(np.dtype("<f4"))
    'float32'
    """
    # NumPy divides by the number of units when it compares such a dtype, or hashes it.
    if dtype.kind in "mM" and np.datetime_data(dtype)[1] == 0:
        raise SerializationError(
            f"Arrays of dtype {dtype} cannot be serialized: no date is a multiple of 0 "
            "units. Make them with a unit such as datetime64[s]."
        )
    return _name(dtype)


@functools.lru_cache(maxsize=256)
def _name(dtype: np.dtype) -> str:
    name = dtype.name
    try:
        same = not dtype.hasobject and dtype_from_name(name) == dtype
    except SerializationError:
        same = False
    if not same:
        raise SerializationError(
            f"Arrays of dtype {dtype} cannot be serialized: only numbers, booleans, "
            "dates, and text or bytes of fixed width can. Save the fields of a record "
            "as arrays of their own, and convert objects first."
        )
    return name


@functools.lru_cache(maxsize=256)
def dtype_from_name(name: str) -> np.dtype:
    """Gives the dtype that a name stands for; imports ml_dtypes for its own names.

    Raises:
      SerializationError: no dtype of plain data has that name, or it is one of
        ml_dtypes, which is not installed.

    >>> dtype_from_name("float32")
    dtype('float32')
    """
    if sized := _SIZED_NAME.fullmatch(name):
        code, bits = _SIZED_CODES[sized[1]]
        width, rest = divmod(int(sized[2]), bits)
        code = f"{code}{width}" if not rest else ""
    elif _ML_DTYPES_NAME.fullmatch(name):
        return _ml_dtype(name)
    else:
        code = name if _NUMPY_NAME.fullmatch(name) else ""
    try:
        if code:
            return np.dtype(code)
    except (TypeError, ValueError, OverflowError):
        pass  # float96 and the like exist on some machines only; widths have a limit
    raise SerializationError(
        f"The element type {name[:100]!r} is not one that can be restored here: the "
        "data is damaged, or it was written on another kind of machine."
    )


def _ml_dtype(name: str) -> np.dtype:
    try:
        import ml_dtypes
    except ImportError:
        raise SerializationError(
            f"The element type {name!r} needs the package ml_dtypes, which is not "
            "installed: pip install ml_dtypes."
        ) from None
    scalar = getattr(ml_dtypes, name, None)
    if scalar is None:
        raise SerializationError(
            f"The installed ml_dtypes {ml_dtypes.__version__} does not know the "
            f"element type {name!r}; a newer one may."
        )
    return np.dtype(scalar)


def unprintable(array: np.ndarray) -> str:
    """Tells why NumPy could not print, compare or convert the elements of an array.

    Args:
      array: of a dtype that has a name.

    Returns:
      A clause; an empty string if it can.

    >>> unprintable(np.array(["2020"], "datetime64[D]"))
    ''
    >>> unprintable(np.array([5]).view("datetime64"))
    'its dates have no unit, such as the [s] of datetime64[s]'
    """
    kind = array.dtype.kind
    # Without a unit there is no date but NaT, and NumPy trusts text to be text.
    if kind == "M" and np.datetime_data(array.dtype)[0] == "generic":
        if not np.isnat(array).all():
            return "its dates have no unit, such as the [s] of datetime64[s]"
    elif kind == "U" and array.size and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).view(np.uint32)
        if codes.max() > sys.maxunicode:
            return "its text holds what are no characters"
    return ""
