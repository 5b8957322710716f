"""The passages of the documentation on checkpoints, early stopping and schedules.

The model of the checkpoint guide is a dense layer. This package does not depend on
layers, so its parameters stand here as the guide prints them.
"""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste import serialization
from batiste.core import freeze
from batiste.core.config import config as flags
from batiste.core.frozen_dict import FrozenDict
from batiste.training import checkpoints, orbax_utils, train_state
from batiste.training.early_stopping import EarlyStopping

# `lr_schedule` and the rest have their passages in their own test files.

# The documentation restores without shardings, which Orbax advises against.
no_shardings = pytest.mark.filterwarnings(
    "ignore:Sharding info not provided when restoring:UserWarning"
)

KERNEL_AFTER_STEP = np.array(
    [
        [0.26048955, -0.61399287, -0.23458514],
        [0.11050402, -0.8765793, 0.9800635],
        [0.36260957, 0.18276349, -0.6856061],
        [-0.8519373, -0.6416717, -0.4818122],
        [-0.6886102, -0.33987316, -0.05898903],
    ],
    np.float32,
)
X1 = np.array([0.59902626, 0.2172144, 2.4202902, 0.03266738, 1.2164948], np.float32)
TX = optax.sgd(learning_rate=0.001)


def dense(variables, x):
    return x @ variables["params"]["kernel"] + variables["params"]["bias"]


def make_state(cls: Any = train_state.TrainState, **fields):
    params = freeze(
        {"bias": jnp.zeros(3), "kernel": jnp.array(KERNEL_AFTER_STEP + 1e-3)}
    )
    return cls.create(apply_fn=dense, params=params, tx=TX, **fields)


@pytest.fixture
def x1():
    with jax.threefry_partitionable(False):
        key1, _ = jax.random.split(jax.random.PRNGKey(0))
        return jax.random.normal(key1, (5,))


@pytest.fixture
def ckpt(x1):
    state = make_state()
    state = state.apply_gradients(grads=jax.tree.map(jnp.ones_like, state.params))
    config = {"dimensions": np.array([5, 3]), "name": "dense"}
    return {"model": state, "config": config, "data": [x1]}


@pytest.fixture
def target(x1):
    config = {"dimensions": np.array([0, 0]), "name": ""}
    return {"model": make_state(), "config": config, "data": [jnp.zeros_like(x1)]}


def check_model(params):
    np.testing.assert_allclose(params["bias"], [-0.001] * 3, rtol=1e-6)
    np.testing.assert_allclose(params["kernel"], KERNEL_AFTER_STEP, atol=1e-7)


def check_restored(restored):
    assert restored["config"]["name"] == "dense"
    assert restored["config"]["dimensions"].tolist() == [5, 3]
    np.testing.assert_array_equal(restored["data"][0], X1)
    model = restored["model"]
    assert type(model) is train_state.TrainState
    assert model.step == 1
    assert type(model.params) is FrozenDict
    assert model.opt_state == (optax.EmptyState(), optax.EmptyState())
    check_model(model.params)


@pytest.fixture
def ocp():
    return pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")


def test_save_and_restore_with_this_package(ckpt, target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoints.save_checkpoint(
        ckpt_dir="tmp/flax-checkpointing", target=ckpt, step=0, overwrite=True, keep=2
    )
    assert path == "tmp/flax-checkpointing/checkpoint_0"
    raw = checkpoints.restore_checkpoint(ckpt_dir="tmp/flax-checkpointing", target=None)
    assert list(raw) == ["model", "config", "data"]
    assert raw["model"]["step"] == 1
    assert raw["model"]["opt_state"] == {"0": {}, "1": {}}
    check_model(raw["model"]["params"])
    np.testing.assert_array_equal(raw["data"]["0"], X1)
    assert type(raw["data"]["0"]) is np.ndarray
    check_restored(
        checkpoints.restore_checkpoint(ckpt_dir="tmp/flax-checkpointing", target=target)
    )


@no_shardings
def test_save_and_restore_with_orbax(ckpt, target, tmp_path, ocp):
    orbax_checkpointer = ocp.PyTreeCheckpointer()
    save_args = orbax_utils.save_args_from_target(ckpt)
    orbax_checkpointer.save(tmp_path / "single", ckpt, save_args=save_args)
    raw = orbax_checkpointer.restore(tmp_path / "single")
    assert raw["model"]["opt_state"] == [None, None]
    assert raw["model"]["step"] == 1
    check_model(raw["model"]["params"])
    check_restored(orbax_checkpointer.restore(tmp_path / "single", item=target))

    options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True)
    manager = ocp.CheckpointManager(tmp_path / "managed", orbax_checkpointer, options)
    for step in range(5):
        manager.save(step, ckpt, save_kwargs={"save_args": save_args})
    manager.wait_until_finished()
    assert sorted(n for n in os.listdir(tmp_path / "managed") if n.isdigit()) == [
        "3",
        "4",
    ]
    step = manager.latest_step()
    assert step == 4
    assert manager.restore(step)["model"]["step"] == 1
    check_restored(manager.restore(4, items=target))
    manager.close()


