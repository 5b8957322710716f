"""Hostile files of safetensors, NumPy and archives; what is done with each of them.

A file is listed, opened and read to its end, restored, converted to each format, and
compared with another one. Each of these gives a value or the one error; none takes
longer than a minute, or more memory than the file and a block of it.
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Files", "hostile_file"]

DTYPES = """BOOL F4 F6_E2M3 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 I16 U16 F16 BF16 I32 U32 F32
C64 F64 I64 U64 F128 float32""".split()
BITS = dict(zip(DTYPES, (8, 4, 6, 8, 8, 8, 8, 8, 16, 16, 16, 16, 32, 32, 32, 64, 64)))
DESCRS = """<f4 >f4 <f2 |b1 |u1 <i8 >i2 <c8 <U3 |S4 |O |V2 <M8[s] <m8[D] <f16 <c32
float32 |V0 <U0 |S0 <M8 [('a','<f4')] (2,)<f4""".split()
NAMES = (
    "a",
    "b",
    "a.b",
    "a.c",
    "a/b",
    "",
    ".",
    "..",
    "../a",
    "__metadata__",
    "\x1b[2J",
)
NAMES += ("é", "0", "batiste.json", "a.npy", "__int__", "\ud800", "x" * 300, "a..b")
NUMBERS = (0, 1, 2, 3, -1, 2**31, 2**32, 2**63, 2**64, 10**30, 1.5, "1", None, True)
SECONDS = 60
BLOCKS = 2**25  # what may be in memory besides the file


def some(rng: random.Random, *choices: Any) -> Any:
    """One of these."""
    return rng.choice(choices)


def safetensors_file(rng: random.Random) -> bytes:
    """A file of a few tensors, in whose header something may be wrong."""
    wrong = rng.random() < 0.6
    entries: list[tuple[str, Any]] = []
    at = 0
    for _ in range(rng.randrange(5)):
        name = rng.choice(NAMES) if wrong else f"{rng.choice('abc')}.{len(entries)}"
        dtype = rng.choice(DTYPES if wrong else DTYPES[7:17])
        shape: Any = [rng.randrange(4) for _ in range(rng.randrange(4))]
        size = BITS.get(dtype, 8)
        for n in shape:
            size *= n
        offsets: Any = [at, at + size // 8]
        at += size // 8
        if wrong and rng.random() < 0.2:
            shape = some(rng, shape, [rng.choice(NUMBERS)], [2**20] * 4, [0] * 70, 3)
        if wrong and rng.random() < 0.2:
            i = rng.randrange(2)
            offsets[i] = some(rng, offsets[i] + 1, offsets[i] - 1, rng.choice(NUMBERS))
        entry: Any = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        if wrong and rng.random() < 0.1:
            entry.pop(rng.choice(list(entry)))
            entry = some(rng, entry, None, [], {}, {**entry, "more": 1})
        entries.append((name, entry))
    if rng.random() < 0.3:
        said = some(rng, {"format": "pt"}, {"batiste": "{}"}, {"a": 1}, [], {"a": None})
        entries.append(("__metadata__", said))
    if rng.random() < 0.2:
        plain = {"batiste.step": "7", "batiste": '{"step":7}', "format": "\x00\ud800"}
        entries.append(("__metadata__", plain))
    rng.shuffle(entries)
    pairs = (f"{json.dumps(n)}:{json.dumps(e)}" for n, e in entries)
    text = "{" + ",".join(pairs) + "}"
    if wrong and rng.random() < 0.1:
        text = some(
            rng, text[:-1], text + "x", "[" * 3000, '{"a":' * 3000, "{NaN}", "9" * 5000,
            text.replace(":", ": ", 3), '{"a":1e999}', '{"a":\ud800}'.encode(
                "utf-8", "surrogatepass").decode("latin-1"),
        )  # fmt: skip
    header = text.encode("utf-8", "surrogatepass")
    header += b" " * (-len(header) % 8 if rng.random() < 0.9 else rng.randrange(9))
    length = len(header)
    if wrong and rng.random() < 0.1:
        length = some(rng, 0, 1, length - 1, length + 1, 10**8, 2**31, 2**63, 2**64 - 1)
    data = rng.randbytes(min(at, 4096))
    if wrong and rng.random() < 0.1:
        data = some(rng, data[:-1], data + b"\0", b"")
    return length.to_bytes(8, "little") + header + data


def npy(rng: random.Random, wrong: bool) -> bytes:
    """A file of one array."""
    import numpy as np

    shape = tuple(rng.randrange(4) for _ in range(rng.randrange(4)))
    descr = rng.choice(DESCRS if wrong else DESCRS[:10])
    try:
        size = np.dtype(descr).itemsize
    except (TypeError, ValueError):
        size = 4
    for n in shape:
        size *= n
    if wrong and rng.random() < 0.2:
        shape = some(
            rng, (2**40,), (2**31, 2**31), (-1,), (2**63,), (1,) * 70, "3", (1.5,)
        )
    fields: dict[str, Any] = {
        "descr": descr, "fortran_order": rng.random() < 0.3, "shape": shape
    }  # fmt: skip
    if wrong and rng.random() < 0.1:
        fields.pop(rng.choice(list(fields)))
    text = repr(fields)
    if wrong and rng.random() < 0.1:
        text = some(rng, text[:-1], "(" * 500, "1" * 5000, "__import__('os')", "{}", "")
    version = some(rng, 1, 1, 1, 2, 3) if not wrong else some(rng, 1, 2, 3, 4, 0)
    head = text.encode("latin-1", "replace")
    width = 2 if version == 1 else 4
    head += b" " * (-(8 + width + len(head)) % 64) + b"\n"
    length = len(head)
    if wrong and rng.random() < 0.1:
        length = some(rng, 0, length + 1, 2**16 - 1, 2 ** (8 * width) - 1)
    data = (
        bytes(min(size, 4096)) if rng.random() < 0.5 else rng.randbytes(min(size, 99))
    )
    start = b"\x93NUMPY" + bytes([version, 0])
    if wrong and rng.random() < 0.05:
        start = rng.randbytes(8)
    return start + length.to_bytes(width, "little") + head + data


def zip_file(rng: random.Random, members: list[tuple[str, bytes]]) -> bytes:
    """An archive; at times a few of its bytes are others."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name.replace("\ud800", "?"))
            info.compress_type = some(
                rng, 0, 0, 0, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA
            )
            archive.writestr(info, data)
        if rng.random() < 0.1:
            archive.comment = b"PK\5\6" * 3
    return file.getvalue()


