"""Folders as Hugging Face has them, made here by their descriptions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

import batiste.serialization
from batiste.serialization import (
    SerializationError,
    restore_pretrained,
    serialize,
    to_bytes,
)
from batiste.serialization.pretrained import (
    INDEX,
    Shards,
    by_name,
    has_weights,
    shards_of,
    weights_file,
)

TREE = {
    "encoder": {"bias": np.ones(3), "kernel": np.arange(6.0).reshape(2, 3)},
    "head": {"bias": np.zeros(2, "f4")},
}
FLAT = {
    "encoder.bias": TREE["encoder"]["bias"],
    "encoder.kernel": TREE["encoder"]["kernel"],
    "head.bias": TREE["head"]["bias"],
}
ONE, TWO = (f"model-0000{i}-of-00002" for i in (1, 2))


def assert_same(found, expected):
    assert to_bytes(found) == to_bytes(expected)


def index(folder, weight_map, name="model.safetensors"):
    text = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    (folder / f"{name}{INDEX}").write_text(text)


def of_pytorch(folder):
    """Two files and an index, as PyTorch's models are saved."""
    encoder = {name: x for name, x in FLAT.items() if name != "head.bias"}
    rest = {"head.bias": FLAT["head.bias"]}
    for name, tensors in ((ONE, encoder), (TWO, rest)):
        path = folder / f"{name}.safetensors"
        safetensors.numpy.save_file(tensors, path, {"format": "pt"})
    where = {n: f"{TWO if n in rest else ONE}.safetensors" for n in FLAT}
    index(folder, where)
    return where


def of_flax(folder):
    """Two files and an index, as Flax's models are saved."""
    parts = ({"encoder": TREE["encoder"]}, {"head": TREE["head"]})
    names = [f"flax_{name}.msgpack" for name in (ONE, TWO)]
    for name, part in zip(names, parts):
        serialize(part, folder / name)
    where = {n.replace(".", "/"): names[n == "head.bias"] for n in FLAT}
    index(folder, where, "flax_model.msgpack")
    return where


def test_one_file_of_flax(tmp_path):
    serialize(TREE, tmp_path / "flax_model.msgpack")
    serialize({"a": np.ones(1)}, tmp_path / "model.safetensors")
    found = restore_pretrained(tmp_path)
    assert_same(found.tree, TREE)
    assert (found.files, found.metadata) == (("flax_model.msgpack",), {})
    found = restore_pretrained(str(tmp_path), file="model.safetensors")
    assert_same(found.tree, {"a": np.ones(1)})


def test_one_file_of_pytorch(tmp_path):
    safetensors.numpy.save_file(FLAT, tmp_path / "model.safetensors", {"format": "pt"})
    found = restore_pretrained(tmp_path)
    assert_same(found.tree, TREE)
    assert found.files == ("model.safetensors",)
    assert found.metadata == {"format": "pt"}
    assert_same(restore_pretrained(tmp_path, separator=None).tree, FLAT)
    assert_same(restore_pretrained(tmp_path, path="encoder").tree, TREE["encoder"])


@pytest.mark.parametrize("make", [of_pytorch, of_flax])
def test_several_files(tmp_path, make):
    where = make(tmp_path)
    found = restore_pretrained(tmp_path)
    assert_same(found.tree, TREE)
    names = list(dict.fromkeys(where.values()))
    [name] = [n for n in os.listdir(tmp_path) if n.endswith(INDEX)]
    assert found.files == (name, *names)
    assert found.metadata == ({"format": "pt"} if make is of_pytorch else {})
    assert found.left == ()
    assert found.tree["head"]["bias"].flags.owndata is False
    copy = restore_pretrained(tmp_path, copy=True).tree["head"]["bias"]
    assert copy.flags.writeable
    # Only the file with the part is read.
    part = restore_pretrained(tmp_path, path="head")
    assert_same(part.tree, TREE["head"])
    assert part.files == (name, names[1])
    assert_same(restore_pretrained(tmp_path, path="head/bias").tree, np.zeros(2, "f4"))
    target = {"encoder": {"bias": 0, "kernel": 0}, "head": {"bias": 0}}
    assert_same(restore_pretrained(tmp_path, target).tree, TREE)
    with pytest.raises(SerializationError, match="Missing from the state: 'tail'"):
        restore_pretrained(tmp_path, {"tail": 0})
    with pytest.raises(SerializationError, match="There is nothing at 'tail'"):
        restore_pretrained(tmp_path, path="tail")


def test_names_as_they_are(tmp_path):
    of_pytorch(tmp_path)
    assert_same(restore_pretrained(tmp_path, separator=None).tree, FLAT)
    bias = restore_pretrained(tmp_path, separator=None, path=["head.bias"]).tree
    assert_same(bias, FLAT["head.bias"])


def test_weights_that_the_index_does_not_have(tmp_path):
    where = of_pytorch(tmp_path)
    del where["encoder.bias"]
    index(tmp_path, where)
    found = restore_pretrained(tmp_path)
    assert found.left == ("encoder.bias",)
    assert sorted(found.tree["encoder"]) == ["kernel"]


def test_weights_that_are_not_where_the_index_says(tmp_path):
    where = of_pytorch(tmp_path)
    index(tmp_path, {**where, "encoder.bios": f"{ONE}.safetensors"})
    with pytest.raises(SerializationError, match="and it is not; the nearest") as info:
        restore_pretrained(tmp_path)
    assert info.value.path == "encoder.bios"


