"""The flags of linen: there when they are asked for, whatever is imported first."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("first", ["import batiste.linen", "import batiste.core"])
def test_the_flags_are_there_whatever_is_imported_first(first):
    program = f"""if 1:
        {first}
        from batiste.core.config import config
        config.update("flax_profile", False)
        from batiste.linen.module.context import named_calls
        print(named_calls(), config.preserve_adopted_names)
        """
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "FLAX_PROFILE": "1",
            "BATISTE_PRESERVE_ADOPTED_NAMES": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "False True\n", result.stderr
