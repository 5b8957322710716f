"""Checkpoints move between meshes, and no device gets more than its part of an array.

A state whose parameters and optimizer state are in boxes is saved from a 2x4 mesh, and
restored on a 4x2 mesh, on 8x1, on two devices and on one.
"""

import functools

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste.training import checkpoints
from batiste.training.train_state import TrainState

ocp = pytest.importorskip("orbax.checkpoint", reason="needs orbax-checkpoint")

RULES = (("embed", "data"), ("hidden", "model"))
MESHES = [(4, 2), (8, 1), (1, 8), (2, 1), (1, 1)]
X = np.linspace(-1, 1, 8 * 64, dtype=np.float32).reshape(8, 64)


def boxed(*names):
    return nn.with_logical_partitioning(nn.initializers.lecun_normal(), names)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        up = nn.Dense(
            128,
            kernel_init=boxed("embed", "hidden"),
            bias_init=nn.with_partitioning(nn.initializers.normal(), ("model",)),
        )
        down = nn.Dense(64, kernel_init=boxed("hidden", "embed"), use_bias=False)
        return x + down(nn.relu(up(x))), None


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        stack = nn.scan(
            Block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=2,
            metadata_params={nn.PARTITION_NAME: None},
        )
        return stack()(x, None)[0]


MODEL, TX = Net(), optax.adamw(1e-2)
apply_fn = MODEL.apply


def create(key):
    params = MODEL.init(key, X)["params"]
    return TrainState.create(apply_fn=apply_fn, params=params, tx=TX)


@jax.jit
def step(state, x):
    def loss(params):
        return jnp.mean(state.apply_fn({"params": params}, x) ** 2)

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


@functools.cache
def abstract_state():
    return jax.eval_shape(create, jax.random.key(0))


def target_on(mesh):
    """What to restore, laid out over a mesh; it holds no array."""
    abstract = abstract_state()
    with nn.logical_axis_rules(RULES):
        shardings = nn.get_sharding(abstract, mesh)
    return shardings, jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding
        ),
        abstract,
        nn.meta.replace_boxed(abstract, shardings),
    )


@pytest.fixture
def saved(make_mesh):
    """A state on the 2x4 mesh after a step of training."""
    mesh = make_mesh(2, 4)
    shardings, _ = target_on(mesh)
    state = jax.jit(create, out_shardings=shardings)(jax.random.key(0))
    state = jax.jit(step, out_shardings=shardings)(state, X)
    kernel = state.params["ScanBlock_0"]["Dense_0"]["kernel"]
    assert kernel.value.addressable_shards[0].data.shape == (2, 32, 32)
    return state


def save(folder, state):
    checkpoints.save_checkpoint_multiprocess(
        folder, state, 1, orbax_checkpointer=ocp.PyTreeCheckpointer()
    )


@pytest.fixture
def put_bytes(monkeypatch):
    """Notes what is put on devices: the bytes of each piece, and on which device."""
    pieces = []
    device_put = jax.device_put

    def noting(x, device=None, *args, **kwargs):
        placed = device_put(x, device, *args, **kwargs)
        for leaf in jax.tree.leaves(placed):
            pieces.extend(
                (shard.device, shard.data.shape, shard.data.nbytes)
                for shard in leaf.addressable_shards
            )
        return placed

    monkeypatch.setattr(jax, "device_put", noting)
    return pieces


def held_by_device(arrays):
    held = {}
    for array in arrays:
        for shard in array.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    return held


