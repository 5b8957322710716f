"""The flags of core: their defaults, and their environment variables."""

import os
import subprocess
import sys

from batiste.core.config import config

DEFAULTS = {
    "return_frozendict": True,
    "fix_rng_separator": False,
    "filter_frames": True,
    "documented_checks": True,
    "rng_fallback": True,
    "split_fallback": True,
    "jit_folds_rngs": False,
    "branches_count_on": False,
    "custom_vjp_counts_on": False,
}


def test_defaults():
    assert {name: getattr(config, name) for name in DEFAULTS} == DEFAULTS


def test_environment():
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from batiste.core.config import config\n"
            f"print([getattr(config, name) for name in {list(DEFAULTS)}])",
        ],
        env={
            "PATH": "",
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "FLAX_RETURN_FROZENDICT": "false",
            "FLAX_FIX_RNG_SEPARATOR": "1",
            "BATISTE_FILTER_FRAMES": "No",
            "FLAX_FILTER_FRAMES": "yes",
        },
        capture_output=True,
        text=True,
    )
    given = {
        "return_frozendict": False,
        "fix_rng_separator": True,
        "filter_frames": False,
    }
    assert run.stdout.strip() == str([*{**DEFAULTS, **given}.values()])


def test_every_flag_has_a_source():
    assert config.sources().keys() == config._globals.keys()
    assert set(config.sources()) >= DEFAULTS.keys()
