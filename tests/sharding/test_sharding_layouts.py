"""What compiled programs hold and exchange, layout by layout.

One transformer, annotated once, is compiled for 8 devices under each layout's rules.
The collectives that XLA put in are compared, byte for byte, with those of theory. Only
for GPUs and TPUs does XLA make a reduce-scatter of an all-reduce that is then sliced:
on the CPU the all-reduce stays, and stands for the reduce-scatter in the tests below.
"""

import functools
import re
from collections import Counter

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste import spmd

LAYERS, BATCH, LENGTH, EMBED, HEADS, HIDDEN = 5, 16, 12, 64, 8, 160
LAYER_BYTES = 4 * (4 * EMBED * EMBED + 2 * EMBED * HIDDEN)
PARAM_BYTES = LAYERS * LAYER_BYTES
ACTIVATION_BYTES = 4 * BATCH * LENGTH * EMBED

# For each layout: the sizes of the mesh axes, and the rules.
LAYOUTS = {
    "data": ((8, 1), (("batch", "data"),)),
    "fsdp": ((8, 1), (("batch", "data"), ("embed", "data"))),
    "tensor": ((1, 8), (("heads", "model"), ("hidden", "model"))),
    "fsdp_tensor": (
        (2, 4),
        (
            ("batch", "data"),
            ("embed", "data"),
            ("heads", "model"),
            ("hidden", "model"),
        ),
    ),
    "sequence": (
        (2, 4),
        (
            ("batch", "data"),
            ("heads", "model"),
            ("hidden", "model"),
            ("norm_length", "model"),
        ),
    ),
}


def boxed(*names):
    return nn.with_logical_partitioning(nn.initializers.lecun_normal(), names)


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        qkv = nn.DenseGeneral(
            (3, HEADS, EMBED // HEADS),
            use_bias=False,
            kernel_init=boxed("embed", None, "heads", "kv"),
        )(x)
        qkv = nn.with_logical_constraint(qkv, ("batch", "length", None, "heads", "kv"))
        y = nn.dot_product_attention(*(qkv[:, :, i] for i in range(3)))
        y = nn.with_logical_constraint(y, ("batch", "length", "heads", "kv"))
        return nn.DenseGeneral(
            EMBED,
            axis=(-2, -1),
            use_bias=False,
            kernel_init=boxed("heads", "kv", "embed"),
        )(y)


class FeedForward(nn.Module):
    @nn.compact
    def __call__(self, x):
        up = nn.Dense(HIDDEN, use_bias=False, kernel_init=boxed("embed", "hidden"))
        down = nn.Dense(EMBED, use_bias=False, kernel_init=boxed("hidden", "embed"))
        y = nn.with_logical_constraint(up(x), ("batch", "length", "hidden"))
        return down(nn.gelu(y))


class Block(nn.Module):
    """Attention and feed-forward, with norms between them that have no parameters."""

    @nn.compact
    def __call__(self, x, _):
        between = ("batch", "norm_length", "features")
        for part in (Attention(), FeedForward()):
            x = nn.with_logical_constraint(x, between)
            scale = jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
            y = nn.with_logical_constraint(x * scale, between)
            y = nn.with_logical_constraint(y, ("batch", "length", "features"))
            x = x + nn.with_logical_constraint(part(y), between)
        return x, None


class Transformer(nn.Module):
    layers: int = LAYERS
    remat: bool = False

    @nn.compact
    def __call__(self, x):
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        stack = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.layers,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        return stack()(x, None)[0]


def make_mesh(shape):
    return Mesh(np.array(jax.devices()[:8]).reshape(shape), ("data", "model"))


class Program:
    """A training step of a transformer under a layout, and what it is compiled to."""

    def __init__(self, layout, layers=LAYERS, remat=False):
        shape, self.rules = LAYOUTS[layout]
        self.mesh = make_mesh(shape)
        self.model = Transformer(layers, remat)
        x = jax.ShapeDtypeStruct((BATCH, LENGTH, EMBED), jnp.float32)
        spec = PartitionSpec("batch", "norm_length", "features")
        with nn.logical_axis_rules(self.rules):
            self.x_sharding = nn.logical_to_mesh_sharding(spec, self.mesh)
            self.abstract = jax.eval_shape(self.model.init, jax.random.key(0), x)
            self.shardings = nn.get_sharding(self.abstract, self.mesh)
            variables = jax.tree.map(
                lambda s, leaf: jax.ShapeDtypeStruct(
                    leaf.shape, leaf.dtype, sharding=s
                ),
                self.shardings,
                nn.unbox(self.abstract),
            )
            variables = nn.meta.replace_boxed(self.abstract, variables)
            x = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.x_sharding)
            with self.mesh:
                step = jax.jit(self.step, out_shardings=self.shardings)
                self.compiled = step.lower(variables, x).compile()

    def step(self, variables, x):
        def loss(variables):
            return jnp.mean(self.model.apply(variables, x) ** 2)

        grads = jax.grad(loss)(variables)
        return jax.tree.map(lambda v, g: v - 0.1 * g, variables, grads)

    def run(self, variables, x):
        variables = jax.device_put(variables, self.shardings)
        return self.compiled(variables, jax.device_put(x, self.x_sharding))

    def traffic(self):
        """The bytes that each kind of collective exchanges along each mesh axis."""
        total = Counter()
        for each in spmd.collectives(self.compiled, mesh=self.mesh):
            assert each.times is not None
            assert each.axes is not None
            total[each.kind, *each.axes] += each.total_bytes
        return dict(total)


