"""Who reads while others save: no read fails, goes back, or sees a part."""

import os
import subprocess
import sys

import numpy as np
import pytest

from batiste.training import checkpoints

READS = 60
WRITER = """
import sys
import numpy as np
from batiste.core.config import config
from batiste.training import checkpoints
folder, kind, how = sys.argv[1:]
config.update('use_orbax_checkpointing', kind == 'orbax')
overwrite = how == 'overwrite'
for number in range(1_000_000):
    tree = {'number': number, 'w': np.full(50_000, number), 'b': np.full(9, number)}
    step = 5 if overwrite else number
    checkpoints.save_checkpoint(folder, tree, step, keep=1, overwrite=overwrite)
    if number == 0:
        print('saved', flush=True)
"""


@pytest.fixture(params=["file", "orbax"])
def kind(request):
    if request.param == "orbax":
        pytest.importorskip("orbax.checkpoint", reason="needs the extra 'orbax'")
    return request.param


@pytest.mark.parametrize("how", ["keep", "overwrite"])
def test_no_read_fails_during_saves(tmp_path, kind, how):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), kind, how],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "saved\n"
        seen = []
        target = {"number": 0, "w": np.zeros(50_000, int), "b": np.zeros(9, int)}
        while len(seen) < READS or len(set(seen)) < 3:
            assert writer.poll() is None
            found = checkpoints.restore_checkpoint(
                tmp_path, target if len(seen) % 2 else None
            )
            assert found is not None
            assert found is not target
            assert (found["w"] == found["number"]).all()
            assert (found["b"] == found["number"]).all()
            assert checkpoints.available_steps(tmp_path)
            seen.append(int(found["number"]))
    finally:
        writer.kill()
        writer.communicate()
    assert seen == sorted(seen)
