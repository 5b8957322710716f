import gc
import io
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest

from batiste.serialization import SerializationError, restore, serialize, to_bytes
from batiste.serialization.decode import Views, decode
from batiste.serialization.pages import Pages, lives_on

TREE = {
    "large": np.arange(200_000, dtype="i4").reshape(2, -1),
    "text": ["a" * 70_000, b"b" * 200_000, np.array(["ab", "c"])],
    "scalars": [np.float32(1.5), 2 + 3j, None, -1, 1.5, 2**63],
    "empty": np.zeros((0, 3)),
    "half": np.arange(5, dtype="f2"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path)
    return path


def test_a_file_is_a_sequence_of_its_bytes(path):
    data = path.read_bytes()
    for start in (0, 7):
        with open(path, "rb") as file:
            file.seek(start)
            pages = Pages.of(file)
            assert pages is not None
            whole = data[start:]
            assert len(pages) == len(whole)
            for place in (0, 1, 65_535, 65_536, len(whole) - 1, 3):
                assert pages[place] == whole[place]
            for part in (slice(5, 9), slice(65_530, 65_540), slice(0, None), slice(9)):
                assert pages[part] == whole[part]
            assert pages[4:4] == pages[len(whole) :] == b""


def test_copies_have_arrays_of_their_own(path):
    found = restore(path, TREE, copy=True)
    assert to_bytes(found) == to_bytes(TREE)
    for array in (found["large"], found["half"], found["empty"]):
        assert array.flags.owndata
        assert array.flags.writeable
        assert array.flags.aligned
    part = restore(path, path="half", copy=True)
    np.testing.assert_array_equal(part, TREE["half"], strict=True)


def test_split_arrays_are_put_together(tmp_path):
    serialize(TREE, tmp_path / "split", max_chunk_size=5000)
    found = restore(tmp_path / "split", TREE, copy=True)
    assert to_bytes(found) == to_bytes(TREE)
    assert found["large"].flags.writeable


def test_copies_map_nothing(path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("mapped")

    monkeypatch.setattr(mmap, "mmap", refuse)
    assert restore(path, TREE, copy=True)["text"] is not None
    with open(path, "rb") as file:
        assert restore(file, TREE, copy=True, verify=True)["text"] is not None


def test_copies_verify(path):
    restore(path, copy=True, verify=True)
    with open(path, "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(SerializationError, match="not those that were written"):
        restore(path, copy=True, verify=True)


def test_what_has_no_pages_is_read(tmp_path):
    (tmp_path / "empty").touch()
    with open(tmp_path / "empty", "rb") as file:
        assert Pages.of(file) is None
    assert Pages.of(io.BytesIO(b"abc")) is None
    assert restore(io.BytesIO(to_bytes({"a": 1})), copy=True) == {"a": 1}
    source, sink = os.pipe()
    os.write(sink, to_bytes({"a": 1}))
    os.close(sink)
    with open(source, "rb") as file:
        assert restore(file, copy=True) == {"a": 1}


@pytest.mark.parametrize("size", [0, 10, 100_000, 500_000])
def test_a_file_that_is_cut_short_meanwhile_is_an_error(path, size):
    with open(path, "r+b") as file:
        pages = Pages.of(file)
        file.truncate(size)
        with pytest.raises(SerializationError, match="cut short while it was read"):
            decode(pages, Views(pages))


def test_arrays_from_a_file_that_was_cut_short(path):
    # A view would end the process; what was copied is there.
    program = """
import os, sys
from batiste.serialization import restore
tree = restore(sys.argv[1], copy=True)
os.truncate(sys.argv[1], 0)
assert tree["large"][-1, -1] == 199_999
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True)


@pytest.mark.parametrize("mode", ["r+b", "wb"])
@pytest.mark.parametrize("buffering", [-1, 0])
def test_a_file_is_not_written_over_its_own_views(path, mode, buffering):
    view = restore(path)
    left = b"" if mode == "wb" else to_bytes(TREE)
    with open(path, mode, buffering) as file:
        assert lives_on(file)
        for tree in (view, {"other": 1}):
            with pytest.raises(SerializationError, match="Pass its path"):
                serialize(tree, file)
    assert path.read_bytes() == left


def test_a_part_of_a_view_keeps_its_file(path):
    view = restore(path, path="large")[1:, ::2]
    with open(path, "r+b") as file:
        with pytest.raises(SerializationError, match="still live"):
            serialize({"a": 1}, file)
        del view
        gc.collect()
        assert serialize({"a": 1}, file) > 0


def test_what_no_view_is_of_is_written(path, tmp_path):
    view = restore(path)
    with open(path, "ab") as file:  # behind the views
        serialize({"a": 1}, file)
    serialize(view, path)  # beside the file, which it then replaces
    assert to_bytes(restore(path, TREE)) == to_bytes(TREE)
    with open(tmp_path / "other", "wb") as file:
        serialize(view, file)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()
    copy = restore(path, copy=True)
    del view
    with open(path, "wb") as file:
        serialize(copy, file)


def test_views_in_cycles_do_not_count(path):
    cycle = {"view": restore(path)}
    cycle["cycle"] = cycle
    del cycle
    with open(path, "wb") as file:
        assert serialize({"a": 1}, file) > 0
