import json
import os
import tarfile
import zipfile

import numpy as np
import pytest

from batiste.serialization import SerializationError, serialize, to_bytes
from batiste.serialization.comparing import compare
from batiste.serialization.sources import (
    ARCHIVE,
    SHARDS,
    Described,
    Source,
    Stored,
    opened,
)

TREE = {
    "params": {"kernel": np.arange(6, dtype="f4").reshape(2, 3), "bias": np.ones(3)},
    "step": 7,
}


@pytest.fixture
def files(tmp_path):
    """A file of each format, and archives that hold them."""
    serialize(TREE, tmp_path / "a.msgpack")
    serialize(TREE, tmp_path / "a.safetensors", metadata={"format": "pt"})
    arrays = {"params/kernel": TREE["params"]["kernel"]}
    np.savez_compressed(
        tmp_path / "a.npz", **arrays, **{"params/bias": np.ones(3), "step": 7}
    )
    names = ["a.msgpack", "a.safetensors", "a.npz"]
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in names:
            archive.add(tmp_path / name, f"in/{name}")
    for where, how in (("x", zipfile.ZIP_STORED), ("small", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(tmp_path / f"{where}.zip", "w", how) as archive:
            for name in names:
                archive.write(tmp_path / name, f"in/{name}")
    return tmp_path


KINDS = {"a.msgpack": "msgpack", "a.safetensors": "safetensors", "a.npz": "npz"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("place", ["", "x.tar/in", "x.zip/in", "small.zip/in"])
def test_every_format_in_every_place(files, name, place):
    path = os.path.join(files, place, name)
    expected = {**TREE, "step": np.array(7)} if name == "a.npz" else TREE
    with opened(path) as source:
        assert source.kind == KINDS[name]
        assert [d.text() for d in compare(source.tree, expected)] == []
        wanted = {"format": "pt"} if name == "a.safetensors" else {}
        assert source.metadata == wanted
    with opened(path, ("params", "bias")) as source:
        assert [d.text() for d in compare({"a": source.tree}, {"a": np.ones(3)})] == []
    with (
        pytest.raises(SerializationError, match="There is nothing at 'params/bios'"),
        opened(path, ("params", "bios")),
    ):
        pass


def test_archives_themselves(files):
    with opened(str(files / "x.tar")) as source:
        assert source.kind == ARCHIVE
        assert sorted(source.tree) == [f"in/{name}" for name in sorted(KINDS)]
        assert source.tree["in/a.npz"].nbytes == os.path.getsize(files / "a.npz")
    with opened(str(files / "x.zip"), ("in/a.npz",)) as source:
        assert source.tree.dtype == "file"
        assert list(source.tree.parts()) == []


def test_other_separators(tmp_path):
    path = tmp_path / "a.safetensors"
    serialize({"a.b": np.ones(1)}, path, separator=None)
    for separator, expected in ((None, ["a.b"]), (".", ["a"]), ("/", ["a.b"])):
        with opened(str(path), separator=separator) as source:
            assert list(source.tree) == expected


def test_folders_and_what_is_not_there(tmp_path):
    for name, kind in (("", IsADirectoryError), ("none", FileNotFoundError)):
        with pytest.raises(kind), opened(str(tmp_path / name)):
            pass
    (tmp_path / "x").mkdir()
    with (
        pytest.raises(IsADirectoryError, match="neither one of Orbax nor one"),
        opened(str(tmp_path / "x")),
    ):
        pass


@pytest.mark.parametrize("kind", ["msgpack", "safetensors"])
def test_folders_with_an_index(tmp_path, kind):
    folder = tmp_path / "bert"
    folder.mkdir()
    flat = {"a": {"b": np.ones(2)}, "c": {"d": np.zeros(3)}}
    names = {
        f"{n}{'/' if kind == 'msgpack' else '.'}{m}": f"{n}.{kind}"
        for n, some in flat.items()
        for m in some
    }
    for name, some in flat.items():
        metadata = {"format": "pt"} if kind == "safetensors" else None
        serialize({name: some}, folder / f"{name}.{kind}", metadata=metadata)
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(folder, "in/bert")
    for outer in (folder, tmp_path / "x.tar" / "in" / "bert"):
        for name in (outer, outer / index.name):
            with opened(str(name)) as source:
                assert source.kind == SHARDS
                assert [d.text() for d in compare(source.tree, flat)] == []
                said = {"format": "pt"} if kind == "safetensors" else {}
                assert source.metadata == said
    if kind == "safetensors":
        with opened(str(folder), separator=None) as source:
            assert sorted(source.tree) == ["a.b", "c.d"]
    (folder / f"a.{kind}").unlink()
    with (
        pytest.raises(SerializationError, match="these are missing: 'a.") as info,
        opened(str(folder)),
    ):
        pass
    assert "1 of 2 weights are in them" in str(info.value)


def test_folders_with_one_file(tmp_path):
    serialize({"a": np.ones(2)}, tmp_path / "model.safetensors")
    with opened(str(tmp_path), ("a",)) as source:
        assert (source.kind, source.tree.shape) == ("safetensors", (2,))


def test_bytes_are_described_or_read(tmp_path):
    (tmp_path / "a").write_bytes(to_bytes({"raw": b"123"}))
    with opened(str(tmp_path / "a")) as source:
        assert source.tree == {"raw": b"123"}
    with opened(str(tmp_path / "a"), describe=True) as source:
        assert (source.tree["raw"].dtype, source.tree["raw"].nbytes) == ("bytes", 3)


def test_arrays_in_pieces(tmp_path):
    array = np.arange(1000)
    (tmp_path / "a").write_bytes(to_bytes({"a": array}, max_chunk_size=64))
    with opened(str(tmp_path / "a")) as source:
        assert source.tree["a"].ndim == 1
        assert b"".join(source.tree["a"].parts()) == array.tobytes()


def test_stored_leaves():
    stored = Stored(memoryview(bytes(range(8))))
    with pytest.raises(SerializationError, match=r"int16\[3\] cannot have 4 bytes"):
        stored.array((3,), "int16", 0, 4)
    assert stored.array((3,), "of_another_library", 0, 4).nbytes == 4
    one, two = stored.array((2,), "int16", 0, 4), stored.array((2,), "int16", 4, 4)
    assert b"".join(stored.joined([one, two], (2, 2)).parts()) == bytes(range(8))
    for pieces, shape in (
        ([one], (3,)),
        ([one, stored.array((4,), "int8", 0, 4)], (6,)),
    ):
        with pytest.raises(SerializationError, match="do not make it up"):
            stored.joined(pieces, shape)
    assert Described(memoryview(b"abc")).binary(1, 2).shape == (2,)
    assert Source("x", {}).metadata == {}
