import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

from batiste import spmd

MESH = AbstractMesh((2, 4), ("data", "model"))


def summary(found):
    return sorted((c.kind, c.axes, c.bytes, c.times) for c in found)


def module(line, before=""):
    return f"{before}ENTRY %main.1 (p: f32[4]) -> f32[4] {{\n  {line}\n}}\n"


@pytest.mark.parametrize(
    ("line", "kind", "arrays", "size", "group_size", "axes"),
    [
        (
            "%a.1 = f32[8,4]{1,0} all-gather(%p), replica_groups={{0,4},{1,5}}",
            "all-gather",
            ("f32[8,4]",),
            128,
            2,
            ("data",),
        ),
        (
            "ROOT %a = bf16[8]{0} all-reduce(%p), replica_groups=[2,4]<=[8], x=%s",
            "all-reduce",
            ("bf16[8]",),
            16,
            4,
            ("model",),
        ),
        (
            "%a = f32[2]{0} reduce-scatter(%p), replica_groups=[4,2]<=[2,4]T(1,0)",
            "reduce-scatter",
            ("f32[2]",),
            16,
            2,
            ("data",),
        ),
        (
            "%a = s4[3]{0} all-reduce(%p), replica_groups=mesh['x'=2,'y'=4] {'y'}",
            "all-reduce",
            ("s4[3]",),
            2,
            4,
            ("model",),
        ),
        (
            "%a = f32[] all-reduce(%p), replica_groups=mesh['x'=2,'y'=4] {'x','y'}",
            "all-reduce",
            ("f32[]",),
            4,
            8,
            ("data", "model"),
        ),
        (
            "%a = f32[] all-reduce(%p), replica_groups=mesh['x'=8] {'x':(2)4}",
            "all-reduce",
            ("f32[]",),
            4,
            4,
            None,
        ),
        (
            "%a = f32[] all-reduce(%p), replica_groups=mesh['x'=4,'y'=2], "
            "device_ids=([2,4]T(1,0)) {'y'}, use_global_device_ids=true",
            "all-reduce",
            ("f32[]",),
            4,
            2,
            ("data",),
        ),
        (
            "%a = f32[] all-reduce(%p), replica_groups=mesh['x'=4,'y'=2], "
            "device_ids=(1,0,2,3,4,5,6,7) {'y'}, use_global_device_ids=true",
            "all-reduce",
            ("f32[]",),
            4,
            2,
            None,
        ),
        (
            "%a = pred[4]{0} all-reduce(%p), replica_groups={}",
            "all-reduce",
            ("pred[4]",),
            4,
            8,
            ("data", "model"),
        ),
        (
            "%a = f32[4]{0} collective-permute(%p), source_target_pairs={{0,4},{4,0}}",
            "collective-permute",
            ("f32[4]",),
            16,
            2,
            ("data",),
        ),
        (
            "%a = (f32[4]{0}, u8[4]{0}) all-to-all(%p, %q), replica_groups={{0,1}}",
            "all-to-all",
            ("f32[4]", "u8[4]"),
            20,
            2,
            ("model",),
        ),
        (
            "%a = (f32[2]{0}, f32[8]{0:T(8,128)}) all-gather-start(%p), "
            "replica_groups=[2,4]<=[8]",
            "all-gather",
            ("f32[8]",),
            32,
            4,
            ("model",),
        ),
        (
            "%a = (f32[2]{0}, f32[2]{0}, u32[], u32[]) collective-permute-start(%p), "
            "source_target_pairs={{0,1}}",
            "collective-permute",
            ("f32[2]",),
            8,
            2,
            ("model",),
        ),
        (
            "%a = f8e4m3fn[4]{0} all-reduce(%p), replica_groups={{0,9}}",
            "all-reduce",
            ("f8e4m3fn[4]",),
            4,
            2,
            None,
        ),
    ],
)
def test_one_line(line, kind, arrays, size, group_size, axes):
    (found,) = spmd.collectives(module(line), mesh=MESH)
    assert (found.kind, found.arrays, found.bytes) == (kind, arrays, size)
    assert (found.group_size, found.axes, found.times) == (group_size, axes, 1)
    (alone,) = spmd.collectives(module(line))
    assert alone.axes is None


