"""Programs that say how arrays are split over devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from batiste.training import export
from batiste.training.errors import ExportedFileError, ExportError
from batiste.training.export import devices

X = np.arange(48, dtype=np.float32).reshape(8, 6) / 7


def mesh(*sizes, names=("data", "model")):
    count = int(np.prod(sizes))
    return Mesh(np.array(jax.devices()[:count]).reshape(sizes), names[: len(sizes)])


def split(*spec, over=None):
    return NamedSharding(over or mesh(4, 2), PartitionSpec(*spec))


def call(variables, x):
    y = x @ variables["w"] + variables["b"]
    return {"y": jnp.tanh(jax.lax.with_sharding_constraint(y, split("data", "model")))}


def weights():
    return {
        "w": jax.device_put(X.T[:, :4], split(None, "model")),
        "b": jnp.ones(4),
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.zip"
    export.save(path, call, weights(), X, vjp_order=1)
    return path


def test_it_computes_the_same_in_as_many_devices(file):
    model = export.load(file)
    assert dict(model.mesh.shape) == {"data": 4, "model": 2}
    found = model(X)["y"]
    expected = jax.jit(call)(weights(), jax.device_put(X, split()))["y"]
    np.testing.assert_array_equal(found, expected)
    assert found.sharding.spec == PartitionSpec("data", "model")
    # A batch of any size, also one that cannot be split evenly.
    np.testing.assert_allclose(model(X[:3])["y"], found[:3], rtol=1e-6)


def test_weights_are_split_as_they_were(file):
    model = export.load(file)
    assert model.metadata["mesh"] == {"data": 4, "model": 2}
    assert model.metadata["splits"] == [None, [None, "model"]]
    b, w = model.weights
    assert w.sharding.spec == PartitionSpec(None, "model")
    assert b.sharding.is_fully_replicated
    assert len(b.sharding.device_set) == 8
    np.testing.assert_array_equal(w, X.T[:, :4])
    np.testing.assert_array_equal(model.variables["w"], X.T[:, :4])


def test_inputs_that_are_split_stay_so(file):
    model = export.load(file)
    x = jax.device_put(X, split("data", over=model.mesh))
    _, (same,) = model._placing.call([], [x])
    assert same is x
    np.testing.assert_array_equal(model(x)["y"], model(X)["y"])


def test_transformations_take_it(file):
    model = export.load(file)
    np.testing.assert_array_equal(jax.jit(model)(X)["y"], model(X)["y"])
    gradient = jax.grad(lambda x: model(x)["y"].sum())(X)
    expected = jax.grad(lambda x: call(weights(), x)["y"].sum())(X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    again = jax.jit(jax.grad(lambda x: model(x)["y"].sum()))(X)
    np.testing.assert_allclose(again, expected, rtol=1e-5)


def test_another_mesh_of_the_same_sizes(file):
    reversed_ = np.array(jax.devices()[::-1]).reshape(4, 2)
    model = export.load(file, mesh=Mesh(reversed_, ("a", "b")))
    assert model.weights[1].sharding.spec == PartitionSpec(None, "b")
    np.testing.assert_array_equal(model(X)["y"], export.load(file)(X)["y"])


def test_a_mesh_of_other_sizes(file):
    for other in (mesh(2, 4), mesh(8), mesh(2, 2)):
        with pytest.raises(ExportedFileError) as info:
            export.load(file, mesh=other)
        sizes = ", ".join(f"{n}: {s}" for n, s in other.shape.items())
        assert str(info.value).endswith(
            "its program is one for 8 devices, in a mesh (data: 4, model: 2), and the "
            f"mesh that was given is ({sizes}). Give one of these sizes, in this "
            "order; the names of its axes may be others."
        )


def test_fewer_devices(file):
    code = (
        "from batiste.training import export\n"
        "from batiste.training.errors import ExportedFileError\n"
        f"try:\n    export.load({str(file)!r})\n"
        "except ExportedFileError as error:\n    print(error)\n"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **flags},
    )
    assert done.stdout == (
        f'Cannot load "{file}": its program is one for 8 devices, in a mesh (data: 4, '
        "model: 2), and JAX has 2 here. Load it where there are as many, or export "
        "the model without a mesh.\n"
    ), done.stderr


def test_a_process_of_as_many_devices(file, tmp_path):
    np.save(tmp_path / "x.npy", X)
    code = (
        "import jax, numpy as np\n"
        "from batiste.training import export\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r})\n"
        f"y = export.load({str(file)!r})(x)['y']\n"
        "assert len(y.sharding.device_set) == 8 < len(jax.devices())\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, y)\n"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=9"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", **flags},
    )
    assert done.returncode == 0, done.stderr
    expected = export.load(file)(X)["y"]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


def test_a_file_whose_mesh_is_not_that_of_its_program(file, tmp_path):
    from .test_load import changed

    for sizes in ({"data": 2}, None):
        other = changed(file, tmp_path, lambda m, parts, s=sizes: m.update(mesh=s))
        with pytest.raises(
            ExportedFileError, match="another mesh than its description"
        ):
            export.load(other)


def test_programs_of_two_meshes(tmp_path):
    def both(variables, x):
        x = jax.lax.with_sharding_constraint(x, split("data"))
        return jax.lax.with_sharding_constraint(x, split("data", over=mesh(2, 4)))

    with pytest.raises(ExportError) as info:
        export.save(tmp_path / "m.zip", both, {}, X, shapes=None)
    assert str(info.value) == (
        "both says how arrays are split over 8 devices, and its program has 2 meshes "
        "of them, where one is needed to run it again. Constrain it by one mesh, or "
        "export it without."
    )
    assert list(tmp_path.iterdir()) == []


def test_programs_for_one_device_have_no_mesh(tmp_path):
    path = tmp_path / "m.zip"
    export.save(path, lambda w, x: x @ w, weights()["w"], X)
    model = export.load(path, mesh=mesh(2, 2))
    assert (model.mesh, model.metadata["mesh"], model.metadata["splits"]) == (None,) * 3
    assert len(model.weights[0].sharding.device_set) == 1


def test_how_a_weight_is_split():
    sizes = {"data": 4, "model": 2}
    x = jnp.ones((8, 4))
    assert devices.split_of(x, sizes) is None
    assert devices.split_of(X, sizes) is None
    there = jax.device_put(x, split(("data", "model"), None))
    assert devices.split_of(there, sizes) == [["data", "model"], None]
    assert devices.split_of(there, {"model": 2, "data": 4}) is None
    assert devices.split_of(there, None) is None
