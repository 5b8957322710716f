"""Checkpoints through Orbax: the backend, its checkpointers, shardings, structure."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.core.config import config
from batiste.training import checkpoints, train_state
from batiste.training.errors import DamagedCheckpointError, InvalidCheckpointError

ocp = pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")

DATA = Path(__file__).with_name("data")


@pytest.fixture
def orbax_by_default():
    with config.temp_flip_flag("use_orbax_checkpointing", True):
        yield


def make_mesh(*shape):
    count = int(np.prod(shape))
    if jax.device_count() < count:
        pytest.skip(f"needs {count} devices; the suite alone has 8 (see conftest.py)")
    return Mesh(
        np.array(jax.devices()[:count]).reshape(shape), ("x", "y")[: len(shape)]
    )


def sharded(array, mesh, *spec):
    return jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec)))


def test_the_flag_saves_through_orbax_and_restores_either_kind(
    tmp_path, recorded, target, assert_trees_equal
):
    tree = recorded
    with config.temp_flip_flag("use_orbax_checkpointing", True):
        path = checkpoints.save_checkpoint(tmp_path, tree, 1, keep=2)
        assert os.path.isdir(path)
        assert_trees_equal(checkpoints.restore_checkpoint(path, target), tree)
    checkpoints.save_checkpoint(tmp_path, tree, 2, keep=2)
    assert os.path.isfile(tmp_path / "checkpoint_2")
    for flag in (True, False):
        with config.temp_flip_flag("use_orbax_checkpointing", flag):
            for step in (1, 2):
                restored = checkpoints.restore_checkpoint(tmp_path, target, step)
                assert_trees_equal(restored, tree)


def test_raw_restore_gives_dictionaries_of_numpy_arrays(
    tmp_path, orbax_by_default, recorded
):
    checkpoints.save_checkpoint(tmp_path, recorded, 1)
    raw = checkpoints.restore_checkpoint(tmp_path, None)
    assert raw["config"]["name"] == "dense"
    assert raw["data"]["1"] == {"0": 1, "1": 2.5}
    assert raw["none"] is None
    assert raw["model"]["opt_state"]["1"] is None
    kernel = raw["model"]["params"]["dense"]["kernel"]
    assert type(kernel) is np.ndarray
    assert raw["model"]["params"]["dense"]["bias"].dtype == jnp.bfloat16


def test_restoring_keeps_the_order_of_the_target(tmp_path, orbax_by_default):
    checkpoints.save_checkpoint(tmp_path, {"z": 1, "a": 2}, 1)
    assert list(checkpoints.restore_checkpoint(tmp_path, {"z": 0, "a": 0})) == [
        "z",
        "a",
    ]


def test_keep_overwrite_and_prefix_are_those_of_files(tmp_path, orbax_by_default):
    for step in range(5):
        checkpoints.save_checkpoint(
            tmp_path, {"s": step}, step, prefix="test_", keep=3, keep_every_n_steps=2
        )
    assert checkpoints.available_steps(tmp_path, "test_") == [0, 2, 3, 4]
    for step in (3, 4):
        with pytest.raises(InvalidCheckpointError):
            checkpoints.save_checkpoint(tmp_path, {"s": 9}, step, prefix="test_")
    checkpoints.save_checkpoint(
        tmp_path, {"s": 9}, 3, prefix="test_", keep=2, overwrite=True
    )
    assert sorted(os.listdir(tmp_path)) == ["test_2", "test_3"]
    assert checkpoints.restore_checkpoint(tmp_path, None, prefix="test_") == {"s": 9}


@pytest.mark.parametrize("first", [True, False])
def test_a_file_replaces_a_folder_and_the_other_way_round(tmp_path, first):
    for value, flag in ((1, first), (2, not first), (3, first)):
        with config.temp_flip_flag("use_orbax_checkpointing", flag):
            checkpoints.save_checkpoint(tmp_path, {"v": value}, 4, overwrite=True)
        assert os.listdir(tmp_path) == ["checkpoint_4"]
        assert os.path.isdir(tmp_path / "checkpoint_4") == flag
        assert checkpoints.restore_checkpoint(tmp_path, None) == {"v": value}


def test_a_single_leaf_is_an_error_that_says_what_to_do(tmp_path, orbax_by_default):
    with pytest.raises(ValueError, match="ArrayCheckpointHandler"):
        checkpoints.save_checkpoint(tmp_path, jnp.arange(3), 1)


@pytest.mark.parametrize("make", ["PyTreeCheckpointer", "Standard"])
def test_a_checkpointer_of_orbax_can_be_given(tmp_path, make, assert_trees_equal):
    if make == "Standard":
        checkpointer = ocp.Checkpointer(ocp.StandardCheckpointHandler())
    else:
        checkpointer = ocp.PyTreeCheckpointer()
    tree = {"w": jnp.arange(3.0), "b": np.ones(2)}
    checkpoints.save_checkpoint(tmp_path, tree, 1, orbax_checkpointer=checkpointer)
    restored = checkpoints.restore_checkpoint(
        tmp_path, tree, orbax_checkpointer=checkpointer
    )
    assert_trees_equal(restored, tree)


def test_background_saves_of_orbax_keep_and_overwrite(tmp_path):
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    for step in range(4):
        checkpoints.save_checkpoint(
            tmp_path, {"s": step}, step, keep=2, orbax_checkpointer=saver
        )
    saver.wait_until_finished()
    assert checkpoints.available_steps(tmp_path) == [2, 3]
    assert sorted(os.listdir(tmp_path)) == ["checkpoint_2", "checkpoint_3"]
    for step, left in ((3, [2, 3]), (2, [2])):
        checkpoints.save_checkpoint(
            tmp_path, {"s": -1}, step, keep=2, overwrite=True, orbax_checkpointer=saver
        )
        saver.wait_until_finished()
        assert checkpoints.restore_checkpoint(tmp_path, None) == {"s": -1}
        assert checkpoints.available_steps(tmp_path) == left
    assert os.listdir(tmp_path) == ["checkpoint_2"]
    saver.close()


def test_the_last_background_save_prunes_at_exit(tmp_path):
    program = f"""
