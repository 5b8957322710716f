"""Write metrics for TensorBoard.

The files are what TensorFlow's own writer makes, and TensorFlow is not needed: only
the package `tensorboard`, which the extra of this name installs.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .media_bytes import png_bytes, wav_bytes

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Writes summaries of several kinds to a new file in a folder.

    Values are taken from JAX and NumPy arrays alike. Use it in a `with` block, or close
    it at the end. Summaries are under a tag, at a step; TensorBoard groups tags by
    what is before the first slash.

    Args:
      log_dir: the folder, made if it does not exist; `~` is the home folder.
      auto_flush: whether each summary is on disk when its method returns.

    Raises:
      ImportError: the package `tensorboard` is not installed.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with SummaryWriter(folder) as writer:
    ...     for step in range(3):
    ...         writer.scalar('loss', 1.0 / (step + 1), step)
    >>> len(os.listdir(folder))
    1
    """

    def __init__(self, log_dir: str | os.PathLike[str], auto_flush: bool = True):
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise ImportError(
                "SummaryWriter needs the package tensorboard, which is not installed: "
                "pip install tensorboard (the extra tensorboard of batiste-training)."
            ) from error
        self._log_dir = os.path.expanduser(os.fspath(log_dir))
        self._auto_flush = auto_flush
        self._writer: Any = EventFileWriter(self._log_dir)

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def close(self) -> None:
        """Writes what is left, and closes the file. A closed writer writes no more.

        >>> import tempfile
        >>> writer = SummaryWriter(tempfile.mkdtemp())
        >>> writer.close()
        >>> writer.scalar('loss', 1.0, 0)
        Traceback (most recent call last):
            ...
        ValueError: The SummaryWriter is closed, so "loss" was not written.
        """
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def flush(self) -> None:
        """Brings all that was written to disk.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp(), auto_flush=False) as writer:
        ...     writer.scalar('loss', 1.0, 0)
        ...     writer.flush()
        """
        if self._writer is not None:
            self._writer.flush()

    def scalar(self, tag: str, value: Any, step: int) -> None:
        """Writes a number.

        Args:
          tag: the name.
          value: a number, or an array with one element; stored as float32.
          step: the step.

        Raises:
          ValueError: `value` has more elements than one, or none.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.scalar('loss', 0.25, 0)
        """
        array = np.asarray(value, np.float32)
        if array.size != 1:
            raise ValueError(
                f'The scalar "{tag}" must be one number, but has shape {array.shape}.'
            )
        self.write(tag, array.reshape(()), step, _metadata("scalar"))

    def image(self, tag: str, image: Any, step: int, max_outputs: int = 3) -> None:
        """Writes one or several images.

        Args:
          tag: the name.
          image: array of shape (height, width), (height, width, channels) or
            (number, height, width, channels), with 1 to 4 channels. Floats are
            from 0 to 1 and cut off beyond; integers are from 0 to 255.
          step: the step.
          max_outputs: how many images are kept.

        Raises:
          ValueError: `image` is of another shape.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.image('noise', np.random.rand(8, 8, 3), 0)
        """
        images = np.asarray(image)
        if images.ndim == 2:
            images = images[..., None]
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4 or not 1 <= images.shape[-1] <= 4:
            raise ValueError(
                f'The image "{tag}" must have the shape (height, width), (height, '
                f"width, channels) or (number, height, width, channels) with 1 to 4 "
                f"channels, not {np.shape(image)}."
            )
        if np.issubdtype(images.dtype, np.integer):
            images = np.clip(images, 0, 255)
        else:
            # Rounded down, as TensorFlow does.
            images = np.clip(images.astype(np.float32), 0.0, 1.0) * 255.999
        encoded = [png_bytes(one) for one in images[:max_outputs].astype(np.uint8)]
        sizes = [str(images.shape[2]).encode(), str(images.shape[1]).encode()]
        self.write(tag, np.array([*sizes, *encoded], object), step, _metadata("image"))

    def audio(
        self,
        tag: str,
        audiodata: Any,
        step: int,
        sample_rate: int = 44100,
        max_outputs: int = 3,
    ) -> None:
        """Writes one or several sounds.

        Args:
          tag: the name.
          audiodata: array of shape (frames,), (frames, channels) or (number, frames,
            channels), from -1 to 1, and cut off beyond.
          step: the step.
          sample_rate: frames a second.
          max_outputs: how many sounds are kept.

        Raises:
          ValueError: `audiodata` is of another shape.

        >>> import tempfile
        >>> tone = np.sin(np.linspace(0, 440 * 2 * np.pi, 8000))
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.audio('tone', tone, 0, sample_rate=8000)
        """
        sounds = np.asarray(audiodata, np.float32)
        if sounds.ndim == 1:
            sounds = sounds[:, None]
        if sounds.ndim == 2:
            sounds = sounds[None]
        if sounds.ndim != 3:
            raise ValueError(
                f'The sound "{tag}" must have the shape (frames,), (frames, channels) '
                f"or (number, frames, channels), not {np.shape(audiodata)}."
            )
        # TensorBoard wants a label for each, which may be empty.
        pairs = [[wav_bytes(one, sample_rate), b""] for one in sounds[:max_outputs]]
        rows = np.array(pairs, object).reshape(len(pairs), 2)
        self.write(tag, rows, step, _metadata("audio"))

    def histogram(
        self, tag: str, values: Any, step: int, bins: int | None = None
    ) -> None:
        """Writes how often values of each size occur.

        Args:
          tag: the name.
          values: array of any shape.
          step: the step.
          bins: number of intervals of equal length; 30 if None.

        Raises:
          ValueError: there is a NaN or an infinity among the values.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.histogram('weights', np.random.randn(100), 0)
        """
        array = np.asarray(values).astype(np.float64).ravel()
        if not np.isfinite(array).all():
            raise ValueError(f'The histogram "{tag}" has values that are not finite.')
        counts, edges = np.histogram(array, bins=30 if bins is None else bins)
        rows = np.stack([edges[:-1], edges[1:], counts.astype(np.float64)], axis=1)
        if not array.size:
            rows = rows[:0]
        self.write(tag, rows, step, _metadata("histogram"))

    def text(self, tag: str, textdata: Any, step: int) -> None:
        """Writes a text, which is shown as Markdown.

        Args:
          tag: the name.
          textdata: a string, or an array of strings, which is shown as a table.
          step: the step.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.text('notes', 'The *first* run.', 0)
        """
        texts = np.asarray(textdata)
        encoded = [
            item if isinstance(item, bytes) else str(item).encode()
            for item in texts.ravel().tolist()
        ]
        array = np.array(encoded, object).reshape(texts.shape)
        self.write(tag, array, step, _metadata("text"))

    def write(self, tag: str, tensor: Any, step: int, metadata: Any = None) -> None:
        """Writes an array for a plugin of TensorBoard.

        Args:
          tag: the name.
          tensor: an array of numbers, or of type object and with bytes in it.
          step: the step.
          metadata: a `SummaryMetadata` message, which says what plugin shows it.

        Raises:
          ValueError: the writer is closed.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.write('raw', np.ones((2, 2)), 0)
        """
        from tensorboard.util import tensor_util

        Summary = _messages("summary").Summary
        value = Summary.Value(
            tag=tag,
            tensor=tensor_util.make_tensor_proto(np.asarray(tensor)),
            metadata=metadata,
        )
        self._add(tag, Summary(value=[value]), int(step))

    def hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes the hyperparameters of this run.

        Args:
          hparams: from names to numbers, booleans and strings; other values are
            written as their text.

        >>> import tempfile
        >>> with SummaryWriter(tempfile.mkdtemp()) as writer:
        ...     writer.hparams({'learning_rate': 1e-3, 'layers': (64, 64)})
        """
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        plain = {}
        for name, value in hparams.items():
            if isinstance(value, np.generic) or np.ndim(value) == 0:
                value = getattr(value, "item", lambda value=value: value)()
            known = isinstance(value, bool | int | float | str)
            plain[name] = value if known else str(value)
        self._add("hparams", hparams_pb(plain, start_time_secs=time.time()), 0)

    def _add(self, tag: str, summary: Any, step: int) -> None:
        if self._writer is None:
            raise ValueError(
                f'The SummaryWriter is closed, so "{tag}" was not written.'
            )
        Event = _messages("event").Event
        event = Event(wall_time=time.time(), step=step, summary=summary)
        self._writer.add_event(event)
        if self._auto_flush:
            self._writer.flush()


def _messages(name: str) -> Any:
    """A module of message types; they are made at run time, so types are of no help."""
    return importlib.import_module(f"tensorboard.compat.proto.{name}_pb2")


def _metadata(plugin: str) -> Any:
    """The message that says which part of TensorBoard shows a summary."""
    module = importlib.import_module(f"tensorboard.plugins.{plugin}.metadata")
    if plugin == "audio":
        return module.create_summary_metadata(None, None, module.Encoding.Value("WAV"))
    return module.create_summary_metadata(None, None)
