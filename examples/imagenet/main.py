"""Trains a residual network: python main.py --config=configs/small.py --workdir=out.

Any value of the config can be given on the command line, as in
--config.num_epochs=3.
"""

from __future__ import annotations

import time
from typing import Any

import jax
from absl import app, flags, logging
from input_pipeline import load
from ml_collections import config_flags
from plan import plan_state
from train import train_and_evaluate

FLAGS = flags.FLAGS
config_flags.DEFINE_config_file("config", "configs/default.py", "The file of a config.")
flags.DEFINE_string("workdir", "imagenet-out", "The folder to write and go on from.")
flags.DEFINE_integer("devices", None, "Make so many CPU devices in each process.")
flags.DEFINE_bool("cluster", False, "Join the processes of a Slurm or TPU job.")
flags.DEFINE_string("coordinator", None, "Else: host:port of process 0,")
flags.DEFINE_integer("num_processes", None, "how many processes there are,")
flags.DEFINE_integer("process_id", None, "and which of them this is.")
flags.DEFINE_integer("plan", None, "Show what each of so many devices holds, and end.")


def join_processes() -> None:
    """Makes this process one of several, where the flags say so."""
    if FLAGS.devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", FLAGS.devices)
    if FLAGS.cluster:
        jax.distributed.initialize()
    elif FLAGS.coordinator is not None:
        # On CPUs, this is what carries data from process to process.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id
        )


def linear_baseline(name: str) -> float:
    """The test accuracy of a linear classifier of the pixels, fitted exactly."""
    from sklearn.linear_model import RidgeClassifier

    train, test = (part_as_rows(part) for part in load(name))
    return float(RidgeClassifier(alpha=100.0).fit(*train).score(*test))


def part_as_rows(part: Any) -> tuple[Any, Any]:
    """The pixels (number, pixels) and labels of arrays in memory."""
    return part.images.reshape(len(part), -1) / 255.0, part.labels


def main(argv: list[str]) -> None:
    """Trains, and prints the result beside its baseline."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no flag. Flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    config = FLAGS.config
    if FLAGS.plan is not None:
        print(plan_state(config, FLAGS.plan))
        return
    join_processes()
    start = time.perf_counter()
    _, history = train_and_evaluate(config, FLAGS.workdir)
    if jax.process_index() != 0:
        return
    print(f"Trained in {time.perf_counter() - start:.0f} seconds.")
    print(f"Curves, logs and checkpoints: {FLAGS.workdir}")
    print(f"Test accuracy: {100 * history[-1]['test_accuracy']:.2f} %")
    if config.dataset == "digits":
        baseline = linear_baseline(config.dataset)
        print(f"A linear classifier of the pixels: {100 * baseline:.2f} %")


if __name__ == "__main__":
    app.run(main)
