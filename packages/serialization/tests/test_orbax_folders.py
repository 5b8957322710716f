"""Without Orbax; tests/test_serialization_orbax.py has it."""

import sys

import numpy as np
import pytest

from batiste.serialization.converting import convert
from batiste.serialization.orbax_folders import is_orbax, read_orbax, write_orbax


def test_what_folders_of_orbax_hold(tmp_path):
    assert not is_orbax(tmp_path)
    (tmp_path / "a.msgpack").write_bytes(b"\x80")
    assert not is_orbax(tmp_path)
    (tmp_path / "_METADATA").touch()
    assert is_orbax(tmp_path)


def test_orbax_is_asked_for_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    monkeypatch.setitem(sys.modules, "orbax", None)
    (tmp_path / "a.msgpack").write_bytes(b"\x81\xa1a\x01")
    calls = [
        lambda: read_orbax(str(tmp_path)),
        lambda: write_orbax({"a": np.ones(1)}, str(tmp_path / "x")),
        lambda: convert(str(tmp_path / "a.msgpack"), str(tmp_path / "x.orbax")),
    ]
    for call in calls:
        with pytest.raises(ImportError, match="the extra orbax of batiste-serializat"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["a.msgpack"]
