import sys

import jax
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P
from rich.console import Console

from batiste import spmd
from batiste.spmd.plan_table import plain_text, rich_tables, size_text

MESH = AbstractMesh((2, 4), ("data", "model"))
RULES = (("embed", "data"), ("heads", ("data", "model")), ("hidden", "model"))


def logical(shape, names):
    return spmd.LogicallyPartitioned(jax.ShapeDtypeStruct(shape, "float32"), names)


HLO = """ENTRY %main (p: f32[4]) -> f32[8] {
  %a = f32[8] all-gather(%p), replica_groups={{0,4}}
  %b = f32[8] all-gather(%p), replica_groups={{1,5}}
  %c = (f32[2], f32[2], f32[2], f32[2]) all-to-all(%p), replica_groups=mesh['x'=2,\
device_ids=[0,1]] {'x'}
}
"""


@pytest.fixture
def plan():
    tree = {
        "b": jax.ShapeDtypeStruct((), "int32"),
        "h": logical((64,), ("heads",)),
        "u": spmd.Partitioned(jax.ShapeDtypeStruct((6,), "int8"), ("model",)),
        "w": logical((16, 64), ("embed", "hidden")),
        "x": {str(i): logical((4,), ("vocab",)) for i in range(5)},
        "z": spmd.Partitioned(jax.ShapeDtypeStruct((6,), "int8"), (P.UNCONSTRAINED,)),
    }
    return spmd.plan(tree, MESH, RULES, step=HLO)


TEXT = """\
mesh: data=2, model=4 (8 devices)
array  shape   dtype    axes           spec         shards  per device
b      scalar  int32                   -                 1         4 B
h      64      float32  heads          data+model        8        32 B
u      6       int8     model          model             4         2 B
w      16x64   float32  embed, hidden  data, model       8       512 B
x/0    4       float32  vocab          -                 1        16 B
x/1    4       float32  vocab          -                 1        16 B
x/2    4       float32  vocab          -                 1        16 B
x/3    4       float32  vocab          -                 1        16 B
x/4    4       float32  vocab          -                 1        16 B
z      6       int8     ?              ?                 1         6 B
total: 4.34 KiB, 636 B per device
no rule applied to: vocab (x/0, x/1, x/2 and 2 more)
does not divide: u has 6 in dimension 0, for 4 parts
collectives: 3, 96 B per step and device
collective  over       arrays                          bytes  runs  total
all-gather  data       f32[8]                           32 B     2   64 B
all-to-all  2 devices  f32[2], f32[2], f32[2], ...      32 B     1   32 B"""


def test_plain_text(plan):
    assert str(plan).split() == TEXT.split()
    lines = str(plan).splitlines()
    assert lines[:11] == TEXT.splitlines()[:11]
    assert max(map(len, lines[1:12])) == min(map(len, lines[1:12]))


def test_a_collective_of_all_devices_says_so():
    each = spmd.Collective("all-reduce", ("f32[8]",), 32, group_size=0)
    last = str(spmd.Plan({}, (), {}, (each,))).splitlines()[-1]
    assert last.split() == "all-reduce all devices f32[8] 32 B 1 32 B".split()


def test_plain_text_does_without_rich(plan, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert plain_text(plan) == str(plan)


def test_importing_the_package_does_not_import_rich():
    import subprocess

    code = "import sys, batiste.spmd; sys.exit('rich' in sys.modules)"
    env = {"PYTHONPATH": ":".join(sys.path), "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)


def test_rich_tables(plan):
    out = Console(width=120, record=True, file=sys.stderr)
    out.print(plan)
    text = out.export_text()
    assert "embed, hidden" in text
    assert "no rule applied to: vocab" in text
    assert "collectives of the step" in text
    assert rich_tables(plan) is not None


def test_a_plan_without_a_step_has_no_collectives_in_its_text():
    assert "collective" not in str(spmd.plan({}, MESH))
    assert "collectives: 0, 0 B" in str(spmd.plan({}, MESH, step="ENTRY %m"))


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