@functools.cache
def program(layout, layers=LAYERS, remat=False):
    return Program(layout, layers, remat)


# The collectives of theory.


def test_data_parallel_all_reduces_the_gradients():
    assert program("data").traffic() == {("all-reduce", "data"): PARAM_BYTES}


def test_fsdp_all_gathers_parameters_twice_and_reduce_scatters_gradients():
    """Rajbhandari et al. 2020, "ZeRO", stage 3."""
    assert program("fsdp").traffic() == {
        ("all-gather", "data"): 2 * PARAM_BYTES,
        ("all-reduce", "data"): PARAM_BYTES,  # the reduce-scatter
    }


def test_tensor_parallel_all_reduces_activations_twice_forward_and_backward():
    """Shoeybi et al. 2019, "Megatron-LM": after attention and after feed-forward."""
    assert program("tensor").traffic() == {
        ("all-reduce", "model"): 4 * LAYERS * ACTIVATION_BYTES
    }


def test_fsdp_with_tensor_parallel_adds_up_over_the_two_axes():
    assert program("fsdp_tensor").traffic() == {
        ("all-gather", "data"): 2 * PARAM_BYTES // 4,
        ("all-reduce", "data"): PARAM_BYTES // 4,  # the reduce-scatter
        ("all-reduce", "model"): 4 * LAYERS * ACTIVATION_BYTES // 2,
    }


def test_sequence_parallel_all_gathers_and_reduce_scatters_activations():
    """Korthikanti et al. 2022: an all-reduce becomes all-gather and reduce-scatter."""
    assert program("sequence").traffic() == {
        ("all-gather", "model"): 4 * LAYERS * ACTIVATION_BYTES // 2,
        ("all-reduce", "model"): 4 * LAYERS * ACTIVATION_BYTES // 2,
        ("all-reduce", "data"): PARAM_BYTES // 4,
    }


GROUPS, TOKENS, EXPERTS, CAPACITY = 16, 8, 8, 2


class Experts(nn.Module):
    """Sends tokens to experts, by a given dispatch, and back (Lepikhin et al. 2020)."""

    @nn.compact
    def __call__(self, x, dispatch):
        up = self.param(
            "up", boxed("expert", "embed", "hidden"), (EXPERTS, EMBED, HIDDEN)
        )
        down = self.param(
            "down", boxed("expert", "hidden", "embed"), (EXPERTS, HIDDEN, EMBED)
        )
        at_home, at_expert = ("batch", None, None, None), (None, "expert", None, None)
        h = jnp.einsum("gtec,gtd->gecd", dispatch, x)
        h = nn.with_logical_constraint(h, at_home)
        h = nn.with_logical_constraint(h, at_expert)
        h = nn.relu(jnp.einsum("gecd,edh->gech", h, up))
        h = jnp.einsum("gech,ehd->gecd", h, down)
        h = nn.with_logical_constraint(h, at_expert)
        h = nn.with_logical_constraint(h, at_home)
        return jnp.einsum("gtec,gecd->gtd", dispatch, h)


def test_experts_exchange_tokens_by_all_to_all_twice_forward_and_backward():
    """Lepikhin et al. 2020, "GShard"; no expert's parameters are ever moved."""
    mesh = make_mesh((8, 1))
    split = NamedSharding(mesh, PartitionSpec("data"))
    x = jax.ShapeDtypeStruct((GROUPS, TOKENS, EMBED), jnp.float32, sharding=split)
    dispatch = jax.ShapeDtypeStruct(
        (GROUPS, TOKENS, EXPERTS, CAPACITY), jnp.float32, sharding=split
    )
    model = Experts()
    with mesh, nn.logical_axis_rules((("batch", "data"), ("expert", "data"))):
        abstract = jax.eval_shape(model.init, jax.random.key(0), x, dispatch)
        shardings = nn.get_sharding(abstract, mesh)

        def grads(variables, x, dispatch):
            def loss(variables, x):
                return jnp.mean(model.apply(variables, x, dispatch) ** 2)

            return jax.grad(loss, argnums=(0, 1))(variables, x)

        compiled = jax.jit(
            grads,
            in_shardings=(shardings, split, split),
            out_shardings=(shardings, split),
        )
        compiled = compiled.lower(abstract, x, dispatch).compile()
    found = spmd.collectives(compiled, mesh=mesh)
    sent = 4 * GROUPS * EXPERTS * CAPACITY * EMBED // 8
    assert [(each.kind, each.axes, each.total_bytes) for each in found] == [
        ("all-to-all", ("data",), sent)
    ] * 4


