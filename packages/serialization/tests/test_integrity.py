"""The check of a file: what it finds, where it is kept, what it costs nobody else."""

import io
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.serialization import SerializationError, integrity, restore, serialize
from batiste.serialization.pages import Pages

TREE = {"w": np.arange(5000.0), "b": np.ones(3, "f4"), "step": 7}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    if integrity.recorded(path) is None:
        pytest.skip("this file system has no attributes")
    return path


@given(st.lists(st.binary(max_size=20_000), max_size=6))
def test_the_check_does_not_depend_on_the_parts(parts):
    whole = b"".join(parts)
    check = integrity.Check()
    for part in parts:
        check.update(part)
    assert check.text() == integrity.check_of(whole)
    assert check.size == len(whole)


@pytest.mark.parametrize("size", [1, 7, 8, 8191, 8192, 8193, 2**20 + 5])
def test_each_flip_of_a_bit_is_found(size):
    rng = np.random.default_rng(size)
    data = bytearray(rng.bytes(size))
    check = integrity.check_of(data)
    for place in rng.integers(0, size * 8, 300):
        data[place // 8] ^= 1 << place % 8
        assert integrity.check_of(data) != check
        data[place // 8] ^= 1 << place % 8
    assert integrity.check_of(data) == check


@pytest.mark.parametrize("size", [1, 8191, 2**20, 2**20 + 1, 3 * 2**20 + 5])
@pytest.mark.parametrize("start", [0, 3])
def test_files_have_the_check_of_their_bytes(tmp_path, size, start):
    data = np.random.default_rng(size).bytes(size + start)
    path = tmp_path / "file"
    path.write_bytes(data)
    check = integrity.check_of(data[start:])
    with open(path, "rb") as file:
        assert integrity.check_of(Pages(file.fileno(), start)) == check
    assert integrity.check_of_file(path) == integrity.check_of(data)
    integrity.verify_file(path, integrity.check_of(data))
    integrity.verify_file(path, integrity.NONE)
    with pytest.raises(SerializationError, match="damaged"):
        integrity.verify_file(path, integrity.check_of(data + b"x"))


@pytest.mark.parametrize("check", ["1", "1 ", "1 5", "1 x y", "1 5 00"])
def test_a_check_that_is_damaged_itself_is_an_error(check):
    with pytest.raises(SerializationError, match="The file is damaged"):
        integrity.verify(b"abcde", check)


def test_a_check_is_that_of_the_bytes_wherever_they_are(tmp_path):
    data = np.random.default_rng(0).bytes(2**23 + 5)
    path = tmp_path / "file"
    path.write_bytes(data)
    with open(path, "rb") as file:
        paged = integrity.check_of(Pages(file.fileno()))
    assert integrity.check_of(data) == integrity.check_of_file(path) == paged


@pytest.mark.parametrize("length", [1, 8, 4096, 8192, 2**20])
def test_parts_that_change_places_are_found(length):
    data = np.random.default_rng(0).bytes(length * 4)
    a, b, c, d = (data[i * length : (i + 1) * length] for i in range(4))
    checks = {integrity.check_of(x) for x in (a + b + c + d, b + a + c + d, d + b + c)}
    assert len(checks) == 3


def test_zeros_that_are_missing_are_found():
    checks = [integrity.check_of(bytes(n)) for n in (0, 1, 8, 8192, 8193, 16384)]
    assert len(set(checks)) == len(checks)


def test_a_checked_file_counts_what_a_short_write_took():
    class Short(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            return min(len(data), 2)

    file = integrity.CheckedFile(Short())
    assert file.write(b"abc") == 2
    assert file.write(b"c") == 1
    assert file.check.text() == integrity.check_of(b"abc")


def test_serialize_records_and_restore_verifies_on_request(written):
    damaged = bytearray(written.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    assert restore(written, verify=True)["step"] == 7
    written.write_bytes(damaged)
    restore(written)  # a mapped file is not read through unasked
    for keywords in ({}, {"copy": True}, {"path": "step"}):
        with pytest.raises(SerializationError, match="The file is damaged"):
            restore(written, verify=True, **keywords)
    with (
        open(written, "rb") as file,
        pytest.raises(SerializationError, match="damaged"),
    ):
        restore(file, verify=True)


def test_what_cannot_be_verified_is_an_error_when_it_was_asked_for(tmp_path, written):
    bare = tmp_path / "bare"
    bare.write_bytes(written.read_bytes())
    for file in (bare, io.BytesIO(written.read_bytes())):
        with pytest.raises(SerializationError, match="no check is recorded"):
            restore(file, verify=True)
    assert restore(bare)["step"] == 7


def test_the_check_goes_where_the_file_goes_and_no_further(tmp_path, written):
    assert os.listdir(tmp_path) == ["state.msgpack"]
    moved = written.rename(tmp_path / "moved")
    copied = tmp_path / "copied"
    shutil.copy2(moved, copied)
    for path in (moved, copied):
        assert restore(path, verify=True)["step"] == 7
    serialize({"other": 1}, moved)
    assert restore(moved, verify=True) == {"other": 1}
    moved.unlink()
    moved.write_bytes(b"\x01")
    assert integrity.recorded(moved) is None


def test_a_check_of_another_version_is_no_damage(written):
    assert integrity.record(written, "2 whatever")
    assert restore(written, verify=True)["step"] == 7


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_files_are_written_where_there_are_no_attributes(tmp_path, monkeypatch, error):
    def refuse(*args):
        raise error

    monkeypatch.setattr(integrity.os, "setxattr", refuse, raising=False)
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    assert restore(path)["step"] == 7
    with pytest.raises(SerializationError, match="no check is recorded"):
        restore(path, verify=True)
