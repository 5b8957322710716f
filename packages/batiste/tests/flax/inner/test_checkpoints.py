"""A program that looks at what wrote a checkpoint."""

import os

import pytest


@pytest.mark.parametrize("orbax", [True, False])
def test_whether_orbax_wrote_it(flax, tmp_path, orbax):
    from flax.training import checkpoints

    with flax.configurations.temp_flip_flag("use_orbax_checkpointing", orbax):
        path = checkpoints.save_checkpoint(str(tmp_path), {"a": [1]}, 1)
    names = (
        checkpoints.ORBAX_CKPT_FILENAME,
        checkpoints.ORBAX_MANIFEST_OCDBT,
        checkpoints.ORBAX_METADATA_FILENAME,
    )
    assert any(os.path.exists(os.path.join(path, name)) for name in names) == orbax


def test_names_of_arrays_beside_a_file(flax):
    from batiste.training.checkpoints import paths, shapes

    checkpoints = flax.training.checkpoints
    assert checkpoints.MP_ARRAY_POSTFIX == paths.ARRAYS_SUFFIX
    assert shapes.COMMITTED == checkpoints.COMMIT_SUCCESS_FILE
