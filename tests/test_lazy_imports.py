"""Importing a package with everything installed loads nothing that it does not need."""

import subprocess
import sys

import pytest

HEAVY = {"matplotlib", "msgpack", "optax", "orbax", "rich", "tensorstore"}
LATE = {
    "traverse": HEAVY | {"jax", "numpy"},
    "serialization": (HEAVY | {"jax", "ml_dtypes"}) - {"msgpack"},
    "core": HEAVY,
    "spmd": HEAVY,
    "linen": HEAVY,
    "training": HEAVY - {"msgpack"},
}


@pytest.mark.parametrize("package", LATE)
def test_import_leaves_heavy_modules_out(package):
    program = f"import batiste.{package}, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not LATE[package] & set(result.stdout.split())