import orbax.checkpoint as ocp
from batiste.training import checkpoints
saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
for step in range(2):
    checkpoints.save_checkpoint(
        {str(tmp_path)!r}, {{'s': step}}, step, orbax_checkpointer=saver)
saver.wait_until_finished()
"""
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
    )
    assert os.listdir(tmp_path) == ["checkpoint_1"]


def test_async_manager_with_orbax_sees_the_values_of_its_call(
    tmp_path, orbax_by_default
):
    manager = checkpoints.AsyncManager()
    tree = {"w": np.zeros(100_000)}
    for step in range(3):
        checkpoints.save_checkpoint(tmp_path, tree, step, keep=2, async_manager=manager)
        tree["w"] += 1
    manager.wait_previous_save()
    assert checkpoints.available_steps(tmp_path) == [1, 2]
    assert (checkpoints.restore_checkpoint(tmp_path, None)["w"] == 2).all()


class CustomTrainState(train_state.TrainState):
    batch_stats: Any = None


def test_a_target_with_less_reads_less(
    tmp_path, orbax_by_default, make_state, assert_trees_equal
):
    state = make_state(CustomTrainState, batch_stats=np.arange(10))
    checkpoints.save_checkpoint(tmp_path, {"model": state, "extra": [1]}, 1)
    restored = checkpoints.restore_checkpoint(tmp_path, {"model": make_state()})
    assert type(restored["model"]) is train_state.TrainState
    assert_trees_equal(restored, {"model": make_state()})


def test_a_target_with_more_is_an_error_and_transforms_fill_it(
    tmp_path, orbax_by_default, recorded, make_state
):
    checkpoints.save_checkpoint(tmp_path, recorded, 4)
    custom = make_state(CustomTrainState, batch_stats=np.arange(10))
    target = {"model": custom, "config": None, "data": [np.zeros(2, np.float32)]}
    with pytest.raises(ValueError, match=r"model/batch_stats.*orbax_transforms=\{\}"):
        checkpoints.restore_checkpoint(tmp_path, target)
    restored = checkpoints.restore_checkpoint(tmp_path, target, orbax_transforms={})
    assert type(restored["model"]) is CustomTrainState
    np.testing.assert_array_equal(restored["model"].batch_stats, np.arange(10))
    assert restored["model"].step == 1
    assert restored["config"] is None
    np.testing.assert_array_equal(restored["data"][0], [0.5, 0.25])


@pytest.mark.parametrize("backend", ["flag", "async"])
def test_shardings_are_saved_and_restored(tmp_path, backend):
    mesh = make_mesh(4, 2)
    values = np.arange(16, dtype=np.int32).reshape(8, 2)
    tree = {"m": sharded(values, mesh, "x", "y"), "r": sharded(values, mesh)}
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    checkpointer = saver if backend == "async" else ocp.PyTreeCheckpointer()
    checkpoints.save_checkpoint_multiprocess(
        tmp_path, tree, 3, keep=4, overwrite=True, orbax_checkpointer=checkpointer
    )
    saver.wait_until_finished()
    for spec in (("x", "y"), ("y",), (None, "y"), (("x", "y"),), ()):
        like = sharded(np.zeros((8, 2), np.int32), mesh, *spec)
        abstract = jax.ShapeDtypeStruct((8, 2), np.int32, sharding=like.sharding)
        restored = checkpoints.restore_checkpoint(
            tmp_path,
            {"m": like, "r": abstract},
            step=3,
            orbax_checkpointer=checkpointer,
        )
        for array in restored.values():
            assert array.sharding == like.sharding
            np.testing.assert_array_equal(array, values)
    raw = checkpoints.restore_checkpoint(tmp_path, None)
    np.testing.assert_array_equal(raw["m"], values)
    saver.close()


def test_a_checkpoint_that_flax_wrote_is_restored(recorded, target, assert_trees_equal):
    folder = DATA / "flax_orbax"
    assert checkpoints.available_steps(folder) == [3]
    restored = checkpoints.restore_checkpoint(folder, target)
    assert_trees_equal(restored, recorded)
    raw = checkpoints.restore_checkpoint(folder / "checkpoint_3", None)
    assert raw["config"]["name"] == "dense"
    assert raw["model"]["step"] == 1


def test_a_sharded_checkpoint_that_flax_wrote_is_restored_anywhere():
    folder = DATA / "flax_orbax_sharded"
    values = np.arange(16, dtype=np.int32).reshape(8, 2)
    # Saved on a 4x2 mesh; raw, to one device, and to a mesh of two.
    raw = checkpoints.restore_checkpoint(folder, None)
    np.testing.assert_array_equal(raw["m"], values)
    single = checkpoints.restore_checkpoint(folder, {"m": jnp.zeros((8, 2), jnp.int32)})
    np.testing.assert_array_equal(single["m"], values)
    mesh = make_mesh(2)
    like = sharded(np.zeros((8, 2), np.int32), mesh, "x")
    restored = checkpoints.restore_checkpoint(folder, {"m": like})
    assert restored["m"].sharding == like.sharding
    np.testing.assert_array_equal(restored["m"], values)


def test_without_orbax_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with (
        config.temp_flip_flag("use_orbax_checkpointing", True),
        pytest.raises(ImportError, match="the extra orbax of batiste-training"),
    ):
        checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1)
    with pytest.raises(ImportError, match="the extra orbax of batiste-training"):
        checkpoints.restore_checkpoint(DATA / "flax_orbax", None)
    checkpoints.save_checkpoint(tmp_path, {"w": 1}, 1)


def test_orbax_is_imported_only_when_used(tmp_path):
    program = f"""
