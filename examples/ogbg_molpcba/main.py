"""Trains a graph network: python main.py --config=configs/small.py --workdir=out.

Any value of the config can be given on the command line, as in
--config.num_epochs=3.
"""

from __future__ import annotations

import time

from absl import app, flags, logging
from ml_collections import config_flags
from plan import plan_state
from train import train_and_evaluate

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", "configs/default.py", "The file of a config.")
flags.DEFINE_string("workdir", "molpcba-out", "The folder to write and go on from.")
flags.DEFINE_bool("plan", False, "Show the arrays of the state and their sizes.")


def main(argv: list[str]) -> None:
    """Trains, and prints the result beside its baseline."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag. Flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    if FLAGS.plan:
        print(plan_state(FLAGS.config))
        return
    start = time.perf_counter()
    _, results = train_and_evaluate(FLAGS.config, FLAGS.workdir)
    print(f"Trained in {time.perf_counter() - start:.0f} seconds.")
    print(f"Curves, logs and checkpoints: {FLAGS.workdir}")
    found = results["test"]
    print(f"Mean average precision on the test set: {found['map']:.4f}")
    print(f"The same score for every molecule:      {found['constant_map']:.4f}")


if __name__ == "__main__":
    app.run(main)
