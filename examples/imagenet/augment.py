"""Random crops, flips and colours, and the crop that evaluation uses.

Images are arrays (height, width, 3) of uint8 of any size; what comes out is square.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["center_crop", "change_colors", "random_crop_box", "training_view"]

Box = tuple[float, float, float, float]


def training_view(image: np.ndarray, config: Any, rng: np.random.Generator):
    """A random crop of an image, perhaps mirrored, in changed colours.

    Args:
      image: (height, width, 3) of uint8.
      config: has `image_size`, `crop_area` and `crop_ratio` (the least and greatest
        share of the area, and width over height), `flip` (whether to mirror half of
        the images) and `colors` (by how much brightness, contrast and saturation
        change at most).
      rng: makes the choices.

    Returns:
      (image_size, image_size, 3) of uint8.
    """
    height, width, _ = image.shape
    box = random_crop_box(height, width, config.crop_area, config.crop_ratio, rng)
    view = _resize(image, box, config.image_size)
    if config.flip and rng.random() < 0.5:
        view = view[:, ::-1]
    if config.colors:
        view = change_colors(view, 1 + config.colors * rng.uniform(-1, 1, size=3))
    return np.ascontiguousarray(view)


def center_crop(image: np.ndarray, size: int, share: float) -> np.ndarray:
    """The middle of an image, (size, size, 3), as evaluation sees it.

    Args:
      image: (height, width, 3) of uint8.
      size: height and width of the result.
      share: how much of the shorter side it shows.
    """
    height, width, _ = image.shape
    side = share * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resize(image, (left, top, left + side, top + side), size)


def random_crop_box(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """The left, top, right and bottom of a random part of an image.

    As in "Going deeper with convolutions" (https://arxiv.org/abs/1409.4842): the share
    of the area is uniform, and the logarithm of width over height. Where ten tries do
    not fit in the image, it is the largest square in the middle.
    """
    for _ in range(10):
        chosen = rng.uniform(*area) * height * width
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        crop_width, crop_height = math.sqrt(chosen * aspect), math.sqrt(chosen / aspect)
        if crop_width <= width and crop_height <= height:
            left = rng.uniform(0, width - crop_width)
            top = rng.uniform(0, height - crop_height)
            return left, top, left + crop_width, top + crop_height
    side = min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def change_colors(image: np.ndarray, factors: Any) -> np.ndarray:
    """Changes brightness, contrast and saturation, each by a factor.

    With 1 all stay as they are. With 0, the image is black, of one grey, or of greys.

    Args:
      image: (height, width, 3) of uint8.
      factors: the three factors.
    """
    brightness, contrast, saturation = np.asarray(factors, np.float32)
    pixels = image.astype(np.float32) * brightness
    weights = np.array([0.299, 0.587, 0.114], np.float32)  # luma of ITU-R BT.601
    mean = (pixels @ weights).mean()
    pixels = mean + contrast * (pixels - mean)
    grey = (pixels @ weights)[..., None]
    pixels = grey + saturation * (pixels - grey)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def _resize(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    resized = Image.fromarray(image).resize(
        (size, size), Image.Resampling.BILINEAR, box=box
    )
    return np.asarray(resized)
