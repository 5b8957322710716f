"""Folders of Orbax: converted, compared and listed by batiste.serialization."""

import logging
import os
import tarfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from batiste.serialization import SerializationError, restore, serialize
from batiste.serialization.__main__ import main
from batiste.serialization.comparing import compare
from batiste.serialization.converting import convert
from batiste.serialization.listing import rows
from batiste.serialization.orbax_folders import read_orbax, write_orbax
from batiste.serialization.sources import opened

TREE = {
    "params": {
        "kernel": np.arange(6, dtype="f4").reshape(2, 3),
        "half": np.arange(4).astype(ml_dtypes.bfloat16),
        "big": np.arange(400_000.0).reshape(2, -1),  # read on its own
        "0d": np.array(5, "i2"),
    },
    "list": [np.ones(2, "c8"), {"x": np.zeros(3, "?")}],
    "step": 7,
    "rate": 0.5,
    "done": True,
    "name": "x",
    "none": None,
    "empty": {},
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(logging.getLogger("absl"), "disabled", True)


@pytest.fixture
def folder(tmp_path):
    write_orbax(TREE, str(tmp_path / "a.orbax"))
    return tmp_path / "a.orbax"


def texts(first, second):
    return [difference.text() for difference in compare(first, second)]


def test_there_and_back(folder):
    assert texts(read_orbax(str(folder)), TREE) == []


def test_orbax_itself_reads_what_is_written(folder):
    found = ocp.PyTreeCheckpointer().restore(folder)
    assert texts(found, TREE) == []


def test_what_orbax_itself_writes(tmp_path):
    tree = {"a": jnp.arange(4.0), "b": [jnp.ones((2, 2), jnp.bfloat16)], "n": 3}
    ocp.PyTreeCheckpointer().save(tmp_path / "x", tree)
    with opened(str(tmp_path / "x")) as source:
        assert source.kind == "Orbax"
        assert texts(source.tree, tree) == []
    with opened(str(tmp_path / "x"), ("b", "0")) as source:
        assert (source.tree.dtype, source.tree.shape) == ("bfloat16", (2, 2))


def test_steps_of_managers(tmp_path):
    with ocp.CheckpointManager(tmp_path / "one") as manager:
        manager.save(3, args=ocp.args.StandardSave({"a": jnp.ones(2)}))
    assert texts(read_orbax(str(tmp_path / "one" / "3")), {"a": np.ones(2, "f4")}) == []
    with ocp.CheckpointManager(tmp_path / "two", item_names=("x", "y")) as manager:
        item = ocp.args.StandardSave({"a": jnp.ones(2)})
        manager.save(3, args=ocp.args.Composite(x=item, y=item))
    with pytest.raises(SerializationError, match="several items: 'x', 'y'. Pass the"):
        read_orbax(str(tmp_path / "two" / "3"))
    with opened(str(tmp_path / "two" / "3" / "x")) as source:
        assert texts(source.tree, {"a": np.ones(2, "f4")}) == []


@pytest.mark.parametrize("format", ["msgpack", "safetensors", "npz"])
def test_converted_to_other_formats_and_back(folder, format):
    file, back = folder.with_name(f"b.{format}"), folder.with_name("c.orbax")
    done = convert(str(folder), str(file))
    assert (done.kind, done.arrays) == (format, 6)
    with opened(str(file)) as source:
        assert texts(source.tree, TREE) == []
    assert convert(str(file), str(back)).kind == "orbax"
    assert texts(read_orbax(str(back)), TREE) == []
    assert sorted(os.listdir(folder.parent)) == sorted(
        ["a.orbax", f"b.{format}", "c.orbax"]
    )


def test_as_targets_want_it(folder):
    convert(str(folder), str(folder.with_name("b.msgpack")))
    found = restore(folder.with_name("b.msgpack"), TREE)
    assert jax.tree.structure(found) == jax.tree.structure(TREE)


def test_the_command(folder, capsys):
    assert main([str(folder), "--plain"]) == 0
    assert "bfloat16[4]" in capsys.readouterr().out
    serialize({**TREE, "step": 8}, folder.with_name("b.safetensors"))
    assert main(["diff", str(folder), str(folder.with_name("b.safetensors"))]) == 1
    assert capsys.readouterr().out.splitlines() == ["step: 7 and 8", "differences: 1"]


def test_in_archives(folder):
    with tarfile.open(folder.with_name("x.tar"), "w") as archive:
        archive.add(folder, "in/a.orbax")
    place = str(folder.with_name("x.tar") / "in" / "a.orbax")
    assert rows(place) == rows(str(folder))
    with opened(place) as source:
        assert texts(source.tree, TREE) == []


def test_what_orbax_does_not_store_leaves_nothing(tmp_path):
    cases = [
        ({"a": {"b": np.zeros((0, 3))}}, "no array without elements", "a/b"),
        ({"a": b"x"}, "'bytes' has no place in a folder of Orbax", "a"),
    ]
    for tree, text, path in cases:
        serialize(tree, tmp_path / "a.msgpack")
        with pytest.raises(SerializationError, match=text) as info:
            convert(str(tmp_path / "a.msgpack"), str(tmp_path / "b.orbax"))
        assert info.value.path == path
        assert os.listdir(tmp_path) == ["a.msgpack"]
    with pytest.raises(SerializationError, match="this is a int. Put it into a dict"):
        write_orbax(3, str(tmp_path / "b.orbax"))


def test_folders_that_are_there(folder):
    with pytest.raises(FileExistsError, match="is there already"):
        write_orbax(TREE, str(folder))
    serialize({"a": np.ones(1)}, folder.with_name("b.msgpack"))
    for options in ({}, {"force": True}):
        with pytest.raises(FileExistsError, match="Remove it first"):
            convert(str(folder.with_name("b.msgpack")), str(folder), **options)
    assert texts(read_orbax(str(folder)), TREE) == []


def test_folders_that_are_damaged(folder):
    (folder / "_METADATA").write_text("{")
    with pytest.raises(SerializationError, match="lacks a description that Orbax can"):
        read_orbax(str(folder))


def test_arrays_that_are_lost(folder):
    tree = read_orbax(str(folder))
    for path in (folder / "d").iterdir():
        path.unlink()
    with pytest.raises(SerializationError, match="Orbax could not read") as info:
        texts(tree, TREE)
    assert info.value.path == "params/big"
