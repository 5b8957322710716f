import io
import sys

import numpy as np
import pytest

from batiste.serialization import SerializationError, serialize, to_bytes
from batiste.serialization.__main__ import main
from batiste.serialization.listing import Row, human_size, render, rows

TREE = {
    "params": {
        "kernel": np.zeros((784, 512), "f4"),
        "bias": np.zeros(512, "f4"),
        "half": np.float16(0.5),
    },
    "opt": [(), {"mu": None}],
    "raw": b"123",
    "\x1b[31m[red]": "te\nxt",
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "state.msgpack"
    serialize(TREE, path, max_chunk_size=10**6)
    return path


def test_rows(path):
    size = 4 * 784 * 512
    assert rows(path) == [
        Row(0, ".", "dict", 2, 784 * 512 + 512, size + 2048 + 3),
        Row(1, "params", "dict", 2, 784 * 512 + 512, size + 2048),
        Row(2, "kernel", "float32[784, 512]", 1, 784 * 512, size),
        Row(2, "bias", "float32[512]", 1, 512, 2048),
        Row(2, "half", repr(np.float16(0.5))),
        Row(1, "opt", "dict"),
        Row(2, "0", "dict, empty"),
        Row(2, "1", "dict"),
        Row(3, "mu", "None"),
        Row(1, "raw", "bytes[3]", 0, 0, 3),
        Row(1, "\N{REPLACEMENT CHARACTER}[31m[red]", r"'te\nxt'"),
    ]


def test_parts_and_single_leaves(path):
    assert rows(path, "params/bias") == [
        Row(0, "params/bias", "float32[512]", 1, 512, 2048)
    ]
    assert [r.name for r in rows(path, ("params",))][:2] == ["params", "kernel"]
    assert rows(io.BytesIO(b"\x92\x01\xa1a")) == [
        Row(0, ".", "list"),
        Row(1, "0", "1"),
        Row(1, "1", "'a'"),
    ]


def test_render(path):
    lines = render(rows(path)).splitlines()
    assert lines[0].split() == ["name", "type", "elements", "size"]
    assert lines[3].split() == [
        "kernel",
        "float32[784,",
        "512]",
        "401,408",
        "1.5",
        "MiB",
    ]
    assert lines[-1] == "arrays: 2, elements: 401,920, size: 1.5 MiB"


def test_array_data_is_not_read():
    data = to_bytes({"a": np.zeros(1000, "f4"), "b": 1})
    head = data.index(b"float32") + len("float32") + 3
    damaged = data[:head] + b"\xff" * 4000 + data[head + 4000 :]
    assert rows(io.BytesIO(damaged)) == rows(io.BytesIO(data))


def test_unknown_element_types_are_listed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    data = b"\x81\xa1a\xd8\x01\x93\x91\x01\xa8bfloat16\xc4\x02\x80?"
    assert rows(io.BytesIO(data))[1].kind == "bfloat16[1]"


def test_wrong_sizes_are_refused():
    data = to_bytes({"a": np.zeros(2, "f4")}).replace(b"\x91\x02", b"\x91\x03")
    with pytest.raises(SerializationError, match="cannot have 8 bytes") as info:
        rows(io.BytesIO(data))
    assert info.value.path == "a"
    data = to_bytes({"a": np.zeros(4, "f4")}, max_chunk_size=8)
    data = data.replace(b"shape\x81\xa10\x04", b"shape\x81\xa10\x05")
    with pytest.raises(SerializationError, match="do not make it up"):
        rows(io.BytesIO(data))


def test_human_size():
    sizes = [human_size(n) for n in (0, 1023, 1024, 10 * 2**20, 2**40, 5 * 2**50)]
    assert sizes == ["0 B", "1,023 B", "1.0 KiB", "10.0 MiB", "1.0 TiB", "5,120.0 TiB"]


def test_command(path, capsys):
    assert main([str(path), "--plain"]) == 0
    assert capsys.readouterr().out == render(rows(path)) + "\n"
    assert main([str(path), "--plain", "--path", "params/bias"]) == 0
    assert "params/bias" in capsys.readouterr().out


def test_command_without_rich(path, capsys, monkeypatch):
    for name in ("rich", "rich.console", "rich.text", "rich.tree"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([str(path)]) == 0
    assert capsys.readouterr().out == render(rows(path)) + "\n"


def test_command_says_what_is_wrong(path, capsys, tmp_path):
    assert main([str(path), "--path", "parms"]) == 1
    assert "the nearest to 'parms': 'params'" in capsys.readouterr().err
    assert main([str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err
    path.write_bytes(b"\x81")
    assert main([str(path)]) == 1
    assert "(at the root, byte 0)" in capsys.readouterr().err


def test_deep_files_are_listed(tmp_path, capsys):
    tree = {}
    for _ in range(800):
        tree = {"a": tree}
    serialize(tree, tmp_path / "deep")
    assert main([str(tmp_path / "deep")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 804


def test_dates_that_numpy_cannot_print_are_listed(tmp_path):
    date = np.array([2**62], "datetime64[25ns]")
    file = tmp_path / "dates"
    file.write_bytes(to_bytes({"array": date, "scalar": date[0]}))
    array, scalar = [row.kind for row in rows(str(file)) if row.depth]
    assert array == "datetime64[25ns][1]"
    try:
        shown = repr(date[0])
    except OverflowError:  # since NumPy 2.5
        shown = "datetime64[25ns] (too far off)"
    assert scalar == (shown if len(shown) <= 40 else f"{shown[:39]}…")
    assert main([str(file)]) == 0
