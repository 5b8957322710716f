"""Keys of dicts: which may be, and that none of them can make reading slow."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from batiste.serialization import (
    SerializationError,
    msgpack_restore,
    msgpack_serialize,
)
from batiste.serialization.keys import KeyCost, check_key

MERSENNE = 2**61 - 1  # what Python's hashes of numbers are taken modulo


def message(keys):
    """The bytes of a dict with these keys, which is never made here."""
    keys = [msgpack_serialize(key) for key in keys]
    return b"\xdf" + len(keys).to_bytes(4, "big") + b"".join(k + b"\x01" for k in keys)


def scalar(name, data):
    inner = b"\x93\x90" + bytes([0xD9, len(name)]) + name.encode()
    inner += bytes([0xC4, len(data)]) + data
    return b"\xc7" + bytes([len(inner), 3]) + inner


def with_key(key):
    return b"\x81" + key + b"\x01"


@pytest.mark.parametrize(
    "key",
    [
        "a",
        b"a",
        1,
        -1,
        2**64 - 1,
        0.5,
        1j,
        True,
        None,
        np.float32(1.5),
        np.float16(1.5),
        np.longdouble(1.5),
        np.int8(-1),
        np.uint64(2**64 - 1),
        np.complex64(1j),
        np.clongdouble(1j),
        np.bool_(True),
        np.str_("a"),
        np.bytes_(b"a"),
        np.datetime64("2020-01-01"),
        np.array(np.iinfo(np.int64).min).view("M8")[()],
        np.datetime64("NaT", "s"),
        np.timedelta64(5, "25s"),
    ],
    ids=repr,
)
def test_keys_come_back(key):
    found = msgpack_restore(message([key]))
    assert type(next(iter(found))) is type(key)
    assert msgpack_serialize(found, in_place=True) == msgpack_serialize({key: 1})


UNITS = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]


def test_no_unit_of_dates_ends_the_process():
    # In a process of its own, since NumPy divides by zero for [0s].
    program = """
import sys
from test_keys import UNITS, scalar, with_key
from batiste.serialization import SerializationError, msgpack_restore
counts = [0, 0]
for kind in ("datetime64", "timedelta64"):
    for unit in UNITS:
        for multiple in ("", "0", "00", "01", "1", "7", "999999999", "-1"):
            for value in (0, 1, -2**63):
                data = scalar(f"{kind}[{multiple}{unit}]", value.to_bytes(8, "little", signed=True))
                for whole in (data, with_key(data)):
                    try:
                        repr(msgpack_restore(whole))
                        counts[0] += 1
                    except SerializationError as error:
                        str(error)
                        counts[1] += 1
