"""The programs of the guide "Save and load checkpoints"."""

import os
from typing import Any

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp
from jax import random
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste import linen as nn
from batiste import serialization
from batiste.core import FrozenDict, config
from batiste.training import checkpoints, orbax_utils, train_state

# The documentation restores without shardings, which Orbax advises against.
no_shardings = pytest.mark.filterwarnings(
    "ignore:Sharding info not provided when restoring:UserWarning"
)

KERNEL = """
[[ 0.26048955, -0.61399287, -0.23458514],
 [ 0.11050402, -0.8765793 ,  0.9800635 ],
 [ 0.36260957,  0.18276349, -0.6856061 ],
 [-0.8519373 , -0.6416717 , -0.4818122 ],
 [-0.6886102 , -0.33987316, -0.05898903]]
"""
BIAS = "[-0.001, -0.001, -0.001]"
DATA = "[0.59902626, 0.2172144 , 2.4202902 , 0.03266738, 1.2164948 ]"


class CustomTrainState(train_state.TrainState):
    batch_stats: Any = None


class Guide:
    """The values that the guide's cells share."""

    def __init__(self):
        key1, key2 = random.split(random.PRNGKey(0))
        self.x1 = random.normal(key1, (5,))
        self.model = nn.Dense(features=3)
        self.variables = self.model.init(key2, self.x1)
        self.tx = optax.sgd(learning_rate=0.001)
        state = train_state.TrainState.create(
            apply_fn=self.model.apply, params=self.variables["params"], tx=self.tx
        )
        # Once jax.tree_map.
        ones = jax.tree.map(jnp.ones_like, state.params)
        self.state = state.apply_gradients(grads=ones)
        self.config = {"dimensions": np.array([5, 3]), "name": "dense"}
        self.ckpt = {"model": self.state, "config": self.config, "data": [self.x1]}
        empty_state = train_state.TrainState.create(
            apply_fn=self.model.apply,
            params=jax.tree.map(np.zeros_like, self.variables["params"]),
            tx=self.tx,
        )
        self.target = {
            "model": empty_state,
            "config": {"dimensions": np.array([0, 0]), "name": ""},
            "data": [jnp.zeros_like(self.x1)],
        }
        custom_state = CustomTrainState.create(
            apply_fn=self.state.apply_fn,
            params=self.state.params,
            tx=self.state.tx,
            batch_stats=np.arange(10),
        )
        self.custom_ckpt = dict(self.ckpt, model=custom_state)
        self.custom_target = {
            "model": custom_state,
            "config": None,
            "data": [jnp.zeros_like(self.x1)],
        }


@pytest.fixture
def guide():
    return Guide()


@pytest.fixture
def legacy():
    """The legacy format, whatever the default of the switch is."""
    before = config.flax_use_orbax_checkpointing
    config.update("flax_use_orbax_checkpointing", False)
    yield
    config.update("flax_use_orbax_checkpointing", before)


@pytest.fixture
def orbax_backend():
    before = config.flax_use_orbax_checkpointing
    config.update("flax_use_orbax_checkpointing", True)
    yield
    config.update("flax_use_orbax_checkpointing", before)


@pytest.fixture
def check_restored(check_printed):
    def check(tree, model, step=1):
        check_printed(tree["data"][0], DATA)
        restored = tree["model"]
        assert type(restored) is model
        assert restored.step == step
        assert isinstance(restored.params, FrozenDict)
        check_printed(restored.params["bias"], BIAS)
        check_printed(restored.params["kernel"], KERNEL)
        assert restored.opt_state == (optax.EmptyState(), optax.EmptyState())

    return check


def test_the_checkpoints_content_is_printed_as_documented(guide, check_printed):
    check_printed(guide.state.params["bias"], BIAS)
    check_printed(guide.state.params["kernel"], KERNEL)
    check_printed(guide.x1, DATA)
    text = repr(guide.ckpt)
    # The names of functions are those of JAX, and differ between its releases.
    assert text.startswith(
        "{'model': TrainState(step=1, apply_fn=<bound method Module.apply of Dense(\n"
        "    # attributes\n"
        "    features = 3\n"
        "    use_bias = True\n"
        "    dtype = None\n"
        "    param_dtype = float32\n"
        "    precision = None\n"
        "    kernel_init = init\n"
        "    bias_init = zeros\n"
    )
    assert (
        ")>, params=FrozenDict({\n"
        "    bias: Array([-0.001, -0.001, -0.001], dtype=float32),\n"
        "    kernel: Array([[ 0.26048955, -0.61399287, -0.23458514],\n"
    ) in text
    assert "opt_state=(EmptyState(), EmptyState()))" in text
    assert "'config': {'dimensions': array([5, 3]), 'name': 'dense'}" in text


