"""Event files: what TensorBoard's own reader finds in them."""

import io
import sys
import wave

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

from batiste.training.tensorboard import SummaryWriter


def read(folder):
    accumulator = EventAccumulator(str(folder), {"tensors": 0})
    accumulator.Reload()
    return accumulator


def tensors(folder, tag):
    return [
        (event.step, tensor_util.make_ndarray(event.tensor_proto))
        for event in read(folder).Tensors(tag)
    ]


def plugin(folder, tag):
    return read(folder).SummaryMetadata(tag).plugin_data.plugin_name


def test_scalars(tmp_path):
    with SummaryWriter(tmp_path / "runs" / "a") as writer:
        for step, value in enumerate([1, 0.5, np.float64(0.25), jnp.ones((1,)) / 8]):
            writer.scalar("train/loss", value, step)
    found = tensors(tmp_path / "runs" / "a", "train/loss")
    assert [step for step, _ in found] == [0, 1, 2, 3]
    assert [float(value) for _, value in found] == [1.0, 0.5, 0.25, 0.125]
    assert found[0][1].dtype == np.float32
    assert found[0][1].shape == ()
    assert plugin(tmp_path / "runs" / "a", "train/loss") == "scalars"


@pytest.mark.parametrize(
    ("shape", "count"), [((4, 5), 1), ((4, 5, 3), 1), ((4, 5, 4), 1), ((6, 4, 5, 1), 3)]
)
def test_images(tmp_path, shape, count):
    image = np.random.default_rng(0).random(shape).astype(np.float32)
    with SummaryWriter(tmp_path) as writer:
        writer.image("picture", jnp.asarray(image), 7)
    ((step, (width, height, *files)),) = tensors(tmp_path, "picture")
    assert (step, int(width), int(height), len(files)) == (7, 5, 4, count)
    assert plugin(tmp_path, "picture") == "images"
    first = image if image.ndim < 4 else image[0]
    pixels = np.asarray(Image.open(io.BytesIO(files[0])), np.float32)
    np.testing.assert_allclose(pixels, first.reshape(pixels.shape) * 255, atol=1.0)


