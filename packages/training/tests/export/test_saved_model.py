"""SavedModels; with TensorFlow where it is installed."""

import builtins
import importlib.util
import os

import jax
import numpy as np
import pytest

from batiste.training import export
from batiste.training.errors import AlreadyExistsError, ExportError
from batiste.training.export.saved_model import import_tensorflow

W = {"w": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
X = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)

with_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)


def call(variables, x, *, state):
    y = x @ variables["w"] + state["h"]
    return {"y": y, "state": {"h": 2 * y}}


def write(path, **options):
    export.to_saved_model(path, call, W, X, state={"h": X[:, :1]}, **options)


def test_without_tensorflow(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tensorflow":
            raise ImportError("no module tensorflow")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    text = r"\(no module tensorflow\): pip install tensorflow \(the extra tensor"
    with pytest.raises(ImportError, match=text):
        import_tensorflow()
    with pytest.raises(ImportError, match=text):
        write(tmp_path / "saved")
    assert os.listdir(tmp_path) == []


def test_what_is_there_is_not_replaced(tmp_path):
    (tmp_path / "saved").mkdir()
    with pytest.raises(AlreadyExistsError, match="saved"):
        write(tmp_path / "saved")


@with_tensorflow
def test_tensorflow_computes_the_same(tmp_path):
    import tensorflow as tf

    path = tmp_path / "saved"
    write(path)
    module = tf.saved_model.load(str(path))
    x, h = np.vstack([X, X]), np.ones((6, 1), np.float32)
    expected = call(W, x, state={"h": h})
    found = module.predict(x, h)
    np.testing.assert_allclose(found["state"]["h"], expected["state"]["h"], rtol=1e-6)
    served = module.signatures["serving_default"](
        x=tf.constant(x), state_h=tf.constant(h)
    )
    assert set(served) == {"output_y", "output_state_h"}
    np.testing.assert_allclose(served["output_y"], expected["y"], rtol=1e-6)
    assert [v.shape for v in module.weights] == [(2, 4)]
    assert os.listdir(tmp_path) == ["saved"]


@with_tensorflow
def test_overwrite_and_gradient(tmp_path):
    import tensorflow as tf

    path = tmp_path / "saved"
    write(path)
    write(path, overwrite=True, with_gradient=True, platforms=["cpu", "cuda"])
    module = tf.saved_model.load(str(path))
    with tf.GradientTape() as tape:
        y = module.predict(tf.constant(X), tf.constant(X[:, :1]))["y"]
        loss = tf.reduce_sum(y)
    (found,) = tape.gradient(loss, list(module.weights))
    expected = jax.grad(lambda w: call(w, X, state={"h": X[:, :1]})["y"].sum())(W)["w"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert os.listdir(tmp_path) == ["saved"]


@with_tensorflow
def test_keys_have_no_type_there(tmp_path):
    def noise(variables, x, *, rngs):
        return x + jax.random.normal(rngs, x.shape)

    with pytest.raises(ExportError, match='no type for the key "rngs".*PRNGKey'):
        export.to_saved_model(tmp_path / "a", noise, {}, X, rngs=jax.random.key(0))
    export.to_saved_model(tmp_path / "a", noise, {}, X, rngs=jax.random.PRNGKey(0))
    assert os.listdir(tmp_path) == ["a"]
