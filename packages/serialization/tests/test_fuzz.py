"""Damaged bytes: read or refused with one error, never anything else.

The tests run a few thousand mutations. A campaign runs as many as it is told to:

    python packages/serialization/tests/test_fuzz.py 1000000
"""

import collections
import contextlib
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from batiste.serialization import (
    SerializationError,
    from_bytes,
    msgpack_restore,
    msgpack_serialize,
    restore,
    to_bytes,
)
from batiste.serialization.listing import render, rows

TARGET = {
    "params": {"Dense_0": {"kernel": np.arange(6.0).reshape(2, 3), "bias": None}},
    "opt": [(np.float32(1), 2 + 3j), {"count": np.int64(3), "rng": np.zeros(2, "u4")}],
    "step": 7,
    "names": ("a", b"\x00\xff", 1.5, True, 2**40, -200),
}
SEEDS = [
    to_bytes(TARGET),
    to_bytes({"big": np.arange(40, dtype="i2"), "next": {"a": 1}}, max_chunk_size=16),
    to_bytes({"dates": np.array(["2020-01-01"], "M8[D]"), "text": np.array(["ab"])}),
    to_bytes({name: np.ones(2, name) for name in ("?", "f2", "c8", "u8", "S3", "V2")}),
    msgpack_serialize([[[{"a": np.zeros((0, 3))}], 1], {1: {None: b"k"}}]),
    to_bytes({"long": "x" * 300, "many": list(range(40)), "bytes": bytes(70_000)}),
]
# First bytes of every kind, and lengths at the edges.
HEADS = bytes([0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE1)])
EDGES = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"]
NAMES = b"bfloat16 float128 object void8 str64 int4 M8 float8_e5m2 O V m8".split()


def mutated(rng, data):
    """Bytes with one to four of what happens to files, and of what attackers do."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        size = min(rng.choice((1, 1, 2, 4, 8, 64)), len(data) - at)
        kind = rng.randrange(9)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + size]
        elif kind == 2 and size:
            data[rng.randrange(at, at + size)] ^= 1 << rng.randrange(8)
        elif kind == 3:
            data[at : at + 1] = bytes([rng.choice(HEADS)])
        elif kind == 4:
            data[at : at + 4] = rng.choice(EDGES)
        elif kind == 5:
            data[at:at] = data[at : at + size] * rng.choice((1, 2, 50))
        elif kind == 6:
            data[at:at] = rng.randbytes(size)
        elif kind == 7:
            other = rng.choice(SEEDS)
            start = rng.randrange(len(other))
            data[at : at + size] = other[start : start + rng.choice((1, 8, 64))]
        else:
            name = rng.choice(NAMES)
            found = data.find(rng.choice((b"float", b"int", b"bool", b"str")))
            if found > 0:
                end = found + (data[found - 1] & 0x1F)
                data[found - 1 : end] = bytes([0xA0 + len(name)]) + name
    return bytes(data)


def attempt(function, *arguments):
    """What a function returns, and None; or None and the error it refuses with."""
    try:
        return function(*arguments), None
    except SerializationError as error:
        return None, error


def examine(data):
    """Whether the bytes are read; whatever is read must be whole."""
    tree, error = attempt(msgpack_restore, data)
    if error is not None:
        assert error.path is not None
        assert error.offset is not None
        assert 0 <= error.offset <= len(data)
        assert len(str(error)) < 10_000
        return False
    again = msgpack_serialize(tree, in_place=True)
    assert msgpack_serialize(msgpack_restore(again), in_place=True) == again
    _, error = attempt(from_bytes, TARGET, data)
    assert error is None or error.path is not None
    return True


def examine_file(data, path):
    path.write_bytes(data)
    for part in ("", "params/Dense_0", "opt/1", "big/chunks/0", "next"):
        with contextlib.suppress(SerializationError):
            restore(path, path=part, copy=True)
        with contextlib.suppress(SerializationError):
            render(rows(path, part))


def test_every_truncation_is_refused():
    for seed in SEEDS:
        for end in range(min(len(seed), 1500)):
            assert not examine(seed[:end])


def test_every_change_of_a_byte():
    rng = random.Random(0)
    for seed in SEEDS:
        for at in range(min(len(seed), 400)):
            for value in (0x00, 0xFF, seed[at] ^ 1, rng.randrange(256)):
                examine(seed[:at] + bytes([value]) + seed[at + 1 :])


def test_mutations(tmp_path):
    rng = random.Random(1)
    outcomes = collections.Counter()
    for i in range(2000):
        data = mutated(rng, rng.choice(SEEDS))
        outcomes[examine(data)] += 1
        if i % 20 == 0:
            examine_file(data, tmp_path / "file")
    assert outcomes[True] > 100
    assert outcomes[False] > 1000


def campaign(count, seed):
    """Examines `count` mutations under a memory limit, and says what came of them."""
    limit = 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    rng = random.Random(seed)
    outcomes = collections.Counter()
    slowest = 0.0
    largest = 0
    # Those that were read are mutated further, so that the damage grows.
    pool = list(SEEDS)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        for i in range(count):
            data = mutated(rng, rng.choice(pool))
            largest = max(largest, len(data))
            begun = time.perf_counter()
            try:
                read = examine(data)
                if i % 50 == 0:
                    examine_file(data, path)
            except BaseException:
                print(f"mutation {i} of seed {seed}: {data.hex()}")
                raise
            slowest = max(slowest, time.perf_counter() - begun)
            outcomes["read" if read else "refused"] += 1
            if read and len(data) < 4000:
                if len(pool) < 500:
                    pool.append(data)
                else:
                    pool[rng.randrange(len(SEEDS), 500)] = data
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{count:,} mutations, seed {seed}, {time.perf_counter() - started:.0f} s: "
        f"{outcomes['refused']:,} refused, {outcomes['read']:,} read; largest input "
        f"{largest:,} bytes, slowest {slowest * 1000:.0f} ms, peak memory {peak} MiB"
    )


if __name__ == "__main__":
    campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
