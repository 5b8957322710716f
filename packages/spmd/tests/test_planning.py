import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console

from batiste import spmd

RULES = (("batch", "data"), ("hidden", "model"), ("embed", None))
MESH = AbstractMesh((2, 4), ("data", "model"))


def logical(shape, names, dtype="float32", rules=None):
    return spmd.LogicallyPartitioned(
        jax.ShapeDtypeStruct(shape, dtype), names, rules=rules
    )


def by_path(plan):
    return {parameter.path: parameter for parameter in plan.parameters}


def test_a_logical_parameter():
    tree = {"params": {"Dense_0": {"kernel": logical((16, 64), ("embed", "hidden"))}}}
    (parameter,) = spmd.plan(tree, MESH, RULES).parameters
    assert parameter == spmd.ParameterPlan(
        path="params/Dense_0/kernel",
        shape=(16, 64),
        dtype="float32",
        axes=("embed", "hidden"),
        spec=P(None, "model"),
        shards=4,
        shard_shape=(16, 16),
        bytes=4096,
        bytes_per_device=1024,
    )


def test_which_rules_are_used():
    w = logical((8,), ("hidden",), rules=(("hidden", "data"),))
    free = logical((8,), ("hidden",))

    def spec(box, rules=None):
        return spmd.plan(box, MESH, rules).parameters[0].spec

    assert spec(w, RULES) == P("model")
    assert spec(w) == P("data")
    assert spec(free) == P(None)
    with spmd.logical_axis_rules(RULES):
        assert spec(free) == P("model")
        assert spec(w) == P("data")


def test_leaves_of_all_kinds(mesh):
    sharding = NamedSharding(mesh, P("data"))
    tree = {
        "mesh_names": spmd.Partitioned(np.ones((4, 8), np.int8), (("data", "model"),)),
        "bare": np.ones((4, 4), np.float16),
        "own": jax.ShapeDtypeStruct((4, 4), "float32", sharding=sharding),
        "key": jax.random.key(0),
        "scalar": jax.ShapeDtypeStruct((), "int32"),
        "number": 3,
        "none": None,
    }
    tree["mesh_names"] = tree["mesh_names"].replace_boxed(np.ones((8, 8), np.int8))
    plan = spmd.plan(tree, mesh)
    found = by_path(plan)
    assert set(found) == {"mesh_names", "bare", "own", "key", "scalar"}
    assert (found["mesh_names"].shards, found["mesh_names"].bytes_per_device) == (8, 8)
    assert (found["bare"].axes, found["bare"].shards) == (None, 1)
    assert found["bare"].bytes_per_device == 32
    assert (found["own"].spec, found["own"].bytes_per_device) == (P("data"), 32)
    assert found["key"].bytes == 8
    assert found["scalar"].bytes == 4
    assert plan.total_bytes == 64 + 32 + 64 + 8 + 4
    assert plan.bytes_per_device == 8 + 32 + 32 + 8 + 4
    ids = [device.id for device in mesh.devices.flat]
    assert plan.bytes_by_device == dict.fromkeys(ids, plan.bytes_per_device)


def test_the_plan_is_what_devices_really_hold(mesh):
    init = spmd.with_logical_partitioning(
        jax.nn.initializers.normal(), ("batch", "hidden")
    )

    def make(key):
        return {"w": init(key, (8, 16)), "b": jnp.zeros(6), "k": key}

    abstract = jax.eval_shape(make, jax.random.PRNGKey(0))
    plan = spmd.plan(abstract, mesh, RULES)
    with spmd.logical_axis_rules(RULES):
        shardings = spmd.get_sharding(abstract, mesh)
    made = jax.jit(make, out_shardings=shardings)(jax.random.PRNGKey(0))
    held = dict.fromkeys(plan.bytes_by_device, 0)
    for leaf in jax.tree.leaves(made):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    assert held == plan.bytes_by_device


def test_names_without_a_rule_and_uneven_dimensions():
    tree = {
        "a": logical((6, 6), ("hiden", "hidden")),
        "b": logical((8,), ("hiden",)),
    }
    plan = spmd.plan(tree, MESH, RULES)
    assert plan.unmatched == {"hiden": ("a", "b")}
    (uneven,) = plan.uneven
    assert uneven.path == "a"
    assert uneven.uneven == ((1, 6, 4),)
    assert uneven.shard_shape == (6, 2)


