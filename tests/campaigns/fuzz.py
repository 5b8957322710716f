"""Hostile bytes, by the minute: each is read, or refused with the one error.

    python tests/campaigns/fuzz.py --minutes 10 [--seed 0] [--out FOLDER]

A part of the time goes to atheris, where it is installed, which mutates towards code
that was not reached yet; a part to a grammar that knows msgpack; and a part to files of
safetensors, NumPy (.npz), .tar and .zip, which are listed, restored, converted and
compared. Each runs in a process of its own, so that one that is killed is a finding
too. A finding is an input of a few bytes, left in FOLDER.
"""

import argparse
import contextlib
import io
import mmap
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from shared.files import Files, hostile_file
from shared.reporting import Report, add_options, command

TYPES = """bool int8 uint16 int32 uint64 float16 float32 float64 float128 complex64
complex128 complex256 bfloat16 float8_e5m2 int4 uint2 complex32 bcomplex32 str32 str64
bytes8 bytes24 void16 datetime64 datetime64[s] datetime64[0s] datetime64[25ns]
timedelta64 timedelta64[D] timedelta64[0Y] timedelta64[999999999as] M8 m8 <f4 >i2 object
O V f4,f4 float7""".split()
LARGEST = 2**16
CHILD = "BATISTE_FUZZ_CHILD"


def examine(data: bytes) -> bool:
    """Whether the bytes are read; what is read can be shown and written again."""
    from batiste.serialization import (
        SerializationError,
        msgpack_restore,
        msgpack_serialize,
        restore,
    )
    from batiste.serialization.listing import render, rows

    try:
        tree = msgpack_restore(data)
    except SerializationError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 10_000
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
        return False
    with contextlib.suppress(OverflowError):
        repr(tree)  # NumPy 2.5 does not show dates that are too far off
    again = msgpack_serialize(tree, in_place=True)
    assert msgpack_serialize(msgpack_restore(again), in_place=True) == again
    assert render(rows(io.BytesIO(data)))
    try:
        restore(io.BytesIO(data), path="a/0", copy=True)
    except SerializationError as error:
        assert str(error).isprintable()
    return True


def head(rng: random.Random, small: int, codes: tuple[int, ...], size: int) -> bytes:
    """The first bytes of text, bytes, a list or a map; at times of a wrong length."""
    if rng.random() < 0.01:
        size = rng.choice((0, 1, 2**16, 2**31, 2**32 - 1))
    width = rng.choice((1, 2, 4)[-len(codes) :])
    if small and size < 16 and rng.random() < 0.7:
        return bytes([small + size])
    if size >= 1 << 8 * width:
        width = 4
    code = codes[(1, 2, 4)[-len(codes) :].index(width)]
    return bytes([code]) + size.to_bytes(width, "big")


def text(rng: random.Random, value: bytes) -> bytes:
    """A string."""
    return head(rng, 0xA0, (0xD9, 0xDA, 0xDB), len(value)) + value


def binary(rng: random.Random, value: bytes) -> bytes:
    """A bytes value."""
    return head(rng, 0, (0xC4, 0xC5, 0xC6), len(value)) + value


def number(rng: random.Random) -> bytes:
    """A number, or a constant."""
    kind = rng.randrange(6)
    if kind == 0:
        return bytes([rng.choice((0, 1, 0x7F, 0xE0, 0xFF, 0xC0, 0xC2, 0xC3))])
    if kind == 1:
        return b"\xcb" + rng.choice((b"\x7f\xf8" + bytes(6), rng.randbytes(8)))
    width = rng.choice((1, 2, 4, 8))
    code = (0xCC, 0xD0)[kind % 2] + (1, 2, 4, 8).index(width)
    return bytes([code]) + rng.randbytes(width)


def extension(rng: random.Random, code: int, inner: bytes) -> bytes:
    """An extension with a length of two bytes."""
    return b"\xc8" + min(len(inner), 65535).to_bytes(2, "big") + bytes([code]) + inner