assert min(counts) > 150, counts
"""  # noqa: E501
    folder = __file__.rpartition("/")[0]
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": ":".join([folder, *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (with_key(scalar("timedelta64", bytes(8))), None),
        (with_key(scalar("datetime64", b"\1" + bytes(7))), "its dates have no unit"),
        (with_key(scalar("void16", b"ab")), "of type 'void'"),
        (
            message([np.timedelta64(1, "Y"), np.timedelta64(365, "D")]),
            None,
        ),
        (message([np.datetime64(5, "as"), np.datetime64(5, "Y")]), None),
        (message([np.timedelta64(0, "M"), np.timedelta64(0, "as")]), None),
        (message([1, np.datetime64(1, "s"), np.timedelta64(1, "s")]), None),
        (message([1, np.int64(1)]), "appears twice"),
        (message([1, 1.0]), "appears twice"),
        (message([0, False]), "appears twice"),
    ],
)
def test_odd_keys_are_read_or_refused(data, text):
    # Which of these are equal, or have hashes, differs between versions of NumPy.
    try:
        repr(msgpack_restore(data))
        assert text is None
    except SerializationError as error:
        assert error.path is not None
        assert error.offset is not None
        assert text is None or text in str(error)


def test_a_key_that_cannot_be_compared_is_named():
    class Stubborn(dict):
        def __contains__(self, key):
            raise OverflowError("no common unit")

    with pytest.raises(SerializationError, match=r"'5' cannot be compared .*no common"):
        check_key(5, Stubborn(), None)


def test_a_scalar_that_has_no_hash_is_refused():
    class Bare(np.float64):
        def __hash__(self):
            raise ValueError("Can't hash it")

    with pytest.raises(SerializationError, match=r"float64 that NumPy cannot .*hash"):
        check_key(Bare(1), {}, None)


def chained(bits):
    """Whole numbers with hashes of their own, each of which probes half of a dict."""
    size = 2**bits
    chain, at = [], 1
    for _ in range(size * 7 // 24):
        chain.append(at)
        at = (at * 5 + 1) % size
    place = np.full(size, -1)
    place[chain] = np.arange(len(chain))
    numbers = np.arange(size, size << 8, dtype=np.int64)
    slot, rest = numbers % size, numbers
    alive = place[slot] >= 0
    while rest.any():
        rest = rest >> 5
        slot = (slot * 5 + rest + 1) % size
        alive &= place[slot] >= 0
    found = numbers[alive & (place[slot] < len(chain) // 3)]
    return [*chain, *found[: len(chain)].tolist()]


def complex_pairs(count):
    return [complex(1000003 * (count - i), i) for i in range(count)]


def days(count):
    # Older versions of NumPy take the number, without its unit, for the hash.
    return [np.datetime64(1, f"{i}s") for i in range(1, count)]


def colliding(bits):
    """Keys of each type, of which many have the same place in a dict."""
    chain, count = chained(bits), 5 << (bits - 3)
    return {
        "int": chain,
        "int-mersenne": [i + j * MERSENNE for i in range(count // 8) for j in range(8)],
        "int-shifted": [i << 44 for i in range(count)],
        "int64": [np.int64(n) for n in chain],
        "uint64": [np.uint64(n) for n in chain],
        "float": [float(n) for n in chain],
        "float-powers": [
            i * 2.0**e for i in range(1, count // 20, 2) for e in range(0, 900, 61)
        ],
        "float64": [np.float64(n) for n in chain],
        "longdouble": [np.ldexp(np.longdouble(i), 9000) for i in range(1, count)],
        "complex": complex_pairs(count),
        "complex64": [np.complex64(complex(i, -i)) for i in range(count)],
        "complex128": [np.complex128(n) for n in complex_pairs(count)],
        "clongdouble": [np.clongdouble(n) for n in complex_pairs(count)],
        "datetime64": days(count),
        "datetime64-same": [np.datetime64(n, "ns") for n in chain],
        "timedelta64": [np.timedelta64(n, "s") for n in chain],
        "str": [str(n) for n in range(count)],
        "bytes": [bytes([n % 256, n >> 8]) for n in range(count)],
        "str_": [np.str_(n) for n in range(count)],
        "float32": [np.float32(n) for n in range(count)],
    }


COLLIDING = colliding(15)
FEWER = colliding(12)
REFUSED = ["int", "int64", "uint64", "float", "float64", "complex", "complex128"]


@pytest.mark.parametrize("kind", sorted({*COLLIDING} - {*REFUSED}))
def test_other_keys_are_read_or_refused(kind):
    # Which have the same hash differs between versions of NumPy.
    keys = COLLIDING[kind]
    try:
        assert len(msgpack_restore(message(keys))) == len({*keys})
    except SerializationError as error:
        assert "collide in memory" in str(error)


@pytest.mark.parametrize("kind", COLLIDING)
def test_memory_is_linear_for_colliding_keys(kind):
    data = message(FEWER[kind])
    tracemalloc.start()
    try:
        msgpack_restore(data)
    except SerializationError as error:
        assert "collide" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # A key of two bytes becomes an object and a place in a dict, some 150 bytes.
    assert peak < 200 * len(data)


@pytest.mark.parametrize("kind", REFUSED)
def test_colliding_keys_are_refused(kind):
    with pytest.raises(SerializationError, match="collide in memory") as info:
        msgpack_restore(message(COLLIDING[kind]))
    assert info.value.offset > 0


@pytest.mark.parametrize(
    "keys",
    [
        range(30_000),
        range(0, -30_000, -1),
        [i << 20 for i in range(30_000)],
        [i << 44 for i in range(30_000)],
        [i * 2.0**-17 for i in range(30_000)],
        [i / 7 for i in range(30_000)],
        [complex(a / 64, b / 64) for a in range(150) for b in range(150)],
        [np.datetime64("2020-01-01") + np.timedelta64(i, "D") for i in range(20_000)],
    ],
    ids="counted negative 2**20 2**44 2**-17 sevenths grid days".split(),
)
def test_keys_that_nobody_chose_are_read(keys):
    assert len(msgpack_restore(message(keys))) == len(keys)


def test_cost_grows_as_dicts_do():
    cost = KeyCost()
    sizes = []
    for number in range(1000):
        cost.add(number)
        sizes.append(len(cost._taken))
    grown = [i for i in range(1, 1000) if sizes[i] != sizes[i - 1]]
    real, known = {}, []
    for number in range(1000):
        before = sys.getsizeof(real)
        real[number] = None
        if number and sys.getsizeof(real) != before:
            known.append(number)
    assert grown == known
