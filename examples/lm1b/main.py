"""Trains a language model, on the devices of one or many processes."""

from __future__ import annotations

import sys
import time

import jax
import processes
import train
from absl import app, flags, logging
from ml_collections import config_flags

FLAGS = flags.FLAGS

config_flags.DEFINE_config_file("config", "configs/default.py", "what to train")
flags.DEFINE_string("workdir", "run", "folder of the run, common to all processes")
flags.DEFINE_integer("processes", 1, "how many processes train together", 1)
flags.DEFINE_integer("process_id", None, "which of them this is; else start all here")
flags.DEFINE_string("coordinator", None, "host:port of process 0, with --process_id")
flags.DEFINE_integer("timeout", 60, "seconds after which a process counts as lost", 1)
flags.DEFINE_integer(
    "devices",
    None,
    "make so many CPU devices in each process; else use those there are",
)


def main(argv: list[str]) -> int:
    """Trains in this process, or starts the processes that do."""
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is no option; try --help.")
    if FLAGS.processes > 1 and FLAGS.process_id is None:
        return processes.start(FLAGS.processes, sys.argv[1:], FLAGS.timeout)
    if FLAGS.devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", FLAGS.devices)
    if FLAGS.processes > 1:
        processes.join(
            FLAGS.coordinator, FLAGS.processes, FLAGS.process_id, FLAGS.timeout
        )
    logging.set_verbosity(logging.WARNING)
    begun = time.perf_counter()
    try:
        result = train.train_and_evaluate(FLAGS.config, FLAGS.workdir)
    except Exception as error:
        if FLAGS.processes > 1:
            processes.fail_together(
                error,
                "Start the same command again, to continue from the last checkpoint "
                f"in {FLAGS.workdir}.",
            )
        raise
    found, orders = result.metrics, FLAGS.config.ngram_orders
    train.say("\n".join(result.samples))
    train.say(f"{time.perf_counter() - begun:.0f} seconds; written to {FLAGS.workdir}/")
    for name, title, form in (
        ("perplexity", "perplexity of a piece", ".2f"),
        ("bits_per_character", "bits per character", ".3f"),
    ):
        others = [f"{n}-grams {found[f'{n}gram_{name}']:{form}}" for n in orders]
        train.say(f"{title} {found[name]:{form}}; of {', '.join(others)}")
    return 0


if __name__ == "__main__":
    app.run(main)