def array(rng: random.Random, scalar: bool) -> bytes:
    """An array, or a scalar of NumPy; mostly one whose size fits."""
    from batiste.serialization import SerializationError
    from batiste.serialization.dtypes import dtype_from_name

    name = rng.choice(TYPES)
    shape = [] if scalar else [rng.randrange(4) for _ in range(rng.randrange(4))]
    size = 1
    for length in shape:
        size *= length
    try:
        size *= dtype_from_name(name).itemsize
    except SerializationError:
        size *= 8
    data = bytes(size) if rng.random() < 0.4 else rng.randbytes(size)
    lengths = b"".join(bytes([n]) for n in shape)
    inner = b"\x93" + head(rng, 0x90, (0xDC, 0xDD), len(shape)) + lengths
    return extension(
        rng, 3 if scalar else 1, inner + text(rng, name.encode()) + binary(rng, data)
    )


def value(rng: random.Random, depth: int = 0) -> bytes:
    """Any value of the format."""
    kind = rng.randrange(10 if depth < 5 else 7)
    if kind < 2:
        return number(rng)
    if kind == 2:
        return text(rng, rng.choice((b"a", b"0", b"\x1b[2J", rng.randbytes(3), b"")))
    if kind == 3:
        return binary(rng, rng.randbytes(rng.randrange(5)))
    if kind == 4:
        return extension(rng, 2, b"\x92" + number(rng) + number(rng))
    if kind < 7:
        return array(rng, kind == 5)
    count = rng.randrange(5)
    if kind == 7:
        items = b"".join(value(rng, depth + 1) for _ in range(count))
        return head(rng, 0x90, (0xDC, 0xDD), count) + items
    if kind == 8 and rng.random() < 0.5:
        flat = array(rng, False)
        parts = ((b"__msgpack_chunked_array__", b"\xc3"), (b"shape", b"\x81\xa10\x03"))
        start = b"".join(text(rng, k) + v for k, v in parts)
        return b"\x83" + start + text(rng, b"chunks") + b"\x81\xa10" + flat
    pairs = [value(rng, 9) + value(rng, depth + 1) for _ in range(count)]
    return head(rng, 0x80, (0xDE, 0xDF), count) + b"".join(pairs)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """One byte changed, taken out or put in, or the end cut off."""
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return data[:at]
    put = b"" if kind == 1 else rng.randbytes(1)
    return data[:at] + put + data[at + (kind != 3) :]


def message(rng: random.Random) -> bytes:
    """A message of msgpack, damaged or not."""
    data = value(rng)[: LARGEST - 4]
    return mutated(rng, data) if rng.random() < 0.3 else data


def grammar(seconds: float, options: argparse.Namespace) -> None:
    """Examines what the grammar of msgpack makes."""
    rng = random.Random(options.seed)
    _examine_all("grammar", seconds, options, lambda: message(rng), examine)


def other_files(seconds: float, options: argparse.Namespace) -> None:
    """Examines files of the other formats, in a folder that is in memory if it can."""
    rng = random.Random(options.seed)
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        found = Files(Path(folder), rng)
        more = lambda: f", {found.converted:,} converted"  # noqa: E731
        make = lambda: hostile_file(rng)[: LARGEST - 4]  # noqa: E731
        _examine_all("files", seconds, options, make, found.examine, more)


def _examine_all(
    kind: str,
    seconds: float,
    options: argparse.Namespace,
    make: Callable[[], bytes],
    examine: Callable[[bytes], bool],
    more: Callable[[], str] = str,
) -> None:
    """Examines what is made; the last input is in a file, come what may."""
    report = Report(kind, options, every=60)
    last = options.out / f"{kind}-last"
    last.write_bytes(bytes(LARGEST))
    with open(last, "r+b") as file, mmap.mmap(file.fileno(), LARGEST) as note:
        read = 0
        slowest = 0.0
        end = time.monotonic() + seconds
        while (begun := time.monotonic()) < end:
            data = make()
            note[: len(data) + 4] = len(data).to_bytes(4, "big") + data
            read += examine(data)
            report.count("inputs")
            slowest = max(slowest, time.monotonic() - begun)
    last.unlink()
    count = report.counts["inputs"]
    print(
        f"RESULT {count} {count / report.seconds:.0f} {read:,} read, "
        f"{count - read:,} refused{more()}, slowest {slowest * 1000:.0f} ms"
    )


