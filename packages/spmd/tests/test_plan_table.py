import dataclasses
import subprocess
import sys

import pytest
from jax.sharding import PartitionSpec as P
from rich.console import Console

from batiste.spmd.plan_table import (
    Table,
    entries_text,
    plain_text,
    rich_tables,
    size_text,
)

FRUIT = Table(
    title="fruit",
    columns=("name", "count"),
    rows=[("apples", "12"), ("figs", "3")],
    numbers={"count"},
)
NUTS = dataclasses.replace(FRUIT, title="nuts", rows=[("walnuts", "700000")])

TEXT = """\
fruit
name    count
apples     12
figs        3
no more
to eat
name      count
walnuts  700000"""


def test_plain_text_has_one_title_and_each_table_its_own_widths():
    assert plain_text(FRUIT, ["no more", "to eat"], NUTS) == TEXT


def test_plain_text_of_one_table():
    assert plain_text(FRUIT, []).splitlines() == TEXT.splitlines()[:4]
    empty = dataclasses.replace(FRUIT, rows=[])
    assert plain_text(empty, ["note"]) == "fruit\nname  count\nnote"


def test_lines_have_no_blanks_at_their_ends():
    table = Table("t", ("a", "b"), [("x", ""), ("y", "long")])
    assert plain_text(table, []) == "t\na  b\nx\ny  long"


def test_plain_text_does_without_rich(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert plain_text(FRUIT, ["no more", "to eat"], NUTS) == TEXT
    with pytest.raises(ImportError):
        rich_tables(FRUIT, [])


def test_importing_the_package_does_not_import_rich():
    code = "import sys, batiste.spmd; sys.exit('rich' in sys.modules)"
    env = {"PYTHONPATH": ":".join(sys.path), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_rich_tables_have_every_title_cell_and_note():
    out = Console(width=120, record=True, file=sys.stderr)
    out.print(rich_tables(FRUIT, ["no more", "[to] eat"], NUTS))
    words = set(out.export_text().split())
    assert words >= {"fruit", "nuts", "apples", "12", "figs", "walnuts", "700000"}
    assert words >= {"[to]", "more"}


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ((), "-"),
        (("batch", None), "batch, -"),
        ((("data", "model"), P.UNCONSTRAINED), "data+model, ?"),
    ],
)
def test_entries_text(entries, text):
    assert entries_text(entries) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (5 * 2**20, "5.00 MiB"),
        (2**40 * 3 // 2, "1.50 TiB"),
        (2**60, "1024.00 PiB"),
    ],
)
def test_size_text(count, text):
    assert size_text(count) == text
