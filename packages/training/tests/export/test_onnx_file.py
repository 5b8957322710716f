"""ONNX files; with jax2onnx and onnxruntime where they are installed."""

import builtins
import importlib.util
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from batiste.training import export
from batiste.training.errors import ExportError
from batiste.training.export.onnx_file import import_jax2onnx

W = {"w": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
X = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)

with_jax2onnx = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jax2onnx", "onnxruntime"))),
    reason="jax2onnx or onnxruntime is not installed",
)


def call(variables, x, *, scale, double=False):
    y = jnp.tanh(x @ variables["w"]) * scale
    return 2 * y if double else y


def test_without_jax2onnx(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "jax2onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    text = r"jax2onnx, which is not installed: .*the extra onnx of batiste-training"
    with pytest.raises(ImportError, match=text):
        import_jax2onnx()
    with pytest.raises(ImportError, match=text):
        export.to_onnx(tmp_path / "m.onnx", call, W, X, scale=X[:, :1])
    assert os.listdir(tmp_path) == []


@with_jax2onnx
def test_a_runtime_computes_nearly_the_same(tmp_path):
    import onnxruntime

    path = tmp_path / "m.onnx"
    export.to_onnx(path, call, W, X, scale=X[:, :1], double=True)
    session = onnxruntime.InferenceSession(str(path))
    assert [i.name for i in session.get_inputs()] == ["x", "scale"]
    x = np.vstack([X, X])
    (found,) = session.run(None, {"x": x, "scale": x[:, :1]})
    expected = call(W, x, scale=x[:, :1], double=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert os.listdir(tmp_path) == ["m.onnx"]


@with_jax2onnx
def test_what_cannot_be_translated(tmp_path):
    def sort(variables, x):
        return jax.lax.linalg.schur(x.T @ x)[0]

    with pytest.raises(ExportError, match="jax2onnx cannot translate sort: .*`save`"):
        export.to_onnx(tmp_path / "m.onnx", sort, {}, X, shapes=None)
    assert os.listdir(tmp_path) == []


@with_jax2onnx
def test_containers_are_no_inputs(tmp_path):
    with pytest.raises(ExportError, match='"scale" is a container'):
        export.to_onnx(tmp_path / "m.onnx", call, W, X, scale={"a": X})
