"""The flags of training: there when they are asked for, and no import the dearer."""

import os
import subprocess
import sys

import pytest


def run(program, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FLAX_")}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "first",
    [
        "import batiste.training",
        "import batiste.training.early_stopping",
        "import batiste.core",
    ],
)
def test_the_flags_are_there_whatever_is_imported_first(first):
    program = f"""if 1:
        {first}
        from batiste.core.config import config
        config.update("flax_early_stopping_pair", False)
        from batiste.training.early_stopping import EarlyStopping
        assert type(EarlyStopping().update(1.0)) is EarlyStopping
        print(config.use_orbax_checkpointing)
        """
    assert run(program) == "False\n"
    assert run(program, FLAX_USE_ORBAX_CHECKPOINTING="1") == "True\n"
    assert run(program, BATISTE_USE_ORBAX_CHECKPOINTING="yes") == "True\n"


def test_importing_training_alone_imports_nothing_heavy():
    loaded = set(run("import batiste.training, sys; print(*sys.modules)").split())
    assert not loaded & {"batiste.core", "jax", "numpy"}
