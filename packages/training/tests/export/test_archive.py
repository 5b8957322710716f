"""The file: whole or not at all, readable by NumPy, and what is none of these."""

import io
import json
import os
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batiste.training.errors import ExportedFileError
from batiste.training.export import archive

METADATA = {"format": archive.FORMAT, "format_version": archive.FORMAT_VERSION}
WEIGHTS = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.int16).reshape(3, 2)),
    np.float64(2.5),
    np.zeros((0, 4), bool),
    np.array([1, 2], jnp.bfloat16),
    np.array(3, jnp.float8_e4m3fn),
    np.array([-1, 2], jnp.int4),
    jnp.arange(3),
]


def written(path, metadata=METADATA, program=b"program", weights=WEIGHTS):
    archive.write_archive(path, metadata, program, weights)
    return path


def test_all_comes_back(tmp_path):
    path = tmp_path / "model.zip"
    size = archive.write_archive(path, METADATA, bytearray(b"program"), WEIGHTS)
    assert size == path.stat().st_size
    found = archive.read_archive(path)
    assert (found.metadata, found.program) == (METADATA, b"program")
    assert len(found.weights) == len(WEIGHTS)
    for weight, array in zip(WEIGHTS, found.weights):
        expected = np.asarray(weight)
        assert array.shape == expected.shape
        assert array.view(expected.dtype).tobytes() == expected.tobytes()


def test_numpy_opens_it(tmp_path):
    with np.load(written(tmp_path / "model.zip")) as file:
        assert file.files[:3] == ["metadata.json", "program", "weights/0"]
        assert json.loads(file["metadata.json"]) == METADATA
        assert file["program"] == b"program"
        np.testing.assert_array_equal(file["weights/0"], WEIGHTS[0])
        assert file["weights/4"].view(jnp.bfloat16).tolist() == [1, 2]


def test_more_than_ten_weights_stay_in_order(tmp_path):
    weights = [np.array(i) for i in range(12)]
    path = written(tmp_path / "model.zip", weights=weights)
    assert [int(w) for w in archive.read_archive(path).weights] == list(range(12))
    with np.load(path) as file:
        assert file.files[2:] == [f"weights/{i}" for i in range(12)]


def test_the_same_model_is_the_same_bytes(tmp_path):
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    assert a.read_bytes() == b.read_bytes()


def test_a_failure_leaves_the_old_file(tmp_path):
    path = written(tmp_path / "model.zip")
    before = path.read_bytes()

    class Lost:
        def __array__(self, *args, **kwargs):
            raise OSError("the device is gone")

    with pytest.raises(OSError, match="the device is gone"):
        written(path, weights=[*WEIGHTS, Lost()])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.zip"]


def test_a_folder_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(IsADirectoryError, match=r"model\" is a folder; give the name"):
        written(tmp_path / "model")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        archive.read_archive(tmp_path / "absent")


@pytest.mark.parametrize("data", [b"PK", b"msgpack", b"\x80" * 1000, b"\x93NUMPY" * 9])
def test_another_file(tmp_path, data):
    path = tmp_path / "model.zip"
    path.write_bytes(data)
    text = rf'Cannot load "{path}": it is no file of `batiste.training.export.save`'
    with pytest.raises(ExportedFileError, match=text) as found:
        archive.read_archive(path)
    assert found.value.path == str(path)


def test_an_empty_file(tmp_path):
    path = tmp_path / "model.zip"
    path.touch()
    with pytest.raises(ExportedFileError, match="damaged or cut short .BadZipFile"):
        archive.read_archive(path)


def test_another_zip_file(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.ones(2))
    with pytest.raises(ExportedFileError, match="a zip file, but none of .*metadata"):
        archive.read_archive(path)
    with pytest.raises(ExportedFileError, match="a zip file, but none of"):
        archive.read_archive(written(path, {"format": "other"}))
    with pytest.raises(ExportedFileError, match="a zip file, but none of"):
        archive.read_archive(written(path, ["batiste.export"]))


def test_a_later_format(tmp_path):
    path = written(tmp_path / "m", {**METADATA, "format_version": 2})
    text = "format has the version 2, and this Batiste reads 1. Load it with a newer"
    with pytest.raises(ExportedFileError, match=text):
        archive.read_archive(path)


@pytest.mark.parametrize(
    "change",
    [
        {"program": None},
        {"metadata.json": b"{"},
        {"weights/2.npy": None},
        {"weights/0.npy": b"\x93NUMPY\x01\x00"},
        {"weights/0.npy": b"no array"},
        {"more": b"?"},
    ],
)
def test_parts_that_are_missing_or_not_ours(tmp_path, change):
    path = written(tmp_path / "m")
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in {**parts, **change}.items():
            if data is not None:
                new.writestr(name, data)
    with pytest.raises(ExportedFileError, match="damaged or cut short"):
        archive.read_archive(path)


def test_pickles_are_not_read(tmp_path):
    path = tmp_path / "m"
    data = io.BytesIO()
    np.save(data, np.array([print], object), allow_pickle=True)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", json.dumps(METADATA))
        file.writestr("program", b"")
        file.writestr("weights/0.npy", data.getvalue())
    with pytest.raises(ExportedFileError, match="allow_pickle=False"):
        archive.read_archive(path)


def test_what_is_compressed_is_not_read(tmp_path):
    path = tmp_path / "m"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("metadata.json", b"0" * 10**6)
    with pytest.raises(ExportedFileError, match="metadata.json is compressed"):
        archive.read_archive(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return written(tmp_path_factory.mktemp("whole") / "m").read_bytes()


@given(st.data())
def test_cut_short_anywhere(whole, tmp_path_factory, data):
    cut = data.draw(st.integers(1, len(whole) - 1))
    path = tmp_path_factory.getbasetemp() / "cut"
    path.write_bytes(whole[:cut])
    with pytest.raises(ExportedFileError):
        archive.read_archive(path)


@given(st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(whole, tmp_path_factory, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped"
    path.write_bytes(flipped)
    try:
        found = archive.read_archive(path)
    except ExportedFileError:
        return
    assert (found.metadata, found.program) == (METADATA, b"program")
    for weight, array in zip(WEIGHTS, found.weights, strict=True):
        assert array.tobytes() == np.asarray(weight).tobytes()


def test_a_wrong_length_in_the_list_of_contents_hides_no_weight(whole, tmp_path):
    path = tmp_path / "flipped"
    begin, entries, refused = whole.index(b"PK\1\2"), 0, 0
    while (begin := whole.find(b"PK\1\2", begin)) >= 0:
        entries += 1
        # The lengths of the name, of what is extra and of the comment.
        for bit in range(8 * 28, 8 * 34):
            flipped = bytearray(whole)
            flipped[begin + bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                found = archive.read_archive(path)
            except ExportedFileError:
                refused += 1
            else:  # as past the end of the list
                assert len(found.weights) == len(WEIGHTS)
        begin += 1
    assert entries == 2 + len(WEIGHTS)
    assert refused > 40 * entries


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(b"PK\x03\x04" + data)
    with pytest.raises(ExportedFileError):
        archive.read_archive(path)