def npz_file(rng: random.Random) -> bytes:
    """An archive of arrays, and of what is beside them."""
    wrong = rng.random() < 0.6
    members = []
    for i in range(rng.randrange(4)):
        name = rng.choice(NAMES) if wrong else f"a/{i}"
        members.append((f"{name}.npy", npy(rng, wrong and rng.random() < 0.5)))
    if rng.random() < 0.4:
        dtypes = some(rng, {}, {"a/0": "bfloat16"}, {"a": 1}, {"b": "float99"}, [])
        values = some(rng, {}, {"step": 7}, {"a/0": 1}, {"x": {}}, {"x": [1]}, None)
        both = {"dtypes": json.dumps(dtypes), "values": json.dumps(values)}
        text = json.dumps(some(rng, both, both, both, dtypes, {"dtypes": both}))
        members.append(("batiste.json", text.encode()))
    return zip_file(rng, members)


def bomb(rng: random.Random) -> bytes:
    """A small archive of an array that is large."""
    size = some(rng, 2**20, 2**25)
    text = repr({"descr": "|u1", "fortran_order": rng.random() < 0.2, "shape": (size,)})
    head = text.encode() + b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    start = b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", start + bytes(size))
    return file.getvalue()


def archive_file(rng: random.Random) -> bytes:
    """A `.tar` or `.zip` with files in it."""
    names = ["model.safetensors", "a/b.msgpack", "a/c.npz", "../x", "/abs", "./d", "e/"]
    members = [
        (rng.choice(names), some(rng, safetensors_file, npz_file)(rng))
        for _ in range(rng.randrange(3))
    ]
    if rng.random() < 0.5:
        return zip_file(rng, members)
    file = io.BytesIO()
    mode: Any = some(rng, "w", "w", "w:gz", "w:bz2", "w:xz")
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.type = some(rng, tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE)
            info.linkname = some(rng, "", "..", name)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return file.getvalue()


