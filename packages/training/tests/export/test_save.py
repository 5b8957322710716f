"""Saving: one file, complete or absent, and what has no place in it."""

import builtins
import json
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from batiste.training import export
from batiste.training.errors import ExportError
from batiste.training.export.save import import_flatbuffers

W = {"params": {"w": np.ones((2, 4), np.float32)}}
X = np.ones((3, 2), np.float32)


def dense(variables, x):
    return x @ variables["params"]["w"]


def metadata(path):
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("metadata.json"))


def test_the_size_and_what_is_in_the_file(tmp_path):
    path = tmp_path / "m.zip"
    size = export.save(path, dense, W, X, platforms=["cpu", "cuda"], vjp_order=2)
    assert size == path.stat().st_size
    found = metadata(path)
    assert found["platforms"] == ["cpu", "cuda"]
    assert found["vjp_order"] == 2
    assert found["method"] == "__call__"


def test_the_name_of_the_method(tmp_path):
    class Module:
        def apply(self, variables, x, method=None):
            return x

        def encode(self, x):
            raise NotImplementedError

    path = tmp_path / "m.zip"
    for method in ("encode", Module.encode, Module().encode):
        export.save(path, Module(), W, X, method=method)
        assert metadata(path)["method"] == "encode"


def test_shapes_without_values_are_enough_for_inputs(tmp_path):
    path = tmp_path / "m.zip"
    export.save(path, dense, W, jax.ShapeDtypeStruct((5, 2), jnp.float32))
    assert metadata(path)["positional"] == {"x": "float32[batch, 2]"}


def calls_back(variables, x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def prints(variables, x):
    jax.debug.print("{}", x)
    return x


@pytest.mark.parametrize("call", [calls_back, prints])
def test_what_calls_back_has_no_place(tmp_path, call):
    text = f"cannot (write|export) .*{call.__name__}: .*calls back into Python"
    with pytest.raises(ExportError, match=text):
        export.save(tmp_path / "m.zip", call, W, X, shapes=None)
    assert list(tmp_path.iterdir()) == []


def split_over(axis):
    mesh = jax.make_mesh((8,), ("x",))
    return NamedSharding(mesh, PartitionSpec(axis))


def test_variables_that_are_split_over_devices(tmp_path):
    w = jax.device_put(jnp.arange(16.0).reshape(8, 2), split_over("x"))
    export.save(tmp_path / "m.zip", lambda w, x: w @ x, w, X[0], shapes=None)
    model = export.load(tmp_path / "m.zip")
    np.testing.assert_array_equal(model.weights[0], w)
    np.testing.assert_allclose(model(X[0]), w @ X[0])


def test_a_failure_keeps_the_old_file(tmp_path):
    path = tmp_path / "m.zip"
    export.save(path, dense, W, X)
    before = path.read_bytes()
    with pytest.raises(ExportError):
        export.save(path, dense, {"params": {"w": 1.0}}, X)
    assert path.read_bytes() == before


def test_a_folder(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder"):
        export.save(tmp_path, dense, W, X)


def test_without_flatbuffers(tmp_path, monkeypatch):
    path = tmp_path / "m.zip"
    export.save(path, dense, W, X)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "flatbuffers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    text = r"flatbuffers, which is not installed.*extra export of batiste-training"
    for call in (
        import_flatbuffers,
        lambda: export.save(tmp_path / "n.zip", dense, W, X),
        lambda: export.load(path),
    ):
        with pytest.raises(ImportError, match=text):
            call()
