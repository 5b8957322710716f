"""The header of safetensors files: names, dtypes, shapes and places of tensors.

A file is the length of the header (8 bytes, little-endian), the header (JSON), and the
elements of all tensors, one after the other. The header is an object with an entry for
each tensor, and one named `__metadata__`, whose keys and values are strings. Reading
follows the rules of the format to the letter, since where a reader is lax, two of them
see two things in one file: no key twice, no byte of the elements in two tensors or in
none.

The `safetensors` library reads the same headers, but says of what it refuses neither
where it is in the file nor, mostly, which tensor it is; and it gives no views. What is
read and written here is compared with it in the tests, byte by byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

from .errors import SerializationError, listed
from .magic import MAX_HEADER
from .pages import Pages
from .types import Shape

__all__ = [
    "METADATA",
    "PACKED",
    "Header",
    "Tensor",
    "build_header",
    "format_dtype",
    "read_header",
]


METADATA: Final = "__metadata__"
"""The name that is no tensor's."""

_LENGTH: Final = 8  # bytes
_MAX_DIMENSIONS: Final = 64  # of NumPy
_KEYS: Final = frozenset(("dtype", "shape", "data_offsets"))

# In the order of the format, by which tensors are sorted, so that larger elements come
# first and all are aligned. What NumPy has no element for has no name here.
_DTYPES: Final[dict[str, tuple[str, int]]] = {
    "BOOL": ("bool", 8),
    "F4": ("", 4),
    "F6_E2M3": ("", 6),
    "F6_E3M2": ("", 6),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "I16": ("int16", 16),
    "U16": ("uint16", 16),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "I32": ("int32", 32),
    "U32": ("uint32", 32),
    "F32": ("float32", 32),
    "C64": ("complex64", 64),
    "F64": ("float64", 64),
    "I64": ("int64", 64),
    "U64": ("uint64", 64),
}
PACKED: Final = frozenset(name for name, (_, bits) in _DTYPES.items() if bits < 8)
"""The dtypes of the format with several elements to a byte."""

_ORDER: Final = {name: place for place, name in enumerate(_DTYPES)}
_OF_NUMPY: Final = {name: key for key, (name, _) in _DTYPES.items() if name}


class Tensor(NamedTuple):
    """What a header says of a tensor.

    Attributes:
      dtype: the name of its dtype, as NumPy and ml_dtypes have it; that of the format
        for those of less than a byte, which neither has.
      shape: its shape.
      start: where in the file its elements begin.
      size: how many bytes they have.

    >>> Tensor("float32", (3,), 72, 12).size
    12
    """

    dtype: str
    shape: Shape
    start: int
    size: int


