"""Images and sounds as the bytes of PNG and WAV files, without further libraries."""

from __future__ import annotations

import io
import struct
import wave
import zlib

import numpy as np

__all__ = ["png_bytes", "wav_bytes"]

# What PNG calls images of 1 to 4 channels: gray, gray and alpha, RGB, RGB and alpha.
_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def png_bytes(image: np.ndarray) -> bytes:
    r"""Encodes an image as a PNG file.

    Args:
      image: uint8 array of shape (height, width, channels), with 1 to 4 channels.

    Raises:
      ValueError: it is of another shape or dtype.

    >>> png_bytes(np.zeros((2, 3, 1), np.uint8))[:8]
    b'\x89PNG\r\n\x1a\n'
    """
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in _COLOR_TYPES:
        raise ValueError(
            f"An image must be uint8[height,width,channels] with 1 to 4 channels, not "
            f"{image.dtype}{list(image.shape)}."
        )
    height, width, channels = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    # Each row begins with the number of its filter; 0 is none.
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    chunks = [
        (b"IHDR", header),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def wav_bytes(samples: np.ndarray, sample_rate: int) -> bytes:
    """Encodes sound as a WAV file of 16-bit samples.

    Args:
      samples: float array of shape (frames, channels), from -1 to 1; what is beyond
        is cut off.
      sample_rate: frames a second.

    Raises:
      ValueError: `samples` is of another shape.

    >>> len(wav_bytes(np.zeros((100, 2)), 8000))
    444
    """
    if samples.ndim != 2:
        raise ValueError(
            f"Sound must have the shape (frames, channels), not {samples.shape}."
        )
    whole = np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(samples.shape[1])
        sound.setsampwidth(2)
        sound.setframerate(sample_rate)
        sound.writeframes(whole.tobytes())
    return file.getvalue()
