"""Eight host devices, meshes over them, and both ways to put a mesh in force."""

import os

_COUNT = "--xla_force_host_platform_device_count"
_LEVEL = "--xla_backend_optimization_level"

# JAX reads these when it first looks for devices, so they have to be set before that.
# The tests compile much and compute little, so machine code need not be fast; the
# passes on HLO, which make the collectives, are not those that the level is about.
for _flag, _value in ((_COUNT, 8), (_LEVEL, 0)):
    if _flag not in os.environ.get("XLA_FLAGS", ""):
        _flags = f"{os.environ.get('XLA_FLAGS', '')} {_flag}={_value}"
        os.environ["XLA_FLAGS"] = _flags.strip()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from batiste import spmd  # noqa: E402


@pytest.fixture
def make_mesh():
    """Makes a mesh with the axes `data` and `model` of the given sizes."""
    devices = jax.devices("cpu")
    assert len(devices) >= 8, f"run with XLA_FLAGS={_COUNT}=8: something started JAX"

    def make(data: int, model: int) -> Mesh:
        chosen = np.array(devices[: data * model]).reshape(data, model)
        return Mesh(chosen, ("data", "model"))

    return make


@pytest.fixture
def mesh(make_mesh):
    """A 2x4 mesh with the axes `data` and `model`."""
    return make_mesh(2, 4)


def _with_mesh(mesh):
    return mesh


def _set_mesh(mesh):
    # JAX 0.7 has no `jax.set_mesh`.
    return (jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh)(mesh)


@pytest.fixture(params=[_with_mesh, _set_mesh], ids=["with_mesh", "set_mesh"])
def enter_mesh(request):
    """Both ways to put a mesh in force."""
    return request.param


@pytest.fixture(autouse=True)
def _no_rules_left_behind():
    yield
    assert spmd.get_logical_axis_rules() == ()
