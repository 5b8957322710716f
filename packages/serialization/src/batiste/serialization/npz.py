"""Trees to `.npz` archives of NumPy, and back, a block at a time.

An archive is a zip file with a `.npy` file for each array. Names of branches are joined
with `/`. Two things go into one more member, `batiste.json`, where there are any: what
is no array, and the names of those dtypes for which a `.npy` file has none, as
bfloat16; NumPy itself reads these as raw bytes. Pickled objects are never read.
"""

from __future__ import annotations

import contextlib
import io
import math
import tokenize
import zipfile
from collections.abc import Iterator
from typing import IO, Any, Final, Literal, cast

import numpy as np

from .dtypes import dtype_from_name, dtype_name
from .elements import Elements, elements_of, native
from .errors import SerializationError, join_path
from .flat import flattened, from_json, nested, plain_value, to_json
from .types import Tree
from .unpacking import UNPACKING_ERRORS, check_member

__all__ = [
    "MEMBER",
    "read_npz",
    "write_npz",
]


MEMBER: Final = "batiste.json"
"""The member of an archive that holds what `.npy` files cannot."""

_SUFFIX: Final = ".npy"
_SEPARATOR: Final = "/"
_BLOCK: Final = 2**22
_MAX_MEMBER: Final = 2**26  # bytes of JSON
_ERRORS: Final = (*UNPACKING_ERRORS, OSError)
# What NumPy's reading of a header, which is Python, lets through.
_NO_HEADER: Final = (MemoryError, SyntaxError, TypeError, tokenize.TokenError)


def write_npz(tree: Tree, file: IO[bytes] | io.RawIOBase) -> None:
    """Writes an archive that is not compressed, as `numpy.savez` does.

    Args:
      tree: dicts, and lists, whose leaves are arrays, `Elements`, or Python's numbers,
        strings and None.
      file: open for writing bytes; it need not be able to seek.

    Raises:
      SerializationError: a leaf or a name has no place in the format.

    >>> file = io.BytesIO()
    >>> write_npz({"a": {"b": np.arange(2)}, "step": 7}, file)
    >>> start = file.seek(0)
    >>> np.load(file)["a/b"]
    array([0, 1])
    """
    dtypes: dict[str, str] = {}
    values: dict[str, Any] = {}
    with zipfile.ZipFile(cast(IO[bytes], file), "w") as archive:
        for path, leaf in flattened(tree, _SEPARATOR, fixed=True):
            name = _SEPARATOR.join(path)
            try:
                if any(part in ("", ".", "..") for part in path):
                    raise SerializationError(
                        "A name that is empty or made of dots is a place of its own "
                        "where archives are unpacked. Rename it."
                    )
                if "\0" in name:
                    raise SerializationError(
                        "A name ends in archives where it has a character of the "
                        "number 0. Rename it."
                    )
                elements = elements_of(leaf)
                if elements is None:
                    values[name] = plain_value(leaf)
                    continue
                dtype = dtype_from_name(elements.dtype)
                descr = dtype.str
                if dtype.isbuiltin == 2:  # one of ml_dtypes
                    descr, dtypes[name] = f"|V{dtype.itemsize}", elements.dtype
            except SerializationError as error:
                error.path = join_path(path)
                raise
            with _new_member(archive, name + _SUFFIX) as member:
                header = {
                    "descr": descr,
                    "fortran_order": False,
                    "shape": elements.shape,
                }
                np.lib.format.write_array_header_1_0(member, header)
                for part in elements.parts():
                    member.write(part)
        if dtypes or values:
            text = to_json({"dtypes": to_json(dtypes), "values": to_json(values)})
            with _new_member(archive, MEMBER) as member:
                member.write(text.encode("utf-8", "surrogatepass"))


@contextlib.contextmanager
def read_npz(file: str | IO[bytes]) -> Iterator[Tree]:
    """Opens an archive, and gives its tree, with `Elements` for the arrays.

    These can be read as long as the context lasts.

    Args:
      file: a path, or a file open for reading bytes, which can seek.

    Yields:
      The tree.

    Raises:
      SerializationError: it is no such archive, or a member of it is damaged or no
        array; `path` names it, and `offset` is where it begins.

    >>> file = io.BytesIO()
    >>> np.savez(file, a=np.arange(2))
    >>> with read_npz(file) as tree:
    ...     tree["a"].dtype, tree["a"].shape
    ('int64', (2,))
    """
    try:
        archive = zipfile.ZipFile(file)
    except _ERRORS as error:
        raise SerializationError(
            f"The file is no zip archive that can be read ({error}): it is damaged, or "
            "was cut short.",
            None,
            0,
        ) from None
    with archive, _again(file) as bytes_of_it:
        seen: set[str] = set()
        for info in archive.infolist():
            if info.filename in seen:
                raise _wrong(info, "it is there twice")
            seen.add(info.filename)
            try:
                check_member(bytes_of_it, info)
            except _ERRORS as error:
                raise _wrong(info, str(error)) from None
        dtypes, values = _beside(archive)
        flat: dict[str, Any] = {}
        for info in archive.infolist():
            if info.filename == MEMBER or info.filename.endswith("/"):
                continue
            name = info.filename.removesuffix(_SUFFIX)
            if name == info.filename:
                raise _wrong(info, f"it does not end in {_SUFFIX}")
            flat[name] = _elements(archive, info, dtypes.pop(name, None))
        if unknown := (dtypes.keys() | (flat.keys() & values.keys())):
            raise SerializationError(
                f"The member {MEMBER!r} does not fit the arrays: {min(unknown)!r}. The "
                "file is damaged.",
                min(unknown),
            )
        yield nested({**flat, **values}, _SEPARATOR)