class Header(NamedTuple):
    """What a header says.

    Attributes:
      tensors: the tensors by name, in the order of the header.
      metadata: what the writer said of the file.

    >>> Header({}, {"format": "pt"}).metadata["format"]
    'pt'
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def format_dtype(dtype: str) -> str:
    """Gives the format's name of a dtype.

    Raises:
      SerializationError: the format has no such dtype.

    >>> format_dtype("bfloat16"), format_dtype("float8_e4m3fn")
    ('BF16', 'F8_E4M3')
    """
    if dtype not in _OF_NUMPY:
        raise SerializationError(
            f"Arrays of dtype {dtype} have no place in a safetensors file, which holds "
            f"{', '.join(_OF_NUMPY)}. Convert it first, or write msgpack."
        )
    return _OF_NUMPY[dtype]


def build_header(
    arrays: Mapping[str, tuple[str, Shape, int]], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    r"""Makes the first bytes of a file.

    Args:
      arrays: by the names of the tensors, the names of their dtypes, shapes, and
        numbers of bytes.
      metadata: what is to be said of the file.

    Returns:
      The length and the header; and the names in the order in which the elements of
      their tensors have to follow.

    Raises:
      SerializationError: an array has no place in the format, a name no place in JSON,
        or there are so many that nobody would read the header.

    >>> build_header({"a": ("float32", (2,), 8)}, {})[0][8:]
    b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}  '
    """
    keys: dict[str, str] = {}
    for name, (dtype, _, _) in arrays.items():
        if name == METADATA:
            raise SerializationError(
                f"The name {METADATA!r} has a meaning of its own in safetensors files, "
                "and no tensor can have it. Rename it.",
                name,
            )
        try:
            keys[name] = format_dtype(dtype)
        except SerializationError as error:
            error.path = name
            raise
    order = sorted(arrays, key=lambda name: (-_ORDER[keys[name]], name))
    entries: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        _, shape, nbytes = arrays[name]
        entries[name] = {
            "dtype": keys[name],
            "shape": list(shape),
            "data_offsets": [end, end + nbytes],
        }
        end += nbytes
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    try:
        header = text.encode()
    except UnicodeEncodeError as error:
        raise SerializationError(
            f"A name, or the metadata, holds {error.object[error.start]!r}, a half of "
            "a character, which no safetensors file can. Rename it."
        ) from None
    header += b" " * (-len(header) % _LENGTH)
    if len(header) > MAX_HEADER:
        raise SerializationError(
            f"The names and metadata take {len(header)} bytes, and readers of "
            f"safetensors take no more than {MAX_HEADER}. Write several files."
        )
    return len(header).to_bytes(_LENGTH, "little") + header, order


def read_header(data: memoryview | Pages) -> Header:
    r"""Reads the header of a file, and checks it and the length of the file.

    Args:
      data: the whole file.

    Returns:
      What it says.

    Raises:
      SerializationError: it breaks a rule of the format; `path` is the name of the
        tensor, and `offset` where what is said of it begins.

    >>> head, _ = build_header({"a": ("uint8", (2,), 2)}, {"format": "pt"})
    >>> header = read_header(memoryview(head + b"ab"))
    >>> header.metadata, header.tensors["a"].shape
    ({'format': 'pt'}, (2,))
    """
    size = len(data)
    if size < _LENGTH:
        raise SerializationError(
            f"A safetensors file begins with {_LENGTH} bytes that are the length of "
            f"its header, and this one has {size} bytes: it was cut short, or is of "
            "another kind.",
            None,
            size,
        )
    length = int.from_bytes(bytes(data[:_LENGTH]), "little")
    if length > MAX_HEADER:
        raise SerializationError(
            f"The header of this file would have {length} bytes, and no safetensors "
            f"file has one of more than {MAX_HEADER}: it is damaged, or another kind "
            "of file.",
            None,
            0,
        )
    if length > size - _LENGTH:
        raise SerializationError(
            f"The file ends inside its header (bytes missing: "
            f"{length - (size - _LENGTH)}): it was cut short, or is still being "
            "written.",
            None,
            size,
        )
    return _Reader(bytes(data[_LENGTH : _LENGTH + length]), size).read()


class _Twice(NamedTuple):
    """What stands for an object that has a key twice."""

    key: str


class _Reader:
    def __init__(self, header: bytes, size: int) -> None:
        self.header = header
        self.begin = _LENGTH + len(header)  # of the elements
        self.available = size - self.begin

    def read(self) -> Header:
        entries = self._parse()
        metadata = self._metadata(entries.pop(METADATA, {}))
        tensors = {name: self._tensor(name, e) for name, e in entries.items()}
        self._check_places(tensors)
        return Header(tensors, metadata)

    def _parse(self) -> dict[str, Any]:
        if not self.header.startswith(b"{"):
            raise SerializationError(
                "The header of a safetensors file is a JSON object, and this one does "
                "not begin with '{': the file is damaged, or another kind of file.",
                None,
                _LENGTH,
            )
        try:
            text = self.header.decode()
        except UnicodeDecodeError as error:
            raise SerializationError(
                f"The header is not UTF-8 ({error.reason}): the file is damaged.",
                None,
                _LENGTH + error.start,
            ) from None
        try:
            found = json.loads(
                text, object_pairs_hook=_unique, parse_constant=_no_constant
            )
        except json.JSONDecodeError as error:
            raise SerializationError(
                f"The header is no JSON ({error.msg}): the file is damaged.",
                None,
                _LENGTH + len(text[: error.pos].encode()),
            ) from None
        except (ValueError, RecursionError) as error:
            # Integers of thousands of digits, and what is nested that deep.
            what = "it is nested too deep"
            if isinstance(error, ValueError):
                what = str(error).partition(";")[0]
            raise SerializationError(
                f"The header cannot be read ({what}): the file is damaged.",
                None,
                _LENGTH,
            ) from None
        if isinstance(found, _Twice):
            raise SerializationError(
                f"The name {found.key!r} appears twice in the header: two readers "
                "would read two things.",
                found.key,
                self._places(found.key)[1],
            )
        return found

    def _metadata(self, found: Any) -> dict[str, str]:
        if isinstance(found, _Twice):
            self._fail(METADATA, f"it has the key {found.key!r} twice")
        if not isinstance(found, dict):
            self._fail(METADATA, f"{_shown(found)} is not an object of strings")
        for key, value in found.items():
            if not isinstance(value, str):
                self._fail(METADATA, f"the value of {key!r} is not a string")
        return found

    def _tensor(self, name: str, entry: Any) -> Tensor:
        try:
            name.encode()
        except UnicodeEncodeError:
            self._fail(name, "the name holds a half of a character")
        if isinstance(entry, _Twice):
            self._fail(name, f"it has the key {entry.key!r} twice")
        if not isinstance(entry, dict) or not entry.keys() >= _KEYS:
            self._fail(
                name,
                f"{_shown(entry)} is not an object with the keys dtype, shape and "
                "data_offsets",
            )
        dtype, shape, offsets = (entry[k] for k in ("dtype", "shape", "data_offsets"))
        if not isinstance(dtype, str) or dtype not in _DTYPES:
            self._fail(name, f"{_shown(dtype)} is not a dtype of the format")
        if not _are_sizes(shape):
            self._fail(name, f"{_shown(shape)} is not a shape")
        if not _are_sizes(offsets) or len(offsets) != 2:
            self._fail(
                name, f"the offsets {_shown(offsets)} are not a start and an end"
            )
        start, end = offsets
        numpy_name, bits = _DTYPES[dtype]
        if len(shape) > _MAX_DIMENSIONS:
            self._fail(name, f"{len(shape)} axes are more than an array can have")
        count, rest = divmod(math.prod(shape) * bits, 8)
        if start > end or end > self.available:
            self._fail(
                name,
                f"its elements would be in the bytes {start} to {end} of the "
                f"{self.available} that there are",
            )
        if rest or count != end - start:
            self._fail(
                name,
                f"elements of {dtype}{shape} do not have {end - start} bytes",
            )
        return Tensor(numpy_name or dtype, tuple(shape), self.begin + start, count)

    def _check_places(self, tensors: dict[str, Tensor]) -> None:
        """Every byte of the elements belongs to one tensor."""
        end = self.begin
        last = ""
        places = sorted(
            (t.start, t.start + t.size, name) for name, t in tensors.items()
        )
        for start, behind, name in places:
            if start < end:
                self._fail(name, f"its elements overlap those of {last!r}")
            if start > end:
                self._fail(
                    name,
                    f"between its elements and those before it are {start - end} bytes "
                    "that belong to no tensor",
                )
            end, last = behind, name
        if left := self.begin + self.available - end:
            raise SerializationError(
                f"The last {left} bytes of this file belong to no tensor: it is "
                "damaged, or something was added to it.",
                None,
                end,
            )

    def _fail(self, name: str, what: str) -> NoReturn:
        offset = next(iter(self._places(name)), _LENGTH)
        raise SerializationError(
            f"What the header says of {name!r} is wrong: {what}. The file is damaged.",
            name,
            offset,
        )

    def _places(self, name: str) -> list[int]:
        return [offset for other, offset in self._entries() if other == name]

    def _entries(self) -> Iterable[tuple[str, int]]:
        """The names of the header, and where they begin in the file.

        It is known to be JSON. This is much slower than to read it, and for messages.
        """
        text = self.header.decode()
        decoder = json.JSONDecoder()
        at = _skip(text, 1)
        offset, counted = _LENGTH, 0
        while text[at] == '"':
            offset, counted = offset + len(text[counted:at].encode()), at
            name, at = decoder.raw_decode(text, at)
            yield name, offset
            at = _skip(text, _skip(text, at) + 1)  # behind the colon
            _, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            at = _skip(text, at + (text[at] == ","))


def _skip(text: str, at: int) -> int:
    while text[at] in " \t\r\n":
        at += 1
    return at


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        return _Twice(next(k for k, _ in pairs if k in seen or seen.add(k)))
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number in JSON")


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and n >= 0 for n in found)


def _shown(found: Any) -> str:
    return listed([found])
