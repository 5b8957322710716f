"""Curves, reconstructions, samples and the latent plane, as PNG files."""

from __future__ import annotations

from pathlib import Path
from statistics import NormalDist

import jax
import numpy as np
from input_pipeline import Images
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.image import imread, imsave
from matplotlib.ticker import MaxNLocator

from batiste.training.train_state import TrainState

__all__ = [
    "draw_all",
    "draw_curves",
    "draw_latent_plane",
    "draw_reconstructions",
    "draw_samples",
    "plane",
    "read",
    "tiled",
]


def tiled(images: np.ndarray, columns: int, zoom: int = 4) -> np.ndarray:
    """Puts images (number, side * side) side by side, with a line between them.

    What is missing of the last row stays empty. Returns (height, width), enlarged.
    """
    side = round(images.shape[1] ** 0.5)
    rows = -(-len(images) // columns)
    page = np.zeros((rows * columns, side + 1, side + 1), np.float32)
    page[: len(images), :side, :side] = images.reshape(-1, side, side)
    page = page.reshape(rows, columns, side + 1, side + 1).swapaxes(1, 2)
    page = page.reshape(rows * (side + 1), columns * (side + 1))
    return page.repeat(zoom, 0).repeat(zoom, 1)


def read(path: Path) -> np.ndarray:
    """The pixels of a picture (height, width, 3), from 0 to 1, for TensorBoard."""
    return np.asarray(imread(path))[..., :3]


def _probabilities(state: TrainState, z: np.ndarray) -> np.ndarray:
    variables = {"params": state.params}
    return np.asarray(jax.nn.sigmoid(state.apply_fn(variables, z, method="decode")))


def _means(state: TrainState, pixels: np.ndarray) -> np.ndarray:
    mean, _ = state.apply_fn({"params": state.params}, pixels, method="encode")
    return np.asarray(mean)


def _save(page: np.ndarray, path: Path) -> None:
    imsave(path, page, cmap="gray_r", vmin=0.0, vmax=1.0)


def draw_curves(history: list[dict[str, float]], baseline: float, path: Path) -> None:
    """Draws the bounds over the epochs, and the baseline."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(6.5, 3.4), layout="constrained")
    axis = figure.subplots()
    for part, style in (("train", "--"), ("test", "-")):
        values = [row[f"{part}_elbo"] for row in history]
        axis.plot(epochs, values, style, label=part)
    axis.axhline(baseline, color="gray", linestyle=":", label="independent pixels")
    axis.set(xlabel="epoch", ylabel="evidence lower bound (nats)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(path, dpi=80)


def draw_reconstructions(state: TrainState, pixels: np.ndarray, path: Path) -> None:
    """Draws images, and below each what is left of it after encoding and decoding."""
    decoded = _probabilities(state, _means(state, pixels))
    _save(tiled(np.concatenate([pixels, decoded]), columns=len(pixels)), path)


def draw_samples(state: TrainState, latents: int, path: Path, seed: int = 0) -> None:
    """Draws a hundred images of latents from the prior."""
    z = np.random.default_rng(seed).normal(size=(100, latents)).astype(np.float32)
    _save(tiled(_probabilities(state, z), columns=10), path)


def plane(means: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A plane through the latents, and a grid in it.

    With two latents it is theirs; with more, that in which `means` differ most.

    Returns:
      The middle (latents,), two directions (2, latents) of length 1, and the grid's
      coordinates along either (size,): the quantiles of the prior.
    """
    quantiles = [NormalDist().inv_cdf((k + 0.5) / size) for k in range(size)]
    latents = means.shape[1]
    if latents == 2:
        middle, directions = np.zeros(2), np.eye(2)
    else:
        middle = means.mean(0)
        directions = np.linalg.svd(means - middle, full_matrices=False)[2][:2]
    return middle, directions, np.array(quantiles)


def draw_latent_plane(
    state: TrainState, data: Images, path: Path, size: int = 15
) -> None:
    """Draws where the images of a data set lie, and what lies where on the plane."""
    means = _means(state, data.pixels)
    middle, directions, grid = plane(means, size)
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    x, y = ((means - middle) @ directions.T).T
    if data.label is None:
        left.scatter(x, y, c="gray", s=9)
    else:
        dots = left.scatter(x, y, c=data.label, cmap=colormaps["tab10"], s=9)
        left.legend(*dots.legend_elements(), title="digit", fontsize=8, loc="best")
    left.set(xlabel="first latent", ylabel="second latent", title="test images")
    # The first row of the page is the top: the highest second coordinate.
    z = [
        middle + a * directions[0] + b * directions[1] for b in grid[::-1] for a in grid
    ]
    page = tiled(_probabilities(state, np.array(z, np.float32)), columns=size)
    right.imshow(page, cmap="gray_r")
    right.set(title="decoded, between the quantiles of the prior")
    right.axis("off")
    figure.savefig(path, dpi=80)


def draw_all(
    state: TrainState,
    history: list[dict[str, float]],
    baseline: float,
    test: Images,
    folder: Path,
) -> list[Path]:
    """Draws everything into a folder; returns the pictures that show images."""
    names = ("reconstructions", "samples", "latent_plane")
    paths = [folder / f"{name}.png" for name in names]
    latents = _means(state, test.pixels[:1]).shape[1]
    draw_reconstructions(state, test.pixels[:20], paths[0])
    draw_samples(state, latents, paths[1])
    draw_latent_plane(state, test, paths[2])
    if history:
        draw_curves(history, baseline, folder / "curves.png")
    return paths