@pytest.mark.parametrize(
    "line",
    [
        "%a = f32[8]{0} all-gather-done(%a.1)",
        "%g = f32[8]{0} get-tuple-element(%all-to-all), index=0",
        "%f = f32[8]{0} fusion(%all-reduce.1), kind=kLoop, calls=%fused",
    ],
)
def test_other_lines(line):
    assert spmd.collectives(module(line)) == ()


BODY = """%body (p: f32[4]) -> f32[4] {
  %r = f32[4] all-reduce(%p), replica_groups={{0,1}}, metadata={op_name="jit(f)/dot"}
}
"""


@pytest.mark.parametrize(
    ("count", "times"),
    [(', backend_config={"known_trip_count":{"n":"5"}}', 5), ("", None)],
)
def test_loops_multiply(count, times):
    outer = (
        "%outer (p: f32[4]) -> f32[4] {\n"
        f"  %w = f32[4] while(%p), condition=%c, body=%body{count}\n}}\n"
    )
    line = (
        "%w = f32[4] while(%p), condition=%c, body=%outer, "
        'backend_config={"known_trip_count":{"n":"3"}}'
    )
    (found,) = spmd.collectives(module(line, BODY + outer))
    assert found.times == (None if times is None else 3 * times)
    assert found.total_bytes == 16 * (1 if times is None else 15)
    assert found.op_name == "jit(f)/dot"


def test_a_computation_may_be_called_from_several_places():
    line = (
        "%c = f32[4] conditional(%p), branch_computations={%body, %body}\n"
        "  %d = f32[4] async-start(%p), calls=%body"
    )
    (found,) = spmd.collectives(module(line, BODY))
    assert found.times == 3


def test_the_collectives_of_shard_map_are_found(mesh):
    def body(x):
        return (
            jax.lax.psum(x, "data"),
            jax.lax.all_gather(x, "model", tiled=True),
            jax.lax.psum_scatter(x, "model", tiled=True),
            jax.lax.ppermute(x, "data", [(0, 1), (1, 0)]),
        )

    specs = (P(None, "model"), P("data"), P(("data", "model")), P("data", "model"))
    step = jax.jit(
        jax.shard_map(
            body,
            mesh=mesh,
            in_specs=P("data", "model"),
            out_specs=specs,
            check_vma=False,
        )
    )
    x = np.ones((16, 32), np.float32)
    size = 8 * 8 * 4
    expected = [
        ("all-gather", ("model",), 4 * size, 1),
        ("all-reduce", ("data",), size, 1),
        ("collective-permute", ("data",), size, 1),
        ("reduce-scatter", ("model",), size, 1),
    ]
    assert summary(spmd.collectives(step, (x,), mesh)) == expected
    lowered = step.lower(x)
    assert summary(spmd.collectives(lowered, mesh=mesh)) == expected
    assert summary(spmd.collectives(lowered.compile(), mesh=mesh)) == expected


def test_the_collectives_of_a_tensor_parallel_scan_are_found(mesh):
    # Two matrices per layer, split over "model": one all-reduce per layer.
    up = NamedSharding(mesh, P(None, None, "model"))
    down = NamedSharding(mesh, P(None, "model", None))
    x = NamedSharding(mesh, P("data", None))

    def step(up, down, x):
        def layer(x, w):
            return jnp.tanh(x @ w[0]) @ w[1], None

        return jax.lax.scan(layer, x, (up, down))[0]

    args = (
        jax.ShapeDtypeStruct((3, 16, 64), "float32", sharding=up),
        jax.ShapeDtypeStruct((3, 64, 16), "float32", sharding=down),
        jax.ShapeDtypeStruct((8, 16), "float32", sharding=x),
    )
    (found,) = spmd.collectives(jax.jit(step, out_shardings=x), args, mesh)
    assert (found.kind, found.axes, found.times) == ("all-reduce", ("model",), 3)
    assert found.bytes == 4 * 16 * 4


def test_what_is_no_program_is_an_error():
    with pytest.raises(TypeError, match="Wrap the function in jax.jit"):
        spmd.collectives(lambda x: x)