class CustomTrainState(train_state.TrainState):
    batch_stats: Any = None


@pytest.fixture
def custom_target(x1):
    custom = make_state(CustomTrainState, batch_stats=np.arange(10))
    return {"model": custom, "config": None, "data": [jnp.zeros_like(x1)]}


def test_restore_when_structures_differ_with_orbax(
    ckpt, target, custom_target, tmp_path, ocp
):
    with flags.temp_flip_flag("use_orbax_checkpointing", True):
        checkpoints.save_checkpoint(tmp_path, ckpt, step=4, overwrite=True, keep=2)
        custom_ckpt = {**ckpt, "model": custom_target["model"]}
        checkpoints.save_checkpoint(tmp_path, custom_ckpt, step=5, keep=2)
    restored = checkpoints.restore_checkpoint(tmp_path, target=target, step=5)
    assert type(restored["model"]) is train_state.TrainState
    assert not hasattr(restored["model"], "batch_stats")
    with pytest.raises(ValueError, match="batch_stats"):
        checkpoints.restore_checkpoint(tmp_path, target=custom_target, step=4)
    restored = checkpoints.restore_checkpoint(
        tmp_path, target=custom_target, step=4, orbax_transforms={}
    )
    assert type(restored["model"]) is CustomTrainState
    np.testing.assert_array_equal(restored["model"].batch_stats, np.arange(10))
    assert restored["config"] is None
    check_model(restored["model"].params)


def test_restore_when_structures_differ_by_hand(ckpt, custom_target, tmp_path):
    checkpoints.save_checkpoint(tmp_path, ckpt, step=5, overwrite=True, keep=2)
    raw = checkpoints.restore_checkpoint(tmp_path, target=None, step=5)
    raw["model"]["batch_stats"] = np.flip(np.arange(10))
    restored = serialization.from_state_dict(custom_target, raw)
    assert restored["model"].batch_stats.tolist() == list(range(9, -1, -1))
    assert restored["config"]["name"] == "dense"


@no_shardings
def test_asynchronous_checkpointing(ckpt, target, tmp_path, ocp):
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(), timeout_secs=50)
    save_args = orbax_utils.save_args_from_target(ckpt)
    saver.save(tmp_path / "single_async", ckpt, save_args=save_args)
    saver.wait_until_finished()
    check_restored(saver.restore(tmp_path / "single_async", item=target))
    saver.close()


def test_multi_process_arrays(tmp_path, ocp):
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices, as this suite alone has (see conftest.py)")
    mesh = Mesh(np.array(jax.devices()[:8]).reshape(4, 2), ("x", "y"))
    sharding = NamedSharding(mesh, PartitionSpec("x", "y"))
    mp_array = jax.device_put(np.arange(8 * 2).reshape(8, 2), sharding)
    # The reference may be smaller; only its sharding counts.
    mp_smaller = jax.device_put(np.arange(8).reshape(4, 2), sharding)
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler(), timeout_secs=50)
    path = checkpoints.save_checkpoint_multiprocess(
        tmp_path,
        {"model": mp_array},
        step=3,
        overwrite=True,
        keep=4,
        orbax_checkpointer=saver,
    )
    assert path == str(tmp_path / "checkpoint_3")
    # The guide does not wait here, and need not.
    restored = checkpoints.restore_checkpoint(
        tmp_path, target={"model": mp_smaller}, step=3, orbax_checkpointer=saver
    )
    np.testing.assert_array_equal(restored["model"], mp_array)
    assert restored["model"].sharding == sharding
    restore_args = orbax_utils.restore_args_from_target({"model": mp_smaller})
    again = saver.restore(path, item={"model": mp_smaller}, restore_args=restore_args)
    assert again["model"].sharding == sharding
    saver.close()


