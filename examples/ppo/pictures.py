"""The learning curves as a PNG file, and a game as a GIF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from environments import make
from matplotlib.figure import Figure
from PIL import Image

__all__ = ["draw_curves", "film"]


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draws the mean return, the entropy and the value loss over the steps."""
    steps = [row["step"] for row in history]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    names = ("mean_return", "entropy", "value_loss")
    for axis, name in zip(figure.subplots(1, 3), names, strict=True):
        axis.plot(steps, [row[name] for row in history])
        axis.set(title=name.replace("_", " "), xlabel="steps")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def film(
    state: Any, name: str, path: Path, frames: int, every: int, seed: int = 1
) -> float:
    """Plays one game with the likeliest actions, and films it.

    Args:
      state: whose policy plays.
      name: of the environment.
      path: the GIF to write.
      frames: how many pictures it has at most.
      every: how many actions lie between two pictures.
      seed: of the game.

    Returns:
      The score of what was filmed.
    """
    environment = make(name)
    seen, score, pictures = environment.reset(seed), 0.0, [environment.picture()]
    policy = jax.jit(lambda seen: state.apply_fn({"params": state.params}, seen)[0])
    for step in range(1, frames * every):
        action = int(np.asarray(policy(seen[None]))[0].argmax())
        outcome = environment.step(action)
        seen, score = outcome.observation, score + outcome.score
        if step % every == 0:
            pictures.append(environment.picture())
        if outcome.ended or outcome.cut:
            break
    images = [
        Image.fromarray(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=16)
        for picture in pictures
    ]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=20 * every, loop=0
    )
    return score
