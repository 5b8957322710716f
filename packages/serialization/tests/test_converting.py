import os
import re
import subprocess
import sys

import numpy as np
import pytest
import safetensors

from batiste.serialization import (
    SerializationError,
    converting,
    restore,
    safetensors_metadata,
    serialize,
)
from batiste.serialization.comparing import compare
from batiste.serialization.converting import convert, kind_for
from batiste.serialization.dtypes import dtype_from_name
from batiste.serialization.sources import opened

TREE = {
    "params": {
        "kernel": np.arange(6, dtype="f4").reshape(2, 3),
        "half": np.arange(4).astype(dtype_from_name("bfloat16")),
        "zero": np.zeros((0, 3)),
        "0d": np.array(True),
    },
    "list": [np.ones(2), (3, "x")],
    "step": 7,
    "rate": 0.5,
    "none": None,
    "empty": {},
}
FORMATS = ["msgpack", "safetensors", "npz"]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "a.msgpack"
    serialize(TREE, path, max_chunk_size=16)
    return str(path)


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_from_each_format_to_each(source, tmp_path, first, second):
    seen = []

    def started(total):
        seen.append(-total)
        return seen.append

    one, two = str(tmp_path / f"b.{first}"), str(tmp_path / f"c.{second}")
    assert convert(source, one).kind == first
    done = convert(one, two, started=started)
    assert (done.kind, done.arrays, done.nbytes) == (second, 5, 24 + 8 + 1 + 16)
    assert seen[0] == -2 * done.nbytes
    assert sum(seen) == 0  # all of it is written, and all of it compared
    with opened(two) as found:
        assert [d.text() for d in compare(found.tree, TREE)] == []
    assert sorted(os.listdir(tmp_path)) == sorted(
        {"a.msgpack", f"b.{first}", f"c.{second}"}
    )


def test_what_is_said_of_safetensors_stays(tmp_path):
    one, two = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    serialize({"a": np.ones(1)}, one, metadata={"format": "pt"})
    convert(str(one), str(two))
    assert safetensors_metadata(two) == {"format": "pt"}
    assert one.read_bytes() == two.read_bytes()
    with safetensors.safe_open(two, "np") as file:
        assert list(file.keys()) == ["a"]


def test_other_separators(tmp_path):
    one, two = tmp_path / "a.safetensors", tmp_path / "b.msgpack"
    serialize({"a.b": np.ones(1), "a": np.ones(2)}, one, separator=None)
    with pytest.raises(SerializationError, match="Pass separator=None"):
        convert(str(one), str(two))
    convert(str(one), str(two), separator=None)
    assert sorted(restore(two)) == ["a", "a.b"]
    with pytest.raises(SerializationError, match="holds '.', which joins"):
        convert(str(two), str(tmp_path / "c.safetensors"))
    convert(str(two), str(tmp_path / "c.safetensors"), separator="/")
    assert (tmp_path / "c.safetensors").read_bytes() == one.read_bytes()
    assert sorted(os.listdir(tmp_path)) == [
        "a.safetensors",
        "b.msgpack",
        "c.safetensors",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.msgpack", "msgpack"),
        ("f.x/A.SafeTensors", "safetensors"),
        ("a.npz", "npz"),
        ("a.orbax/", "orbax"),
    ],
)
def test_what_names_end_in(name, expected):
    assert kind_for(name) == expected


@pytest.mark.parametrize("name", ["a", "a.bin", "msgpack", "", "a.npz/b"])
def test_names_that_say_nothing(source, name):
    with pytest.raises(SerializationError, match=r"Pass --to with one of msgpack, saf"):
        convert(source, name)


def test_what_is_there_is_not_replaced(source, tmp_path):
    target = tmp_path / "b.npz"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="is not replaced. Pass --force"):
        convert(source, str(target))
    assert target.read_bytes() == b"old"
    convert(source, str(target), force=True)
    assert np.load(target)["params/kernel"].sum() == 15
    (tmp_path / "folder.npz").mkdir()
    for options in ({}, {"force": True}):
        with pytest.raises(FileExistsError, match="Remove it first"):
            convert(source, str(tmp_path / "folder.npz"), **options)
        with pytest.raises(FileExistsError, match="is there already"):
            convert(source, str(target), "orbax", **options)


def test_formats_by_name(source, tmp_path):
    convert(source, str(tmp_path / "b"), "safetensors")
    assert restore(tmp_path / "b")["step"] == 7


def test_what_has_no_place_leaves_nothing(tmp_path):
    serialize({"a": np.ones(9), "b": {"c": b"x"}}, tmp_path / "a.msgpack")
    for name in ("b.safetensors", "b.npz"):
        with pytest.raises(SerializationError, match="'bytes' has no place") as info:
            convert(str(tmp_path / "a.msgpack"), str(tmp_path / name))
        assert info.value.path == "b/c"
    assert os.listdir(tmp_path) == ["a.msgpack"]


