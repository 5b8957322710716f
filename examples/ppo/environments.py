"""The games, one at a time: CartPole as it is, and Atari as agents are given it.

Each can be saved at any moment and go on from there, so that a run that continues sees
what it would have seen. Nothing here imports JAX: the processes that play need none.
"""

from __future__ import annotations

import collections
import pickle
from typing import Any, Protocol

import gymnasium
import numpy as np
from PIL import Image, ImageDraw

__all__ = ["Atari", "Environment", "Outcome", "Plain", "make"]


class Outcome(collections.namedtuple("Outcome", "observation reward ended cut score")):
    """What an action leads to.

    Attributes:
      observation: what the agent sees next.
      reward: what it learns from.
      ended: whether the episode is over by itself: there is nothing to come.
      cut: whether it is over because it has lasted too long.
      score: what was gained, as people count it.
    """

    __slots__ = ()


class Environment(Protocol):
    """What both kinds can do."""

    num_actions: int

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begins an episode, and returns the first observation."""
        ...

    def step(self, action: int) -> Outcome:
        """Takes an action."""
        ...

    def picture(self) -> np.ndarray:
        """The scene (height, width, 3) of uint8."""
        ...

    def save(self) -> bytes:
        """All that the future depends on."""
        ...

    def load(self, saved: bytes) -> None:
        """Goes on from what was saved."""
        ...


class Plain:
    """An environment of gymnasium with numbers to see and some actions to choose from.

    Args:
      name: as in "CartPole-v1".
    """

    def __init__(self, name: str):
        self.environment: Any = gymnasium.make(name)
        self.num_actions = int(self.environment.action_space.n)

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begins an episode."""
        return np.asarray(self.environment.reset(seed=seed)[0], np.float32)

    def step(self, action: int) -> Outcome:
        """Takes an action."""
        seen, reward, ended, cut, _ = self.environment.step(int(action))
        reward = float(reward)
        return Outcome(np.asarray(seen, np.float32), reward, ended, cut, reward)

    def picture(self) -> np.ndarray:
        """A cart with its pole; gymnasium's own picture would need pygame."""
        place, _, angle, _ = self.environment.unwrapped.state
        image = Image.new("RGB", (240, 120), "white")
        draw = ImageDraw.Draw(image)
        x, y = 120 + 50 * place, 95
        draw.line((0, y + 12, 240, y + 12), fill="gray")
        draw.rectangle((x - 18, y - 8, x + 18, y + 8), fill="black")
        tip = (x + 75 * np.sin(angle), y - 75 * np.cos(angle))
        draw.line((x, y, *tip), fill=(200, 120, 40), width=6)
        return np.asarray(image)

    def save(self) -> bytes:
        """All that the future depends on."""
        return pickle.dumps(self.environment)

    def load(self, saved: bytes) -> None:
        """Goes on from what was saved."""
        self.environment = pickle.loads(saved)


class Atari:
    """A game of the Arcade Learning Environment, as agents are given it.

    As in "Human-level control through deep reinforcement learning"
    (https://doi.org/10.1038/nature14236):
    An action is held for four frames. An observation is four of these moments, each
    (84, 84) in greys, the greater of the last two frames. An episode begins with up to
    thirty frames in which nothing is done. The reward is the sign of what was gained.

    Args:
      name: as in "ALE/Pong-v5".
    """

    skip, size, history, most_idle, most_frames = 4, 84, 4, 30, 108_000

    def __init__(self, name: str):
        import ale_py

        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        gymnasium.register_envs(ale_py)
        # The frames are counted and skipped here.
        made = gymnasium.make(
            name, frameskip=1, repeat_action_probability=0.0, disable_env_checker=True
        )
        self.environment: Any = made.unwrapped
        self.num_actions = int(self.environment.action_space.n)
        self.seen = np.zeros((self.size, self.size, self.history), np.uint8)
        self.frames = 0
        self.rng = np.random.default_rng(0)

    def reset(self, seed: int | None = None) -> np.ndarray:
        """Begins an episode."""
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.environment.reset(seed=seed)
        self.frames = 0
        for _ in range(int(self.rng.integers(self.most_idle + 1))):
            if self._frame(0)[1]:
                self.environment.reset()
        view = self._view(self._screen())
        self.seen = np.repeat(view[..., None], self.history, axis=-1)
        return self.seen

    def step(self, action: int) -> Outcome:
        """Holds an action for four frames."""
        score, ended, last, screen = 0.0, False, self._screen(), self._screen()
        for _ in range(self.skip):
            gained, ended = self._frame(action)
            score += gained
            last, screen = screen, self._screen()
            if ended:
                break
        view = self._view(np.maximum(last, screen))
        self.seen = np.concatenate([self.seen[..., 1:], view[..., None]], axis=-1)
        cut = not ended and self.frames >= self.most_frames
        return Outcome(self.seen, float(np.sign(score)), ended, cut, score)

    def picture(self) -> np.ndarray:
        """The screen in colours."""
        return self.environment.ale.getScreenRGB()

    def save(self) -> bytes:
        """All that the future depends on."""
        state = self.environment.clone_state(include_rng=True)
        return pickle.dumps((state, self.seen, self.frames, self.rng))

    def load(self, saved: bytes) -> None:
        """Goes on from what was saved."""
        state, self.seen, self.frames, self.rng = pickle.loads(saved)
        self.environment.reset()
        self.environment.restore_state(state)

    def _frame(self, action: int) -> tuple[float, bool]:
        _, reward, ended, _, _ = self.environment.step(int(action))
        self.frames += 1
        return float(reward), bool(ended)

    def _screen(self) -> np.ndarray:
        return self.environment.ale.getScreenGrayscale()

    def _view(self, screen: np.ndarray) -> np.ndarray:
        small = Image.fromarray(screen).resize(
            (self.size, self.size), Image.Resampling.BOX
        )
        return np.asarray(small)


def make(name: str) -> Environment:
    """The environment of a name, of Atari where it begins with "ALE/"."""
    return Atari(name) if name.startswith("ALE/") else Plain(name)