def _again(file: str | IO[bytes]) -> contextlib.AbstractContextManager[IO[bytes]]:
    return open(file, "rb") if isinstance(file, str) else contextlib.nullcontext(file)


@contextlib.contextmanager
def _new_member(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    # The same tree gives the same bytes, at any time.
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    with archive.open(info, "w", force_zip64=True) as member:
        yield member


def _beside(archive: zipfile.ZipFile) -> tuple[dict[str, str], dict[str, Any]]:
    try:
        info = archive.getinfo(MEMBER)
    except KeyError:
        return {}, {}
    if info.file_size > _MAX_MEMBER:
        raise _wrong(info, f"it has {info.file_size} bytes")
    try:
        both = from_json(archive.read(info).decode("utf-8", "surrogatepass"))
        dtypes, values = from_json(both["dtypes"]), from_json(both["values"])
        if not all(isinstance(dtype, str) for dtype in dtypes.values()):
            raise ValueError("a dtype has no name")
    except (*_ERRORS, KeyError, TypeError) as error:
        raise _wrong(info, str(error)) from None
    return cast(dict[str, str], dtypes), values


def _elements(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, said: str | None
) -> Elements:
    try:
        with archive.open(info) as member:
            shape, fortran, dtype = _header(member)
            begin = member.tell()
        if dtype.hasobject:
            raise ValueError(
                "it holds pickled objects, which run code when they are read"
            )
        if said is not None:
            known = dtype_from_name(said)
            if known.itemsize != dtype.itemsize or dtype.kind != "V":
                raise ValueError(f"its elements are not {said}")
            dtype = known
        size = math.prod(shape) * dtype.itemsize
        if begin + size != info.file_size:
            raise ValueError(
                f"an array {dtype}{list(shape)} has {size} bytes, and there are "
                f"{info.file_size - begin}"
            )
        name = dtype_name(_little(dtype))
    except _ERRORS as error:
        what = error.reason if isinstance(error, SerializationError) else str(error)
        raise _wrong(info, what) from None

    def parts() -> Iterator[memoryview]:
        try:
            with archive.open(info) as member:
                member.read(begin)
                if fortran and sum(n != 1 for n in shape) > 1:
                    yield from _other_order(member.read(), shape, "F", dtype)
                    return
                swapped = dtype != _little(dtype)
                left, step = size, max(1, _BLOCK // (dtype.itemsize or 1))
                while left:
                    block = member.read(min(left, step * dtype.itemsize))
                    if not block:
                        raise EOFError("it was cut short")
                    left -= len(block)
                    if swapped:
                        count = len(block) // dtype.itemsize
                        yield from _other_order(block, (count,), "C", dtype)
                    else:
                        yield memoryview(block)
                member.read(1)  # the end is where the check is compared
        except _ERRORS as error:
            raise _wrong(info, str(error)) from None

    return Elements(name, shape, size, parts)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(
            f"version {version[0]}.{version[1]} of the format is for records"
        )
    try:
        return read(member)
    except _NO_HEADER as error:
        raise ValueError(f"its header is damaged ({error})") from None


def _other_order(
    data: bytes, shape: tuple[int, ...], order: Literal["C", "F"], dtype: np.dtype
) -> Iterator[memoryview]:
    array = np.ndarray(shape, dtype, data, order=order)
    found = elements_of(native(array))
    assert found is not None
    yield from found.parts()


def _little(dtype: np.dtype) -> np.dtype:
    try:
        return dtype.newbyteorder("<")
    except TypeError:
        return dtype


def _wrong(info: zipfile.ZipInfo, what: str) -> SerializationError:
    return SerializationError(
        f"The member {info.filename!r} of this archive cannot be read: {what}.",
        info.filename,
        info.header_offset,
    )