@no_shardings
def test_saving_and_restoring_with_orbax(guide, tmp_path, check_restored):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    # Orbax wants absolute paths today.
    path = tmp_path / "orbax" / "single_save"
    orbax_checkpointer = orbax_checkpoint.PyTreeCheckpointer()
    save_args = orbax_utils.save_args_from_target(guide.ckpt)
    orbax_checkpointer.save(path, guide.ckpt, save_args=save_args)

    raw_restored = orbax_checkpointer.restore(path)
    assert sorted(raw_restored) == ["config", "data", "model"]
    np.testing.assert_array_equal(
        raw_restored["model"]["params"]["kernel"], guide.state.params["kernel"]
    )
    assert raw_restored["model"]["step"] == 1
    assert raw_restored["config"]["name"] == "dense"

    state_restored = orbax_checkpointer.restore(path, item=guide.target)
    check_restored(state_restored, train_state.TrainState)


def transforming(target):
    restore_args = orbax_utils.restore_args_from_target(target)
    return {"transforms": {}, "restore_args": restore_args}


@no_shardings
def test_a_manager_keeps_the_latest_checkpoints(guide, tmp_path, check_restored):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    path = tmp_path / "managed"
    options = orbax_checkpoint.CheckpointManagerOptions(max_to_keep=2, create=True)
    with orbax_checkpoint.CheckpointManager(
        path, orbax_checkpoint.PyTreeCheckpointer(), options
    ) as manager:
        save_args = orbax_utils.save_args_from_target(guide.ckpt)
        for step in range(5):
            manager.save(step, guide.ckpt, save_kwargs={"save_args": save_args})
        assert sorted(os.listdir(path)) == ["3", "4"]
        assert manager.latest_step() == 4
        raw = manager.restore(4)
        assert raw["model"]["step"] == 1
        check_restored(manager.restore(4, items=guide.target), train_state.TrainState)

        # A checkpoint with one more field, read by a target that lacks it.
        custom_args = orbax_utils.save_args_from_target(guide.custom_ckpt)
        assert manager.save(
            5, guide.custom_ckpt, save_kwargs={"save_args": custom_args}
        )
        raw = manager.restore(5)
        np.testing.assert_array_equal(raw["model"]["batch_stats"], np.arange(10))
        # Orbax has become strict here; `transforms` is its documented way out, and
        # wants to be told how to restore each leaf.
        restored = manager.restore(
            5, items=guide.target, restore_kwargs=transforming(guide.target)
        )
        assert not hasattr(restored["model"], "batch_stats")
        check_restored(restored, train_state.TrainState, step=0)

        # And the other way: the target's own value stands where none was saved.
        with pytest.raises((KeyError, ValueError)):
            manager.restore(4, items=guide.custom_target)
        restored = manager.restore(
            4,
            items=guide.custom_target,
            restore_kwargs=transforming(guide.custom_target),
        )
        check_restored(restored, CustomTrainState)
        assert restored["config"] is None
        np.testing.assert_equal(restored["model"].batch_stats, np.arange(10))


def test_the_legacy_format(guide, tmp_path, legacy, check_restored, check_printed):
    directory = tmp_path / "flax-checkpointing"
    path = checkpoints.save_checkpoint(
        ckpt_dir=directory, target=guide.ckpt, step=0, overwrite=True, keep=2
    )
    assert path == str(directory / "checkpoint_0")

    raw = checkpoints.restore_checkpoint(ckpt_dir=directory, target=None)
    assert list(raw) == ["model", "config", "data"]
    assert raw["model"]["step"] == 1
    assert raw["model"]["opt_state"] == {"0": {}, "1": {}}
    assert isinstance(raw["model"]["params"]["kernel"], np.ndarray)
    check_printed(raw["model"]["params"]["bias"], BIAS)
    check_printed(raw["model"]["params"]["kernel"], KERNEL)
    assert raw["config"]["name"] == "dense"
    np.testing.assert_array_equal(raw["config"]["dimensions"], [5, 3])
    assert list(raw["data"]) == ["0"]
    check_printed(raw["data"]["0"], DATA)

    restored = checkpoints.restore_checkpoint(ckpt_dir=directory, target=guide.target)
    check_restored(restored, train_state.TrainState)
    assert restored["config"]["name"] == "dense"