def damaged(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, taken out or put in, or the end cut off."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.3:  # near the end, where zip archives have their lists
            at = max(0, len(data) - rng.randrange(1, 120))
        kind = rng.randrange(5)
        if kind == 0:
            data = data[:at]
        elif kind == 1:
            data = data[:at] + rng.randbytes(1) + data[at + 1 :]
        elif kind == 2:
            put = some(rng, b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x80")
            data = data[:at] + put + data[at + 4 :]
        elif kind == 3:
            data = data[:at] + data[at + rng.randrange(1, 9) :]
        else:
            data = data[:at] + data[at : at + 16] + data[at:]
    return data


MAKERS: tuple[Callable[[random.Random], bytes], ...] = (
    *(safetensors_file,) * 4,
    *(npz_file,) * 4,
    archive_file,
)


def hostile_file(rng: random.Random) -> bytes:
    """A file of one of the formats, damaged or not."""
    if rng.random() < 0.002:
        return bomb(rng)
    data = rng.choice(MAKERS)(rng)
    return damaged(rng, data) if rng.random() < 0.3 else data


class Files:
    """Does with files what the package does.

    Args:
      folder: where they are.
      rng: what chance follows from.
    """

    def __init__(self, folder: Path, rng: random.Random):
        self.folder, self.rng = folder, rng
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.other = folder / "file", folder / "other"
        self.done = 0
        self.converted = 0
        self.other.write_bytes((2).to_bytes(8, "little") + b"{}")
        signal.signal(signal.SIGALRM, _too_slow)
        tracemalloc.start()

    def examine(self, data: bytes) -> bool:
        """Whether the bytes are read to their end."""
        self.file.write_bytes(data)
        if data[:2] == b"PK" and self.rng.random() < 0.5:
            self.file = self.file.with_suffix(self.rng.choice(("", ".npz", ".zip")))
            self.file.write_bytes(data)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        signal.alarm(SECONDS)
        try:
            read = self._all()
        finally:
            signal.alarm(0)
        _, most = tracemalloc.get_traced_memory()
        assert most - before < BLOCKS + 200 * len(data), f"{most - before:,} bytes"
        if read and self.rng.random() < 0.2:
            os.replace(self.file, self.other)
        self.done += 1
        return read

    def _all(self) -> bool:
        from batiste.serialization import restore
        from batiste.serialization.comparing import compare, leaves_of
        from batiste.serialization.converting import KINDS, convert
        from batiste.serialization.elements import elements_of
        from batiste.serialization.listing import render, rows
        from batiste.serialization.sources import opened

        name = str(self.file)
        refused(lambda: render(rows(name)))
        refused(lambda: render(rows(name, "a/0")))
        refused(lambda: repr(restore(name, path=self.rng.choice(("", "a")))))
        separator = self.rng.choice((".", "/", None))
        refused(lambda: restore(name, copy=True, separator=separator))

        def read() -> bool:
            with opened(name, separator=separator) as source:
                for leaf in leaves_of(source.tree).values():
                    found = elements_of(leaf)
                    if found is not None and source.kind != "archive":
                        size = sum(map(len, found.parts()))
                        assert size == found.nbytes
                return source.kind != "archive"

        def differences() -> list[str]:
            with opened(name) as one, opened(str(self.other)) as two:
                return [each.text() for each in compare(one.tree, two.tree)]

        whole = bool(refused(read))
        refused(differences)
        for inner in ("model.safetensors", "a", "a/c.npz"):
            if name.endswith("zip") or self.rng.random() < 0.05:
                refused(lambda inner=inner: rows(f"{name}/{inner}"), OSError)
        kind = self.rng.choice([kind for kind in KINDS if kind != "orbax"])
        target = str(self.folder / "target")
        made = refused(
            lambda: convert(name, target, kind, separator=separator, force=True)
        )
        if made:
            self.converted += 1
            again = opened(target, separator=separator)
            with opened(name, separator=separator) as one, again as two:
                found = list(compare(one.tree, two.tree))
            assert not found, found
        assert {path.name for path in self.folder.iterdir()} <= {
            "file", "file.npz", "file.zip", "other", "target"
        }  # fmt: skip
        return whole


def refused(run: Callable[[], Any], *others: type[Exception]) -> Any:
    """What comes of it, or None where the one error does, whose text can be shown."""
    from batiste.serialization import SerializationError

    try:
        return run()
    except SerializationError as error:
        assert str(error).isprintable(), ascii(error)
        assert len(str(error)) < 10_000
    except others:
        pass
    return None


def _too_slow(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")
