"""PNG and WAV files, as readers of others see them."""

import io
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from batiste.training.tensorboard.media_bytes import png_bytes, wav_bytes


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_every_pixel_comes_back(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    found = np.asarray(Image.open(io.BytesIO(png_bytes(image))))
    np.testing.assert_array_equal(found.reshape(image.shape), image)


@pytest.mark.parametrize("bad", [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3))])
def test_what_is_no_image(bad):
    with pytest.raises(ValueError, match=r"must be uint8\[height,width,channels\]"):
        png_bytes(bad)


@given(st.integers(0, 20), st.integers(1, 3), st.integers(1, 96000))
def test_every_sample_comes_back(frames, channels, rate):
    samples = np.linspace(-1, 1, frames * channels).reshape(frames, channels)
    with wave.open(io.BytesIO(wav_bytes(samples, rate))) as sound:
        assert (sound.getnframes(), sound.getframerate()) == (frames, rate)
        found = np.frombuffer(sound.readframes(frames), "<i2")
    np.testing.assert_allclose(found / 32767, samples.ravel(), atol=2e-5)


def test_what_is_no_sound():
    with pytest.raises(ValueError, match=r"shape \(frames, channels\), not \(3,\)"):
        wav_bytes(np.zeros(3), 8000)