def test_images_of_integers_and_beyond_the_range(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.image("integers", np.array([[0, 128], [255, 300]]), 0)
        writer.image("floats", np.array([[-1.0, 0.0], [1.0, 2.0]]), 0)
        writer.image("few", np.zeros((5, 2, 2, 1), np.uint8), 0, max_outputs=2)
    for tag, expected in (
        ("integers", [0, 128, 255, 255]),
        ("floats", [0, 0, 255, 255]),
    ):
        ((_, (_, _, file)),) = tensors(tmp_path, tag)
        assert np.asarray(Image.open(io.BytesIO(file))).ravel().tolist() == expected
    assert len(tensors(tmp_path, "few")[0][1]) == 4


@pytest.mark.parametrize(
    ("shape", "count", "channels"),
    [((50,), 1, 1), ((50, 2), 1, 2), ((4, 50, 1), 3, 1), ((0, 50, 1), 0, 1)],
)
def test_sounds(tmp_path, shape, count, channels):
    samples = np.random.default_rng(0).uniform(-1.5, 1.5, shape)
    with SummaryWriter(tmp_path) as writer:
        writer.audio("sound", samples, 2, sample_rate=8000)
    ((step, rows),) = tensors(tmp_path, "sound")
    assert step == 2
    assert rows.shape == (count, 2)
    assert plugin(tmp_path, "sound") == "audio"
    if count:
        with wave.open(io.BytesIO(rows[0, 0])) as sound:
            assert sound.getframerate() == 8000
            assert sound.getnchannels() == channels
            found = np.frombuffer(sound.readframes(50), "<i2").reshape(50, channels)
        first = (samples if samples.ndim < 3 else samples[0]).reshape(50, channels)
        np.testing.assert_allclose(found / 32767, np.clip(first, -1, 1), atol=1e-4)


def test_histograms(tmp_path):
    values = np.arange(100.0).reshape(4, 25)
    with SummaryWriter(tmp_path) as writer:
        writer.histogram("weights", jnp.asarray(values), 0, bins=10)
        writer.histogram("weights", values, 1)
        writer.histogram("empty", np.zeros(0), 0)
    (_, ten), (_, thirty) = tensors(tmp_path, "weights")
    assert ten.shape == (10, 3)
    assert thirty.shape == (30, 3)
    np.testing.assert_allclose(ten[:, 2], 10)
    np.testing.assert_allclose(ten[1:, 0], ten[:-1, 1])
    assert (ten[0, 0], ten[-1, 1], thirty[:, 2].sum()) == (0.0, 99.0, 100.0)
    assert plugin(tmp_path, "weights") == "histograms"
    assert tensors(tmp_path, "empty")[0][1].shape == (0, 3)


def test_texts(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.text("one", "Grüße, *all*", 3)
        writer.text("table", [["a", "b"], ["c", "d"]], 0)
    ((step, text),) = tensors(tmp_path, "one")
    assert step == 3
    assert text.item().decode() == "Grüße, *all*"
    assert tensors(tmp_path, "table")[0][1].tolist() == [[b"a", b"b"], [b"c", b"d"]]
    assert plugin(tmp_path, "one") == "text"


def test_hyperparameters(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.hparams(
            {"rate": np.float32(0.5), "layers": (64, 32), "name": "x", "on": True}
        )
    metadata = read(tmp_path).SummaryMetadata("_hparams_/session_start_info")
    data = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    found = data.session_start_info.hparams
    assert found["rate"].number_value == 0.5
    assert found["layers"].string_value == "(64, 32)"
    assert found["name"].string_value == "x"
    assert found["on"].bool_value is True


def test_arrays_for_plugins(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.write("raw", jnp.arange(6).reshape(2, 3), step=np.int64(4))
    ((step, array),) = tensors(tmp_path, "raw")
    assert step == 4
    np.testing.assert_array_equal(array, np.arange(6).reshape(2, 3))


def test_flushing(tmp_path):
    quick = SummaryWriter(tmp_path / "quick")
    quick.scalar("a", 1.0, 0)
    assert len(tensors(tmp_path / "quick", "a")) == 1
    slow = SummaryWriter(tmp_path / "slow", auto_flush=False)
    slow.scalar("a", 1.0, 0)
    slow.flush()
    assert len(tensors(tmp_path / "slow", "a")) == 1
    for writer in (quick, slow):
        writer.close()
        writer.close()
        writer.flush()


@pytest.mark.parametrize(
    ("use", "match"),
    [
        (lambda w: w.scalar("loss", [1.0, 2.0], 0), r'scalar "loss".*shape \(2,\)'),
        (lambda w: w.image("x", np.zeros(3), 0), r'image "x" must have.*not \(3,\)'),
        (lambda w: w.image("x", np.zeros((2, 2, 5)), 0), "with 1 to 4 channels"),
        (lambda w: w.audio("x", np.zeros((1, 1, 1, 1)), 0), r'sound "x" must have'),
        (lambda w: w.histogram("x", [1.0, np.nan], 0), "values that are not finite"),
    ],
)
def test_errors_name_the_tag(tmp_path, use, match):
    with SummaryWriter(tmp_path) as writer, pytest.raises(ValueError, match=match):
        use(writer)


def test_a_closed_writer(tmp_path):
    writer = SummaryWriter(tmp_path)
    writer.close()
    with pytest.raises(ValueError, match='is closed, so "x" was not written'):
        writer.text("x", "text", 0)


def test_without_tensorboard(tmp_path, monkeypatch):
    name = "tensorboard.summary.writer.event_file_writer"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install tensorboard \(the extra"):
        SummaryWriter(tmp_path)