@pytest.mark.parametrize("shape", MESHES, ids=lambda shape: "x".join(map(str, shape)))
def test_a_state_moves_to_another_mesh(shape, tmp_path, saved, make_mesh, put_bytes):
    save(tmp_path, saved)
    expected = jax.device_get(saved)
    mesh = make_mesh(*shape)
    _, target = target_on(mesh)
    before = jax.live_arrays()
    put_bytes.clear()
    restored = checkpoints.restore_checkpoint(tmp_path, target)
    # No array that is sharded is whole on a device, be it for a while.
    old = set(map(id, before))
    on_a_device = {
        array.sharding.shard_shape(array.shape)
        for array in jax.live_arrays()
        if id(array) not in old
    }
    assert not on_a_device & {
        leaf.shape
        for leaf in jax.tree.leaves(target)
        if leaf.sharding.shard_shape(leaf.shape) != leaf.shape
    }

    leaves = list(zip(jax.tree.leaves(restored), jax.tree.leaves(target)))
    for leaf, wanted in leaves:
        assert leaf.sharding == wanted.sharding
        part = wanted.sharding.shard_shape(wanted.shape)
        assert {shard.data.shape for shard in leaf.addressable_shards} == {part}
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    # Boxes keep their kinds and names, in the optimizer's state too.
    adam = restored.opt_state[0]
    for tree in (restored.params, adam.mu, adam.nu):
        dense = tree["ScanBlock_0"]["Dense_0"]
        assert type(dense["kernel"]) is nn.LogicallyPartitioned
        assert dense["kernel"].names == (None, "embed", "hidden")
        assert type(dense["bias"]) is nn.Partitioned
        assert dense["bias"].names == (None, "model")

    # Each device was given its parts, each of them once, and nothing else.
    parts = held_by_device(leaf for leaf, _ in leaves)
    assert set(parts) == set(mesh.devices.flat)
    put = {}
    for device, _, size in put_bytes:
        put[device] = put.get(device, 0) + size
    assert put == parts
    kernels = 2 * 2 * 64 * 128 * 4 * 3
    biases = 2 * 128 * 4 * 3
    data, model = shape
    assert set(parts.values()) == {
        kernels // (data * model) + biases // model + 2 * 4  # and two counters
    }

    # The run goes on as it would have.
    with mesh, nn.logical_axis_rules(RULES):
        after = step(restored, X)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        after,
        step(expected, X),
    )


def test_a_live_state_is_a_target_too(tmp_path, saved, make_mesh, put_bytes):
    """As when a run goes on: the state that the program has just made."""
    save(tmp_path, saved)
    shardings, _ = target_on(make_mesh(8, 1))
    fresh = jax.jit(create, out_shardings=shardings)(jax.random.key(1))
    put_bytes.clear()
    restored = checkpoints.restore_checkpoint(tmp_path, fresh)
    jax.tree.map(np.testing.assert_array_equal, restored, saved)
    for leaf, other in zip(jax.tree.leaves(restored), jax.tree.leaves(fresh)):
        assert leaf.sharding == other.sharding
    largest = max(size for *_, size in put_bytes)
    assert largest == 2 * 64 * 128 * 4 // 8


def test_layouts_may_change_between_saving_and_restoring(tmp_path, saved, make_mesh):
    """The checkpoint has no layout: other rules, or none, serve as well."""
    save(tmp_path, saved)
    mesh = make_mesh(2, 4)
    abstract = abstract_state()
    for spec in (PartitionSpec(), PartitionSpec(None, ("model", "data"))):
        target = jax.tree.map(
            lambda leaf, spec=spec: jax.ShapeDtypeStruct(
                leaf.shape,
                leaf.dtype,
                sharding=NamedSharding(
                    mesh, spec if leaf.ndim > 1 else PartitionSpec()
                ),
            ),
            abstract,
        )
        restored = checkpoints.restore_checkpoint(tmp_path, target)
        jax.tree.map(np.testing.assert_array_equal, restored, saved)
        for leaf in jax.tree.leaves(restored):
            if leaf.ndim > 1:
                assert leaf.sharding.spec == spec


def test_a_target_without_shardings_stays_in_host_memory(tmp_path, saved, put_bytes):
    save(tmp_path, saved)
    put_bytes.clear()
    restored = checkpoints.restore_checkpoint(tmp_path, abstract_state())
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(restored))
    assert not put_bytes
    raw = checkpoints.restore_checkpoint(tmp_path, None)
    assert not put_bytes
    # Raw, a box is a dictionary with its value only: names are not saved.
    kernel = raw["params"]["ScanBlock_0"]["Dense_0"]["kernel"]
    assert list(kernel) == ["value"]
    assert isinstance(kernel["value"], np.ndarray)


@pytest.mark.parametrize("shape", [(4, 2), (1, 1)], ids=["4x2", "1x1"])
def test_msgpack_files_go_by_way_of_host_memory(
    shape, tmp_path, saved, make_mesh, put_bytes
):
    """A file is one whole array after the other; devices get their parts of it."""
    checkpoints.save_checkpoint(tmp_path, saved, 1)
    shardings, target = target_on(make_mesh(*shape))
    put_bytes.clear()
    restored = checkpoints.restore_checkpoint(tmp_path, target)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(restored))
    assert not put_bytes
    jax.tree.map(np.testing.assert_array_equal, restored, saved)
    placed = jax.device_put(restored, nn.meta.replace_boxed(restored, shardings))
    for leaf, wanted in zip(jax.tree.leaves(placed), jax.tree.leaves(target)):
        assert leaf.sharding == wanted.sharding
    jax.tree.map(np.testing.assert_array_equal, placed, saved)
