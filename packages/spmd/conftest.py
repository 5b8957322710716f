"""Eight host devices for every test of this package, and meshes over them."""

import os

FLAG = "--xla_force_host_platform_device_count"

# JAX reads this when it first looks for devices, so it has to be set before that.
if FLAG not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}=8".strip()

import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from jax.sharding import AxisType, Mesh  # noqa: E402

from batiste import spmd  # noqa: E402


def _devices():
    devices = jax.devices("cpu")
    assert len(devices) >= 8, f"run with XLA_FLAGS={FLAG}=8: something started JAX"
    return np.array(devices[:8]).reshape(2, 4)


def _with_mesh(mesh):
    return mesh


# JAX 0.7 has `jax.set_mesh`, which the examples show, under another name.
if not hasattr(jax, "set_mesh"):
    jax.set_mesh = jax.sharding.use_mesh  # type: ignore[attr-defined]


def _set_mesh(mesh):
    return jax.set_mesh(mesh)


@pytest.fixture
def mesh():
    """A 2x4 mesh with the axes `data` and `model`."""
    return Mesh(_devices(), ("data", "model"))


@pytest.fixture
def explicit_mesh():
    """The same mesh with explicit axes, where shardings are part of types."""
    types = (AxisType.Explicit, AxisType.Explicit)
    return Mesh(_devices(), ("data", "model"), axis_types=types)


@pytest.fixture
def set_mesh():
    """`jax.set_mesh`, or what it is called on this JAX."""
    return _set_mesh


@pytest.fixture(params=[_with_mesh, _set_mesh], ids=["with_mesh", "set_mesh"])
def enter_mesh(request):
    """Both ways to put a mesh in force."""
    return request.param


@pytest.fixture(autouse=True)
def _no_rules_left_behind():
    yield
    assert spmd.get_logical_axis_rules() == ()


@pytest.fixture
def layouts():
    """The layouts that a function constrains values to: the specs in its jaxpr."""

    def of(fn, *args):
        jaxpr = jax.make_jaxpr(fn)(*args)
        return [
            tuple(each.params["sharding"].spec)
            for each in jaxpr.eqns
            if each.primitive.name == "sharding_constraint"
        ]

    return of