def guided(seconds: float, options: argparse.Namespace) -> None:
    """Lets atheris find inputs that reach more code; it ends the process itself."""
    from typing import Any

    import atheris as installed  # pyright: ignore[reportMissingImports]

    atheris: Any = installed

    with atheris.instrument_imports(include=["batiste.serialization"]):
        import batiste.serialization.listing  # noqa: F401
    corpus = options.out / "corpus"
    corpus.mkdir(exist_ok=True)
    rng = random.Random(options.seed)
    for i in range(300):
        (corpus / f"grammar-{i}").write_bytes(value(rng))
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={options.seed + 1}",
            f"-artifact_prefix={options.out}/guided-",
            "-max_len=4096",
            "-print_final_stats=1",
            str(corpus),
        ],
        examine,
    )
    atheris.Fuzz()


def run(kind: str, options: argparse.Namespace) -> tuple[int, str, list[str]]:
    """Runs one half in a process of its own, and shows how it gets on.

    Returns:
      Its exit status, the end of its output, and the cells of its row.
    """
    program = [sys.executable, sys.argv[0], "--only", kind, "--out", str(options.out)]
    program += ["--minutes", str(options.minutes), "--seed", str(options.seed)]
    running = subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, CHILD: "1"},
    )
    assert running.stdout is not None
    tail, stats, covered, row = "", {}, "", [kind, "", "", "died"]
    for line in running.stdout:
        tail = (tail + line)[-3000:]
        if line.startswith("RESULT "):
            _, inputs, rate, rest = line.strip().split(" ", 3)
            row = [kind, f"{int(inputs):,}", f"{int(rate):,}", rest]
        elif found := re.match(r"stat::(\w+):\s+(\d+)", line):
            stats[found[1]] = int(found[2])
        elif line.startswith(("grammar:", "files:")) or "pulse" in line:
            print(line, end="", flush=True)
        if found := re.search(r"cov: (\d+)", line):
            covered = found[1]
    status = running.wait()
    if "number_of_executed_units" in stats:
        inputs = stats["number_of_executed_units"]
        rate = stats["average_exec_per_sec"]
        row = [kind, f"{inputs:,}", f"{rate:,}", f"{covered} places reached"]
    return status, tail, row


def main() -> int:
    """Runs all, prints figures, and says where a finding is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", choices=("grammar", "files", "guided"), help="one")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kinds = ["grammar", "files", "guided"]
    if options.only and os.environ.get(CHILD):
        begin = {"grammar": grammar, "files": other_files, "guided": guided}[
            options.only
        ]
        begin(options.minutes * 60, options)
        return 0
    if options.only:
        kinds = [options.only]
    elif not find_spec("atheris"):
        kinds.remove("guided")
        print("atheris is not installed: the grammars have all of the time")
    options.minutes /= len(kinds)
    report, rows = Report("fuzz", options), []
    for kind in kinds:
        status, tail, row = run(kind, options)
        rows.append(row)
        if not status:
            continue
        files = {}
        last = options.out / f"{kind}-last"
        if last.exists():
            note = last.read_bytes()
            files["input"] = note[4 : 4 + int.from_bytes(note[:4], "big")]
            last.unlink()
        for path in options.out.glob("guided-*"):
            if path.is_file():
                files[path.name] = path.read_bytes()
        again = command("--only", kind, "--minutes", options.minutes)
        report.found(f"{kind} ended with {status}", f"{tail}\n{again}", files)
    return report.end(("kind", "inputs", "per second", "more"), rows)


if __name__ == "__main__":
    sys.exit(main())