# The migration guide: each passage with this package, and with Orbax.

CKPT_PYTREE = [12, {"foo": "str", "bar": np.array((2, 3))}, [1, 4, 10]]
TARGET_PYTREE = [0, {"foo": "", "bar": np.array(0)}, [0, 0, 0]]


def check_migrated(restored):
    assert restored[0] == 12
    assert restored[1]["foo"] == "str"
    assert restored[1]["bar"].tolist() == [2, 3]
    assert restored[2] == [1, 4, 10]


def test_migration_managed(tmp_path, ocp):
    for step in range(5):
        checkpoints.save_checkpoint(
            tmp_path / "flax",
            CKPT_PYTREE,
            step=step,
            prefix="test_",
            keep=3,
            keep_every_n_steps=2,
        )
    check_migrated(
        checkpoints.restore_checkpoint(
            tmp_path / "flax", target=TARGET_PYTREE, step=4, prefix="test_"
        )
    )
    options = ocp.CheckpointManagerOptions(
        create=True, max_to_keep=3, keep_period=2, step_prefix="test"
    )
    manager = ocp.CheckpointManager(
        tmp_path / "orbax", ocp.Checkpointer(ocp.PyTreeCheckpointHandler()), options
    )
    save_args = orbax_utils.save_args_from_target(CKPT_PYTREE)
    for step in range(5):
        manager.save(step, CKPT_PYTREE, save_kwargs={"save_args": save_args})
    manager.wait_until_finished()
    # Both keep the same steps. (Today's Orbax puts the underscore there itself.)
    steps = checkpoints.available_steps(tmp_path / "flax", prefix="test_")
    assert steps == sorted(manager.all_steps()) == [0, 2, 3, 4]
    restore_args = orbax_utils.restore_args_from_target(TARGET_PYTREE, mesh=None)
    check_migrated(
        manager.restore(
            4, items=TARGET_PYTREE, restore_kwargs={"restore_args": restore_args}
        )
    )
    manager.close()


def test_migration_pure_and_without_target(tmp_path, ocp):
    folder = tmp_path / "pure"
    checkpoints.save_checkpoint(folder, CKPT_PYTREE, step=0, overwrite=True)
    check_migrated(checkpoints.restore_checkpoint(folder, target=TARGET_PYTREE))
    raw = checkpoints.restore_checkpoint(folder, target=None)
    assert raw["2"] == {"0": 1, "1": 4, "2": 10}

    ckptr = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    for _ in range(2):
        ckptr.save(
            tmp_path / "orbax",
            CKPT_PYTREE,
            save_args=orbax_utils.save_args_from_target(CKPT_PYTREE),
            force=True,
        )
    restore_args = orbax_utils.restore_args_from_target(TARGET_PYTREE, mesh=None)
    check_migrated(
        ckptr.restore(tmp_path / "orbax", item=TARGET_PYTREE, restore_args=restore_args)
    )
    check_migrated(ckptr.restore(tmp_path / "orbax", item=None))


@no_shardings
def test_migration_of_a_single_array(tmp_path, ocp):
    checkpoints.save_checkpoint(tmp_path / "flax", jnp.arange(10), step=0)
    restored = checkpoints.restore_checkpoint(tmp_path / "flax", target=None)
    np.testing.assert_array_equal(restored, np.arange(10))
    ckptr = ocp.Checkpointer(ocp.ArrayCheckpointHandler())
    ckptr.save(tmp_path / "orbax", jnp.arange(10))
    np.testing.assert_array_equal(ckptr.restore(tmp_path / "orbax"), np.arange(10))


def test_early_stopping_as_the_documentation_shows_it():
    losses = iter([1.0, 0.5, 0.4, 0.3999, 0.3998, 0.3997, 0.1])
    early_stop = EarlyStopping(min_delta=1e-3, patience=2)
    stopped_at = None
    for epoch in range(1, 8):
        _, early_stop = early_stop.update(next(losses))
        if early_stop.should_stop:
            stopped_at = epoch
            break
    assert stopped_at == 6
