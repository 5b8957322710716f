"""Learns to play: python main.py --config=configs/small.py --workdir=out.

Any value of the config can be given on the command line, as in
--config.total_steps=50000.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags
from pictures import film
from plan import plan_state
from train import train_and_evaluate

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", "configs/default.py", "The file of a config.")
flags.DEFINE_string("workdir", "ppo-out", "The folder to write and go on from.")
flags.DEFINE_bool("plan", False, "Show the arrays of the state and their sizes.")


def main(argv: list[str]) -> None:
    """Trains, films a game, and prints the result beside that of chance."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag. Flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    config = FLAGS.config
    if FLAGS.plan:
        print(plan_state(config))
        return
    start = time.perf_counter()
    state, history = train_and_evaluate(config, FLAGS.workdir)
    print(f"Trained in {time.perf_counter() - start:.0f} seconds.")
    path = Path(FLAGS.workdir) / "play.gif"
    score = film(state, config.environment, path, config.film_frames, config.film_every)
    print(f"Curves, logs and checkpoints: {FLAGS.workdir}")
    print(f"{path}: the likeliest actions, score {score:g}")
    returns = [r["mean_return"] for r in history if not np.isnan(r["mean_return"])]
    if returns:
        print(f"Mean return of the last 100 episodes: {returns[-1]:.1f}")
        print(f"Of the first ones, by chance:         {returns[0]:.1f}")
    else:
        print("No episode has ended yet.")


if __name__ == "__main__":
    app.run(main)