import sys
import jax
before = set(sys.modules)  # JAX imports etils itself
import batiste.training
from batiste.training import checkpoints
checkpoints.save_checkpoint({str(tmp_path)!r}, {{'w': 1}}, 1)
assert checkpoints.restore_checkpoint({str(tmp_path)!r}, None) == {{'w': 1}}
heavy = {{'orbax', 'optax', 'etils', 'tensorstore', 'yaml', 'tensorflow'}}
assert not (set(sys.modules) - before) & heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("empty", [{}, [], ()])
def test_an_empty_tree_is_an_error_that_says_what_to_do(tmp_path, empty):
    saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    for checkpointer in (ocp.PyTreeCheckpointer(), saver):
        with pytest.raises(ValueError, match="no tree that is empty"):
            checkpoints.save_checkpoint(
                tmp_path, empty, 1, orbax_checkpointer=checkpointer
            )
    assert os.listdir(tmp_path) == []
    saver.close()


def test_trees_with_empty_branches_are_saved(tmp_path, orbax_by_default):
    for step, tree in enumerate(({"a": {}}, {"a": None}, {"a": {}, "w": 1})):
        checkpoints.save_checkpoint(tmp_path, tree, step)
        assert checkpoints.restore_checkpoint(tmp_path, None) == tree


def corrupt_json(path):
    path.write_bytes(path.read_bytes().replace(b"key_type", b"kez_type"))


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("with_target", [False, True])
@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("_METADATA", corrupt_json),
        ("_METADATA", cut),
        ("_METADATA", os.remove),
        ("manifest.ocdbt", cut),
        ("manifest.ocdbt", os.remove),
        ("d/*", cut),
        ("ocdbt.process_0/d/*", os.remove),
    ],
)
def test_damage_is_reported_as_damage(
    tmp_path, orbax_by_default, pattern, damage, with_target, verified
):
    tree = {"params": {"w": np.random.default_rng(0).random(5000)}, "n": 1}
    path = Path(checkpoints.save_checkpoint(tmp_path, tree, 1))
    found = list(path.glob(pattern))
    assert found
    for file in found:
        damage(file)
    # Orbax itself finds these, too.
    with (
        config.temp_flip_flag("verify_checkpoints", verified),
        pytest.raises(DamagedCheckpointError, match="checkpoint_1") as caught,
    ):
        checkpoints.restore_checkpoint(tmp_path, tree if with_target else None)
    assert "orbax_transforms" not in str(caught.value).replace(caught.value.reason, "")


@pytest.mark.parametrize("save", ["save_checkpoint", "save_checkpoint_multiprocess"])
def test_a_step_that_is_there_raises_what_orbax_documents(
    tmp_path, save, orbax_by_default
):
    saving = getattr(checkpoints, save)
    saving(tmp_path, {"s": 1}, 1)
    with pytest.raises(ValueError, match=r"overwrite=True") as caught:
        saving(tmp_path, {"s": 2}, 1)
    assert isinstance(caught.value, InvalidCheckpointError)
    assert checkpoints.restore_checkpoint(tmp_path, None) == {"s": 1}