def test_the_legacy_format_with_another_structure(
    guide, tmp_path, legacy, check_restored
):
    directory = tmp_path / "flax-checkpointing"
    checkpoints.save_checkpoint(
        ckpt_dir=directory, target=guide.ckpt, step=5, overwrite=True, keep=2
    )
    raw_state_dict = checkpoints.restore_checkpoint(directory, target=None, step=5)
    raw_state_dict["model"]["batch_stats"] = np.flip(np.arange(10))
    # The guide's target has no configuration, and then the saved one is handed out.
    restored = serialization.from_state_dict(guide.custom_target, raw_state_dict)
    check_restored(restored, CustomTrainState)
    assert restored["config"]["name"] == "dense"
    np.testing.assert_array_equal(
        restored["model"].batch_stats, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    )


def test_orbax_behind_the_legacy_functions(
    guide, tmp_path, orbax_backend, check_restored
):
    pytest.importorskip("orbax.checkpoint")
    directory = tmp_path / "flax-checkpointing"
    checkpoints.save_checkpoint(
        ckpt_dir=directory, target=guide.ckpt, step=4, overwrite=True, keep=2
    )
    restored = checkpoints.restore_checkpoint(
        directory, target=guide.custom_target, step=4, orbax_transforms={}
    )
    check_restored(restored, CustomTrainState)
    np.testing.assert_array_equal(restored["model"].batch_stats, np.arange(10))


@no_shardings
def test_saving_in_the_background(guide, tmp_path, check_restored):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    # jax.distributed.initialize is for several processes; one needs none today.
    async_checkpointer = orbax_checkpoint.AsyncCheckpointer(
        orbax_checkpoint.PyTreeCheckpointHandler(), timeout_secs=50
    )
    path = tmp_path / "single_save_async"
    save_args = orbax_utils.save_args_from_target(guide.ckpt)
    async_checkpointer.save(path, guide.ckpt, save_args=save_args)
    async_checkpointer.wait_until_finished()
    restored = async_checkpointer.restore(path, item=guide.target)
    check_restored(restored, train_state.TrainState)
    async_checkpointer.close()


def sharded(devices):
    mesh = Mesh(np.asarray(devices).reshape(4, 2), ("x", "y"))
    sharding = NamedSharding(mesh, PartitionSpec("x", "y"))
    mp_ckpt = {"model": jax.device_put(np.arange(8 * 2).reshape(8, 2), sharding)}
    # Today's Orbax wants the shape of what was saved, where a smaller one would do.
    ref_ckpt = {"model": jax.device_put(np.zeros((8, 2), np.int64), sharding)}
    return mp_ckpt, ref_ckpt


def test_sharded_arrays_with_orbax(tmp_path, eight_devices):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    mp_ckpt, ref_ckpt = sharded(eight_devices)
    async_checkpointer = orbax_checkpoint.AsyncCheckpointer(
        orbax_checkpoint.PyTreeCheckpointHandler(), timeout_secs=50
    )
    options = orbax_checkpoint.CheckpointManagerOptions(max_to_keep=2, create=True)
    with orbax_checkpoint.CheckpointManager(
        tmp_path / "managed_async", async_checkpointer, options
    ) as manager:
        manager.save(0, mp_ckpt)
        manager.wait_until_finished()
        restore_args = orbax_utils.restore_args_from_target(ref_ckpt)
        restored = manager.restore(
            0, items=ref_ckpt, restore_kwargs={"restore_args": restore_args}
        )
    np.testing.assert_array_equal(restored["model"], np.arange(16).reshape(8, 2))
    assert restored["model"].sharding == ref_ckpt["model"].sharding


def test_sharded_arrays_with_the_legacy_functions(tmp_path, eight_devices):
    orbax_checkpoint = pytest.importorskip("orbax.checkpoint")
    mp_ckpt, ref_ckpt = sharded(eight_devices)
    async_checkpointer = orbax_checkpoint.AsyncCheckpointer(
        orbax_checkpoint.PyTreeCheckpointHandler(), timeout_secs=50
    )
    path = checkpoints.save_checkpoint_multiprocess(
        tmp_path,
        mp_ckpt,
        step=3,
        overwrite=True,
        keep=4,
        orbax_checkpointer=async_checkpointer,
    )
    assert path == str(tmp_path / "checkpoint_3")
    restored = checkpoints.restore_checkpoint(
        tmp_path, target=ref_ckpt, step=3, orbax_checkpointer=async_checkpointer
    )
    np.testing.assert_array_equal(restored["model"], np.arange(16).reshape(8, 2))
    async_checkpointer.close()