@pytest.mark.parametrize(("folder", "why"), [("none", "not there"), ("f", "no folder")])
@pytest.mark.parametrize("name", ["b.npz", "b.orbax"])
def test_there_must_be_a_folder_for_it(source, tmp_path, folder, why, name):
    (tmp_path / "f").write_bytes(b"")
    target = str(tmp_path / folder / name)
    with pytest.raises(NotADirectoryError) as info:
        convert(source, target, force=True)
    assert str(info.value) == (
        f"{target!r} cannot be written: {str(tmp_path / folder)!r} is {why}. Make it "
        "first; nothing is written into archives."
    )
    assert sorted(os.listdir(tmp_path)) == ["a.msgpack", "f"]


@pytest.mark.parametrize("tree", [{}, {"a": np.array(["x", "y"])}, {"a": b"x"}])
def test_what_orbax_refuses_leaves_nothing(tmp_path, tree):
    pytest.importorskip("orbax.checkpoint")
    serialize(tree, tmp_path / "a.msgpack")
    with pytest.raises(SerializationError, match="Orbax"):
        convert(str(tmp_path / "a.msgpack"), str(tmp_path / "b.orbax"))
    assert os.listdir(tmp_path) == ["a.msgpack"]


@pytest.mark.parametrize("kind", ["msgpack", "safetensors"])
def test_a_file_may_become_itself(source, kind):
    convert(source, source, kind, force=True)
    assert restore(source)["step"] == 7
    assert os.listdir(os.path.dirname(source)) == ["a.msgpack"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="reads the name of a folder in /proc"
)
def test_a_folder_that_takes_no_files(source):
    with pytest.raises(OSError, match="proc") as info:
        convert(source, "/proc/b.npz")
    assert not isinstance(info.value, NotADirectoryError)


def test_one_that_is_killed_has_all_or_nothing(tmp_path):
    rng = np.random.default_rng(0)
    serialize({"a": rng.integers(0, 9, 2**24)}, tmp_path / "a.msgpack")
    convert(str(tmp_path / "a.msgpack"), str(tmp_path / "whole.npz"))
    whole = (tmp_path / "whole.npz").read_bytes()
    target = tmp_path / "b.npz"
    program = [sys.executable, "-m", "batiste.serialization", "convert"]
    for _ in range(3):
        running = subprocess.Popen([*program, tmp_path / "a.msgpack", target])
        # As soon as something is being written.
        while running.poll() is None and not list(tmp_path.glob(".b.npz*")):
            pass
        running.kill()
        running.wait()
        if target.exists():
            assert target.read_bytes() == whole
            target.unlink()
        for left in tmp_path.glob(".b.npz*"):
            left.unlink()
    assert sorted(os.listdir(tmp_path)) == ["a.msgpack", "whole.npz"]


def test_archives_are_not_trees(source, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(source, "in/a.msgpack")
    with pytest.raises(SerializationError, match=re.escape("these: 'in/a.msgpack'")):
        convert(str(tmp_path / "x.tar"), str(tmp_path / "b.npz"))
    convert(str(tmp_path / "x.tar" / "in" / "a.msgpack"), str(tmp_path / "b.npz"))
    assert (tmp_path / "b.npz").is_file()


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_written_is_compared(source, tmp_path, monkeypatch, format):
    real = converting.opened
    calls = []

    def changed(name, **options):
        calls.append(name)
        if len(calls) == 2:  # what was written
            with open(name, "r+b") as file:
                data = file.read()
                at = data.index(np.arange(6, dtype="f4").tobytes()[:16])
                file.seek(at + 8)
                file.write(b"\1")
        return real(name, **options)

    monkeypatch.setattr(converting, "opened", changed)
    target = tmp_path / f"b.{format}"
    target.write_bytes(b"old")
    text = "Bad CRC" if format == "npz" else "is not what was read, and is not kept"
    with pytest.raises(SerializationError, match=text):
        convert(source, str(target), force=True)
    assert target.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.msgpack", target.name]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from Linux's /proc")
def test_memory_stays_small(tmp_path):
    # What is mapped counts as memory of the process, so what is its own is looked at.
    tree = {str(i): np.full((1024, 4096), i, "f4") for i in range(8)}  # 128 MiB
    serialize(tree, tmp_path / "a.msgpack")
    program = """
import sys, threading, time
from batiste.serialization import converting

def own():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

most = before = own()
def look(nbytes):
    global most
    most = max(most, own())
for a, b in (("a.msgpack", "b.safetensors"), ("b.safetensors", "c.npz"),
             ("c.npz", "d.msgpack")):
    converting.convert(a, b, started=lambda total: look)
assert most - before < 2**26, most - before
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