@functools.cache
def one_device():
    """The variables, an input, and the variables after a step, on one device."""
    draw = np.random.default_rng(0).standard_normal
    x = draw((BATCH, LENGTH, EMBED), np.float32)
    variables = jax.tree.map(
        lambda leaf: 0.1 * draw(leaf.shape, np.float32), program("data").abstract
    )
    return variables, x, jax.jit(program("data").step)(variables, x)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_computes_the_same(layout):
    variables, x, expected = one_device()
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6),
        program(layout).run(variables, x),
        expected,
    )


# What a device holds.


def test_fsdp_keeps_one_nth_of_the_parameters_on_each_device():
    fsdp = program("fsdp")
    batch_bytes = ACTIVATION_BYTES // 8
    sizes = fsdp.compiled.memory_analysis()
    assert sizes.argument_size_in_bytes == PARAM_BYTES // 8 + batch_bytes
    with nn.logical_axis_rules(fsdp.rules):
        plan = spmd.plan(fsdp.abstract, fsdp.mesh)
    assert plan.total_bytes == PARAM_BYTES
    assert plan.bytes_per_device == PARAM_BYTES // 8
    # And in the arrays that a step returns.
    variables, x, _ = one_device()
    held = Counter()
    for leaf in jax.tree.leaves(fsdp.run(variables, x)):
        for shard in leaf.addressable_shards:
            held[shard.device.id] += shard.data.nbytes
    assert held == dict.fromkeys(range(8), PARAM_BYTES // 8)


_ARRAY = re.compile(r"\b[a-z]+\d+\[([\d,]+)\]")


def shapes_in(text):
    """The shapes in HLO text, each as its sorted dimensions without those of 1."""
    found = {match[1] for match in _ARRAY.finditer(text)}
    return {
        tuple(sorted(d for d in map(int, dims.split(",")) if d > 1)) for dims in found
    }


def whole_shapes(program):
    """The shapes of those parameters that are sharded, and of one layer of them."""
    sharded = [
        leaf.shape
        for leaf, sharding in zip(
            jax.tree.leaves(program.abstract), jax.tree.leaves(program.shardings)
        )
        if sharding.shard_shape(leaf.shape) != leaf.shape
    ]
    stacked = {tuple(sorted(shape)) for shape in sharded}
    one_layer = {tuple(sorted(shape[1:])) for shape in sharded}
    return stacked, one_layer


@pytest.mark.parametrize(
    ("layout", "remat"),
    [*((name, False) for name in LAYOUTS if name != "data"), ("fsdp", True)],
)
def test_no_unsharded_copy_of_a_parameter_outlives_its_layer(layout, remat):
    text = program(layout, remat=remat).compiled.as_text()
    stacked, one_layer = whole_shapes(program(layout))
    assert len(stacked) == 3  # Those up and down have the same dimensions.
    # All layers together are whole nowhere; that goes for their gradients, too.
    assert not stacked & shapes_in(text)
    # What outlives an iteration is what the loop carries: there is no whole layer.
    loops = [line for line in text.splitlines() if re.search(r" while\(", line)]
    assert len(loops) == 2
    for line in loops:
        assert not one_layer & shapes_in(line)
    # With tensor parallelism alone, a whole layer is not there at any time.
    if layout in ("tensor", "fsdp_tensor", "sequence"):
        assert not one_layer & shapes_in(text)
    else:
        assert one_layer <= shapes_in(text)


def test_memory_grows_by_shards_with_the_number_of_layers():
    """One more layer costs its shards and its input, saved for the gradient."""
    few, many = (
        program("fsdp", layers, remat=True).compiled.memory_analysis()
        for layers in (LAYERS, LAYERS + 8)
    )
    shard, saved = LAYER_BYTES // 8, ACTIVATION_BYTES // 8
    arguments = many.argument_size_in_bytes - few.argument_size_in_bytes
    assert arguments == 8 * shard
    temporary = many.temp_size_in_bytes - few.temp_size_in_bytes
    assert temporary <= 8 * (2 * shard + 2 * saved) < 8 * LAYER_BYTES // 2
