"""One of two processes that save and restore together; a program of the tests.

Usage: process_driver.py RANK PORT FOLDER. Each process has two devices.
"""

import os
import sys
import time

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.experimental.array_serialization.serialization import (
    GlobalAsyncCheckpointManager,
)
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.training import checkpoints, errors
from batiste.training.checkpoints import arrays as checkpoint_arrays

rank, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=rank)
assert jax.device_count() == 4
assert jax.process_count() == 2

mesh = Mesh(np.array(jax.devices()), ("x",))
sharding = NamedSharding(mesh, PartitionSpec("x"))
values = np.arange(16, dtype=np.float32).reshape(8, 2)


def make(values):
    return jax.make_array_from_callback(values.shape, sharding, lambda i: values[i])


def check(array, want):
    assert array.sharding == sharding
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(shard.data, want[shard.index])


def expect(error, call):
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


def names(sub):
    return sorted(os.listdir(os.path.join(folder, sub)))


target = {"m": make(np.zeros_like(values)), "n": 0}

# Replicated values, without a manager: process 0 writes one file.
for step in range(3):
    checkpoints.save_checkpoint_multiprocess(
        f"{folder}/plain", {"w": np.full(3, step)}, step, keep=2
    )
    assert checkpoints.latest_checkpoint(f"{folder}/plain").endswith(str(step))
assert names("plain") == ["checkpoint_1", "checkpoint_2"]
expect(
    errors.InvalidCheckpointError,
    lambda: checkpoints.save_checkpoint_multiprocess(f"{folder}/plain", {"w": 1}, 2),
)
expect(
    errors.MPACheckpointingRequiredError,
    lambda: checkpoints.save_checkpoint_multiprocess(f"{folder}/plain", target, 5),
)

# Orbax: each process writes its shards.
for kind in ("sync", "async"):
    if kind == "sync":
        saver = ocp.PyTreeCheckpointer()
    else:
        saver = ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler())
    for step in range(4):
        tree = {"m": make(values + step), "n": step}
        checkpoints.save_checkpoint_multiprocess(
            f"{folder}/{kind}", tree, step, keep=2, orbax_checkpointer=saver
        )
    if kind == "async":
        saver.wait_until_finished()
    restored = checkpoints.restore_checkpoint(f"{folder}/{kind}", target)
    check(restored["m"], values + 3)
    assert restored["n"] == 3
    tree = {"m": make(values + 10), "n": 10}
    checkpoints.save_checkpoint_multiprocess(
        f"{folder}/{kind}", tree, 3, keep=2, overwrite=True, orbax_checkpointer=saver
    )
    if kind == "async":
        saver.wait_until_finished()
    multihost_utils.sync_global_devices(kind)
    if rank == 0:
        assert checkpoints.available_steps(f"{folder}/{kind}") == [2, 3]
    multihost_utils.sync_global_devices(kind + " settled")
    restored = checkpoints.restore_checkpoint(f"{folder}/{kind}", target)
    check(restored["m"], values + 10)

# JAX's own manager: arrays beside the file. Process 0 clears their folder, slowly here,
# and the other one must not write before that.
remove = checkpoint_arrays.remove_entry


def remove_slowly(path):
    time.sleep(0.5)
    remove(path)


checkpoint_arrays.remove_entry = remove_slowly
manager = GlobalAsyncCheckpointManager()
for step in range(3):
    checkpoints.save_checkpoint_multiprocess(
        f"{folder}/gda",
        {"m": make(values + step), "n": jnp.int32(step)},
        step,
        keep=2,
        gda_manager=manager,
    )
manager.wait_until_finished()
multihost_utils.sync_global_devices("gda")
assert names("gda") == [f"checkpoint_{s}{e}" for s in (1, 2) for e in ("", "_gda")]
restored = checkpoints.restore_checkpoint(f"{folder}/gda", target, gda_manager=manager)
check(restored["m"], values + 2)
assert restored["n"] == 2
expect(
    errors.MPACheckpointingRequiredError,
    lambda: checkpoints.restore_checkpoint(f"{folder}/gda", target),
)
expect(
    errors.MPARestoreTargetRequiredError,
    lambda: checkpoints.restore_checkpoint(f"{folder}/gda", None, gda_manager=manager),
)
partial = checkpoints.restore_checkpoint(
    f"{folder}/gda", None, gda_manager=manager, allow_partial_mpa_restoration=True
)
assert partial["n"] == 2
multihost_utils.sync_global_devices("read")
if rank == 0:
    os.remove(f"{folder}/gda/checkpoint_2_gda/commit_success.txt")
multihost_utils.sync_global_devices("damaged")
expect(
    errors.MPARestoreDataCorruptedError,
    lambda: checkpoints.restore_checkpoint(
        f"{folder}/gda", target, gda_manager=manager
    ),
)
multihost_utils.sync_global_devices("done")
print("all as expected")