@pytest.mark.parametrize("make", [of_pytorch, of_flax])
def test_missing_files(tmp_path, make):
    where = make(tmp_path)
    names = sorted(set(where.values()))
    (tmp_path / names[0]).unlink()
    with pytest.raises(SerializationError, match="2 of 3 weights are in them") as info:
        restore_pretrained(tmp_path)
    assert f"'{names[0]}'" in str(info.value)
    assert names[1] not in str(info.value)


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/x.safetensors",
        "a\\x.safetensors",
        "C:x.safetensors",
        "x\0.safetensors",
    ],
)
def test_files_that_are_elsewhere(tmp_path, name):
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    for place in (tmp_path, folder / "a"):
        serialize({"b": np.ones(1)}, place / "x.safetensors")
    index(folder, {"b": name})
    with pytest.raises(
        SerializationError, match="not in its own folder. It is"
    ) as info:
        restore_pretrained(folder)
    assert info.value.path == "b"


@pytest.mark.parametrize("name", ["x.bin", "", 3, None, ["x.safetensors"]])
def test_files_that_are_no_weights(tmp_path, name):
    index(tmp_path, {"b": name})
    with pytest.raises(SerializationError, match="which is no file of weights") as info:
        restore_pretrained(tmp_path)
    assert info.value.path == "b"


def test_files_of_both_kinds(tmp_path):
    index(tmp_path, {"a": "a.msgpack", "b": "b.safetensors"})
    with pytest.raises(SerializationError, match="of msgpack and of safetensors"):
        restore_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("text", "what", "offset"),
    [
        (b"", "Expecting value", 0),
        (b'{"a": }', "Expecting value", 6),
        (b'{"\xff": 1}', "invalid start byte", 2),
        (b"[]", "it has no weight_map", 0),
        (b"{}", "it has no weight_map", 0),
        (b'{"weight_map": []}', "no object with names in it", 0),
        (b'{"weight_map": {}}', "no object with names in it", 0),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "'a' appears twice", 0),
        (b'{"a":' + b"[" * 10**5, "recursion", 0),
        (b"9" * 5000, "Exceeds the limit", 0),
    ],
)
def test_an_index_that_cannot_be_read(tmp_path, text, what, offset):
    (tmp_path / f"model.safetensors{INDEX}").write_bytes(text)
    with pytest.raises(SerializationError, match=what) as info:
        restore_pretrained(tmp_path)
    assert info.value.offset == offset
    assert "'model.safetensors.index.json' cannot be read" in str(info.value)


def test_an_index_that_is_too_long(tmp_path):
    path = tmp_path / f"model.safetensors{INDEX}"
    with open(path, "wb") as file:
        file.truncate(100_000_001)
    with pytest.raises(SerializationError, match="no model has that many names"):
        shards_of(str(path))


def touch(folder, *names):
    for name in names:
        (folder / name).touch()


def test_which_file_is_chosen(tmp_path):
    with pytest.raises(SerializationError, match="The folder has no weights"):
        weights_file(str(tmp_path))
    touch(tmp_path, "config.json", "pytorch_model.bin")
    with pytest.raises(SerializationError, match="'pytorch_model.bin', are pickles"):
        restore_pretrained(tmp_path)
    assert not has_weights(str(tmp_path))
    order = [
        "a.msgpack",
        f"b.safetensors{INDEX}",
        f"model.safetensors{INDEX}",
        "model.safetensors",
        f"flax_model.msgpack{INDEX}",
        "flax_model.msgpack",
    ]
    for name in order:
        touch(tmp_path, name)
        assert weights_file(str(tmp_path)) == name
    assert has_weights(str(tmp_path))
    assert weights_file(str(tmp_path), "a.msgpack") == "a.msgpack"
    for name in ("a.msgpac", "../a.msgpack", "config.json"):
        with pytest.raises(SerializationError, match="There is no file of weights"):
            weights_file(str(tmp_path), name)


def test_several_files_that_may_be_meant(tmp_path):
    touch(tmp_path, "a.msgpack", "b.safetensors")
    with pytest.raises(SerializationError, match="'a.msgpack', 'b.safetensors'. Pass"):
        weights_file(str(tmp_path))


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        restore_pretrained(tmp_path / "none")
    touch(tmp_path, "file")
    with pytest.raises(NotADirectoryError):
        restore_pretrained(tmp_path / "file")


def test_names_of_an_index():
    assert by_name({"a": {"b": 1}, "c": 2}, "x.msgpack") == {"a/b": 1, "c": 2}
    assert by_name({"a.b": 1}, "x.safetensors") == {"a.b": 1}
    shards = Shards(None, {"x": ["a.b", "a"]})
    found = shards.collected(lambda name: {"a.b": 1, "a": 2, "c": 3})
    assert found == ({"a.b": 1, "a": 2}, ("c",))


def test_is_imported_when_it_is_asked_for():
    program = """
import sys
import batiste.serialization as package
assert "batiste.serialization.pretrained" not in sys.modules
assert "json" not in sys.modules
assert {"Pretrained", "restore_pretrained"} <= set(dir(package))
assert package.restore_pretrained.__name__ == "restore_pretrained"
from batiste.serialization import Pretrained
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'pretrained_'"):
        _ = batiste.serialization.pretrained_