def test_a_plan_needs_no_devices_and_no_memory():
    layers = {
        f"layer_{i}": logical((8192, 28672), ("embed", "hidden"), "bfloat16")
        for i in range(80)
    }
    mesh = AbstractMesh((64, 8), ("data", "model"))
    rules = (("hidden", "model"), ("embed", "data"))
    plan = spmd.plan(layers, mesh, rules)
    assert plan.total_bytes == 80 * 8192 * 28672 * 2
    assert plan.bytes_per_device == plan.total_bytes // 512
    assert len(plan.bytes_by_device) == 512


def test_the_collectives_of_a_step(enter_mesh, mesh):
    w = logical((16, 32), ("hidden", "embed"))

    def step(w, x):
        x = spmd.with_logical_constraint(x, ("batch", "hidden"))
        return spmd.with_logical_constraint(x @ w.unbox(), ("batch", "embed"))

    with enter_mesh(mesh), spmd.logical_axis_rules(RULES):
        plan = spmd.plan(
            w, mesh, step=jax.jit(step), step_args=(w, np.ones((4, 16), np.float32))
        )
    assert plan.collectives is not None
    reduced = [c for c in plan.collectives if c.kind == "all-reduce"]
    assert [(c.axes, c.bytes) for c in reduced] == [(("model",), 2 * 32 * 4)]


def test_errors_have_the_path():
    with pytest.raises(spmd.RankMismatchError, match='In "a/w": 2 axis names'):
        spmd.plan({"a": {"w": logical((8,), ("embed", "hidden"))}}, MESH, RULES)
    with pytest.raises(spmd.UnknownAxisError, match='In "w": Axis .modle.') as caught:
        spmd.plan({"w": logical((8,), ("hidden",))}, MESH, (("hidden", "modle"),))
    assert caught.value.nearest == ("model",)
    with pytest.raises(spmd.DuplicateAxisError, match='In "w": .embed.'):
        spmd.plan({"w": logical((8, 8), ("embed", "embed"))}, MESH, RULES)
    with pytest.raises(TypeError, match="The step must be"):
        spmd.plan({}, MESH, step=3)


SHOWN_RULES = (("embed", "data"), ("heads", ("data", "model")), ("hidden", "model"))
HLO = """ENTRY %main (p: f32[4]) -> f32[8] {
  %a = f32[8] all-gather(%p), replica_groups={{0,4}}
  %b = f32[8] all-gather(%p), replica_groups={{1,5}}
  %c = (f32[2], f32[2], f32[2], f32[2]) all-to-all(%p), replica_groups=mesh['x'=2,\
device_ids=[0,1]] {'x'}
}
"""


@pytest.fixture
def shown_plan():
    tree = {
        "b": jax.ShapeDtypeStruct((), "int32"),
        "h": logical((64,), ("heads",)),
        "u": spmd.Partitioned(jax.ShapeDtypeStruct((6,), "int8"), ("model",)),
        "w": logical((16, 64), ("embed", "hidden")),
        "x": {str(i): logical((4,), ("vocab",)) for i in range(5)},
        "z": spmd.Partitioned(jax.ShapeDtypeStruct((6,), "int8"), (P.UNCONSTRAINED,)),
    }
    return spmd.plan(tree, MESH, SHOWN_RULES, step=HLO)


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
collective  over       arrays                      bytes  runs  total
all-gather  data       f32[8]                       32 B     2   64 B
all-to-all  2 devices  f32[2], f32[2], f32[2], ...  32 B     1   32 B"""


def test_a_plan_prints_as_a_table(shown_plan):
    assert str(shown_plan).split() == TEXT.split()
    lines = str(shown_plan).splitlines()
    assert lines[:16] == TEXT.splitlines()[:16]
    assert max(map(len, lines[1:12])) == min(map(len, lines[1:12]))


def test_a_collective_of_all_devices_says_so():
    each = spmd.Collective("all-reduce", ("f32[8]",), 32, group_size=0)
    last = str(spmd.Plan({}, (), {}, (each,))).splitlines()[-1]
    assert " ".join(last.split()) == "all-reduce all devices f32[8] 32 B 1 32 B"


def test_rich_shows_a_plan_as_tables(shown_plan):
    out = Console(width=120, record=True, file=sys.stderr)
    out.print(shown_plan)
    text = out.export_text()
    assert "embed, hidden" in text
    assert "no rule applied to: vocab" in text
    assert "collectives of the step" in text


def test_a_plan_without_a_step_has_no_collectives_in_its_text():
    assert "collective" not in str(spmd.plan({}, MESH))
    assert "collectives: 0, 0 B" in str(spmd.plan({}, MESH, step="ENTRY %m"))
