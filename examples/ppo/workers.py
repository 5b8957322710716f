"""Several processes that play, each some environments, and end with who started them.

A worker is a program of its own, started as `python workers.py`, that reads commands
from a socket which it inherits. It ends where the other end of the socket is closed: in
whatever way the main process ends, even killed, none is left behind.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Played", "Players", "WorkerError"]


class WorkerError(RuntimeError):
    """A worker has failed or ended; the message has what it said."""


class Played(NamedTuple):
    """What the actions of all environments led to, each array (environments, ...).

    Attributes:
      observations: those to act on next: where an episode is over, the first of the
        next one.
      rewards: float32.
      ended: whether the episode is over by itself.
      cut: whether it was cut off.
      last: the last observations of the episodes that were cut off, by number.
      scores: the scores of the episodes that are over.
      lengths: of these, the numbers of actions.
    """

    observations: np.ndarray
    rewards: np.ndarray
    ended: np.ndarray
    cut: np.ndarray
    last: dict[int, np.ndarray]
    scores: list[float]
    lengths: list[int]


class Players:
    """Environments in processes. Use it in a `with` block, or close it.

    Args:
      name: of the environment.
      number: of environments.
      processes: how many to share them among.
      seed: environment `i` starts with the seed `(seed, i)`.

    Raises:
      WorkerError: a worker could not start.
    """

    def __init__(self, name: str, number: int, processes: int, seed: int):
        self.number = number
        self.processes: list[subprocess.Popen[bytes]] = []
        self.connections: list[Connection] = []
        shares = np.array_split(np.arange(number), min(processes, number))
        try:
            for _ in shares:
                self._start()
            for connection, share in zip(self.connections, shares):
                seeds = [
                    int(np.random.SeedSequence((seed, int(i))).generate_state(1)[0])
                    for i in share
                ]
                connection.send((name, seeds))
            found = self._receive_all()
        except BaseException:
            self.close()
            raise
        self.num_actions: int = found[0][0]
        self.shares = [len(share) for share in shares]
        self.observations = np.stack([o for _, seen in found for o in seen])

    def __enter__(self) -> Players:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()

    def step(self, actions: np.ndarray) -> Played:
        """Takes an action (environments,) in each, and begins the episodes that end."""
        places = np.cumsum([0, *self.shares])
        parts = np.split(np.asarray(actions), places[1:-1])
        found = self._ask([("step", part) for part in parts])
        rows = [row for part in found for row in part]
        self.observations = np.stack([row[0] for row in rows])
        over = [row[5] for row in rows if row[5] is not None]
        return Played(
            observations=self.observations,
            rewards=np.array([row[1] for row in rows], np.float32),
            ended=np.array([row[2] for row in rows]),
            cut=np.array([row[3] for row in rows]),
            last={i: row[4] for i, row in enumerate(rows) if row[4] is not None},
            scores=[score for score, _ in over],
            lengths=[length for _, length in over],
        )

    def save(self) -> list[bytes]:
        """All that the future of each environment depends on."""
        return [
            s for part in self._ask([("save", None)] * len(self.shares)) for s in part
        ]

    def load(self, saved: list[bytes]) -> None:
        """Goes on from what was saved.

        Raises:
          ValueError: it was saved of another number of environments.
        """
        if len(saved) != self.number:
            raise ValueError(
                f"{len(saved)} environments were saved, and there are {self.number}. "
                f"Go on with config.num_environments={len(saved)}."
            )
        waiting = list(saved)
        parts = [[waiting.pop(0) for _ in range(share)] for share in self.shares]
        found = self._ask([("load", part) for part in parts])
        self.observations = np.stack([o for part in found for o in part])

    def close(self) -> None:
        """Ends the processes, and waits for them."""
        for connection in self.connections:
            connection.close()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.connections, self.processes = [], []

    def _start(self) -> None:
        here, there = socket.socketpair()
        with there:
            command = [
                sys.executable,
                str(Path(__file__).resolve()),
                str(there.fileno()),
            ]
            self.processes.append(subprocess.Popen(command, pass_fds=[there.fileno()]))
        self.connections.append(Connection(here.detach()))

    def _ask(self, messages: list[Any]) -> list[Any]:
        if not self.connections:
            raise WorkerError("The workers have been closed. Make new Players.")
        for index, (connection, message) in enumerate(zip(self.connections, messages)):
            try:
                connection.send(message)
            except OSError:
                raise self._gone(index) from None
        return self._receive_all()

    def _receive_all(self) -> list[Any]:
        found = []
        for index, connection in enumerate(self.connections):
            try:
                good, value = connection.recv()
            except (EOFError, OSError):
                raise self._gone(index) from None
            if not good:
                raise WorkerError(f"Worker {index} failed:\n{value}")
            found.append(value)
        return found

    def _gone(self, index: int) -> WorkerError:
        status = self.processes[index].wait()
        return WorkerError(
            f"Worker {index} has ended, with status {status}. What it said is above. "
            "Start the same command again, to go on from the last checkpoint."
        )


class _Playing:
    """The environments of a worker, with the scores of their episodes so far."""

    def __init__(self, name: str, seeds: list[int]):
        from environments import make

        self.all = [make(name) for _ in seeds]
        self.seen = [e.reset(seed) for e, seed in zip(self.all, seeds)]
        self.scores, self.lengths = [0.0] * len(seeds), [0] * len(seeds)

    def step(self, actions: np.ndarray) -> list[tuple[Any, ...]]:
        rows = []
        for i, (environment, action) in enumerate(zip(self.all, actions)):
            outcome = environment.step(action)
            self.scores[i] += outcome.score
            self.lengths[i] += 1
            over, last = None, None
            self.seen[i] = outcome.observation
            if outcome.ended or outcome.cut:
                over = self.scores[i], self.lengths[i]
                last = outcome.observation if outcome.cut else None
                self.seen[i] = environment.reset()
                self.scores[i], self.lengths[i] = 0.0, 0
            row = self.seen[i], outcome.reward, outcome.ended, outcome.cut, last, over
            rows.append(row)
        return rows

    def save(self, _: None) -> list[Any]:
        rows = zip(self.all, self.seen, self.scores, self.lengths)
        return [(e.save(), seen, score, length) for e, seen, score, length in rows]

    def load(self, saved: list[Any]) -> list[np.ndarray]:
        for environment, row in zip(self.all, saved):
            environment.load(row[0])
        _, self.seen, self.scores, self.lengths = map(list, zip(*saved))
        return self.seen


def work(descriptor: int) -> None:
    """Answers commands until the other end is closed."""
    with Connection(descriptor) as connection:
        try:
            name, seeds = connection.recv()
            playing = _Playing(name, seeds)
            connection.send((True, (playing.all[0].num_actions, playing.seen)))
            while True:
                command, value = connection.recv()
                answer = getattr(playing, command)(value)
                connection.send((True, answer))
        except (EOFError, KeyboardInterrupt, ConnectionError):
            return
        except Exception:
            connection.send((False, traceback.format_exc()))


if __name__ == "__main__":
    work(int(sys.argv[1]))
