"""The file of an exported model: a zip file that NumPy opens, too.

It holds, uncompressed, `metadata.json`; `program`, for `jax.export.deserialize`; and
`weights/0.npy` and so on, in the order in which the program takes them. An element type
that NumPy lacks, such as bfloat16, is stored as bytes of its size. Each has a checksum.
"""

from __future__ import annotations

import io as io_module
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from .. import io
from ..checkpoints.msgpack import write_file
from ..errors import ExportedFileError

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "Archive",
    "read_archive",
    "write_archive",
]

FORMAT = "batiste.export"
FORMAT_VERSION = 1
_METADATA, _PROGRAM, _WEIGHTS = "metadata.json", "program", "weights/{}.npy"
# The record at the end: how many members, and where the list of them is.
_END = struct.Struct("<4s4H2LH")
_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same model is the same bytes


class Archive(NamedTuple):
    """What is in a file.

    Attributes:
      metadata: what JSON has.
      program: what JAX serialized.
      weights: arrays, as NumPy stores them.
    """

    metadata: dict[str, Any]
    program: bytes
    weights: list[np.ndarray]


def write_archive(
    path: str | os.PathLike[str],
    metadata: dict[str, Any],
    program: bytes | bytearray,
    weights: Sequence[Any],
) -> int:
    """Writes a file so that it is there whole or not at all.

    Args:
      path: the file's name; a file that is there is replaced.
      metadata: what JSON has.
      program: what JAX serialized.
      weights: arrays; one after the other is brought to the host.

    Returns:
      The number of bytes.

    Raises:
      IsADirectoryError: `path` is a folder.
      OSError: the file cannot be written.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'model.zip')
    ...     size = write_archive(path, {'format': FORMAT}, b'...', [np.ones(3)])
    ...     np.load(path)['weights/0'], size == os.path.getsize(path)
    (array([1., 1., 1.]), True)
    """
    name = os.fspath(path)
    if io.isdir(name):
        raise IsADirectoryError(f'"{name}" is a folder; give the name of a file in it.')

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(_Forward(file), "w", zipfile.ZIP_STORED) as archive:
            text = json.dumps(metadata, indent=1)
            archive.writestr(zipfile.ZipInfo(_METADATA, _DATE), text)
            archive.writestr(zipfile.ZipInfo(_PROGRAM, _DATE), bytes(program))
            for number, weight in enumerate(weights):
                info = zipfile.ZipInfo(_WEIGHTS.format(number), _DATE)
                with archive.open(info, "w", force_zip64=True) as member:
                    np.lib.format.write_array(
                        member, _storable(weight), version=(1, 0), allow_pickle=False
                    )

    write_file(write, name)
    return io.getsize(name)


class _Forward(io_module.RawIOBase):
    """A file that is only written on, never back at what is there: a store, a check."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._file.write(data)


def _storable(weight: Any) -> np.ndarray:
    array = np.asarray(weight, order="C")
    if array.dtype.isbuiltin == 1:
        return array
    return array.view(np.dtype(f"V{array.dtype.itemsize}"))


def read_archive(path: str | os.PathLike[str]) -> Archive:
    """Reads a file that `write_archive` wrote.

    Raises:
      ExportedFileError: it is another file, damaged, or of a later format.
      OSError: it cannot be read.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'model.zip')
    ...     metadata = {'format': FORMAT, 'format_version': 1}
    ...     _ = write_archive(path, metadata, b'...', [np.ones(3)])
    ...     read_archive(path).weights
    [array([1., 1., 1.])]
    """
    name = os.fspath(path)
    with io.GFile(name, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = _read(archive, name)
                _check_number(file, len(archive.infolist()))
                return found
        # What zipfile and NumPy raise of bytes that are not theirs.
        except (
            *(zipfile.BadZipFile, EOFError, KeyError, MemoryError),
            *(NotImplementedError, RuntimeError, ValueError, OverflowError),
        ) as error:
            if isinstance(error, ExportedFileError):
                raise
            file.seek(0)
            ours = file.read(4) in (b"PK\3\4", b"")
            what = (
                f"it is damaged or cut short ({_text(error)}). Take another copy, or "
                "export the model again."
                if ours
                else "it is no file of `batiste.training.export.save`, which are zip "
                "files."
            )
            raise ExportedFileError(name, what) from error


def _read(archive: zipfile.ZipFile, path: str) -> Archive:
    members = {info.filename: info for info in archive.infolist()}
    metadata = None
    if _METADATA in members:
        metadata = json.loads(_bytes(archive, members[_METADATA]))
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ExportedFileError(
            path,
            "it is a zip file, but none of `batiste.training.export.save`: its "
            f'"{_METADATA}" does not say "{FORMAT}".',
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise ExportedFileError(
            path,
            f"its format has the version {version!r}, and this Batiste reads "
            f"{FORMAT_VERSION}. Load it with a newer batiste-training.",
        )
    program = _bytes(archive, members[_PROGRAM])
    weights = list(_weights(archive, members))
    if len(weights) + 2 != len(members) or len(members) != len(archive.infolist()):
        raise ValueError("its list of contents is not complete")
    return Archive(metadata, program, weights)


def _check_number(file: IO[Any], number: int) -> None:
    """Compares with the number of members that the end of the file has.

    `zipfile` does not, and a wrong length in the list of contents hides those after it.
    """
    file.seek(-_END.size, os.SEEK_END)
    *_, total, _, _, comment = _END.unpack(file.read(_END.size))
    if total != min(number, 0xFFFF) or comment:
        raise ValueError(f"its list of contents has {number} of {total} members")


def _weights(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]
) -> Iterator[np.ndarray]:
    number = 0
    while info := members.get(_WEIGHTS.format(number)):
        data = io_module.BytesIO(_bytes(archive, info))
        yield np.lib.format.read_array(data, allow_pickle=False)
        number += 1


def _bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Reads what was stored as it is: no more than the file has."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed, which it never is")
    return archive.read(info)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
